//! What a Slicer host answers. One server sends every case's bytes, whatever is asked of it: valid answers that were
//! damaged, any JSON, any status and header, answers that end too early, and bytes that are no HTTP at all.
//!
//! It asks what the port promises of every answer: an end, a fate that fits it, a short message without secrets, and
//! nothing believed that was not said. What known answers mean is in `tests/slicer_client`; hosts that stay silent or
//! flood are there, too.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};
use slicer_cloud_provider::domain::failure::{HostError, HostErrorKind as Kind, RequestFate as Fate};
use slicer_cloud_provider::domain::ids::Hostname;
use slicer_cloud_provider::domain::spec::Endpoint;
use slicer_cloud_provider::domain::vm::{HostGroup, UserdataState, Vm};
use slicer_cloud_provider::provider::ports::{SlicerHost, VmRequest};
use slicer_cloud_provider::secret::SecretSource;
use slicer_cloud_provider::slicer::{Client, HostInfo, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// What the client shows the host.
const TOKEN: &str = "s3cr3t/api\"token\\1";
/// What it puts there for VMs.
const JOIN_TOKEN: &str = "K10deadbeef::server:j0in-passw0rd";
/// The secret that it asks for.
const SECRET_NAME: &str = "k3s-token-0123456789ab";

/// No time-out on a loaded machine: only the answer is to count.
const PATIENT: Timeouts = Timeouts {
    connect: Duration::from_secs(60),
    read: Duration::from_secs(60),
    create: Duration::from_secs(60),
    delete: Duration::from_secs(60),
};

/// The host: what it answers to paths that begin with a number.
struct TestHost {
    runtime: Runtime,
    url: String,
    answers: Arc<Mutex<HashMap<usize, Vec<u8>>>>,
}

static HOST: LazyLock<TestHost> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers = Arc::default();
    runtime.spawn(serve(listener, Arc::clone(&answers)));
    TestHost { runtime, url, answers }
});

async fn serve(listener: TcpListener, answers: Arc<Mutex<HashMap<usize, Vec<u8>>>>) {
    loop {
        let (stream, _) = listener.accept().await.expect("not too many connections at once");
        tokio::spawn(answer_once(stream, Arc::clone(&answers)));
    }
}

/// Reads one whole request, so that closing the connection resets nothing, answers it and closes.
async fn answer_once(mut stream: TcpStream, answers: Arc<Mutex<HashMap<usize, Vec<u8>>>>) -> Option<()> {
    let mut request = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            break (head.to_owned(), length_of(head).saturating_sub(body.len()));
        }
    };
    stream.read_exact(&mut vec![0; length]).await.ok()?;
    let number = head.split('/').nth(1)?.parse().ok()?;
    let answer = answers.lock().unwrap().get(&number)?.clone();
    stream.write_all(&answer).await.ok()?;
    stream.shutdown().await.ok()
}

fn length_of(head: &str) -> usize {
    let length = |line: &str| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok();
    head.lines().find_map(length).unwrap_or(0)
}

/// How an answer's length is told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    Length,
    Chunked,
    UntilClosed,
    /// More is announced than comes.
    CutOff,
}

#[derive(Clone)]
struct Answer {
    status: u16,
    headers: String,
    framing: Framing,
    body: Vec<u8>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.framing, self.bytes().escape_ascii())
    }
}

impl Answer {
    fn bytes(&self) -> Vec<u8> {
        let length = self.body.len();
        let mut bytes = format!("HTTP/1.1 {} Whatever\r\n{}", self.status, self.headers).into_bytes();
        match self.framing {
            Framing::Length => bytes.extend(format!("Content-Length: {length}\r\n\r\n").bytes()),
            Framing::CutOff => bytes.extend(format!("Content-Length: {}\r\n\r\n", length + 1).bytes()),
            Framing::UntilClosed => bytes.extend(b"Connection: close\r\n\r\n"),
            Framing::Chunked => bytes.extend(format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n").bytes()),
        }
        bytes.extend(&self.body);
        // A chunk of no bytes is the end already.
        match (self.framing, length) {
            (Framing::Chunked, 0) => bytes.extend(b"\r\n"),
            (Framing::Chunked, _) => bytes.extend(b"\r\n0\r\n\r\n"),
            _ => {}
        }
        bytes
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as the client gets to see it: these two statuses have none.
    fn seen(&self) -> &[u8] {
        let has_body = !matches!(self.status, 204 | 304) && self.framing != Framing::CutOff;
        if has_body { &self.body } else { b"" }
    }

    /// What the body says; `None` also if there is only something unreadable where nobody looks.
    fn value(&self) -> Option<Value> {
        serde_json::from_slice(self.seen()).ok()
    }

    /// Whether the body begins as what this opens, or is `null`.
    fn opens(&self, with: u8) -> bool {
        let body = self.seen().trim_ascii();
        body.first() == Some(&with) || body == b"null"
    }
}

fn secret_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(TOKEN.to_owned()),
        Just(JOIN_TOKEN.to_owned()),
        Just(STANDARD.encode(TOKEN)),
        Just(STANDARD.encode(JOIN_TOKEN)),
        Just(Value::from(TOKEN).to_string()),
        Just(format!("Bearer {TOKEN}{JOIN_TOKEN}")),
    ]
}

/// Texts that mean something to some reader, or that no reader should choke on.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec![
            "", " ", "agents-1", ".", "..", "a/b", "a\nb", "\u{0}", "\u{7f}", "\u{202e}x", "4", "-1", "1e9", "true",
            "paused", "x86_64", "2024-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999+25:00",
            "no free IP", "not found", "trial limit", "invalid token", "too large", SECRET_NAME,
        ]).prop_map(str::to_owned),
        1 => (".{0,20}", secret_text(), ".{0,20}")
            .prop_map(|(before, secret, after)| format!("{before}{secret}{after}")),
        1 => (0_usize..700, secret_text()).prop_map(|(length, secret)| format!("{}{secret}", "x".repeat(length))),
        2 => "(?s).{0,30}",
        1 => prop::sample::select(vec![253, 254, 5000]).prop_map(|length| "h".repeat(length)),
    ]
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-3_i64..5).prop_map(Value::from),
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        text().prop_map(Value::from),
    ]
}

/// A field that some answer has, or none has.
fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => prop::sample::select(vec![
            "hostname", "tags", "cpus", "ram_bytes", "created_at", "status", "name", "gpu_count", "arch", "error",
            "message", "userdata_ran", "userdata_exit_code", "content", "version", "git_commit", "platform",
        ]).prop_map(str::to_owned),
        1 => ".{0,6}",
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((field(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Answers as they should be, one for each call.
fn valid() -> impl Strategy<Value = Value> {
    let vm = json!({"hostname": "agents-1", "tags": ["a=b", 7], "cpus": 2, "ram_bytes": 4 << 30, "arch": "x86_64",
                    "created_at": "2024-05-01T10:00:00Z", "status": "Running"});
    let group = json!({"name": "agents", "cpus": 2, "ram_bytes": 4 << 30, "gpu_count": 0, "arch": "aarch64"});
    prop::sample::select(vec![
        json!([vm, vm]),
        json!([group, null]),
        json!({"hostname": "agents-1", "ip": "10.0.0.2", "created_at": "now"}),
        json!({"message": "deleted", "disk_removed": "true", "error": ""}),
        json!([{"name": SECRET_NAME, "size": 32}, {"name": "other"}]),
        json!({"userdata_ran": true, "userdata_exit_code": 0, "hostname": "agents-1"}),
        json!({"content": format!("boot\n{TOKEN} {JOIN_TOKEN}\n"), "hostname": "agents-1"}),
        json!({"version": "0.1", "git_commit": "abc", "platform": "linux", "arch": "x86_64"}),
        json!({"error": "no free IP in 192.168.137.0/24"}),
    ])
}

/// One value within `value`, found by walking down at random, becomes another; or a field is added or goes.
fn change(value: &mut Value, way: &[prop::sample::Index], new: (String, Value)) {
    let (Some((step, rest)), nested) = (way.split_first(), value.is_array() || value.is_object()) else {
        *value = new.1;
        return;
    };
    match value {
        Value::Array(list) if !list.is_empty() => change(step.get_mut(list), rest, new),
        Value::Object(fields) if !fields.is_empty() && !rest.is_empty() => {
            let name = step.get(&fields.keys().cloned().collect::<Vec<_>>()).clone();
            change(&mut fields[&name], rest, new);
        }
        Value::Object(fields) if step.index(3) == 0 => {
            let name = fields.keys().next().cloned().unwrap_or_default();
            fields.remove(&name);
        }
        Value::Object(fields) => drop(fields.insert(new.0, new.1)),
        _ if nested => {}
        _ => *value = new.1,
    }
}

fn changed() -> impl Strategy<Value = Value> {
    let way = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    (valid(), prop::collection::vec((way, field(), any_json()), 0..3)).prop_map(|(mut value, changes)| {
        for (way, name, new) in changes {
            change(&mut value, &way, (name, new));
        }
        value
    })
}

/// JSON as text, damaged where JSON values cannot be.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let json = prop_oneof![3 => changed(), 2 => any_json()]
        .prop_map(|value| value.to_string())
        .boxed();
    let replaced = |json: String, from: &'static str, to: &'static str| json.replacen(from, to, 1).into_bytes();
    let twists = vec![
        ("\"agents-1\"", "\"agents-1\",\"hostname\":\"b\""),
        ("\"agents-1\"", "\"\\ud800\""),
        ("\"agents-1\"", "\"\\u0000\""),
        (":2", ":1e400"),
        (":2", ":340282366920938463463374607431768211456"),
        (":true", ":truE"),
        ("}", ",}"),
        ("{", "\u{feff}{"),
    ];
    prop_oneof![
        6 => json.clone().prop_map(String::into_bytes),
        2 => (json.clone(), prop::sample::select(twists)).prop_map(move |(json, (from, to))| replaced(json, from, to)),
        1 => (json.clone(), any::<prop::sample::Index>())
            .prop_map(|(json, at)| json.as_bytes()[..at.index(json.len())].to_vec()),
        1 => (json, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(json, at, byte)| {
            let mut bytes = json.into_bytes();
            *at.get_mut(&mut bytes) = byte;
            bytes
        }),
        1 => (1_usize..300, prop::sample::select(vec!["[", "{\"error\":", "[{\"tags\":"]))
            .prop_map(|(depth, open)| open.repeat(depth).into_bytes()),
        1 => text().prop_map(|text| format!("<html><p class=\"{text}\">{text}</html>").into_bytes()),
        1 => text().prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..50),
        1 => Just(vec![b' '; 70_000]),
    ]
}

fn status() -> impl Strategy<Value = u16> {
    prop_oneof![
        4 => Just(200_u16),
        2 => prop::sample::select(vec![201, 202, 204, 206, 299]),
        3 => prop::sample::select(vec![400, 401, 403, 404, 408, 409, 413, 422, 429, 499]),
        2 => prop::sample::select(vec![500, 502, 503, 504, 507, 599, 300, 302, 304, 307, 600, 999]),
        1 => 200_u16..1000,
    ]
}

fn header() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "Content-Type: application/json",
            "Content-Type: text/html; charset=utf-16",
            "Content-Encoding: gzip",
            "Location: http://127.0.0.1:1/",
            "Retry-After: 4294967296",
            "Connection: upgrade",
            "Set-Cookie: a=b",
            "Content-Type: \u{fc}",
            "Date:",
            "X:   \t ",
        ])
        .prop_map(|header| format!("{header}\r\n")),
        ("[A-Za-z-]{1,12}", "[ -~]{0,60}").prop_map(|(name, value)| format!("X-{name}: {value}\r\n")),
        text().prop_map(|text| format!("X-Text: {}\r\n", text.replace(char::is_control, " "))),
        // Not 60 kB: with as long a body, hyper takes one in a hundred such answers for a connection that closed.
        Just(format!("X-Long: {}\r\n", "y".repeat(4_000))),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let framing = prop_oneof![
        5 => Just(Framing::Length),
        2 => Just(Framing::Chunked),
        1 => Just(Framing::UntilClosed),
        1 => Just(Framing::CutOff),
    ];
    let headers = prop::collection::vec(header(), 0..4).prop_map(|headers| headers.concat());
    (status(), headers, framing, body()).prop_map(|(status, headers, framing, body)| Answer {
        status,
        headers,
        framing,
        body,
    })
}

/// Bytes in which nothing says that the host refused.
fn no_http() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        text().prop_map(String::into_bytes),
        prop::sample::select(vec![
            "HTTP/1.1 200",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1e9\r\n\r\n",
            "HTTP/9.9 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
            "HTTP/1.1 \u{fc}",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
            "HTTP/2.0 200 OK\r\n\r\n{}",
            "PRI * HTTP/2.0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n{}",
            "SSH-2.0-OpenSSH_9.9\r\n",
            "\u{15}\u{3}\u{1}\u{0}\u{2}\u{2}\u{16}",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        (1_usize..200)
            .prop_map(|count| format!("HTTP/1.1 200 OK\r\n{}\r\n{{}}", "A: b\r\n".repeat(count)).into_bytes()),
    ]
}

/// What came of every call to a host that answers one thing.
struct Outcomes {
    info: Result<HostInfo, HostError>,
    groups: Result<Vec<HostGroup>, HostError>,
    vms: Result<Vec<Vm>, HostError>,
    created: Result<Hostname, HostError>,
    deleted: Result<(), HostError>,
    secret: Result<(), HostError>,
    userdata: Result<UserdataState, HostError>,
    log: Result<String, HostError>,
}

fn client(number: usize) -> Client {
    let endpoint = Endpoint::Url(format!("{}/{number}", HOST.url));
    let source = |text: &str| SecretSource::value(SecretString::from(text));
    let client = Client::new(&endpoint, Some(source(TOKEN)), None, PATIENT).unwrap();
    client.hiding(source(JOIN_TOKEN))
}

async fn ask_everything(answer: Vec<u8>) -> Outcomes {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    HOST.answers.lock().unwrap().insert(number, answer);
    let client = client(number);
    let request = VmRequest {
        cpus: Some(2),
        ram_bytes: None,
        gpu_count: None,
        userdata: "#!/bin/sh\n".to_owned(),
        tags: vec!["slicer-cloud-provider/launch=abcd1234".to_owned()],
        secrets: vec![SECRET_NAME.to_owned()],
    };
    let (vm, join_token) = (Hostname::from("agents-1"), SecretString::from(JOIN_TOKEN));
    let everything = async {
        let (info, groups, vms, created, deleted, secret, userdata, log) = tokio::join!(
            client.info(),
            client.host_groups(),
            client.list_vms("agents", Some("a=b")),
            client.create_vm("agents", &request),
            client.delete_vm("agents", &vm),
            client.ensure_secret(SECRET_NAME, &join_token),
            client.userdata_state(&vm),
            client.serial_log_tail(&vm, 20),
        );
        Outcomes {
            info,
            groups,
            vms,
            created,
            deleted,
            secret,
            userdata,
            log,
        }
    };
    // Far more than the client's own limits add up to.
    let outcomes = tokio::time::timeout(Duration::from_secs(300), everything).await;
    HOST.answers.lock().unwrap().remove(&number);
    outcomes.expect("every call ends")
}

/// Asks everything of hosts that give these answers, all at once: most of the time goes by between repeats.
fn ask_all(answers: Vec<Vec<u8>>) -> Vec<Outcomes> {
    let asked = answers
        .into_iter()
        .map(|answer| HOST.runtime.spawn(ask_everything(answer)));
    let asked = HOST
        .runtime
        .block_on(futures::future::join_all(asked.collect::<Vec<_>>()));
    asked
        .into_iter()
        .map(|outcome| outcome.expect("no call panics"))
        .collect()
}

impl Outcomes {
    fn errors(&self) -> impl Iterator<Item = (&'static str, &HostError)> {
        [
            ("info", self.info.as_ref().err()),
            ("groups", self.groups.as_ref().err()),
            ("vms", self.vms.as_ref().err()),
            ("create", self.created.as_ref().err()),
            ("delete", self.deleted.as_ref().err()),
            ("secret", self.secret.as_ref().err()),
            ("userdata", self.userdata.as_ref().err()),
            ("log", self.log.as_ref().err()),
        ]
        .into_iter()
        .filter_map(|(call, error)| Some((call, error?)))
    }
}

fn tells_no_secret(text: &str) {
    let forms = [TOKEN, JOIN_TOKEN, "j0in-passw0rd"].map(|secret| {
        let in_json = Value::from(secret).to_string();
        [
            secret.to_owned(),
            STANDARD.encode(secret),
            in_json.trim_matches('"').to_owned(),
        ]
    });
    for form in forms.as_flattened() {
        assert!(!text.contains(form.as_str()), "{form} is told: {text}");
    }
}

/// What every error is like.
fn is_presentable(error: &HostError) {
    assert!(error.message.chars().count() < 700, "{}", error.message.len());
    assert!(!error.message.chars().any(char::is_control), "{:?}", error.message);
    assert!(
        error.message.contains(&HOST.url),
        "it names the host: {}",
        error.message
    );
    tells_no_secret(&format!("{error:?}"));
}

/// Whether a whole error answer may mean this.
fn fits(status: u16, error: &HostError) -> bool {
    let fate = match status {
        507 => Fate::NotDone,
        408 | 500.. => Fate::Unclear,
        _ => Fate::NotDone,
    };
    let kinds: &[Kind] = match status {
        401 => &[Kind::Unauthorized],
        403 => &[Kind::OutOfResources, Kind::Unauthorized, Kind::Refused],
        404 => &[Kind::NotFound],
        408 | 502 | 504 => &[Kind::Broken],
        429 => &[Kind::Busy],
        400 | 409 | 422 => &[Kind::Refused, Kind::OutOfResources],
        400..500 => &[Kind::Refused],
        507 => &[Kind::OutOfResources],
        500..600 => &[Kind::Broken, Kind::OutOfResources],
        _ => &[Kind::Nonsense],
    };
    // An error of more than 64 KiB says nothing but its status.
    error.fate == fate && (kinds.contains(&error.kind) || error.kind == Kind::Nonsense)
}

/// Tells which answer of a bunch it was: to find that out by shrinking takes a second or two for each guess.
struct ToldOnPanic<'a>(&'a Answer);

impl Drop for ToldOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the answer was {:?}", self.0);
        }
    }
}

fn check(answer: &Answer, outcomes: &Outcomes) {
    let _told = ToldOnPanic(answer);
    for (call, error) in outcomes.errors() {
        is_presentable(error);
        if answer.is_success() {
            // A delete that was told "not found" in a 200 is the one thing that was certainly not done.
            let not_found = call == "delete" && error.kind == Kind::NotFound;
            assert!(not_found || error.fate != Fate::NotDone, "{call}: {error:?}");
            let cut_off = answer.framing == Framing::CutOff && error.kind == Kind::Unreachable;
            let expected = cut_off || error.kind == Kind::Nonsense || (call == "delete" && error.kind == Kind::Broken);
            assert!(not_found || expected, "{call}: {error:?}");
        } else {
            assert!(fits(answer.status, error), "{call}: {error:?}");
        }
    }
    believes_only_what_was_said(answer, outcomes);
}

/// What was accepted is what the answer says.
fn believes_only_what_was_said(answer: &Answer, outcomes: &Outcomes) {
    let said = answer.value();
    let (is_list, is_object) = (answer.opens(b'['), answer.opens(b'{'));
    let good = answer.is_success();
    if let Ok(groups) = &outcomes.groups {
        assert!(good && is_list);
        groups.iter().for_each(is_usable_group);
    }
    if let Ok(vms) = &outcomes.vms {
        assert!(good && is_list);
        vms.iter().for_each(is_usable_vm);
        if let Some(said) = &said {
            lists_the_same(said, vms);
        }
    }
    if let Ok(hostname) = &outcomes.created {
        let same = said.as_ref().is_none_or(|said| said["hostname"] == hostname.as_str());
        assert!(good && is_object && same, "{hostname}");
        is_usable_name(hostname);
    }
    if outcomes.deleted.is_ok() {
        let error = said.as_ref().and_then(|said| said.get("error"));
        let none = error.is_none_or(|error| {
            matches!(error, Value::Null | Value::Bool(false))
                || error.as_str().is_some_and(|text| text.trim().is_empty())
        });
        assert!(good && none, "{error:?}");
    }
    assert!(outcomes.secret.is_err() || (good && is_list));
    match &outcomes.userdata {
        Ok(UserdataState::Pending) => assert!((good && is_object) || [400, 404].contains(&answer.status)),
        Ok(_) => assert!(good && said.is_none_or(|said| said.get("userdata_ran").is_some())),
        Err(_) => {}
    }
    if let Ok(log) = &outcomes.log {
        assert!(good && log.len() <= 4096);
        tells_no_secret(log);
    }
    if let Ok(info) = &outcomes.info {
        let nothing = *info == HostInfo::default();
        assert!((good && is_object) || (nothing && answer.status == 404), "{info:?}");
    }
}

fn is_usable_group(group: &HostGroup) {
    assert!(!group.name.trim().is_empty());
    assert!(group.cpus != Some(0) && group.ram_bytes != Some(0));
}

fn is_usable_name(hostname: &Hostname) {
    let name = hostname.as_str();
    assert!(
        !name.trim().is_empty() && name.len() <= 253 && name != "." && name != "..",
        "{name:?}"
    );
    assert!(!name.contains(char::is_control), "{name:?}");
}

fn is_usable_vm(vm: &Vm) {
    assert!(vm.cpus != Some(0) && vm.ram_bytes != Some(0));
    assert!(vm.created_at.is_none_or(|at| at.0 > 0));
    is_usable_name(&vm.hostname);
}

/// All VMs, in their order, with all their tags.
fn lists_the_same(said: &Value, vms: &[Vm]) {
    let said = said.as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(said.len(), vms.len());
    for (said, vm) in said.iter().zip(vms) {
        assert_eq!(said["hostname"], vm.hostname.as_str());
        assert_eq!(said["tags"].as_array().map_or(0, Vec::len), vm.tags.len());
    }
}

/// How many answers one case asks for. Each takes eight connections at once, and the usual limit of open files is 1024.
const BUNCH: std::ops::Range<usize> = 1..24;

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 16, ..ProptestConfig::with_cases(6) })]

    #[test]
    fn every_call_ends_in_what_the_answer_says_or_in_an_error_that_fits_it(
        answers in prop::collection::vec(answer(), BUNCH),
    ) {
        let outcomes = ask_all(answers.iter().map(Answer::bytes).collect());
        for (answer, outcomes) in answers.iter().zip(&outcomes) {
            check(answer, outcomes);
        }
    }

    #[test]
    fn what_is_no_whole_answer_ends_every_call_in_an_error_and_leaves_open_what_was_done(
        answers in prop::collection::vec(no_http(), BUNCH),
    ) {
        for outcomes in ask_all(answers) {
            for (call, error) in outcomes.errors() {
                is_presentable(error);
                prop_assert!(matches!(error.kind, Kind::Nonsense | Kind::Unreachable), "{}: {:?}", call, error);
                prop_assert!(error.fate != Fate::NotDone, "{}: {:?}", call, error);
            }
            prop_assert!(outcomes.created.is_err() && outcomes.vms.is_err());
        }
    }
}
