//! The documents that Slicer's documentation, OpenAPI file and SDKs show, in all the forms in which they disagree.

use proptest::prelude::*;

use super::*;
use crate::domain::vm::Architecture;

fn vms(json: &str) -> Vec<Vm> {
    read_vms(json.as_bytes()).unwrap()
}

#[test]
fn a_vm_is_read_with_every_field_and_unknown_ones() {
    let read = vms(
        r#"[{"hostname":"k3s-agents-1","hostgroup":"k3s-agents","ip":"192.168.137.2/24","ram_bytes":4294967296,
            "cpus":2,"created_at":"2025-09-03T12:11:12.123456789+02:00","tags":["a=b","c"],"arch":"x86_64",
            "status":"Running","persistent":false,"new_field":{"x":[1,2]}}]"#,
    );
    assert_eq!(
        read,
        [Vm {
            hostname: Hostname::from("k3s-agents-1"),
            tags: vec!["a=b".to_owned(), "c".to_owned()],
            cpus: Some(2),
            ram_bytes: Some(4 << 30),
            created_at: Some(UnixSeconds(1_756_894_272)),
            status: VmStatus::Running,
        }]
    );
}

#[test]
fn a_vm_needs_nothing_but_a_name() {
    let bare = &vms(r#"[{"hostname":"a"}]"#)[0];
    assert_eq!(bare.tags, Vec::<String>::new());
    assert_eq!((bare.cpus, bare.ram_bytes, bare.created_at), (None, None, None));
    assert_eq!(bare.status, VmStatus::Running);
    let nulls = r#"[{"hostname":"a","tags":null,"cpus":null,"ram_bytes":null,"created_at":null,"status":null}]"#;
    assert_eq!(vms(nulls)[0], *bare);
    let unreadable = r#"[{"hostname":"a","cpus":"many","ram_bytes":-1,"created_at":"yesterday","status":7}]"#;
    assert_eq!(vms(unreadable)[0], *bare);
    let zeros = r#"[{"hostname":"a","cpus":0,"ram_bytes":0,"created_at":"0001-01-01T00:00:00Z","status":""}]"#;
    assert_eq!(vms(zeros)[0], *bare);
}

#[test]
fn numbers_may_be_texts() {
    let vm = &vms(r#"[{"hostname":"a","cpus":"2","ram_bytes":"4294967296","tags":[7,true]}]"#)[0];
    assert_eq!((vm.cpus, vm.ram_bytes), (Some(2), Some(4 << 30)));
    assert_eq!(vm.tags, ["7", "true"]);
}

#[test]
fn a_vm_that_somebody_halted_is_told_from_one_that_runs() {
    for status in ["Paused", "paused", "STOPPED", "Suspended"] {
        let json = format!(r#"[{{"hostname":"a","status":"{status}"}}]"#);
        assert_eq!(vms(&json)[0].status, VmStatus::Halted, "{status}");
    }
    for status in ["Running", "running", "Booting", ""] {
        let json = format!(r#"[{{"hostname":"a","status":"{status}"}}]"#);
        assert_eq!(vms(&json)[0].status, VmStatus::Running, "{status}");
    }
}

#[test]
fn an_empty_list_may_be_null() {
    assert_eq!(vms("null"), []);
    assert_eq!(vms("[]"), []);
    assert_eq!(read_host_groups(b"null").unwrap(), []);
    assert!(!read_has_secret(b"null", "a").unwrap());
}

#[test]
fn one_vm_without_a_usable_name_or_tags_makes_the_whole_list_nonsense() {
    for bad in [
        r#"{}"#,
        "null",
        "7",
        r#"{"hostname":null}"#,
        r#"{"hostname":""}"#,
        r#"{"hostname":".."}"#,
        r#"{"hostname":"a\nb"}"#,
        r#"{"hostname":7}"#,
        r#"{"hostname":"b","tags":"a=b"}"#,
        r#"{"hostname":"b","tags":{"a":"b"}}"#,
        r#"{"hostname":"b","tags":[null]}"#,
    ] {
        let json = format!(r#"[{{"hostname":"a"}},{bad}]"#);
        assert!(read_vms(json.as_bytes()).is_err(), "{json}");
    }
    let long = format!(r#"[{{"hostname":"{}"}}]"#, "a".repeat(MAX_HOSTNAME + 1));
    assert!(read_vms(long.as_bytes()).is_err());
}

#[test]
fn what_is_no_list_of_vms_is_nonsense() {
    for body in [
        "",
        "{}",
        "OK",
        "<html></html>",
        r#"{"nodes":[]}"#,
        "[",
        r#"[{"hostname":"a"}"#,
        "[][]",
    ] {
        assert!(read_vms(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn host_groups_are_read_with_both_spellings_of_an_architecture() {
    let json = r#"[{"name":"a","count":1,"ram_bytes":"4294967296","cpus":2.0,"gpu_count":0,"arch":"x86_64"},
                   {"name":"b","arch":"ARM64"},{"name":"c","arch":"riscv64","cpus":0,"ram_bytes":0,"gpu_count":1}]"#;
    let groups = read_host_groups(json.as_bytes()).unwrap();
    let group = |name: &str, cpus, ram_bytes, gpu_count, arch| HostGroup {
        name: name.to_owned(),
        cpus,
        ram_bytes,
        gpu_count,
        arch,
    };
    assert_eq!(
        groups,
        [
            group("a", Some(2), Some(4 << 30), Some(0), Some(Architecture::Amd64)),
            group("b", None, None, None, Some(Architecture::Arm64)),
            group("c", None, None, Some(1), None),
        ]
    );
}

#[test]
fn a_host_group_without_a_name_is_left_out() {
    let groups = read_host_groups(br#"[{"cpus":2},null,{"name":"a"}]"#).unwrap();
    assert_eq!(groups.into_iter().map(|group| group.name).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn a_create_asks_for_an_ephemeral_vm_and_names_only_the_sizes_it_wants() {
    let request = VmRequest {
        cpus: None,
        ram_bytes: None,
        gpu_count: None,
        userdata: "#!/bin/sh\n".to_owned(),
        tags: vec!["t".to_owned()],
        secrets: Vec::new(),
    };
    let minimal = json!({"persistent": false, "userdata": "#!/bin/sh\n", "tags": ["t"], "secrets": []});
    assert_eq!(create_body(&request), minimal);
    let sized = VmRequest {
        cpus: Some(2),
        ram_bytes: Some(4 << 30),
        gpu_count: Some(0),
        secrets: vec!["k3s".to_owned()],
        ..request
    };
    assert_eq!(
        create_body(&sized),
        json!({"persistent": false, "userdata": "#!/bin/sh\n", "tags": ["t"], "secrets": ["k3s"],
               "cpus": 2, "ram_bytes": 4_294_967_296_u64, "gpu_count": 0})
    );
}

#[test]
fn a_created_vm_must_have_a_name() {
    let created = r#"{"hostname":"a-1","hostgroup":"a","ip":"192.168.140.2/24","created_at":"x","arch":"amd64"}"#;
    assert_eq!(read_created(created.as_bytes()).unwrap(), Hostname::from("a-1"));
    for body in [
        "",
        "null",
        "{}",
        "[]",
        r#"{"hostname":""}"#,
        r#"{"hostname":null}"#,
        "created",
    ] {
        assert!(read_created(body.as_bytes()).is_err(), "{body}");
    }
    let error = read_created(br#"{"error":"no kernel"}"#).unwrap_err();
    assert!(error.to_string().contains("no kernel"), "{error}");
}

#[test]
fn only_an_error_in_its_body_makes_a_delete_fail() {
    for body in [
        "",
        "VM deleted",
        "null",
        r#"{"message":"VM deleted successfully","disk_removed":"false"}"#,
        r#"{"message":"Node deleted","disk_removed":true,"error":""}"#,
        r#"{"error":null}"#,
    ] {
        assert_eq!(read_delete_error(body.as_bytes()), None, "{body}");
    }
    assert_eq!(read_delete_error(br#"{"error":"disk busy"}"#).unwrap(), "disk busy");
    assert_eq!(read_delete_error(br#"{"error":{"code":7}}"#).unwrap(), r#"{"code":7}"#);
}

#[test]
fn secrets_are_known_by_name_whatever_their_other_fields_are() {
    let json = br#"[{"name":"a","size":3,"permissions":"0600","uid":0,"gid":0,"mod_time":"2025-01-01T00:00:00Z"},
                    {"name":"b","modified_at":1},{"size":1},null]"#;
    assert!(read_has_secret(json, "a").unwrap());
    assert!(read_has_secret(json, "b").unwrap());
    assert!(!read_has_secret(json, "c").unwrap());
}

#[test]
fn a_secret_is_stored_as_base64_for_root_only() {
    let body = secret_body("k3s", &SecretString::from("K10::server:x"));
    assert_eq!(
        body,
        json!({"name": "k3s", "data": "SzEwOjpzZXJ2ZXI6eA==", "permissions": "0600", "uid": 0, "gid": 0})
    );
}

#[test]
fn userdata_is_pending_until_it_ran_and_then_has_a_code_if_the_agent_tells_one() {
    use UserdataState::{Exited, Finished, Pending};
    for (body, expected) in [
        (r#"{"userdata_ran":true,"userdata_exit_code":0}"#, Exited(0)),
        (r#"{"userdata_ran":true,"userdata_exit_code":"1"}"#, Exited(1)),
        (r#"{"userdata_ran":"true","userdata_exit_code":-1}"#, Exited(-1)),
        (r#"{"userdata_ran":true,"userdata_exit_code":null}"#, Finished),
        (r#"{"userdata_ran":true,"agent_uptime":3600000000000}"#, Finished),
        (r#"{"userdata_ran":true,"userdata_exit_code":"killed"}"#, Finished),
        (r#"{"userdata_ran":false,"userdata_exit_code":1}"#, Pending),
        (r#"{"hostname":"a","agent_uptime":1.5}"#, Pending),
        ("null", Pending),
    ] {
        assert_eq!(read_userdata_state(body.as_bytes()).unwrap(), expected, "{body}");
    }
    assert!(read_userdata_state(b"OK").is_err());
}

#[test]
fn a_log_may_hold_any_bytes() {
    assert_eq!(
        read_log(br#"{"hostname":"a","lines":2,"content":"a\nb"}"#).unwrap(),
        "a\nb"
    );
    assert_eq!(read_log(b"{\"content\":\"a\xffb\"}").unwrap(), "a\u{fffd}b");
    assert_eq!(read_log(br#"{"content":null}"#).unwrap(), "");
    assert!(read_log(b"plain").is_err());
}

#[test]
fn a_host_may_say_as_little_of_itself_as_it_likes() {
    assert_eq!(read_info(b"{}").unwrap(), HostInfo::default());
    let info = read_info(br#"{"version":"0.1.71","git_commit":"abc","platform":"linux","arch":7}"#).unwrap();
    assert_eq!(info.version.as_deref(), Some("0.1.71"));
    assert_eq!(info.git_commit.as_deref(), Some("abc"));
    assert_eq!(info.platform.as_deref(), Some("linux"));
    assert_eq!(info.arch, None);
}

#[test]
fn times_are_read_with_any_offset_and_fraction() {
    let seconds = |text: &str| time(&Scalar::Text(text.to_owned())).map(|time| time.0);
    for text in [
        "2025-01-01T00:00:00Z",
        "2025-01-01T02:00:00+02:00",
        "2024-12-31T18:30:00.999999999-05:30",
        "2025-01-01t00:00:00.5z",
    ] {
        assert_eq!(seconds(text), Some(1_735_689_600), "{text}");
    }
    for text in [
        "",
        "2025-01-01",
        "2025-01-01T00:00:00",
        "2025-13-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
    ] {
        assert_eq!(seconds(text), None, "{text}");
    }
}

/// Bytes, and texts that get further into the decoders than bytes do.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let key = prop::sample::select(vec![
        "hostname",
        "name",
        "tags",
        "cpus",
        "ram_bytes",
        "created_at",
        "status",
        "arch",
        "error",
        "content",
        "userdata_ran",
        "userdata_exit_code",
        "version",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[0-9T:+.Z-]{0,30}".prop_map(Value::from),
    ];
    let json = leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..5)
                .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    });
    prop_oneof![
        any::<Vec<u8>>(),
        "[\\[\\]{}:,\"a-z0-9.]{0,60}".prop_map(String::into_bytes),
        json.prop_map(|value| value.to_string().into_bytes()),
    ]
}

proptest! {
    #[test]
    fn no_body_makes_a_decoder_panic(body in body()) {
        let _ = read_info(&body);
        let _ = read_host_groups(&body);
        let _ = read_vms(&body);
        let _ = read_created(&body);
        let _ = read_delete_error(&body);
        let _ = read_has_secret(&body, "a");
        let _ = read_userdata_state(&body);
        let _ = read_log(&body);
    }

    #[test]
    fn every_vm_that_is_read_has_a_name_that_can_be_asked_for(body in body()) {
        for vm in read_vms(&body).unwrap_or_default() {
            prop_assert!(!vm.hostname.as_str().trim().is_empty());
            prop_assert!(!vm.hostname.as_str().chars().any(char::is_control));
        }
    }
}
