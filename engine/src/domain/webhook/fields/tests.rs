use super::*;
use crate::domain::sale::Sold;
use crate::domain::sale::line::{Sales, sales};
use crate::domain::webhook::fixtures::*;
use serde_json::json;

/// Whether it sells Pro by a book.
fn is_pro(sold: &Sold) -> bool {
    matches!(sold, Sold::Ours(price) if price.key.as_str() == "pro_monthly")
}

/// The number of periods of ours that an invoice with these lines sells, by the book [`by_id`].
fn sold(lines: Value) -> Option<usize> {
    match sales(&InvoiceFields::read(&json!({"metadata": {"plan": "pro"}, "lines": lines})), &by_id()) {
        Sales::Known(sold) => Some(sold.len()),
        Sales::Incomplete(_) | Sales::Undecided(_) => None,
    }
}

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
        assert_eq!((invoice.total, invoice.is_paid), (Some(MoneyMinor(59_900)), Some(true)), "{version:?}");
        assert_eq!(invoice.amount_paid, Some(MoneyMinor(59_900)), "{version:?}");
        assert_eq!(invoice.currency.as_deref(), Some("usd"), "{version:?}");
        assert_eq!(invoice.metadata.get("plan").map(String::as_str), Some("pro"), "{version:?}");
        assert_eq!(invoice.payment_intent_ids, ["pi_1"], "{version:?}");
        assert_eq!(invoice.charge_ids, ["ch_1"], "{version:?}");
        assert_eq!(invoice.price_ids(), [PRICE], "{version:?}");
        let line = &invoice.lines[0];
        assert_eq!(line.price.product_id.as_deref(), Some("prod_1"), "{version:?}");
        assert_eq!(line.period_start_ms, Some(PERIOD_START_S * 1_000), "{version:?}");
        assert_eq!(line.period_end_ms, Some(PERIOD_END_S * 1_000), "{version:?}");
        assert_eq!((line.quantity, line.currency.as_deref()), (Some(1), Some("usd")), "{version:?}");
        assert!(line.bills_period() && invoice.has_all_lines(), "{version:?}");
        assert!(is_pro(&by_key().line(line, &invoice.lines, &invoice.subscription_metadata)), "{version:?}");
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
        let item = &said.items[0];
        assert_eq!((item.quantity, item.price.every.as_deref()), (Some(1), Some("month")), "{version:?}");
        assert_eq!(said.period_end_ms(Some(item)), Some(PERIOD_END_S * 1_000), "{version:?}");
        assert!(said.ends_with_period(Some(item)) && said.has_all_items(), "{version:?}");
        assert!(is_pro(&by_key().item(item, &said.items, &said.metadata)), "{version:?}");
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
fn what_a_credit_note_forgave_before_the_payment_is_no_part_of_the_total() {
    let total = |forgiven: Value| {
        InvoiceFields::read(&json!({"total": 59_900, "pre_payment_credit_notes_amount": forgiven})).total
    };
    assert_eq!(total(json!(59_900)), Some(MoneyMinor::ZERO));
    assert_eq!(total(json!(50_000)), Some(MoneyMinor(9_900)));
    assert_eq!(total(Value::Null), Some(MoneyMinor(59_900)));
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
fn an_invoices_total_counts_and_only_without_one_what_is_due_or_paid() {
    let total = |object: Value| InvoiceFields::read(&object).total.map(|total| total.0);
    assert_eq!(total(json!({"total": 59_900, "amount_due": 0, "amount_paid": 0})), Some(59_900), "paid by balance");
    assert_eq!(total(json!({"total": 0, "amount_due": 5, "amount_paid": 5})), Some(0));
    let reduced = json!({"total": 500, "pre_payment_credit_notes_amount": 200, "amount_due": 300});
    assert_eq!(total(reduced), Some(300), "a credit note reduced it while it was open");
    assert_eq!(total(json!({"amount_due": 7, "amount_paid": 5})), Some(7));
    assert_eq!(total(json!({"amount_paid": 5})), Some(5));
    assert_eq!(total(json!({"total": "5"})), None);
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
        assert!(invoice.lines[0].is_proration && !invoice.lines[0].bills_period(), "{flagged}");
        assert_eq!(sold(json!({"data": [line]})), Some(0), "{flagged}");
    }
}

#[test]
fn only_a_line_that_bills_a_period_with_money_sells_one() {
    let with = |extra: Value| {
        let mut line = json!({"price": PRICE, "amount": 59_900});
        for (key, value) in extra.as_object().expect("an object") {
            line[key.as_str()] = value.clone();
        }
        sold(json!({"data": [line]}))
    };
    assert_eq!(with(json!({})), Some(1));
    assert_eq!(with(json!({"amount": 0})), Some(0), "a trial");
    assert_eq!(with(json!({"amount": -5})), Some(0), "a credit");
    assert_eq!(with(json!({"type": "invoiceitem"})), Some(0), "an item on its own");
    assert_eq!(with(json!({"parent": {"type": "invoice_item_details"}})), Some(0), "an item on its own");
    assert_eq!(with(json!({"discount_amounts": [{"amount": 59_900}]})), Some(0), "a discount of everything");
    assert_eq!(with(json!({"discount_amounts": [{"amount": 900}, {"amount": 9_000}]})), Some(1));
}

#[test]
fn what_one_of_a_lines_price_costs_is_its_amount_by_its_quantity() {
    let unit = |line: Value| {
        let invoice = InvoiceFields::read(&json!({"lines": {"data": [line]}}));
        invoice.lines[0].unit_amount().map(|amount| amount.0)
    };
    assert_eq!(unit(json!({"amount": 59_700, "quantity": 3})), Some(19_900));
    assert_eq!(unit(json!({"amount": 59_900})), Some(59_900));
    for odd in [json!({"amount": 10, "quantity": 3}), json!({"amount": 10, "quantity": 0}), json!({"quantity": 1})] {
        assert_eq!(unit(odd.clone()), None, "{odd}");
    }
}

#[test]
fn lines_that_the_event_does_not_carry_leave_it_unknown() {
    let other = json!({"price": {"id": "price_9", "object": "price", "lookup_key": null}});
    assert_eq!(sold(json!({"data": [other], "has_more": false})), Some(0));
    assert_eq!(sold(json!({"data": [other], "has_more": true})), None);
    assert_eq!(sold(json!({"data": []})), None);
    assert_eq!(sold(json!(null)), None);
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
        assert_eq!(InvoiceFields::read(&place).failure.expect("a reason").words, told, "{place}");
    }
    let long = json!({"last_finalization_error": {"message": "x\u{0}".repeat(9_000)}});
    assert_eq!(InvoiceFields::read(&long).failure.map(|failure| failure.words.len()), Some(500));
}

#[test]
fn the_code_of_a_failure_is_kept_beside_the_reason_of_the_issuer() {
    let codes = |object: Value| {
        let failure = InvoiceFields::read(&object).failure.expect("a reason");
        (failure.code, failure.decline_code)
    };
    let text = |text: &str| Some(text.to_owned());
    let error = json!({"message": "Declined.", "code": "card_declined", "decline_code": "insufficient_funds"});
    let intent = json!({"id": "pi_1", "last_payment_error": error});
    let expected = (text("card_declined"), text("insufficient_funds"));
    assert_eq!(codes(json!({"payment_intent": intent})), expected);
    assert_eq!(codes(json!({"payments": {"data": [{"payment": {"payment_intent": intent}}]}})), expected);
    let charge = json!({"failure_message": "Declined.", "failure_code": "expired_card"});
    assert_eq!(codes(json!({"charge": charge})), (text("expired_card"), None));
    let finalization = json!({"last_finalization_error": {"message": "No tax location.", "code": "tax_location"}});
    assert_eq!(codes(finalization), (text("tax_location"), None));
    assert_eq!(codes(json!({"last_finalization_error": {"message": "No tax location."}})), (None, None));
}

#[test]
fn a_failure_in_words_says_which_attempt_it_was_and_what_comes_next() {
    let object = json!({"payment_intent": "pi_1", "attempt_count": 2, "next_payment_attempt": 1_750_000_000});
    let words = InvoiceFields::read(&object).failure_in_words();
    assert_eq!(words, "the payment failed; attempt 2; Stripe tries again at 2025-06-15T15:06:40.000Z");
    let void = json!({"status": "void", "attempt_count": 2, "next_payment_attempt": 1_750_000_000});
    let words = InvoiceFields::read(&void).failure_in_words();
    assert_eq!(words, "the payment failed; attempt 2; the invoice was voided or credited since, so nothing is due");
}

#[test]
fn an_invoice_that_was_open_for_long_is_paid_late_however_few_attempts_stripe_counts() {
    let is_late = |attempts: i64, times: Value| {
        let line = json!({"price": {"id": PRICE, "object": "price"}, "amount": 59_900, "quantity": 1,
            "type": "subscription", "proration": false, "period": {"start": 100, "end": 900}});
        let object = json!({"id": "in_1", "object": "invoice", "status": "paid", "total": 59_900,
            "attempt_count": attempts, "status_transitions": times, "lines": {"data": [line]}});
        InvoiceFields::read(&object).is_paid_late()
    };
    assert!(!is_late(1, json!({"finalized_at": 200, "paid_at": 203})));
    assert!(is_late(1, json!({"finalized_at": 200, "paid_at": 90_200})), "the customer paid it by hand");
    assert!(is_late(2, json!({"finalized_at": 200, "paid_at": 203})));
    for unknown in [json!({"finalized_at": null, "paid_at": 90_200}), json!({"finalized_at": 200}), json!(null)] {
        assert!(!is_late(1, unknown));
    }
}

#[test]
fn an_item_on_its_own_is_of_no_time_and_only_an_amount_tells_a_charge_from_a_credit() {
    let line = |amount: Option<i64>, is_proration: bool, is_invoice_item: bool| {
        let line = Line { amount: amount.map(MoneyMinor), is_proration, is_invoice_item, ..Line::default() };
        (line.charges_time(), line.credits_time(), line.prorates())
    };
    assert_eq!(line(Some(5), false, false), (true, false, false));
    assert_eq!(line(Some(5), false, true), (false, false, false));
    assert_eq!([line(Some(5), true, true), line(Some(-5), true, true)], [(true, false, true), (false, true, true)]);
    assert_eq!([line(Some(0), true, true), line(None, true, true)], [(false, false, false); 2]);
}

#[test]
fn an_invoice_that_credit_notes_annulled_before_it_was_paid_is_void() {
    let read = |total: i64, reduced: i64| {
        InvoiceFields::read(&json!({"id": "in_1", "status": "paid", "total": total,
            "pre_payment_credit_notes_amount": reduced}))
    };
    let annulled = read(1_000, 1_000);
    assert_eq!((annulled.is_paid, annulled.is_void, annulled.total), (Some(false), true, Some(MoneyMinor::ZERO)));
    for paid in [read(1_000, 400), read(0, 0)] {
        assert_eq!((paid.is_paid, paid.is_void), (Some(true), false));
    }
}

#[test]
fn the_periods_of_a_renewal_begin_an_hour_before_its_invoice_is_paid() {
    let was_draft = |status: &str, created: Value, paid_at: Value| {
        let line = json!({"amount": 59_900, "type": "subscription", "period": {"start": 200, "end": 900}});
        let object = json!({"id": "in_1", "status": status, "total": 59_900, "created": created, "attempt_count": 1,
            "status_transitions": {"finalized_at": 3_800, "paid_at": paid_at}, "lines": {"data": [line]}});
        InvoiceFields::read(&object).was_draft()
    };
    assert!(was_draft("paid", json!(200), json!(3_803)));
    assert!(!was_draft("paid", json!(3_800), json!(3_803)), "it was final at once");
    assert!(!was_draft("open", json!(200), json!(3_803)) && !was_draft("paid", json!(null), json!(3_803)));
}

#[test]
fn an_invoice_was_paid_before_if_its_payment_is_more_than_minutes_ago() {
    let paid = |times: Value| InvoiceFields::read(&json!({"id": "in_1", "status_transitions": times}));
    let said = paid(json!({"paid_at": 1_000}));
    assert!(!said.was_paid_before(1_000_000) && !said.was_paid_before(1_300_000));
    assert!(said.was_paid_before(1_300_001));
    assert!(!said.was_paid_before(900_000), "Stripe's clock may be ahead");
    assert!(!paid(json!(null)).was_paid_before(i64::MAX), "nobody knows");
}

#[test]
fn the_period_of_a_subscription_with_items_of_several_intervals_is_that_of_our_item() {
    let object = json!({"items": {"data": [
        {"price": {"id": "price_yearly", "object": "price"}, "current_period_end": 900},
        {"price": {"id": PRICE, "object": "price"}, "current_period_end": 100},
    ]}});
    let said = SubscriptionFields::read(&object);
    assert_eq!(said.period_end_ms(said.items.last()), Some(100_000));
    assert_eq!(said.period_end_ms(None), Some(900_000));
}

#[test]
fn an_end_scheduled_beyond_the_period_is_not_one_with_the_period() {
    let with = |cancel_at: i64| {
        let object = json!({"cancel_at_period_end": false, "cancel_at": cancel_at, "current_period_end": 100});
        SubscriptionFields::read(&object).ends_with_period(None)
    };
    assert!(with(100));
    assert!(!with(101));
}

#[test]
fn a_subscription_that_only_has_the_old_plan_at_its_top_is_read() {
    let object = json!({"plan": {"id": PRICE, "object": "plan"}, "quantity": 3, "current_period_end": 100});
    let said = SubscriptionFields::read(&object);
    assert!(is_pro(&by_id().item(&said.items[0], &said.items, &said.metadata)) && said.has_all_items());
    assert_eq!(said.items[0].quantity, Some(3));
}

#[test]
fn an_item_may_say_by_itself_that_it_is_pro_at_pros_amount() {
    let sold = |unit_amount: i64| {
        let price = json!({"id": "price_9", "object": "price", "lookup_key": "other", "unit_amount": unit_amount});
        let said =
            SubscriptionFields::read(&json!({"items": {"data": [{"price": price, "metadata": {"plan": "pro"}}]}}));
        by_key().item(&said.items[0], &said.items, &said.metadata)
    };
    assert!(is_pro(&sold(59_900)));
    assert_eq!(sold(500), Sold::NotOurs);
}

#[test]
fn a_time_beyond_the_year_9999_is_taken_for_its_end_so_that_more_can_be_added() {
    let created = |seconds: i64| created_ms(&json!({ "created": seconds }));
    assert_eq!(created(1_750_000_000), Some(1_750_000_000_000));
    for seconds in [253_402_300_800, 1 << 62, i64::MAX] {
        let at_ms = created(seconds).expect("a time");
        assert_eq!(crate::clock::rfc3339(at_ms), "9999-12-31T23:59:59.000Z", "{seconds}");
    }
    assert_eq!((created(-1), created(i64::MIN)), (Some(0), Some(0)));
}
