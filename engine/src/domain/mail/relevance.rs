//! Whether a mail is still relevant when it is due.

use super::{DAY_MS, Template};
use crate::amount::Credits;
use crate::clock::TimeMs;

/// How late a follow-up may be before it is dropped.
const FOLLOWUP_LATE_MAX_MS: i64 = 3 * DAY_MS;

/// Why a customer whose address is not confirmed gets no mail but those that ask.
const UNCONFIRMED: &str = "the address is not confirmed";

/// Why a suspended customer gets no mail about its credits.
const SUSPENDED: &str = "the customer is suspended";

/// The facts that decide whether a mail is relevant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailFacts {
    /// Whether its customer is still on the plan of new customers.
    pub is_on_entry_plan: bool,
    /// Whether its customer has a plan that was bought.
    pub has_bought_plan: bool,
    /// Whether its customer can be charged.
    pub has_payment_method: bool,
    /// Whether its customer has ever spent a credit.
    pub has_used: bool,
    /// Whether its customer's address is confirmed.
    pub is_confirmed: bool,
    /// Whether support has suspended its customer.
    pub is_suspended: bool,
    /// Its customer's credits.
    pub balance: Credits,
    /// The balance at or below which credits are low.
    pub warn_at: Credits,
    /// Stripe's status of the mail's subscription, or of the latest.
    pub subscription_status: Option<String>,
    /// Whether the mail's purchase has moved on: its round is over, or its units are paid for.
    pub purchase_went_on: bool,
    /// When its customer signed up.
    pub created_at_ms: TimeMs,
}

/// Whether a mail is still relevant.
///
/// | mail | dropped once |
/// |---|---|
/// | `welcome`, `confirm_address` | never here; its handler cancels it once its link is no longer good |
/// | every other mail | the address is not confirmed: it may be a stranger's |
/// | `followup_day_1` | the customer spent a credit, or left the trial |
/// | `followup_day_3` | it has no credits left, or left the trial |
/// | `followup_day_5`, `7`, `14` | it has a payment method, or left the trial |
/// | every follow-up | it is three days late; the customer is suspended |
/// | `low_credit` | credits came in; the customer is suspended |
/// | `payment_failed`, `action_required` | the subscription is paid, or has ended; the purchase went on |
/// | `auto_top_up_stopped` | never: it says why nothing is bought |
/// | `subscription_ended` | the customer has bought a plan again |
///
/// The trial is the plan of new customers.
///
/// # Errors
/// The reason, in words for the attempt's record.
pub fn check_relevance(template: Template, facts: &MailFacts, now_ms: TimeMs) -> Result<(), &'static str> {
    if !facts.is_confirmed && !template.asks_to_confirm() {
        return Err(UNCONFIRMED);
    }
    if let Some(day) = template.day() {
        if facts.is_suspended {
            return Err(SUSPENDED);
        }
        if !facts.is_on_entry_plan {
            return Err("the customer has left the trial");
        }
        if now_ms > facts.created_at_ms + day * DAY_MS + FOLLOWUP_LATE_MAX_MS {
            return Err("it is three days late");
        }
    }
    match template {
        Template::FollowupDay1 if facts.has_used => Err("the customer has spent a credit already"),
        Template::FollowupDay3 if facts.balance <= Credits::ZERO => Err("the customer has no credits left"),
        Template::FollowupDay5 | Template::FollowupDay7 | Template::FollowupDay14 if facts.has_payment_method => {
            Err("the customer has a payment method")
        }
        Template::LowCredit if facts.is_suspended => Err(SUSPENDED),
        Template::LowCredit if facts.balance > facts.warn_at => Err("the customer has credits again"),
        Template::PaymentFailed | Template::ActionRequired if facts.purchase_went_on => {
            Err("the purchase has gone on since")
        }
        Template::PaymentFailed | Template::ActionRequired => match facts.subscription_status.as_deref() {
            Some("active" | "trialing") => Err("the subscription is paid"),
            Some("canceled" | "incomplete_expired") => Err("the subscription has ended"),
            _ => Ok(()),
        },
        Template::SubscriptionEnded if facts.has_bought_plan => Err("the customer has bought a plan again"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial() -> MailFacts {
        MailFacts {
            is_on_entry_plan: true,
            has_bought_plan: false,
            has_payment_method: false,
            has_used: false,
            is_confirmed: true,
            is_suspended: false,
            balance: Credits(5),
            warn_at: Credits(1),
            subscription_status: None,
            purchase_went_on: false,
            created_at_ms: 0,
        }
    }

    /// The mails that are relevant when they are due.
    fn sensible(facts: &MailFacts) -> Vec<&'static str> {
        let due = |template: &Template| template.day().unwrap_or(0) * DAY_MS;
        let sent = |template: &Template| check_relevance(*template, facts, due(template)).is_ok();
        Template::ALL.iter().filter(|template| sent(template)).map(|template| template.as_str()).collect()
    }

    #[test]
    fn a_new_customer_gets_the_welcome_and_every_follow_up() {
        assert_eq!(
            sensible(&trial()),
            [
                "welcome",
                "confirm_address",
                "followup_day_1",
                "followup_day_3",
                "followup_day_5",
                "followup_day_7",
                "followup_day_14",
                "payment_failed",
                "action_required",
                "auto_top_up_stopped",
                "subscription_ended",
            ]
        );
    }

    #[test]
    fn each_fact_stops_the_mails_that_it_makes_pointless() {
        let without = |facts: MailFacts| {
            let left = sensible(&facts);
            let all = sensible(&trial());
            all.into_iter().filter(|name| !left.contains(name)).collect::<Vec<_>>()
        };
        let followups = ["followup_day_1", "followup_day_3", "followup_day_5", "followup_day_7", "followup_day_14"];
        assert_eq!(without(MailFacts { has_used: true, ..trial() }), ["followup_day_1"]);
        assert_eq!(without(MailFacts { is_suspended: true, ..trial() }), followups);
        assert_eq!(without(MailFacts { balance: Credits(0), ..trial() }), ["followup_day_3"]);
        assert_eq!(without(MailFacts { has_payment_method: true, ..trial() }), followups[2..]);
        let left = MailFacts { is_on_entry_plan: false, ..trial() };
        assert_eq!(without(left.clone()), followups);
        let bought = [followups.as_slice(), &["subscription_ended"]].concat();
        assert_eq!(without(MailFacts { has_bought_plan: true, ..left }), bought);
        for status in ["active", "trialing", "canceled", "incomplete_expired"] {
            let facts = MailFacts { subscription_status: Some(status.to_owned()), ..trial() };
            assert_eq!(without(facts), ["payment_failed", "action_required"], "{status}");
        }
        let facts = MailFacts { purchase_went_on: true, ..trial() };
        assert_eq!(without(facts), ["payment_failed", "action_required"]);
        for status in ["past_due", "unpaid", "incomplete", "a status of the future"] {
            let facts = MailFacts { subscription_status: Some(status.to_owned()), ..trial() };
            assert_eq!(without(facts), Vec::<&str>::new(), "{status}");
        }
    }

    #[test]
    fn an_address_that_is_not_confirmed_gets_only_the_mails_that_ask() {
        let facts = MailFacts { is_confirmed: false, balance: Credits(0), ..trial() };
        assert_eq!(sensible(&facts), ["welcome", "confirm_address"]);
        assert_eq!(check_relevance(Template::LowCredit, &facts, 0), Err(UNCONFIRMED));
    }

    #[test]
    fn a_mail_about_low_credits_is_relevant_only_while_they_are_low() {
        let is_relevant = |balance| {
            let facts = MailFacts { balance: Credits(balance), ..trial() };
            check_relevance(Template::LowCredit, &facts, 0).is_ok()
        };
        assert!(is_relevant(1) && is_relevant(0) && is_relevant(-3));
        assert!(!is_relevant(2));
    }

    #[test]
    fn a_follow_up_may_be_three_days_late_and_the_welcome_as_late_as_it_takes() {
        let day_1 = |now_ms| check_relevance(Template::FollowupDay1, &trial(), now_ms);
        assert_eq!(day_1(4 * DAY_MS), Ok(()));
        assert_eq!(day_1(4 * DAY_MS + 1), Err("it is three days late"));
        assert_eq!(check_relevance(Template::Welcome, &trial(), 400 * DAY_MS), Ok(()));
    }
}
