//! Settings: Stripe.

use serde::{Deserialize, Serialize};

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

/// How far reconciliations look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// How far back a run looks if there was none before it.
    pub first_ms: i64,
    /// What is younger than this is left to its event.
    pub grace_ms: i64,
}

impl StripeConfig {
    /// How far reconciliations look.
    pub fn reconcile_reach(&self) -> Reach {
        Reach { first_ms: self.reconcile_days * 24 * 60 * 60 * 1_000, grace_ms: self.reconcile_grace_s * 1_000 }
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
