//! Flags, environment variables and exit codes: 0 stopped, 2 bad usage or configuration, 1 anything else.

use tokio::net::TcpListener;

use crate::program::{Ended, Folder, Program, Serving, run};
use crate::support::*;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A configuration that is right, of a host that is not there.
fn good() -> String {
    global("") + &nodegroup("agents", "http://127.0.0.1:1", "")
}

/// Runs `serve` to its end; it must not get as far as to serve.
async fn serve(folder: &Folder, further: &[&str]) -> Ended {
    let mut arguments = vec!["serve", "--without-kubernetes", "--cloud-config", folder.config()];
    if !further.contains(&"--listen") {
        arguments.extend(["--listen", "127.0.0.1:0"]);
    }
    arguments.extend(["--admin-listen", "127.0.0.1:0"]);
    arguments.extend(further);
    run(&arguments).await
}

#[track_caller]
fn assert_ended(ended: &Ended, code: i32, said: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for text in said {
        assert!(ended.stderr.contains(text), "no {text:?} in {}", ended.stderr);
    }
}

#[tokio::test]
async fn version_and_help_are_no_errors() {
    let version = run(&["--version"]).await;
    assert_eq!(
        (version.code, version.stdout),
        (Some(0), format!("slicer-cloud-provider {VERSION}"))
    );
    for arguments in [&["--help"][..], &["serve", "--help"], &["help", "check"]] {
        let help = run(arguments).await;
        assert_eq!(help.code, Some(0), "{arguments:?}");
        assert!(help.stdout.contains("Usage: slicer-cloud-provider"), "{}", help.stdout);
    }
}

#[tokio::test]
async fn what_the_command_line_cannot_mean_ends_with_2() {
    for (arguments, said) in [
        (&[][..], "Usage"),
        (&["servve"], "'serve'"),
        (&["serve", "--cloud-confg", "x"], "--cloud-config"),
        (&["serve", "--listen", "nowhere"], "expected host:port"),
        (&["serve", "--log-format", "xml"], "json"),
        (&["serve", "--log-level", "info,hyper=loud"], "hyper=loud"),
        (&["simulate", "--group", "a:many"], "CPUS is no positive number"),
    ] {
        assert_ended(&run(arguments).await, 2, &[said]);
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_ends_with_2_and_names_the_file() {
    let ended = run(&[
        "serve",
        "--without-kubernetes",
        "--cloud-config",
        "/nowhere/cloud-config",
    ])
    .await;
    assert_ended(&ended, 2, &["/nowhere/cloud-config: cannot be read: No such file"]);
}

#[tokio::test]
async fn every_problem_of_a_configuration_is_told_at_once_with_its_line() {
    let text = "[global]\n\
                k3s-url = http://10.0.0.1:6443\n\
                k3s-token = secret\n\
                default-max-sze = 3\n\
                [nodegroup \"agents\"]\n\
                slicer-url = http://127.0.0.1:1\n\
                max-size = many\n";
    let folder = Folder::with_config(text);
    let ended = serve(&folder, &[]).await;
    let at = |line: usize, rest: &str| format!("{}:{line}: {rest}", folder.config());
    assert_ended(
        &ended,
        2,
        &[
            &at(2, "[global] k3s-url: "),
            &at(4, "[global]: unknown key \"default-max-sze\""),
            "default-max-size",
            &at(5, "[nodegroup \"agents\"] slicer-token: is missing"),
            &at(7, "[nodegroup \"agents\"] max-size: \"many\""),
        ],
    );
    assert_eq!(ended.stderr.matches(folder.config()).count(), 4, "{}", ended.stderr);
}

#[tokio::test]
async fn mtls_with_a_file_missing_ends_with_2_and_names_the_flags() {
    let folder = Folder::with_config(&good());
    let ended = serve(&folder, &["--tls-cert", "cert.pem"]).await;
    assert_ended(&ended, 2, &["missing: --tls-key, --tls-client-ca"]);
}

#[tokio::test]
async fn certificates_that_cannot_be_read_end_with_1_and_are_named() {
    let folder = Folder::with_config(&good());
    let flags = ["--tls-cert", "/nowhere/c", "--tls-key", "/nowhere/k"];
    let ended = serve(&folder, &[&flags[..], &["--tls-client-ca", "/nowhere/ca"]].concat()).await;
    assert_ended(&ended, 1, &["--tls-cert /nowhere/c: "]);
}

#[tokio::test]
async fn listening_beyond_loopback_needs_mtls_or_the_users_insistence() {
    let listen = ["--listen", "0.0.0.0:0"];
    let ended = serve(&Folder::with_config(&good()), &listen).await;
    assert_ended(&ended, 2, &["without mTLS", "--allow-insecure"]);

    let folder = Folder::with_config(&good());
    let serving = Serving::start_in(folder, "0.0.0.0:0", &["--allow-insecure"]).await;
    assert_eq!(serving.page("/healthz").await.status, 200);
    assert!(serving.grpc.starts_with("0.0.0.0:"));
}

#[tokio::test]
async fn a_taken_port_ends_with_1_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = Folder::with_config(&good());
    for flag in ["--listen", "--admin-listen"] {
        let mut arguments = vec!["serve", "--without-kubernetes", "--cloud-config", folder.config()];
        for other in ["--listen", "--admin-listen"] {
            arguments.extend([other, if other == flag { &address } else { "127.0.0.1:0" }]);
        }
        assert_ended(&run(&arguments).await, 1, &[&format!("cannot listen on {address}")]);
    }
}

#[tokio::test]
async fn environment_variables_do_what_the_flags_do() {
    let folder = Folder::with_config(&good());
    let config = folder.config().to_owned();
    let environment = [
        ("SLICER_CLOUD_CONFIG", config.as_str()),
        ("SLICER_LISTEN", "0.0.0.0:0"),
        ("SLICER_ADMIN_LISTEN", "127.0.0.1:0"),
        ("SLICER_ALLOW_INSECURE", "true"),
        ("SLICER_WITHOUT_KUBERNETES", "1"),
        ("SLICER_LOG_FORMAT", "json"),
        ("SLICER_LOG_LEVEL", "debug"),
    ];
    let program = Program::start(&["serve"], &environment);
    let serving = Serving::wait(program, folder).await;
    assert_eq!(serving.page("/healthz").await.status, 200);
    assert!(serving.grpc.starts_with("0.0.0.0:"));
    let ended = serving.stop("TERM").await;
    assert_ended(&ended, 0, &["\"level\":\"DEBUG\""]);
}

#[tokio::test]
async fn the_log_tells_of_info_unless_another_level_is_asked_for() {
    for (environment, flags, level, silent) in [
        (None, &[][..], "INFO", "DEBUG"),
        (None, &["--log-level", "warn"], "WARN", "INFO"),
        (Some("warn"), &[], "WARN", "INFO"),
        (Some("warn"), &["--log-level", "debug"], "DEBUG", "TRACE"),
        (
            None,
            &["--log-level", "slicer_cloud_provider::slicer=debug"],
            "DEBUG",
            "TRACE",
        ),
        (
            None,
            &["--log-level", "slicer_cloud_provider::slicer=debug"],
            "INFO",
            "TRACE",
        ),
    ] {
        let folder = Folder::with_config(&good());
        let listen = folder.socket("grpc.sock");
        let mut arguments = vec!["serve", "--without-kubernetes", "--cloud-config", folder.config()];
        arguments.extend(["--listen", &listen, "--admin-listen", "127.0.0.1:0"]);
        arguments.extend(flags);
        let environment: Vec<(&str, &str)> = environment.map(|level| ("RUST_LOG", level)).into_iter().collect();
        let mut program = Program::start(&arguments, &environment);
        // The host that is not there makes a warning, and a debug line before it.
        program.complained("host is down").await;
        program.signal("TERM").await;
        let ended = program.end().await;
        assert_ended(&ended, 0, &[level]);
        assert!(!ended.stderr.contains(silent), "{silent} in {}", ended.stderr);
    }
}

#[tokio::test]
async fn a_flag_beats_its_environment_variable() {
    let folder = Folder::with_config(&good());
    let arguments = ["serve", "--without-kubernetes", "--cloud-config", folder.config()];
    let environment = [
        ("SLICER_CLOUD_CONFIG", "/nowhere"),
        ("SLICER_TLS_KEY", "key.pem"),
        ("SLICER_LISTEN", "127.0.0.1:0"),
    ];
    let ended = Program::start(&arguments, &environment).end().await;
    assert_ended(&ended, 2, &["missing: --tls-cert, --tls-client-ca"]);
}

#[tokio::test]
async fn a_switch_whose_variable_says_no_stays_off_and_nonsense_is_refused() {
    let folder = Folder::with_config(&good());
    let arguments = ["serve", "--without-kubernetes", "--cloud-config", folder.config()];
    for (value, said) in [
        ("false", "without mTLS"),
        ("0", "without mTLS"),
        ("perhaps", "--allow-insecure"),
    ] {
        let environment = [("SLICER_LISTEN", "0.0.0.0:0"), ("SLICER_ALLOW_INSECURE", value)];
        let ended = Program::start(&arguments, &environment).end().await;
        assert_ended(&ended, 2, &[said]);
    }
}
