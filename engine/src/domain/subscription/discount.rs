//! What discounts leave of later periods.

use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::domain::webhook::fields;
use serde_json::Value;

/// What discounts take off a line of an invoice, and so off the same line of the next one, which is made at a time
/// (`next_at_ms`): those that never end, and those that end later. Without that time, only those that never end.
/// `subscription` has its discounts expanded, with their coupons. Source: Stripe, "The Discount object": `end`.
pub fn lasting_discount(line: &Value, subscription: &Value, next_at_ms: Option<TimeMs>) -> MoneyMinor {
    let discounts = subscription["discounts"].as_array();
    let lasts = |discount: &&Value| match discount["source"]["coupon"]["duration"].as_str() {
        Some("forever") => true,
        Some("repeating") => fields::time_ms(&discount["end"]).zip(next_at_ms).is_some_and(|(end, next)| end > next),
        _ => false,
    };
    let lasting = discounts.into_iter().flatten().filter(lasts);
    let ids: Vec<String> = lasting.filter_map(|discount| fields::id(&discount["id"])).collect();
    let taken_off = line["discount_amounts"].as_array().into_iter().flatten();
    let lasting = taken_off.filter(|off| fields::id(&off["discount"]).is_some_and(|id| ids.contains(&id)));
    MoneyMinor(lasting.filter_map(|off| off["amount"].as_i64()).fold(0, i64::saturating_add))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_discounts_that_have_not_ended_by_then_are_taken_off_the_next_period() {
        let discount = |id: &str, duration: &str, end: Option<i64>| {
            let source = json!({ "coupon": { "duration": duration } });
            json!({ "id": id, "end": end, "source": source })
        };
        let discounts = [
            discount("di_1", "forever", None),
            discount("di_2", "once", None),
            discount("di_3", "repeating", Some(100)),
            discount("di_4", "repeating", None),
        ];
        let off = |id: &str, amount: i64| json!({ "amount": amount, "discount": id });
        let line = json!({
            "discount_amounts": [off("di_1", 1), off("di_2", 20), off("di_3", 300), off("di_4", 4_000), off("di_5", 5)],
        });
        let lasting =
            |next_at_ms: Option<TimeMs>| lasting_discount(&line, &json!({ "discounts": discounts }), next_at_ms).0;
        assert_eq!([lasting(Some(99_000)), lasting(Some(100_000)), lasting(None)], [301, 1, 1]);
        for nothing in [json!({ "discounts": [] }), json!({ "discounts": ["di_1"] }), Value::Null] {
            assert_eq!(lasting_discount(&line, &nothing, None), MoneyMinor::ZERO);
        }
    }
}
