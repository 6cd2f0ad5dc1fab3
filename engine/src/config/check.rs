//! Checks the configuration.

use super::Config;
use super::mail::problems;
use super::secret::{has_placeholder, key_is_live};
use super::url::{broker_problem, database_problem, may_be_http, public_url_problem};
use crate::amount::{Credits, UNITS_MAX};
use crate::error::{Error, Result};
use crate::name::check_name;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

/// The largest capacity of a queue or semaphore.
pub(super) const CAPACITY_MAX: usize = 1_000_000;
/// The longest timeout or interval: a day.
pub(super) const TIME_MAX_MS: u64 = 24 * 60 * 60 * 1_000;
/// Maximum number of tries of one call to Stripe.
const TRIES_MAX: u32 = 20;
/// Maximum number of calls a second to Stripe or its stand-in.
const RATE_MAX: u32 = 10_000;
/// The longest hold: a year.
const HOLD_MAX_S: i64 = 365 * 24 * 60 * 60;
/// Maximum number of connections to one SMTP server.
const SMTP_CONNECTIONS_MAX: usize = 1_000;

impl Config {
    /// Checks everything.
    ///
    /// # Errors
    /// `Config` with one message for each problem.
    pub fn check(&self) -> Result<()> {
        let mut problems = Vec::new();
        let mut need = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        self.check_basics(&mut need);
        self.check_secrets(&mut need);
        self.check_stripe(&mut need);
        self.check_business(&mut need);
        self.database.check(&mut need);
        self.ledger.check(&mut need);
        self.jobs.check(&mut need);
        self.amqp.check(&mut need);
        self.http.check(&mut need);
        self.onboarding.check(&mut need);
        self.marketplace.check(&mut need);
        self.limits.check(&mut need);
        self.admin.check(&mut need);
        for problem in self.marketplace.plan_problems(&self.catalogue.now()) {
            need(false, &problem);
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Config(problems)) }
    }

    fn check_basics(&self, need: &mut impl FnMut(bool, &str)) {
        need(
            self.listen.parse::<SocketAddr>().is_ok(),
            "listen (BURSAR_LISTEN) must be an address such as 127.0.0.1:8080",
        );
        need(
            self.ops_listen.is_empty() || self.ops_listen.parse::<SocketAddr>().is_ok(),
            "ops_listen (BURSAR_OPS_LISTEN) must be an address such as 127.0.0.1:9090",
        );
        need(
            self.ops_listen.is_empty() || self.ops_listen != self.listen || self.listen.ends_with(":0"),
            "ops_listen (BURSAR_OPS_LISTEN) must differ from listen (BURSAR_LISTEN)",
        );
        self.check_urls(need);
        self.check_public_url(need);
        need(
            !self.is_postgres() || !self.admin_token.is_empty() || !self.admin.bootstrap,
            "admin_token (BURSAR_ADMIN_TOKEN) must be set when DATABASE_URL is Postgres, unless admin.bootstrap is false",
        );
        need(
            !self.is_postgres() || !self.secret_key.is_empty(),
            "secret_key (BURSAR_SECRET_KEY) must be set when DATABASE_URL is Postgres",
        );
    }

    fn check_public_url(&self, need: &mut impl FnMut(bool, &str)) {
        if !self.public_url.is_empty() {
            if let Some(problem) = public_url_problem(&self.public_url) {
                need(false, &format!("public_url (BURSAR_PUBLIC_URL) cannot be used: {problem}"));
            }
            return;
        }
        // A laptop's own address is good for links that stay on it.
        need(
            !self.asks_for_confirmation() || !(self.sends_mail() || self.is_postgres()),
            "public_url (BURSAR_PUBLIC_URL) must be set, because mails carry a link by which customers confirm their \
             address: where customers reach this server, such as https://billing.example.com. To ask for no confirmation, \
             set onboarding.confirmation to off",
        );
    }

    fn check_urls(&self, need: &mut impl FnMut(bool, &str)) {
        type Problem = fn(&str) -> Option<String>;
        let urls: [(_, _, &[&str], _, Problem); 2] = [
            (
                "database_url (DATABASE_URL)",
                &self.database_url,
                &["postgres://", "postgresql://", "sqlite:"],
                "postgres:// or sqlite://",
                database_problem,
            ),
            ("amqp_url (AMQP_URL)", &self.amqp_url, &["amqp://", "amqps://"], "amqp:// or amqps://", broker_problem),
        ];
        for (name, url, schemes, begin, problem) in urls {
            if !has_scheme(url, schemes) {
                need(false, &format!("{name} must begin with {begin}"));
            } else if !url.is_empty()
                && !has_placeholder(url)
                && let Some(problem) = problem(url)
            {
                need(false, &format!("{name} cannot be used: {problem}"));
            }
        }
    }

    fn check_stripe(&self, need: &mut impl FnMut(bool, &str)) {
        let key = self.stripe.secret_key.trim();
        need(
            key_is_live(key) != Some(true) || self.stripe.livemode,
            "stripe.secret_key (STRIPE_SECRET_KEY) is a live key, but the webhook secrets are test mode's \
             (stripe.livemode is false): use keys and secrets of one mode",
        );
        need(
            key_is_live(key) != Some(false) || !self.stripe.livemode,
            "the webhook secrets are live mode's (stripe.livemode is true), but stripe.secret_key \
             (STRIPE_SECRET_KEY) is a test key: use keys and secrets of one mode",
        );
        need(
            may_be_http(&self.stripe.api_base),
            "stripe.api_base (STRIPE_API_BASE) must be a URL that begins with https:// or http://",
        );
        need(
            self.stripe.timeout_ms >= 100
                && (self.stripe.timeout_ms..=TIME_MAX_MS).contains(&self.stripe.total_timeout_ms),
            &format!(
                "stripe.timeout_ms must be at least 100, and stripe.total_timeout_ms not less than it and at most \
                 {TIME_MAX_MS}"
            ),
        );
        need_within(need, "stripe.tries_max", self.stripe.tries_max, 1..=TRIES_MAX);
        need_within(need, "stripe.rate_per_s", self.stripe.rate_per_s, 0..=RATE_MAX);
        need(
            !self.http.is_timeout_in_range() || self.stripe.wait_ms < self.http.timeout_ms,
            "stripe.wait_ms must be less than http.timeout_ms, so that a request is answered in time",
        );
        need_within(need, "stripe.doubt_ms", self.stripe.doubt_ms, 100..=TIME_MAX_MS.cast_signed());
        need(self.stripe.tolerance_s > 0, "stripe.tolerance_s must be at least 1");
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
    }

    fn check_business(&self, need: &mut impl FnMut(bool, &str)) {
        for problem in problems(&self.mail) {
            need(false, &problem);
        }
        need(
            [&self.mail.product_name, &self.credits.unit].iter().all(|name| check_name(name).is_ok()),
            "mail.product_name and credits.unit must have 1 to 200 printable characters",
        );
        need(
            self.credits.unit_plural.is_empty() || check_name(&self.credits.unit_plural).is_ok(),
            "credits.unit_plural must have at most 200 printable characters",
        );
        need(
            may_be_http(&self.mail.billing_url),
            "mail.billing_url must be a URL that begins with https:// or http://",
        );
        let timeout_max_ms = if self.jobs.is_timeout_in_range() { self.jobs.timeout_ms / 5 } else { TIME_MAX_MS };
        need(
            (100..=timeout_max_ms).contains(&self.mail.timeout_ms),
            "mail.timeout_ms must be from 100 to a fifth of jobs.timeout_ms",
        );
        need_within(need, "mail.connections_max", self.mail.connections_max, 1..=SMTP_CONNECTIONS_MAX);
        need_within(need, "credits.warn_at", self.credits.warn_at, Credits::ZERO..=UNITS_MAX);
        need(
            (1..=self.credits.hold_max_s).contains(&self.credits.hold_default_s)
                && self.credits.hold_max_s <= HOLD_MAX_S,
            &format!(
                "credits.hold_default_s must be from 1 to hold_max_s, and credits.hold_max_s at most {HOLD_MAX_S}"
            ),
        );
    }
}

/// Requires a setting to be in a range.
pub(super) fn need_within<T: PartialOrd + Display>(
    need: &mut impl FnMut(bool, &str),
    name: &str,
    value: T,
    range: RangeInclusive<T>,
) {
    need(range.contains(&value), &format!("{name} must be from {} to {}", range.start(), range.end()));
}

/// Whether a URL is empty or begins with one of these schemes.
fn has_scheme(url: &str, schemes: &[&str]) -> bool {
    url.is_empty() || schemes.iter().any(|scheme| url.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfirmationMode;

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
    fn a_value_that_makes_no_sense_is_refused_with_one_message_that_names_it() {
        type Change = fn(&mut Config);
        let wrong: &[(&str, Change)] = &[
            ("jobs.sweep_interval_ms", |config| config.jobs.sweep_interval_ms = 0),
            ("jobs.workers_max", |config| config.jobs.workers_max = usize::MAX),
            ("ledger.idle_ms", |config| config.ledger.idle_ms = 0),
            ("ledger.commands_max", |config| config.ledger.commands_max = 0),
            ("ledger.customer_queue_max", |config| config.ledger.customer_queue_max = 0),
            ("ledger.customers_memory_kib", |config| config.ledger.customers_memory_kib = 0),
            ("ledger.accounts_memory_kib", |config| config.ledger.accounts_memory_kib = 0),
            ("ledger.batch_max", |config| config.ledger.batch_max = 0),
            ("http.requests_max", |config| config.http.requests_max = 0),
            ("http.drain_timeout_ms", |config| config.http.drain_timeout_ms = 23_001),
            ("http.webhook_bodies_max_bytes", |config| config.http.webhook_bodies_max_bytes = 20_000_000),
            ("http.webhook_bodies_small_bytes", |config| config.http.webhook_bodies_small_bytes = 262_143),
            ("http.answers_max_bytes", |config| config.http.answers_max_bytes = 0),
            ("http.body_timeout_ms", |config| config.http.body_timeout_ms = 99),
            ("http.answer_timeout_ms", |config| config.http.answer_timeout_ms = 99),
            ("amqp.confirms_max", |config| config.amqp.confirms_max = 0),
            ("amqp.prefetch", |config| config.amqp.prefetch = 0),
            ("limits.requests_per_minute", |config| config.limits.requests_per_minute = 1_000_001),
            ("limits.exports_per_hour", |config| config.limits.exports_per_hour = 1_000_001),
            ("limits.writes_per_second", |config| config.limits.writes_per_second = 1_000_001),
            ("limits.writes_per_second", |config| config.limits.writes_burst = 9),
            ("limits.keys_per_minute", |config| config.limits.keys_burst = 0),
            ("limits.refusals_per_second", |config| config.limits.refusals_burst = 0),
            ("marketplace.renewal_grace_hours", |config| config.marketplace.renewal_grace_hours = -1),
            ("marketplace.renewal_grace_hours", |config| config.marketplace.renewal_grace_hours = 169),
            ("marketplace.plans", |config| {
                config.marketplace.plans.insert("Team".to_owned(), "gone".to_owned());
            }),
            ("onboarding.per_ipv6_site_per_minute", |config| config.onboarding.per_ipv6_site_per_minute = 1_001),
            ("onboarding.ipv6_per_minute", |config| config.onboarding.ipv6_per_minute = 1_001),
            ("onboarding.confirmation_link_ttl_s", |config| config.onboarding.confirmation_link_ttl_s = 599),
            ("onboarding.confirmation_mails_per_day", |config| config.onboarding.confirmation_mails_per_day = 0),
            ("credits.warn_at", |config| config.credits.warn_at = Credits(-1)),
            ("credits.unit_plural", |config| config.credits.unit_plural = "fix\nes".to_owned()),
            ("credits.hold_default_s", |config| config.credits.hold_default_s = 0),
            ("credits.hold_default_s", |config| config.credits.hold_max_s = i64::MAX),
            ("stripe.timeout_ms", |config| config.stripe.timeout_ms = 0),
            ("stripe.timeout_ms", |config| config.stripe.total_timeout_ms = u64::MAX),
            ("stripe.tries_max", |config| config.stripe.tries_max = 0),
            ("stripe.rate_per_s", |config| config.stripe.rate_per_s = u32::MAX),
            ("stripe.wait_ms", |config| config.stripe.wait_ms = 30_000),
            ("stripe.doubt_ms", |config| config.stripe.doubt_ms = -1),
            ("stripe.tolerance_s", |config| config.stripe.tolerance_s = 0),
            ("stripe.tolerance_s", |config| config.stripe.tolerance_s = -300),
            ("mail.timeout_ms", |config| config.mail.timeout_ms = 0),
            ("mail.connections_max", |config| config.mail.connections_max = 0),
            ("database.connections_max", |config| config.database.connections_max = 3),
            ("database.acquire_timeout_ms", |config| config.database.acquire_timeout_ms = 0),
            ("database.clock_offset_max_ms", |config| config.database.clock_offset_max_ms = 0),
            ("ledger.timeout_ms", |config| config.ledger.timeout_ms = 0),
            ("ledger.idle_ms", |config| config.ledger.idle_ms = u64::MAX),
            ("jobs.lease_ms", |config| config.jobs.lease_ms = 999),
            ("jobs.timeout_ms", |config| config.jobs.timeout_ms = 0),
            ("jobs.backoff_base_ms", |config| config.jobs.backoff_base_ms = 0),
            ("jobs.backoff_factor", |config| config.jobs.backoff_factor = 0),
            ("jobs.backoff_max_ms", |config| config.jobs.backoff_max_ms = 4_999),
            ("jobs.sweep_grace_ms", |config| config.jobs.sweep_grace_ms = -1),
            ("jobs.retention_days", |config| config.jobs.retention_days = i64::MAX),
            ("amqp.prefix", |config| config.amqp.prefix = String::new()),
            ("amqp.prefix", |config| config.amqp.prefix = "amq.bursar".to_owned()),
            ("amqp.prefix", |config| config.amqp.prefix = "b".repeat(101)),
            ("amqp.tiers_ms", |config| config.amqp.tiers_ms = vec![1_000, 1_000]),
            ("amqp.tiers_ms", |config| config.amqp.tiers_ms = vec![1_000, i64::MAX]),
            ("amqp.queue_len_max", |config| config.amqp.queue_len_max = 0),
            ("http.body_max_bytes", |config| config.http.body_max_bytes = 0),
            ("http.webhook_body_max_bytes", |config| config.http.webhook_body_max_bytes = 0),
            ("http.timeout_ms", |config| config.http.timeout_ms = 0),
            ("http.connections_max", |config| config.http.connections_max = 3_072),
            ("http.webhooks_max", |config| config.http.webhooks_max = 0),
            ("http.connections_per_peer_max", |config| config.http.connections_per_peer_max = 0),
            ("http.ops_connections_max", |config| config.http.ops_connections_max = 0),
            ("http.connection_age_max_ms", |config| config.http.connection_age_max_ms = 0),
            ("http.header_timeout_ms", |config| config.http.header_timeout_ms = 0),
            ("http.small_body_timeout_ms", |config| config.http.small_body_timeout_ms = 0),
            ("http.bodies_max_bytes", |config| config.http.bodies_max_bytes = 0),
            ("http.bodies_per_client_bytes", |config| config.http.bodies_per_client_bytes = 0),
            ("http.stop_grace_ms", |config| config.http.stop_grace_ms = 4_000),
            ("http.cors_origins", |config| config.http.cors_origins = vec!["*".to_owned()]),
            ("ops_listen", |config| config.ops_listen = "everywhere".to_owned()),
            ("ops_listen", |config| config.ops_listen.clone_from(&config.listen)),
            ("http.idle_timeout_ms", |config| config.http.idle_timeout_ms = u64::MAX),
            ("http.api_key_cache_ms", |config| config.http.api_key_cache_ms = u64::MAX),
            ("admin.token_cache_ms", |config| config.admin.token_cache_ms = 60_001),
        ];
        for (name, change) in wrong {
            let mut config = Config::default();
            change(&mut config);
            match config.check() {
                Err(Error::Config(problems)) => {
                    assert!(problems.len() == 1 && problems[0].starts_with(name), "{name}: {problems:?}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn where_a_mail_carries_a_link_the_public_url_must_be_set() {
        let problems = |mode: ConfirmationMode, smtp_url: &str, public_url: &str| {
            let mut config = Config { public_url: public_url.to_owned(), ..Config::default() };
            (config.onboarding.confirmation, config.mail.from) = (mode, "billing@example.com".to_owned());
            smtp_url.clone_into(&mut config.mail.smtp_url);
            match config.check() {
                Ok(()) => String::new(),
                Err(Error::Config(problems)) => problems.join("\n"),
                Err(error) => panic!("{error:?}"),
            }
        };
        let (url, smtp) = ("https://billing.example.com", "smtps://user:pass@mx.example.com");
        for mode in [ConfirmationMode::Auto, ConfirmationMode::Required] {
            assert!(problems(mode, smtp, "").starts_with("public_url (BURSAR_PUBLIC_URL) must be set"), "{mode:?}");
            assert_eq!(problems(mode, smtp, url), "");
            assert_eq!(problems(mode, "", ""), "", "a laptop has an address of its own");
        }
        assert_eq!(problems(ConfirmationMode::Off, smtp, ""), "");
        assert!(
            problems(ConfirmationMode::Off, "", "example.com").starts_with("public_url (BURSAR_PUBLIC_URL) cannot")
        );
    }

    #[test]
    fn keys_and_secrets_of_two_modes_are_refused() {
        for (key, livemode) in [("sk_live_", false), ("rk_live_", false), ("sk_test_", true), ("rk_test_", true)] {
            let mut config = Config::default();
            let secret_key = format!("{key}7bR41KqTyxWFdsmvN9zgp2hc");
            (config.stripe.secret_key, config.stripe.livemode) = (secret_key, livemode);
            match config.check() {
                Err(Error::Config(problems)) => {
                    assert!(
                        problems.len() == 1 && problems[0].contains("use keys and secrets of one mode"),
                        "{problems:?}"
                    );
                }
                other => panic!("{key}: {other:?}"),
            }
            config.stripe.livemode = !livemode;
            assert!(config.check().is_ok(), "{key}");
        }
    }

    #[test]
    fn postgres_needs_no_bootstrap_token_that_is_switched_off() {
        let mut config = Config { database_url: "postgres://localhost/x".to_owned(), ..Config::default() };
        let names_it =
            |config: &Config| config.check().expect_err("refused").to_string().contains("BURSAR_ADMIN_TOKEN");
        assert!(names_it(&config));
        config.admin.bootstrap = false;
        assert!(!names_it(&config));
    }

    #[test]
    fn postgres_needs_secrets_of_its_own() {
        let config = Config { database_url: "postgres://localhost/x".to_owned(), ..Config::default() };
        assert!(config.check().is_err());
    }
}
