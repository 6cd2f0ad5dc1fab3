//! The faults of a day: in webhooks, in calls to Stripe, and crashes of the application.

use bursar_sandbox::{Fault, FaultRule, Policy};
use rand::RngExt;
use rand::rngs::StdRng;
use serde::Serialize;
use std::ops::RangeInclusive;

/// API versions in which events are rendered: one from each side of every supported format change.
const VERSIONS: [&str; 7] = [
    "2020-08-27",
    "2022-11-15",
    "2024-06-20",
    "2025-03-31.basil",
    "2025-12-15.clover",
    "2026-05-27.dahlia",
    "2026-10-28.endive",
];
/// Failing calls on one day.
const FAULTS: RangeInclusive<usize> = 3..=12;
/// The time between two faults.
const PAUSE_MS: RangeInclusive<u64> = 20..=400;
/// How long the application stays down.
const DOWN_MS: RangeInclusive<u64> = 0..=800;
/// Calls that fail. A fault strikes the next call that matches.
const CALLS: [(Option<&str>, &str); 10] = [
    (Some("POST"), "/v1/payment_intents"),
    (Some("GET"), "/v1/payment_intents"),
    (Some("POST"), "/v1/customers"),
    (Some("POST"), "/v1/payment_methods"),
    (Some("POST"), "/v1/subscriptions"),
    (Some("GET"), "/v1/subscriptions"),
    (Some("DELETE"), "/v1/subscriptions"),
    (Some("GET"), "/v1/charges"),
    (Some("GET"), "/v1/invoices"),
    (None, "/v1/"),
];

/// A fault during a day.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DayFault {
    /// A call to Stripe fails.
    StripeFault(FaultRule),
    /// The application is killed and started again.
    Crash {
        /// How long it stays down.
        down_ms: u64,
    },
}

/// The faults of one day, and of the advance of the clock after it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DayFaults {
    /// How webhooks are delivered.
    pub webhooks: Policy,
    /// Faults, each after a pause in milliseconds.
    pub sequence: Vec<(u64, DayFault)>,
}

impl DayFaults {
    /// Chooses random faults. On the first day all webhooks are delivered, so that every run has some undisturbed
    /// journeys.
    pub fn random(rng: &mut StdRng, day: usize) -> Self {
        let delay_max_ms = [0, 200, 1_500][rng.random_range(0..3)];
        let webhooks = Policy {
            duplicates_max: rng.random_range(1..=4),
            delay_max_ms,
            drop_probability: if day == 1 { 0.0 } else { [0.0, 0.1, 0.4][rng.random_range(0..3)] },
            api_version: Some(VERSIONS[rng.random_range(0..VERSIONS.len())].to_owned()),
            thin_twins: rng.random_bool(0.15),
            ..Policy::default()
        };
        let mut sequence: Vec<(u64, DayFault)> = (0..rng.random_range(FAULTS))
            .map(|_| (rng.random_range(PAUSE_MS), DayFault::StripeFault(rule(rng))))
            .collect();
        if rng.random_bool(0.6) {
            let at = rng.random_range(0..=sequence.len());
            let crash = DayFault::Crash { down_ms: rng.random_range(DOWN_MS) };
            sequence.insert(at, (rng.random_range(PAUSE_MS), crash));
        }
        Self { webhooks, sequence }
    }
}

fn rule(rng: &mut StdRng) -> FaultRule {
    let (method, path) = CALLS[rng.random_range(0..CALLS.len())];
    let fault = match rng.random_range(0..10) {
        0 => Fault::Refuse { status: 500, should_retry: None },
        1 => Fault::Refuse { status: 503, should_retry: Some(true) },
        2 => Fault::RateLimit { retry_after_s: Some(1) },
        3 => Fault::RateLimit { retry_after_s: None },
        4 => Fault::StoreFailure { status: 500 },
        5 | 6 => Fault::LoseAnswer { hang_ms: rng.random_range(0..=300) },
        // Some of these delays exceed the client's timeout (`STRIPE_TIMEOUT_MS` in `deployment`).
        7 | 8 => Fault::Delay { ms: rng.random_range(500..=2_500) },
        _ => Fault::BadGateway,
    };
    FaultRule { method: method.map(str::to_owned), path: path.to_owned(), count: Some(1), probability: None, fault }
}

/// The name under which a fault is counted.
pub fn name(fault: &Fault) -> &'static str {
    match fault {
        Fault::Refuse { .. } => "refused",
        Fault::StoreFailure { .. } => "stored failure",
        Fault::LoseAnswer { .. } => "answer lost",
        Fault::Delay { .. } => "answer late",
        Fault::RateLimit { .. } => "rate limit",
        Fault::BadGateway => "bad gateway",
    }
}
