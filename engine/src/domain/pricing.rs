//! What the next unit costs, and the warning once credits run low.

use crate::amount::{Credits, MoneyMinor};
use crate::config::CreditsConfig;
use crate::count::counted;
use crate::domain::catalogue::Catalogue;
use crate::domain::catalogue::currency::money;
use crate::domain::customer::Customer;
use crate::key::PlanKey;

/// The price of one unit beyond the customer's credits, in the catalogue's currency; `None` if it cannot be charged,
/// or its plan has no price for single units.
pub fn next_price_minor(customer: &Customer, catalogue: &Catalogue) -> Option<MoneyMinor> {
    if customer.has_payment_method { catalogue.unit_price(&customer.plan) } else { None }
}

/// The warning once credits run low: how many are left, and what the next unit costs.
pub fn warning(
    customer: &Customer,
    available: Credits,
    config: &CreditsConfig,
    catalogue: &Catalogue,
) -> Option<String> {
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
    Some(match next_price_minor(customer, catalogue) {
        Some(price) => {
            format!("{left} The next {unit}{after} costs {}.", money(price, catalogue.currency.as_str()))
        }
        None if customer.has_payment_method => format!("{left} {}", no_unit_price(&customer.plan, config, catalogue)),
        None => format!("{left} Add billing to continue."),
    })
}

/// The message for a customer whose plan has no price for single units.
pub fn no_unit_price(plan: &PlanKey, config: &CreditsConfig, catalogue: &Catalogue) -> String {
    let is_bought = catalogue.plan(plan).is_some_and(|plan| plan.followed_by.is_some());
    let wait = if is_bought { ", or wait for the credits of the next period" } else { "" };
    let (name, units) = (catalogue.plan_name(plan), config.units());
    format!("The plan {name} has no price for single {units}: choose another plan{wait}.")
}

/// The message for an account that owes credits. It names no cause: credits that were spent may have been taken back
/// with a refund, a dispute, a change of the subscription or by support, or the credit limit was lowered.
pub fn credits_owed(available: Credits) -> String {
    format!(
        "The account owes {}: more were spent or taken back than it had. Buy credits to pay them, or contact support.",
        counted((-available.min(Credits::ZERO)).0, "credit")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::currency::Currency;
    use crate::ids::CustomerId;

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
            created_at_ms: 0,
        }
    }

    fn warned(customer: &Customer, available: i64) -> Option<String> {
        warning(customer, Credits(available), &CreditsConfig::default(), &Catalogue::built_in())
    }

    #[test]
    fn a_trial_without_a_card_is_told_to_add_billing_and_one_with_a_card_the_price() {
        let text = warned(&customer("trial", false), 1).expect("a warning");
        assert_eq!(text, "You have 1 fix credit left. Add billing to continue.");
        let text = warned(&customer("trial", true), 1).expect("a warning");
        assert!(text.ends_with("costs $29.00."), "{text}");
        let text = warned(&customer("pro", true), 0).expect("a warning");
        assert!(text.ends_with("costs $15.00."), "{text}");
    }

    #[test]
    fn a_plan_without_a_unit_price_sends_its_customer_to_another_plan_and_not_to_billing() {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        for plan in &mut catalogue.plans {
            plan.unit_prices.clear();
        }
        let text = |plan: &str| {
            let customer = customer(plan, true);
            assert_eq!(next_price_minor(&customer, &catalogue), None);
            warning(&customer, Credits(0), &CreditsConfig::default(), &catalogue).expect("a warning")
        };
        assert_eq!(
            text("trial"),
            "You have no fix credits left. The plan Trial has no price for single fixes: choose another plan."
        );
        assert_eq!(
            text("pro"),
            "You have no fix credits left. The plan Pro has no price for single fixes: choose another plan, or wait for \
             the credits of the next period."
        );
        assert!(text("gone").contains("The plan gone has no price"), "the catalogue has it no longer");
    }

    #[test]
    fn the_price_is_in_the_catalogues_currency() {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        catalogue.currency = Currency::parse("jpy").expect("a currency");
        let customer = customer("trial", true);
        assert_eq!(next_price_minor(&customer, &catalogue), None, "the plan's price is in dollars");
        catalogue.plans[0].unit_prices.insert(catalogue.currency.clone(), MoneyMinor(4_500));
        let text = warning(&customer, Credits(0), &CreditsConfig::default(), &catalogue).expect("a warning");
        assert!(text.ends_with("costs 4500 JPY."), "{text}");
    }

    #[test]
    fn whoever_owes_credits_is_told_so_and_no_price_that_would_not_help() {
        let text = warned(&customer("pay_as_you_go", true), -3).expect("a warning");
        assert_eq!(
            text,
            "The account owes 3 credits: more were spent or taken back than it had. Buy credits to pay them, or contact \
             support."
        );
    }

    #[test]
    fn the_warning_says_how_many_are_left() {
        let config = CreditsConfig { warn_at: Credits(3), ..CreditsConfig::default() };
        let customer = customer("pay_as_you_go", true);
        let text = warning(&customer, Credits(3), &config, &Catalogue::built_in()).expect("a warning");
        assert!(text.starts_with("You have 3 fix credits left. The next fix after that costs"), "{text}");
    }

    #[test]
    fn with_credits_to_spare_there_is_no_warning() {
        assert_eq!(warned(&customer("trial", false), 2), None);
    }
}
