//! The rules, case by case, and a subscription's life in every order.

mod invoice;
mod life;
mod subscription;

use super::*;
use crate::domain::job::JobState;
use crate::domain::webhook::delivery::{Fate, delivery};
use crate::domain::webhook::fixtures::*;
use serde_json::json;

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

fn plan_set(verdict: &Verdict) -> Option<Plan> {
    verdict.effects.iter().find_map(|effect| match effect {
        Effect::PlanSet { plan, .. } => Some(*plan),
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
fn a_rule_that_needs_more_than_nothing_says_so() {
    let pro = by_id();
    let prefixes = ["invoice.", "customer.subscription."];
    let is_ruled = |kind: &&EventKind| prefixes.iter().any(|prefix| kind.as_str().starts_with(prefix));
    for kind in EventKind::ALL.iter().filter(is_ruled) {
        let verdict = decide(&facts(*kind, &Value::Null, &pro, Plan::Trial));
        assert!(dead_reason(&verdict).starts_with("shape_incomplete: "), "{kind:?}");
    }
}

#[test]
fn the_lookup_names_customer_and_subscription_in_every_version() {
    let ours = customer(Plan::Trial).id.to_string();
    let expected = Lookup {
        stripe_customer_id: Some(CUS.to_owned()),
        bursar_customer_id: Some(ours.clone()),
        subscription_id: Some(SUB.to_owned()),
    };
    for version in Version::ALL {
        let tag = json!({"bursar_customer_id": ours});
        let invoice = InvoiceDoc { subscription_metadata: tag.clone(), ..InvoiceDoc::default() };
        let subscription = SubscriptionDoc { metadata: tag, ..SubscriptionDoc::default() };
        assert_eq!(lookup(&invoice.render(version), EventKind::InvoicePaid), expected, "{version:?}");
        assert_eq!(lookup(&subscription.render(version), EventKind::SubscriptionUpdated), expected, "{version:?}");
    }
}

#[test]
fn an_unknown_customer_is_tried_again_with_the_reason() {
    let invoice = InvoiceDoc::default().render(Version::Basil);
    let subscription = SubscriptionDoc::default().render(Version::Basil);
    let pro = by_id();
    for (kind, object) in [
        (EventKind::InvoicePaid, &invoice),
        (EventKind::InvoicePaymentFailed, &invoice),
        (EventKind::SubscriptionCreated, &subscription),
        (EventKind::SubscriptionDeleted, &subscription),
    ] {
        let verdict = decide(&Facts { customer: None, ..facts(kind, object, &pro, Plan::Trial) });
        let reason = "customer_unknown: no customer for Stripe customer cus_1 yet".to_owned();
        assert_eq!(verdict.outcome, Outcome::Retry { reason }, "{kind:?}");
        assert!(verdict.ledger.is_none() && verdict.effects.is_empty());
    }
}

#[test]
fn an_object_that_names_no_customer_at_all_is_dead() {
    let mut invoice = InvoiceDoc::default().render(Version::Basil);
    invoice["customer"] = Value::Null;
    let pro = by_id();
    let verdict = decide(&Facts { customer: None, ..facts(EventKind::InvoicePaid, &invoice, &pro, Plan::Trial) });
    assert!(dead_reason(&verdict).starts_with("customer_missing: "));
}

#[test]
fn a_customer_found_by_metadata_is_linked_to_its_stripe_customer() {
    let invoice = InvoiceDoc::default().render(Version::Basil);
    let subscription = SubscriptionDoc::default().render(Version::Basil);
    let pro = by_id();
    for (kind, object) in [
        (EventKind::InvoicePaid, &invoice),
        (EventKind::InvoicePaymentFailed, &invoice),
        (EventKind::SubscriptionCreated, &subscription),
    ] {
        let unlinked = Customer { stripe_customer_id: None, ..customer(Plan::Trial) };
        let verdict = decide(&Facts { customer: Some(unlinked), ..facts(kind, object, &pro, Plan::Trial) });
        assert!(
            matches!(&verdict.effects[0], Effect::StripeLink { stripe_customer_id, .. } if stripe_customer_id == CUS),
            "{verdict:?}"
        );
    }
}

#[test]
fn somebody_elses_payment_or_subscription_changes_nothing_and_is_dead() {
    let invoice = InvoiceDoc::default().render(Version::Basil);
    let subscription = SubscriptionDoc::default().render(Version::Basil);
    let pro = by_id();
    for (kind, object) in [(EventKind::InvoicePaid, &invoice), (EventKind::SubscriptionUpdated, &subscription)] {
        let linked = Customer { stripe_customer_id: Some("cus_other".to_owned()), ..customer(Plan::Trial) };
        let other = Facts { customer: Some(linked), ..facts(kind, object, &pro, Plan::Trial) };
        assert!(dead_reason(&decide(&other)).starts_with("customer_mismatch: "), "{kind:?}");

        let theirs = Subscription { customer_id: crate::ids::CustomerId::new(), ..row("active") };
        let other = knowing(facts(kind, object, &pro, Plan::Trial), &theirs);
        assert!(dead_reason(&decide(&other)).starts_with("customer_mismatch: "), "{kind:?}");
    }
}

#[test]
fn pro_is_said_also_of_a_customer_that_was_on_it_when_it_was_read() {
    let pro = by_id();
    let subscription = SubscriptionDoc::default().render(Version::Basil);
    let invoice = InvoiceDoc::default().render(Version::Basil);
    for (kind, object) in [(EventKind::SubscriptionCreated, &subscription), (EventKind::InvoicePaid, &invoice)] {
        let verdict = decide(&facts(kind, object, &pro, Plan::Pro));
        assert_eq!(plan_set(&verdict), Some(Plan::Pro), "{kind:?}");
    }
}

#[test]
fn a_stripe_customer_that_is_nobodys_is_other_business() {
    let object = json!({"id": CUS, "object": "customer", "metadata": {}});
    let pro = by_id();
    for kind in [EventKind::CustomerCreated, EventKind::CustomerUpdated] {
        let verdict = decide(&Facts { customer: None, ..facts(kind, &object, &pro, Plan::Trial) });
        assert!(changes_nothing(&verdict), "{kind:?}: {verdict:?}");
    }
}

#[test]
fn what_is_told_of_a_stripe_customer_that_is_gone_counts_and_links_it_no_more() {
    let object = SubscriptionDoc::default().render(Version::Basil);
    let pro = by_id();
    let gone = Customer { stripe_customer_id: None, former_stripe_ids: vec![CUS.to_owned()], ..customer(Plan::Trial) };
    let verdict =
        decide(&Facts { customer: Some(gone), ..facts(EventKind::SubscriptionCreated, &object, &pro, Plan::Trial) });
    assert!(put(&verdict).is_some(), "{verdict:?}");
    assert!(!verdict.effects.iter().any(|effect| matches!(effect, Effect::StripeLink { .. })), "{verdict:?}");
}
