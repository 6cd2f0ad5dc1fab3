//! Settings: Stripe.

use super::debug_without_secrets;
use serde::{Deserialize, Serialize};

/// Base URL of Stripe's API.
pub const STRIPE_API_BASE: &str = "https://api.stripe.com";

debug_without_secrets!(StripeConfig);

/// Stripe.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StripeConfig {
    /// Secrets of the webhook endpoint, separated by commas while rotating (`STRIPE_WEBHOOK_SECRET`).
    #[serde(skip_serializing)]
    pub webhook_secrets: String,
    /// Secret or restricted key (`STRIPE_SECRET_KEY`). Without it nothing is charged, and events are believed
    /// without asking Stripe.
    #[serde(skip_serializing)]
    pub secret_key: String,
    /// Whether the sandbox stands in for Stripe when no secret key is set and the database is the embedded one.
    pub sandbox: bool,
    /// Base URL of the API (`STRIPE_API_BASE`); Stripe's own if empty.
    pub api_base: String,
    /// The longest duration of one try of a call.
    pub timeout_ms: u64,
    /// The longest duration of a call with all its tries.
    pub total_timeout_ms: u64,
    /// Tries of one call, including the first; after them the job is retried.
    pub tries_max: u32,
    /// Calls a second from this process. If 0: 80 in live mode, 20 in test mode, 2000 where `api_base` is not
    /// Stripe's. Stripe's own limits are 100 and 25 for all processes together.
    pub rate_per_s: u32,
    /// How long a request waits for Stripe before it is answered with 202 and settled later.
    pub wait_ms: u64,
    /// After a 5xx on a charge, how long to look for its payment before retrying under a new key.
    pub doubt_ms: i64,
    /// Whether the webhook secrets belong to live mode. Events of the other mode are quarantined, and a secret key
    /// of the other mode is refused at start.
    pub livemode: bool,
    /// The largest age of a signature, past or future, in seconds.
    pub tolerance_s: i64,
    /// The hour (UTC, 0 to 23) from which the nightly reconciliation may run; -1 for never.
    pub reconcile_hour: i64,
    /// The window of the first reconciliation, in days.
    pub reconcile_days: i64,
    /// Objects and events younger than this are left to their webhooks, in seconds.
    pub reconcile_grace_s: i64,
}

/// The window of reconciliations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconcileWindow {
    /// The window of the first run.
    pub first_ms: i64,
    /// Younger objects and events are left to their webhooks.
    pub grace_ms: i64,
}

impl StripeConfig {
    /// The window of reconciliations.
    pub fn reconcile_window(&self) -> ReconcileWindow {
        ReconcileWindow {
            first_ms: self.reconcile_days * 24 * 60 * 60 * 1_000,
            grace_ms: self.reconcile_grace_s * 1_000,
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
            reconcile_hour: 3,
            reconcile_days: 3,
            reconcile_grace_s: 600,
        }
    }
}
