//! Exponential backoff with jitter.

use crate::config::JobsConfig;

/// Waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Wait after the first failure.
    pub base_ms: i64,
    /// Factor between consecutive waits.
    pub factor: i64,
    /// The longest wait.
    pub max_ms: i64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::from(&JobsConfig::default())
    }
}

impl From<&JobsConfig> for Backoff {
    fn from(config: &JobsConfig) -> Self {
        Self { base_ms: config.backoff_base_ms, factor: config.backoff_factor, max_ms: config.backoff_max_ms }
    }
}

impl Backoff {
    /// The wait after failure number `attempt` (from 1). `jitter` is from 0 to 1: the wait is 80 % to 100 % of the
    /// exponential, so that simultaneous failures spread out but no wait exceeds its delay tier.
    pub fn delay_ms(&self, attempt: i64, jitter: f64) -> i64 {
        let exponent = u32::try_from(attempt.clamp(1, 40) - 1).unwrap_or(0);
        let full = self.base_ms.saturating_mul(self.factor.saturating_pow(exponent)).min(self.max_ms);
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        let spread = (full as f64 * 0.2 * jitter.clamp(0.0, 1.0)) as i64;
        full - spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_by_the_factor_up_to_the_maximum() {
        let backoff = Backoff::default();
        assert_eq!(backoff.delay_ms(1, 0.0), 5_000);
        assert_eq!(backoff.delay_ms(2, 0.0), 20_000);
        assert_eq!(backoff.delay_ms(40, 0.0), backoff.max_ms);
        assert_eq!(backoff.delay_ms(i64::MAX, 0.0), backoff.max_ms);
    }

    #[test]
    fn jitter_takes_off_at_most_a_fifth() {
        let backoff = Backoff::default();
        assert_eq!(backoff.delay_ms(1, 1.0), 4_000);
        assert_eq!(backoff.delay_ms(1, 9.0), 4_000);
    }
}
