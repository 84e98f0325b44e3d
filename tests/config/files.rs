use slicer_cloud_provider::config::{self, ConfigError};
use slicer_cloud_provider::domain::spec::Limits;

use super::{GLOBAL, GROUP, errors, parse, with_global, with_group};

#[test]
fn the_example_of_the_slicer_documentation_works_unchanged() {
    let hash = "0123456789abcdef".repeat(4);
    let text = format!(
        "[global]\nk3s-url=https://192.168.137.2:6443\nk3s-token=K10{hash}::server:9f86d081884c7d65\n\
         default-min-size=0\ndefault-max-size=10\n\n\
         [nodegroup \"k3s-agents-1\"]\nslicer-url=http://192.168.138.1:8081\nslicer-token=abc/def+1==\n\n\
         [nodegroup \"k3s-agents-2\"]\nslicer-url=http://192.168.139.1:8082\nslicer-token=ghi\n"
    );
    let config = parse(&text).unwrap();
    let groups: Vec<_> = config
        .groups
        .iter()
        .map(|group| (group.spec.id.as_str(), group.spec.limits))
        .collect();
    let limits = Limits { min: 0, max: 10 };
    assert_eq!(groups, [("k3s-agents-1", limits), ("k3s-agents-2", limits)]);
}

#[test]
fn a_file_of_the_fork_with_all_its_keys_works_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let certificate = rcgen::generate_simple_self_signed(vec!["slicer".to_owned()])
        .unwrap()
        .cert
        .pem();
    std::fs::write(dir.path().join("ca.pem"), certificate).unwrap();
    let path = dir.path().join("cloud-config");
    let text = "; the fork's file\n[Global]\n\tk3s-url = \"https://k3s:6443/\" # API\n\tk3s-token = \"a#b;c=d\"\n\
                \tca-bundle = ca.pem\n\t# default-min-size = 3\n\tdefault-min-size = 2\n\tdefault-max-size = 4\n\n\
                [nodegroup \"workers\"]\n\tslicer-url = https://slicer:8080/ ; daemon\n\tslicer-token = t\n\
                \tmin-size = 0\n\tmax-size = 20\n\tarch = amd64\n";
    std::fs::write(&path, text.replace('\n', "\r\n")).unwrap();
    let config = config::load(&path).unwrap();
    assert_eq!(config.groups[0].spec.limits, Limits { min: 0, max: 20 });
    assert!(config.global.ca_bundle.is_some());
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_lines() {
    let text = "[global]\n\
                k3s-url=http://k3s:6443\n\
                default-max-size=many\n\
                k3s-tokn=secret\n\
                \n\
                [nodegroup \"a\"]\n\
                slicer-url=http://h\n\
                slicer-token='secret'\n\
                max-sise=3\n\
                [nodegroups \"b\"]\n\
                whatever=1\n\
                [nodegroup \"b\"]\n\
                slicer-token=secret\n";
    assert_eq!(
        errors(parse(text)),
        [
            "cloud-config:1: [global] k3s-token: is missing; add k3s-token or k3s-token-file",
            "cloud-config:2: [global] k3s-url: is not https, K3s joins nothing else; expected https://host[:port]",
            "cloud-config:3: [global] default-max-size: \"many\" is not a whole number; expected 1 to 10000",
            "cloud-config:4: [global]: unknown key \"k3s-tokn\"; did you mean \"k3s-token\"?",
            "cloud-config:8: [nodegroup \"a\"] slicer-token: begins with a single quote, which does not quote here; \
             use double quotes",
            "cloud-config:9: [nodegroup \"a\"]: unknown key \"max-sise\"; did you mean \"max-size\"?",
            "cloud-config:10: unknown section [nodegroups]; did you mean [nodegroup \"NAME\"]?",
            "cloud-config:12: [nodegroup \"b\"] slicer-url: is missing; add slicer-url = http(s)://host[:port][/path] \
             or the path of a unix socket",
        ]
    );
}

#[test]
fn problems_can_be_looked_at_one_by_one() {
    let error = with_group("max-size=x").unwrap_err();
    let [problem] = error.problems() else {
        panic!("{error}");
    };
    assert_eq!(problem.line, 7);
    assert_eq!(problem.section.as_deref(), Some("[nodegroup \"a\"]"));
    assert_eq!(problem.key, Some("max-size"));
    assert_eq!(problem.message, "\"x\" is not a whole number; expected 1 to 10000");
}

#[test]
fn a_section_twice_is_refused_with_both_lines() {
    assert_eq!(
        errors(parse(&format!("{GLOBAL}{GROUP}[GLOBAL]\ncluster-name=x\n{GROUP}"))),
        [
            "cloud-config:7: [global]: is there already, in line 1; put all keys into one section",
            "cloud-config:9: [nodegroup \"a\"]: is there already, in line 4; put all keys into one section",
        ]
    );
}

#[test]
fn names_of_groups_differ_by_case_and_names_of_sections_and_keys_do_not() {
    let upper = GROUP.replace("nodegroup", "NodeGroup").replace("\"a\"", "\"A\"");
    let config = parse(&format!("{GLOBAL}{GROUP}{}", upper.replace("slicer-url", "SLICER-Url"))).unwrap();
    let ids: Vec<_> = config.groups.iter().map(|group| group.spec.id.as_str()).collect();
    assert_eq!(ids, ["a", "A"]);
}

#[test]
fn headers_with_a_wrong_name_are_refused() {
    let name = |header: &str| {
        errors(parse(&format!(
            "{GLOBAL}{}",
            GROUP.replace("[nodegroup \"a\"]", header)
        )))
    };
    assert!(name("[nodegroup \"a b\"]")[0].contains("\"a b\" is not a valid name of a node group"));
    assert_eq!(
        name("[nodegroup]"),
        ["cloud-config:4: [nodegroup]: has no name; write [nodegroup \"NAME\"]"]
    );
    let global = errors(parse(&format!(
        "{}{GROUP}",
        GLOBAL.replace("[global]", "[global \"x\"]")
    )));
    assert_eq!(global, ["cloud-config:1: [global \"x\"]: has a name; write [global]"]);
}

#[test]
fn the_keys_of_a_group_without_a_usable_name_are_checked_all_the_same() {
    for header in ["[nodegroup \"a b\"]", "[nodegroup]"] {
        let found = errors(parse(&format!(
            "{GLOBAL}{header}\nslicer-url=http://h\nslicer-token=api\ncpus=0\nmax-sise=1\n"
        )));
        let lines: Vec<&str> = found.iter().filter_map(|problem| problem.split(':').nth(1)).collect();
        assert_eq!(lines, ["4", "7", "8"], "{found:?}");
    }
}

#[test]
fn missing_sections_are_told() {
    assert_eq!(
        errors(parse("")),
        [
            "cloud-config:1: the file has no section [global]; add one",
            "cloud-config:1: the file has no section [nodegroup \"NAME\"]; add one",
        ]
    );
    assert_eq!(
        errors(parse(GLOBAL)),
        ["cloud-config:1: the file has no section [nodegroup \"NAME\"]; add one"]
    );
    assert_eq!(
        errors(parse(GROUP)),
        ["cloud-config:1: the file has no section [global]; add one"]
    );
}

#[test]
fn a_line_that_cannot_be_read_causes_no_further_complaints() {
    // Neither a missing k3s-token nor a missing section is the mistake here.
    assert_eq!(
        errors(parse(&format!("{}{GROUP}", GLOBAL.replace("token=", "token ")))).len(),
        1
    );
    assert_eq!(
        errors(parse(&format!("{}{GROUP}", GLOBAL.replace("[global]", "[global")))).len(),
        1
    );
}

#[test]
fn a_key_in_the_wrong_section_is_sent_to_the_right_one() {
    let errors = errors(with_global("min-size=3"));
    assert_eq!(
        errors,
        ["cloud-config:4: [global]: unknown key \"min-size\"; it belongs into [nodegroup \"NAME\"]"]
    );
}

#[test]
fn files_that_are_no_configuration_are_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud-config");
    let load = || config::load(&path).unwrap_err();
    assert!(matches!(load(), ConfigError::Unreadable { .. }));
    assert!(matches!(
        config::load(dir.path()).unwrap_err(),
        ConfigError::Unreadable { .. }
    ));
    std::fs::write(&path, "#".repeat(1024 * 1024 + 1)).unwrap();
    assert!(matches!(load(), ConfigError::TooLarge { .. }));
    std::fs::write(&path, b"[global]\n# \xff\n").unwrap();
    assert!(matches!(load(), ConfigError::NotUtf8 { line: 2, .. }));
    assert!(
        load()
            .to_string()
            .ends_with("cloud-config:2: is not UTF-8; save the file in that encoding")
    );
}

#[test]
fn a_file_of_one_mebibyte_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud-config");
    let file = format!("{GLOBAL}{GROUP}");
    let padding = "#".repeat(1024 * 1024 - file.len());
    std::fs::write(&path, file + &padding).unwrap();
    assert!(config::load(&path).is_ok());
}

#[test]
fn debug_output_of_a_configuration_shows_no_token() {
    let config = parse(
        &format!("{GLOBAL}{GROUP}")
            .replace("=join", "=hunter2")
            .replace("=api", "=hunter3"),
    )
    .unwrap();
    assert!(!format!("{config:?}").contains("hunter"));
}
