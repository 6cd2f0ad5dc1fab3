use super::*;
use crate::domain::operation::{Charge, Request, UsageCharge};
use crate::domain::webhook::fixtures::{PRICE, by_id, customer};
use serde_json::{Value, json};

fn charge() -> Operation {
    let charge = Charge {
        credits: Credits(1),
        amount_minor: MoneyMinor(2_900),
        currency: "usd".to_owned(),
        payment_method_id: "pm_1".to_owned(),
        card: String::new(),
        description: "1 fix".to_owned(),
        reserved: None,
        lifetime_days: None,
    };
    let undecided = undecided();
    Operation { request: undecided.request.with_charge(charge), ..undecided }
}

fn undecided() -> Operation {
    let usage = UsageCharge { units: Credits(2), reference: None, metadata: None, charge: None };
    let request = Request::UsageCharge(usage);
    Operation::new(&CustomerId::new(), request, "api:deploy-1".to_owned(), "h".to_owned(), 1_000)
}

fn state(operation: &Operation, refunded: i64) -> PaymentState {
    let gone = PaymentGone { refunded: MoneyMinor(refunded), ..PaymentGone::default() };
    Payment::of_operation(operation, gone).expect("a payment").state
}

#[test]
fn a_key_is_shown_as_its_owner_gave_it() {
    assert_eq!(asked_by("api:m1"), ("customer", Some("m1")));
    assert_eq!(asked_by("admin:api:m1"), ("staff", Some("m1")));
    assert_eq!(asked_by("top_up:cst_1"), ("bursar", None));
}

#[test]
fn a_charge_is_paid_until_its_money_goes_back_and_needs_money_to_be_paid() {
    let paid = charge().succeeded(Some("pi_1".to_owned()), 2_000);
    assert_eq!((state(&paid, 0), state(&paid, 900)), (PaymentState::Paid, PaymentState::PartlyRefunded));
    assert_eq!(state(&paid, 2_900), PaymentState::Refunded);
    assert_eq!(state(&charge().succeeded(None, 2_000), 0), PaymentState::NotCharged);
    let gone = PaymentGone { refunded: MoneyMinor(900), disputed: MoneyMinor(2_000) };
    let disputed = Payment::of_operation(&paid, gone).expect("a payment");
    assert_eq!((disputed.state, disputed.is_paid()), (PaymentState::Disputed, true));
    assert_eq!(state(&charge(), 0), PaymentState::Processing);
    let waiting = Payment::of_operation(&undecided(), PaymentGone::default()).expect("a payment");
    assert_eq!((waiting.state, waiting.amount), (PaymentState::Processing, None));
    let declined = charge().failed(Problem { payment_intent_id: Some("pi_9".to_owned()), ..Problem::default() }, 2_000);
    let shown = Payment::of_operation(&declined, PaymentGone::default()).expect("a payment");
    assert_eq!((shown.state, shown.payment_intent_id.as_deref()), (PaymentState::Failed, Some("pi_9")));
    assert_eq!((shown.idempotency_key.as_deref(), shown.credits), (Some("deploy-1"), Credits(1)));
}

#[test]
fn what_is_refunded_and_was_credited_is_given_beyond_what_was_paid_only_as_far_as_it_is_more() {
    let beyond = |refunded: i64, credited: i64| {
        let gone = PaymentGone { refunded: MoneyMinor(refunded), ..PaymentGone::default() };
        let paid = Payment::of_operation(&charge().succeeded(Some("pi_1".to_owned()), 2_000), gone);
        paid.expect("a payment").given_beyond(MoneyMinor(credited)).map(|amount| amount.0)
    };
    assert_eq!([beyond(2_900, 2_000), beyond(1_000, 2_000)], [Some(2_000), Some(100)]);
    assert_eq!([beyond(900, 2_000), beyond(2_900, 0), beyond(0, 3_000)], [None; 3]);
}

#[test]
fn an_operation_that_charges_nothing_is_no_payment() {
    let request = Request::SubscriptionResume { subscription_id: "sub_1".to_owned(), payer: None };
    let operation = Operation::new(&CustomerId::new(), request, "k".to_owned(), "h".to_owned(), 1);
    assert_eq!(Payment::of_operation(&operation, PaymentGone::default()), None);
}

fn invoice(status: &str, price: &str) -> Value {
    json!({
        "id": "in_1", "object": "invoice", "customer": "cus_1", "subscription": "sub_1", "status": status,
        "total": 59_900, "amount_paid": 59_900, "currency": "usd", "created": 7,
        "lines": { "data": [{ "amount": 59_900, "price": { "id": price }, "period": { "start": 10, "end": 20 } }] },
    })
}

#[test]
fn an_invoice_is_stored_if_it_bills_a_price_of_ours_and_its_payment_is_news() {
    let ada = customer("pro");
    let brought = (Credits(60), true);
    let read = |kind, object: &Value, customer| {
        Invoice::read(kind, &InvoiceFields::read(object), customer, &by_id(), brought, 30_000)
    };
    let paid = read(EventKind::InvoicePaid, &invoice("paid", PRICE), &ada).expect("an invoice");
    assert_eq!((paid.is_paid, paid.amount, paid.credits), (true, Some(MoneyMinor(59_900)), Credits(60)));
    assert!(paid.brings_now);
    assert_eq!((paid.subscription_id.as_deref(), paid.created_at_ms), (Some("sub_1"), 7_000));
    let terms = paid.terms.as_deref().and_then(|terms| terms.first()).expect("its terms");
    assert_eq!((&terms.ids[..], terms.price.credits), (&[PRICE.to_owned()][..], Credits(60)));
    let failed = read(EventKind::InvoicePaymentFailed, &invoice("open", PRICE), &ada).expect("an invoice");
    assert!(!failed.is_paid && failed.failure.is_some() && failed.terms.is_none());
    let void = read(EventKind::InvoicePaymentFailed, &invoice("void", PRICE), &ada).expect("an invoice");
    assert_eq!((void.is_paid, void.credits), (false, Credits::ZERO), "it is not paid any more");
    let linked = Customer { credits_from_ms: Some(10_001), ..ada.clone() };
    let old = read(EventKind::InvoicePaymentFailed, &invoice("open", PRICE), &linked).expect("an invoice");
    assert_eq!((failed.credits, old.credits), (Credits(60), Credits::ZERO), "what it would bring");
    let mut change = invoice("paid", PRICE);
    change["lines"]["data"][0]["proration"] = json!(true);
    assert!(read(EventKind::InvoicePaid, &change, &ada).is_some(), "the rest of a period of ours");
    for total in [0, -1_400] {
        change["total"] = json!(total);
        let credited = read(EventKind::InvoicePaid, &change, &ada).expect("a change that costs nothing");
        assert_eq!((credited.is_paid, credited.amount), (true, Some(MoneyMinor(total))));
        change["status"] = json!("open");
        assert_eq!(read(EventKind::InvoicePaymentFailed, &change, &ada), None);
        change["status"] = json!("paid");
    }
    let mut free = invoice("paid", PRICE);
    free["total"] = json!(0);
    free["lines"]["data"][0]["discount_amounts"] = json!([{ "amount": 59_900 }]);
    let nothing = (Credits::ZERO, false);
    let free = InvoiceFields::read(&free);
    let free = Invoice::read(EventKind::InvoicePaid, &free, &ada, &by_id(), nothing, 30_000).expect("a free period");
    let shown = (free.is_paid, free.amount, free.credits, free.brings_now);
    assert_eq!(shown, (true, Some(MoneyMinor::ZERO), Credits::ZERO, false));
    let other = json!({ "id": "price_other", "lookup_key": "other" });
    let mut of_others = invoice("paid", "");
    of_others["lines"]["data"][0]["price"] = other;
    for (kind, object) in [
        (EventKind::InvoicePaid, of_others),
        (EventKind::InvoicePaid, invoice("open", PRICE)),
        (EventKind::SubscriptionUpdated, invoice("paid", PRICE)),
    ] {
        assert_eq!(read(kind, &object, &ada), None);
    }
}

#[test]
fn an_invoice_that_only_credits_is_no_payment_of_less_than_nothing() {
    let ada = customer("pro");
    let mut change = invoice("paid", PRICE);
    (change["total"], change["amount_paid"]) = (json!(-199_000), json!(0));
    change["lines"]["data"][0]["proration"] = json!(true);
    let nothing = (Credits::ZERO, false);
    let said = InvoiceFields::read(&change);
    let stored = Invoice::read(EventKind::InvoicePaid, &said, &ada, &by_id(), nothing, 30_000).expect("an invoice");
    let payment = Payment::of_invoice(stored.clone());
    assert_eq!((payment.state, payment.is_paid()), (PaymentState::NotCharged, false));
    assert_eq!((payment.amount, payment.balance_credit), (Some(MoneyMinor::ZERO), Some(MoneyMinor(199_000))));
    let paid = Payment::of_invoice(Invoice { amount: Some(MoneyMinor(59_900)), ..stored });
    assert_eq!((paid.state, paid.balance_credit), (PaymentState::Paid, None));
}

#[test]
fn a_failed_invoice_has_the_codes_that_it_tells_and_else_those_of_its_operation() {
    let failed = |error: Value| {
        let mut object = invoice("open", PRICE);
        object["payment_intent"] = json!({ "id": "pi_1", "last_payment_error": error });
        let said = InvoiceFields::read(&object);
        let (ada, nothing) = (customer("pro"), (Credits::ZERO, false));
        let kind = EventKind::InvoicePaymentFailed;
        Invoice::read(kind, &said, &ada, &by_id(), nothing, 30_000).expect("an invoice")
    };
    let codes = |invoice: Invoice| {
        let problem = Payment::of_invoice(invoice).problem.expect("a reason");
        (problem.code, problem.decline_code)
    };
    let expected = |code: &str, decline_code: Option<&str>| (code.to_owned(), decline_code.map(str::to_owned));
    let told = json!({ "code": "card_declined", "decline_code": "lost_card", "message": "Declined." });
    let known =
        Problem { decline_code: Some("generic_decline".to_owned()), ..Problem::new("expired_card", "Expired.") };
    assert_eq!(codes(failed(told.clone())), expected("card_declined", Some("lost_card")));
    assert_eq!(codes(failed(told).with_codes_of(Some(&known))), expected("card_declined", Some("lost_card")));
    assert_eq!(
        codes(failed(Value::Null).with_codes_of(Some(&known))),
        expected("expired_card", Some("generic_decline"))
    );
    assert_eq!(codes(failed(Value::Null).with_codes_of(None)), expected("invoice_payment_failed", None));
}
