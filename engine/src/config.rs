//! Configuration: defaults, then `bursar.toml`, then the environment. Everything is checked at start
//! with one message per problem.

mod marketplace;
mod onboarding;

pub use marketplace::MarketplaceConfig;
pub use onboarding::OnboardingConfig;

use crate::customer::check_name;
use crate::error::{Error, Result};
use crate::job::Backoff;
use crate::reconcile::Reach;
use crate::stripe::breaker::BreakerOptions;
use crate::stripe::retry::RetryPolicy;
use crate::stripe::{self, GatewayOptions};
use crate::webhook::ProPrice;
use crate::{mail, seal};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The shortest admin token, in characters: 128 random bits in hexadecimal.
const ADMIN_TOKEN_LEN_MIN: usize = 32;

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
}

/// Stripe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StripeConfig {
    /// Secrets of the webhook endpoint, separated by commas while rotating (`STRIPE_WEBHOOK_SECRET`).
    #[serde(skip_serializing)]
    pub webhook_secrets: String,
    /// Secret or restricted key (`STRIPE_SECRET_KEY`). Without it nothing is charged and events are
    /// taken as they come.
    #[serde(skip_serializing)]
    pub secret_key: String,
    /// Whether a sandbox stands in for Stripe where no secret key is set and the database is the embedded
    /// one.
    pub sandbox: bool,
    /// Where Stripe's API is (`STRIPE_API_BASE`); Stripe's own if empty.
    pub api_base: String,
    /// How long one try of a call may take.
    pub timeout_ms: u64,
    /// How long a call may take with all its tries.
    pub total_timeout_ms: u64,
    /// Tries of one call, the first included; later ones are the job's.
    pub tries_max: u32,
    /// Calls a second from this process; if 0, what fits: 80 live, 20 test, 2000 where `api_base` is not
    /// Stripe's.
    /// Stripe's own limits are 100 and 25 for all processes together.
    pub rate_per_s: u32,
    /// How long a request waits for Stripe before it is answered with 202 and settled later.
    pub wait_ms: u64,
    /// How long it is looked whether Stripe did carry out a charge that failed there with an error of
    /// its own, before it is tried under a new key.
    pub doubt_ms: i64,
    /// Whether events of live mode are expected: the mode of the webhook secrets. Events of the other
    /// mode go to quarantine, and a secret key of the other mode is refused at start.
    pub livemode: bool,
    /// How old or how far in the future a signature may be, in seconds.
    pub tolerance_s: i64,
    /// Price id of Pro, if it is known by id.
    pub pro_price_id: Option<String>,
    /// Lookup key of Pro's price.
    pub pro_lookup_key: String,
    /// From which hour of the day (UTC, 0 to 23) on the nightly reconciliation runs; -1: never by itself.
    pub reconcile_hour: i64,
    /// How far back a reconciliation looks if there was none before it, in days.
    pub reconcile_days: i64,
    /// What Stripe made or told of within this time, a reconciliation leaves to its webhook, in seconds.
    pub reconcile_grace_s: i64,
}

impl StripeConfig {
    /// How far reconciliations look.
    pub fn reconcile_reach(&self) -> Reach {
        Reach { first_ms: self.reconcile_days * 24 * 60 * 60 * 1_000, grace_ms: self.reconcile_grace_s * 1_000 }
    }
}

/// Numbers of the business.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CreditsConfig {
    /// What one unit of work is called.
    pub unit: String,
    /// What several are called; if empty, the English plural of `unit`.
    pub unit_plural: String,
    /// Credits on signup.
    pub signup: i64,
    /// Credits for every paid period of Pro.
    pub pro_period: i64,
    /// Credits for adding a payment method, once in a customer's life.
    pub payment_method_bonus: i64,
    /// At this many credits or fewer, answers carry a warning.
    pub warn_at: i64,
    /// Price of one unit beyond the credits on trial and pay as you go, in minor units.
    pub pay_as_you_go_price_minor: i64,
    /// Price of one unit beyond the credits on Pro, in minor units.
    pub pro_price_minor: i64,
    /// ISO 4217 code of the prices.
    pub currency: String,
    /// How long a hold lasts if the request does not say, in seconds.
    pub hold_default_s: i64,
    /// How long a hold may last, in seconds.
    pub hold_max_s: i64,
}

impl CreditsConfig {
    /// What several units of work are called.
    pub fn units(&self) -> String {
        if !self.unit_plural.is_empty() {
            return self.unit_plural.clone();
        }
        let hisses = ["s", "x", "z", "ch", "sh"].iter().any(|ending| self.unit.ends_with(ending));
        format!("{}{}", self.unit, if hisses { "es" } else { "s" })
    }
}

/// Mail.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailConfig {
    /// `smtps://user:password@host` or `smtp://user:password@host:587` (`SMTP_URL`); mail is stored and
    /// not sent if empty. With `smtp://` a server elsewhere must offer STARTTLS, unless the URL ends in
    /// `?tls=opportunistic` or `?tls=none`.
    #[serde(skip_serializing)]
    pub smtp_url: String,
    /// Whom mail comes from, such as `Bursar <billing@example.com>`; must be set where mail is sent.
    pub from: String,
    /// Where answers go; to `from` if empty.
    pub reply_to: String,
    /// What mails call the product.
    pub product_name: String,
    /// Where a customer looks after its billing; mails link to it if set.
    pub billing_url: String,
    /// How long one command of SMTP may take.
    pub timeout_ms: u64,
    /// Most connections to the SMTP server from this process.
    pub connections_max: usize,
}

/// The database pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// Most connections to Postgres from this process.
    pub connections_max: u32,
    /// How long a caller waits for a connection.
    pub acquire_timeout_ms: u64,
}

/// Customer actors and ledger writers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LedgerConfig {
    /// Ledger writers on Postgres; SQLite always has one.
    pub writers: usize,
    /// Most accounts in one transaction.
    pub batch_max: usize,
    /// Most commands that may wait for one customer.
    pub customer_queue_max: usize,
    /// Most commands that may be under way in this process.
    pub commands_max: usize,
    /// Most customer actors alive in this process.
    pub customers_active_max: usize,
    /// A customer actor without work for this long is let go.
    pub idle_ms: u64,
    /// How long a caller waits for an answer.
    pub timeout_ms: u64,
}

/// Jobs and streams.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobsConfig {
    /// Most jobs that run at once in this process.
    pub workers_max: usize,
    /// How long a lease lasts; it is renewed at a third of this.
    pub lease_ms: i64,
    /// How long a job may run before its attempt counts as failed.
    pub timeout_ms: u64,
    /// Wait after the first failure.
    pub backoff_base_ms: i64,
    /// Factor from one failure to the next.
    pub backoff_factor: i64,
    /// The longest wait.
    pub backoff_max_ms: i64,
    /// How often the database is asked for due jobs.
    pub sweep_interval_ms: u64,
    /// With a broker: how long a job may be overdue before it is published again.
    pub sweep_grace_ms: i64,
    /// Ended jobs and their events are kept this long, in days; at least 30, because Stripe can list
    /// an event again for that long.
    pub retention_days: i64,
}

impl JobsConfig {
    /// The backoff of retries.
    pub fn backoff(&self) -> Backoff {
        Backoff { base_ms: self.backoff_base_ms, factor: self.backoff_factor, max_ms: self.backoff_max_ms }
    }
}

/// RabbitMQ.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AmqpConfig {
    /// What the names of exchanges and queues begin with.
    pub prefix: String,
    /// Work queues; the ordering key is hashed over them.
    pub shards: u16,
    /// Delay tiers, ascending. Longer delays live in the database only.
    pub tiers_ms: Vec<i64>,
    /// Messages that one work queue hands out before the first is acknowledged.
    pub prefetch: u16,
    /// Most messages of a work queue.
    pub queue_len_max: i64,
    /// Most publications that wait for their confirmation.
    pub confirms_max: usize,
}

/// Bounds of HTTP.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Largest body of an API request, in bytes.
    pub body_max_bytes: usize,
    /// Largest body of a webhook, in bytes.
    pub webhook_body_max_bytes: usize,
    /// How long a request may take.
    pub timeout_ms: u64,
    /// Most requests under way at once.
    pub requests_max: usize,
    /// Most connections at once; more wait until one ends.
    pub connections_max: usize,
    /// How long a connection may be without an answer before it is closed.
    pub idle_timeout_ms: u64,
    /// How long a found API key is remembered; another node's revocation takes effect within it.
    pub api_key_cache_ms: u64,
    /// How long a stop waits for what is in flight.
    pub drain_timeout_ms: u64,
    /// Proxies whose `X-Forwarded-For` is believed: addresses, or networks such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<String>,
}

impl HttpConfig {
    /// The networks of the trusted proxies; the text that is none of it, if there is one.
    pub fn trusted_proxies(&self) -> Result<Vec<IpNet>, &str> {
        let network = |text: &'_ String| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        self.trusted_proxies.iter().map(|text| network(text).map_err(|_| text.as_str())).collect()
    }
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
        }
    }
}

impl Default for StripeConfig {
    fn default() -> Self {
        Self {
            webhook_secrets: String::new(),
            secret_key: String::new(),
            sandbox: true,
            api_base: String::new(),
            timeout_ms: 10_000,
            total_timeout_ms: 20_000,
            tries_max: 3,
            rate_per_s: 0,
            wait_ms: 8_000,
            doubt_ms: 15 * 60 * 1_000,
            livemode: false,
            tolerance_s: 300,
            pro_price_id: None,
            pro_lookup_key: "pro_monthly".to_owned(),
            reconcile_hour: 3,
            reconcile_days: 3,
            reconcile_grace_s: 600,
        }
    }
}

impl Default for CreditsConfig {
    fn default() -> Self {
        Self {
            unit: "fix".to_owned(),
            unit_plural: String::new(),
            signup: 5,
            pro_period: 60,
            payment_method_bonus: 5,
            warn_at: 1,
            pay_as_you_go_price_minor: 2_900,
            pro_price_minor: 1_500,
            currency: "usd".to_owned(),
            hold_default_s: 15 * 60,
            hold_max_s: 7 * 24 * 60 * 60,
        }
    }
}

impl Default for MailConfig {
    fn default() -> Self {
        Self {
            smtp_url: String::new(),
            from: String::new(),
            reply_to: String::new(),
            product_name: "Bursar".to_owned(),
            billing_url: String::new(),
            timeout_ms: 10_000,
            connections_max: 4,
        }
    }
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { connections_max: 20, acquire_timeout_ms: 3_000 }
    }
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            writers: 2,
            batch_max: 256,
            customer_queue_max: 1_000,
            commands_max: 4_096,
            customers_active_max: 6_000,
            idle_ms: 60_000,
            timeout_ms: 10_000,
        }
    }
}

impl Default for JobsConfig {
    fn default() -> Self {
        let backoff = Backoff::default();
        Self {
            workers_max: 256,
            lease_ms: 30_000,
            timeout_ms: 60_000,
            backoff_base_ms: backoff.base_ms,
            backoff_factor: backoff.factor,
            backoff_max_ms: backoff.max_ms,
            sweep_interval_ms: 500,
            sweep_grace_ms: 10_000,
            retention_days: 90,
        }
    }
}

impl Default for AmqpConfig {
    fn default() -> Self {
        Self {
            prefix: "bursar.v1".to_owned(),
            shards: 4,
            tiers_ms: vec![5_000, 30_000, 120_000, 600_000],
            prefetch: 128,
            queue_len_max: 1_000_000,
            confirms_max: 512,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            body_max_bytes: 64 * 1_024,
            webhook_body_max_bytes: 4 * 1_024 * 1_024,
            timeout_ms: 30_000,
            requests_max: 2_048,
            connections_max: 4_096,
            // Longer than what load balancers keep their connections for, which is often 60 s.
            idle_timeout_ms: 75_000,
            api_key_cache_ms: 5_000,
            drain_timeout_ms: 20_000,
            trusted_proxies: Vec::new(),
        }
    }
}

/// Environment variables with names of their own; everything else is `BURSAR_<SECTION>__<FIELD>`.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("BURSAR_LISTEN", "listen"),
    ("BURSAR_DATA_DIR", "data_dir"),
    ("DATABASE_URL", "database_url"),
    ("AMQP_URL", "amqp_url"),
    ("BURSAR_ADMIN_TOKEN", "admin_token"),
    ("BURSAR_SECRET_KEY", "secret_key"),
    ("SMTP_URL", "mail.smtp_url"),
    ("STRIPE_WEBHOOK_SECRET", "stripe.webhook_secrets"),
    ("GITHUB_WEBHOOK_SECRET", "marketplace.webhook_secrets"),
    ("STRIPE_SECRET_KEY", "stripe.secret_key"),
    ("STRIPE_API_BASE", "stripe.api_base"),
];

impl Config {
    /// Loads and checks the configuration. `file` must exist if given; `bursar.toml` in the current
    /// folder is read if it is there.
    pub fn load(file: Option<&Path>) -> Result<Self> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        figment = match file {
            Some(path) => figment.merge(Toml::file_exact(path)),
            None => figment.merge(Toml::file("bursar.toml")),
        };
        figment = figment.merge(Env::prefixed("BURSAR_").split("__").filter(|key| key.as_str().contains('.')));
        for (variable, field) in ENVIRONMENT {
            if let Ok(value) = std::env::var(variable) {
                figment = figment.merge(Serialized::default(field, value));
            }
        }
        let config: Self = figment
            .extract()
            .map_err(|errors| Error::Config(errors.into_iter().map(|error| error.to_string()).collect()))?;
        config.check()?;
        Ok(config)
    }

    /// All problems at once, one message for each.
    pub fn check(&self) -> Result<()> {
        let mut problems = Vec::new();
        let mut need = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        let scheme = |url: &str, schemes: &[&str]| url.is_empty() || schemes.iter().any(|s| url.starts_with(s));
        need(
            self.listen.parse::<SocketAddr>().is_ok(),
            "listen (BURSAR_LISTEN) must be an address such as 127.0.0.1:8080",
        );
        need(
            scheme(&self.database_url, &["postgres://", "postgresql://", "sqlite:"]),
            "database_url (DATABASE_URL) must begin with postgres:// or sqlite://",
        );
        need(
            scheme(&self.amqp_url, &["amqp://", "amqps://"]),
            "amqp_url (AMQP_URL) must begin with amqp:// or amqps://",
        );
        need(
            self.admin_token.is_empty() || self.admin_token.len() >= ADMIN_TOKEN_LEN_MIN,
            "admin_token (BURSAR_ADMIN_TOKEN) must have at least 32 characters",
        );
        need(
            self.webhook_secrets().iter().all(|secret| secret.starts_with("whsec_")),
            "stripe.webhook_secrets (STRIPE_WEBHOOK_SECRET): each secret must begin with whsec_",
        );
        let key = self.stripe.secret_key.trim();
        need(
            key.is_empty() || stripe::key_is_live(key).is_some(),
            "stripe.secret_key (STRIPE_SECRET_KEY) must begin with sk_live_, sk_test_, rk_live_ or rk_test_",
        );
        need(
            stripe::key_is_live(key) != Some(true) || self.stripe.livemode,
            "stripe.secret_key (STRIPE_SECRET_KEY) is a live key, but the webhook secrets are test mode's \
             (stripe.livemode is false): use keys and secrets of one mode",
        );
        need(
            stripe::key_is_live(key) != Some(false) || !self.stripe.livemode,
            "the webhook secrets are live mode's (stripe.livemode is true), but stripe.secret_key \
             (STRIPE_SECRET_KEY) is a test key: use keys and secrets of one mode",
        );
        need(
            scheme(&self.stripe.api_base, &["https://", "http://"]),
            "stripe.api_base (STRIPE_API_BASE) must begin with https:// or http://",
        );
        need(
            self.stripe.timeout_ms >= 100 && self.stripe.total_timeout_ms >= self.stripe.timeout_ms,
            "stripe.timeout_ms must be at least 100, and stripe.total_timeout_ms not less than it",
        );
        need(
            (-1..=23).contains(&self.stripe.reconcile_hour),
            "stripe.reconcile_hour must be from 0 to 23, or -1 for never",
        );
        need(
            (1..=30).contains(&self.stripe.reconcile_days) && (0..=86_400).contains(&self.stripe.reconcile_grace_s),
            "stripe.reconcile_days must be from 1 to 30, and stripe.reconcile_grace_s from 0 to 86400",
        );
        need(
            !self.is_postgres() || !self.webhook_secrets().is_empty(),
            "stripe.webhook_secrets (STRIPE_WEBHOOK_SECRET) must be set when DATABASE_URL is Postgres",
        );
        need(
            !self.is_postgres() || !self.admin_token.is_empty(),
            "admin_token (BURSAR_ADMIN_TOKEN) must be set when DATABASE_URL is Postgres",
        );
        need(
            self.secret_key.is_empty() || seal::keys_are_valid(&self.secret_key),
            "secret_key (BURSAR_SECRET_KEY) must be 64 hexadecimal digits, such as from `openssl rand -hex 32`",
        );
        need(
            !self.is_postgres() || !self.secret_key.is_empty(),
            "secret_key (BURSAR_SECRET_KEY) must be set when DATABASE_URL is Postgres",
        );
        for problem in mail::deliver::problems(&self.mail) {
            need(false, &problem);
        }
        need(
            [&self.mail.product_name, &self.credits.unit].iter().all(|name| check_name(name).is_ok()),
            "mail.product_name and credits.unit must have 1 to 200 printable characters",
        );
        need(
            scheme(&self.mail.billing_url, &["https://", "http://"]),
            "mail.billing_url must begin with https:// or http://",
        );
        need(
            (100..=self.jobs.timeout_ms / 5).contains(&self.mail.timeout_ms) && self.mail.connections_max > 0,
            "mail.timeout_ms must be from 100 to a fifth of jobs.timeout_ms, and mail.connections_max at least 1",
        );
        need(
            self.credits.signup >= 0 && self.credits.pro_period > 0,
            "credits: signup and pro_period must not be negative",
        );
        need(
            (1..=self.credits.hold_max_s).contains(&self.credits.hold_default_s),
            "credits.hold_default_s must be from 1 to hold_max_s",
        );
        need(self.database.connections_max >= 4, "database.connections_max must be at least 4");
        need((1..=16).contains(&self.ledger.writers), "ledger.writers must be from 1 to 16");
        need((1..=2_000).contains(&self.ledger.batch_max), "ledger.batch_max must be from 1 to 2000");
        need(self.jobs.workers_max > 0, "jobs.workers_max must be at least 1");
        need(self.jobs.lease_ms >= 1_000, "jobs.lease_ms must be at least 1000");
        need(self.jobs.retention_days >= 30, "jobs.retention_days must be at least 30");
        need(
            self.jobs.backoff_base_ms > 0 && self.jobs.backoff_factor > 0,
            "jobs: backoff_base_ms and backoff_factor must be positive",
        );
        need((1..=64).contains(&self.amqp.shards), "amqp.shards must be from 1 to 64");
        need(
            !self.amqp.tiers_ms.is_empty() && self.amqp.tiers_ms.is_sorted() && self.amqp.tiers_ms[0] > 0,
            "amqp.tiers_ms must be ascending and positive",
        );
        need(self.amqp.prefetch > 0, "amqp.prefetch must be at least 1");
        need(
            self.http.connections_max > self.http.requests_max,
            "http.connections_max must be greater than requests_max, so that health is answered under load",
        );
        need(
            self.http.idle_timeout_ms > self.http.timeout_ms,
            "http.idle_timeout_ms must be greater than timeout_ms, so that a request can be answered",
        );
        need(
            self.http.trusted_proxies().is_ok(),
            "http.trusted_proxies must be IP addresses or networks such as 10.0.0.0/8",
        );
        self.onboarding.check(&mut need);
        self.marketplace.check(&mut need);
        if problems.is_empty() { Ok(()) } else { Err(Error::Config(problems)) }
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

    /// The folder to lock against a second process, if the database is SQLite in a file.
    pub fn sqlite_folder(&self) -> Option<PathBuf> {
        let url = self.database_url();
        let path = url.strip_prefix("sqlite:")?.trim_start_matches("//");
        let path = path.split('?').next().unwrap_or(path);
        Path::new(path).parent().map(Path::to_path_buf)
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
        stripe::key_is_live(self.stripe.secret_key.trim()) != Some(true)
    }

    /// How Stripe is reached.
    pub fn gateway(&self) -> GatewayOptions {
        let stripe = &self.stripe;
        let elsewhere = !stripe.api_base.is_empty() && stripe.api_base != stripe::API_BASE;
        let rate_per_s = match (stripe.rate_per_s, stripe::key_is_live(stripe.secret_key.trim())) {
            (0, Some(true)) => 80,
            (0, _) if elsewhere => 2_000,
            (0, _) => 20,
            (rate, _) => rate,
        };
        GatewayOptions {
            secret_key: stripe.secret_key.trim().to_owned(),
            api_base: if elsewhere { stripe.api_base.clone() } else { stripe::API_BASE.to_owned() },
            timeout_ms: stripe.timeout_ms,
            total_timeout_ms: stripe.total_timeout_ms,
            rate_per_s,
            retry: RetryPolicy { tries_max: stripe.tries_max.max(1), base_ms: 500, wait_max_ms: 5_000 },
            breaker: BreakerOptions { failures_max: 5, open_ms: 5_000 },
        }
    }

    /// What makes a price Pro's.
    pub fn pro_price(&self) -> ProPrice {
        ProPrice { price_id: self.stripe.pro_price_id.clone(), lookup_key: self.stripe.pro_lookup_key.clone() }
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
    fn the_defaults_are_valid() {
        assert!(Config::default().check().is_ok());
    }

    #[test]
    fn every_problem_gets_a_message_of_its_own() {
        let mut config = Config { listen: "nowhere".to_owned(), amqp_url: "http://x".to_owned(), ..Config::default() };
        config.jobs.retention_days = 1;
        match config.check() {
            Err(Error::Config(problems)) => assert_eq!(problems.len(), 3, "{problems:?}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn postgres_needs_secrets_of_its_own() {
        let config = Config { database_url: "postgres://localhost/x".to_owned(), ..Config::default() };
        assert!(config.check().is_err());
    }
}
