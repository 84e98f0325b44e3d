use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use secrecy::SecretString;
use slicer_cloud_provider::config::{self, Config, GlobalConfig, GroupConfig, keys};
use slicer_cloud_provider::domain::node::{Taint, TaintEffect};
use slicer_cloud_provider::domain::spec::{
    AutoscalingOverrides, Endpoint, JoinSettings, K3sVersion, Limits, NodeGroupSpec,
};
use slicer_cloud_provider::secret::SecretSource;

use super::{GLOBAL, GROUP, parse};

/// Lines of a section, as key and value.
type Lines = Vec<(&'static str, String)>;

fn group(id: String) -> impl Strategy<Value = (Lines, GroupConfig)> {
    let sizes = (0_u32..50, 1_u32..50);
    let token = "[!-~]{1,20}";
    let labels = prop::collection::btree_map("[a-z]{1,8}", "([a-z0-9]{1,8})?", 0..3);
    let taints = prop::collection::btree_set("[a-z]{1,8}", 0..3);
    let machine = prop::option::of((1_u32..64, 1_u64..64));
    let extras = (
        1_usize..=256,
        prop::option::of(1_u32..100),
        prop::option::of("[a-z]{1,6}"),
        prop::option::of(1_u64..9999),
    );
    (sizes, token, labels, taints, machine, extras).prop_map(
        move |((min, above), token, labels, taints, machine, (concurrency, percent, zone, seconds))| {
            let spec = NodeGroupSpec {
                id: id.parse().unwrap(),
                host_group: id.clone(),
                limits: Limits { min, max: min + above },
                arch: None,
                cpus: machine.map(|(cpus, _)| cpus),
                ram_bytes: machine.map(|(_, gibibytes)| gibibytes << 30),
                labels,
                taints: taints.into_iter().map(taint).collect(),
                kubelet_args: vec!["v=2".to_owned(), "system-reserved=cpu=1".to_owned()],
                zone,
                region: None,
                memory_reserve: None,
                ephemeral_storage: 25_000_000_000,
                gpu_type: None,
                gpu_count: None,
                price_per_hour: percent.map(|percent| f64::from(percent) / 100.0),
                overrides: AutoscalingOverrides {
                    scale_down_unneeded_time: seconds.map(Duration::from_secs),
                    ..AutoscalingOverrides::default()
                },
            };
            let config = GroupConfig {
                spec,
                endpoint: Endpoint::Url("http://192.168.138.1:8081/x".to_owned()),
                slicer_token: Some(SecretSource::value(SecretString::from(token.as_str()))),
                create_concurrency: NonZeroUsize::new(concurrency).unwrap(),
            };
            (lines_of(&config, token), config)
        },
    )
}

fn taint(key: String) -> Taint {
    Taint {
        key,
        value: "a".to_owned(),
        effect: TaintEffect::PreferNoSchedule,
    }
}

fn lines_of(group: &GroupConfig, token: String) -> Lines {
    let spec = &group.spec;
    let mut lines = vec![
        ("slicer-url", "http://192.168.138.1:8081/x/".to_owned()),
        ("slicer-token", token),
        ("min-size", spec.limits.min.to_string()),
        ("max-size", spec.limits.max.to_string()),
        ("create-concurrency", group.create_concurrency.to_string()),
    ];
    lines.extend(spec.cpus.map(|cpus| ("cpus", cpus.to_string())));
    lines.extend(spec.ram_bytes.map(|bytes| ("ram", format!("{}Gi", bytes >> 30))));
    lines.extend(
        spec.labels
            .iter()
            .map(|(key, value)| ("node-label", format!("{key}={value}"))),
    );
    lines.extend(spec.taints.iter().map(|taint| ("node-taint", taint.to_string())));
    lines.extend(spec.kubelet_args.iter().map(|arg| ("kubelet-arg", arg.clone())));
    lines.extend(spec.zone.iter().map(|zone| ("zone", zone.clone())));
    lines.extend(spec.price_per_hour.map(|price| ("price-per-hour", price.to_string())));
    let unneeded = spec.overrides.scale_down_unneeded_time;
    lines.extend(unneeded.map(|time| ("scale-down-unneeded-time", format!("{}s", time.as_secs()))));
    lines
}

fn global() -> impl Strategy<Value = (Lines, GlobalConfig)> {
    ("[a-z]{1,10}", "[!-JL-~][!-~]{0,20}", "[a-z0-9.-]{1,8}").prop_map(|(cluster, token, channel)| {
        let lines = vec![
            ("k3s-url", "https://192.168.137.2:6443".to_owned()),
            ("k3s-token", token.clone()),
            ("cluster-name", cluster.clone()),
            ("k3s-channel", channel.clone()),
            ("k3s-version", "v1.33.6+k3s1".to_owned()),
        ];
        let config = GlobalConfig {
            join: JoinSettings {
                k3s_url: "https://192.168.137.2:6443".to_owned(),
                version: K3sVersion::Exact("v1.33.6+k3s1".to_owned()),
                channel,
                install_url: "https://get.k3s.io".to_owned(),
                artifact_url: None,
            },
            k3s_token: SecretSource::value(SecretString::from(token)),
            ca_bundle: None,
            cluster: cluster.parse().unwrap(),
        };
        (lines, config)
    })
}

/// How one line is written.
#[derive(Clone, Debug)]
struct Style {
    indent: String,
    around_equals: (String, String),
    upper_case: bool,
    quoted: bool,
    comment: String,
    line_end: &'static str,
}

fn style() -> impl Strategy<Value = Style> {
    let blank = "[ \t]{0,3}";
    let comment = prop_oneof![Just(String::new()), "[ \t]{1,2}[#;][ -~]{0,9}", "[ \t]{1,2}"];
    let line_end = prop_oneof![
        4 => Just("\n"),
        2 => Just("\r\n"),
        1 => Just("\n\n \t\n"),
        1 => Just("\n  # k3s-url = \"a\n;[global]\n"),
    ];
    (blank, (blank, blank), any::<bool>(), any::<bool>(), comment, line_end).prop_map(
        |(indent, around_equals, upper_case, quoted, comment, line_end)| Style {
            indent,
            around_equals,
            upper_case,
            quoted,
            comment,
            line_end,
        },
    )
}

impl Style {
    fn cased(&self, name: &str) -> String {
        if self.upper_case {
            name.to_uppercase()
        } else {
            name.to_owned()
        }
    }

    fn header(&self, kind: &str, name: Option<&str>) -> String {
        let (before, after) = &self.around_equals;
        let name = name.map(|name| format!("{after}\"{name}\"")).unwrap_or_default();
        let kind = self.cased(kind);
        format!(
            "{}[{before}{kind}{name}{before}]{}{}",
            self.indent, self.comment, self.line_end
        )
    }

    fn entry(&self, key: &str, value: &str) -> String {
        let needs_quotes = value.contains(['"', '\\', '#', ';']) || value.starts_with('\'');
        let value = if self.quoted || needs_quotes {
            format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
        } else {
            value.to_owned()
        };
        let (before, after) = &self.around_equals;
        format!(
            "{}{}{before}={after}{value}{}{}",
            self.indent,
            self.cased(key),
            self.comment,
            self.line_end
        )
    }
}

/// A valid configuration and one of the many ways to write it.
fn written() -> impl Strategy<Value = (String, Config)> {
    let groups = prop::collection::btree_set("[a-zA-Z][a-z0-9]{0,6}", 1..4)
        .prop_flat_map(|ids| ids.into_iter().map(|id| group(id).boxed()).collect::<Vec<_>>());
    let styles = prop::collection::vec(style(), 16);
    let ranks = prop::collection::btree_map(0_usize..37, any::<u8>(), 0..37);
    (global(), groups, styles, ranks, any::<bool>(), any::<bool>()).prop_map(
        |((global_lines, global), groups, styles, ranks, bom, ends_in_newline)| {
            let mut styles = styles.iter().cycle();
            let mut text = String::from(if bom { "\u{feff}" } else { "" });
            let mut sections = vec![("global", None, global_lines)];
            let mut configs = Vec::new();
            for (lines, config) in groups {
                sections.push(("nodegroup", Some(config.spec.id.to_string()), lines));
                configs.push(config);
            }
            for (kind, name, lines) in sections {
                text += &styles.next().unwrap().header(kind, name.as_deref());
                for (key, value) in shuffled(lines, &ranks) {
                    text += &styles.next().unwrap().entry(key, &value);
                }
            }
            if !ends_in_newline {
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
            }
            (
                text,
                Config {
                    global,
                    groups: configs,
                },
            )
        },
    )
}

/// Keys in another order; lines of a repeated key keep theirs.
fn shuffled(mut lines: Lines, ranks: &BTreeMap<usize, u8>) -> Lines {
    let all: Vec<_> = keys::SECTIONS
        .iter()
        .flat_map(|section| section.keys)
        .map(|key| key.name)
        .collect();
    lines.sort_by_key(|(key, _)| {
        let index = all.iter().position(|name| name == key).unwrap();
        (ranks.get(&index).copied().unwrap_or_default(), index)
    });
    lines
}

/// Files that are nearly right: pieces of lines, put together at random.
fn nearly_ini() -> impl Strategy<Value = String> {
    let names: Vec<_> = keys::SECTIONS
        .iter()
        .flat_map(|section| section.keys)
        .map(|key| key.name)
        .collect();
    let piece = prop_oneof![
        2 => prop_oneof![Just(GLOBAL), Just(GROUP), Just("[nodegroup \"b\"]\n"), Just("[nodegroup \"")].prop_map(str::to_owned),
        6 => prop::sample::select(names).prop_map(str::to_owned),
        6 => prop_oneof![Just("="), Just("=\""), Just("\"\n"), Just("\n"), Just("\r\n"), Just(" # "), Just("\\"), Just("'")]
            .prop_map(str::to_owned),
        4 => "[0-9]{1,20}(Gi|G|m|h|s)?",
        3 => ".{0,8}",
        2 => prop_oneof![Just("https://"), Just("unix://"), Just("~/"), Just("K10"), Just("a=b:NoSchedule"), Just("\u{feff}")]
            .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// What a token looks like in real life: K3s' own form, hex or base64, and a bootstrap token.
fn token() -> impl Strategy<Value = String> {
    prop_oneof![
        "K10[0-9a-f]{64}::(server|node):[0-9a-f]{32}",
        "K10[0-9a-f]{0,70}:{0,3}[a-z]{0,6}",
        "[a-z][0-9][0-9a-f]{14,40}",
        "[A-Z][0-9][A-Za-z0-9+/_-]{14,41}={0,2}",
    ]
    .prop_filter("the bare prefix is explained in errors", |token| token.len() > 3)
}

/// Lines in which a token went astray.
fn astray() -> impl Strategy<Value = String> {
    let names: Vec<_> = keys::SECTIONS
        .iter()
        .flat_map(|section| section.keys)
        .map(|key| key.name)
        .collect();
    prop_oneof![
        prop::sample::select(names).prop_map(|key| format!("{key}=TOKEN")),
        prop::sample::select(vec![
            "TOKEN",
            "TOKEN=",
            "TOKEN=x",
            "[TOKEN]",
            "[nodegroup TOKEN]",
            "[nodegroup \"TOKEN\"]",
            "[global TOKEN]",
            "k3s-token TOKEN",
            "k3s-token: TOKEN",
            "k3s-token='TOKEN'",
            "k3s-token=\"TOKEN",
            "k3s-token=TOKEN x",
            "k3s-token=TOKEN#",
            "k3s_token=TOKEN",
            "k3s-tokn=TOKEN",
            "k3s-token=\"TOKEN\" \"TOKEN\"",
            "k3s-token=TOKEN\\",
            "k3s-token-file=/run/TOKEN",
            "k3s-url=https://TOKEN@h",
            "k3s-url=https://u:TOKEN@h",
            "k3s-url=https://h?t=TOKEN",
            "k3s-url=TOKEN://h",
            "slicer-url=http://u:TOKEN@h",
            "slicer-url=http://h/?token=TOKEN",
            "min-size=TOKEN",
            "node-label=a=TOKEN",
            "node-label=TOKEN=a",
            "node-taint=a=TOKEN:Never",
            "kubelet-arg=--token=TOKEN",
            "\u{a0}TOKEN",
            "k3s-token=TOKEN\u{a0}",
            "k3s-token=TOKEN\u{7}",
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_valid_configuration_is_read_back_however_it_is_written((text, config) in written()) {
        match parse(&text) {
            Ok(read) => prop_assert_eq!(read, config, "{:?}", text),
            Err(error) => prop_assert!(false, "{error}\n{text:?}"),
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(?s).{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_text_that_is_nearly_right_makes_the_parser_panic(text in nearly_ini()) {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.problems().is_empty());
            prop_assert!(error.problems().is_sorted_by_key(|problem| problem.line));
            prop_assert_eq!(error.to_string().lines().count(), error.problems().len());
        }
    }

    #[test]
    fn no_error_repeats_a_token_wherever_it_went(
        token in token(),
        lines in prop::collection::vec((astray(), 0_usize..8), 1..4),
    ) {
        let valid = format!("{GLOBAL}{GROUP}slicer-tokn=x\n");
        let mut text: Vec<String> = valid.lines().map(str::to_owned).collect();
        for (line, at) in lines {
            text.insert(at.min(text.len()), line.replace("TOKEN", &token));
        }
        let error = config::parse(&text.join("\n"), Path::new("f")).unwrap_err();
        for shown in [error.to_string(), format!("{error:?}")] {
            prop_assert!(!shown.contains(&token), "{shown}");
        }
    }

    #[test]
    fn no_error_repeats_even_the_shortest_token_behind_its_own_key(
        token in "zq[a-z0-9#;'\"\\\\ ]{1,9}",
        key in prop::sample::select(vec!["k3s-token", "k3s-token-file", "slicer-token", "slicer-token-file"]),
        separator in prop::sample::select(vec!["=", " ", ":", "=\"", "='", "= "]),
    ) {
        let section = if key.starts_with("k3s") { "[global]" } else { "[nodegroup \"a\"]" };
        let error = parse(&format!("{section}\n{key}{separator}{token}\n")).unwrap_err();
        prop_assert!(!format!("{error} {error:?}").contains("zq"), "{error}");
    }
}
