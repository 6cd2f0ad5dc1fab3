//! Warnings in plain words beside a customer's figures. Those about low credits come from [`pricing::warning`], as
//! in every answer that changes credits.

use crate::clock::{TimeMs, day};
use crate::config::CreditsConfig;
use crate::count::counted;
use crate::domain::catalogue::Catalogue;
use crate::domain::catalogue::currency::money;
use crate::domain::customer::Customer;
use crate::domain::ledger::Account;
use crate::domain::pricing;
use crate::domain::subscription::{PendingChange, Subscription};

/// How far ahead expiring credits are worth a warning: a week.
const ENDS_SOON_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// The name of a subscription that gives no plan.
const NAMELESS: &str = "The subscription";

/// What a suspended customer is told.
pub const SUSPENDED: &str = "The account is suspended: nothing can be spent or bought. Contact support.";

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
    subscription: Option<&Subscription>,
    config: &CreditsConfig,
    catalogue: &Catalogue,
    now_ms: TimeMs,
) -> Vec<Warning> {
    let funds = pricing::Funds::of(account);
    let code = match funds.spendable().0 {
        ..=-1 => "credits_owed",
        0 => "no_credits",
        _ => "low_credits",
    };
    let credits = pricing::warning(customer, funds, config, catalogue);
    let credits = credits.map(|message| Warning { code, message });
    let describe = |row| describe_subscription(row, catalogue);
    let open = subscription.filter(|row| row.ended_at_ms.is_none());
    let late = open.filter(|row| row.is_late()).map(|row| Warning {
        code: "payment_past_due",
        message: format!("{} Pay the open invoice, or add another payment method.", describe(row)),
    });
    let (ends, renews) = match open.filter(|row| row.gives_plan().is_some()) {
        Some(row) if row.cancel_at_period_end => (Some(row), None),
        other => (None, other),
    };
    let ends = ends.map(|row| Warning { code: "subscription_ends", message: describe(row) });
    let missing = renews.filter(|_| !customer.has_payment_method).map(|row| Warning {
        code: "payment_method_missing",
        message: format!(
            "There is no payment method, so {} cannot be renewed. Add billing to continue.",
            subscription_name(row, catalogue)
        ),
    });
    let suspended = account.open.suspended;
    let suspended = suspended.then(|| Warning { code: "customer_suspended", message: SUSPENDED.to_owned() });
    [suspended, credits, late, missing, ends, warn_of_expiry(account, config, now_ms)].into_iter().flatten().collect()
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

/// The name of a subscription: that of its plan, else "The subscription".
fn subscription_name<'a>(row: &'a Subscription, catalogue: &'a Catalogue) -> &'a str {
    row.plan.as_ref().map_or(NAMELESS, |plan| catalogue.plan_name(plan))
}

/// The state of a subscription, in words that begin with its plan's name.
pub fn describe_subscription(row: &Subscription, catalogue: &Catalogue) -> String {
    let name = subscription_name(row, catalogue);
    let until = row.current_period_end_ms.map(day);
    if row.ended_at_ms.is_some() && row.status == "incomplete_expired" {
        return format!("{name} did not begin: its first payment was not made.");
    }
    if let Some(ended_ms) = row.ended_at_ms {
        return format!("{name} ended on {}.", day(ended_ms));
    }
    // Within a sentence.
    let inside = if name == NAMELESS { "the subscription" } else { name };
    if row.is_late() {
        let since = row.past_due_since_ms.map(|at_ms| format!(" since {}", day(at_ms))).unwrap_or_default();
        let reason = row.past_due_reason.as_deref().map(|why| format!(" ({})", why.trim_end_matches('.')));
        return format!(
            "A payment for {inside} is missing{since}{}. You keep your credits and get new ones once it is paid.",
            reason.unwrap_or_default()
        );
    }
    if row.paused_collection.is_some() {
        return format!("Collection for {inside} is paused: nothing is charged, and no new credits come meanwhile.");
    }
    if let Some(change) = &row.unpaid_change {
        let invoice = &change.invoice_id;
        return match &change.plan {
            Some(paid) if change.is_void => {
                let paid = catalogue.plan_name(paid);
                format!("The invoice {invoice} for {inside} was voided. {paid} stays until a later one is paid.")
            }
            None if change.is_void => {
                format!("The first invoice {invoice} for {inside} was voided. {name} begins once a later one is paid.")
            }
            Some(paid) => {
                let paid = catalogue.plan_name(paid);
                format!("{name} begins once the invoice {invoice} is paid. Until then, {paid} stays.")
            }
            None => format!("{name} begins once its first invoice {invoice} is paid."),
        };
    }
    match (row.status.as_str(), until) {
        ("incomplete", _) => format!("The first payment for {inside} has not gone through yet."),
        ("active" | "trialing", Some(until)) if row.cancel_at_period_end => {
            format!("{name} lasts until {until} and is not renewed.")
        }
        ("trialing", Some(until)) => format!("{name} is in its trial until {until}, and is paid from then on."),
        ("active", Some(until)) => {
            let next = row.pending_change.as_ref().map(|change| describe_change(row, change, catalogue));
            let next = next.unwrap_or_else(|| "is renewed".to_owned());
            format!("{name} is paid until {until} and {next} then.")
        }
        ("active" | "trialing", None) => format!("{name} is active."),
        ("paused", _) => format!("{name} is paused."),
        (status, _) => format!("{name} is inactive: its status is {status}."),
    }
}

/// What a pending change does to a subscription: `changes to Team for $1,999.00`.
fn describe_change(row: &Subscription, change: &PendingChange, catalogue: &Catalogue) -> String {
    let price = catalogue.price(&change.price);
    let plan = price.map(|price| &price.plan).filter(|plan| Some(*plan) != row.plan.as_ref());
    let is_same_price = row.price.as_ref() == Some(&change.price);
    let to = match plan {
        Some(plan) => catalogue.plan_name(plan).to_owned(),
        None if is_same_price && row.quantity == change.quantity => "the present terms".to_owned(),
        None if is_same_price => counted(change.quantity, "seat"),
        None => format!("the price {}", change.price),
    };
    let amount = change.amount.zip(price).map(|(amount, price)| money(amount, price.currency.as_str()));
    format!("changes to {to}{}", amount.map(|amount| format!(" for {amount}")).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::{Credits, MoneyMinor};
    use crate::domain::address::Confirmation;
    use crate::domain::ledger::{GrantKind, OpenGrant};
    use crate::domain::subscription::UnpaidChange;
    use crate::domain::webhook::fixtures::row;
    use crate::ids::CustomerId;
    use crate::key::{PlanKey, PriceKey};

    const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
    const NOW_MS: TimeMs = 1_796_000_000_000;

    fn customer(plan: &str, has_payment_method: bool) -> Customer {
        Customer {
            id: CustomerId::new(),
            email: "ada@example.com".to_owned(),
            name: "Ada".to_owned(),
            source: "direct".to_owned(),
            plan: PlanKey::trusted(plan),
            stripe_customer_id: None,
            former_stripe_ids: Vec::new(),
            credits_from_ms: None,
            has_payment_method,
            confirmation: Confirmation::ASSUMED,
            created_at_ms: 0,
        }
    }

    fn account(balance: i64) -> Account {
        Account { balance: Credits(balance), ..Account::default() }
    }

    fn warned(customer: &Customer, account: &Account, row: Option<&Subscription>) -> Vec<(&'static str, String)> {
        let warnings = warnings(customer, account, row, &CreditsConfig::default(), &Catalogue::built_in(), NOW_MS);
        warnings.into_iter().map(|warning| (warning.code, warning.message)).collect()
    }

    fn pro() -> Subscription {
        Subscription { current_period_end_ms: Some(NOW_MS + 20 * DAY_MS), ..row("active") }
    }

    #[test]
    fn with_credits_to_spare_and_nothing_due_there_is_nothing_to_tell() {
        assert_eq!(warned(&customer("trial", false), &account(2), None), []);
        assert_eq!(warned(&customer("pro", true), &account(60), Some(&pro())), []);
    }

    #[test]
    fn low_credits_are_told_with_the_next_price_of_the_plan_or_with_what_to_do() {
        let trial = customer("trial", false);
        let low = "You have 1 fix credit left. Add billing to continue.";
        assert_eq!(warned(&trial, &account(1), None), [("low_credits", low.to_owned())]);
        let none = "You have no fix credits left. Add billing to continue.";
        assert_eq!(warned(&trial, &account(0), None), [("no_credits", none.to_owned())]);
        let priced = "You have 1 fix credit left. The next fix after that costs $15.00.";
        assert_eq!(warned(&customer("pro", true), &account(1), Some(&pro())), [("low_credits", priced.to_owned())]);
        let priced = "You have no fix credits left. The next fix costs $29.00.";
        assert_eq!(warned(&customer("pay_as_you_go", true), &account(0), None), [("no_credits", priced.to_owned())]);
        assert_eq!(warned(&trial, &account(-2), None)[0].0, "credits_owed");
    }

    #[test]
    fn a_customer_within_its_credit_limit_owes_nothing() {
        let code = |balance: i64| {
            let account = Account { floor: Credits(-100), ..account(balance) };
            warned(&customer("pro", true), &account, None).remove(0).0
        };
        assert_eq!([code(-50), code(-100), code(-101)], ["low_credits", "no_credits", "credits_owed"]);
    }

    #[test]
    fn a_suspended_customer_is_told_so_first() {
        let mut suspended = account(0);
        suspended.open.suspended = true;
        let codes = warned(&customer("trial", false), &suspended, None).into_iter().map(|(code, _)| code);
        assert_eq!(codes.collect::<Vec<_>>(), ["customer_suspended", "no_credits"]);
    }

    #[test]
    fn what_holds_reserve_is_not_left() {
        let held = Account { held: Credits(4), ..account(5) };
        assert_eq!(warned(&customer("trial", false), &held, None)[0].0, "low_credits");
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
        let warned = warned(&customer("pro", true), &account(9), Some(&late));
        assert_eq!(warned, [("payment_past_due", expected.to_owned())]);
    }

    #[test]
    fn pro_that_ends_or_cannot_be_renewed_is_told() {
        let ends = Subscription { cancel_at_period_end: true, ..pro() };
        let words = "Pro lasts until 2026-12-20 and is not renewed.";
        let without_card = customer("pro", false);
        assert_eq!(warned(&without_card, &account(9), Some(&ends)), [("subscription_ends", words.to_owned())]);
        let missing = "There is no payment method, so Pro cannot be renewed. Add billing to continue.";
        assert_eq!(warned(&without_card, &account(9), Some(&pro())), [("payment_method_missing", missing.to_owned())]);
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
        let customer = customer("trial", false);
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
    fn every_status_has_words_and_names_the_plan_or_no_plan() {
        let catalogue = Catalogue::built_in();
        let describe = |row: &Subscription| describe_subscription(row, &catalogue);
        for status in ["active", "trialing", "past_due", "incomplete", "unpaid", "paused", "canceled", "new"] {
            let row = Subscription { status: status.to_owned(), ..pro() };
            let words = describe(&row);
            assert!(words.contains("Pro") && words.ends_with('.'), "{words}");
            let words = describe(&Subscription { plan: None, ..row });
            assert!(words.starts_with("The subscription ") || words.contains(" for the subscription "), "{words}");
        }
        let ended = Subscription { ended_at_ms: Some(NOW_MS), ..pro() };
        assert_eq!(describe(&ended), "Pro ended on 2026-11-30.");
        let unpaid = Subscription { status: "incomplete_expired".to_owned(), ..ended.clone() };
        assert_eq!(describe(&unpaid), "Pro did not begin: its first payment was not made.");
        let gone = Subscription { plan: Some(PlanKey::trusted("gone")), ..ended };
        assert_eq!(describe(&gone), "gone ended on 2026-11-30.", "the catalogue has it no longer");
    }

    #[test]
    fn only_what_is_paid_is_called_paid_and_only_what_goes_on_is_renewed() {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        let pro_plan = catalogue.plans[2].clone();
        catalogue.plans.push(crate::domain::catalogue::Plan {
            key: PlanKey::trusted("team"),
            name: "Team".to_owned(),
            ..pro_plan
        });
        let price = |key: &str, plan: &str| crate::domain::catalogue::Price {
            key: PriceKey::trusted(key),
            plan: PlanKey::trusted(plan),
            ..Catalogue::built_in().prices[0].clone()
        };
        catalogue.prices.extend([price("team_monthly", "team"), price("pro_yearly", "pro")]);
        let describe = |row: &Subscription| describe_subscription(row, &catalogue);
        assert_eq!(describe(&pro()), "Pro is paid until 2026-12-20 and is renewed then.");
        let trial = Subscription { status: "trialing".to_owned(), ..pro() };
        assert_eq!(describe(&trial), "Pro is in its trial until 2026-12-20, and is paid from then on.");
        let unpaid = |plan: Option<&str>, is_void: bool| {
            let plan = plan.map(PlanKey::trusted);
            let change = UnpaidChange { invoice_id: "in_2".to_owned(), plan, is_void };
            describe(&Subscription { unpaid_change: Some(change), ..pro() })
        };
        assert_eq!(unpaid(None, false), "Pro begins once its first invoice in_2 is paid.");
        assert_eq!(unpaid(Some("trial"), false), "Pro begins once the invoice in_2 is paid. Until then, Trial stays.");
        let first = "The first invoice in_2 for Pro was voided. Pro begins once a later one is paid.";
        assert_eq!(unpaid(None, true), first);
        let later = "The invoice in_2 for Pro was voided. Trial stays until a later one is paid.";
        assert_eq!(unpaid(Some("trial"), true), later);
        for (price, quantity, next) in [
            ("team_monthly", 1, "changes to Team for $699.00"),
            ("pro_yearly", 1, "changes to the price pro_yearly for $699.00"),
            ("pro_monthly", 3, "changes to 3 seats for $699.00"),
            ("pro_monthly", 1, "changes to the present terms for $699.00"),
        ] {
            let amount = Some(MoneyMinor(69_900));
            let change = PendingChange { price: PriceKey::trusted(price), quantity, amount, at_ms: 1 };
            let row =
                Subscription { price: Some(PriceKey::trusted("pro_monthly")), pending_change: Some(change), ..pro() };
            assert_eq!(describe(&row), format!("Pro is paid until 2026-12-20 and {next} then."));
        }
    }
}
