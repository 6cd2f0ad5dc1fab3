//! Warnings in plain words beside a customer's figures. Those about low credits come from [`pricing::warning`], as
//! in every answer that changes credits.

use crate::clock::{TimeMs, day};
use crate::config::CreditsConfig;
use crate::domain::customer::Customer;
use crate::domain::ledger::Account;
use crate::domain::pricing;
use crate::domain::subscription::Subscription;

/// How far ahead expiring credits are worth a warning: a week.
const ENDS_SOON_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// A warning for the customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Stable code, for programs.
    pub code: &'static str,
    /// Plain words, for people.
    pub message: String,
}

/// The warnings for a customer, the most urgent first.
pub fn warnings(
    customer: &Customer,
    account: &Account,
    pro: Option<&Subscription>,
    config: &CreditsConfig,
    now_ms: TimeMs,
) -> Vec<Warning> {
    let code = match account.available().0 {
        ..=-1 => "credits_owed",
        0 => "no_credits",
        _ => "low_credits",
    };
    let credits = pricing::warning(customer, account.available(), config).map(|message| Warning { code, message });
    let open = pro.filter(|row| row.ended_at_ms.is_none());
    let late = open.filter(|row| row.is_late()).map(|row| Warning {
        code: "payment_past_due",
        message: format!("{} Pay the open invoice, or add another payment method.", describe_subscription(row)),
    });
    let ends = open.filter(|row| row.gives_pro() && row.cancel_at_period_end);
    let ends = ends.map(|row| Warning { code: "subscription_ends", message: describe_subscription(row) });
    let renews = open.is_some_and(|row| row.gives_pro() && !row.cancel_at_period_end);
    let missing = (renews && !customer.has_payment_method).then(|| Warning {
        code: "payment_method_missing",
        message: "There is no payment method, so Pro cannot be renewed. Add billing to continue.".to_owned(),
    });
    [credits, late, missing, ends, warn_of_expiry(account, config, now_ms)].into_iter().flatten().collect()
}

/// Warns of credits that will expire soon unless they are spent.
fn warn_of_expiry(account: &Account, config: &CreditsConfig, now_ms: TimeMs) -> Option<Warning> {
    let soon = account.open.grants.iter().filter_map(|grant| {
        let at_ms = grant.expires_at_ms.filter(|at_ms| *at_ms - ENDS_SOON_MS <= now_ms)?;
        Some((at_ms, grant.remaining))
    });
    let (first_ms, credits) = soon.reduce(|(first_ms, sum), (at_ms, credits)| (first_ms.min(at_ms), sum + credits))?;
    let (unit, first) = (&config.unit, day(first_ms));
    let message = match credits.0 {
        1 => format!("1 {unit} credit expires on {first} unless it is spent."),
        n => {
            format!("{n} {unit} credits expire within a week, the first of them on {first}, unless they are spent.")
        }
    };
    Some(Warning { code: "credits_expiring", message })
}

/// The state of a subscription to Pro, in words.
pub fn describe_subscription(row: &Subscription) -> String {
    let until = row.current_period_end_ms.map(day);
    if let Some(ended_ms) = row.ended_at_ms {
        return format!("Pro ended on {}.", day(ended_ms));
    }
    if row.is_late() {
        let since = row.past_due_since_ms.map(|at_ms| format!(" since {}", day(at_ms))).unwrap_or_default();
        let reason = row.past_due_reason.as_deref().map(|why| format!(" ({})", why.trim_end_matches('.')));
        return format!(
            "A payment for Pro is missing{since}{}. You keep your credits and get new ones once it is paid.",
            reason.unwrap_or_default()
        );
    }
    match (row.status.as_str(), until) {
        ("incomplete", _) => "The first payment for Pro has not gone through yet.".to_owned(),
        ("active" | "trialing", Some(until)) if row.cancel_at_period_end => {
            format!("Pro lasts until {until} and is not renewed.")
        }
        ("active" | "trialing", Some(until)) => format!("Pro is paid until {until} and is renewed then."),
        ("active" | "trialing", None) => "Pro is active.".to_owned(),
        ("paused", _) => "Pro is paused.".to_owned(),
        (status, _) => format!("Pro is inactive: its status is {status}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Credits;
    use crate::domain::ledger::{GrantKind, OpenGrant};
    use crate::domain::webhook::fixtures::row;
    use crate::ids::CustomerId;
    use crate::plan::Plan;

    const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
    const NOW_MS: TimeMs = 1_796_000_000_000;

    fn customer(plan: Plan, has_payment_method: bool) -> Customer {
        Customer {
            id: CustomerId::new(),
            email: "ada@example.com".to_owned(),
            name: "Ada".to_owned(),
            source: "direct".to_owned(),
            plan,
            stripe_customer_id: None,
            former_stripe_ids: Vec::new(),
            has_payment_method,
            created_at_ms: 0,
        }
    }

    fn account(balance: i64) -> Account {
        Account { balance: Credits(balance), ..Account::default() }
    }

    fn warned(customer: &Customer, account: &Account, pro: Option<&Subscription>) -> Vec<(&'static str, String)> {
        let warnings = warnings(customer, account, pro, &CreditsConfig::default(), NOW_MS);
        warnings.into_iter().map(|warning| (warning.code, warning.message)).collect()
    }

    fn pro() -> Subscription {
        Subscription { current_period_end_ms: Some(NOW_MS + 20 * DAY_MS), ..row("active") }
    }

    #[test]
    fn with_credits_to_spare_and_nothing_due_there_is_nothing_to_tell() {
        assert_eq!(warned(&customer(Plan::Trial, false), &account(2), None), []);
        assert_eq!(warned(&customer(Plan::Pro, true), &account(60), Some(&pro())), []);
    }

    #[test]
    fn low_credits_are_told_with_the_next_price_of_the_plan_or_with_what_to_do() {
        let trial = customer(Plan::Trial, false);
        let low = "You have 1 fix credit left. Add billing to continue.";
        assert_eq!(warned(&trial, &account(1), None), [("low_credits", low.to_owned())]);
        let none = "You have no fix credits left. Add billing to continue.";
        assert_eq!(warned(&trial, &account(0), None), [("no_credits", none.to_owned())]);
        let priced = "You have 1 fix credit left. The next fix after that costs $15.00.";
        assert_eq!(warned(&customer(Plan::Pro, true), &account(1), Some(&pro())), [("low_credits", priced.to_owned())]);
        let priced = "You have no fix credits left. The next fix costs $29.00.";
        assert_eq!(warned(&customer(Plan::PayAsYouGo, true), &account(0), None), [("no_credits", priced.to_owned())]);
        assert_eq!(warned(&trial, &account(-2), None)[0].0, "credits_owed");
    }

    #[test]
    fn what_holds_reserve_is_not_left() {
        let held = Account { held: Credits(4), ..account(5) };
        assert_eq!(warned(&customer(Plan::Trial, false), &held, None)[0].0, "low_credits");
    }

    #[test]
    fn a_late_payment_is_told_with_its_reason_and_what_it_means() {
        let late = Subscription {
            past_due_since_ms: Some(NOW_MS),
            past_due_reason: Some("Your card was declined.".to_owned()),
            status: "past_due".to_owned(),
            ..pro()
        };
        let expected = "A payment for Pro is missing since 2026-11-30 (Your card was declined). You keep your credits \
                        and get new ones once it is paid. Pay the open invoice, or add another payment method.";
        let warned = warned(&customer(Plan::Pro, true), &account(9), Some(&late));
        assert_eq!(warned, [("payment_past_due", expected.to_owned())]);
    }

    #[test]
    fn pro_that_ends_or_cannot_be_renewed_is_told() {
        let ends = Subscription { cancel_at_period_end: true, ..pro() };
        let words = "Pro lasts until 2026-12-20 and is not renewed.";
        let without_card = customer(Plan::Pro, false);
        assert_eq!(warned(&without_card, &account(9), Some(&ends)), [("subscription_ends", words.to_owned())]);
        assert_eq!(warned(&without_card, &account(9), Some(&pro()))[0].0, "payment_method_missing");
        let over = Subscription { ended_at_ms: Some(NOW_MS), ..ends };
        assert_eq!(warned(&without_card, &account(9), Some(&over)), []);
    }

    #[test]
    fn credits_that_end_within_a_week_are_counted_and_later_ones_are_not() {
        let grant = |days: i64, remaining| OpenGrant {
            seq: days,
            kind: GrantKind::Promotional,
            remaining: Credits(remaining),
            expires_at_ms: Some(NOW_MS + days * DAY_MS),
        };
        let mut account = account(9);
        account.open.grants = vec![grant(8, 4)];
        let customer = customer(Plan::Trial, false);
        assert_eq!(warned(&customer, &account, None), []);
        account.open.grants.insert(0, grant(7, 1));
        let one = "1 fix credit expires on 2026-12-07 unless it is spent.";
        assert_eq!(warned(&customer, &account, None), [("credits_expiring", one.to_owned())]);
        account.open.grants.insert(0, grant(2, 3));
        let (code, words) = warned(&customer, &account, None).remove(0);
        assert_eq!(code, "credits_expiring");
        assert!(words.starts_with("4 fix credits expire within a week, the first of them on 2026-12-02"), "{words}");
    }

    #[test]
    fn every_status_has_words() {
        for status in ["active", "trialing", "past_due", "incomplete", "unpaid", "paused", "canceled", "new"] {
            let words = describe_subscription(&Subscription { status: status.to_owned(), ..pro() });
            assert!(words.contains("Pro") && words.ends_with('.'), "{words}");
        }
        let ended = Subscription { ended_at_ms: Some(NOW_MS), ..pro() };
        assert_eq!(describe_subscription(&ended), "Pro ended on 2026-11-30.");
    }
}
