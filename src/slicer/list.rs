//! A JSON list as Slicer writes it, bounded in its number of elements.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Most elements that a list may have. Real hosts have some hundred VMs; without a limit a listing of 32 MiB of empty
/// objects would take gigabytes.
const MAX_ELEMENTS: usize = 50_000;

/// A JSON list of at most [`MAX_ELEMENTS`]; `null`, as Go writes an empty list, is an empty one.
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E: Error>(self) -> Result<List<T>, E> {
        Ok(List::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            if elements.len() == MAX_ELEMENTS {
                return Err(A::Error::custom(format!("a list of more than {MAX_ELEMENTS} elements")));
            }
            elements.push(element);
        }
        Ok(List(elements))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(json: &str) -> Result<usize, serde_json::Error> {
        serde_json::from_str::<List<u8>>(json).map(|list| list.0.len())
    }

    #[test]
    fn null_is_an_empty_list() {
        assert_eq!(length("null").unwrap(), 0);
        assert_eq!(length("[]").unwrap(), 0);
        assert_eq!(length("[1,2]").unwrap(), 2);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for json in ["", "{}", "1", "\"a\"", "[1", "[1]x"] {
            assert!(length(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_list_has_an_end() {
        let json = |n: usize| format!("[{}1]", "1,".repeat(n - 1));
        assert_eq!(length(&json(MAX_ELEMENTS)).unwrap(), MAX_ELEMENTS);
        assert!(length(&json(MAX_ELEMENTS + 1)).is_err());
    }
}
