//! Settings: rate limits of each API key and of each customer.

use serde::{Deserialize, Serialize};

/// The highest value of each setting.
const SETTING_MAX: u32 = 1_000_000;
/// The least burst of writes: the cost of the largest hold.
const WRITES_BURST_MIN: u32 = 10;

/// Rate limits of each API key and of each customer, on all nodes together.
///
/// A limit with a burst lets the burst through in any window in which so much comes at its pace: 3,000 at 10 a second
/// are 3,000 in any 300 seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Requests with one API key in any 60 seconds; 0 for no limit.
    pub requests_per_minute: u32,
    /// Exports of a customer in any hour; 0 for no limit.
    pub exports_per_hour: u32,
    /// Units of writes that cost no credits a customer gains each second; 0 for no limit.
    pub writes_per_second: u32,
    /// Maximum number of units that a customer can use at once.
    pub writes_burst: u32,
    /// API keys that a customer may create or rotate a minute; 0 for no limit.
    pub keys_per_minute: u32,
    /// Most API keys at once.
    pub keys_burst: u32,
    /// Purchases of a customer that may be refused a second, such as those with a declined card; 0 for no limit.
    /// Further ones are refused without asking what decides them.
    pub refusals_per_second: u32,
    /// Most refused purchases at once. More requests than this that want to buy at the same moment are refused, too.
    pub refusals_burst: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        // Enough for a thousand open holds, each with a KiB of metadata.
        Self {
            requests_per_minute: 30_000,
            exports_per_hour: 60,
            writes_per_second: 10,
            writes_burst: 3_000,
            keys_per_minute: 10,
            keys_burst: 20,
            refusals_per_second: 10,
            refusals_burst: 100,
        }
    }
}

impl LimitsConfig {
    /// Reports each problem.
    pub(super) fn check(&self, need: &mut impl FnMut(bool, &str)) {
        for (name, value) in
            [("requests_per_minute", self.requests_per_minute), ("exports_per_hour", self.exports_per_hour)]
        {
            need(value <= SETTING_MAX, &format!("limits.{name} must be at most {SETTING_MAX}, or 0 for no limit"));
        }
        for (name, value, burst, burst_min) in [
            ("writes_per_second", self.writes_per_second, self.writes_burst, WRITES_BURST_MIN),
            ("keys_per_minute", self.keys_per_minute, self.keys_burst, 1),
            ("refusals_per_second", self.refusals_per_second, self.refusals_burst, 1),
        ] {
            let noun = name.split('_').next().unwrap_or_default();
            need(
                value <= SETTING_MAX && (burst_min..=SETTING_MAX).contains(&burst),
                &format!(
                    "limits.{name} must be at most {SETTING_MAX} (0 for no limit), and limits.{noun}_burst from \
                     {burst_min} to {SETTING_MAX}"
                ),
            );
        }
    }
}
