//! The command, killed while it works.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running command; killed when the test ends.
struct Process {
    child: Child,
    url: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Process {
    fn start(folder: &Path) -> Self {
        // Clients need it; a second call fails, which is harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut child = Command::new(env!("CARGO_BIN_EXE_bursar-sandbox"))
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let mut banner = String::new();
        let stdout = child.stdout.take().expect("its output is piped");
        BufReader::new(stdout).read_line(&mut banner).expect("it says where it listens");
        assert!(banner.starts_with("SANDBOX - no real money moves"), "{banner}");
        let url = banner.trim().rsplit(' ').next().expect("an address").to_owned();
        Self { child, url }
    }
}

/// Creates customers until the sandbox is killed. Returns the ids of the answered ones.
async fn customers(url: String) -> Vec<String> {
    let http = reqwest::Client::new();
    let mut answered = Vec::new();
    loop {
        let request = http.post(format!("{url}/v1/customers")).bearer_auth("sk_test_1");
        let Ok(answer) = request.send().await else { return answered };
        let Ok(body) = answer.json::<Value>().await else { return answered };
        answered.push(body["id"].as_str().expect("an id").to_owned());
    }
}

#[tokio::test]
async fn every_answered_call_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path());
    let makers: Vec<_> = (0..4).map(|_| tokio::spawn(customers(process.url.clone()))).collect();
    let http = reqwest::Client::new();
    let token = std::fs::read_to_string(folder.path().join("control-token")).unwrap();
    loop {
        let request = http.get(format!("{}/sandbox/v1/state", process.url)).bearer_auth(token.trim());
        let state = request.send().await.unwrap();
        let state: Value = state.json().await.unwrap();
        if state["counts"]["customer"].as_i64().unwrap() >= 20 {
            break;
        }
    }
    process.child.kill().unwrap();
    process.child.wait().unwrap();
    let mut answered = Vec::new();
    for maker in makers {
        answered.extend(maker.await.unwrap());
    }
    let again = Process::start(folder.path());
    for id in answered {
        let found = http.get(format!("{}/v1/customers/{id}", again.url)).bearer_auth("sk_test_1").send().await.unwrap();
        assert_eq!(found.status(), 200, "{id}");
    }
}
