//! `bursar preflight` of the real program: all is well, and then each single setting is broken.

mod broken;
mod stripe;

use crate::cli::{Program, Ran, run};
use bursar_tests::chaos::node::Launch;
use bursar_tests::{Backend, TestApp};
use serde_json::Value;
use std::collections::BTreeMap;
use tempfile::TempDir;

/// What a preflight has found: each check with its worst state, and all findings.
struct Looked {
    ran: Ran,
    findings: Vec<Value>,
}

impl Looked {
    /// The names of the checks in a state, in order and each once.
    fn names(&self, state: &str) -> Vec<&str> {
        let found = self.findings.iter().filter(|finding| finding["state"] == state);
        let mut names: Vec<&str> = found.filter_map(|finding| finding["name"].as_str()).collect();
        names.dedup();
        names
    }

    /// Everything that was found under a name, as text.
    fn said(&self, name: &str) -> String {
        let found = self.findings.iter().filter(|finding| finding["name"] == name);
        found.map(|finding| format!("{finding}\n")).collect()
    }
}

/// Runs a preflight for JSON, and checks what holds of every one.
async fn look(launch: &Launch, more: &[&str]) -> Looked {
    let ran = run(launch, &[&["--json", "preflight"], more].concat()).await;
    let printed: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let findings = printed["checks"].as_array().unwrap().clone();
    for finding in &findings {
        let needs_remedy = finding["state"] == "fail" || finding["state"] == "warn";
        assert_eq!(finding["remedy"].is_string(), needs_remedy, "{finding}");
        assert!(finding["message"].as_str().is_some_and(|message| !message.is_empty()), "{finding}");
    }
    let has_failed = findings.iter().any(|finding| finding["state"] == "fail");
    let is_strict = more.contains(&"--strict");
    let has_warned = findings.iter().any(|finding| finding["state"] == "warn");
    let is_passed = !(has_failed || is_strict && has_warned);
    assert_eq!((printed["passed"].as_bool(), ran.code), (Some(is_passed), Some(i32::from(!is_passed))), "{printed:#}");
    Looked { ran, findings }
}

/// Runs a preflight for people; returns its lines.
async fn lines(launch: &Launch, more: &[&str]) -> (Option<i32>, Vec<String>) {
    let ran = run(launch, &[&["preflight"], more].concat()).await;
    (ran.code, ran.out.lines().map(str::to_owned).collect())
}

/// The program with changed variables.
fn with(launch: &Launch, changed: &[(&str, &str)]) -> Launch {
    let changed = changed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Launch { environment: launch.environment.clone().into_iter().chain(changed).collect(), ..launch.clone() }
}

/// The program without any setting, in an empty folder.
fn bare() -> (Launch, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let program = crate::node::program();
    (Launch { program, environment: BTreeMap::new(), folder: folder.path().to_path_buf() }, folder)
}

#[tokio::test]
async fn a_laptop_without_any_setting_passes_and_nothing_is_made() {
    let (launch, folder) = bare();
    let looked = look(&launch, &["--strict"]).await;
    for name in ["database.schema", "broker", "mail.login", "stripe.key", "stripe.webhook"] {
        assert!(looked.names("skipped").contains(&name), "{name}: {}", looked.ran.out);
    }
    assert!(
        looked.names("ok").contains(&"config") && looked.names("ok").contains(&"data_folder"),
        "{}",
        looked.ran.out
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a preflight changes nothing");
}

#[tokio::test]
async fn people_get_one_line_for_each_finding_with_what_to_do() {
    let (launch, _folder) = bare();
    let launch = with(&launch, &[("BURSAR_JOBS__WORKERS_MAX", "0"), ("BURSAR_LISTN", "127.0.0.1:9000")]);
    let (code, lines) = lines(&launch, &[]).await;
    assert_eq!(code, Some(1), "{lines:?}");
    let failed: Vec<&String> = lines.iter().filter(|line| line.starts_with("FAIL ")).collect();
    assert_eq!(failed.len(), 2, "{lines:#?}");
    assert!(failed.iter().any(|line| line.contains("jobs.workers_max") && line.contains(" -> ")), "{failed:#?}");
    assert!(failed.iter().any(|line| line.contains("did you mean BURSAR_LISTEN?")), "{failed:#?}");
    let looked = look(&launch, &[]).await;
    assert_eq!(looked.findings.len(), lines.len(), "both print the same");
    assert!(lines.iter().any(|line| line.starts_with("ok ")) && lines.iter().any(|line| line.starts_with("skipped ")));
}

#[tokio::test]
async fn a_role_that_sqlite_cannot_have_is_told() {
    let (launch, _folder) = bare();
    let looked = look(&launch, &["--role", "worker"]).await;
    assert!(looked.said("config").contains("need Postgres"), "{}", looked.ran.out);
}

/// A node with a database that is migrated, and the program with its settings.
async fn node() -> (TestApp, Program) {
    let app = TestApp::start(Backend::Production).await;
    let program = Program::of(&app.config, &app.base);
    (app, program)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_in_production_passes_and_its_missing_stripe_and_mail_are_warned_of() {
    let (app, program) = node().await;
    let looked = look(&program.launch, &[]).await;
    assert_eq!(looked.names("fail"), [""; 0], "{}", looked.ran.out);
    let warned = looked.said("config");
    assert!(warned.contains("STRIPE_SECRET_KEY") && warned.contains("SMTP_URL"), "{warned}");
    for name in [
        "database",
        "database.version",
        "database.writable",
        "database.privileges",
        "database.schema",
        "database.clock",
        "broker",
        "broker.version",
        "broker.topology",
    ] {
        assert!(looked.names("ok").contains(&name), "{name}: {}", looked.ran.out);
    }
    assert!(looked.said("database.version").contains("PostgreSQL "), "{}", looked.ran.out);
    assert!(looked.said("broker.version").contains("RabbitMQ "), "{}", looked.ran.out);
    assert_eq!(look(&program.launch, &["--strict"]).await.ran.code, Some(1));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_printed_whatever_fails() {
    let (app, program) = node().await;
    let launch = with(
        &program.launch,
        &[
            ("DATABASE_URL", "postgres://nobody_here:aZ7kDatabase@127.0.0.1:1/bursar"),
            ("AMQP_URL", "amqp://nobody:aZ7kBroker@127.0.0.1:1/%2f"),
            ("SMTP_URL", "smtp://nobody:aZ7kMail@127.0.0.1:1"),
            ("BURSAR_MAIL__FROM", "billing@acme.example"),
            ("BURSAR_PUBLIC_URL", "https://billing.acme.example"),
            ("STRIPE_SECRET_KEY", "sk_test_aZ7kStripe"),
            ("STRIPE_API_BASE", "http://127.0.0.1:1"),
        ],
    );
    let looked = look(&launch, &[]).await;
    assert_eq!(looked.names("fail"), ["database", "broker", "mail.login", "stripe.key"], "{}", looked.ran.out);
    let (_, lines) = lines(&launch, &[]).await;
    for text in [&looked.ran.out, &looked.ran.err, &lines.concat()] {
        assert!(!text.contains("aZ7k"), "{text}");
    }
    app.stop().await;
}
