//! The configuration file. Valid files are broken in many small ways, files are put together from nearly right lines,
//! and bytes are read from disk as they are.
//!
//! It asks what holds for every text: an end, a place for every problem, no secret told, and that whatever is accepted
//! keeps to the limits that the README states. How valid files may be written, and tokens that went astray in known
//! ways, are in `tests/config/properties.rs`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use rustix::time::{ClockId, clock_gettime};
use secrecy::ExposeSecret;
use slicer_cloud_provider::config::{self, Config, ConfigError, GlobalConfig, GroupConfig, keys};
use slicer_cloud_provider::domain::ids::is_label_value;
use slicer_cloud_provider::domain::node::is_label_key;
use slicer_cloud_provider::domain::spec::{Endpoint, K3sVersion, NodeGroupSpec};

/// What errors call the file. No other file of these tests has this name, so nothing else is read.
const FILE: &str = "/nowhere/cloud-config";

/// A file with every key that needs no other file; K3S, SLICER and SECOND stand for tokens.
const SAMPLE: &str = r#"# all keys
[global]
k3s-url = https://192.168.137.2:6443
k3s-token = "K3S"
default-min-size = 0
default-max-size = 5
cluster-name = home
k3s-version = v1.33.6+k3s1
k3s-channel = stable
k3s-install-url = https://get.k3s.io/install.sh?v=1
k3s-artifact-url = https://mirror.example/k3s

[nodegroup "agents-1"]
slicer-url = http://192.168.138.1:8080/api
slicer-token = SLICER ; a comment
host-group = agents
min-size = 1
max-size = 7
arch = aarch64
cpus = 4
ram = 8Gi
node-label = topology.kubernetes.io/zone=shed
node-label = "team=a"
node-taint = dedicated=batch:NoSchedule
node-taint = example.com/x=:NoExecute
kubelet-arg = max-pods=50
kubelet-arg = v=2
region = home
memory-reserve = 512Mi
ephemeral-storage = 25G
gpu-type = rtx-4000
gpu-count = 2
price-per-hour = 0.25
create-concurrency = 4
scale-down-utilization-threshold = 0.5
scale-down-gpu-utilization-threshold = 1
scale-down-unneeded-time = 1h30m
scale-down-unready-time = 90s
max-node-provision-time = 1.5h
ignore-daemonsets-utilization = true

[nodegroup "b"]
slicer-url = unix:///run/slicer/slicer.sock
zone = attic

[nodegroup "c"]
slicer-url = https://attic.example
slicer-token = SECOND
"#;

/// The three tokens of a file, each as it looks in real life.
#[derive(Clone, Debug)]
struct Tokens([String; 3]);

fn tokens() -> impl Strategy<Value = Tokens> {
    (
        "K10[0-9a-f]{64}::server:[0-9a-f]{32}",
        "[a-f][0-9][0-9a-f]{14,40}",
        "[A-Z][0-9][A-Za-z0-9+/_-]{14,41}={0,2}",
    )
        .prop_map(|(k3s, slicer, second)| Tokens([k3s, slicer, second]))
}

impl Tokens {
    fn fill(&self, text: &str) -> String {
        let [k3s, slicer, second] = &self.0;
        text.replace("K3S", k3s)
            .replace("SLICER", slicer)
            .replace("SECOND", second)
    }

    /// Pieces by which a token would be known: 16 characters in a row, as `config::error` promises. Names of sections
    /// and keys are shown in lower case, so case does not count.
    fn pieces(&self) -> Vec<String> {
        let telling = |piece: &&[u8]| {
            let plain = |c: &u8| c.is_ascii_alphanumeric() || b"+/-_=".contains(c);
            let has = |kind: fn(&u8) -> bool| piece.iter().any(kind);
            piece.iter().all(plain) && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
        };
        let lower = self.0.iter().map(|token| token.to_lowercase());
        lower
            .flat_map(|token| {
                let windows = token.as_bytes().windows(16).filter(telling);
                windows
                    .map(|piece| String::from_utf8_lossy(piece).into_owned())
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    #[track_caller]
    fn assert_not_in(&self, shown: &str) {
        let lower = shown.to_lowercase();
        for piece in self.pieces() {
            assert!(!lower.contains(&piece), "{piece} is told: {shown}");
        }
    }
}

/// One small damage. Numbers are positions, counted round and round.
#[derive(Clone, Debug)]
enum Damage {
    Replace(usize, char),
    Insert(usize, String),
    Delete(usize, usize),
    Truncate(usize),
    RepeatLine(usize, usize),
    DeleteLine(usize),
    SwapLines(usize, usize),
    JoinLines(usize),
    /// The value of a line moves behind the key of another.
    MoveValue(usize, usize),
    /// The value of a line is replaced.
    SetValue(usize, String),
    /// The value of a line in so many quotes, escaped or not.
    Quote(usize, usize, bool),
    Stretch(usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>().prop_map(|index| index.index(4096));
    let line = 0_usize..80;
    prop_oneof![
        3 => (at.clone(), strange_char()).prop_map(|(at, c)| Damage::Replace(at, c)),
        4 => (at.clone(), snippet()).prop_map(|(at, text)| Damage::Insert(at, text)),
        2 => (at.clone(), 1_usize..30).prop_map(|(at, count)| Damage::Delete(at, count)),
        1 => at.prop_map(Damage::Truncate),
        2 => (line.clone(), 1_usize..4).prop_map(|(line, times)| Damage::RepeatLine(line, times)),
        2 => line.clone().prop_map(Damage::DeleteLine),
        2 => (line.clone(), line.clone()).prop_map(|(a, b)| Damage::SwapLines(a, b)),
        2 => line.clone().prop_map(Damage::JoinLines),
        3 => (line.clone(), line.clone()).prop_map(|(from, to)| Damage::MoveValue(from, to)),
        6 => (line.clone(), value()).prop_map(|(line, value)| Damage::SetValue(line, value)),
        1 => (line.clone(), 1_usize..40, any::<bool>())
            .prop_map(|(at, depth, escaped)| Damage::Quote(at, depth, escaped)),
        1 => (line, 1_usize..5000).prop_map(|(line, length)| Damage::Stretch(line, length)),
    ]
}

fn strange_char() -> impl Strategy<Value = char> {
    prop_oneof![
        any::<char>(),
        prop::sample::select(vec![
            '\0',
            '\r',
            '\n',
            '\t',
            '"',
            '\'',
            '\\',
            '#',
            ';',
            '[',
            ']',
            '=',
            ' ',
            '\u{a0}',
            '\u{85}',
            '\u{2028}',
            '\u{202e}',
            '\u{feff}',
            '\u{fffd}',
            '\u{1f525}',
            '\u{300}',
            '\u{130}',
            '\u{7f}',
        ]),
    ]
}

fn snippet() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => prop::collection::vec(strange_char(), 1..6).prop_map(String::from_iter),
        3 => prop::sample::select(vec!["K3S", "SLICER", "SECOND"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec![
            "\n[global]\n", "\n[nodegroup \"agents-1\"]\n", "\n[nodegroup]\n", "\n\n", "\r\n", "://", "::",
            "\\\"", "=\"\"",
        ]).prop_map(str::to_owned),
    ]
}

/// Lines that are nearly right around a token, so that more than the value as a whole is looked at.
const AROUND_TOKENS: [&str; 14] = [
    "node-label=SLICER.kubernetes.io/a=b",
    "node-label=SLICER.k8s.io/a=",
    "node-label=SLICER=a b",
    "node-label=node-restriction.kubernetes.io/SLICER=a",
    "node-taint=node.kubernetes.io/SLICER:NoSchedule",
    "node-taint=SLICER=a:NoSchedule\nnode-taint=SLICER=b:NoSchedule",
    "node-taint=a=SLICER:Never",
    "kubelet-arg=--SLICER",
    "kubelet-arg=SLICER_=1",
    "zone-SLICER=a",
    "SLICER-zone=a",
    "[globalSLICER]",
    "[nodegroupSLICER \"a\"]",
    "[nodegroup \"SLICER/a\"]",
];

/// Values that are nearly right for some key, or right for another.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec![
            "0", "1", "-1", "+1", "-0", "00", "10000", "10001", "4294967295", "4294967296", "18446744073709551616",
            "1e3", "1E400", "0.0", "-0.0", "NaN", "inf", "1e-320", "1.0000000001", ".5", "5.", "1_000", "0x10",
        ]).prop_map(str::to_owned),
        2 => "[0-9]{1,30}(\\.[0-9]{0,12})?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e[0-9]{1,3}|e-[0-9]{1,3})?",
        2 => "([0-9]{0,22}(\\.[0-9]{0,20})?(ns|us|ms|s|m|h)){1,4}",
        2 => prop::sample::select(vec![
            "https://u:p@h", "https://h:0", "https://h:65536", "https://[::1]:6443", "https://[fe80::1%25eth0]/",
            "http://h/../..", "https://h/?a#b", "https://\u{fc}.example", "https://xn--a", "HTTPS://H", "https:h",
            "unix://", "unix:///x", "./s.sock", "~/s.sock", "/", "s.sock", "https://h\\@x", "https://h/%00",
        ]).prop_map(str::to_owned),
        1 => prop::sample::select(vec![
            "a=b=c", "=", "a=", "=a", "slicer/hostgroup=x", "node.kubernetes.io/a=b", "x.k8s.io/a=b", "a/b/c=d",
            "a:NoSchedule", "a=b:", "a=b:PreferNoSchedule", "node.kubernetes.io/not-ready:NoExecute", "-v=2", "V=2",
            "provider-id=a", "max-pods", "true", "false", "True", "amd64", "x86-64", "server", "v1.33.6+k3s",
        ]).prop_map(str::to_owned),
        2 => prop::sample::select(vec![
            "K3S", "SLICER", "SECOND", "a=SLICER", "SLICER=a:NoSchedule", "SLICER=1", "https://SLICER:6443",
            "http://h:SLICER", "https://h/SLICER", "SLICER://h", "/SECOND", "~/SECOND/", "SLICERGi", "1SLICER",
            "SLICER.sock",
        ]).prop_map(str::to_owned),
        1 => "(?s).{0,40}",
    ]
}

impl Damage {
    fn apply(&self, text: &str) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        let round = |at: usize| at % chars.len().max(1);
        match self {
            Self::Replace(at, c) => {
                let at = round(*at);
                if let Some(old) = chars.get_mut(at) {
                    *old = *c;
                }
            }
            Self::Insert(at, text) => {
                let at = round(*at);
                chars.splice(at..at, text.chars());
            }
            Self::Delete(at, count) => {
                let at = round(*at);
                let end = (at + count).min(chars.len());
                chars.drain(at..end);
            }
            Self::Truncate(at) => chars.truncate(round(*at)),
            _ => return self.apply_to_lines(text),
        }
        chars.into_iter().collect()
    }

    fn apply_to_lines(&self, text: &str) -> String {
        let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        let count = lines.len();
        let value_of = |line: &str| line.split_once('=').map_or(line, |(_, value)| value).to_owned();
        let set = |line: &mut String, value: &str| {
            let key = line.split('=').next().unwrap_or_default();
            *line = format!("{key}={value}");
        };
        match self {
            Self::RepeatLine(at, times) => {
                let line = lines[at % count].clone();
                lines.splice(at % count..at % count, vec![line; *times]);
            }
            Self::DeleteLine(at) => drop(lines.remove(at % count)),
            Self::SwapLines(a, b) => lines.swap(a % count, b % count),
            Self::JoinLines(at) if count > 1 => {
                let next = lines.remove(1 + at % (count - 1));
                lines[at % (count - 1)].push_str(&next);
            }
            Self::MoveValue(from, to) => {
                let value = value_of(&lines[from % count]);
                set(&mut lines[to % count], &value);
            }
            Self::SetValue(at, value) => set(&mut lines[at % count], value),
            Self::Quote(at, depth, escaped) => {
                let line = &mut lines[at % count];
                let quotes = if *escaped { "\\\"" } else { "\"" }.repeat(*depth);
                let value = format!("{quotes}{}{quotes}", value_of(line));
                set(line, &value);
            }
            Self::Stretch(at, length) => lines[at % count].push_str(&"x".repeat(*length)),
            _ => {}
        }
        lines.join("\n")
    }
}

/// A file that was valid, and its tokens.
fn damaged() -> impl Strategy<Value = (String, Tokens)> {
    (tokens(), prop::collection::vec(damage(), 1..6)).prop_map(|(tokens, damages)| {
        let text = damages
            .iter()
            .fold(SAMPLE.to_owned(), |text, damage| damage.apply(&text));
        (tokens.fill(&text), tokens)
    })
}

/// Headers and lines of keys that exist, in any order.
fn assembled() -> impl Strategy<Value = (String, Tokens)> {
    let names: Vec<_> = keys::SECTIONS
        .iter()
        .flat_map(|section| section.keys)
        .map(|key| key.name)
        .collect();
    let header = prop::sample::select(vec![
        "[global]",
        "[nodegroup \"a\"]",
        "[nodegroup \"b\"]",
        "[NodeGroup\"a\"]",
        "[nodegroup]",
        "[global \"a\"]",
        "[globl]",
        "[globalSLICER]",
        "[nodegroupSLICER]",
        "[nodegroup \"SLICER\"]",
        "[global SLICER]",
        "[nodegroup \"a b\"]",
    ]);
    let given: Vec<&str> = SAMPLE.lines().filter(|line| line.contains('=')).collect();
    let line = prop_oneof![
        1 => header.prop_map(str::to_owned),
        6 => prop::sample::select(given).prop_map(str::to_owned),
        4 => (prop::sample::select(names), value()).prop_map(|(key, value)| format!("{key}={value}")),
        1 => prop::sample::select(AROUND_TOKENS.to_vec()).prop_map(str::to_owned),
        1 => value(),
        1 => (prop::sample::select(vec!["slicer-token", "k3s-url", "max-size", "zone"]), snippet())
            .prop_map(|(key, text)| format!("{key}{text}=a")),
    ];
    let least = prop_oneof![
        Just(""),
        Just("[global]\nk3s-url=https://h\nk3s-token=K3S\n"),
        Just(
            "[nodegroup \"z\"]\nslicer-url=/s\n[global]\nk3s-url=https://h\nk3s-token=K3S\n\
             [nodegroup \"y\"]\nslicer-url=/s\n"
        ),
    ];
    (tokens(), least, prop::collection::vec(line, 0..12))
        .prop_map(|(tokens, least, lines)| (tokens.fill(&format!("{least}{}", lines.join("\n"))), tokens))
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    config::parse(text, Path::new(FILE))
}

/// All that holds for every text.
fn check(text: &str, tokens: &Tokens) {
    let outcome = parse(text);
    match (&outcome, parse(text)) {
        (Ok(first), Ok(second)) => assert_eq!(*first, second, "read twice"),
        (Err(first), Err(second)) => assert_eq!(format!("{first:?}"), format!("{second:?}"), "read twice"),
        _ => panic!("accepted once of two times"),
    }
    match outcome {
        Ok(config) => {
            keeps_to_its_limits(&config);
            shows_no_token(&config, text);
        }
        Err(error) => {
            names_places(&error, text.split('\n').count());
            tokens.assert_not_in(&format!("{error}\n{error:?}"));
        }
    }
}

fn names_places(error: &ConfigError, lines: usize) {
    let shown = error.to_string();
    assert_eq!(
        shown.lines().count(),
        error.problems().len(),
        "one line for each: {shown}"
    );
    assert!(!error.problems().is_empty());
    for (problem, told) in error.problems().iter().zip(shown.lines()) {
        assert!(
            (1..=lines).contains(&problem.line),
            "line {} of {lines}: {told}",
            problem.line
        );
        assert!(told.starts_with(&format!("{FILE}:{}: ", problem.line)), "{told}");
        assert!(!told.chars().any(char::is_control), "{told:?}");
        assert!(told.len() < 2000, "{told}");
    }
}

/// A token that stands in the file once was taken for nothing else, and what is known of it must not be shown.
fn shows_no_token(config: &Config, text: &str) {
    let shown = format!("{config:?}");
    let of_groups = config.groups.iter().filter_map(|group| group.slicer_token.as_ref());
    for source in of_groups.chain([&config.global.k3s_token]) {
        let token = source.current();
        let token = token.expose_secret();
        let unmistakable = token.len() >= 16 && text.matches(token).count() == 1;
        assert!(!unmistakable || !shown.contains(token), "{shown}");
    }
}

fn keeps_to_its_limits(config: &Config) {
    let ids: BTreeSet<_> = config.groups.iter().map(|group| &group.spec.id).collect();
    assert_eq!(ids.len(), config.groups.len(), "every name once");
    assert!(!ids.is_empty(), "at least one group");
    global_keeps_to_its_limits(&config.global);
    for group in &config.groups {
        group_keeps_to_its_limits(group);
    }
}

fn global_keeps_to_its_limits(global: &GlobalConfig) {
    let join = &global.join;
    assert!(is_name(global.cluster.as_str()));
    assert!(is_one_word(global.k3s_token.current().expose_secret()));
    let host = join.k3s_url.strip_prefix("https://").expect("https only");
    assert!(!host.is_empty() && !host.contains(['/', '@', '?', '#']), "{host}");
    for url in [&join.install_url].into_iter().chain(&join.artifact_url) {
        let known = ["http://", "https://", "/"].iter().any(|start| url.starts_with(start));
        assert!(known && !url.contains(['@', '#', '\n']), "{url}");
    }
    let in_channel = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-".contains(&c);
    assert!(!join.channel.is_empty() && join.channel.bytes().all(in_channel));
    if let K3sVersion::Exact(tag) = &join.version {
        assert!(tag.starts_with('v') && tag.contains("+k3s"), "{tag}");
    }
}

fn group_keeps_to_its_limits(group: &GroupConfig) {
    assert!((1..=256).contains(&group.create_concurrency.get()));
    let token = group.slicer_token.as_ref().map(|token| token.current());
    assert!(
        token
            .iter()
            .all(|token| is_one_word(token.expose_secret()) && token.expose_secret().is_ascii())
    );
    match &group.endpoint {
        Endpoint::Url(url) => {
            let host = url
                .strip_prefix("http://")
                .or(url.strip_prefix("https://"))
                .expect("http or https");
            assert!(
                !host.is_empty() && !host.contains(['@', '?', '#']) && !host.ends_with('/'),
                "{url}"
            );
            assert!(token.is_some(), "a URL needs a token");
        }
        Endpoint::Unix(path) => {
            let path = path.to_str().unwrap();
            assert!((1..=107).contains(&path.len()) && !path.ends_with('/'), "{path}");
        }
    }
    spec_keeps_to_its_limits(&group.spec);
}

fn spec_keeps_to_its_limits(spec: &NodeGroupSpec) {
    assert!(is_name(spec.id.as_str()) && is_name(&spec.host_group));
    let limits = spec.limits;
    assert!(
        limits.min <= limits.max && (1..=10_000).contains(&limits.max),
        "{limits:?}"
    );
    assert!(spec.cpus.is_none_or(|cpus| (1..=1024).contains(&cpus)));
    assert!(spec.gpu_count.is_none_or(|gpus| gpus <= 64));
    let ram = spec.ram_bytes.unwrap_or(u64::MAX);
    assert!(ram >= 128 << 20 && spec.memory_reserve.is_none_or(|reserve| reserve < ram));
    assert!(spec.ephemeral_storage > 0);
    assert!(spec.price_per_hour.is_none_or(|price| price.is_finite() && price > 0.0));
    for name in [&spec.zone, &spec.region, &spec.gpu_type].into_iter().flatten() {
        assert!(is_name(name), "{name}");
    }
    for (key, value) in &spec.labels {
        assert!(is_label_key(key) && is_label_value(value), "{key}={value}");
    }
    let taints: BTreeSet<_> = spec
        .taints
        .iter()
        .map(|taint| (&taint.key, taint.effect.as_str()))
        .collect();
    assert_eq!(taints.len(), spec.taints.len(), "every taint once");
    for arg in &spec.kubelet_args {
        assert!(
            arg.starts_with(|c: char| c.is_ascii_alphanumeric()) && !arg.contains(char::is_control),
            "{arg}"
        );
    }
    let overrides = &spec.overrides;
    let shares = [
        overrides.scale_down_utilization_threshold,
        overrides.scale_down_gpu_utilization_threshold,
    ];
    assert!(shares.into_iter().flatten().all(|share| (0.0..=1.0).contains(&share)));
    let times = [
        overrides.scale_down_unneeded_time,
        overrides.scale_down_unready_time,
        overrides.max_node_provision_time,
    ];
    let longest = Duration::from_nanos(i64::MAX.unsigned_abs());
    assert!(
        times
            .into_iter()
            .flatten()
            .all(|time| time > Duration::ZERO && time <= longest)
    );
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && is_label_value(text)
}

fn is_one_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Texts that grow: what begins them, what is repeated, and what follows as often.
const GROWING: [(&str, &str, &str); 11] = [
    ("", "x", ""),
    ("[global]\nk3s-token=", "x", ""),
    ("[global]\nk3s-token=\"", "\\\"", "\\\\"),
    ("[", "[", "\""),
    ("", "\n", "#\n"),
    ("", "[nodegroup \"a\"]\n", ""),
    ("[nodegroup \"a\"]\n", "node-label=a=b\n", "node-taint=a:NoSchedule\n"),
    ("[nodegroup \"a\"]\n", "an-unknown-key=\n", "ram=1\n"),
    ("[nodegroup \"a\"]\nprice-per-hour=", "1", ""),
    ("[nodegroup \"a\"]\nmax-node-provision-time=", "1ns", ""),
    ("[global]\nk3s-url=https://", "a.", "%"),
];

fn grown((start, first, second): (&str, &str, &str), bytes: usize) -> String {
    let half = |piece: &str| piece.repeat(bytes / 2 / piece.len().max(1));
    format!("{start}{}{}", half(first), half(second))
}

/// How many times longer a text of four times the size takes.
fn growth(shape: (&str, &str, &str)) -> f64 {
    let quickest = |bytes: usize| {
        let text = grown(shape, bytes);
        let run = || {
            let begun = processor_time();
            let _ = parse(&text);
            processor_time() - begun
        };
        (0..5).map(|_| run()).min().unwrap()
    };
    quickest(64 << 10).as_secs_f64() / quickest(16 << 10).as_secs_f64()
}

/// For how long this thread has had a processor: what else runs on the machine does not count.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

#[test]
fn time_grows_with_the_size_of_a_file_and_not_with_its_square() {
    for shape in GROWING {
        // Linear is 4, quadratic is 16. Caches may have been cold, but not each time.
        assert!((0..5).any(|_| growth(shape) < 9.0), "{shape:?}");
    }
}

#[test]
fn the_largest_file_comes_to_an_end_whatever_it_consists_of() {
    for shape in GROWING {
        let _ = parse(&grown(shape, 1 << 20));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_damaged_file_is_read_within_its_limits_or_refused_with_places_and_without_tokens(
        (text, tokens) in damaged(),
    ) {
        check(&text, &tokens);
    }

    #[test]
    fn an_assembled_file_is_read_within_its_limits_or_refused_with_places_and_without_tokens(
        (text, tokens) in assembled(),
    ) {
        check(&text, &tokens);
    }

    #[test]
    fn bytes_on_disk_are_read_as_their_text_or_refused_with_the_line(
        (text, _) in damaged(),
        bytes in prop::collection::vec(any::<u8>(), 0..4),
        at in any::<prop::sample::Index>(),
    ) {
        let mut content = text.into_bytes();
        let at = at.index(content.len() + 1);
        content.splice(at..at, bytes);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cloud-config");
        std::fs::write(&path, &content).unwrap();
        let loaded = config::load(&path).map_err(|error| error.to_string());
        match String::from_utf8(content) {
            Ok(text) => prop_assert_eq!(loaded, config::parse(&text, &path).map_err(|error| error.to_string())),
            Err(broken) => {
                let good = &broken.as_bytes()[..broken.utf8_error().valid_up_to()];
                let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
                let told = loaded.unwrap_err();
                prop_assert!(told.starts_with(&format!("{}:{line}: ", path.display())), "{}", told);
            }
        }
    }
}
