//! Runs the commands that the documents tell a newcomer to type.

use super::read;
use bursar_tests::e2e::local::LocalServer;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// Far longer than the commands take.
const LIMIT: Duration = Duration::from_secs(60);
/// The sections whose commands are run, in order.
const WALK: [(&str, &str); 7] = [
    ("README.md", "Try it"),
    ("README.md", "The command line"),
    ("docs/getting-started.md", "In your service"),
    ("docs/getting-started.md", "Who controls an address"),
    ("docs/support.md", "Look a customer up"),
    ("docs/support.md", "Who did what"),
    ("docs/support.md", "Explain a balance"),
];
/// Ids that a document leaves to the reader, who copies the last one that was shown.
const COPIED: [&str; 2] = ["mal_…", "rpl_…"];

/// The lines of shell in a section of a document.
fn shell(document: &str, section: &str) -> Vec<String> {
    let text = read(document);
    let (_, section) = text.split_once(&format!("\n## {section}\n")).expect("the section is there");
    let section = section.split("\n## ").next().unwrap_or_default();
    let blocks = section.split("\n```sh\n").skip(1).filter_map(|block| block.split("\n```").next());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// The command for a line of a document.
fn typed(line: &str) -> String {
    let line = line
        .replace("http://127.0.0.1:8080", "$BURSAR_URL")
        .replace("/tmp/", "$FOLDER/")
        .replace("stripe:cus_…", "stripe:$STRIPE")
        .replace(" cst_…", " $CUSTOMER")
        // Files of the walk do not belong into the clone.
        .replace(" > $FOLDER/", " >$FOLDER/")
        .replace(" > ", " >$FOLDER/")
        .replace("curl -s ", "curl -sS --fail-with-body ");
    let line = COPIED.iter().fold(line, |line, id| {
        let last = format!("$(grep -oE '{}[a-z0-9]+' \"$OUT\" | tail -n 1)", id.trim_end_matches('…'));
        line.replace(id, &last)
    });
    match line.split_once('=') {
        // A shell function replaces the alias.
        Some(("alias bursar", _)) => String::new(),
        // An id copied from the last answer that has one.
        Some((name, value)) if value.ends_with("_…") => {
            format!("{name}=$(grep -oE '{}[a-z0-9]+' \"$OUT\" | tail -n 1)", value.trim_end_matches('…'))
        }
        // A person is slower than the job that creates the Stripe customer.
        Some(("STRIPE", _)) => format!("until {line}; do :; done"),
        // The document says that this is refused.
        _ if line.ends_with("--tamper") => format!("! {line}"),
        _ => line,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_readme_and_the_guide_work() {
    let lines: Vec<String> =
        WALK.iter().flat_map(|(document, section)| shell(document, section)).map(|line| typed(&line)).collect();
    let unknown: Vec<_> = lines.iter().filter(|line| line.contains('…')).collect();
    assert!(unknown.is_empty(), "there is no command for {unknown:?}");

    let server = LocalServer::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.txt");
    let begin = "set -euo pipefail\nbursar() { \"$BURSAR\" \"$@\"; }\nexec >>\"$OUT\" 2>&1\n";
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &format!("{begin}{}", lines.join("\n"))])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .envs(server.environment())
        .env("FOLDER", folder.path())
        .env("OUT", &out)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let status = timeout(LIMIT, shell.status()).await.expect("the walk ends").unwrap();
    let said = std::fs::read_to_string(&out).unwrap_or_default();
    assert!(status.success(), "{status}, after this output:\n{said}");
    // Output that the document shows.
    assert_eq!(said.matches(r#"200 OK  {"duplicate":true,"received":true}"#).count(), 2, "{said}");
    assert!(said.contains("400 Bad Request") && said.contains(r#""balance":64"#), "{said}");
    assert!(said.contains("CREATED AT") && said.contains("BALANCE AFTER"), "the table of the ledger:\n{said}");
    assert!(said.contains("stored at"), "a stored mail:\n{said}");
    server.stop().await.unwrap();
}
