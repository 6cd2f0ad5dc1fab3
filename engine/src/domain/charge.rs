//! Whether a customer without enough credits is charged, and how much.

use crate::amount::{AMOUNT_MINOR_MAX, Credits, MoneyMinor};
use crate::config::CreditsConfig;
use crate::count::counted;
use crate::domain::catalogue::Catalogue;
use crate::domain::customer::Customer;
use crate::domain::operation::UsageCharge;
use crate::domain::payment_method::PaymentMethod;
use crate::domain::pricing;

/// Why a customer is not charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotCharged {
    /// It has no payment method that may be charged.
    NoPaymentMethod,
    /// It owes credits: a purchase would pay the debt and not the work.
    CreditsOwed,
    /// Its plan has no price for single units.
    NotSold,
    /// The units cost more than one charge may be.
    TooMuch,
}

/// The charge for units that the customer's credits do not cover: it buys the missing credits only. If another
/// request spends the remaining ones meanwhile, the bought credits stay in the balance.
pub fn usage_charge(
    customer: &Customer,
    default: Option<&PaymentMethod>,
    available: Credits,
    units: Credits,
    config: &CreditsConfig,
    catalogue: &Catalogue,
) -> Result<UsageCharge, NotCharged> {
    let Some(method) = default.filter(|method| method.is_default && method.consent_at_ms.is_some()) else {
        return Err(NotCharged::NoPaymentMethod);
    };
    if !customer.has_payment_method {
        return Err(NotCharged::NoPaymentMethod);
    }
    if available < Credits::ZERO {
        return Err(NotCharged::CreditsOwed);
    }
    let price = pricing::next_price_minor(customer, catalogue).ok_or(NotCharged::NotSold)?;
    let credits = units - available;
    let amount_minor = price.checked_mul(credits).filter(|amount| (MoneyMinor(1)..=AMOUNT_MINOR_MAX).contains(amount));
    let Some(amount_minor) = amount_minor else { return Err(NotCharged::TooMuch) };
    Ok(UsageCharge {
        units,
        credits,
        amount_minor,
        currency: catalogue.currency.to_string(),
        payment_method_id: method.id.clone(),
        description: counted(credits.0, &format!("{} credit", config.unit)),
        reference: None,
        metadata: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::currency::Currency;
    use crate::ids::CustomerId;
    use crate::key::PlanKey;

    fn customer(plan: &str) -> Customer {
        Customer {
            id: CustomerId::new(),
            email: "ada@example.com".to_owned(),
            name: "Ada".to_owned(),
            source: "direct".to_owned(),
            plan: PlanKey::trusted(plan),
            stripe_customer_id: Some("cus_1".to_owned()),
            former_stripe_ids: Vec::new(),
            has_payment_method: true,
            created_at_ms: 0,
        }
    }

    fn card(consent: bool) -> PaymentMethod {
        PaymentMethod {
            id: "pm_1".to_owned(),
            customer_id: CustomerId::new(),
            kind: "card".to_owned(),
            brand: None,
            last4: None,
            exp_month: None,
            exp_year: None,
            is_default: true,
            consent_at_ms: consent.then_some(1),
            attached_at_ms: 1,
            detached_at_ms: None,
        }
    }

    /// The charge of a customer for units, under the built-in catalogue.
    fn charged(
        customer: &Customer,
        default: Option<&PaymentMethod>,
        available: i64,
        units: i64,
    ) -> Result<UsageCharge, NotCharged> {
        let config = CreditsConfig::default();
        usage_charge(customer, default, Credits(available), Credits(units), &config, &Catalogue::built_in())
    }

    fn charge(plan: &str, available: i64, units: i64) -> Result<UsageCharge, NotCharged> {
        charged(&customer(plan), Some(&card(true)), available, units)
    }

    #[test]
    fn a_unit_costs_29_dollars_and_on_pro_15() {
        assert_eq!(charge("trial", 0, 1).expect("a charge").amount_minor, MoneyMinor(2_900));
        assert_eq!(charge("pay_as_you_go", 0, 2).expect("a charge").amount_minor, MoneyMinor(5_800));
        assert_eq!(charge("pro", 0, 1).expect("a charge").amount_minor, MoneyMinor(1_500));
    }

    #[test]
    fn only_what_is_missing_is_bought() {
        let charge = charge("pro", 59, 60).expect("a charge");
        assert_eq!((charge.units, charge.credits, charge.amount_minor), (Credits(60), Credits(1), MoneyMinor(1_500)));
    }

    #[test]
    fn without_a_card_or_without_consent_nobody_is_charged() {
        let customer = customer("pay_as_you_go");
        assert_eq!(charged(&customer, None, 0, 1), Err(NotCharged::NoPaymentMethod));
        assert_eq!(charged(&customer, Some(&card(false)), 0, 1), Err(NotCharged::NoPaymentMethod));
    }

    #[test]
    fn who_owes_credits_is_not_charged_for_what_it_would_not_get() {
        assert_eq!(charge("pay_as_you_go", -1, 1), Err(NotCharged::CreditsOwed));
    }

    #[test]
    fn more_than_stripe_takes_at_once_is_refused() {
        assert_eq!(charge("pay_as_you_go", 0, 1_000_000), Err(NotCharged::TooMuch));
    }

    #[test]
    fn who_has_no_payment_method_is_not_charged_whatever_the_default_is() {
        let without = Customer { has_payment_method: false, ..customer("pay_as_you_go") };
        assert_eq!(charged(&without, Some(&card(true)), 0, 1), Err(NotCharged::NoPaymentMethod));
    }

    #[test]
    fn a_plan_without_a_unit_price_charges_nobody_and_one_in_another_currency_in_that_currency() {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        let (customer, card) = (customer("trial"), card(true));
        catalogue.currency = Currency::parse("JPY").expect("a currency");
        let charged = |catalogue: &Catalogue, available: i64| {
            let config = CreditsConfig::default();
            usage_charge(&customer, Some(&card), Credits(available), Credits(1), &config, catalogue)
        };
        assert_eq!(charged(&catalogue, 0), Err(NotCharged::NotSold));
        assert_eq!(charged(&catalogue, -1), Err(NotCharged::CreditsOwed), "another plan would not help");
        catalogue.plans[0].unit_prices.insert(catalogue.currency.clone(), MoneyMinor(4_500));
        let charge = charged(&catalogue, 0).expect("a charge");
        assert_eq!((charge.amount_minor, charge.currency.as_str()), (MoneyMinor(4_500), "jpy"));
    }
}
