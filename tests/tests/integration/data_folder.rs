//! The permissions of a real process's data folder.

use crate::node::{environment, program};
use bursar_tests::app::{WEBHOOK_SECRETS, config};
use bursar_tests::{Backend, wait};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// Files in the data folder of a running server on SQLite with a sandbox.
const FILES: [&str; 8] = [
    "bursar.db",
    "bursar.db-wal",
    "bursar.db-shm",
    "bursar.lock",
    "secrets.json",
    "sandbox/sandbox.jsonl",
    "sandbox/control-token",
    "sandbox/port",
];

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

/// A folder, and every file and folder below it.
fn all_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_path_buf()];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.extend(if path.is_dir() { all_below(&path) } else { vec![path] });
    }
    found
}

/// Paths that other users may open.
fn open_to_others(folder: &Path) -> Vec<String> {
    let open = all_below(folder).into_iter().filter(|path| mode(path) & 0o077 != 0);
    open.map(|path| format!("{} {:o}", path.display(), mode(&path))).collect()
}

/// Starts a server with a umask of 0, which logs to a file.
async fn serve(data: &Path, log: &Path) -> Child {
    let folder = tempfile::tempdir().unwrap();
    let mut environment = environment(&config(Backend::Embedded, &folder).await);
    environment.insert("BURSAR_DATA_DIR".to_owned(), data.display().to_string());
    environment.insert("BURSAR_LISTEN".to_owned(), "127.0.0.1:0".to_owned());
    // GitHub's secret is configured, Stripe's is generated, so that there is a file of secrets.
    environment.remove("BURSAR_ADMIN_TOKEN");
    let file = File::create(log).unwrap();
    let child = Command::new("sh")
        .args(["-c", "umask 000; exec \"$0\" serve"])
        .arg(program())
        .env_clear()
        .envs(&environment)
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    wait::until("the server listens", || async {
        std::fs::read_to_string(log).unwrap().contains("bursar is listening").then_some(())
    })
    .await;
    child
}

#[tokio::test]
async fn a_new_data_folder_is_private_whatever_the_umask() {
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let mut server = serve(&data, &log).await;
    assert_eq!(open_to_others(&data), [""; 0]);
    assert_eq!((mode(&data), mode(&data.join("sandbox"))), (0o700, 0o700));
    for file in FILES {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    let journal = std::fs::read_to_string(data.join("sandbox/sandbox.jsonl")).unwrap();
    assert!(journal.contains("webhook_endpoint") && !journal.contains(WEBHOOK_SECRETS[0]));
    server.kill().await.unwrap();
}

#[tokio::test]
async fn an_open_data_folder_is_made_private_at_start_and_logged() {
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    serve(&data, &log).await.kill().await.unwrap();
    assert!(!std::fs::read_to_string(&log).unwrap().contains("their permissions were removed"));
    for path in all_below(&data) {
        let wide = if path.is_dir() { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, Permissions::from_mode(wide)).unwrap();
    }
    let mut server = serve(&data, &log).await;
    assert_eq!(open_to_others(&data), [""; 0]);
    let said = std::fs::read_to_string(&log).unwrap();
    for file in FILES.into_iter().chain([""]) {
        let path = data.join(file).display().to_string();
        let path = path.trim_end_matches('/');
        let is_it =
            |line: &str| line.contains(&format!("\"{path}\"")) && line.contains("their permissions were removed");
        assert!(said.lines().any(is_it), "{path}: {said}");
    }
    server.kill().await.unwrap();
}

#[tokio::test]
async fn generated_secrets_are_in_one_file_only_and_in_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let file = File::create(&log).unwrap();
    let mut server = Command::new(program())
        .args(["serve", "--demo"])
        .current_dir(folder.path())
        .env_clear()
        .env("BURSAR_DATA_DIR", &data)
        .env("BURSAR_LISTEN", "127.0.0.1:0")
        .env("BURSAR_LOG", "debug")
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let said = wait::until("the demo is printed", || async {
        let said = std::fs::read_to_string(&log).unwrap();
        said.contains("Spend a credit").then_some(said)
    })
    .await;
    server.kill().await.unwrap();
    let secrets: serde_json::Value =
        serde_json::from_slice(&std::fs::read(data.join("secrets.json")).unwrap()).unwrap();
    let token = std::fs::read_to_string(data.join("sandbox/control-token")).unwrap();
    let others = all_below(&data).into_iter().filter(|path| path.is_file());
    for name in ["webhook_secret", "github_webhook_secret", "secret_key", "control-token"] {
        let (secret, home) = match secrets[name].as_str() {
            Some(secret) => (secret, "secrets.json"),
            None => (token.as_str(), "control-token"),
        };
        assert!(secret.len() >= 32 && !said.contains(secret), "the output shows {name}");
        for path in others.clone().filter(|path| !path.ends_with(home)) {
            let bytes = std::fs::read(&path).unwrap();
            let is_in = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!is_in, "{} has {name}", path.display());
        }
    }
}
