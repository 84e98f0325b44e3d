//! The script as a text.

use std::process::Command;

use crate::machine::{Machine, Userdata};

/// The part of the script that differs from VM to VM.
const VALUES: &str = include_str!("values.golden");

#[test]
fn the_values_stand_in_the_script_as_in_the_golden_file() {
    let mut userdata = Userdata::default();
    userdata.settings.artifact_url = Some("https://mirror.example/k3s".to_owned());
    userdata.labels.insert("note".to_owned(), r#"it's "C:\"#.to_owned());
    let script = userdata.render();
    let from = script.find("# --- values").unwrap();
    let to = script.find("# --- end of values").unwrap();
    assert_eq!(&script[from..to], VALUES);
}

#[test]
fn the_script_stays_below_10_kib() {
    let size = Userdata::default().render().len();
    assert!(size < 10 * 1024, "{size} bytes");
}

#[test]
fn shellcheck_has_no_complaints() {
    let machine = Machine::new();
    machine.write("userdata", &Userdata::default().render());
    let template = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bootstrap/join.sh");
    match Command::new("shellcheck")
        .arg(template)
        .arg(machine.path("userdata"))
        .output()
    {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => eprintln!("skipped: shellcheck cannot be run: {error}"),
    }
}
