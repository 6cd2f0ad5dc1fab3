//! Payments: the charges of operations against the ledger.

use super::{Class, Difference};
use crate::amount::MoneyMinor;
use crate::domain::operation::{Operation, State};
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields::{ChargeFields, OPERATION_METADATA_KEY, PaymentIntentFields};
use crate::ids::OperationId;
use serde_json::json;

/// The operation that a charge names and the PaymentIntent that paid it. `None` if the charge took no money or pays
/// something else (an invoice's charge has no such metadata of its own).
pub fn named_operation(charge: &ChargeFields) -> Option<(&str, &str)> {
    let name = charge.metadata.get(OPERATION_METADATA_KEY).filter(|_| charge.is_paid && charge.invoice_id.is_none())?;
    Some((name, charge.payment_intent_id.as_deref()?))
}

/// The operation that a charge names, if the id is valid.
pub fn operation_id(charge: &ChargeFields) -> Option<OperationId> {
    named_operation(charge).and_then(|(name, _)| OperationId::parse(name).ok())
}

/// Compares a charge with the operation that it names. `is_granted`: the ledger has the credits of its PaymentIntent.
pub fn compare(charge: &ChargeFields, operation: Option<&Operation>, is_granted: bool) -> Option<Difference> {
    let (name, intent) = named_operation(charge)?;
    let money = describe_amount(charge.amount, charge.currency.as_deref());
    let found = |class, ours: String| Difference::new(class, intent, ours, format!("paid {money} for {name}"));
    let Some(operation) = operation else {
        return Some(found(Class::PaymentUnknown, "no such operation".to_owned()));
    };
    // The payment of a subscription's first invoice may carry its operation too.
    if !operation.request.is_purchase() {
        return None;
    }
    let found = |class, ours: String| found(class, ours).for_customer(&operation.customer_id);
    let is_given_back = charge.amount.is_some_and(|amount| charge.amount_refunded >= amount);
    if let Some(other) = operation.stripe_id.as_deref().filter(|other| *other != intent)
        && operation.state == State::Succeeded
    {
        let ours = format!("paid by {other} already{}", if is_granted { ", credits granted twice" } else { "" });
        return (!is_given_back).then(|| found(Class::PaymentDuplicate, ours));
    }
    if is_granted && operation.state == State::Succeeded {
        return None;
    }
    let Some(asked) = operation.request.charge() else {
        return Some(found(Class::PaymentMismatch, "asked for no payment".to_owned()));
    };
    if charge.amount != Some(asked.amount_minor)
        || !charge.currency.as_deref().is_some_and(|currency| currency.eq_ignore_ascii_case(&asked.currency))
    {
        let ours = format!("asked for {}", describe_amount(Some(asked.amount_minor), Some(&asked.currency)));
        return Some(found(Class::PaymentMismatch, ours));
    }
    let ours = format!("{}, {}", operation.state.as_str(), if is_granted { "credits granted" } else { "no credits" });
    // The rule fetches the PaymentIntent from Stripe, so its id is enough.
    let object = json!({
        "id": intent,
        "object": "payment_intent",
        "customer": charge.stripe_customer_id,
        "status": "succeeded",
        "metadata": charge.metadata,
    });
    Some(found(Class::PaymentUnsettled, ours).repaired_by_event(EventKind::PaymentIntentSucceeded, &object))
}

/// Compares a payment that Stripe's charges do not include. `theirs` is the PaymentIntent, fetched by id. This
/// never takes credits away: a person must decide which side is right.
pub fn compare_unlisted(operation: &Operation, theirs: Option<&PaymentIntentFields>) -> Option<Difference> {
    let id = operation.stripe_id.as_deref()?;
    let theirs = match theirs.map(|intent| intent.status.as_deref().unwrap_or("no status")) {
        Some("succeeded") => return None,
        Some(status) => status,
        None => "no such payment",
    };
    Some(
        Difference::new(Class::PaymentUnpaid, id, "paid, credits granted", theirs).for_customer(&operation.customer_id),
    )
}

fn describe_amount(amount_minor: Option<MoneyMinor>, currency: Option<&str>) -> String {
    format!("{} {}", amount_minor.unwrap_or_default(), currency.unwrap_or("of an unknown currency"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Credits;
    use crate::domain::operation::{Charge, Request, UsageCharge};
    use crate::domain::webhook::fields::Metadata;
    use crate::ids::CustomerId;

    fn operation(state: State, stripe_id: Option<&str>) -> Operation {
        let charge = Charge {
            credits: Credits(1),
            amount_minor: MoneyMinor(2_900),
            currency: "usd".to_owned(),
            payment_method_id: "pm_1".to_owned(),
            card: "pm_1::".to_owned(),
            description: "1 fix".to_owned(),
            reserved: None,
            lifetime_days: None,
        };
        let charge = UsageCharge { units: Credits(1), reference: None, metadata: None, charge: Some(charge) };
        let new = Operation::new(&CustomerId::new(), Request::UsageCharge(charge), "k".to_owned(), "h".to_owned(), 1);
        Operation { state, stripe_id: stripe_id.map(str::to_owned), ..new }
    }

    fn charge(operation: &Operation) -> ChargeFields {
        ChargeFields {
            id: Some("ch_1".to_owned()),
            stripe_customer_id: Some("cus_1".to_owned()),
            payment_intent_id: Some("pi_1".to_owned()),
            amount: Some(MoneyMinor(2_900)),
            currency: Some("usd".to_owned()),
            is_paid: true,
            metadata: Metadata::from([(OPERATION_METADATA_KEY.to_owned(), operation.id.to_string())]),
            ..ChargeFields::default()
        }
    }

    fn class(found: Option<&Difference>) -> Option<(Class, bool)> {
        found.map(|difference| (difference.class, difference.repair.is_some()))
    }

    #[test]
    fn a_payment_whose_credits_are_here_is_no_difference() {
        let settled = operation(State::Succeeded, Some("pi_1"));
        assert_eq!(compare(&charge(&settled), Some(&settled), true), None);
    }

    #[test]
    fn a_payment_that_its_operation_never_heard_of_is_settled() {
        for state in [State::Processing, State::RequiresAction, State::Failed] {
            let open = operation(state, None);
            let found = compare(&charge(&open), Some(&open), false);
            assert_eq!(class(found.as_ref()), Some((Class::PaymentUnsettled, true)), "{state:?}");
        }
    }

    #[test]
    fn a_second_payment_for_one_operation_is_left_to_a_person() {
        let settled = operation(State::Succeeded, Some("pi_0"));
        for is_granted in [false, true] {
            let found = compare(&charge(&settled), Some(&settled), is_granted);
            assert_eq!(class(found.as_ref()), Some((Class::PaymentDuplicate, false)), "{is_granted}");
            let partly = ChargeFields { amount_refunded: MoneyMinor(2_899), ..charge(&settled) };
            assert!(compare(&partly, Some(&settled), is_granted).is_some());
            let given_back = ChargeFields { amount_refunded: MoneyMinor(2_900), ..charge(&settled) };
            assert_eq!(compare(&given_back, Some(&settled), is_granted), None);
        }
    }

    #[test]
    fn another_amount_than_was_asked_for_is_left_to_a_person() {
        let open = operation(State::Processing, None);
        let other = ChargeFields { amount: Some(MoneyMinor(1)), ..charge(&open) };
        assert_eq!(class(compare(&other, Some(&open), false).as_ref()), Some((Class::PaymentMismatch, false)));
    }

    #[test]
    fn a_payment_for_an_operation_that_nobody_knows_is_left_to_a_person() {
        let lost = operation(State::Processing, None);
        assert_eq!(class(compare(&charge(&lost), None, false).as_ref()), Some((Class::PaymentUnknown, false)));
    }

    #[test]
    fn charges_that_took_no_money_or_pay_invoices_or_are_not_ours_are_passed_over() {
        let open = operation(State::Processing, None);
        let failed = ChargeFields { is_paid: false, ..charge(&open) };
        let of_invoice = ChargeFields { invoice_id: Some("in_1".to_owned()), ..charge(&open) };
        let strange = ChargeFields { metadata: Metadata::new(), ..charge(&open) };
        for other in [failed, of_invoice, strange] {
            assert_eq!(compare(&other, Some(&open), false), None);
        }
    }

    #[test]
    fn credits_without_a_payment_are_reported_and_never_taken_away() {
        let settled = operation(State::Succeeded, Some("pi_1"));
        let intent = |status: &str| PaymentIntentFields { status: Some(status.to_owned()), ..Default::default() };
        assert_eq!(compare_unlisted(&settled, Some(&intent("succeeded"))), None);
        for theirs in [None, Some(&intent("canceled"))] {
            assert_eq!(class(compare_unlisted(&settled, theirs).as_ref()), Some((Class::PaymentUnpaid, false)));
        }
    }

    #[test]
    fn another_currency_than_was_asked_for_is_left_to_a_person() {
        let open = operation(State::Processing, None);
        for currency in [Some("eur".to_owned()), None] {
            let other = ChargeFields { currency, ..charge(&open) };
            assert_eq!(class(compare(&other, Some(&open), false).as_ref()), Some((Class::PaymentMismatch, false)));
        }
    }

    #[test]
    fn credits_that_are_here_although_their_operation_is_open_settle_it_too() {
        let open = operation(State::Processing, Some("pi_1"));
        let found = compare(&charge(&open), Some(&open), true).expect("a difference");
        assert_eq!(class(Some(&found)), Some((Class::PaymentUnsettled, true)));
        assert_eq!(found.ours, "processing, credits granted");
    }

    #[test]
    fn a_payment_that_another_operation_begins_with_and_leaves_is_not_taken_for_its_second() {
        // It has a PaymentIntent of its own, which has not succeeded yet.
        let open = operation(State::RequiresAction, Some("pi_0"));
        let found = compare(&charge(&open), Some(&open), false);
        assert_eq!(class(found.as_ref()), Some((Class::PaymentUnsettled, true)));
    }

    #[test]
    fn what_a_subscription_was_paid_with_is_not_compared_as_a_charge_for_units() {
        let request =
            Request::SubscriptionCreate { payment_method_id: "pm_1".to_owned(), price: None, quantity: 1, payer: None };
        let subscribe = Operation { request, ..operation(State::Succeeded, Some("sub_1")) };
        assert_eq!(compare(&charge(&subscribe), Some(&subscribe), false), None);
    }

    #[test]
    fn a_payment_for_an_operation_that_decided_no_charge_is_left_to_a_person() {
        let open = operation(State::Processing, None);
        let undecided = UsageCharge { units: Credits(1), reference: None, metadata: None, charge: None };
        let open = Operation { request: Request::UsageCharge(undecided), ..open };
        let found = compare(&charge(&open), Some(&open), false).expect("a difference");
        assert_eq!((found.class, found.ours.as_str()), (Class::PaymentMismatch, "asked for no payment"));
        assert_eq!(found.repair, None);
    }
}
