//! Faults on request: which calls fail, and how.

use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

/// Maximum number of pending faults.
pub(crate) const FAULTS_MAX: usize = 1_000;

/// How a call fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// Answers with this status without executing the call. Nothing is stored under its key.
    Refuse {
        /// The HTTP status.
        status: u16,
        /// The `Stripe-Should-Retry` header.
        should_retry: Option<bool>,
    },
    /// Answers with a failure, and stores it under the call's key. The call is not executed.
    #[serde(rename = "store")]
    StoreFailure {
        /// The HTTP status, 500 at Stripe.
        status: u16,
    },
    /// Executes the call, then cuts the connection instead of answering.
    LoseAnswer {
        /// How long the connection stays silent before the cut, in milliseconds.
        #[serde(default)]
        hang_ms: u64,
    },
    /// Executes the call later. Its key is reserved meanwhile.
    Delay {
        /// The delay, in milliseconds.
        ms: u64,
    },
    /// Answers 429 without executing the call. Nothing is stored.
    RateLimit {
        /// The `Retry-After` header, in seconds.
        retry_after_s: Option<u64>,
    },
    /// Answers like a failed proxy, with 502 and a body that is not JSON. The call is not executed.
    BadGateway,
}

/// A fault and the calls that it applies to. It is removed after `count` calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultRule {
    /// The method, any by default.
    pub method: Option<String>,
    /// The start of the path, such as `/v1/payment_intents`.
    pub path: String,
    /// Number of calls that fail, unlimited by default.
    pub count: Option<u64>,
    /// Probability that a matching call fails, 1 by default.
    pub probability: Option<f64>,
    /// How it fails.
    #[serde(flatten)]
    pub fault: Fault,
}

impl FaultRule {
    /// Fails the next call of a method to a path that starts with `path`.
    pub fn once(method: &str, path: &str, fault: Fault) -> Self {
        Self { method: Some(method.to_owned()), path: path.to_owned(), count: Some(1), probability: None, fault }
    }

    fn is_for(&self, method: &str, path: &str) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method)) && path.starts_with(&self.path)
    }
}

/// The pending faults.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<FaultRule>);

impl Faults {
    /// Adds a fault. Returns false if there are too many.
    pub(crate) fn add(&mut self, rule: FaultRule) -> bool {
        let has_room = self.0.len() < FAULTS_MAX;
        if has_room {
            self.0.push(rule);
        }
        has_room
    }

    pub(crate) fn all(&self) -> &[FaultRule] {
        &self.0
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Selects a call's fault: the first that matches and that chance does not skip.
    pub(crate) fn select(&mut self, method: &str, path: &str, rng: &mut StdRng) -> Option<Fault> {
        let strikes = |rule: &FaultRule| {
            rule.is_for(method, path) && rule.probability.is_none_or(|p| rng.random_bool(p.clamp(0.0, 1.0)))
        };
        let at = self.0.iter().position(strikes)?;
        let rule = &mut self.0[at];
        let fault = rule.fault.clone();
        if let Some(count) = &mut rule.count {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(at);
            }
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_fault_applies_to_count_matching_calls() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut faults = Faults::default();
        faults.add(FaultRule { count: Some(2), ..FaultRule::once("POST", "/v1/pay", Fault::BadGateway) });
        assert_eq!(faults.select("GET", "/v1/pay", &mut rng), None);
        assert_eq!(faults.select("POST", "/v1/pays", &mut rng), Some(Fault::BadGateway));
        assert_eq!(faults.select("POST", "/v1/pay", &mut rng), Some(Fault::BadGateway));
        assert_eq!(faults.select("POST", "/v1/pay", &mut rng), None);
    }

    #[test]
    fn rules_are_read_from_json() {
        let text = r#"{"method": "POST", "path": "/v1/", "count": 1, "fault": "lose_answer", "hang_ms": 5}"#;
        let rule: FaultRule = serde_json::from_str(text).unwrap();
        assert_eq!(rule, FaultRule::once("POST", "/v1/", Fault::LoseAnswer { hang_ms: 5 }));
    }
}
