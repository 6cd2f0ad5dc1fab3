//! Intentional failures of deliveries.

use serde::{Deserialize, Serialize};

/// Intentional failures of deliveries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Each event is delivered between one and this many times, at random.
    pub duplicates_max: u32,
    /// Each delivery waits a random time up to this, in real milliseconds, which also changes their order.
    pub delay_max_ms: u64,
    /// Each delivery waits at least this long, in real milliseconds.
    pub delay_min_ms: u64,
    /// Probability that a delivery is lost: it fails and is not retried.
    pub drop_probability: f64,
    /// Renders all events in this version, whatever their endpoints request.
    pub api_version: Option<String>,
    /// Sends a thin event after each event, to the same endpoints.
    pub thin_twins: bool,
    /// Pauses all deliveries. They are sent when this is false again.
    pub is_paused: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            duplicates_max: 1,
            delay_max_ms: 0,
            delay_min_ms: 0,
            drop_probability: 0.0,
            api_version: None,
            thin_twins: false,
            is_paused: false,
        }
    }
}
