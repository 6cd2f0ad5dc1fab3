//! Changes within a period: what they take back, the plan until they are paid, and what is to come.

use super::*;
use crate::amount::{Credits, MoneyMinor};
use crate::domain::ledger::Command;
use crate::domain::subscription::{PausedCollection, PendingChange, UnpaidChange};
use crate::key::PriceKey;

/// The middle of the period of [`InvoiceDoc`], of which half is left.
const MIDDLE_S: i64 = PERIOD_START_S + (PERIOD_END_S - PERIOD_START_S) / 2;

/// A line of Pro that credits the second half of its period.
fn credit(version: Version) -> Value {
    let doc = InvoiceDoc { is_proration: true, unit_amount: -29_950, ..InvoiceDoc::default() };
    let mut line = doc.line(version);
    line["period"] = json!({"start": MIDDLE_S, "end": PERIOD_END_S});
    line
}

/// An invoice for a change from Pro to Team in the middle of the period, with this many seats.
fn to_team(seats: i64, version: Version) -> Value {
    let doc = InvoiceDoc { id: "in_2", period_end_s: MIDDLE_S + 30 * 86_400, ..InvoiceDoc::team(seats) };
    let mut invoice = InvoiceDoc { total: 19_900 * seats - 29_950, ..doc.clone() }.render(version);
    invoice["lines"]["data"] = json!([credit(version), doc.line(version)]);
    invoice
}

fn taken(verdict: &Verdict) -> Option<Credits> {
    match verdict.ledger.as_ref().map(|(_, command)| &command.op) {
        Some(Op::TakeBack { amount, .. }) => Some(*amount),
        _ => None,
    }
}

/// A subscription with its latest invoice, as Stripe shows it when asked.
fn with_invoice(doc: SubscriptionDoc, invoice: Value) -> Value {
    let mut subscription = doc.render(Version::Basil);
    subscription["latest_invoice"] = invoice;
    subscription
}

fn unpaid(invoice: Value) -> Value {
    let mut invoice = invoice;
    (invoice["status"], invoice["amount_paid"]) = (json!("open"), json!(0));
    invoice
}

#[test]
fn a_change_in_the_middle_of_a_period_brings_the_new_period_less_what_is_left_of_the_old() {
    let book = team();
    for version in Version::ALL {
        let verdict = decide(&facts(PAID, &to_team(3, version), &book, "pro"));
        assert_eq!((granted(&verdict), plan_set(&verdict)), (Some(75 - 30), Some("team")), "{version:?}");
    }
}

#[test]
fn a_change_exchanges_the_credits_that_are_left_for_the_new_ones_under_the_invoices_key() {
    let book = team();
    for version in Version::ALL {
        let verdict = decide(&facts(PAID, &to_team(1, version), &book, "pro"));
        let exchange = Op::Exchange { amount: Credits(25), expires_at_ms: None, taken: Credits(30), of: None };
        let command = Command::internal(exchange, "stripe", "stripe:invoice:in_2".to_owned());
        // What it sold is kept with it.
        let plain = verdict.ledger.map(|(customer, command)| (customer, Command { metadata: None, ..command }));
        assert_eq!(plain, Some((customer("pro").id, command.with_reference("in_2"))), "{version:?}");
    }
}

#[test]
fn what_leaves_a_period_that_was_billed_too_long_ago_waits_for_a_person() {
    let book = team();
    let object = to_team(3, Version::Basil);
    let cut = Before { is_cut: true, ..Before::default() };
    let verdict = decide(&Facts { before: &cut, ..facts(PAID, &object, &book, "pro") });
    assert!(dead_reason(&verdict).starts_with("history_too_long: invoice in_2: "), "{verdict:?}");
    let first = InvoiceFields::read(&InvoiceDoc::default().render(Version::Basil));
    let known = Before { invoices: vec![first], ..cut };
    let verdict = decide(&Facts { before: &known, ..facts(PAID, &object, &book, "pro") });
    assert_eq!(granted(&verdict), Some(75 - 30));
}

#[test]
fn an_invoice_that_only_credits_time_takes_its_credits_and_an_unpaid_one_takes_none() {
    let book = by_id();
    let mut object = InvoiceDoc { id: "in_2", total: -29_950, ..InvoiceDoc::default() }.render(Version::Basil);
    object["lines"]["data"] = json!([credit(Version::Basil)]);
    let verdict = decide(&facts(PAID, &object, &book, "pro"));
    assert_eq!((taken(&verdict), verdict.effects.len()), (Some(Credits(30)), 0));
    assert!(changes_nothing(&decide(&facts(PAID, &unpaid(object), &book, "pro"))));
}

#[test]
fn a_credit_of_other_business_changes_nothing_of_a_period() {
    let book = by_id();
    let mut object = InvoiceDoc::default().render(Version::Basil);
    let other = InvoiceDoc { is_proration: true, unit_amount: -500, ..InvoiceDoc::other() }.line(Version::Basil);
    object["lines"]["data"].as_array_mut().expect("lines").push(other);
    assert_eq!(granted(&decide(&facts(PAID, &object, &book, "pro"))), Some(60));
}

#[test]
fn a_better_plan_counts_when_its_invoice_is_paid_whichever_event_comes_first() {
    let book = team();
    let open = with_invoice(SubscriptionDoc::team(3), unpaid(to_team(3, Version::Basil)));
    let told = decide(&knowing(facts(UPDATED, &open, &book, "pro"), &row("active")));
    let waiting = put(&told).expect("a row").clone();
    let change = UnpaidChange { invoice_id: "in_2".to_owned(), plan: row("active").plan, is_void: false };
    assert_eq!((waiting.unpaid_change.as_ref(), plan_set(&told)), (Some(&change), None));
    assert_eq!(waiting.price, Some(PriceKey::trusted("team_monthly")), "what it sells is shown");

    let invoice = to_team(3, Version::Basil);
    let paid = decide(&knowing(facts(PAID, &invoice, &book, "pro"), &waiting));
    assert_eq!(plan_set(&paid), Some("team"));
    assert_eq!(put(&paid).expect("a row").unpaid_change, None);
    // The payment first: the credits come at once, and the plan when the subscription tells of the change.
    let paid = decide(&knowing(facts(PAID, &invoice, &book, "pro"), &row("active")));
    assert_eq!((granted(&paid).is_some(), put(&paid), plan_set(&paid)), (true, None, None));
    let object = with_invoice(SubscriptionDoc::team(3), invoice);
    let told = decide(&knowing(facts(UPDATED, &object, &book, "pro"), &row("active")));
    assert_eq!((plan_set(&told), &put(&told).expect("a row").unpaid_change), (Some("team"), &None));
}

#[test]
fn an_invoice_without_a_period_settles_the_change_that_waits_for_it() {
    let book = team();
    let change = UnpaidChange { invoice_id: "in_2".to_owned(), plan: row("active").plan, is_void: false };
    let waiting = Subscription { unpaid_change: Some(change), ..team_row("active", 3) };
    let mut invoice = to_team(3, Version::Basil);
    let mut rest = InvoiceDoc { is_proration: true, ..InvoiceDoc::team(3) }.line(Version::Basil);
    rest["period"] = json!({"start": MIDDLE_S, "end": PERIOD_END_S});
    invoice["lines"]["data"] = json!([credit(Version::Basil), rest]);
    let paid = decide(&knowing(facts(PAID, &invoice, &book, "pro"), &waiting));
    assert_eq!((plan_set(&paid), &paid.ledger), (Some("team"), &None));
}

#[test]
fn a_better_plan_whose_invoice_is_voided_waits_for_a_later_one_and_not_for_that() {
    let book = team();
    let mut void = unpaid(to_team(3, Version::Basil));
    void["status"] = json!("void");
    let told = with_invoice(SubscriptionDoc::team(3), void.clone());
    let told = decide(&knowing(facts(UPDATED, &told, &book, "pro"), &row("active")));
    let waiting = put(&told).expect("a row").clone();
    assert_eq!((waiting.unpaid_invoice(), plan_set(&told)), (None, None), "nobody has paid for it");
    assert_eq!(waiting.gives_plan(), row("active").gives_plan());
    // A failure of it that is told late makes nothing late.
    let failed = decide(&knowing(facts(EventKind::InvoicePaymentFailed, &void, &book, "pro"), &row("active")));
    assert_eq!(put(&failed), None);
    let later = to_team(3, Version::Basil);
    let told = with_invoice(SubscriptionDoc::team(3), later);
    let told = decide(&knowing(facts(UPDATED, &told, &book, "pro"), &waiting));
    assert_eq!((plan_set(&told), &put(&told).expect("a row").unpaid_change), (Some("team"), &None));
}

#[test]
fn a_better_plan_that_costs_nothing_counts_although_its_invoice_is_open() {
    let book = team();
    let mut free = unpaid(to_team(3, Version::Basil));
    free["total"] = json!(0);
    let open = with_invoice(SubscriptionDoc::team(3), free);
    let told = decide(&knowing(facts(UPDATED, &open, &book, "pro"), &row("active")));
    assert_eq!((plan_set(&told), &put(&told).expect("a row").unpaid_change), (Some("team"), &None));
}

#[test]
fn a_period_that_was_left_before_it_was_paid_brings_what_was_used_and_takes_it_of_no_other_grant() {
    let book = by_id();
    let mut left = InvoiceDoc { id: "in_2", total: -29_950, ..InvoiceDoc::default() }.render(Version::Basil);
    left["lines"]["data"] = json!([credit(Version::Basil)]);
    let before = Before::of(vec![InvoiceFields::read(&left)]);
    let object = InvoiceDoc::default().render(Version::Basil);
    let verdict = decide(&Facts { before: &before, ..facts(PAID, &object, &book, "pro") });
    let (_, command) = verdict.ledger.expect("a command");
    let exchange = Op::Exchange { amount: Credits(60), expires_at_ms: None, taken: Credits(30), of: Some(Vec::new()) };
    assert_eq!(command.op, exchange);
}

#[test]
fn a_failed_renewal_keeps_the_plan_and_a_worse_plan_counts_at_once() {
    let book = team();
    let renewal = unpaid(InvoiceDoc { id: "in_2", ..InvoiceDoc::default() }.render(Version::Basil));
    let late = with_invoice(SubscriptionDoc::with_status("past_due"), renewal);
    let told = decide(&knowing(facts(UPDATED, &late, &book, "pro"), &row("active")));
    assert_eq!(put(&told).expect("a row").unpaid_change, None);
    let down = with_invoice(SubscriptionDoc::default(), unpaid(InvoiceDoc::default().render(Version::Basil)));
    let told = decide(&knowing(facts(UPDATED, &down, &book, "team"), &team_row("active", 3)));
    assert_eq!(plan_set(&told), Some("pro"));
}

#[test]
fn a_new_subscription_that_is_paid_by_invoice_gives_its_plan_when_that_is_paid() {
    let book = by_id();
    let first = InvoiceDoc { billing_reason: "subscription_create", ..InvoiceDoc::default() }.render(Version::Basil);
    let object = with_invoice(SubscriptionDoc::default(), unpaid(first.clone()));
    let told = decide(&facts(CREATED, &object, &book, "trial"));
    let waiting = put(&told).expect("a row").clone();
    assert_eq!((plan_set(&told), waiting.gives_plan()), (None, None));
    let paid = decide(&knowing(facts(PAID, &first, &book, "trial"), &waiting));
    assert_eq!((plan_set(&paid), granted(&paid)), (Some("pro"), Some(60)));
}

#[test]
fn a_pause_of_collection_is_kept_as_what_it_is() {
    let book = by_id();
    let mut object = SubscriptionDoc::default().render(Version::Basil);
    object["pause_collection"] = json!({"behavior": "void", "resumes_at": 7});
    let told = decide(&knowing(facts(UPDATED, &object, &book, "pro"), &row("active")));
    let paused = put(&told).expect("a row").clone();
    let pause = PausedCollection { behavior: "void".to_owned(), resumes_at_ms: Some(7_000) };
    assert_eq!((paused.paused_collection.as_ref(), paused.gives_plan()), (Some(&pause), row("active").plan.as_ref()));
    let resumed = SubscriptionDoc::default().render(Version::Basil);
    let told = decide(&knowing(facts(UPDATED, &resumed, &book, "pro"), &paused));
    assert_eq!(put(&told).expect("a row").paused_collection, None);
}

#[test]
fn what_a_schedule_has_for_the_end_of_the_period_is_to_come() {
    let book = team();
    let mut object = SubscriptionDoc::default().render(Version::Basil);
    let phase = |start: i64, price: &str, quantity: i64| {
        let items = json!([{"price": price, "quantity": quantity}]);
        json!({"start_date": start, "end_date": start + 9, "items": items})
    };
    object["schedule"] = json!({
        "id": "sub_sched_1", "object": "subscription_schedule", "current_phase": {"start_date": 1, "end_date": 10},
        "phases": [phase(1, PRICE, 1), phase(10, TEAM_PRICE, 3)],
    });
    let told = decide(&knowing(facts(UPDATED, &object, &book, "pro"), &row("active")));
    let amount = Some(MoneyMinor(3 * 19_900));
    let next = PendingChange { price: PriceKey::trusted("team_monthly"), quantity: 3, amount, at_ms: 10_000 };
    let pending = put(&told).expect("a row").clone();
    assert_eq!((pending.pending_change.as_ref(), plan_set(&told)), (Some(&next), None));
    let stored =
        Subscription { pending_change: Some(PendingChange { amount: None, ..next.clone() }), ..pending.clone() };
    assert!(
        changes_nothing(&decide(&knowing(facts(UPDATED, &object, &book, "pro"), &stored))),
        "of an earlier release"
    );
    // An event names the schedule only.
    object["schedule"] = json!("sub_sched_1");
    let told = decide(&knowing(facts(UPDATED, &object, &book, "pro"), &pending));
    assert!(changes_nothing(&told), "{told:?}");
    object["schedule"] = Value::Null;
    let told = decide(&knowing(facts(UPDATED, &object, &book, "pro"), &pending));
    assert_eq!(put(&told).expect("a row").pending_change, None);
}

#[test]
fn of_what_a_schedule_has_to_come_only_a_price_of_ours_is_told() {
    let book = team();
    let pending = |prices: &[&str]| {
        let items: Vec<_> = prices.iter().map(|price| json!({"price": price, "quantity": 1})).collect();
        let mut object = SubscriptionDoc::default().render(Version::Basil);
        object["schedule"] = json!({
            "id": "sub_sched_1", "object": "subscription_schedule", "current_phase": {"start_date": 1, "end_date": 10},
            "phases": [
                {"start_date": 1, "end_date": 10, "items": [{"price": PRICE, "quantity": 1}]},
                {"start_date": 10, "end_date": 19, "items": items},
            ],
        });
        let told = decide(&knowing(facts(UPDATED, &object, &book, "pro"), &row("past_due")));
        put(&told).expect("a row").pending_change.as_ref().map(|change| change.price.to_string())
    };
    assert_eq!(pending(&[OTHER_PRICE, TEAM_PRICE]).as_deref(), Some("team_monthly"));
    assert_eq!(pending(&[OTHER_PRICE]), None);
    assert_eq!(pending(&[PRICE]), None, "a later phase that sells the same changes nothing");
}
