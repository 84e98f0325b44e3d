//! Values arrive as they were given, whatever they hold.

use serde::Deserialize;
use slicer_cloud_provider::domain::node::{Taint, TaintEffect};

use crate::machine::{Machine, Userdata};

/// Each would do harm, or be changed, if one of the quotings were missing.
const HOSTILE: [&str; 10] = [
    "'; reboot; '",
    "\"; reboot; \"",
    "$(id)",
    "`id`",
    "%n %h",
    "${HOME} $HOME",
    r"back\slashes\n\",
    "two  spaces # no comment: x",
    "[a]{b,c}*?~&|<>!",
    "@K3S_URL@",
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Config {
    server: String,
    token_file: String,
    kubelet_arg: Vec<String>,
    #[serde(default)]
    node_taint: Vec<String>,
    node_label: Vec<String>,
    node_name: String,
}

fn config_of(machine: &Machine) -> Config {
    serde_saphyr::from_str(&machine.config()).unwrap()
}

#[test]
fn hostile_values_reach_the_configuration_unchanged() {
    for value in HOSTILE {
        let machine = Machine::new();
        let mut userdata = Userdata {
            taints: vec![Taint {
                key: "k".to_owned(),
                value: value.to_owned(),
                effect: TaintEffect::NoExecute,
            }],
            kubelet_args: vec![format!("x={value}")],
            ..Userdata::default()
        };
        userdata.labels.insert("hostile".to_owned(), value.to_owned());
        userdata.settings.k3s_url = format!("https://k3s.example/{value}");
        assert_eq!(machine.run(&userdata), Some(0), "{}", machine.log());

        let config = config_of(&machine);
        assert_eq!(config.server, userdata.settings.k3s_url);
        assert_eq!(config.token_file, "/etc/rancher/k3s/agent-token");
        assert_eq!(
            config.kubelet_arg,
            [
                "provider-id=slicer://agents-1/abcd1234".to_owned(),
                format!("x={value}")
            ]
        );
        assert_eq!(config.node_taint, [format!("k={value}:NoExecute")]);
        assert_eq!(config.node_label.first(), Some(&format!("hostile={value}")));
        assert_eq!(config.node_label.last().unwrap(), "slicer/hostname=agents-1-3");
    }
}

#[test]
fn hostile_values_reach_curl_and_the_installer_unchanged() {
    for value in HOSTILE {
        let machine = Machine::new();
        let mut userdata = Userdata {
            version: None,
            ..Userdata::default()
        };
        userdata.settings.install_url = format!("https://mirror.example/{value}");
        userdata.settings.channel = value.to_owned();
        userdata.settings.artifact_url = Some(format!("https://mirror.example/k3s/{value}"));
        assert_eq!(machine.run(&userdata), Some(0), "{}", machine.log());

        assert_eq!(
            machine.installer_variables(),
            [
                format!("INSTALL_K3S_ARTIFACT_URL=https://mirror.example/k3s/{value}"),
                format!("INSTALL_K3S_CHANNEL={value}"),
                "INSTALL_K3S_SKIP_START=true".to_owned(),
            ]
        );
        let download = machine.calls("curl").pop().unwrap();
        assert!(
            download.ends_with(&format!(" https://mirror.example/{value}")),
            "{download}"
        );
        assert!(
            download.starts_with("curl -g"),
            "curl expands braces without -g: {download}"
        );
    }
}

#[test]
fn lists_without_values_are_left_out() {
    let machine = Machine::new();
    let mut userdata = Userdata {
        taints: Vec::new(),
        kubelet_args: Vec::new(),
        ..Userdata::default()
    };
    userdata.labels.clear();
    assert_eq!(machine.run(&userdata), Some(0), "{}", machine.log());
    let config = config_of(&machine);
    assert!(!machine.config().contains("node-taint"));
    assert_eq!(config.kubelet_arg, ["provider-id=slicer://agents-1/abcd1234"]);
    assert_eq!(config.node_label, ["slicer/hostname=agents-1-3"]);
}

#[test]
fn node_names_are_lower_case_and_at_most_63_characters() {
    let long = "a".repeat(64);
    for (hostname, node_name) in [
        ("Agents-1-3", "agents-1-3-abcd1234".to_owned()),
        ("vm.example.com", "vm.example.com-abcd1234".to_owned()),
        (&long, format!("{}-abcd1234", "a".repeat(54))),
        (
            &format!("{}--x", "d".repeat(52)),
            format!("{}-abcd1234", "d".repeat(52)),
        ),
    ] {
        let machine = Machine::new();
        machine.write("fake/hostname", hostname);
        assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
        let config = config_of(&machine);
        assert_eq!(config.node_name, node_name);
        assert!(config.node_name.len() <= 63);
        let expected: String = hostname.to_lowercase().chars().take(63).collect();
        assert_eq!(
            config.node_label.last().unwrap(),
            &format!("slicer/hostname={expected}")
        );
    }
}
