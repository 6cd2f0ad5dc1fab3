//! Nothing that anybody can sign makes the readers or the rules panic, or grants without money.

use super::fields::{InvoiceFields, Line};
use super::fixtures::*;
use super::{EventKind, Facts, decide, envelope, fallback_external_id, lookup, stream_key};
use crate::domain::effect::Effect;
use crate::domain::job::Outcome;
use crate::domain::sale::PriceBook;
use crate::domain::sale::line::{Sales, sales};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

const KINDS: [EventKind; 7] = [
    EventKind::InvoicePaid,
    EventKind::InvoicePaymentSucceeded,
    EventKind::InvoicePaymentFailed,
    EventKind::SubscriptionCreated,
    EventKind::SubscriptionUpdated,
    EventKind::SubscriptionDeleted,
    EventKind::ChargeRefunded,
];

/// Books that know prices by lookup keys only, by ids, of several plans, and with credits that end.
static BOOKS: LazyLock<[PriceBook; 4]> = LazyLock::new(|| [by_key(), by_id(), team(), resetting()]);

/// The words that the readers look for.
const WORDS: [&str; 46] = [
    "id",
    "object",
    "type",
    "data",
    "customer",
    "subscription",
    "subscription_details",
    "parent",
    "lines",
    "items",
    "metadata",
    "plan",
    "pro",
    "price",
    "pricing",
    "price_details",
    "lookup_key",
    "pro_monthly",
    "price_pro",
    "price_team",
    "unit_amount",
    "recurring",
    "interval",
    "status",
    "active",
    "paid",
    "amount_paid",
    "amount",
    "total",
    "quantity",
    "discount_amounts",
    "billing_reason",
    "subscription_cycle",
    "period",
    "start",
    "end",
    "current_period_end",
    "cancel_at",
    "payments",
    "payment",
    "payment_intent",
    "last_payment_error",
    "message",
    "next_payment_attempt",
    "bursar_customer_id",
    "bursar_plan",
];

fn any_scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(&WORDS[..]).prop_map(Value::from),
        ".{0,300}".prop_map(Value::from),
        Just(json!("\u{0}\u{7f}")),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![9 => prop::sample::select(&WORDS[..]).prop_map(str::to_owned), 1 => ".{0,8}"];
    any_scalar().prop_recursive(6, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((key.clone(), inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A sound document of any version.
fn any_document() -> impl Strategy<Value = Value> {
    let version = prop::sample::select(&Version::ALL[..]);
    let reason =
        prop::sample::select(vec!["subscription_cycle", "subscription_create", "subscription_update", "manual"]);
    let invoice = prop::sample::select(vec![
        InvoiceDoc::default(),
        InvoiceDoc::team(3),
        InvoiceDoc::other(),
        InvoiceDoc { is_proration: true, ..InvoiceDoc::default() },
        InvoiceDoc { is_item: true, ..InvoiceDoc::default() },
    ]);
    let subscription =
        prop::sample::select(vec![SubscriptionDoc::default(), SubscriptionDoc::team(3), SubscriptionDoc::other()]);
    let status = prop::sample::select(vec!["active", "incomplete", "past_due", "unpaid", "canceled", "paused"]);
    prop_oneof![
        (version.clone(), invoice, reason, -1..3_i64, -1..3_i64, any::<bool>()).prop_map(
            |(version, doc, billing_reason, total, amount_paid, is_paid)| {
                InvoiceDoc { billing_reason, total, amount_paid, is_paid, ..doc }.render(version)
            }
        ),
        (version, subscription, status, any::<bool>()).prop_map(|(version, doc, status, ends_with_period)| {
            SubscriptionDoc { status, ends_with_period, ..doc }.render(version)
        }),
    ]
}

/// Puts `with` in the place of the node that `at` picks; without `with` the node is taken out.
fn mutate(document: &mut Value, at: usize, with: Option<Value>) {
    fn paths(value: &Value, here: &str, found: &mut Vec<String>) {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
            Value::Array(list) => list.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect(),
            _ => Vec::new(),
        };
        for (key, child) in children {
            let path = format!("{here}/{key}");
            paths(child, &path, found);
            found.push(path);
        }
    }
    let mut found = Vec::new();
    paths(document, "", &mut found);
    let Some(path) = found.get(at % found.len().max(1)) else { return };
    let (holder, key) = path.rsplit_once('/').expect("every path has a parent");
    match (with, document.pointer_mut(holder)) {
        (Some(value), Some(Value::Object(map))) => drop(map.insert(key.to_owned(), value)),
        (None, Some(Value::Object(map))) => drop(map.remove(key)),
        (Some(value), Some(Value::Array(list))) => list[0] = value,
        (None, Some(Value::Array(list))) => drop(list.pop()),
        _ => {}
    }
}

fn any_mutated() -> impl Strategy<Value = Value> {
    let mutations = prop::collection::vec((any::<usize>(), prop::option::of(any_json())), 0..4);
    (any_document(), mutations).prop_map(|(mut document, mutations)| {
        for (at, with) in mutations {
            mutate(&mut document, at, with);
        }
        document
    })
}

/// Runs everything on the object and checks what must hold whatever it says.
fn check(object: &Value, knows_row: Option<&str>, plan: &str) {
    for (kind, book) in KINDS.into_iter().flat_map(|kind| BOOKS.iter().map(move |book| (kind, book))) {
        let _ = lookup(object, kind);
        let base = facts(kind, object, book, plan);
        let ended = knows_row == Some("canceled");
        let known = match knows_row {
            Some(status) => {
                let mut row = row(status);
                row.ended_at_ms = ended.then_some(1);
                knowing(base, &row)
            }
            None => base,
        };
        let verdict = decide(&known);
        let unknown = decide(&Facts { customer: None, ..known.clone() });
        assert!(unknown.ledger.is_none() && unknown.effects.is_empty());
        let is_job = |effect: &Effect| matches!(effect, Effect::JobInsert(_));
        if verdict.ledger.is_some() || verdict.effects.iter().any(is_job) {
            assert!(matches!(kind, EventKind::InvoicePaid | EventKind::InvoicePaymentSucceeded), "{kind:?}");
            assert!(object["status"] == "paid" || object["paid"] == true, "{object}");
            let invoice = InvoiceFields::read(object);
            assert!(invoice.total.is_some_and(|total| total.0 > 0), "{object}");
            let costs = |line: &Line| line.net_amount().is_none_or(|amount| amount.0 > 0);
            assert!(invoice.lines.iter().any(|line| line.bills_period() && costs(line)), "{object}");
        }
        if verdict.outcome != Outcome::Done {
            assert!(verdict.ledger.is_none() && verdict.effects.is_empty());
        }
        if ended && lookup(object, kind).subscription_id.is_some() && kind.as_str().starts_with("customer.") {
            assert!(verdict.effects.is_empty(), "{verdict:?}");
        }
    }
    let invoice = InvoiceFields::read(object);
    assert!(invoice.failure_in_words().chars().count() < 2_000);
    for book in BOOKS.iter() {
        let is_known = matches!(sales(&invoice, book), Sales::Known(_));
        assert!(!(is_known && (invoice.lines.is_empty() || invoice.has_more_lines)), "{object}");
    }
}

fn any_row() -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(prop::sample::select(vec!["active", "incomplete", "past_due", "unpaid", "paused", "canceled"]))
}

fn any_plan() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["trial", "pay_as_you_go", "pro", "team", "gone"])
}

#[test]
fn amounts_and_times_at_the_ends_of_their_range_get_a_verdict() {
    let ends = [i64::MIN, -1, 0, 1, i64::MAX];
    for path in ["amount", "discount_amounts/0/amount", "quantity", "period/start", "period/end"] {
        for end in ends {
            let mut object = InvoiceDoc::team(3).render(Version::Basil);
            object["lines"]["data"][0]["discount_amounts"] = json!([{"amount": 1}]);
            *object.pointer_mut(&format!("/lines/data/0/{path}")).expect("a place") = json!(end);
            let twice = json!([object["lines"]["data"][0], object["lines"]["data"][0]]);
            check(&object, None, "trial");
            object["lines"]["data"] = twice;
            check(&object, Some("active"), "team");
        }
    }
    for end in ends.into_iter().chain([1 << 62]) {
        let mut object = InvoiceDoc::team(3).render(Version::Basil);
        object["created"] = json!(end);
        object["status_transitions"] = json!({"finalized_at": -1, "paid_at": end});
        check(&object, None, "trial");
    }
}

proptest! {
    #[test]
    fn bytes_of_any_kind_are_read_or_unreadable(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = envelope(&body);
        prop_assert_eq!(fallback_external_id(&body).len(), 71);
    }

    #[test]
    fn json_of_any_kind_is_read_or_unreadable(event in any_json(), object in any_json()) {
        let _ = envelope(event.to_string().as_bytes());
        let event = json!({"id": event, "type": "x", "object": object, "data": {"object": object}});
        if let Ok(envelope) = envelope(event.to_string().as_bytes()) {
            let key = stream_key(&envelope);
            prop_assert!(key.chars().count() <= 255 + "stripe:event:".len());
            prop_assert!(!key.chars().any(char::is_control));
        }
    }

    #[test]
    fn any_object_gets_a_verdict(object in any_json(), row in any_row(), plan in any_plan()) {
        check(&object, row, plan);
    }

    #[test]
    fn any_mutated_document_gets_a_verdict(object in any_mutated(), row in any_row(), plan in any_plan()) {
        check(&object, row, plan);
    }

    #[test]
    fn any_mutated_event_is_read_or_unreadable(object in any_mutated(), at: usize, with in prop::option::of(any_json())) {
        let mut event = json!({
            "id": "evt_1", "object": "event", "type": "invoice.paid", "livemode": false, "request": {"id": null},
            "data": {"object": object},
        });
        mutate(&mut event, at, with);
        if let Ok(envelope) = envelope(event.to_string().as_bytes()) {
            prop_assert!(stream_key(&envelope).starts_with("stripe:"));
        }
    }
}
