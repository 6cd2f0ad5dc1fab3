//! What the next unit costs, and the warning once credits run low.

use crate::amount::{Credits, MoneyMinor};
use crate::config::CreditsConfig;
use crate::count::counted;
use crate::domain::customer::Customer;
use crate::plan::Plan;

/// The price of one unit beyond the customer's credits; `None` if it cannot be charged.
pub fn next_price_minor(customer: &Customer, config: &CreditsConfig) -> Option<MoneyMinor> {
    match customer.plan {
        _ if !customer.has_payment_method => None,
        Plan::Trial | Plan::PayAsYouGo => Some(config.pay_as_you_go_price_minor),
        Plan::Pro => Some(config.pro_price_minor),
    }
}

/// Currencies without minor units. Source: Stripe, "Supported currencies".
const ZERO_DECIMAL: [&str; 15] =
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"];

/// Currencies with three digits of minor units. Source: Stripe, "Supported currencies".
const THREE_DECIMAL: [&str; 5] = ["bhd", "jod", "kwd", "omr", "tnd"];

/// Formats an amount of money: `$29.00`, `29.00 EUR`, `2900 JPY` or `2.900 KWD`.
pub fn money(amount: MoneyMinor, currency: &str) -> String {
    let (sign, minor) = (if amount < MoneyMinor::ZERO { "-" } else { "" }, amount.0.unsigned_abs());
    let is_among = |codes: &[&str]| codes.iter().any(|code| currency.eq_ignore_ascii_case(code));
    let amount = if is_among(&ZERO_DECIMAL) {
        minor.to_string()
    } else if is_among(&THREE_DECIMAL) {
        format!("{}.{:03}", minor / 1_000, minor % 1_000)
    } else {
        format!("{}.{:02}", minor / 100, minor % 100)
    };
    if currency.eq_ignore_ascii_case("usd") {
        format!("{sign}${amount}")
    } else {
        format!("{sign}{amount} {}", currency.to_uppercase())
    }
}

/// The warning once credits run low: how many are left, and what the next unit costs.
pub fn warning(customer: &Customer, available: Credits, config: &CreditsConfig) -> Option<String> {
    if available > config.warn_at {
        return None;
    }
    if available < Credits::ZERO {
        return Some(credits_owed(available));
    }
    let unit = &config.unit;
    let (left, after) = match available.0 {
        0 => (format!("You have no {unit} credits left."), ""),
        1 => (format!("You have 1 {unit} credit left."), " after that"),
        n => (format!("You have {n} {unit} credits left."), " after that"),
    };
    Some(match next_price_minor(customer, config) {
        Some(price) => format!("{left} The next {unit}{after} costs {}.", money(price, &config.currency)),
        None => format!("{left} Add billing to continue."),
    })
}

/// The message for an account whose credits were clawed back after they were spent.
pub fn credits_owed(available: Credits) -> String {
    format!(
        "The account owes {} for payments that were refunded or disputed. Contact support to settle this.",
        counted((-available.min(Credits::ZERO)).0, "credit")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CustomerId;

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

    #[test]
    fn a_trial_without_a_card_is_told_to_add_billing_and_one_with_a_card_the_price() {
        let config = CreditsConfig::default();
        let text = warning(&customer(Plan::Trial, false), Credits(1), &config).expect("a warning");
        assert_eq!(text, "You have 1 fix credit left. Add billing to continue.");
        let text = warning(&customer(Plan::Trial, true), Credits(1), &config).expect("a warning");
        assert!(text.ends_with("costs $29.00."), "{text}");
        let text = warning(&customer(Plan::Pro, true), Credits(0), &config).expect("a warning");
        assert!(text.ends_with("costs $15.00."), "{text}");
    }

    #[test]
    fn whoever_owes_credits_is_told_so_and_no_price_that_would_not_help() {
        let text =
            warning(&customer(Plan::PayAsYouGo, true), Credits(-3), &CreditsConfig::default()).expect("a warning");
        assert!(text.starts_with("The account owes 3 credits"), "{text}");
        assert!(!text.contains('$'), "{text}");
    }

    #[test]
    fn the_warning_says_how_many_are_left() {
        let config = CreditsConfig { warn_at: Credits(3), ..CreditsConfig::default() };
        let text = warning(&customer(Plan::PayAsYouGo, true), Credits(3), &config).expect("a warning");
        assert!(text.starts_with("You have 3 fix credits left. The next fix after that costs"), "{text}");
    }

    #[test]
    fn with_credits_to_spare_there_is_no_warning() {
        assert_eq!(warning(&customer(Plan::Trial, false), Credits(2), &CreditsConfig::default()), None);
    }

    #[test]
    fn money_is_written_with_the_digits_of_its_currency_and_its_sign() {
        assert_eq!(money(MoneyMinor(2_905), "usd"), "$29.05");
        assert_eq!(money(MoneyMinor(-5), "eur"), "-0.05 EUR");
        assert_eq!(money(MoneyMinor(2_905), "JPY"), "2905 JPY");
        assert_eq!(money(MoneyMinor(2_905), "kwd"), "2.905 KWD");
    }
}
