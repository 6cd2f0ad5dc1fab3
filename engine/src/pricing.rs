//! What a customer is told about credits that run out. Money is integer minor units.

use crate::config::CreditsConfig;
use crate::customer::{Customer, Plan};

/// What one unit costs a customer beyond its credits, in minor units; `None` if it cannot be charged.
pub fn next_price_minor(customer: &Customer, config: &CreditsConfig) -> Option<i64> {
    match customer.plan {
        _ if !customer.has_payment_method => None,
        Plan::Trial | Plan::PayAsYouGo => Some(config.pay_as_you_go_price_minor),
        Plan::Pro => Some(config.pro_price_minor),
    }
}

/// Currencies without minor units. Source: Stripe, "Supported currencies".
const ZERO_DECIMAL: [&str; 15] =
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"];

/// An amount of money in words: `$29.00`, or `29.00 EUR`.
pub fn money(minor: i64, currency: &str) -> String {
    let (sign, minor) = (if minor < 0 { "-" } else { "" }, minor.unsigned_abs());
    let amount = if ZERO_DECIMAL.iter().any(|code| currency.eq_ignore_ascii_case(code)) {
        minor.to_string()
    } else {
        format!("{}.{:02}", minor / 100, minor % 100)
    };
    if currency.eq_ignore_ascii_case("usd") {
        format!("{sign}${amount}")
    } else {
        format!("{sign}{amount} {}", currency.to_uppercase())
    }
}

/// The warning in plain words once credits run low, with what comes next.
pub fn warning(customer: &Customer, available: i64, config: &CreditsConfig) -> Option<String> {
    if available > config.warn_at {
        return None;
    }
    let unit = &config.unit;
    let left = match available {
        ..=0 => format!("You have no {unit} credits left."),
        1 => format!("You have 1 {unit} credit left."),
        n => format!("You have {n} {unit} credits left."),
    };
    Some(match next_price_minor(customer, config) {
        Some(price) => format!("{left} The next {unit} after that costs {}.", money(price, &config.currency)),
        None => format!("{left} Add billing to continue."),
    })
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
        let text = warning(&customer(Plan::Trial, false), 1, &config).expect("a warning");
        assert_eq!(text, "You have 1 fix credit left. Add billing to continue.");
        let text = warning(&customer(Plan::Trial, true), 1, &config).expect("a warning");
        assert!(text.ends_with("costs $29.00."), "{text}");
        let text = warning(&customer(Plan::Pro, true), 0, &config).expect("a warning");
        assert!(text.ends_with("costs $15.00."), "{text}");
    }

    #[test]
    fn with_credits_to_spare_there_is_no_warning() {
        assert_eq!(warning(&customer(Plan::Trial, false), 2, &CreditsConfig::default()), None);
    }

    #[test]
    fn money_is_written_with_two_digits_and_its_sign() {
        assert_eq!(money(2_905, "usd"), "$29.05");
        assert_eq!(money(-5, "eur"), "-0.05 EUR");
    }
}
