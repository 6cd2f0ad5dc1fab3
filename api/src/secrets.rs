//! Secrets that are generated on the first start if none are configured: the admin token, the webhooks' secrets, the
//! encryption key and the demo's API key. They are kept in the data folder's `secrets.json`, readable by its owner
//! only.

use crate::data_folder::{make_private, open_private};
use anyhow::{Context, Result};
use bursar_engine::Error;
use bursar_engine::config::Config;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file's contents.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Secrets {
    /// Bootstrap admin token.
    pub admin_token: String,
    /// Secret that Stripe's webhooks are signed with.
    pub webhook_secret: String,
    /// Secret that GitHub's webhooks are signed with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub github_webhook_secret: String,
    /// Key that encrypts secrets until they are mailed.
    pub secret_key: String,
    /// API key of the demo's customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demo_api_key: Option<String>,
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("secrets.json")
}

impl Secrets {
    /// Reads the file; empty secrets if there is none.
    pub fn read(data_dir: &Path) -> Result<Self> {
        match std::fs::read_to_string(path(data_dir)) {
            Ok(text) => serde_json::from_str(&text).context("secrets.json cannot be read; delete it to start afresh"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context("secrets.json cannot be read"),
        }
    }

    /// Writes the file, readable by its owner only.
    pub fn write(&self, data_dir: &Path) -> Result<()> {
        make_private(data_dir)?;
        let temporary = data_dir.join("secrets.json.new");
        let mut file = open_private(&temporary, File::options().truncate(true))?;
        file.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path(data_dir)).context("secrets.json cannot be written")
    }

    /// Fills in the secrets that the configuration leaves out, generating those that are missing.
    ///
    /// # Errors
    /// The file cannot be used, or has a secret that somebody may guess.
    pub fn complete(config: &mut Config) -> Result<Self> {
        check(&config.data_dir)?;
        let mut secrets = Self::read(&config.data_dir)?;
        let before = serde_json::to_string(&secrets)?;
        if config.admin_token.is_empty() && config.admin.bootstrap {
            if secrets.admin_token.is_empty() {
                secrets.admin_token = random("bat_");
            }
            config.admin_token.clone_from(&secrets.admin_token);
        }
        if config.webhook_secrets().is_empty() {
            if secrets.webhook_secret.is_empty() {
                secrets.webhook_secret = random("whsec_");
            }
            config.stripe.webhook_secrets.clone_from(&secrets.webhook_secret);
        }
        // On Postgres none is generated: GitHub's webhook must be set up with a secret of the operator's choice.
        if config.marketplace.webhook_secrets().is_empty() && !config.is_postgres() {
            if secrets.github_webhook_secret.is_empty() {
                secrets.github_webhook_secret = random("ghwh_");
            }
            config.marketplace.webhook_secrets.clone_from(&secrets.github_webhook_secret);
        }
        if config.secret_key.is_empty() {
            if secrets.secret_key.is_empty() {
                secrets.secret_key = bursar_engine::infra::seal::key_new();
            }
            config.secret_key.clone_from(&secrets.secret_key);
        }
        if serde_json::to_string(&secrets)? != before {
            secrets.write(&config.data_dir)?;
        }
        Ok(secrets)
    }
}

/// A message for each secret in the data folder's file that somebody may guess: a person wrote it. Those that Bursar
/// generates pass. A file that cannot be read has none, because reading it says so.
pub fn problems(data_dir: &Path) -> Vec<String> {
    let Ok(secrets) = Secrets::read(data_dir) else { return Vec::new() };
    let mut config = Config { admin_token: secrets.admin_token, secret_key: secrets.secret_key, ..Config::default() };
    config.stripe.webhook_secrets = secrets.webhook_secret;
    config.marketplace.webhook_secrets = secrets.github_webhook_secret;
    let file = path(data_dir);
    let of = |problem| format!("{}: {problem}; delete the line, and the next start makes a new one", file.display());
    config.secret_problems().into_iter().map(of).collect()
}

/// Refuses a file with a secret that somebody may guess.
///
/// # Errors
/// [`Error::Config`] with a message for each.
pub fn check(data_dir: &Path) -> bursar_engine::Result<()> {
    let problems = problems(data_dir);
    if problems.is_empty() { Ok(()) } else { Err(Error::Config(problems)) }
}

/// Generates a secret with 256 random bits, as an API key has, and another prefix.
fn random(prefix: &str) -> String {
    bursar_engine::domain::api_key::RawKey::with_prefix(prefix).expose().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn config(folder: &Path) -> Config {
        Config { data_dir: folder.to_path_buf(), ..Config::default() }
    }

    #[test]
    fn generated_secrets_pass_the_checks_and_are_kept() {
        for _ in 0..100 {
            let folder = tempfile::tempdir().unwrap();
            let mut first = config(folder.path());
            Secrets::complete(&mut first).unwrap();
            assert_eq!(first.secret_problems(), Vec::<String>::new());
            assert!(first.check().is_ok());
            let mut again = config(folder.path());
            Secrets::complete(&mut again).unwrap();
            assert_eq!(again.admin_token, first.admin_token);
        }
    }

    #[test]
    fn a_secret_that_a_person_wrote_into_the_file_is_refused_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let written = r#"{ "admin_token": "changeme-changeme-changeme-changeme", "webhook_secret": "whsec_x" }"#;
        std::fs::write(folder.path().join("secrets.json"), written).unwrap();
        let refused = Secrets::complete(&mut config(folder.path())).err().unwrap().to_string();
        assert!(refused.contains("BURSAR_ADMIN_TOKEN") && refused.contains("STRIPE_WEBHOOK_SECRET"), "{refused}");
        assert!(refused.contains("secrets.json") && !refused.contains("changeme-"), "{refused}");
        assert_eq!(problems(folder.path()).len(), 2);
    }
}
