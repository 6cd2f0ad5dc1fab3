//! The rules, case by case, and a subscription's life in every order.

mod changed;
mod failed;
mod invoice;
mod life;
mod plans;
mod sold;
mod subscription;

use super::*;
use crate::domain::job::JobState;
use crate::domain::ledger::Op;
use crate::domain::webhook::delivery::{Fate, delivery};
use crate::domain::webhook::fixtures::*;
use serde_json::json;

const PAID: EventKind = EventKind::InvoicePaid;
const FAILED: EventKind = EventKind::InvoicePaymentFailed;
const CREATED: EventKind = EventKind::SubscriptionCreated;
const UPDATED: EventKind = EventKind::SubscriptionUpdated;
const DELETED: EventKind = EventKind::SubscriptionDeleted;

fn dead_reason(verdict: &Verdict) -> &str {
    match &verdict.outcome {
        Outcome::Dead { reason } if verdict.effects.is_empty() && verdict.ledger.is_none() => reason,
        _ => panic!("not dead without effects: {verdict:?}"),
    }
}

fn changes_nothing(verdict: &Verdict) -> bool {
    verdict.outcome == Outcome::Done && verdict.ledger.is_none() && verdict.effects.is_empty()
}

fn put(verdict: &Verdict) -> Option<&Subscription> {
    verdict.effects.iter().find_map(|effect| match effect {
        Effect::SubscriptionPut(row) => Some(row),
        _ => None,
    })
}

fn plan_set(verdict: &Verdict) -> Option<&str> {
    verdict.effects.iter().find_map(|effect| match effect {
        Effect::PlanSet { plan, .. } => Some(plan.as_str()),
        _ => None,
    })
}

/// The credits that are granted at once, less those that are taken in exchange.
fn granted(verdict: &Verdict) -> Option<i64> {
    verdict.ledger.as_ref().map(|(_, command)| match &command.op {
        Op::Grant { amount, .. } => amount.0,
        Op::Exchange { amount, taken, .. } => amount.0 - taken.0,
        other => panic!("{other:?}"),
    })
}

/// The plan that a change of plan may have taken away.
fn plan_left(verdict: &Verdict) -> Option<&str> {
    verdict.effects.iter().find_map(|effect| match effect {
        Effect::PlanSet { has_left, .. } => has_left.as_ref().map(PlanKey::as_str),
        _ => None,
    })
}

/// The Stripe customer that is added to ours, and the one that it replaces.
fn adopted(verdict: &Verdict) -> Option<(&str, Option<&str>)> {
    verdict.effects.iter().find_map(|effect| match effect {
        Effect::StripeAdopt { stripe_customer_id, replaces, .. } => {
            Some((stripe_customer_id.as_str(), replaces.as_deref()))
        }
        _ => None,
    })
}

#[test]
fn an_event_of_another_type_is_done_and_changes_nothing() {
    let object = InvoiceDoc::default().render(Version::Basil);
    for event_type in ["invoice.created", "checkout.session.expired", "payment_intent.created", "invoice.paid "] {
        let event = json!({"id": "evt_1", "type": event_type, "data": {"object": object}});
        let delivery = delivery(event.to_string().as_bytes(), false, NOW_MS);
        assert_eq!((delivery.event.event_type.as_str(), &delivery.fate), (event_type, &Fate::Ignore));
        assert_eq!(delivery.job().state, JobState::Succeeded);
    }
}

#[test]
fn an_event_of_a_connected_account_is_stored_and_never_processed() {
    let object = InvoiceDoc::default().render(Version::Basil);
    let mut event = json!({"id": "evt_1", "type": "invoice.paid", "livemode": false, "data": {"object": object}});
    let fate = |event: &Value| delivery(event.to_string().as_bytes(), false, NOW_MS).fate;
    assert_eq!(fate(&event), Fate::Process);
    event["account"] = json!("acct_1");
    assert_eq!(fate(&event), Fate::Ignore);
}

#[test]
fn a_rule_that_needs_more_than_nothing_says_so() {
    let book = by_id();
    let prefixes = ["invoice.", "customer.subscription."];
    let is_ruled = |kind: &&EventKind| prefixes.iter().any(|prefix| kind.as_str().starts_with(prefix));
    for kind in EventKind::ALL.iter().filter(is_ruled) {
        let verdict = decide(&facts(*kind, &Value::Null, &book, "trial"));
        assert!(dead_reason(&verdict).starts_with("shape_incomplete: "), "{kind:?}");
    }
}

#[test]
fn the_lookup_names_customer_and_subscription_in_every_version() {
    let ours = customer("trial").id.to_string();
    let expected = Lookup {
        stripe_customer_id: Some(CUS.to_owned()),
        bursar_customer_id: Some(ours.clone()),
        subscription_id: Some(SUB.to_owned()),
        paid_invoice_id: None,
    };
    for version in Version::ALL {
        let tag = json!({"bursar_customer_id": ours});
        let invoice = InvoiceDoc { subscription_metadata: tag.clone(), ..InvoiceDoc::default() };
        let subscription = SubscriptionDoc { metadata: tag, ..SubscriptionDoc::default() };
        let of_invoice = lookup(&invoice.render(version), PAID);
        assert!(of_invoice.paid_invoice_id.is_some(), "{version:?}");
        assert_eq!(Lookup { paid_invoice_id: None, ..of_invoice }, expected, "{version:?}");
        assert_eq!(lookup(&subscription.render(version), UPDATED), expected, "{version:?}");
    }
}

#[test]
fn an_unknown_customer_is_tried_again_with_the_reason() {
    let invoice = InvoiceDoc::default().render(Version::Basil);
    let subscription = SubscriptionDoc::default().render(Version::Basil);
    let book = by_id();
    for (kind, object) in [(PAID, &invoice), (FAILED, &invoice), (CREATED, &subscription), (DELETED, &subscription)] {
        let verdict = decide(&Facts { customer: None, ..facts(kind, object, &book, "trial") });
        let reason = "customer_unknown: no customer for Stripe customer cus_1 yet".to_owned();
        assert_eq!(verdict.outcome, Outcome::Retry { reason }, "{kind:?}");
        assert!(verdict.ledger.is_none() && verdict.effects.is_empty());
    }
}

#[test]
fn an_object_that_names_no_customer_at_all_is_dead() {
    let mut invoice = InvoiceDoc::default().render(Version::Basil);
    invoice["customer"] = Value::Null;
    let book = by_id();
    let verdict = decide(&Facts { customer: None, ..facts(PAID, &invoice, &book, "trial") });
    assert!(dead_reason(&verdict).starts_with("customer_missing: "));
}

#[test]
fn a_customer_found_by_metadata_is_linked_to_its_stripe_customer() {
    let invoice = InvoiceDoc::default().render(Version::Basil);
    let subscription = SubscriptionDoc::default().render(Version::Basil);
    let book = by_id();
    for (kind, object) in [(PAID, &invoice), (FAILED, &invoice), (CREATED, &subscription)] {
        let unlinked = Customer { stripe_customer_id: None, ..customer("trial") };
        let verdict = decide(&Facts { customer: Some(unlinked), ..facts(kind, object, &book, "trial") });
        assert!(
            matches!(&verdict.effects[0], Effect::StripeLink { stripe_customer_id, .. } if stripe_customer_id == CUS),
            "{verdict:?}"
        );
    }
}

#[test]
fn a_stripe_customer_in_use_is_kept_and_another_added_beside_it() {
    let invoice = InvoiceDoc::default().render(Version::Basil);
    let subscription = SubscriptionDoc::default().render(Version::Basil);
    let book = by_id();
    let own = Subscription { id: "sub_2".to_owned(), ..row("active") };
    for (kind, object) in [(PAID, &invoice), (CREATED, &subscription)] {
        let known = Facts { customer: Some(elsewhere("pro")), ..facts(kind, object, &book, "pro") };
        let subscribed = Facts { subscriptions_of_customer: vec![own.clone()], ..known.clone() };
        let with_card = Customer { has_payment_method: true, ..elsewhere("pro") };
        for used in [subscribed, Facts { customer: Some(with_card), ..known }] {
            let verdict = decide(&used);
            assert_eq!(adopted(&verdict), Some((CUS, None)), "{kind:?}: {verdict:?}");
            assert_eq!(put(&verdict), Some(&row("active")), "what it bought there counts");
            assert_eq!(verdict.ledger.is_some(), kind == PAID);
        }
    }
}

#[test]
fn an_unused_stripe_customer_is_replaced_if_the_naming_is_trusted() {
    let invoice = InvoiceDoc::default().render(Version::Basil);
    let subscription = SubscriptionDoc::default().render(Version::Basil);
    let stripe_customer = json!({"id": CUS, "object": "customer", "metadata": {}});
    let book = by_id();
    let former = Subscription { id: "sub_2".to_owned(), ended_at_ms: Some(1), ..row("canceled") };
    let objects = [(PAID, &invoice), (CREATED, &subscription), (EventKind::CustomerUpdated, &stripe_customer)];
    for (kind, object) in objects {
        for rows in [vec![], vec![former.clone()]] {
            let known = facts(kind, object, &book, "trial");
            let unused = Facts { customer: Some(elsewhere("trial")), subscriptions_of_customer: rows, ..known };
            assert_eq!(adopted(&decide(&unused)), Some((CUS, Some("cus_other"))), "{kind:?}");
            let doubted = Facts { may_relink: false, ..unused };
            assert_eq!(adopted(&decide(&doubted)), Some((CUS, None)), "{kind:?}");
        }
    }
}

#[test]
fn a_first_stripe_customer_that_nobody_trusted_named_is_added_and_not_made_the_customers_own() {
    let invoice = InvoiceDoc::default().render(Version::Basil);
    let book = by_id();
    let unlinked = Customer { stripe_customer_id: None, ..customer("trial") };
    let verdict =
        decide(&Facts { customer: Some(unlinked), may_relink: false, ..facts(PAID, &invoice, &book, "trial") });
    assert_eq!(adopted(&verdict), Some((CUS, None)));
    assert_eq!(granted(&verdict), Some(60), "what was paid there counts");
}

#[test]
fn somebody_elses_subscription_changes_nothing_and_is_dead() {
    let invoice = InvoiceDoc::default().render(Version::Basil);
    let subscription = SubscriptionDoc::default().render(Version::Basil);
    let book = by_id();
    for (kind, object) in [(PAID, &invoice), (FAILED, &invoice), (UPDATED, &subscription), (DELETED, &subscription)] {
        let theirs = Subscription { customer_id: crate::ids::CustomerId::new(), ..row("active") };
        let other = knowing(facts(kind, object, &book, "trial"), &theirs);
        assert!(dead_reason(&decide(&other)).starts_with("customer_mismatch: "), "{kind:?}");
    }
}

#[test]
fn a_plan_is_said_also_of_a_customer_that_was_on_it_when_it_was_read() {
    let book = by_id();
    let subscription = SubscriptionDoc::default().render(Version::Basil);
    let invoice = InvoiceDoc::default().render(Version::Basil);
    for (kind, object) in [(CREATED, &subscription), (PAID, &invoice)] {
        let verdict = decide(&facts(kind, object, &book, "pro"));
        assert_eq!(plan_set(&verdict), Some("pro"), "{kind:?}");
    }
}

#[test]
fn a_stripe_customer_that_is_nobodys_is_other_business() {
    let object = json!({"id": CUS, "object": "customer", "metadata": {}});
    let book = by_id();
    for kind in [EventKind::CustomerCreated, EventKind::CustomerUpdated] {
        let verdict = decide(&Facts { customer: None, ..facts(kind, &object, &book, "trial") });
        assert!(changes_nothing(&verdict), "{kind:?}: {verdict:?}");
    }
}

#[test]
fn what_is_told_of_a_stripe_customer_that_is_gone_counts_and_links_it_no_more() {
    let object = SubscriptionDoc::default().render(Version::Basil);
    let book = by_id();
    for stripe_customer_id in [None, Some("cus_other".to_owned())] {
        let former_stripe_ids = vec![CUS.to_owned()];
        let gone = Customer { stripe_customer_id, former_stripe_ids, ..elsewhere("trial") };
        let verdict = decide(&Facts { customer: Some(gone), ..facts(CREATED, &object, &book, "trial") });
        assert!(put(&verdict).is_some(), "{verdict:?}");
        let is_link = |effect: &Effect| matches!(effect, Effect::StripeLink { .. } | Effect::StripeAdopt { .. });
        assert!(!verdict.effects.iter().any(is_link), "{verdict:?}");
    }
}
