//! The rules, case by case, and a subscription's life in every order.

mod invoice;
mod life;
mod subscription;

use super::*;
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
    for event_type in ["invoice.created", "checkout.session.expired", "payment_intent.created", "", "invoice.paid "] {
        assert!(!wanted(event_type), "{event_type}");
        assert!(changes_nothing(&decide(&facts(event_type, &object, &by_id(), Plan::Trial))), "{event_type}");
    }
}

#[test]
fn a_rule_that_needs_more_than_nothing_says_so() {
    let pro = by_id();
    let ruled =
        |event_type: &&&str| event_type.starts_with("invoice.") || event_type.starts_with("customer.subscription.");
    for event_type in WANTED.iter().filter(ruled) {
        assert!(wanted(event_type));
        let verdict = decide(&facts(event_type, &Value::Null, &pro, Plan::Trial));
        assert!(dead_reason(&verdict).starts_with("shape_incomplete: "), "{event_type}");
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
        assert_eq!(lookup(&invoice.render(version), "invoice.paid"), expected, "{version:?}");
        assert_eq!(lookup(&subscription.render(version), "customer.subscription.updated"), expected, "{version:?}");
    }
}

#[test]
fn an_unknown_customer_is_tried_again_with_the_reason() {
    let invoice = InvoiceDoc::default().render(Version::Basil);
    let subscription = SubscriptionDoc::default().render(Version::Basil);
    let pro = by_id();
    for (event_type, object) in [
        ("invoice.paid", &invoice),
        ("invoice.payment_failed", &invoice),
        ("customer.subscription.created", &subscription),
        ("customer.subscription.deleted", &subscription),
    ] {
        let verdict = decide(&Facts { customer: None, ..facts(event_type, object, &pro, Plan::Trial) });
        let reason = "customer_unknown: no customer for Stripe customer cus_1 yet".to_owned();
        assert_eq!(verdict.outcome, Outcome::Retry { reason }, "{event_type}");
        assert!(verdict.ledger.is_none() && verdict.effects.is_empty());
    }
}

#[test]
fn an_object_that_names_no_customer_at_all_is_dead() {
    let mut invoice = InvoiceDoc::default().render(Version::Basil);
    invoice["customer"] = Value::Null;
    let pro = by_id();
    let verdict = decide(&Facts { customer: None, ..facts("invoice.paid", &invoice, &pro, Plan::Trial) });
    assert!(dead_reason(&verdict).starts_with("customer_missing: "));
}

#[test]
fn a_customer_found_by_metadata_is_linked_to_its_stripe_customer() {
    let invoice = InvoiceDoc::default().render(Version::Basil);
    let subscription = SubscriptionDoc::default().render(Version::Basil);
    let pro = by_id();
    for (event_type, object) in [
        ("invoice.paid", &invoice),
        ("invoice.payment_failed", &invoice),
        ("customer.subscription.created", &subscription),
    ] {
        let unlinked = Customer { stripe_customer_id: None, ..customer(Plan::Trial) };
        let verdict = decide(&Facts { customer: Some(unlinked), ..facts(event_type, object, &pro, Plan::Trial) });
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
    for (event_type, object) in [("invoice.paid", &invoice), ("customer.subscription.updated", &subscription)] {
        let linked = Customer { stripe_customer_id: Some("cus_other".to_owned()), ..customer(Plan::Trial) };
        let other = Facts { customer: Some(linked), ..facts(event_type, object, &pro, Plan::Trial) };
        assert!(dead_reason(&decide(&other)).starts_with("customer_mismatch: "), "{event_type}");

        let theirs = Subscription { customer_id: crate::ids::CustomerId::new(), ..row("active") };
        let other = knowing(facts(event_type, object, &pro, Plan::Trial), &theirs);
        assert!(dead_reason(&decide(&other)).starts_with("customer_mismatch: "), "{event_type}");
    }
}

#[test]
fn pro_is_said_also_of_a_customer_that_was_on_it_when_it_was_read() {
    let pro = by_id();
    let subscription = SubscriptionDoc::default().render(Version::Basil);
    let invoice = InvoiceDoc::default().render(Version::Basil);
    for (event_type, object) in [("customer.subscription.created", &subscription), ("invoice.paid", &invoice)] {
        let verdict = decide(&facts(event_type, object, &pro, Plan::Pro));
        assert_eq!(plan_set(&verdict), Some(Plan::Pro), "{event_type}");
    }
}

#[test]
fn a_stripe_customer_that_is_nobodys_is_other_business() {
    let object = json!({"id": CUS, "object": "customer", "metadata": {}});
    let pro = by_id();
    for event_type in ["customer.created", "customer.updated"] {
        let verdict = decide(&Facts { customer: None, ..facts(event_type, &object, &pro, Plan::Trial) });
        assert!(changes_nothing(&verdict), "{event_type}: {verdict:?}");
    }
}

#[test]
fn what_is_told_of_a_stripe_customer_that_is_gone_counts_and_links_it_no_more() {
    let object = SubscriptionDoc::default().render(Version::Basil);
    let pro = by_id();
    let gone = Customer { stripe_customer_id: None, former_stripe_ids: vec![CUS.to_owned()], ..customer(Plan::Trial) };
    let verdict =
        decide(&Facts { customer: Some(gone), ..facts("customer.subscription.created", &object, &pro, Plan::Trial) });
    assert!(put(&verdict).is_some(), "{verdict:?}");
    assert!(!verdict.effects.iter().any(|effect| matches!(effect, Effect::StripeLink { .. })), "{verdict:?}");
}
