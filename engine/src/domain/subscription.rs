//! Subscriptions of customers, as Stripe last reported them.

use crate::clock::TimeMs;
use crate::domain::catalogue::Catalogue;
use crate::ids::CustomerId;
use crate::key::{PlanKey, PriceKey};

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

    /// Whether it sells a plan of ours.
    pub fn is_ours(&self) -> bool {
        self.plan.is_some()
    }

    /// The plan that it gives its customer: it is paid, or overdue but not given up.
    pub fn gives_plan(&self) -> Option<&PlanKey> {
        let gives = self.ended_at_ms.is_none() && matches!(self.status.as_str(), "active" | "trialing" | "past_due");
        self.plan.as_ref().filter(|_| gives)
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
    fn only_what_has_not_ended_is_late() {
        assert!(row("past_due").is_late() && row("unpaid").is_late());
        assert!(!row("active").is_late());
        assert!(!Subscription { ended_at_ms: Some(1), ..row("unpaid") }.is_late());
    }
}
