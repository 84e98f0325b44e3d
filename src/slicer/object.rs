//! A JSON object, and nothing else. A derived reader would take a list for one as well, its elements for the fields in
//! their order, and so a list of texts for a VM.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// What is read from a JSON object; `None` for `null`.
pub(super) struct Object<T>(pub(super) Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<Object<T>, E> {
        Ok(Object(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(|read| Object(Some(read)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Shape {
        name: String,
    }

    fn name(json: &str) -> Result<Option<String>, serde_json::Error> {
        serde_json::from_str::<Object<Shape>>(json).map(|object| object.0.map(|shape| shape.name))
    }

    #[test]
    fn an_object_or_null_is_read() {
        assert_eq!(name(r#"{"name":"a","other":[1]}"#).unwrap().as_deref(), Some("a"));
        assert_eq!(name("null").unwrap(), None);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for json in ["[\"a\"]", "[]", "\"a\"", "1", "true", "", "{}", "{\"name\":\"a\""] {
            assert!(name(json).is_err(), "{json}");
        }
    }
}
