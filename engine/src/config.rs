//! Configuration: defaults, then `bursar.toml`, then the environment. Everything is checked at start
//! with one message per problem.

mod amqp;
mod check;
mod credits;
mod database;
mod environment;
mod http;
mod jobs;
mod ledger;
mod limits;
mod mail;
mod marketplace;
mod onboarding;
mod read;
mod secret;
mod stripe;

pub use amqp::AmqpConfig;
pub use credits::CreditsConfig;
pub use database::DatabaseConfig;
pub use environment::is_known_variable;
pub use http::{HttpConfig, WEBHOOK_SMALL_MAX_BYTES};
pub use jobs::JobsConfig;
pub use ledger::LedgerConfig;
pub use limits::LimitsConfig;
pub use mail::MailConfig;
pub use marketplace::MarketplaceConfig;
pub use onboarding::OnboardingConfig;
pub use stripe::StripeConfig;

use crate::domain::webhook::ProPrice;
use crate::error::{Error, Result};
use crate::infra::stripe::breaker::BreakerOptions;
use crate::infra::stripe::retry::RetryPolicy;
use crate::infra::stripe::{API_BASE, GatewayOptions, key_is_live};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// All settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on (`BURSAR_LISTEN`).
    pub listen: String,
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
    /// Key under which secrets are kept that are still to be mailed, as 64 hexadecimal digits; several
    /// are separated by commas while rotating (`BURSAR_SECRET_KEY`).
    #[serde(skip_serializing)]
    pub secret_key: String,
    /// Stripe.
    pub stripe: StripeConfig,
    /// Numbers of the business.
    pub credits: CreditsConfig,
    /// Who may sign up.
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
    /// Bounds of HTTP.
    pub http: HttpConfig,
    /// Bounds of what customers write.
    pub limits: LimitsConfig,
    /// Variables of the environment that look like settings and are none.
    #[serde(skip)]
    pub unknown_variables: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            data_dir: PathBuf::from("./bursar-data"),
            database_url: String::new(),
            amqp_url: String::new(),
            admin_token: String::new(),
            secret_key: String::new(),
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
            unknown_variables: Vec::new(),
        }
    }
}

impl Config {
    /// Loads and checks the configuration. `file` must exist if given; `bursar.toml` in the current
    /// folder is read if it is there.
    ///
    /// # Errors
    /// `Config` with every problem.
    pub fn load(file: Option<&Path>) -> Result<Self> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        figment = match file {
            Some(path) => figment.merge(Toml::file_exact(path)),
            None => figment.merge(Toml::file("bursar.toml")),
        };
        figment = figment.merge(Env::prefixed("BURSAR_").split("__").filter(|key| key.as_str().contains('.')));
        for (variable, field) in environment::OWN_NAMES {
            if let Ok(value) = std::env::var(variable) {
                figment = figment.merge(Serialized::default(field, value));
            }
        }
        let (mut config, mut problems) = read::read(&figment);
        for unknown in environment::unknown(std::env::vars_os()) {
            match unknown.meant {
                Some(meant) => problems.push(format!("{} is not a setting: use {meant}", unknown.name)),
                None => config.unknown_variables.push(unknown.name),
            }
        }
        if problems.is_empty() { Ok(config) } else { Err(Error::Config(problems)) }
    }

    /// Whether the database is Postgres.
    pub fn is_postgres(&self) -> bool {
        self.database_url.starts_with("postgres")
    }

    /// The URL to connect to: the given one, or the embedded database in the data folder.
    pub fn database_url(&self) -> String {
        if self.database_url.is_empty() {
            format!("sqlite://{}", self.data_dir.join("bursar.db").display())
        } else {
            self.database_url.clone()
        }
    }

    /// The file of the database, if that is SQLite in a file.
    pub fn sqlite_file(&self) -> Option<PathBuf> {
        let url = self.database_url();
        let path = url.strip_prefix("sqlite:")?.trim_start_matches("//");
        let path = path.split('?').next().unwrap_or(path);
        (!path.is_empty() && path != ":memory:").then(|| PathBuf::from(path))
    }

    /// The folder to lock against a second process, if the database is SQLite in a file.
    pub fn sqlite_folder(&self) -> Option<PathBuf> {
        let file = self.sqlite_file()?;
        // A name alone is a file in the current folder.
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        Some(folder.unwrap_or(Path::new(".")).to_path_buf())
    }

    /// The secrets under which Stripe's webhooks may be signed.
    pub fn webhook_secrets(&self) -> Vec<String> {
        split(&self.stripe.webhook_secrets)
    }

    /// Whether there is a key to ask Stripe with.
    pub fn has_stripe(&self) -> bool {
        !self.stripe.secret_key.trim().is_empty()
    }

    /// Whether a sandbox is to stand in for Stripe. Play money in a production database would be worse
    /// than none, so on Postgres one has to be pointed to explicitly.
    pub fn wants_sandbox(&self) -> bool {
        self.stripe.sandbox && !self.has_stripe() && !self.is_postgres() && !self.stripe.livemode
    }

    /// Whether no real money can move: there is no key of live mode. People are told so.
    pub fn is_sandbox(&self) -> bool {
        key_is_live(self.stripe.secret_key.trim()) != Some(true)
    }

    /// What is allowed but hardly meant, one message each: said at start, by `config check` and by `/health`.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.is_postgres() && !self.has_stripe() {
            warnings.push(
                "no Stripe key is set (STRIPE_SECRET_KEY): nobody is charged, and nobody can add a card or subscribe"
                    .to_owned(),
            );
        }
        let ignored = |name| format!("{name} is set in the environment and is not a setting: it is ignored");
        warnings.extend(self.unknown_variables.iter().map(ignored));
        warnings
    }

    /// How Stripe is reached.
    pub fn gateway(&self) -> GatewayOptions {
        let stripe = &self.stripe;
        let elsewhere = !stripe.api_base.is_empty() && stripe.api_base != API_BASE;
        let rate_per_s = match (stripe.rate_per_s, key_is_live(stripe.secret_key.trim())) {
            (0, Some(true)) => 80,
            (0, _) if elsewhere => 2_000,
            (0, _) => 20,
            (rate, _) => rate,
        };
        GatewayOptions {
            secret_key: stripe.secret_key.trim().to_owned(),
            api_base: if elsewhere { stripe.api_base.clone() } else { API_BASE.to_owned() },
            timeout_ms: stripe.timeout_ms,
            total_timeout_ms: stripe.total_timeout_ms,
            rate_per_s,
            endpoint_rate_per_s: if stripe.rate_per_s == 0 { rate_per_s.min(20) } else { rate_per_s },
            retry: RetryPolicy { tries_max: stripe.tries_max.max(1), base_ms: 500, wait_max_ms: 5_000 },
            breaker: BreakerOptions { failures_max: 5, open_ms: 5_000 },
        }
    }

    /// What makes a price Pro's.
    pub fn pro_price(&self) -> ProPrice {
        // A variable that is set to nothing, as compose files do, is not set.
        let price_id = self.stripe.pro_price_id.clone().filter(|id| !id.trim().is_empty());
        ProPrice { price_id, lookup_key: self.stripe.pro_lookup_key.clone() }
    }
}

/// The parts of a list of secrets.
fn split(secrets: &str) -> Vec<String> {
    secrets.split(',').map(str::trim).filter(|secret| !secret.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_production_database_without_a_stripe_key_is_warned_about() {
        let mut config = Config { database_url: "postgres://db/bursar".to_owned(), ..Config::default() };
        assert!(config.warnings().len() == 1 && config.warnings()[0].contains("STRIPE_SECRET_KEY"));
        "sk_test_4eC39HqLyjWDarjtT1zdp7dc".clone_into(&mut config.stripe.secret_key);
        assert!(config.warnings().is_empty());
        assert!(Config::default().warnings().is_empty(), "a sandbox stands in on a laptop");
    }

    #[test]
    fn a_variable_that_is_not_a_setting_is_warned_about() {
        let config = Config { unknown_variables: vec!["BURSAR_IMAGE".to_owned()], ..Config::default() };
        assert!(config.warnings().len() == 1 && config.warnings()[0].starts_with("BURSAR_IMAGE "));
    }

    #[test]
    fn a_price_id_that_is_set_to_nothing_is_none() {
        let mut config = Config::default();
        config.stripe.pro_price_id = Some(String::new());
        assert_eq!(config.pro_price().price_id, None);
    }
}
