//! Whether and when a call is retried.
//!
//! A retry uses the same idempotency key: under a new one, a slow success would charge twice.

use super::StripeError;

/// Stripe's hints about a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hints {
    /// `Stripe-Should-Retry`, which overrides the status. Source: Stripe, "Error handling".
    pub should_retry: Option<bool>,
    /// `Retry-After`, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// Whether Stripe seems to be down: no connection, no answer, or a new failure of its own. A conflict or a rate
    /// limit shows that it is up.
    pub is_outage: bool,
}

/// The policy for retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in total, including the first.
    pub tries_max: u32,
    /// Wait before the second try; each further wait is twice as long.
    pub base_ms: u64,
    /// The longest wait. A longer `Retry-After` ends the tries, and the caller's job tries again later.
    pub wait_max_ms: u64,
}

impl RetryPolicy {
    /// The wait before the next try; `None` if there is none. `tries` have been made; `jitter` is from 0 to 1 and
    /// shortens the wait by up to half.
    pub fn wait_ms(&self, error: &StripeError, hints: Hints, tries: u32, jitter: f64) -> Option<u64> {
        let retryable = match (error, hints.should_retry) {
            // These are about the payment method, the request or the key, which Stripe's hint never contradicts,
            // and a stored failure does not change.
            (StripeError::Declined(_) | StripeError::AuthenticationRequired(_) | StripeError::KeyReused { .. }, _)
            | (StripeError::Unknown { is_stored: true, .. }, _) => false,
            (_, Some(should_retry)) => should_retry,
            (error, None) => error.is_retryable(),
        };
        if !retryable || tries >= self.tries_max {
            return None;
        }
        let grown = self.base_ms.saturating_mul(1 << (tries.saturating_sub(1)).min(16)).min(self.wait_max_ms);
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let own = (grown as f64 * (1.0 - jitter.clamp(0.0, 1.0) / 2.0)) as u64;
        match hints.retry_after_ms {
            Some(retry_after_ms) if retry_after_ms > self.wait_max_ms => None,
            Some(retry_after_ms) => Some(retry_after_ms.max(own)),
            None => Some(own),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy { tries_max: 3, base_ms: 500, wait_max_ms: 5_000 };

    fn unknown() -> StripeError {
        StripeError::Unknown { reason: "no answer".to_owned(), is_stored: false }
    }

    #[test]
    fn an_unknown_outcome_is_tried_again_with_growing_waits_and_then_given_up() {
        let wait = |tries| POLICY.wait_ms(&unknown(), Hints::default(), tries, 0.0);
        assert_eq!((wait(1), wait(2), wait(3)), (Some(500), Some(1_000), None));
    }

    #[test]
    fn a_decline_and_a_stored_failure_are_never_tried_again_whatever_is_hinted() {
        let hints = Hints { should_retry: Some(true), ..Hints::default() };
        let stored = StripeError::Unknown { reason: "stored".to_owned(), is_stored: true };
        assert_eq!(POLICY.wait_ms(&StripeError::Declined(Box::default()), hints, 1, 0.0), None);
        assert_eq!(POLICY.wait_ms(&stored, hints, 1, 0.0), None);
    }

    #[test]
    fn stripes_own_word_outweighs_the_status() {
        let no = Hints { should_retry: Some(false), ..Hints::default() };
        assert_eq!(POLICY.wait_ms(&unknown(), no, 1, 0.0), None);
        let yes = Hints { should_retry: Some(true), ..Hints::default() };
        let invalid = StripeError::Invalid { code: "lock_timeout".to_owned(), param: None, message: String::new() };
        assert_eq!(POLICY.wait_ms(&invalid, yes, 1, 0.0), Some(500));
    }

    #[test]
    fn retry_after_is_honoured_and_one_beyond_the_bound_ends_the_tries() {
        let hints = |ms| Hints { retry_after_ms: Some(ms), ..Hints::default() };
        assert_eq!(POLICY.wait_ms(&unknown(), hints(2_000), 1, 0.0), Some(2_000));
        assert_eq!(POLICY.wait_ms(&unknown(), hints(60_000), 1, 0.0), None);
    }

    #[test]
    fn jitter_takes_away_at_most_half() {
        assert_eq!(POLICY.wait_ms(&unknown(), Hints::default(), 1, 1.0), Some(250));
    }
}
