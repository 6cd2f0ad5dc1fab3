//! Why an operation failed.

use super::is_false;
use crate::clock::TimeMs;
use crate::domain::refund::RefundRefusal;
use crate::domain::subscription::ChangeRefusal;
use serde::{Deserialize, Serialize};

/// Why an operation failed, or what it waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable code: `card_declined`, `authentication_required`, `payment_method_invalid` …
    pub code: String,
    /// In words, for the person who pays.
    pub message: String,
    /// The issuer's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decline_code: Option<String>,
    /// What the network advises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice_code: Option<String>,
    /// Whether the card was declined, which counts against it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_decline: bool,
    /// From when the same request may succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at_ms: Option<TimeMs>,
    /// The PaymentIntent to finish on session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_intent_id: Option<String>,
    /// What the customer's browser needs for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

impl Problem {
    /// A problem with nothing but a code and words.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), ..Self::default() }
    }

    /// Stripe has no usable price for what was requested. No time heals that.
    pub fn price_missing() -> Self {
        Self::new(
            "price_missing",
            "This price cannot be bought: Stripe has no usable price for it. Trying again does not help before that is \
             corrected. Nothing was charged.",
        )
    }

    /// Stripe has no usable price just now, because another version of the catalogue is coming into force.
    pub fn prices_changing() -> Self {
        Self::new("prices_changing", "The prices are being changed just now. Nothing was charged. Try again shortly.")
    }

    /// A refund gave nothing back. `reason` is Stripe's word for why.
    pub fn refund_failed(reason: Option<&str>) -> Self {
        let why = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        let message = format!("The bank did not take the money back{why}. Nothing was refunded.");
        Self { decline_code: reason.map(str::to_owned), ..Self::new("refund_failed", message) }
    }

    /// Whether Stripe refused the request or could not carry it out, which is for whoever runs this to see to
    /// and not for the customer.
    pub fn is_stripes(&self) -> bool {
        matches!(self.code.as_str(), "stripe_refused" | "stripe_not_found" | "stripe_unavailable")
    }
}

impl From<RefundRefusal> for Problem {
    fn from(refusal: RefundRefusal) -> Self {
        Self::new(refusal.code, refusal.message)
    }
}

impl From<ChangeRefusal> for Problem {
    fn from(refusal: ChangeRefusal) -> Self {
        Self::new(refusal.code, refusal.message)
    }
}
