//! Rendered objects, and how to find what is in them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Kinds without a namespace.
const CLUSTER_WIDE: [&str; 2] = ["ClusterRole", "ClusterRoleBinding"];

/// What the chart made.
pub(crate) struct Objects(pub(crate) Vec<Value>);

impl Objects {
    /// All of a kind.
    pub(crate) fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    /// The names of all of a kind.
    pub(crate) fn names(&self, kind: &str) -> BTreeSet<&str> {
        self.of(kind).map(name).collect()
    }

    /// How many of each kind.
    pub(crate) fn count(&self) -> BTreeMap<&str, usize> {
        let mut count = BTreeMap::new();
        for object in &self.0 {
            *count.entry(text(&object["kind"])).or_default() += 1;
        }
        count
    }

    /// The pods of the deployments.
    pub(crate) fn pods(&self) -> Vec<&Value> {
        self.of("Deployment")
            .map(|deployment| &deployment["spec"]["template"])
            .collect()
    }

    /// Whether some pod has all these labels.
    pub(crate) fn selected(&self, labels: &Value) -> Vec<&Value> {
        let wanted = labels.as_object().unwrap();
        assert!(wanted.len() >= 2, "{labels} selects too much");
        let has = |pod: &Value| {
            wanted
                .iter()
                .all(|(key, value)| &pod["metadata"]["labels"][key] == value)
        };
        self.pods().into_iter().filter(|pod| has(pod)).collect()
    }

    /// The container of this name, wherever it is.
    pub(crate) fn container(&self, name: &str) -> &Value {
        let pods = self.pods();
        let mut all = pods.iter().flat_map(|pod| containers(pod));
        all.find(|container| container["name"] == name).unwrap()
    }
}

/// Every container of a pod, those that start it included.
pub(crate) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(&pod["spec"]["initContainers"])
        .iter()
        .chain(list(&pod["spec"]["containers"]))
}

/// The items of a list that may be missing.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text that must be there.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// The name of an object.
pub(crate) fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

/// The namespace of an object, or that it has none.
pub(crate) fn namespace(object: &Value) -> Option<&str> {
    let namespace = object["metadata"]["namespace"].as_str();
    assert_eq!(
        namespace.is_none(),
        CLUSTER_WIDE.contains(&text(&object["kind"])),
        "{object}"
    );
    namespace
}

/// The values of a flag among arguments.
pub(crate) fn flag<'a>(container: &'a Value, name: &str) -> Vec<&'a str> {
    let given = list(&container["args"]).iter().map(text);
    given
        .filter_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))
        .collect()
}
