//! Subscriptions of customers, as Stripe last reported them.

use crate::clock::TimeMs;
use crate::ids::CustomerId;

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its id at Stripe.
    pub id: String,
    /// Its customer.
    pub customer_id: CustomerId,
    /// Stripe's status: `incomplete`, `active`, `past_due`, `canceled` …
    pub status: String,
    /// Whether its price is Pro's.
    pub is_pro: bool,
    /// Whether it ends with the paid period.
    pub cancel_at_period_end: bool,
    /// When the paid period ends.
    pub current_period_end_ms: Option<TimeMs>,
    /// When a payment first became overdue.
    pub past_due_since_ms: Option<TimeMs>,
    /// Why it is overdue, in words.
    pub past_due_reason: Option<String>,
    /// When it ended; an ended subscription never revives.
    pub ended_at_ms: Option<TimeMs>,
}

impl Subscription {
    /// Whether a subscription never leaves this status. Source: Stripe, "Subscription statuses": `canceled` and
    /// `incomplete_expired` are terminal.
    pub fn status_is_final(status: &str) -> bool {
        matches!(status, "canceled" | "incomplete_expired")
    }

    /// Whether a payment is overdue, even if Stripe has given up on it.
    pub fn is_late(&self) -> bool {
        self.ended_at_ms.is_none() && matches!(self.status.as_str(), "past_due" | "unpaid")
    }

    /// The relevant one of a customer's subscriptions: the one that gives Pro, else one to Pro that has not ended,
    /// else the first to Pro.
    pub fn current(rows: Vec<Self>) -> Option<Self> {
        let mut rows: Vec<Self> = rows.into_iter().filter(|row| row.is_pro).collect();
        let giving = rows.iter().position(Self::gives_pro);
        let at = giving.or_else(|| rows.iter().position(|row| row.ended_at_ms.is_none())).unwrap_or(0);
        (!rows.is_empty()).then(|| rows.swap_remove(at))
    }

    /// Whether it gives its customer Pro: it is paid, or overdue but not given up.
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
