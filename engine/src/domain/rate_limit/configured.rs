//! The limits that are settings.

use super::Quota;
use crate::config::LimitsConfig;

const SECOND_MS: u32 = 1_000;
const MINUTE_MS: u32 = 60 * SECOND_MS;
const HOUR_MS: u32 = 60 * MINUTE_MS;

impl LimitsConfig {
    /// The limit of an API key's requests.
    pub fn requests(&self) -> Option<Quota> {
        Quota::from_rate(self.requests_per_minute, MINUTE_MS, self.requests_per_minute)
    }

    /// The limit of a customer's exports.
    pub fn exports(&self) -> Option<Quota> {
        Quota::from_rate(self.exports_per_hour, HOUR_MS, self.exports_per_hour)
    }

    /// The limit of a customer's writes that cost no credits.
    pub fn writes(&self) -> Option<Quota> {
        Quota::from_rate(self.writes_per_second, SECOND_MS, self.writes_burst)
    }

    /// The limit of a customer's new API keys.
    pub fn keys(&self) -> Option<Quota> {
        Quota::from_rate(self.keys_per_minute, MINUTE_MS, self.keys_burst)
    }

    /// The limit of a customer's refused purchases.
    pub fn refusals(&self) -> Option<Quota> {
        Quota::from_rate(self.refusals_per_second, SECOND_MS, self.refusals_burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_counts_in_the_window_in_which_it_comes_at_the_pace() {
        let limits = LimitsConfig::default();
        let quota = |units, window_ms| Some(Quota { units, window_ms });
        assert_eq!(limits.requests(), quota(30_000, 60_000));
        assert_eq!(limits.exports(), quota(60, 3_600_000));
        assert_eq!(limits.writes(), quota(3_000, 300_000));
        assert_eq!(limits.keys(), quota(20, 120_000));
        assert_eq!(limits.refusals(), quota(100, 10_000));
    }

    #[test]
    fn zero_is_no_limit() {
        let limits = LimitsConfig { requests_per_minute: 0, writes_per_second: 0, ..LimitsConfig::default() };
        assert_eq!((limits.requests(), limits.writes()), (None, None));
    }
}
