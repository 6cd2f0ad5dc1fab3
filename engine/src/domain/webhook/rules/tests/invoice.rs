//! What a payment does to its subscription.

use super::*;

#[test]
fn a_payment_ends_being_late() {
    let object = InvoiceDoc::default().render(Version::Basil);
    let book = by_id();
    for status in ["past_due", "unpaid", "incomplete", "trialing"] {
        let late = Subscription {
            past_due_since_ms: Some(5),
            past_due_reason: Some("declined".to_owned()),
            cancel_at_period_end: true,
            ..row(status)
        };
        let verdict = decide(&knowing(facts(PAID, &object, &book, "pay_as_you_go"), &late));
        let expected = Subscription { cancel_at_period_end: true, ..row("active") };
        assert_eq!(put(&verdict), Some(&expected), "{status}");
        assert_eq!(plan_set(&verdict), Some("pro"), "{status}");
    }
}

#[test]
fn a_payment_of_an_earlier_period_brings_its_credits_and_nothing_else() {
    let object = InvoiceDoc { period_end_s: PERIOD_START_S, ..InvoiceDoc::default() }.render(Version::Basil);
    let book = by_id();
    let late = Subscription { past_due_since_ms: Some(5), ..row("unpaid") };
    let verdict = decide(&knowing(facts(PAID, &object, &book, "pay_as_you_go"), &late));
    assert_eq!(granted(&verdict), Some(60));
    assert!(verdict.effects.is_empty(), "{verdict:?}");
}

#[test]
fn a_payment_of_a_later_period_moves_the_period_on() {
    let mut object = InvoiceDoc { period_end_s: PERIOD_END_S + 60, ..InvoiceDoc::default() }.render(Version::Basil);
    object["lines"]["data"][0]["period"]["start"] = PERIOD_END_S.into();
    let book = by_id();
    let verdict = decide(&knowing(facts(PAID, &object, &book, "trial"), &other_row("active")));
    let expected = Subscription { current_period_end_ms: Some((PERIOD_END_S + 60) * 1_000), ..row("active") };
    assert_eq!(put(&verdict), Some(&expected));
    assert_eq!(plan_set(&verdict), Some("pro"));
}

#[test]
fn the_period_of_an_invoice_is_that_of_our_line_and_not_of_an_add_on() {
    let year_s = PERIOD_START_S + 365 * 86_400;
    let add_on = InvoiceDoc { period_end_s: year_s, ..InvoiceDoc::other() }.line(Version::Basil);
    let mut object = InvoiceDoc::default().render(Version::Basil);
    object["lines"]["data"].as_array_mut().expect("lines").push(add_on);
    let book = by_id();
    let verdict = decide(&facts(PAID, &object, &book, "trial"));
    assert_eq!(put(&verdict), Some(&row("active")));
    let verdict = decide(&knowing(facts(PAID, &object, &book, "pro"), &row("active")));
    assert_eq!((granted(&verdict), put(&verdict)), (Some(60), None));
}

#[test]
fn a_payment_for_an_ended_subscription_brings_credits_but_not_its_plan() {
    let object = InvoiceDoc::default().render(Version::Basil);
    let book = by_id();
    for status in ["canceled", "unpaid"] {
        let ended = Subscription { ended_at_ms: Some(1), ..row(status) };
        for (plan, expected) in [("pay_as_you_go", None), ("trial", Some("pay_as_you_go"))] {
            let verdict = decide(&knowing(facts(PAID, &object, &book, plan), &ended));
            assert_eq!(granted(&verdict), Some(60));
            assert_eq!((plan_set(&verdict), put(&verdict)), (expected, None), "{status} {plan:?}");
            assert_eq!(plan_left(&verdict), expected.map(|_| "pro"), "it has been a paying customer");
        }
    }
}

#[test]
fn a_payment_does_not_undo_a_change_to_another_price_in_its_period() {
    let object = InvoiceDoc::default().render(Version::Basil);
    let book = by_id();
    let verdict = decide(&knowing(facts(PAID, &object, &book, "pay_as_you_go"), &other_row("active")));
    assert_eq!(granted(&verdict), Some(60));
    assert!(verdict.effects.is_empty(), "{verdict:?}");
}

#[test]
fn a_payment_does_not_resume_a_paused_subscription() {
    let object = InvoiceDoc::default().render(Version::Basil);
    let book = by_id();
    let verdict = decide(&knowing(facts(PAID, &object, &book, "pay_as_you_go"), &row("paused")));
    assert_eq!(granted(&verdict), Some(60));
    assert!(verdict.effects.is_empty(), "{verdict:?}");
}
