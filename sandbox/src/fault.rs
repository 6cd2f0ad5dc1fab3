//! Faults on order: what goes wrong with which calls.

use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

/// Most faults that are ordered at one time.
pub(crate) const FAULTS_MAX: usize = 1_000;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// The call is not executed and answered with this status; nothing is kept under its key.
    Refuse {
        /// The status.
        status: u16,
        /// What `Stripe-Should-Retry` says.
        #[serde(default)]
        should_retry: Option<bool>,
    },
    /// The call is not executed, and a failure is kept under its key, as Stripe does once execution
    /// has begun.
    Store {
        /// The status, 500 at Stripe.
        status: u16,
    },
    /// The call is executed, and nobody hears of it: the connection is cut, or silent first.
    LoseAnswer {
        /// How long the connection is silent before it is cut, in milliseconds.
        #[serde(default)]
        hang_ms: u64,
    },
    /// The call is executed later. Its key is in use meanwhile.
    Delay {
        /// How much later, in milliseconds.
        ms: u64,
    },
    /// Too many requests: 429, not executed, nothing kept.
    RateLimit {
        /// What `Retry-After` says, in seconds.
        #[serde(default)]
        retry_after_s: Option<u64>,
    },
    /// Something between here and Stripe fails: 502 with a body that is no JSON, not executed.
    BadGateway,
}

/// Which calls a fault is for. It goes away once it has struck `count` times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultRule {
    /// The method; without one any.
    #[serde(default)]
    pub method: Option<String>,
    /// How the path begins, such as `/v1/payment_intents`.
    pub path: String,
    /// How often it strikes; without a number always.
    #[serde(default)]
    pub count: Option<u64>,
    /// How probably it strikes; without one always.
    #[serde(default)]
    pub probability: Option<f64>,
    /// What goes wrong.
    #[serde(flatten)]
    pub fault: Fault,
}

impl FaultRule {
    /// The next call of a method to a path that begins so goes wrong.
    pub fn once(method: &str, path: &str, fault: Fault) -> Self {
        Self { method: Some(method.to_owned()), path: path.to_owned(), count: Some(1), probability: None, fault }
    }

    fn is_for(&self, method: &str, path: &str) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method)) && path.starts_with(&self.path)
    }
}

/// The faults that are ordered.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<FaultRule>);

impl Faults {
    /// Orders one more; false if there are too many.
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

    /// The fault that strikes a call: the first that is for it and that chance does not spare.
    pub(crate) fn strike(&mut self, method: &str, path: &str, rng: &mut StdRng) -> Option<Fault> {
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
    fn a_counted_fault_strikes_that_often_and_only_its_calls() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut faults = Faults::default();
        faults.add(FaultRule { count: Some(2), ..FaultRule::once("POST", "/v1/pay", Fault::BadGateway) });
        assert_eq!(faults.strike("GET", "/v1/pay", &mut rng), None);
        assert_eq!(faults.strike("POST", "/v1/pays", &mut rng), Some(Fault::BadGateway));
        assert_eq!(faults.strike("POST", "/v1/pay", &mut rng), Some(Fault::BadGateway));
        assert_eq!(faults.strike("POST", "/v1/pay", &mut rng), None);
    }

    #[test]
    fn rules_are_read_from_json_as_the_control_api_takes_them() {
        let text = r#"{"method": "POST", "path": "/v1/", "count": 1, "fault": "lose_answer", "hang_ms": 5}"#;
        let rule: FaultRule = serde_json::from_str(text).unwrap();
        assert_eq!(rule, FaultRule::once("POST", "/v1/", Fault::LoseAnswer { hang_ms: 5 }));
    }
}
