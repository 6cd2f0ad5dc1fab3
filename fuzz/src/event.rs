//! Events: what a body says, where the facts are in it, and what the rules make of them. The input is an event of
//! Stripe or of GitHub in JSON. Other invoices that Bursar knows may stand in it as `before`.

mod records;

use bursar_engine::amount::MoneyMinor;
use bursar_engine::domain::catalogue::Catalogue;
use bursar_engine::domain::effect::{Effect, Verdict};
use bursar_engine::domain::github::{Purchase, read_purchase};
use bursar_engine::domain::job::Outcome;
use bursar_engine::domain::ledger::{self, Account};
use bursar_engine::domain::marketplace::rules::apply_purchase;
use bursar_engine::domain::sale::grant::net_credits;
use bursar_engine::domain::sale::line::{Sales, sales};
use bursar_engine::domain::sale::{Before, PriceBook};
use bursar_engine::domain::webhook::envelope::TEXT_LEN_MAX;
use bursar_engine::domain::webhook::fields::{
    ChargeFields, CreditNoteFields, DisputeFields, InvoiceFields, Line, Metadata, PaymentIntentFields,
    PaymentMethodFields, SubscriptionFields, bursar_customer_id, rows,
};
use bursar_engine::domain::webhook::{
    Envelope, EventKind, Facts, decide, envelope, fallback_external_id, lookup, stream_key,
};
use bursar_engine::key::PlanKey;
use records::{BOOKS, KNOWN, NOW_MS};
use serde_json::Value;

/// Maximum number of other invoices that an input tells of.
const BEFORE_MAX: usize = 3;
/// Longest explanation that the rules may give, in characters: some repeat what Stripe said.
const REASON_LEN_MAX: usize = 4_000;

const DAY_MS: i64 = 86_400_000;

/// Checks the claims. Returns whether the bytes are an event of Stripe's or a purchase at GitHub's.
pub fn run(data: &[u8]) -> bool {
    let purchase = read_purchase(data);
    match &purchase {
        Ok(purchase) => check_purchase(purchase),
        Err(reason) => assert!(reason.starts_with("unreadable") || reason.starts_with("shape_incomplete")),
    }
    let read = envelope(data);
    assert_eq!(envelope(data), read, "the same bytes are the same event");
    let Ok(event) = read else {
        assert!(fallback_external_id(data).len() <= TEXT_LEN_MAX);
        return purchase.is_ok();
    };
    check_envelope(&event);
    if let (Some(kind), Some(object)) = (event.kind, &event.object) {
        check_fields(object);
        let others: Value = serde_json::from_slice(data).unwrap_or_default();
        let others = rows(&others["before"]).iter().take(BEFORE_MAX).map(InvoiceFields::read);
        check_rules(kind, object, &Before::of(others.collect()));
    }
    true
}

fn is_bounded(text: &str) -> bool {
    text.chars().count() <= TEXT_LEN_MAX && !text.chars().any(char::is_control)
}

fn check_purchase(purchase: &Purchase) {
    let Purchase { account_id, login, account_type, plan_name, email, billing_cycle, .. } = purchase;
    assert!(*account_id > 0);
    let optional = email.iter().chain(billing_cycle);
    assert!([login, account_type, plan_name].into_iter().chain(optional).all(|text| is_bounded(text)), "{purchase:?}");
    let (catalogue, pro) = (Catalogue::built_in(), PlanKey::trusted("pro"));
    for plan in [None, Some(&pro)] {
        let once = apply_purchase(None, purchase, plan, "evt_1", &catalogue, NOW_MS);
        let twice = apply_purchase(Some(&once), purchase, plan, "evt_1", &catalogue, NOW_MS);
        assert_eq!(twice.news, once.news, "a second delivery is no news");
        let _ = (twice.next_period(&catalogue, DAY_MS), twice.ungranted_spans(&catalogue).len());
    }
}

fn check_envelope(event: &Envelope) {
    let Envelope { external_id, event_type, account, api_version, snapshot_event, .. } = event;
    let optional = [account, api_version, snapshot_event, &event.related_object_id, &event.related_object_url];
    let texts = [external_id, event_type].into_iter().chain(optional.into_iter().flatten());
    assert!(texts.into_iter().all(|text| is_bounded(text)), "{event:?}");
    assert!(!external_id.is_empty() && !event_type.is_empty());
    let key = stream_key(event);
    assert!(key.starts_with("stripe:") && key.chars().count() <= "stripe:event:".len() + TEXT_LEN_MAX, "{key}");
    assert!(!key.chars().any(char::is_control), "{key}");
}

/// Any object may be given to any reader.
fn check_fields(object: &Value) {
    let invoice = InvoiceFields::read(object);
    assert!(invoice.failure_in_words().chars().count() <= REASON_LEN_MAX);
    let ids = [&invoice.id, &invoice.stripe_customer_id, &invoice.subscription_id];
    let ids = ids.into_iter().flatten().chain(&invoice.payment_intent_ids).chain(&invoice.charge_ids);
    assert!(ids.into_iter().all(|id| !id.is_empty() && is_bounded(id)), "{invoice:?}");
    let subscription = SubscriptionFields::read(object);
    for item in subscription.items.iter().map(Some).chain([None]) {
        let _ = (subscription.period_end_ms(item), subscription.ends_with_period(item));
    }
    let (intent, method) = (PaymentIntentFields::read(object), PaymentMethodFields::read(object));
    let _ = (intent.wants_authentication(), method);
    let (charge, dispute) = (ChargeFields::read(object), DisputeFields::read(object));
    let _ = dispute.amount_gone_of(MoneyMinor(1_000), charge.currency.as_deref());
    let _ = (dispute.amount_gone(), dispute.allows_refund(), CreditNoteFields::read(object).gone_beside_refunds());
    let metadata: &Metadata = &invoice.metadata;
    assert!(bursar_customer_id(metadata).is_none_or(|id| id.starts_with("cst_")));
}

fn check_rules(kind: EventKind, object: &Value, before: &Before) {
    let found = lookup(object, kind);
    let ids = [&found.stripe_customer_id, &found.bursar_customer_id, &found.subscription_id, &found.paid_invoice_id];
    assert!(ids.into_iter().flatten().all(|id| is_bounded(id)), "{found:?}");
    for book in BOOKS.iter() {
        let invoice = InvoiceFields::read(object);
        let is_known = matches!(sales(&invoice, book), Sales::Known(_));
        assert!(!is_known || invoice.has_all_lines(), "what was sold is known by all lines");
        for (customer, row) in KNOWN.iter() {
            let customer = customer.clone();
            let subscription = row.clone().filter(|row| found.subscription_id.as_ref() == Some(&row.id));
            let subscriptions_of_customer = subscription.clone().into_iter().collect();
            let (may_relink, now_ms) = (true, NOW_MS);
            let facts = Facts {
                kind,
                object,
                customer,
                subscription,
                subscriptions_of_customer,
                book,
                before,
                may_relink,
                now_ms,
            };
            let verdict = decide(&facts);
            let again = decide(&facts);
            assert_eq!((&again.outcome, &again.ledger), (&verdict.outcome, &verdict.ledger), "the same facts decide");
            check_verdict(&facts, &verdict, book);
        }
    }
}

fn check_verdict(facts: &Facts<'_>, verdict: &Verdict, book: &PriceBook) {
    if let Outcome::Retry { reason } | Outcome::Cancel { reason } | Outcome::Dead { reason } = &verdict.outcome {
        assert!((1..=REASON_LEN_MAX).contains(&reason.chars().count()), "{reason}");
    }
    if verdict.outcome != Outcome::Done || facts.customer.is_none() {
        assert!(verdict.ledger.is_none() && verdict.effects.is_empty(), "{verdict:?}");
    }
    let is_job = |effect: &Effect| matches!(effect, Effect::JobInsert(_));
    let brings = verdict.ledger.as_ref().is_some_and(|(_, command)| net_credits(command).0 > 0);
    if brings || verdict.effects.iter().any(is_job) {
        check_paid(facts, book);
    }
    if let Some((customer, command)) = &verdict.ledger {
        assert_eq!(facts.customer.as_ref().map(|own| &own.id), Some(customer));
        assert!(command.idempotency_key.is_some(), "a second event brings nothing: {command:?}");
        let _ = ledger::decide(&Account::default(), command, facts.now_ms);
    }
    let has_ended = facts.subscription.as_ref().is_some_and(|row| row.ended_at_ms.is_some());
    if has_ended && facts.kind.as_str().starts_with("customer.subscription.") {
        let changes = |effect: &Effect| !matches!(effect, Effect::StripeLink { .. } | Effect::StripeAdopt { .. });
        assert!(!verdict.effects.iter().any(changes), "what has ended does not come back: {verdict:?}");
    }
}

/// Credits come for money that was paid, for a period of ours.
fn check_paid(facts: &Facts<'_>, book: &PriceBook) {
    let Facts { kind, object, .. } = facts;
    assert!(matches!(kind, EventKind::InvoicePaid | EventKind::InvoicePaymentSucceeded), "{kind:?}");
    assert!(object["status"] == "paid" || object["paid"] == true, "{object}");
    let invoice = InvoiceFields::read(object);
    let credits_time = invoice.lines.iter().any(Line::credits_time);
    assert!(credits_time || invoice.total.is_some_and(|total| total > MoneyMinor::ZERO), "{object}");
    assert!(matches!(sales(&invoice, book), Sales::Known(sold) if !sold.is_empty()), "{object}");
}
