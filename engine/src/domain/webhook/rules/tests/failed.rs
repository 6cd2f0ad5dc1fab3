//! Invoices whose payment failed.

use super::*;

fn failed() -> InvoiceDoc {
    InvoiceDoc { amount_paid: 0, is_paid: false, ..InvoiceDoc::default() }
}

#[test]
fn every_version_of_one_failed_invoice_gives_the_same_verdict() {
    let book = by_id();
    for stored in [None, Some(row("active"))] {
        let mut verdicts: Vec<String> = Version::ALL
            .into_iter()
            .map(|version| {
                let object = failed().render(version);
                let known = facts(FAILED, &object, &book, "pro");
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
fn a_failed_renewal_is_noted_with_its_first_time_and_latest_reason_and_takes_nothing() {
    let mut object = failed().render(Version::V20240620);
    object["payment_intent"] = json!({"id": "pi_1", "last_payment_error": {"decline_code": "insufficient_funds"}});
    let book = by_id();
    let verdict = decide(&knowing(facts(FAILED, &object, &book, "pro"), &row("active")));
    let noted = put(&verdict).expect("a row").clone();
    assert_eq!((noted.status.as_str(), noted.past_due_since_ms), ("past_due", Some(NOW_MS)));
    assert_eq!(noted.past_due_reason.as_deref(), Some("insufficient_funds; attempt 1"));
    assert_eq!(noted.gives_plan(), row("active").gives_plan());
    assert!(verdict.ledger.is_none() && plan_set(&verdict).is_none());

    object["attempt_count"] = json!(2);
    let again = knowing(facts(FAILED, &object, &book, "pro"), &noted);
    let verdict = decide(&Facts { now_ms: NOW_MS + 1_000, ..again });
    let noted = put(&verdict).expect("a row");
    assert_eq!(noted.past_due_since_ms, Some(NOW_MS));
    assert_eq!(noted.past_due_reason.as_deref(), Some("insufficient_funds; attempt 2"));
}

#[test]
fn a_first_payment_that_fails_is_incomplete_and_gives_no_plan() {
    let object = InvoiceDoc { billing_reason: "subscription_create", ..failed() }.render(Version::Basil);
    let book = by_id();
    let verdict = decide(&facts(FAILED, &object, &book, "trial"));
    let noted = put(&verdict).expect("a row");
    assert_eq!((noted.status.as_str(), noted.gives_plan(), plan_set(&verdict)), ("incomplete", None, None));
    assert_eq!((noted.plan.clone(), noted.price.clone()), (row("active").plan, row("active").price));
    let verdict = decide(&knowing(facts(FAILED, &object, &book, "trial"), &row("incomplete")));
    assert_eq!(put(&verdict).map(|row| row.status.as_str()), Some("incomplete"));
    let verdict = decide(&knowing(facts(FAILED, &object, &book, "pro"), &row("active")));
    assert!(changes_nothing(&verdict), "the first payment was made since: {verdict:?}");
}

#[test]
fn a_failure_that_is_old_news_changes_nothing() {
    let old = InvoiceDoc { period_end_s: PERIOD_START_S, ..failed() }.render(Version::Basil);
    let current = failed().render(Version::Basil);
    let ended = Subscription { ended_at_ms: Some(1), ..row("canceled") };
    let book = by_id();
    for (object, stored) in [(&old, row("active")), (&current, ended)] {
        assert!(changes_nothing(&decide(&knowing(facts(FAILED, object, &book, "pro"), &stored))), "{object}");
    }
}

#[test]
fn a_failure_while_unpaid_or_paused_keeps_the_status() {
    let object = failed().render(Version::Basil);
    let book = by_id();
    for status in ["unpaid", "paused"] {
        let verdict = decide(&knowing(facts(FAILED, &object, &book, "pay_as_you_go"), &row(status)));
        assert_eq!(put(&verdict).map(|row| row.status.as_str()), Some(status));
    }
}

#[test]
fn a_failure_of_other_business_is_done_whoever_its_customer_is() {
    let docs = [
        InvoiceDoc { amount_paid: 0, is_paid: false, ..InvoiceDoc::other() },
        InvoiceDoc { billing_reason: "manual", is_item: true, ..failed() },
    ];
    let book = by_id();
    for doc in docs {
        for version in Version::ALL {
            let object = doc.render(version);
            let known = facts(FAILED, &object, &book, "pro");
            assert!(changes_nothing(&decide(&known)), "{version:?} {doc:?}");
            assert!(changes_nothing(&decide(&knowing(known.clone(), &other_row("active")))), "{version:?} {doc:?}");
            assert!(changes_nothing(&decide(&Facts { customer: None, ..known })), "{version:?} {doc:?}");
        }
    }
}

#[test]
fn a_failure_at_an_unknown_price_is_noted_of_a_subscription_of_ours() {
    let object = failed().render(Version::Basil);
    let book = by_key();
    let verdict = decide(&knowing(facts(FAILED, &object, &book, "pro"), &row("active")));
    assert_eq!(put(&verdict).map(|row| row.status.as_str()), Some("past_due"));
    let verdict = decide(&facts(FAILED, &object, &book, "trial"));
    assert!(dead_reason(&verdict).starts_with("price_unknown: "), "a row without its plan would take it");
}

#[test]
fn a_failure_that_names_no_readable_subscription_or_price_is_dead() {
    let book = by_id();
    let mut object = failed().render(Version::Basil);
    object["lines"]["data"][0]["pricing"] = Value::Null;
    let verdict = decide(&facts(FAILED, &object, &book, "trial"));
    assert!(dead_reason(&verdict).ends_with("no readable price"), "{verdict:?}");
    let mut object = failed().render(Version::Basil);
    object["parent"] = Value::Null;
    object["lines"]["data"][0]["parent"] = Value::Null;
    let verdict = decide(&facts(FAILED, &object, &book, "trial"));
    assert!(dead_reason(&verdict).ends_with("no readable subscription"), "{verdict:?}");
}
