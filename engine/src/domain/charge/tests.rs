//! Who is charged, for what, and why not.

use super::*;
use crate::domain::address::{AddressState, Confirmation};
use crate::domain::catalogue::currency::Currency;
use crate::domain::operation::{DebtPayment, HoldCharge, Operation, PackPurchase, UsageCharge};
use crate::ids::CustomerId;
use crate::key::{PackKey, PlanKey};
use cap::Span;
use std::sync::Arc;

fn customer(plan: &str) -> Customer {
    Customer {
        id: CustomerId::new(),
        email: "ada@example.com".to_owned(),
        name: "Ada".to_owned(),
        source: "direct".to_owned(),
        plan: PlanKey::trusted(plan),
        stripe_customer_id: Some("cus_1".to_owned()),
        former_stripe_ids: Vec::new(),
        credits_from_ms: None,
        has_payment_method: true,
        confirmation: Confirmation::ASSUMED,
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
        fingerprint: None,
        is_default: true,
        consent_at_ms: consent.then_some(1),
        attached_at_ms: 1,
        detached_at_ms: None,
    }
}

/// A request for units.
fn units(units: i64) -> Request {
    Request::UsageCharge(UsageCharge { units: Credits(units), reference: None, metadata: None, charge: None })
}

/// An operation whose charge is decided.
pub(in crate::domain::charge) fn charged_operation() -> Operation {
    let request = units(1);
    let charge = charge(&standing("pro", 0), 1).expect("a charge").0;
    Operation::new(&CustomerId::new(), request.with_charge(charge), "api:k".to_owned(), "h".to_owned(), 1)
}

/// A customer with a card and these credits.
pub(in crate::domain::charge) fn standing(plan: &str, spendable: i64) -> PaymentStanding {
    let customer = customer(plan);
    let caps = SpendCaps::of(&customer.plan, None, &Catalogue::built_in(), &Catalogue::built_in().currency);
    let (method, charged) = (Some(card(true)), PerSpan::default());
    PaymentStanding {
        customer,
        method,
        available: Credits(spendable),
        spendable: Credits(spendable),
        is_suspended: false,
        holds_open: 0,
        past: Vec::new(),
        charged,
        caps,
        top_up: None,
    }
}

fn decided(standing: &PaymentStanding, wanted: i64, catalogue: &Catalogue) -> Result<Decided, NotCharged> {
    decide(&units(wanted), standing, &CreditsConfig::default(), catalogue, 0)
}

/// The charge and what is reserved, under the built-in catalogue.
fn charge(standing: &PaymentStanding, wanted: i64) -> Result<(Charge, Credits), NotCharged> {
    match decided(standing, wanted, &Catalogue::built_in())? {
        Decided::Charge(charge, reserve) => Ok((*charge, reserve)),
        Decided::Covered => panic!("nothing is charged"),
    }
}

#[test]
fn a_unit_costs_29_dollars_and_on_pro_15() {
    let amount = |plan: &str, units| charge(&standing(plan, 0), units).expect("a charge").0.amount_minor;
    assert_eq!(amount("trial", 1), MoneyMinor(2_900));
    assert_eq!(amount("pay_as_you_go", 2), MoneyMinor(5_800));
    assert_eq!(amount("pro", 1), MoneyMinor(1_500));
}

#[test]
fn only_what_is_missing_is_bought_and_the_rest_is_reserved() {
    let (charge, reserve) = charge(&standing("pro", 59), 60).expect("a charge");
    assert_eq!((charge.credits, charge.amount_minor, reserve), (Credits(1), MoneyMinor(1_500), Credits(59)));
    assert_eq!(decided(&standing("pro", 60), 60, &Catalogue::built_in()), Ok(Decided::Covered));
}

#[test]
fn credits_are_bought_in_steps_of_the_plan() {
    let mut catalogue = Catalogue::clone(&Catalogue::built_in());
    catalogue.plans.iter_mut().for_each(|plan| plan.unit_step = Credits(10));
    let bought = |spendable: i64, wanted: i64| match decided(&standing("pro", spendable), wanted, &catalogue) {
        Ok(Decided::Charge(charge, reserve)) => (charge.credits.0, charge.amount_minor.0, reserve.0),
        other => panic!("{other:?}"),
    };
    assert_eq!(bought(0, 1), (10, 15_000, 0));
    assert_eq!(bought(0, 10), (10, 15_000, 0));
    assert_eq!(bought(3, 14), (20, 30_000, 3));
    catalogue.plans.iter_mut().for_each(|plan| plan.unit_step = UNITS_MAX);
    assert_eq!(decided(&standing("pro", 0), 1, &catalogue), Err(NotCharged::TooMuch));
}

#[test]
fn without_a_card_nobody_is_charged() {
    let without = PaymentStanding { method: None, ..standing("pay_as_you_go", 0) };
    assert_eq!(charge(&without, 1), Err(NotCharged::NoPaymentMethod));
    let mut without = standing("pay_as_you_go", 0);
    without.customer.has_payment_method = false;
    assert_eq!(charge(&without, 1), Err(NotCharged::NoPaymentMethod));
}

#[test]
fn a_hold_is_not_bought_beyond_the_most_that_may_be_open() {
    let hold = HoldCharge { units: Credits(1), lasts_ms: 1, reference: None, metadata: None, charge: None };
    let decided = |holds_open: usize, request: &Request| {
        let standing = PaymentStanding { holds_open, ..standing("pro", 0) };
        decide(request, &standing, &CreditsConfig::default(), &Catalogue::built_in(), 0)
    };
    let hold = Request::HoldCharge(hold);
    assert!(decided(HOLDS_OPEN_MAX - 1, &hold).is_ok());
    assert_eq!(decided(HOLDS_OPEN_MAX, &hold), Err(NotCharged::TooManyHolds));
    assert!(decided(HOLDS_OPEN_MAX, &units(1)).is_ok(), "units need no hold");
}

#[test]
fn who_owes_credits_is_not_charged_for_what_it_would_not_get() {
    assert_eq!(charge(&standing("pay_as_you_go", -1), 1), Err(NotCharged::CreditsOwed(Credits(-1))));
}

#[test]
fn a_debt_is_paid_whole_in_steps_and_nobody_pays_one_that_it_does_not_have() {
    let mut catalogue = Catalogue::clone(&Catalogue::built_in());
    let request = Request::DebtPayment(DebtPayment { charge: None });
    let decide = |standing: &PaymentStanding, catalogue: &Catalogue| match super::decide(
        &request,
        standing,
        &CreditsConfig::default(),
        catalogue,
        0,
    )? {
        Decided::Charge(charge, reserve) => Ok((charge.credits.0, charge.amount_minor.0, reserve.0)),
        Decided::Covered => panic!("nothing is charged"),
    };
    assert_eq!(decide(&standing("pro", -3), &catalogue), Ok((3, 4_500, 0)));
    assert_eq!(decide(&standing("pro", 0), &catalogue), Err(NotCharged::NothingOwed));
    let within_limit = PaymentStanding { spendable: Credits(7), ..standing("pro", -3) };
    assert_eq!(decide(&within_limit, &catalogue), Ok((3, 4_500, 0)), "a credit limit is a debt, too");
    catalogue.plans.iter_mut().for_each(|plan| plan.unit_step = Credits(10));
    assert_eq!(decide(&standing("pro", -3), &catalogue), Ok((10, 15_000, 0)));
}

#[test]
fn a_customer_whose_address_is_not_confirmed_spends_its_credits_and_is_charged_nothing() {
    for has_payment_method in [true, false] {
        let mut standing = standing("pro", 5);
        standing.customer.confirmation = Confirmation { state: AddressState::Pending, at_ms: None };
        standing.customer.has_payment_method = has_payment_method;
        assert_eq!(decided(&standing, 5, &Catalogue::built_in()), Ok(Decided::Covered));
        assert_eq!(charge(&standing, 6), Err(NotCharged::Unconfirmed), "with a payment method: {has_payment_method}");
    }
}

#[test]
fn a_suspended_customer_is_charged_nothing_and_spends_nothing() {
    for spendable in [0, 10] {
        let suspended = PaymentStanding { is_suspended: true, ..standing("pro", spendable) };
        assert_eq!(charge(&suspended, 1), Err(NotCharged::Suspended), "with {spendable} credits");
    }
}

#[test]
fn more_than_stripe_takes_at_once_is_refused() {
    assert_eq!(charge(&standing("pay_as_you_go", 0), 1_000_000), Err(NotCharged::TooMuch));
}

#[test]
fn a_pack_is_bought_whole_on_its_own_terms_and_in_debt_too() {
    let pack = Pack {
        key: PackKey::trusted("hundred"),
        name: "100 fixes".to_owned(),
        credits: Credits(100),
        amount: MoneyMinor(90_000),
        currency: Currency::parse("eur").expect("a currency"),
        lifetime_days: Some(90),
        offered: true,
    };
    let request = Request::PackPurchase(PackPurchase { pack, charge: None });
    let decide = |standing: &PaymentStanding| {
        super::decide(&request, standing, &CreditsConfig::default(), &Catalogue::built_in(), 0)
    };
    for spendable in [-5, 0, 1_000] {
        let Ok(Decided::Charge(charge, reserve)) = decide(&standing("trial", spendable)) else {
            panic!("it is charged")
        };
        assert_eq!((charge.credits, charge.amount_minor, reserve), (Credits(100), MoneyMinor(90_000), Credits(0)));
        assert_eq!((charge.currency.as_str(), charge.lifetime_days), ("eur", Some(90)));
        assert_eq!(charge.description, "100 fixes");
    }
    let without = PaymentStanding { method: None, ..standing("trial", 0) };
    assert_eq!(decide(&without), Err(NotCharged::NoPaymentMethod));
    let charged = PerSpan { day: MoneyMinor(0), month: MoneyMinor(10_001) };
    let refused = decide(&PaymentStanding { charged, ..standing("trial", 0) }).expect_err("the cap is near");
    let problem = refused.problem(&customer("trial"), &CreditsConfig::default(), &Catalogue::built_in());
    assert!(problem.message.starts_with("A charge of 900.00 EUR exceeds"), "{}", problem.message);
}

#[test]
fn a_declined_card_waits_and_another_one_does_not() {
    let past = vec![PastCharge { was_declined: true, advice_code: None, ended_at_ms: 0 }];
    let declined = PaymentStanding { past, ..standing("pro", 0) };
    let refused = charge(&declined, 1).expect_err("the card waits");
    let problem = refused.problem(&declined.customer, &CreditsConfig::default(), &Catalogue::built_in());
    assert_eq!((problem.code.as_str(), problem.retry_at_ms), ("card_paused", Some(60 * 60 * 1_000)));
    assert!(problem.message.contains("1970-01-01T01:00:00.000Z"), "{}", problem.message);
    assert!(charge(&standing("pro", 0), 1).is_ok(), "another card has a past of its own");
}

#[test]
fn a_charge_beyond_a_cap_is_refused_with_what_to_do_and_when() {
    let charged = PerSpan { day: MoneyMinor(0), month: MoneyMinor(98_501) };
    let spent = PaymentStanding { charged, ..standing("pro", 0) };
    let refused = charge(&spent, 1).expect_err("the cap is near");
    assert!(matches!(&refused, NotCharged::OverCap(over, ..) if over.span == Span::Month));
    let problem = refused.problem(&spent.customer, &CreditsConfig::default(), &Catalogue::built_in());
    assert_eq!(
        problem.message,
        "A charge of $15.00 exceeds the spend cap of $1000.00 a month, of which $14.99 is left. Wait until \
         1970-02-01T00:00:00.000Z, or ask support to raise the cap."
    );
    assert_eq!(problem.retry_at_ms, Some(31 * 24 * 3_600_000));
    let charged = PerSpan { day: MoneyMinor(0), month: MoneyMinor(98_500) };
    assert!(charge(&PaymentStanding { charged, ..standing("pro", 0) }, 1).is_ok());
}

#[test]
fn a_charge_above_a_whole_cap_is_never_tried_again_and_says_what_to_do() {
    let problem = |standing: &PaymentStanding, units: i64| {
        let refused = charge(standing, units).expect_err("a cap is exceeded");
        refused.problem(&standing.customer, &CreditsConfig::default(), &Catalogue::built_in())
    };
    let found = problem(&standing("pro", 0), 67);
    assert_eq!(
        (found.retry_at_ms, found.message.as_str()),
        (
            None,
            "A charge of $1005.00 is more than the whole spend cap of $1000.00 a month, so this cap never allows it. Buy \
             less at once, if that is possible, or ask support to raise the cap."
        )
    );
    // Next month the month's cap would allow it, and the day's still would not.
    let mut near = standing("pro", 0);
    near.charged = PerSpan { day: MoneyMinor(0), month: MoneyMinor(99_000) };
    near.caps.own.day = Some(MoneyMinor(1_499));
    let found = problem(&near, 1);
    assert_eq!(found.retry_at_ms, None);
    assert!(found.message.contains("whole spend cap of $14.99 a day"), "{}", found.message);
    assert!(found.message.ends_with("or raise your own cap."), "{}", found.message);
}

#[test]
fn no_words_about_a_cap_name_a_route_because_mails_repeat_them() {
    let over =
        |cap: i64| OverCap { span: Span::Month, cap: MoneyMinor(cap), left: MoneyMinor(0), is_own: true, until_ms: 0 };
    for cap in [5, 20] {
        for refused in [NotCharged::OverCap, NotCharged::OverTopUpCap] {
            let refused = refused(over(cap), MoneyMinor(10), "usd".to_owned());
            let problem = refused.problem(&customer("pro"), &CreditsConfig::default(), &Catalogue::built_in());
            assert!(!problem.message.contains("/api/"), "{}", problem.message);
        }
    }
}

#[test]
fn a_plan_without_a_unit_price_charges_nobody_and_one_in_another_currency_in_that_currency() {
    let mut catalogue = Catalogue::clone(&Catalogue::built_in());
    catalogue.currency = Currency::parse("JPY").expect("a currency");
    assert_eq!(decided(&standing("trial", 0), 1, &catalogue), Err(NotCharged::NotSold));
    let owed = decided(&standing("trial", -1), 1, &catalogue);
    assert_eq!(owed, Err(NotCharged::CreditsOwed(Credits(-1))), "another plan would not help");
    catalogue.plans[0].unit_prices.insert(catalogue.currency.clone(), MoneyMinor(4_500));
    let Ok(Decided::Charge(charge, _)) = decided(&standing("trial", 0), 1, &Arc::new(catalogue)) else {
        panic!("it is charged")
    };
    assert_eq!((charge.amount_minor, charge.currency.as_str()), (MoneyMinor(4_500), "jpy"));
}
