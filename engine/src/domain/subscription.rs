//! Subscriptions of customers, as Stripe last reported them.

pub mod change;
pub mod discount;
pub mod given_back;

pub use change::{Change, ChangeRefusal, ChangeTime, PresentItem};

use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::domain::catalogue::Catalogue;
use crate::ids::CustomerId;
use crate::key::{PlanKey, PriceKey};
use serde::{Deserialize, Serialize};

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its id at Stripe.
    pub id: String,
    /// Its customer.
    pub customer_id: CustomerId,
    /// Stripe's status: `incomplete`, `active`, `past_due`, `canceled` …
    pub status: String,
    /// The plan that it sells; `None` if it is not ours, or no longer ours.
    pub plan: Option<PlanKey>,
    /// The catalogue's price that it has, if it is known.
    pub price: Option<PriceKey>,
    /// The number of seats; 1 if it is not sold by seat.
    pub quantity: i64,
    /// Whether it ends with the paid period.
    pub cancel_at_period_end: bool,
    /// When the paid period ends.
    pub current_period_end_ms: Option<TimeMs>,
    /// When a payment first became overdue.
    pub past_due_since_ms: Option<TimeMs>,
    /// Why it is overdue, in words.
    pub past_due_reason: Option<String>,
    /// How its invoices are treated while nothing is collected; `None` if it is collected.
    pub paused_collection: Option<PausedCollection>,
    /// What it gives until its latest change is paid; `None` if nothing waits for a payment.
    pub unpaid_change: Option<UnpaidChange>,
    /// A change that comes with the end of the period.
    pub pending_change: Option<PendingChange>,
    /// When it ended; an ended subscription never revives.
    pub ended_at_ms: Option<TimeMs>,
}

/// A pause of collection. Source: Stripe, "Pause payment collection": the subscription's status does not tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PausedCollection {
    /// What becomes of its invoices: `void`, `keep_as_draft` or `mark_uncollectible`.
    pub behavior: String,
    /// When collection resumes by itself.
    pub resumes_at_ms: Option<TimeMs>,
}

/// A change to a better plan that is not paid yet: a plan counts when it is paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpaidChange {
    /// The invoice that has to be paid.
    pub invoice_id: String,
    /// The plan that it gives until then.
    pub plan: Option<PlanKey>,
    /// Whether the invoice was voided: nobody can pay it any more, and the plan counts when a later one is paid.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_void: bool,
}

/// A change that Stripe carries out at the end of a period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingChange {
    /// The catalogue's price from then on.
    pub price: PriceKey,
    /// How many of it.
    pub quantity: i64,
    /// What a period costs then, before discounts and taxes; `None` if an earlier release stored it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<MoneyMinor>,
    /// When.
    pub at_ms: TimeMs,
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

    /// The invoice that waits to be paid before its latest change counts.
    pub fn unpaid_invoice(&self) -> Option<&str> {
        let change = self.unpaid_change.as_ref().filter(|change| !change.is_void);
        change.map(|change| change.invoice_id.as_str())
    }

    /// Whether it sells a plan of ours.
    pub fn is_ours(&self) -> bool {
        self.plan.is_some()
    }

    /// The plan that it gives its customer: it is paid, or overdue but not given up.
    pub fn gives_plan(&self) -> Option<&PlanKey> {
        let gives = self.ended_at_ms.is_none() && matches!(self.status.as_str(), "active" | "trialing" | "past_due");
        let paid = match &self.unpaid_change {
            Some(change) => change.plan.as_ref(),
            None => self.plan.as_ref(),
        };
        paid.filter(|_| gives && self.is_ours())
    }

    /// The relevant one of a customer's subscriptions: the one that gives the best plan, else one of ours that has not
    /// ended, else the first of ours.
    pub fn current(rows: Vec<Self>, catalogue: &Catalogue) -> Option<Self> {
        let mut ours: Vec<Self> = rows.into_iter().filter(Self::is_ours).collect();
        let best = ours.iter().filter_map(Self::gives_plan).reduce(|one, other| catalogue.better(one, other));
        let giving = best.and_then(|best| ours.iter().position(|row| row.gives_plan() == Some(best)));
        let at = giving.or_else(|| ours.iter().position(|row| row.ended_at_ms.is_none())).unwrap_or(0);
        (!ours.is_empty()).then(|| ours.swap_remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::Plan;
    use crate::domain::webhook::fixtures::row;

    /// The built-in catalogue with a plan that is better than Pro.
    fn with_team() -> Catalogue {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        let pro = catalogue.plan(&PlanKey::trusted("pro")).cloned().expect("the plan Pro");
        catalogue.plans.push(Plan { key: PlanKey::trusted("team"), name: "Team".to_owned(), ..pro });
        catalogue
    }

    fn of(id: &str, plan: Option<&str>, status: &str) -> Subscription {
        let ended_at_ms = Subscription::status_is_final(status).then_some(1);
        Subscription { id: id.to_owned(), plan: plan.map(PlanKey::trusted), ended_at_ms, ..row(status) }
    }

    /// The id of the relevant one of these subscriptions.
    fn current(rows: &[Subscription]) -> Option<String> {
        Subscription::current(rows.to_vec(), &with_team()).map(|row| row.id)
    }

    #[test]
    fn the_relevant_subscription_gives_the_best_plan_in_whatever_order_they_come() {
        let (pro, team) = (of("sub_pro", Some("pro"), "active"), of("sub_team", Some("team"), "past_due"));
        let late = of("sub_late", Some("team"), "unpaid");
        let other = of("sub_other", None, "active");
        assert_eq!(current(&[pro.clone(), team.clone(), late.clone()]).as_deref(), Some("sub_team"));
        assert_eq!(current(&[late.clone(), team, pro.clone()]).as_deref(), Some("sub_team"));
        assert_eq!(current(&[other.clone(), late, pro.clone()]).as_deref(), Some("sub_pro"));
        let second = Subscription { id: "sub_second".to_owned(), ..pro.clone() };
        assert_eq!(current(&[pro, second]).as_deref(), Some("sub_pro"), "of two to one plan, the first");
        assert_eq!(current(&[other]), None);
    }

    #[test]
    fn if_none_gives_a_plan_one_of_ours_that_has_not_ended_is_relevant_else_the_first() {
        let (ended, late) = (of("sub_ended", Some("team"), "canceled"), of("sub_late", Some("pro"), "unpaid"));
        let other = of("sub_other", None, "incomplete");
        assert_eq!(current(&[other.clone(), ended.clone(), late]).as_deref(), Some("sub_late"));
        assert_eq!(current(&[other, ended]).as_deref(), Some("sub_ended"));
    }

    #[test]
    fn a_plan_is_given_while_it_is_paid_or_overdue_but_not_given_up() {
        for status in ["active", "trialing", "past_due"] {
            assert_eq!(row(status).gives_plan(), Some(&PlanKey::trusted("pro")), "{status}");
            assert_eq!(of("sub_other", None, status).gives_plan(), None, "{status}");
            assert_eq!(Subscription { ended_at_ms: Some(1), ..row(status) }.gives_plan(), None, "{status}");
        }
        for status in ["incomplete", "unpaid", "paused", "canceled", "incomplete_expired"] {
            assert_eq!(row(status).gives_plan(), None, "{status}");
        }
    }

    #[test]
    fn a_change_that_is_not_paid_gives_the_plan_before_it() {
        let unpaid = |plan: Option<&str>| {
            let plan = plan.map(PlanKey::trusted);
            let change = UnpaidChange { invoice_id: "in_2".to_owned(), plan, is_void: false };
            Subscription { unpaid_change: Some(change), ..row("active") }
        };
        assert_eq!(unpaid(Some("trial")).gives_plan(), Some(&PlanKey::trusted("trial")));
        assert_eq!(unpaid(None).gives_plan(), None);
    }

    #[test]
    fn only_what_has_not_ended_is_late() {
        assert!(row("past_due").is_late() && row("unpaid").is_late());
        assert!(!row("active").is_late());
        assert!(!Subscription { ended_at_ms: Some(1), ..row("unpaid") }.is_late());
    }
}
