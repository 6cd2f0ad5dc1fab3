//! Configuration: defaults, then `bursar.toml`, then the environment. Everything is checked at start
//! with one message per problem.

mod admin;
mod amqp;
mod catalogue;
mod check;
mod credits;
mod database;
mod environment;
mod file;
mod http;
mod jobs;
mod ledger;
mod limits;
mod mail;
mod marketplace;
mod moved;
mod names;
mod onboarding;
mod read;
mod secret;
mod stripe;
mod url;

pub use admin::AdminConfig;
pub use amqp::AmqpConfig;
pub use catalogue::{read_catalogue, read_catalogue_text};
pub use credits::CreditsConfig;
pub use database::DatabaseConfig;
pub use environment::is_known_variable;
pub use http::{HTTP_DRAIN_SHARE, HttpConfig, WEBHOOK_SMALL_MAX_BYTES};
pub use jobs::JobsConfig;
pub use ledger::LedgerConfig;
pub use limits::LimitsConfig;
pub use mail::MailConfig;
pub(crate) use mail::{normalize_smtp_url, parse_mailbox, sender};
pub use marketplace::{ListingOffer, MarketplaceConfig};
pub use onboarding::{ConfirmationMode, OnboardingConfig, PER_IP_PER_MINUTE_MAX};
pub(crate) use secret::{SEAL_KEY_LEN, seal_keys};
pub use secret::{SECRETS, SecretForm, SecretSetting, key_is_live};
pub use stripe::{ReconcileWindow, STRIPE_API_BASE, StripeConfig};

use crate::domain::catalogue::{Catalogue, SharedCatalogue};
use crate::error::{Error, Result};
use environment::UnknownVariable;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use file::ConfigFile;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Implements `Debug` by what is serialised, which leaves out the secrets.
macro_rules! debug_without_secrets {
    ($name:ident) => {
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let shown = serde_json::to_string(self).map_err(|_| std::fmt::Error)?;
                write!(f, "{} {shown}", stringify!($name))
            }
        }
    };
}
use debug_without_secrets;

debug_without_secrets!(Config);

/// All settings. `Debug` does not show the secrets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on (`BURSAR_LISTEN`).
    pub listen: String,
    /// Address of the operators' listener: health, metrics and their documents; empty for none (`BURSAR_OPS_LISTEN`).
    pub ops_listen: String,
    /// Folder of the embedded database and of generated secrets (`BURSAR_DATA_DIR`).
    pub data_dir: PathBuf,
    /// `postgres://` or `sqlite://`; the embedded database if empty (`DATABASE_URL`).
    #[serde(skip_serializing)]
    pub database_url: String,
    /// `amqp://`; the in-process queue if empty (`AMQP_URL`).
    #[serde(skip_serializing)]
    pub amqp_url: String,
    /// Bootstrap admin token (`BURSAR_ADMIN_TOKEN`).
    #[serde(skip_serializing)]
    pub admin_token: String,
    /// Key that seals secrets until they are mailed, as 64 hexadecimal digits; several, separated by commas, while
    /// rotating (`BURSAR_SECRET_KEY`).
    #[serde(skip_serializing)]
    pub secret_key: String,
    /// Where customers reach this server, such as `https://billing.example.com`; links in mails begin with it. If
    /// empty: the address that the server listens on, where no mail is sent (`BURSAR_PUBLIC_URL`).
    pub public_url: String,
    /// File of the catalogue. If empty: `bursar.catalogue.toml` beside the configuration file, else in the current
    /// folder, else the built-in catalogue (`BURSAR_CATALOGUE_FILE`).
    pub catalogue_file: String,
    /// Who may act as staff.
    pub admin: AdminConfig,
    /// Stripe.
    pub stripe: StripeConfig,
    /// Units of work, warnings and holds.
    pub credits: CreditsConfig,
    /// Rules for signing up.
    pub onboarding: OnboardingConfig,
    /// GitHub Marketplace.
    pub marketplace: MarketplaceConfig,
    /// Mail.
    pub mail: MailConfig,
    /// The database pool.
    pub database: DatabaseConfig,
    /// Customer actors and ledger writers.
    pub ledger: LedgerConfig,
    /// Jobs and streams.
    pub jobs: JobsConfig,
    /// RabbitMQ.
    pub amqp: AmqpConfig,
    /// Limits of HTTP.
    pub http: HttpConfig,
    /// Limits of each customer's writes.
    pub limits: LimitsConfig,
    /// What is sold. Clones of these settings share it.
    #[serde(skip)]
    pub catalogue: SharedCatalogue,
    /// The file that the catalogue was read from; `None` if it is the built-in one.
    #[serde(skip)]
    pub catalogue_path: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            ops_listen: String::new(),
            data_dir: PathBuf::from("./bursar-data"),
            database_url: String::new(),
            amqp_url: String::new(),
            admin_token: String::new(),
            secret_key: String::new(),
            public_url: String::new(),
            catalogue_file: String::new(),
            admin: AdminConfig::default(),
            stripe: StripeConfig::default(),
            credits: CreditsConfig::default(),
            onboarding: OnboardingConfig::default(),
            marketplace: MarketplaceConfig::default(),
            mail: MailConfig::default(),
            database: DatabaseConfig::default(),
            ledger: LedgerConfig::default(),
            jobs: JobsConfig::default(),
            amqp: AmqpConfig::default(),
            http: HttpConfig::default(),
            limits: LimitsConfig::default(),
            catalogue: SharedCatalogue::default(),
            catalogue_path: None,
        }
    }
}

impl Config {
    /// Loads and checks the configuration. `file` must exist if given; without it, `bursar.toml` in the current
    /// folder is optional.
    ///
    /// # Errors
    /// `Config` with every problem.
    pub fn load(file: Option<&Path>) -> Result<Self> {
        let (config, problems) = Self::load_with_problems(file);
        if problems.is_empty() { Ok(config) } else { Err(Error::Config(problems)) }
    }

    /// As [`load`](Self::load), for a look at everything: returns the settings that can be read, with all problems.
    pub fn load_with_problems(file: Option<&Path>) -> (Self, Vec<String>) {
        let (config, mut problems) = match ConfigFile::read(file) {
            Ok(file) => Self::read(file.as_ref()),
            Err(problem) => (Self::default(), vec![problem]),
        };
        problems.extend(environment::find_unknown(std::env::vars_os()).iter().map(UnknownVariable::problem));
        (config, problems)
    }

    /// As [`load`](Self::load), for a client of a server. Settings that cannot be read take their defaults, and none
    /// is checked: most are not the client's.
    ///
    /// # Errors
    /// `Config` if the file cannot be read at all.
    pub fn load_for_client(file: Option<&Path>) -> Result<Self> {
        Self::read_leniently(file).map(|(config, _)| config)
    }

    /// As [`load_for_client`](Self::load_for_client), for a command about the catalogue.
    ///
    /// # Errors
    /// `Config` with every problem of the catalogue, or if the file cannot be read at all.
    pub fn load_for_catalogue(file: Option<&Path>) -> Result<Self> {
        let (config, mut problems) = Self::read_leniently(file)?;
        problems.retain(|problem| read::concerns(problem, "catalogue_file"));
        let read = config.catalogue_path.as_deref().map(read_catalogue);
        problems.extend(read.and_then(std::result::Result::err).unwrap_or_default());
        if problems.is_empty() { Ok(config) } else { Err(Error::Config(problems)) }
    }

    /// Reads the settings that can be read, with all problems.
    fn read_leniently(file: Option<&Path>) -> Result<(Self, Vec<String>)> {
        let wrong = |problem| Error::Config(vec![problem]);
        let file = ConfigFile::read(file).map_err(wrong)?;
        if let Some(file) = &file {
            file.settings().map_err(wrong)?;
        }
        Ok(Self::read(file.as_ref()))
    }

    /// Reads the file and the environment; returns the settings that can be read, with all problems.
    fn read(file: Option<&ConfigFile>) -> (Self, Vec<String>) {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        match file.map(ConfigFile::settings) {
            Some(Ok(text)) => figment = figment.merge(Toml::string(text)),
            Some(Err(problem)) => return (Self::default(), vec![problem]),
            None => {}
        }
        figment = figment.merge(Env::prefixed("BURSAR_").split("__").filter(|key| key.as_str().contains('.')));
        for (variable, field) in environment::OWN_NAMES {
            if let Ok(value) = std::env::var(variable) {
                figment = figment.merge(Serialized::default(field, value));
            }
        }
        read::read(&figment, file)
    }

    /// Whether the database is Postgres.
    pub fn is_postgres(&self) -> bool {
        self.database_url.starts_with("postgres")
    }

    /// The database's URL; that of the embedded database in the data folder if none is set.
    pub fn database_url(&self) -> String {
        if self.database_url.is_empty() {
            format!("sqlite://{}", self.data_dir.join("bursar.db").display())
        } else {
            self.database_url.clone()
        }
    }

    /// The database's file, if it is SQLite in a file.
    pub fn sqlite_file(&self) -> Option<PathBuf> {
        let url = self.database_url();
        let path = url.strip_prefix("sqlite:")?.trim_start_matches("//");
        let path = path.split('?').next().unwrap_or(path);
        (!path.is_empty() && path != ":memory:").then(|| PathBuf::from(path))
    }

    /// The folder to lock against a second process, if the database is SQLite in a file.
    pub fn sqlite_folder(&self) -> Option<PathBuf> {
        let file = self.sqlite_file()?;
        // A bare name is a file in the current folder.
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        Some(folder.unwrap_or(Path::new(".")).to_path_buf())
    }

    /// The secrets that may sign Stripe's webhooks.
    pub fn webhook_secrets(&self) -> Vec<String> {
        split(&self.stripe.webhook_secrets)
    }

    /// Whether the bootstrap admin token works.
    pub fn has_bootstrap(&self) -> bool {
        self.admin.bootstrap && !self.admin_token.is_empty()
    }

    /// Where customers reach this server, without a slash at the end. If it is not set: the address that it listens on,
    /// as a browser on this machine reaches it.
    pub fn public_url(&self) -> String {
        if !self.public_url.is_empty() {
            return self.public_url.trim_end_matches('/').to_owned();
        }
        match self.listen.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_unspecified() => format!("http://127.0.0.1:{}", address.port()),
            _ => format!("http://{}", self.listen),
        }
    }

    /// Whether new customers have to confirm their address.
    pub fn asks_for_confirmation(&self) -> bool {
        match self.onboarding.confirmation {
            ConfirmationMode::Auto => self.sends_mail(),
            ConfirmationMode::Required => true,
            ConfirmationMode::Off => false,
        }
    }

    /// Whether a Stripe key is set.
    pub fn has_stripe(&self) -> bool {
        !self.stripe.secret_key.trim().is_empty()
    }

    /// Whether mail is sent, and not only stored.
    pub fn sends_mail(&self) -> bool {
        !self.mail.smtp_url.trim().is_empty()
    }

    /// Whether the sandbox stands in for Stripe. Play money in a production database would be worse than none, so
    /// on Postgres the operator must point to one explicitly.
    pub fn wants_sandbox(&self) -> bool {
        self.stripe.sandbox && !self.has_stripe() && !self.is_postgres() && !self.stripe.livemode
    }

    /// Whether no real money can move, because no live key is set. Customers and staff are told so.
    pub fn is_sandbox(&self) -> bool {
        key_is_live(self.stripe.secret_key.trim()) != Some(true)
    }

    /// Warnings about allowed but unlikely settings, shown at start, by `config check` and by `/health`.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.is_postgres() && !self.has_stripe() {
            warnings.push(
                "no Stripe key is set (STRIPE_SECRET_KEY): nobody is charged, and nobody can add a card or subscribe"
                    .to_owned(),
            );
        }
        if self.is_postgres() && !self.sends_mail() {
            warnings.push(
                "no SMTP server is set (SMTP_URL): mail is stored and not sent, and no customer gets any".to_owned(),
            );
        }
        if self.stripe.livemode && self.catalogue_path.is_none() && *self.catalogue.now() == *Catalogue::built_in() {
            warnings.push(
                "stripe.livemode is true, and there is no catalogue file (BURSAR_CATALOGUE_FILE): unless another version \
                 is in force, the example that is built in is sold for real money"
                    .to_owned(),
            );
        }
        if self.onboarding.confirmation == ConfirmationMode::Required && !self.sends_mail() {
            warnings.push(
                "onboarding.confirmation is required, and no mail is sent (SMTP_URL): the links are only stored, where \
                 support can read them"
                    .to_owned(),
            );
        }
        if self.public_url.starts_with("http://") && !url::is_loopback(&self.public_url) {
            warnings.push(
                "public_url (BURSAR_PUBLIC_URL) begins with http://: whoever listens on the way can use the links in mails"
                    .to_owned(),
            );
        }
        warnings
    }
}

/// The section and the name of a setting.
fn split_path(key: &str) -> (Option<&str>, &str) {
    key.split_once('.').map_or((None, key), |(section, name)| (Some(section), name))
}

/// Splits a comma-separated list of secrets.
fn split(secrets: &str) -> Vec<String> {
    secrets.split(',').map(str::trim).filter(|secret| !secret.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_production_database_without_a_stripe_key_or_a_mail_server_is_warned_about() {
        let mut config = Config { database_url: "postgres://db/bursar".to_owned(), ..Config::default() };
        let names = |config: &Config, name: &str| config.warnings().iter().any(|warning| warning.contains(name));
        assert!(config.warnings().len() == 2 && names(&config, "STRIPE_SECRET_KEY") && names(&config, "SMTP_URL"));
        "sk_test_7bR41KqTyxWFdsmvN9zgp2hc".clone_into(&mut config.stripe.secret_key);
        assert!(config.warnings().len() == 1 && names(&config, "SMTP_URL"));
        "smtps://smtp.example.com".clone_into(&mut config.mail.smtp_url);
        assert!(config.warnings().is_empty());
        assert!(Config::default().warnings().is_empty(), "a sandbox stands in on a laptop");
        config.stripe.livemode = true;
        assert!(config.warnings().len() == 1 && names(&config, "BURSAR_CATALOGUE_FILE"));
        config.catalogue_path = Some("bursar.catalogue.toml".into());
        assert!(config.warnings().is_empty());
    }

    #[test]
    fn addresses_are_confirmed_wherever_mail_is_sent_unless_the_setting_says_otherwise() {
        let asks = |mode, smtp_url: &str| {
            let mut config = Config::default();
            smtp_url.clone_into(&mut config.mail.smtp_url);
            config.onboarding.confirmation = mode;
            config.asks_for_confirmation()
        };
        let smtp = "smtps://mx.example.com";
        assert!(asks(ConfirmationMode::Auto, smtp) && !asks(ConfirmationMode::Auto, ""));
        assert!(asks(ConfirmationMode::Required, smtp) && asks(ConfirmationMode::Required, ""));
        assert!(!asks(ConfirmationMode::Off, smtp) && !asks(ConfirmationMode::Off, ""));
    }

    #[test]
    fn links_begin_with_the_servers_own_address_unless_another_is_set() {
        let url = |listen: &str, public_url: &str| {
            Config { listen: listen.to_owned(), public_url: public_url.to_owned(), ..Config::default() }.public_url()
        };
        assert_eq!(url("127.0.0.1:8080", ""), "http://127.0.0.1:8080");
        assert_eq!(url("0.0.0.0:9000", ""), "http://127.0.0.1:9000");
        assert_eq!(url("[::]:9000", ""), "http://127.0.0.1:9000");
        assert_eq!(url("0.0.0.0:9000", "https://example.com/billing/"), "https://example.com/billing");
    }

    #[test]
    fn links_that_reach_nobody_or_everybody_are_warned_about() {
        let warnings = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.warnings().concat()
        };
        assert!(
            warnings(|config| config.onboarding.confirmation = ConfirmationMode::Required).contains("only stored"),
            "they are stored"
        );
        assert!(warnings(|config| config.public_url = "http://bursar.example.com".to_owned()).contains("http://"));
        for url in ["https://bursar.example.com", "http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:1"] {
            let config = Config { public_url: url.to_owned(), ..Config::default() };
            assert!(config.warnings().is_empty(), "{url}");
        }
    }
}
