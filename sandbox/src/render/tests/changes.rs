use super::samples;
use crate::render::render;
use crate::version::Version;
use serde_json::{Value, json};

fn at(mut object: Value, version: &str) -> Value {
    render(&mut object, Version::parse(version).unwrap());
    object
}

#[test]
fn an_invoice_before_basil_names_its_subscription_and_its_payment() {
    let invoice = at(samples::invoice(), "2025-02-24.acacia");
    assert_eq!(invoice["subscription"], "sub_1");
    assert_eq!(invoice["subscription_details"], json!({"metadata": {"plan": "pro"}}));
    assert_eq!((&invoice["payment_intent"], &invoice["charge"]), (&json!("pi_1"), &json!("ch_1")));
    assert_eq!((&invoice["paid"], &invoice["paid_out_of_band"]), (&json!(true), &json!(false)));
    assert_eq!((&invoice["tax"], &invoice["total_tax_amounts"]), (&Value::Null, &json!([])));
    for key in ["parent", "payments", "total_taxes", "_payment_intent"] {
        assert_eq!(invoice.get(key), None, "{key}");
    }
}

#[test]
fn an_invoice_since_basil_has_only_the_new_fields() {
    let invoice = at(samples::invoice(), "2025-03-31.basil");
    assert_eq!(invoice["parent"]["subscription_details"]["subscription"], "sub_1");
    for key in ["subscription", "subscription_details", "payment_intent", "charge", "paid", "quote", "tax", "_charge"] {
        assert_eq!(invoice.get(key), None, "{key}");
    }
}

#[test]
fn an_older_invoice_without_payments_still_names_its_payment() {
    let mut object = samples::invoice();
    object.as_object_mut().unwrap().remove("payments");
    let invoice = at(object, "2022-11-15");
    assert_eq!((&invoice["payment_intent"], &invoice["charge"]), (&json!("pi_1"), &json!("ch_1")));
}

#[test]
fn an_invoices_expanded_payment_is_rendered_in_its_older_field() {
    let mut object = samples::invoice();
    object["payments"]["data"][0]["payment"]["payment_intent"] = samples::payment_intent();
    let intent = &at(object, "2020-08-27")["payment_intent"];
    assert_eq!(intent["charges"]["data"][0]["id"], "ch_1");
    assert_eq!(intent["invoice"], "in_1");
}

#[test]
fn a_line_before_basil_has_its_whole_price_and_its_plan() {
    let line = at(samples::line(), "2024-06-20");
    assert_eq!(line["price"]["lookup_key"], "pro_monthly");
    assert_eq!((&line["plan"]["id"], &line["plan"]["amount"]), (&json!("price_1"), &json!(59_900)));
    assert_eq!((&line["type"], &line["proration"]), (&json!("subscription"), &json!(false)));
    assert_eq!((&line["subscription"], &line["subscription_item"]), (&json!("sub_1"), &json!("si_1")));
    assert_eq!(line["tax_amounts"][0]["inclusive"], true);
    for key in ["parent", "pricing", "taxes"] {
        assert_eq!(line.get(key), None, "{key}");
    }
}

#[test]
fn a_price_known_only_by_id_stays_an_id() {
    let mut object = samples::line();
    object.as_object_mut().unwrap().remove("_price");
    let line = at(object, "2024-06-20");
    assert_eq!((&line["price"], &line["plan"]), (&json!("price_1"), &Value::Null));
}

#[test]
fn a_price_expanded_in_a_line_is_an_id_until_it_could_be_expanded() {
    let mut object = samples::line();
    object.as_object_mut().unwrap().remove("_price");
    object["pricing"]["price_details"]["price"] = samples::price();
    let price_at = |version| at(object.clone(), version)["pricing"]["price_details"]["price"].clone();
    assert_eq!(price_at("2025-12-15.clover")["id"], "price_1");
    assert_eq!(price_at("2025-11-17.clover"), "price_1");
    assert_eq!(at(object.clone(), "2025-02-24.acacia")["price"]["id"], "price_1");
}

#[test]
fn basil_moves_the_period_from_subscription_to_items() {
    let old = at(samples::subscription(), "2025-02-24.acacia");
    assert_eq!(old["current_period_end"], 1_751_592_000);
    assert_eq!(old["items"]["data"][0].get("current_period_end"), None);
    assert_eq!((&old["plan"]["id"], &old["quantity"]), (&json!("price_1"), &json!(1)));
    assert_eq!(old["items"]["data"][0]["plan"]["object"], "plan");
    let new = at(samples::subscription(), "2025-03-31.basil");
    assert_eq!(new.get("current_period_end"), None);
    assert_eq!(new["items"]["data"][0]["current_period_end"], 1_751_592_000);
}

#[test]
fn payments_name_their_invoice_before_basil() {
    for object in [samples::payment_intent(), samples::charge()] {
        assert_eq!(at(object.clone(), "2025-02-24.acacia")["invoice"], "in_1");
        assert_eq!(at(object, "2025-03-31.basil").get("invoice"), None);
    }
}

#[test]
fn charges_and_refunds_are_inside_before_2022_11_15() {
    let intent = at(samples::payment_intent(), "2022-08-01");
    assert_eq!(intent.get("latest_charge"), None);
    assert_eq!(intent["charges"]["data"][0]["refunds"]["data"][0]["id"], "re_1");
    let intent = at(samples::payment_intent(), "2022-11-15");
    assert_eq!((intent.get("charges"), &intent["latest_charge"]), (None, &json!("ch_1")));
    assert_eq!(at(samples::charge(), "2022-11-15").get("refunds"), None);
}

#[test]
fn a_checkout_session_follows_its_renames() {
    let session = |version| at(samples::session(), version);
    assert_eq!(session("2026-03-25.dahlia")["ui_mode"], "hosted_page");
    assert_eq!(session("2026-02-25.clover")["ui_mode"], "hosted");
    assert_eq!(session("2025-02-24.acacia")["shipping_details"], json!({"name": "Ada"}));
    let oldest = session("2020-08-27");
    assert_eq!((&oldest["shipping"], &oldest["shipping_rate"]), (&json!({"name": "Ada"}), &json!("shr_1")));
}

#[test]
fn an_event_and_its_previous_attributes_are_rendered() {
    let previous = json!({"status": "open", "parent": samples::invoice()["parent"]});
    let event = at(samples::event("invoice.paid", samples::invoice(), previous), "2020-08-27");
    assert_eq!(event["api_version"], "2020-08-27");
    assert_eq!(event["data"]["object"]["subscription"], "sub_1");
    let previous = &event["data"]["previous_attributes"];
    assert_eq!((&previous["paid"], &previous["subscription"]), (&json!(false), &json!("sub_1")));
    assert_eq!(previous.get("payment_intent"), None, "unchanged fields are not added");
}

#[test]
fn metadata_is_never_changed() {
    let metadata = json!({"object": "invoice", "parent": "x", "_own": "y"});
    let object = json!({"id": "cus_1", "object": "customer", "metadata": metadata});
    assert_eq!(at(object, "2020-08-27")["metadata"], metadata);
}

#[test]
fn inner_lists_have_a_total_count_before_basil() {
    assert_eq!(at(samples::invoice(), "2024-06-20")["lines"]["total_count"], 1);
    assert_eq!(at(samples::invoice(), "2025-03-31.basil")["lines"].get("total_count"), None);
    let page = json!({"object": "list", "data": [], "has_more": false});
    assert_eq!(at(page.clone(), "2020-08-27"), page);
}

#[test]
fn a_credit_note_before_basil_names_one_refund() {
    let note = |refunds: Value| json!({"id": "cn_1", "object": "credit_note", "amount": 5, "refunds": refunds});
    let refunds = json!([{"refund": "re_1", "amount_refunded": 5, "type": "refund"}]);
    let old = at(note(refunds.clone()), "2025-02-24.acacia");
    assert_eq!((&old["refund"], old.get("refunds")), (&json!("re_1"), None));
    assert_eq!(at(note(json!([])), "2020-08-27")["refund"], Value::Null);
    assert_eq!(at(note(refunds), "2025-03-31.basil").get("refund"), None);
}
