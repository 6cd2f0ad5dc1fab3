//! What goes wrong with deliveries, on purpose.

use serde::{Deserialize, Serialize};

/// What goes wrong with deliveries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Each event is delivered that often at most, and at least once: how often, chance decides.
    pub duplicates_max: u32,
    /// Each delivery waits up to this long, in milliseconds of real time. Whatever is delayed by
    /// chance also arrives in another order.
    pub delay_max_ms: u64,
    /// Each delivery waits at least this long, in milliseconds of real time.
    pub delay_min_ms: u64,
    /// The probability that a delivery never arrives: it counts as failed and is not tried again.
    pub drop_probability: f64,
    /// Renders all events in this version, whatever their endpoints want.
    pub api_version: Option<String>,
    /// Each event is followed by its thin twin, at the same endpoints.
    pub thin_twins: bool,
    /// Nothing is delivered until this is false again; what waits stays.
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
