//! Whether a customer without enough credits is charged, and how much.

use crate::amount::{AMOUNT_MINOR_MAX, Credits, MoneyMinor};
use crate::config::CreditsConfig;
use crate::count::counted;
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
) -> Result<UsageCharge, NotCharged> {
    let Some(method) = default.filter(|method| method.is_default && method.consent_at_ms.is_some()) else {
        return Err(NotCharged::NoPaymentMethod);
    };
    let Some(price) = pricing::next_price_minor(customer, config) else {
        return Err(NotCharged::NoPaymentMethod);
    };
    if available < Credits::ZERO {
        return Err(NotCharged::CreditsOwed);
    }
    let credits = units - available;
    let amount_minor = price.checked_mul(credits).filter(|amount| (MoneyMinor(1)..=AMOUNT_MINOR_MAX).contains(amount));
    let Some(amount_minor) = amount_minor else { return Err(NotCharged::TooMuch) };
    Ok(UsageCharge {
        units,
        credits,
        amount_minor,
        currency: config.currency.to_lowercase(),
        payment_method_id: method.id.clone(),
        description: counted(credits.0, &format!("{} credit", config.unit)),
        reference: None,
        metadata: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CustomerId;
    use crate::plan::Plan;

    fn customer(plan: Plan) -> Customer {
        Customer {
            id: CustomerId::new(),
            email: "ada@example.com".to_owned(),
            name: "Ada".to_owned(),
            source: "direct".to_owned(),
            plan,
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

    fn charge(plan: Plan, available: i64, units: i64) -> Result<UsageCharge, NotCharged> {
        usage_charge(&customer(plan), Some(&card(true)), Credits(available), Credits(units), &CreditsConfig::default())
    }

    #[test]
    fn a_unit_costs_29_dollars_and_on_pro_15() {
        assert_eq!(charge(Plan::Trial, 0, 1).expect("a charge").amount_minor, MoneyMinor(2_900));
        assert_eq!(charge(Plan::PayAsYouGo, 0, 2).expect("a charge").amount_minor, MoneyMinor(5_800));
        assert_eq!(charge(Plan::Pro, 0, 1).expect("a charge").amount_minor, MoneyMinor(1_500));
    }

    #[test]
    fn only_what_is_missing_is_bought() {
        let charge = charge(Plan::Pro, 59, 60).expect("a charge");
        assert_eq!((charge.units, charge.credits, charge.amount_minor), (Credits(60), Credits(1), MoneyMinor(1_500)));
    }

    #[test]
    fn without_a_card_or_without_consent_nobody_is_charged() {
        let config = CreditsConfig::default();
        let customer = customer(Plan::PayAsYouGo);
        assert_eq!(usage_charge(&customer, None, Credits(0), Credits(1), &config), Err(NotCharged::NoPaymentMethod));
        assert_eq!(
            usage_charge(&customer, Some(&card(false)), Credits(0), Credits(1), &config),
            Err(NotCharged::NoPaymentMethod)
        );
    }

    #[test]
    fn who_owes_credits_is_not_charged_for_what_it_would_not_get() {
        assert_eq!(charge(Plan::PayAsYouGo, -1, 1), Err(NotCharged::CreditsOwed));
    }

    #[test]
    fn more_than_stripe_takes_at_once_is_refused() {
        assert_eq!(charge(Plan::PayAsYouGo, 0, 1_000_000), Err(NotCharged::TooMuch));
    }

    #[test]
    fn who_has_no_payment_method_is_not_charged_whatever_the_default_is() {
        let without = Customer { has_payment_method: false, ..customer(Plan::PayAsYouGo) };
        let refused = usage_charge(&without, Some(&card(true)), Credits(0), Credits(1), &CreditsConfig::default());
        assert_eq!(refused, Err(NotCharged::NoPaymentMethod));
    }
}
