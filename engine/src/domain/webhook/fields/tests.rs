use super::*;
use crate::domain::webhook::fixtures::*;
use serde_json::json;

#[test]
fn a_customer_is_found_as_itself_as_text_expanded_or_inside() {
    let objects = [
        json!({"object": "customer", "id": "cus_1"}),
        json!({"object": "invoice", "id": "in_1", "customer": "cus_1"}),
        json!({"object": "charge", "id": "ch_1", "customer": {"id": "cus_1", "object": "customer"}}),
        json!({"object": "customer", "id": "cus_1", "deleted": true}),
        json!({"object": "dispute", "charge": {"id": "ch_1", "customer": "cus_1"}}),
    ];
    for object in objects {
        assert_eq!(stripe_customer_id(&object).as_deref(), Some("cus_1"), "{object}");
    }
    assert_eq!(stripe_customer_id(&json!({"id": "prod_1", "customer": null})), None);
}

#[test]
fn an_identifier_that_is_too_long_or_has_control_characters_is_none() {
    assert_eq!(id(&json!("x".repeat(ID_LEN_MAX))).map(|text| text.len()), Some(ID_LEN_MAX));
    assert_eq!(id(&json!("x".repeat(ID_LEN_MAX + 1))), None);
    assert_eq!(id(&json!("cus_\u{0}1")), None);
    assert_eq!(id(&json!("")), None);
    assert_eq!(id(&json!(7)), None);
}

#[test]
fn metadata_names_a_customer_only_by_an_identifier_of_ours() {
    let ours = CustomerId::new();
    let of = |text: &str| Metadata::from([(CUSTOMER_METADATA_KEY.to_owned(), text.to_owned())]);
    assert_eq!(bursar_customer_id(&of(ours.as_str())).as_deref(), Some(ours.as_str()));
    assert_eq!(bursar_customer_id(&of("cst_'; DROP TABLE customers")), None);
    assert_eq!(bursar_customer_id(&Metadata::new()), None);
}

#[test]
fn every_version_of_one_invoice_reads_the_same() {
    let doc = InvoiceDoc { subscription_metadata: json!({"plan": "pro"}), ..InvoiceDoc::default() };
    for version in Version::ALL {
        let invoice = InvoiceFields::read(&doc.render(version));
        assert_eq!(invoice.id.as_deref(), Some("in_1"), "{version:?}");
        assert_eq!(invoice.stripe_customer_id.as_deref(), Some(CUS), "{version:?}");
        assert_eq!(invoice.subscription_id.as_deref(), Some(SUB), "{version:?}");
        assert_eq!(invoice.billing_reason.as_deref(), Some("subscription_cycle"), "{version:?}");
        assert_eq!((invoice.amount_paid, invoice.is_paid), (Some(MoneyMinor(59_900)), Some(true)), "{version:?}");
        assert_eq!(invoice.currency.as_deref(), Some("usd"), "{version:?}");
        assert_eq!(invoice.metadata.get("plan").map(String::as_str), Some("pro"), "{version:?}");
        assert_eq!(invoice.payment_intent_ids, ["pi_1"], "{version:?}");
        assert_eq!(invoice.charge_ids, ["ch_1"], "{version:?}");
        assert_eq!(invoice.price_ids(), [PRICE], "{version:?}");
        assert_eq!(invoice.lines[0].price.product_id.as_deref(), Some("prod_1"), "{version:?}");
        assert_eq!(invoice.billed_until_ms(&by_id()), Some(PERIOD_END_S * 1_000), "{version:?}");
        assert_eq!(invoice.is_pro(&ProPrice::default()), IsPro::Yes, "{version:?}");
    }
}

#[test]
fn every_version_of_one_subscription_reads_the_same() {
    let doc = SubscriptionDoc { ends_with_period: true, ..SubscriptionDoc::default() };
    for version in Version::ALL {
        let said = SubscriptionFields::read(&doc.render(version));
        assert_eq!(said.id.as_deref(), Some(SUB), "{version:?}");
        assert_eq!(said.stripe_customer_id.as_deref(), Some(CUS), "{version:?}");
        assert_eq!(said.status.as_deref(), Some("active"), "{version:?}");
        assert_eq!(said.latest_invoice_id.as_deref(), Some("in_1"), "{version:?}");
        assert_eq!(said.period_end_ms(&ProPrice::default()), Some(PERIOD_END_S * 1_000), "{version:?}");
        assert!(said.ends_with_period(&ProPrice::default()), "{version:?}");
        assert_eq!(said.is_pro(&ProPrice::default()), IsPro::Yes, "{version:?}");
    }
}

#[test]
fn the_subscription_of_an_invoice_is_found_in_every_place() {
    let places = [
        json!({"subscription": SUB}),
        json!({"subscription": {"id": SUB, "object": "subscription"}}),
        json!({"subscription": null, "subscription_details": {"subscription": SUB}}),
        json!({"parent": {"subscription_details": {"subscription": SUB}}}),
        json!({"parent": {"subscription_details": {"subscription": {"id": SUB}}}}),
        json!({"subscription": null, "lines": {"data": [{}, {"subscription": SUB}]}}),
        json!({"lines": {"data": [{"parent": {"subscription_item_details": {"subscription": SUB}}}]}}),
        json!({"lines": {"data": [{"parent": {"invoice_item_details": {"subscription": SUB}}}]}}),
    ];
    for place in places {
        assert_eq!(InvoiceFields::read(&place).subscription_id.as_deref(), Some(SUB), "{place}");
    }
}

#[test]
fn metadata_of_an_invoice_is_found_in_every_place_and_its_own_wins() {
    let places = [
        json!({"metadata": {"k": "v"}}),
        json!({"subscription_details": {"metadata": {"k": "v"}}}),
        json!({"parent": {"subscription_details": {"metadata": {"k": "v"}}}}),
        json!({"subscription": {"id": SUB, "metadata": {"k": "v"}}}),
        json!({"lines": {"data": [{"metadata": {"k": "v"}}]}}),
        json!({"metadata": {"k": "v"}, "parent": {"subscription_details": {"metadata": {"k": "w"}}}}),
    ];
    for place in places {
        assert_eq!(InvoiceFields::read(&place).metadata.get("k").map(String::as_str), Some("v"), "{place}");
    }
}

#[test]
fn an_invoice_is_paid_by_its_status_and_only_without_one_by_the_old_flag() {
    let is_paid = |object: Value| InvoiceFields::read(&object).is_paid;
    assert_eq!(is_paid(json!({"status": "paid"})), Some(true));
    assert_eq!(is_paid(json!({"status": "open", "paid": true})), Some(false));
    assert_eq!(is_paid(json!({"paid": true})), Some(true));
    assert_eq!(is_paid(json!({})), None);
}

#[test]
fn a_proration_is_recognised_in_every_place() {
    for flagged in [
        json!({"proration": true}),
        json!({"parent": {"subscription_item_details": {"proration": true}}}),
        json!({"parent": {"invoice_item_details": {"proration": true}}}),
    ] {
        let mut line = flagged.clone();
        line["price"] = json!(PRICE);
        let invoice = InvoiceFields::read(&json!({"lines": {"data": [line]}}));
        assert!(invoice.lines[0].is_proration, "{flagged}");
        assert_eq!(invoice.is_pro(&by_id()), IsPro::No, "{flagged}");
    }
}

#[test]
fn only_a_line_that_bills_a_period_with_money_makes_an_invoice_pros() {
    let with = |extra: Value| {
        let mut line = json!({"price": PRICE, "amount": 59_900});
        for (key, value) in extra.as_object().expect("an object") {
            line[key.as_str()] = value.clone();
        }
        InvoiceFields::read(&json!({"metadata": {"plan": "pro"}, "lines": {"data": [line]}})).is_pro(&by_id())
    };
    assert_eq!(with(json!({})), IsPro::Yes);
    assert_eq!(with(json!({"amount": 0})), IsPro::No, "a trial");
    assert_eq!(with(json!({"amount": -5})), IsPro::No, "a credit");
    assert_eq!(with(json!({"type": "invoiceitem"})), IsPro::No, "an item on its own");
    assert_eq!(with(json!({"parent": {"type": "invoice_item_details"}})), IsPro::No, "an item on its own");
}

#[test]
fn lines_that_the_event_does_not_carry_leave_it_unknown() {
    let other = json!({"price": {"id": "price_9", "object": "price", "lookup_key": null}});
    let read = |lines: Value| InvoiceFields::read(&json!({"lines": lines})).is_pro(&by_id());
    assert_eq!(read(json!({"data": [other], "has_more": false})), IsPro::No);
    assert_eq!(read(json!({"data": [other], "has_more": true})), IsPro::Unknown);
    assert_eq!(read(json!({"data": []})), IsPro::Unknown);
    assert_eq!(read(json!(null)), IsPro::Unknown);
}

#[test]
fn the_reason_of_a_failure_is_found_in_every_place() {
    let error = json!({"message": "Your card was declined.", "code": "card_declined", "decline_code": "do_not_honor"});
    let intent = json!({"id": "pi_1", "last_payment_error": error});
    let told = "Your card was declined. (do_not_honor)";
    let places = [
        (json!({"payment_intent": intent}), told),
        (json!({"payments": {"data": [{"payment": {"payment_intent": intent}}]}}), told),
        (json!({"charge": {"failure_message": "Your card was declined.", "failure_code": "do_not_honor"}}), told),
        (json!({"last_finalization_error": {"message": "No tax location."}}), "No tax location."),
        (json!({"last_finalization_error": {"code": "tax_location"}}), "tax_location"),
    ];
    for (place, told) in places {
        assert_eq!(InvoiceFields::read(&place).failure.as_deref(), Some(told), "{place}");
    }
    let long = json!({"last_finalization_error": {"message": "x\u{0}".repeat(9_000)}});
    assert_eq!(InvoiceFields::read(&long).failure.map(|text| text.len()), Some(500));
}

#[test]
fn a_failure_in_words_says_which_attempt_it_was_and_what_comes_next() {
    let object = json!({"payment_intent": "pi_1", "attempt_count": 2, "next_payment_attempt": 1_750_000_000});
    let words = InvoiceFields::read(&object).failure_in_words();
    assert_eq!(words, "the payment failed; attempt 2; Stripe tries again at 2025-06-15T15:06:40.000Z");
}

#[test]
fn the_period_of_a_subscription_with_items_of_several_intervals_is_that_of_pro() {
    let object = json!({"items": {"data": [
        {"price": {"id": "price_yearly", "object": "price"}, "current_period_end": 900},
        {"price": {"id": PRICE, "object": "price"}, "current_period_end": 100},
    ]}});
    assert_eq!(SubscriptionFields::read(&object).period_end_ms(&by_id()), Some(100_000));
}

#[test]
fn an_end_scheduled_beyond_the_period_is_not_one_with_the_period() {
    let with = |cancel_at: i64| {
        let object = json!({"cancel_at_period_end": false, "cancel_at": cancel_at, "current_period_end": 100});
        SubscriptionFields::read(&object).ends_with_period(&by_id())
    };
    assert!(with(100));
    assert!(!with(101));
}

#[test]
fn a_subscription_that_only_has_the_old_plan_at_its_top_is_read() {
    let object = json!({"plan": {"id": PRICE, "object": "plan"}, "current_period_end": 100});
    assert_eq!(SubscriptionFields::read(&object).is_pro(&by_id()), IsPro::Yes);
}

#[test]
fn an_item_may_say_by_itself_that_it_is_pro() {
    let object = json!({"items": {"data": [
        {"price": {"id": "price_other", "lookup_key": "other", "object": "price"}, "metadata": {"plan": "pro"}},
    ]}});
    assert_eq!(SubscriptionFields::read(&object).is_pro(&by_id()), IsPro::Yes);
}
