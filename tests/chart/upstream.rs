//! `docs/upstream-chart-values.yaml` says the same as our own chart, in the words of the upstream one.

use serde_json::Value;

use crate::combinations::least;
use crate::objects::{Objects, list, name, text};
use crate::values::{defaults, helm};

fn upstream() -> Value {
    serde_saphyr::from_str(include_str!("../../docs/upstream-chart-values.yaml")).unwrap()
}

#[test]
fn the_sidecar_is_that_of_our_chart() {
    let Some(helm) = helm() else { return };
    let ours = Objects(helm.render("kube-system", &least()).unwrap());
    let mut ours = ours.container("slicer-cloud-provider").clone();
    let upstream = upstream();
    // Defaults of Kubernetes and of the server, which ours says.
    let _ = ours.as_object_mut().unwrap().remove("imagePullPolicy");
    for probe in ["livenessProbe", "readinessProbe"] {
        let _ = ours[probe].as_object_mut().unwrap().remove("periodSeconds");
    }
    let arguments = ours["args"].as_array_mut().unwrap();
    arguments.retain(|argument| argument != "--log-level=info");
    assert_eq!(&ours, &list(&upstream["initContainers"])[0]);
}

/// The rules of roles, by the namespace that they are for.
fn rights<'a>(roles: impl Iterator<Item = &'a Value>) -> Vec<(String, &'a Value)> {
    let namespace =
        |role: &Value| text(&role["metadata"]["namespace"]).replace("{{ .Release.Namespace }}", "kube-system");
    let mut rights: Vec<_> = roles.map(|role| (namespace(role), &role["rules"])).collect();
    rights.sort_by_key(|(namespace, rules)| format!("{namespace} {rules}"));
    rights
}

#[test]
fn the_rights_are_those_of_our_chart() {
    let Some(helm) = helm() else { return };
    let ours = Objects(helm.render("kube-system", &least()).unwrap());
    let upstream = upstream();
    let theirs = list(&upstream["extraObjects"]).iter();
    assert_eq!(
        rights(ours.of("Role").filter(|role| name(role).contains("-provider"))),
        rights(theirs.filter(|object| object["kind"] == "Role"))
    );
}

#[test]
fn pods_go_where_those_of_our_chart_go() {
    let (ours, upstream) = (defaults(), upstream());
    assert_eq!(ours["tolerations"], upstream["tolerations"]);
    assert_eq!(ours["podSecurityContext"], upstream["securityContext"]);
    assert_eq!(ours["containerSecurityContext"], upstream["containerSecurityContext"]);
    let preferred = "/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution";
    assert_eq!(ours.pointer(preferred), upstream.pointer(preferred));
}
