//! The server's URL, and the secrets of the client commands.

use super::usage;
use anyhow::Context;
use bursar_engine::config::Config;
use clap::Args;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// The default URL of a server.
pub const URL_DEFAULT: &str = "http://127.0.0.1:8080";
/// The file of generated secrets in the data folder.
const SECRETS_FILE: &str = "secrets.json";

/// The server of the client commands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// URL of the server; by default the configured address, such as `http://127.0.0.1:8080`.
    #[arg(long, global = true, env = "BURSAR_URL")]
    pub url: Option<String>,
    /// Admin token; by default the configured one, or the one in the data folder's `secrets.json`.
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
    /// The server's URL without a slash at its end: the given one, or the address in the configuration.
    ///
    /// # Errors
    /// A usage error if it is not an `http://` or `https://` URL of a server; or the configuration file cannot be read.
    pub fn base(&self, file: Option<&Path>) -> anyhow::Result<String> {
        match self.url.as_deref().map(str::trim).filter(|url| !url.is_empty()) {
            Some(url) => parse_base(url),
            None => Ok(url_of(&Config::load_for_client(file)?.listen)),
        }
    }

    /// Whether the caller names a server, instead of taking the configured address.
    pub fn is_named(&self) -> bool {
        self.url.as_deref().is_some_and(|url| !url.trim().is_empty())
    }

    /// The admin token: the given one, the configured one, or the generated one in the data folder.
    ///
    /// # Errors
    /// There is none, or a file cannot be read.
    pub fn admin_token(&self, file: Option<&Path>) -> anyhow::Result<Secret> {
        let find = |config: &Config| vec![config.admin_token.clone()];
        let given = self.token.iter().map(|token| token.reveal().to_owned()).collect();
        let missing = "no admin token: give --token or BURSAR_ADMIN_TOKEN";
        secret(given, file, find, "admin_token", missing)
    }
}

fn parse_base(given: &str) -> anyhow::Result<String> {
    let wrong = || usage(format!("--url must be like {URL_DEFAULT}, not '{given}'"));
    let url = reqwest::Url::parse(given).map_err(|_| wrong())?;
    let plain = url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !plain {
        return Err(wrong());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The URL at which this machine reaches a server that listens on an address.
fn url_of(listen: &str) -> String {
    let Ok(mut address) = listen.parse::<SocketAddr>() else { return URL_DEFAULT.to_owned() };
    if address.port() == 0 {
        return URL_DEFAULT.to_owned();
    }
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    format!("http://{address}")
}

/// The sources of a webhook's signing secret: its key in `secrets.json`, its environment variable and its setting.
#[derive(Debug, Clone, Copy)]
pub struct SecretSource {
    key: &'static str,
    variable: &'static str,
    configured: fn(&Config) -> Vec<String>,
}

/// The secret of Stripe's webhook.
pub const STRIPE_SECRET: SecretSource =
    SecretSource { key: "webhook_secret", variable: "STRIPE_WEBHOOK_SECRET", configured: Config::webhook_secrets };
/// The secret of GitHub's webhook.
pub const GITHUB_SECRET: SecretSource = SecretSource {
    key: "github_webhook_secret",
    variable: "GITHUB_WEBHOOK_SECRET",
    configured: |config| config.marketplace.webhook_secrets(),
};

/// Finds the signing secret of a webhook: the first of the given ones (separated by commas during a rotation), the
/// first of the configured ones, or the one in the data folder.
///
/// # Errors
/// There is none, or a file cannot be read.
pub fn webhook_secret(given: Option<&Secret>, file: Option<&Path>, source: SecretSource) -> anyhow::Result<Secret> {
    let given = given.into_iter().flat_map(|secrets| secrets.reveal().split(',').map(str::to_owned)).collect();
    let missing = format!("no signing secret: give --secret or {}", source.variable);
    secret(given, file, source.configured, source.key, &missing)
}

/// The first secret that is not blank: of the given ones, of the configured ones, or the one under a key of the data
/// folder's `secrets.json`.
fn secret(
    given: Vec<String>,
    file: Option<&Path>,
    configured: impl Fn(&Config) -> Vec<String>,
    key: &str,
    missing: &str,
) -> anyhow::Result<Secret> {
    let first = |secrets: Vec<String>| secrets.iter().map(|s| s.trim()).find(|s| !s.is_empty()).map(Secret::from);
    if let Some(secret) = first(given) {
        return Ok(secret);
    }
    let config = Config::load_for_client(file)?;
    if let Some(secret) = first(configured(&config)) {
        return Ok(secret);
    }
    let path = config.data_dir.join(SECRETS_FILE);
    let (found, why) = match std::fs::read_to_string(&path) {
        Ok(text) => (parse_secret(&text, key, &path)?, "holds none"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (None, "does not exist"),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    found.with_context(|| {
        let path = path.display();
        format!(
            "{missing}, or name the server's data folder with BURSAR_DATA_DIR or its file with --config ({path} {why})"
        )
    })
}

fn parse_secret(text: &str, key: &str, file: &Path) -> anyhow::Result<Option<Secret>> {
    let secrets: serde_json::Value =
        serde_json::from_str(text).with_context(|| format!("{} is not JSON", file.display()))?;
    Ok(secrets[key].as_str().filter(|secret| !secret.is_empty()).map(Secret::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_needs_a_scheme_and_may_end_in_a_slash() {
        assert_eq!(parse_base("http://h:1/").expect("valid"), "http://h:1");
        assert_eq!(parse_base("https://h/bursar/").expect("valid"), "https://h/bursar");
        for wrong in ["localhost:8080", "h", "ftp://h", "http://", "http://h/?a=b", "http://me:pw@h"] {
            assert!(parse_base(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_url_is_that_of_the_address_to_listen_on() {
        for (listen, url) in [
            ("127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("0.0.0.0:9000", "http://127.0.0.1:9000"),
            ("[::]:9000", "http://[::1]:9000"),
            ("127.0.0.1:0", URL_DEFAULT),
            ("nonsense", URL_DEFAULT),
        ] {
            assert_eq!(url_of(listen), url);
        }
    }

    #[test]
    fn the_first_of_several_webhook_secrets_signs() {
        let secret = webhook_secret(Some(&" ,whsec_new, whsec_old".into()), None, STRIPE_SECRET).expect("given");
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
