//! Secrets that are generated on the first start if none are configured: the admin token, the webhooks' secrets, the
//! encryption key and the demo's API key. They are kept in the data folder's `secrets.json`, readable by its owner
//! only.

use crate::data_folder::{make_private, open_private};
use anyhow::{Context, Result};
use bursar_engine::config::Config;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file's contents.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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
    pub fn complete(config: &mut Config) -> Result<Self> {
        let mut secrets = Self::read(&config.data_dir)?;
        let before = serde_json::to_string(&secrets)?;
        if config.admin_token.is_empty() {
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

/// Generates a secret with 256 random bits, as an API key has, and another prefix.
fn random(prefix: &str) -> String {
    let key = bursar_engine::domain::api_key::RawKey::generate();
    format!("{prefix}{}", key.expose().trim_start_matches(bursar_engine::domain::api_key::PREFIX))
}
