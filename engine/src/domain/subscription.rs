//! What Stripe last said of a customer's subscription.

use crate::clock::TimeMs;
use crate::ids::CustomerId;

/// A subscription as known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its id at Stripe.
    pub id: String,
    /// Whose it is.
    pub customer_id: CustomerId,
    /// Stripe's status: `incomplete`, `active`, `past_due`, `canceled` …
    pub status: String,
    /// Whether its price is Pro's.
    pub is_pro: bool,
    /// Whether it ends with the period.
    pub cancel_at_period_end: bool,
    /// When the paid period ends.
    pub current_period_end_ms: Option<TimeMs>,
    /// Since when a payment is missing.
    pub past_due_since_ms: Option<TimeMs>,
    /// Why it is missing, in words.
    pub past_due_reason: Option<String>,
    /// When it ended; an ended subscription never comes back.
    pub ended_at_ms: Option<TimeMs>,
}

impl Subscription {
    /// Whether Stripe's status is one that a subscription never leaves.
    /// Source: Stripe, "Subscription statuses": `canceled` and `incomplete_expired` are terminal.
    pub fn status_is_final(status: &str) -> bool {
        matches!(status, "canceled" | "incomplete_expired")
    }

    /// Whether a payment is missing that Stripe still waits for, or has given up on.
    pub fn is_late(&self) -> bool {
        self.ended_at_ms.is_none() && matches!(self.status.as_str(), "past_due" | "unpaid")
    }

    /// The one that counts of a customer's subscriptions: the one that gives Pro, else the one to Pro that
    /// is not over, else the first to Pro.
    pub fn current(rows: Vec<Self>) -> Option<Self> {
        let mut rows: Vec<Self> = rows.into_iter().filter(|row| row.is_pro).collect();
        let giving = rows.iter().position(Self::gives_pro);
        let at = giving.or_else(|| rows.iter().position(|row| row.ended_at_ms.is_none())).unwrap_or(0);
        (!rows.is_empty()).then(|| rows.swap_remove(at))
    }

    /// Whether it makes its customer a Pro customer: paid, or late but not given up.
    pub fn gives_pro(&self) -> bool {
        self.is_pro && self.ended_at_ms.is_none() && matches!(self.status.as_str(), "active" | "trialing" | "past_due")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::webhook::fixtures::row;

    #[test]
    fn only_what_has_not_ended_is_late() {
        assert!(row("past_due").is_late() && row("unpaid").is_late());
        assert!(!row("active").is_late());
        assert!(!Subscription { ended_at_ms: Some(1), ..row("unpaid") }.is_late());
    }
}
