//! The configuration of the real program's commands.

use super::{Ran, run};
use crate::node::program;
use bursar_tests::chaos::node::Launch;
use serde_json::Value;
use std::collections::BTreeMap;
use tempfile::TempDir;

/// Runs a command in an empty folder with this file and these variables only.
async fn run_with(file: &str, variables: &[(&str, &str)], words: &[&str]) -> (Ran, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    if !file.is_empty() {
        std::fs::write(folder.path().join("bursar.toml"), file).unwrap();
    }
    let environment: BTreeMap<_, _> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let launch = Launch { program: program(), environment, folder: folder.path().to_path_buf() };
    (run(&launch, words).await, folder)
}

/// Runs `config check`, which finds problems; returns them.
async fn problems(file: &str, variables: &[(&str, &str)]) -> String {
    let (ran, _folder) = run_with(file, variables, &["config", "check"]).await;
    assert!(ran.code == Some(1) && ran.out.is_empty(), "{ran:?}");
    ran.err
}

#[tokio::test]
async fn a_mistake_in_the_file_is_placed_and_no_secret_is_shown() {
    for file in [
        "admin_token = 'aZ7kSECRET\n",
        "secret_key = aZ7kSECRET\n",
        "admin_token = 'aZ7kSECRET'\nadmin_token = 'aZ7kSECRET'\n",
        "admin_token = 7777\n",
    ] {
        for words in [&["config", "check"][..], &["serve"]] {
            let (ran, _folder) = run_with(file, &[], words).await;
            assert!(ran.code == Some(1) && ran.out.is_empty(), "{ran:?}");
            assert!(ran.err.starts_with("error: bursar.toml, line "), "{ran:?}");
            assert!(!ran.err.contains("aZ7k") && !ran.err.contains("7777"), "{ran:?}");
            assert_eq!(ran.err.trim_end().lines().count(), 1, "{ran:?}");
        }
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_refused_without_its_password() {
    let (database, broker) = ("postgres://bursar:aZ7k#b@localhost/bursar", "amqp://u:aZ7k@127.0.0.1:noport/%2f");
    for (name, url) in [("DATABASE_URL", database), ("AMQP_URL", broker)] {
        let said = problems("", &[(name, url)]).await;
        assert!(said.contains(&format!("({name}) cannot be used: invalid port number")), "{said}");
        assert!(!said.contains("aZ7k"), "{said}");
    }
}

#[tokio::test]
async fn a_wrong_type_names_its_variable_and_the_form() {
    let said = problems(
        "",
        &[
            ("BURSAR_CREDITS__WARN_AT", "five"),
            ("BURSAR_HTTP__TRUSTED_PROXIES", "10.0.0.0/8"),
            ("BURSAR_MAIL__PRODUCT_NAME", "4711"),
            ("BURSAR_STRIPE__SECRET_KEY", "4711"),
            ("BURSAR_JOBS__WORKERS", "4"),
        ],
    )
    .await;
    for sentence in [
        "BURSAR_CREDITS__WARN_AT must be a whole number\n",
        "BURSAR_HTTP__TRUSTED_PROXIES must be a list such as '[\"10.0.0.0/8\"]'\n",
        "BURSAR_MAIL__PRODUCT_NAME must be text, in two pairs of quotes if it could be a number: '\"…\"'\n",
        "BURSAR_STRIPE__SECRET_KEY must be text",
        "BURSAR_JOBS__WORKERS is not a setting: did you mean BURSAR_JOBS__WORKERS_MAX?\n",
    ] {
        assert!(said.contains(sentence), "{sentence}: {said}");
    }
    assert!(!said.contains("4711"), "{said}");
}

#[tokio::test]
async fn the_check_prints_json_on_request() {
    for (variables, code) in [(&[][..], 0), (&[("BURSAR_CREDITS__WARN_AT", "five")], 1)] {
        let (ran, _folder) = run_with("", variables, &["--json", "config", "check"]).await;
        let printed: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((ran.code, &printed["valid"]), (Some(code), &Value::from(code == 0)), "{ran:?}");
        assert_eq!(printed["problems"].as_array().unwrap().len(), usize::from(code == 1), "{ran:?}");
        assert!(printed["warnings"].is_array(), "{ran:?}");
    }
}

#[tokio::test]
async fn a_part_of_the_server_refuses_sqlite() {
    for words in [&["serve", "--role", "worker"][..], &["config", "check", "--role", "api"]] {
        let (ran, folder) = run_with("", &[], words).await;
        assert!(ran.code == Some(1) && ran.err.contains("need Postgres (DATABASE_URL)"), "{ran:?}");
        assert!(!folder.path().join("bursar-data").exists(), "{words:?}");
    }
}
