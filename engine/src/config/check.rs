//! What a configuration must be to make sense.

use super::{Config, WEBHOOK_SMALL_MAX_BYTES};
use crate::charge::AMOUNT_MINOR_MAX;
use crate::customer::check_name;
use crate::error::{Error, Result};
use crate::ledger::UNITS_MAX;
use crate::{mail, stripe};
use std::net::SocketAddr;

/// Most of what a queue or a semaphore is made for.
const PLACES_MAX: usize = 1_000_000;
/// A stop is promised to take 30 s; giving leases up and closing may take 7 s of them.
const DRAIN_TIMEOUT_MAX_MS: u64 = 23_000;

impl Config {
    /// All problems at once, one message for each.
    ///
    /// # Errors
    /// `Config` with all of them.
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
        self.check_money(&mut need);
        self.check_places(&mut need);
        self.check_bounds(&mut need);
        self.onboarding.check(&mut need);
        self.marketplace.check(&mut need);
        self.limits.check(&mut need);
        if problems.is_empty() { Ok(()) } else { Err(Error::Config(problems)) }
    }

    fn check_basics(&self, need: &mut impl FnMut(bool, &str)) {
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
            !self.is_postgres() || !self.admin_token.is_empty(),
            "admin_token (BURSAR_ADMIN_TOKEN) must be set when DATABASE_URL is Postgres",
        );
        need(
            !self.is_postgres() || !self.secret_key.is_empty(),
            "secret_key (BURSAR_SECRET_KEY) must be set when DATABASE_URL is Postgres",
        );
    }

    fn check_stripe(&self, need: &mut impl FnMut(bool, &str)) {
        let key = self.stripe.secret_key.trim();
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
    }

    fn check_business(&self, need: &mut impl FnMut(bool, &str)) {
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
            (1..=self.credits.hold_max_s).contains(&self.credits.hold_default_s),
            "credits.hold_default_s must be from 1 to hold_max_s",
        );
    }

    fn check_money(&self, need: &mut impl FnMut(bool, &str)) {
        let credits = &self.credits;
        for (name, amount) in [
            ("signup", credits.signup),
            ("pro_period", credits.pro_period),
            ("payment_method_bonus", credits.payment_method_bonus),
        ] {
            need((0..=UNITS_MAX).contains(&amount), &format!("credits.{name} must be from 0 to {UNITS_MAX}"));
        }
        for (name, price) in [
            ("pay_as_you_go_price_minor", credits.pay_as_you_go_price_minor),
            ("pro_price_minor", credits.pro_price_minor),
        ] {
            let holds = (1..=AMOUNT_MINOR_MAX).contains(&price);
            need(holds, &format!("credits.{name} must be from 1 to {AMOUNT_MINOR_MAX}"));
        }
        need(
            credits.currency.len() == 3 && credits.currency.bytes().all(|byte| byte.is_ascii_alphabetic()),
            "credits.currency must be the three letters of an ISO 4217 code, such as usd",
        );
    }

    /// Whatever has places for so many.
    fn check_places(&self, need: &mut impl FnMut(bool, &str)) {
        for (name, places) in [
            ("ledger.customer_queue_max", self.ledger.customer_queue_max),
            ("ledger.commands_max", self.ledger.commands_max),
            ("jobs.workers_max", self.jobs.workers_max),
            ("amqp.confirms_max", self.amqp.confirms_max),
            ("http.requests_max", self.http.requests_max),
        ] {
            need((1..=PLACES_MAX).contains(&places), &format!("{name} must be from 1 to {PLACES_MAX}"));
        }
    }

    fn check_bounds(&self, need: &mut impl FnMut(bool, &str)) {
        need(self.database.connections_max >= 4, "database.connections_max must be at least 4");
        need(self.database.clock_offset_max_ms > 0, "database.clock_offset_max_ms must be at least 1");
        need((1..=16).contains(&self.ledger.writers), "ledger.writers must be from 1 to 16");
        need((1..=2_000).contains(&self.ledger.batch_max), "ledger.batch_max must be from 1 to 2000");
        need(self.ledger.customers_memory_kib > 0, "ledger.customers_memory_kib must be at least 1");
        need(self.ledger.accounts_memory_kib > 0, "ledger.accounts_memory_kib must be at least 1");
        need(self.ledger.idle_ms > 0, "ledger.idle_ms must be at least 1");
        need(self.jobs.sweep_interval_ms > 0, "jobs.sweep_interval_ms must be at least 1");
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
        self.check_http(need);
    }

    fn check_http(&self, need: &mut impl FnMut(bool, &str)) {
        need(
            self.http.connections_max > self.http.requests_max,
            "http.connections_max must be greater than requests_max, so that health is answered under load",
        );
        need(
            self.http.drain_timeout_ms <= DRAIN_TIMEOUT_MAX_MS,
            &format!(
                "http.drain_timeout_ms must be at most {DRAIN_TIMEOUT_MAX_MS}, so that a stop takes no longer than 30 s"
            ),
        );
        need(
            self.http.webhook_bodies_small_bytes >= WEBHOOK_SMALL_MAX_BYTES,
            "http.webhook_bodies_small_bytes must be at least 262144",
        );
        need(
            self.http.webhook_bodies_max_bytes.saturating_sub(self.http.webhook_bodies_small_bytes)
                >= self.http.webhook_body_max_bytes,
            "http.webhook_bodies_max_bytes must not be less than webhook_body_max_bytes and \
             webhook_bodies_small_bytes together",
        );
        need(
            (1_024 * 1_024..=u32::MAX as usize).contains(&self.http.answers_max_bytes),
            "http.answers_max_bytes must be from 1048576 to 4294967295",
        );
        need(self.http.body_timeout_ms >= 100, "http.body_timeout_ms must be at least 100");
        need(self.http.answer_timeout_ms >= 100, "http.answer_timeout_ms must be at least 100");
        need(
            self.http.idle_timeout_ms > self.http.timeout_ms,
            "http.idle_timeout_ms must be greater than timeout_ms, so that a request can be answered",
        );
        need(
            self.http.trusted_proxies().is_ok(),
            "http.trusted_proxies must be IP addresses or networks such as 10.0.0.0/8",
        );
    }
}

/// Whether a URL, if there is one, begins with one of these.
fn scheme(url: &str, schemes: &[&str]) -> bool {
    url.is_empty() || schemes.iter().any(|scheme| url.starts_with(scheme))
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
            ("limits.writes_per_second", |config| config.limits.writes_per_second = 1_000_001),
            ("limits.writes_per_second", |config| config.limits.writes_burst = 9),
            ("limits.keys_per_minute", |config| config.limits.keys_burst = 0),
            ("marketplace.renewal_grace_hours", |config| config.marketplace.renewal_grace_hours = -1),
            ("marketplace.renewal_grace_hours", |config| config.marketplace.renewal_grace_hours = 169),
            ("credits.signup", |config| config.credits.signup = -1),
            ("credits.pro_period", |config| config.credits.pro_period = -1),
            ("credits.pro_period", |config| config.credits.pro_period = 1_000_001),
            ("credits.payment_method_bonus", |config| config.credits.payment_method_bonus = -1),
            ("credits.pro_price_minor", |config| config.credits.pro_price_minor = 0),
            ("credits.pro_price_minor", |config| config.credits.pro_price_minor = 100_000_000),
            ("credits.pay_as_you_go_price_minor", |config| config.credits.pay_as_you_go_price_minor = 0),
            ("credits.pay_as_you_go_price_minor", |config| config.credits.pay_as_you_go_price_minor = 100_000_000),
            ("credits.currency", |config| config.credits.currency = "us".to_owned()),
            ("credits.currency", |config| config.credits.currency = "us$".to_owned()),
            ("credits.currency", |config| config.credits.currency = "ëu".to_owned()),
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
    fn no_credits_on_signup_or_for_pro_are_fine() {
        let mut config = Config::default();
        (config.credits.signup, config.credits.pro_period, config.credits.payment_method_bonus) = (0, 0, 0);
        assert!(config.check().is_ok());
    }

    #[test]
    fn keys_and_secrets_of_two_modes_are_refused() {
        for (key, livemode) in [("sk_live_", false), ("rk_live_", false), ("sk_test_", true), ("rk_test_", true)] {
            let mut config = Config::default();
            let secret_key = format!("{key}4eC39HqLyjWDarjtT1zdp7dc");
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
    fn postgres_needs_secrets_of_its_own() {
        let config = Config { database_url: "postgres://localhost/x".to_owned(), ..Config::default() };
        assert!(config.check().is_err());
    }
}
