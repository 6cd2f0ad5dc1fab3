//! Paid and failed invoices.

use super::*;
use crate::amount::Credits;
use crate::domain::ledger::{Command, GrantKind, Op};

const PAID: EventKind = EventKind::InvoicePaid;
const FAILED: EventKind = EventKind::InvoicePaymentFailed;

fn grant() -> Command {
    let op = Op::Grant { kind: GrantKind::Included, amount: Credits(60), expires_at_ms: None };
    Command::internal(op, "stripe", "stripe:invoice:in_1".to_owned()).with_reference("in_1")
}

fn paid(doc: &InvoiceDoc) -> Verdict {
    decide(&facts(PAID, &doc.render(Version::Basil), &by_id(), Plan::Trial))
}

#[test]
fn a_paid_period_of_pro_brings_sixty_credits_and_the_plan() {
    let verdict = paid(&InvoiceDoc::default());
    assert_eq!(verdict.outcome, Outcome::Done);
    assert_eq!(verdict.ledger, Some((customer(Plan::Trial).id, grant())));
    assert_eq!(plan_set(&verdict), Some(Plan::Pro));
    assert_eq!(put(&verdict), Some(&row("active")), "a subscription not yet heard of is written from its invoice");
}

#[test]
fn every_version_of_one_paid_invoice_gives_the_same_verdict_whatever_marks_it_as_pro() {
    let tagged =
        InvoiceDoc { lookup_key: None, subscription_metadata: json!({"plan": "pro"}), ..InvoiceDoc::default() };
    let by_key = ProPrice::default();
    let cases: [(InvoiceDoc, ProPrice, Option<Subscription>); 4] = [
        (InvoiceDoc { lookup_key: None, ..InvoiceDoc::default() }, by_id(), None),
        (tagged, by_key.clone(), None),
        (InvoiceDoc::default(), by_key.clone(), Some(row("active"))),
        (
            InvoiceDoc { billing_reason: "subscription_create", ..InvoiceDoc::default() },
            by_id(),
            Some(row("incomplete")),
        ),
    ];
    for (doc, pro, stored) in cases {
        let mut verdicts = Vec::new();
        for (version, kind) in Version::ALL
            .into_iter()
            .flat_map(|version| [(version, PAID), (version, EventKind::InvoicePaymentSucceeded)])
        {
            let object = doc.render(version);
            let known = facts(kind, &object, &pro, Plan::PayAsYouGo);
            let known = stored.iter().fold(known, knowing);
            let verdict = decide(&known);
            assert_eq!(verdict.ledger.as_ref().map(|(_, command)| command), Some(&grant()), "{version:?} {doc:?}");
            verdicts.push(text(&verdict));
        }
        verdicts.dedup();
        assert_eq!(verdicts.len(), 1, "{verdicts:#?}");
    }
}

#[test]
fn every_version_of_one_failed_invoice_gives_the_same_verdict() {
    let doc = InvoiceDoc { amount_paid: 0, is_paid: false, ..InvoiceDoc::default() };
    let pro = by_id();
    for stored in [None, Some(row("active"))] {
        let mut verdicts: Vec<String> = Version::ALL
            .into_iter()
            .map(|version| {
                let object = doc.render(version);
                let known = facts(FAILED, &object, &pro, Plan::Pro);
                let verdict = decide(&stored.iter().fold(known, knowing));
                assert_eq!(put(&verdict).map(|row| row.status.as_str()), Some("past_due"), "{version:?}");
                text(&verdict)
            })
            .collect();
        verdicts.dedup();
        assert_eq!(verdicts.len(), 1, "{verdicts:#?}");
    }
}

#[test]
fn proration_manual_free_and_unpaid_invoices_grant_nothing() {
    let docs = [
        InvoiceDoc { is_proration: true, ..InvoiceDoc::default() },
        InvoiceDoc { amount_paid: 0, ..InvoiceDoc::default() },
        InvoiceDoc { amount_paid: -1, ..InvoiceDoc::default() },
        InvoiceDoc { is_paid: false, ..InvoiceDoc::default() },
        InvoiceDoc { billing_reason: "manual", ..InvoiceDoc::default() },
        InvoiceDoc { billing_reason: "subscription_update", ..InvoiceDoc::default() },
        InvoiceDoc { billing_reason: "subscription_threshold", ..InvoiceDoc::default() },
        InvoiceDoc { billing_reason: "quote_accept", ..InvoiceDoc::default() },
        InvoiceDoc { billing_reason: "something_new", ..InvoiceDoc::default() },
    ];
    let pro = by_id();
    for doc in docs {
        for version in Version::ALL {
            let object = doc.render(version);
            assert!(changes_nothing(&decide(&facts(PAID, &object, &pro, Plan::Trial))), "{version:?} {doc:?}");
            let known = knowing(facts(PAID, &object, &pro, Plan::Pro), &row("active"));
            assert!(changes_nothing(&decide(&known)), "{version:?} {doc:?}");
        }
    }
}

#[test]
fn a_renewal_that_also_settles_a_proration_grants_once() {
    let mut object = InvoiceDoc::default().render(Version::Basil);
    let proration = InvoiceDoc { is_proration: true, ..InvoiceDoc::default() }.render(Version::Basil);
    let line = proration["lines"]["data"][0].clone();
    object["lines"]["data"].as_array_mut().expect("lines").insert(0, line);
    assert_eq!(decide(&facts(PAID, &object, &by_id(), Plan::Pro)).ledger.map(|(_, command)| command), Some(grant()));
}

#[test]
fn another_product_is_done_whether_or_not_its_customer_is_known() {
    let doc = InvoiceDoc { lookup_key: Some("basic_monthly"), ..InvoiceDoc::default() };
    let object = doc.render(Version::Clover);
    let pro = ProPrice { price_id: Some("price_other".to_owned()), ..ProPrice::default() };
    assert!(changes_nothing(&decide(&facts(PAID, &object, &pro, Plan::Trial))));
    assert!(changes_nothing(&decide(&Facts { customer: None, ..facts(PAID, &object, &pro, Plan::Trial) })));
    assert!(changes_nothing(&decide(&facts(FAILED, &object, &pro, Plan::Trial))));
}

#[test]
fn what_does_not_tell_enough_is_dead_and_says_what_is_missing() {
    let pro = by_id();
    for (field, named) in
        [("billing_reason", "billing_reason"), ("status", "status"), ("amount_paid", "amount_paid"), ("id", "id")]
    {
        let mut object = InvoiceDoc::default().render(Version::Basil);
        object.as_object_mut().expect("an object").remove(field);
        let verdict = decide(&facts(PAID, &object, &pro, Plan::Trial));
        assert!(dead_reason(&verdict).ends_with(&format!("no readable {named}")), "{verdict:?}");
    }
    let mut object = InvoiceDoc::default().render(Version::Basil);
    object["lines"] = Value::Null;
    let verdict = decide(&facts(PAID, &object, &pro, Plan::Trial));
    assert!(dead_reason(&verdict).contains("price, and its subscription is not known here"), "{verdict:?}");
}

#[test]
fn a_price_named_by_an_unknown_id_only_is_decided_by_the_subscription_or_dead() {
    let object = InvoiceDoc::default().render(Version::Basil);
    let by_key = ProPrice::default();
    let verdict = decide(&facts(PAID, &object, &by_key, Plan::Trial));
    let reason = dead_reason(&verdict);
    assert!(reason.starts_with("pro_undecidable: ") && reason.contains(PRICE), "{reason}");
    assert!(dead_reason(&decide(&facts(FAILED, &object, &by_key, Plan::Trial))).starts_with("pro_undecidable: "));

    let known = knowing(facts(PAID, &object, &by_key, Plan::Pro), &row("active"));
    assert_eq!(decide(&known).ledger.map(|(_, command)| command), Some(grant()));
    let other = Subscription { is_pro: false, ..row("active") };
    assert!(changes_nothing(&decide(&knowing(facts(PAID, &object, &by_key, Plan::Trial), &other))));
}

#[test]
fn a_payment_ends_being_late() {
    let object = InvoiceDoc::default().render(Version::Basil);
    let pro = by_id();
    for status in ["past_due", "unpaid", "incomplete", "trialing"] {
        let late = Subscription {
            past_due_since_ms: Some(5),
            past_due_reason: Some("declined".to_owned()),
            cancel_at_period_end: true,
            ..row(status)
        };
        let verdict = decide(&knowing(facts(PAID, &object, &pro, Plan::PayAsYouGo), &late));
        let expected = Subscription { cancel_at_period_end: true, ..row("active") };
        assert_eq!(put(&verdict), Some(&expected), "{status}");
        assert_eq!(plan_set(&verdict), Some(Plan::Pro), "{status}");
    }
}

#[test]
fn a_payment_of_an_earlier_period_brings_its_credits_and_nothing_else() {
    let object = InvoiceDoc { period_end_s: PERIOD_START_S, ..InvoiceDoc::default() }.render(Version::Basil);
    let pro = by_id();
    let late = Subscription { past_due_since_ms: Some(5), ..row("unpaid") };
    let verdict = decide(&knowing(facts(PAID, &object, &pro, Plan::PayAsYouGo), &late));
    assert!(verdict.ledger.is_some());
    assert!(verdict.effects.is_empty(), "{verdict:?}");
}

#[test]
fn a_payment_of_a_later_period_moves_the_period_on() {
    let object = InvoiceDoc { period_end_s: PERIOD_END_S + 60, ..InvoiceDoc::default() }.render(Version::Basil);
    let pro = by_id();
    let basic = Subscription { is_pro: false, ..row("active") };
    let verdict = decide(&knowing(facts(PAID, &object, &pro, Plan::Trial), &basic));
    let expected = Subscription { current_period_end_ms: Some((PERIOD_END_S + 60) * 1_000), ..row("active") };
    assert_eq!(put(&verdict), Some(&expected));
}

#[test]
fn a_payment_for_an_ended_subscription_brings_credits_but_not_pro() {
    let object = InvoiceDoc::default().render(Version::Basil);
    let pro = by_id();
    for status in ["canceled", "unpaid"] {
        let ended = Subscription { ended_at_ms: Some(1), ..row(status) };
        for (plan, expected) in [(Plan::PayAsYouGo, None), (Plan::Trial, Some(Plan::PayAsYouGo))] {
            let verdict = decide(&knowing(facts(PAID, &object, &pro, plan), &ended));
            assert!(verdict.ledger.is_some());
            assert_eq!((plan_set(&verdict), put(&verdict)), (expected, None), "{status} {plan:?}");
        }
    }
}

#[test]
fn a_payment_does_not_undo_a_change_to_another_price_in_its_period() {
    let object = InvoiceDoc::default().render(Version::Basil);
    let pro = by_id();
    let basic = Subscription { is_pro: false, ..row("active") };
    let verdict = decide(&knowing(facts(PAID, &object, &pro, Plan::PayAsYouGo), &basic));
    assert!(verdict.ledger.is_some() && verdict.effects.is_empty(), "{verdict:?}");
}

#[test]
fn a_payment_does_not_resume_a_paused_subscription() {
    let object = InvoiceDoc::default().render(Version::Basil);
    let pro = by_id();
    let verdict = decide(&knowing(facts(PAID, &object, &pro, Plan::PayAsYouGo), &row("paused")));
    assert!(verdict.ledger.is_some() && verdict.effects.is_empty(), "{verdict:?}");
}

#[test]
fn an_invoice_that_names_no_subscription_brings_pro_unless_one_has_ended() {
    let mut object = InvoiceDoc::default().render(Version::Basil);
    object["parent"] = Value::Null;
    object["lines"]["data"][0]["parent"] = Value::Null;
    let pro = by_id();
    let verdict = decide(&facts(PAID, &object, &pro, Plan::Trial));
    assert_eq!((plan_set(&verdict), put(&verdict)), (Some(Plan::Pro), None));
    let ended = Subscription { ended_at_ms: Some(1), ..row("canceled") };
    let other = Subscription { is_pro: false, ..ended.clone() };
    for (ended, expected) in [(ended, None), (other, Some(Plan::Pro))] {
        let after = Facts { subscriptions_of_customer: vec![ended], ..facts(PAID, &object, &pro, Plan::PayAsYouGo) };
        let verdict = decide(&after);
        assert!(verdict.ledger.is_some());
        assert_eq!((plan_set(&verdict), put(&verdict)), (expected, None));
    }
}

#[test]
fn without_credits_in_the_configuration_none_are_granted() {
    let object = InvoiceDoc::default().render(Version::Basil);
    let pro = by_id();
    let verdict = decide(&Facts { pro_credits: Credits(0), ..facts(PAID, &object, &pro, Plan::Trial) });
    assert!(verdict.ledger.is_none());
    assert_eq!(plan_set(&verdict), Some(Plan::Pro));
}

#[test]
fn a_failed_renewal_is_noted_with_its_first_time_and_latest_reason_and_takes_nothing() {
    let mut object = InvoiceDoc { amount_paid: 0, is_paid: false, ..InvoiceDoc::default() }.render(Version::V20240620);
    object["payment_intent"] = json!({"id": "pi_1", "last_payment_error": {"decline_code": "insufficient_funds"}});
    let pro = by_id();
    let verdict = decide(&knowing(facts(FAILED, &object, &pro, Plan::Pro), &row("active")));
    let noted = put(&verdict).expect("a row").clone();
    assert_eq!((noted.status.as_str(), noted.past_due_since_ms), ("past_due", Some(NOW_MS)));
    assert_eq!(noted.past_due_reason.as_deref(), Some("insufficient_funds; attempt 1"));
    assert!(noted.gives_pro() && verdict.ledger.is_none() && plan_set(&verdict).is_none());

    object["attempt_count"] = json!(2);
    let again = knowing(facts(FAILED, &object, &pro, Plan::Pro), &noted);
    let verdict = decide(&Facts { now_ms: NOW_MS + 1_000, ..again });
    let noted = put(&verdict).expect("a row");
    assert_eq!(noted.past_due_since_ms, Some(NOW_MS));
    assert_eq!(noted.past_due_reason.as_deref(), Some("insufficient_funds; attempt 2"));
}

#[test]
fn a_first_payment_that_fails_is_incomplete_and_not_pro() {
    let doc =
        InvoiceDoc { billing_reason: "subscription_create", amount_paid: 0, is_paid: false, ..InvoiceDoc::default() };
    let object = doc.render(Version::Basil);
    let pro = by_id();
    let verdict = decide(&facts(FAILED, &object, &pro, Plan::Trial));
    let noted = put(&verdict).expect("a row");
    assert_eq!((noted.status.as_str(), noted.gives_pro(), plan_set(&verdict)), ("incomplete", false, None));
    let verdict = decide(&knowing(facts(FAILED, &object, &pro, Plan::Trial), &row("incomplete")));
    assert_eq!(put(&verdict).map(|row| row.status.as_str()), Some("incomplete"));
    let verdict = decide(&knowing(facts(FAILED, &object, &pro, Plan::Pro), &row("active")));
    assert!(changes_nothing(&verdict), "the first payment was made since: {verdict:?}");
}

#[test]
fn a_failure_that_is_old_news_changes_nothing() {
    let old = InvoiceDoc { period_end_s: PERIOD_START_S, ..InvoiceDoc::default() }.render(Version::Basil);
    let current = InvoiceDoc::default().render(Version::Basil);
    let manual = InvoiceDoc { billing_reason: "manual", ..InvoiceDoc::default() }.render(Version::Basil);
    let ended = Subscription { ended_at_ms: Some(1), ..row("canceled") };
    let pro = by_id();
    for (object, stored) in [(&old, row("active")), (&current, ended), (&manual, row("active"))] {
        assert!(changes_nothing(&decide(&knowing(facts(FAILED, object, &pro, Plan::Pro), &stored))), "{object}");
    }
}

#[test]
fn a_failure_while_unpaid_or_paused_keeps_the_status() {
    let object = InvoiceDoc::default().render(Version::Basil);
    let pro = by_id();
    for status in ["unpaid", "paused"] {
        let verdict = decide(&knowing(facts(FAILED, &object, &pro, Plan::PayAsYouGo), &row(status)));
        assert_eq!(put(&verdict).map(|row| row.status.as_str()), Some(status));
    }
}
