//! The server's URL, and the secrets of the client commands.

use super::usage;
use anyhow::Context;
use clap::Args;
use std::fmt;
use std::path::{Path, PathBuf};

/// The default URL of a server.
pub const URL_DEFAULT: &str = "http://127.0.0.1:8080";
/// The default data folder.
const DATA_DIR_DEFAULT: &str = "./bursar-data";
/// The file of generated secrets in it.
const SECRETS_FILE: &str = "secrets.json";

/// The server of the client commands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// URL of the server.
    #[arg(long, global = true, env = "BURSAR_URL", default_value = URL_DEFAULT)]
    pub url: String,
    /// Admin token; by default the one in the data folder's `secrets.json`.
    ///
    /// Prefer the environment variable: other users of the machine can see arguments.
    #[arg(long, global = true, env = "BURSAR_ADMIN_TOKEN", hide_env_values = true)]
    pub token: Option<Secret>,
}

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Connection {
    /// The server's URL without a slash at its end.
    ///
    /// # Errors
    /// A usage error if it is not an `http://` or `https://` URL of a server.
    pub fn base(&self) -> anyhow::Result<String> {
        let given = Some(self.url.trim()).filter(|url| !url.is_empty()).unwrap_or(URL_DEFAULT);
        let wrong = || usage(format!("--url must be like {URL_DEFAULT}, not '{given}'"));
        let url = reqwest::Url::parse(given).map_err(|_| wrong())?;
        let plain = url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !plain {
            return Err(wrong());
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }

    /// The admin token: the given one, or the generated one in the data folder.
    ///
    /// # Errors
    /// There is none, or the file cannot be read.
    pub fn admin_token(&self) -> anyhow::Result<Secret> {
        let given = self.token.clone().filter(|token| !token.reveal().trim().is_empty());
        match given {
            Some(token) => Ok(Secret(token.reveal().trim().to_owned())),
            None => read_secret("admin_token")?.with_context(|| {
                let file = secrets_file();
                format!("no admin token: give --token or BURSAR_ADMIN_TOKEN ({} holds none)", file.display())
            }),
        }
    }
}

/// The sources of a webhook's signing secret: its key in `secrets.json`, and its environment variable.
#[derive(Debug, Clone, Copy)]
pub struct SecretSource {
    key: &'static str,
    variable: &'static str,
}

/// The secret of Stripe's webhook.
pub const STRIPE_SECRET: SecretSource = SecretSource { key: "webhook_secret", variable: "STRIPE_WEBHOOK_SECRET" };
/// The secret of GitHub's webhook.
pub const GITHUB_SECRET: SecretSource =
    SecretSource { key: "github_webhook_secret", variable: "GITHUB_WEBHOOK_SECRET" };

/// Finds the signing secret of a webhook: the first of the given ones (separated by commas during a rotation), or the
/// one in the data folder.
///
/// # Errors
/// There is none, or the file cannot be read.
pub fn webhook_secret(given: Option<&Secret>, source: SecretSource) -> anyhow::Result<Secret> {
    let first =
        given.into_iter().flat_map(|secrets| secrets.reveal().split(',')).map(str::trim).find(|s| !s.is_empty());
    match first {
        Some(secret) => Ok(secret.into()),
        None => read_secret(source.key)?.with_context(|| {
            let file = secrets_file();
            format!("no signing secret: give --secret or {} ({} holds none)", source.variable, file.display())
        }),
    }
}

fn secrets_file() -> PathBuf {
    let folder = std::env::var_os("BURSAR_DATA_DIR").filter(|folder| !folder.is_empty());
    folder.map_or_else(|| PathBuf::from(DATA_DIR_DEFAULT), PathBuf::from).join(SECRETS_FILE)
}

fn read_secret(key: &str) -> anyhow::Result<Option<Secret>> {
    let file = secrets_file();
    match std::fs::read_to_string(&file) {
        Ok(text) => parse_secret(&text, key, &file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

fn parse_secret(text: &str, key: &str, file: &Path) -> anyhow::Result<Option<Secret>> {
    let secrets: serde_json::Value =
        serde_json::from_str(text).with_context(|| format!("{} is not JSON", file.display()))?;
    Ok(secrets[key].as_str().filter(|secret| !secret.is_empty()).map(Secret::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(url: &str) -> anyhow::Result<String> {
        Connection { url: url.to_owned(), token: None }.base()
    }

    #[test]
    fn a_url_needs_a_scheme_and_may_end_in_a_slash() {
        assert_eq!(base("http://h:1/").expect("valid"), "http://h:1");
        assert_eq!(base("https://h/bursar/").expect("valid"), "https://h/bursar");
        assert_eq!(base("").expect("the default"), URL_DEFAULT);
        for wrong in ["localhost:8080", "h", "ftp://h", "http://", "http://h/?a=b", "http://me:pw@h"] {
            assert!(base(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_of_several_webhook_secrets_signs() {
        let secret = webhook_secret(Some(&" ,whsec_new, whsec_old".into()), STRIPE_SECRET).expect("given");
        assert_eq!(secret.reveal(), "whsec_new");
    }

    #[test]
    fn secrets_are_found_by_their_key() {
        let text = r#"{"admin_token": "t", "webhook_secret": ""}"#;
        assert_eq!(parse_secret(text, "admin_token", Path::new("f")).expect("json"), Some("t".into()));
        assert_eq!(parse_secret(text, "webhook_secret", Path::new("f")).expect("json"), None);
        assert!(parse_secret("nope", "admin_token", Path::new("f")).is_err());
    }
}
