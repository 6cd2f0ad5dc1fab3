//! The calls that change what a subscription sells, at once or with the end of its period, and preview that.

use super::error::StripeError;
use super::gateway::{Answer, Gateway};
use super::requests::{LATEST_INVOICE_EXPANDED, Mark, SubscribedItem};
use crate::domain::webhook::fields::{CHANGE_METADATA_KEY, PLAN_METADATA_KEY, PRICE_METADATA_KEY};
use serde_json::{Value, json};
use stripe_client_core::{RequestBuilder, StripeMethod};

/// A change of a subscription at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemChange<'a> {
    /// The subscription.
    pub subscription_id: &'a str,
    /// Its item at Stripe that changes.
    pub item_id: &'a str,
    /// What it sells from then on.
    pub item: SubscribedItem<'a>,
    /// Whether it has that price already, so that only its quantity changes. Then the price is not named: Stripe takes
    /// no archived price by name, and the subscriber keeps one.
    pub keeps_price: bool,
    /// Whether a new period begins, which is paid at once, less what is left of the old one. In a trial none does.
    pub begins_period: bool,
}

impl ItemChange<'_> {
    /// The parameters that the change and its preview have in common.
    fn terms(&self) -> Value {
        let mut item = json!({ "id": self.item_id, "quantity": self.item.quantity.to_string() });
        if !self.keeps_price {
            item["price"] = self.item.price_id.into();
        }
        let mut terms = json!({
            "items": [item],
            "proration_behavior": if self.begins_period { "always_invoice" } else { "none" },
        });
        if self.begins_period {
            terms["billing_cycle_anchor"] = "now".into();
        }
        terms
    }
}

/// The tags of a subscription that was changed by an operation's round.
fn tags(item: &SubscribedItem<'_>, mark: Mark<'_>) -> Value {
    json!({
        CHANGE_METADATA_KEY: change_tag(mark),
        PRICE_METADATA_KEY: item.price.as_str(),
        PLAN_METADATA_KEY: item.plan.as_str(),
    })
}

/// The mark of the operation's round that changed a subscription.
fn change_tag(mark: Mark<'_>) -> String {
    format!("{}:{}", mark.operation_id, mark.round)
}

fn post(path: String, form: &Value) -> RequestBuilder {
    RequestBuilder::new(StripeMethod::Post, path).form(form)
}

impl Gateway {
    /// Changes an item of a subscription. If the payment fails, nothing is changed. Source: Stripe, "Update a
    /// subscription": `payment_behavior`. That goes for the subscription's own payment method, too, if one is named.
    pub async fn subscription_change(
        &self,
        change: &ItemChange<'_>,
        payment_method_id: Option<&str>,
        mark: Mark<'_>,
        key: &str,
    ) -> Result<Answer, StripeError> {
        let mut form = change.terms();
        form["payment_behavior"] = "error_if_incomplete".into();
        form["off_session"] = "true".into();
        form["metadata"] = tags(&change.item, mark);
        form["expand"] = json!(LATEST_INVOICE_EXPANDED);
        if let Some(id) = payment_method_id {
            form["default_payment_method"] = id.into();
        }
        let request = post(format!("/subscriptions/{}", change.subscription_id), &form);
        self.change("subscription_change", request, key).await
    }

    /// The invoice that a change would make, or, of one without a new period, the next one.
    pub async fn change_preview(
        &self,
        stripe_customer_id: &str,
        change: &ItemChange<'_>,
    ) -> Result<Value, StripeError> {
        let form = json!({
            "customer": stripe_customer_id, "subscription": change.subscription_id,
            "subscription_details": change.terms(),
        });
        Ok(self.get("invoice_preview", post("/invoices/create_preview".to_owned(), &form)).await?.body)
    }

    /// Makes the schedule of a subscription, with its present phase.
    pub async fn schedule_create(&self, subscription_id: &str, key: &str) -> Result<Value, StripeError> {
        let form = json!({ "from_subscription": subscription_id });
        Ok(self.change("schedule_create", post("/subscription_schedules".to_owned(), &form), key).await?.body)
    }

    /// Has a schedule of one phase sell another item after that phase, and then let go of the subscription.
    pub async fn schedule_add_phase(
        &self,
        schedule: &Value,
        item: &SubscribedItem<'_>,
        mark: Mark<'_>,
        key: &str,
    ) -> Result<Value, StripeError> {
        let id = schedule["id"].as_str().unwrap_or_default();
        let present = &schedule["phases"][0];
        let (quantity, tags) = (item.quantity.to_string(), tags(item, mark));
        let mut next = json!({
            "items": [{ "price": item.price_id, "quantity": quantity }], "proration_behavior": "none",
            "metadata": tags,
        });
        add_discounts(&mut next, present);
        let form = json!({
            "end_behavior": "release", "metadata": tags, "proration_behavior": "none", "phases": [repeated(present), next],
        });
        Ok(self.change("schedule_add_phase", post(format!("/subscription_schedules/{id}"), &form), key).await?.body)
    }

    /// Has a schedule let go of its subscription, which stays as it is.
    pub async fn schedule_release(&self, id: &str, key: &str) -> Result<Value, StripeError> {
        let request = RequestBuilder::new(StripeMethod::Post, format!("/subscription_schedules/{id}/release"));
        Ok(self.change("schedule_release", request, key).await?.body)
    }
}

/// A phase as a parameter: what is not repeated would end with the update.
fn repeated(phase: &Value) -> Value {
    let id_of = |place: &Value| place.as_str().or_else(|| place["id"].as_str()).map(str::to_owned);
    let items = phase["items"].as_array().into_iter().flatten();
    let items: Vec<Value> = items
        .map(|item| {
            let quantity = item["quantity"].as_i64().unwrap_or(1).to_string();
            json!({ "price": id_of(&item["price"]), "quantity": quantity })
        })
        .collect();
    let mut repeated = json!({ "items": items });
    add_discounts(&mut repeated, phase);
    for name in ["start_date", "end_date", "trial_end"] {
        if let Some(at_s) = phase[name].as_i64() {
            repeated[name] = at_s.to_string().into();
        }
    }
    repeated
}

/// Adds the discounts of a phase as parameters: the discount itself, else the coupon or the promotion code.
fn add_discounts(form: &mut Value, phase: &Value) {
    let of = |row: &Value| {
        ["discount", "coupon", "promotion_code"].into_iter().find_map(|name| {
            let id = row[name].as_str().or_else(|| row[name]["id"].as_str())?;
            Some(json!({ name: id }))
        })
    };
    let discounts: Vec<Value> = phase["discounts"].as_array().into_iter().flatten().filter_map(of).collect();
    if !discounts.is_empty() {
        form["discounts"] = discounts.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{PlanKey, PriceKey};

    #[test]
    fn a_price_that_is_kept_is_not_named() {
        let (price, plan) = (PriceKey::trusted("seats"), PlanKey::trusted("pro"));
        let item = SubscribedItem { price_id: "price_1", price: &price, plan: &plan, quantity: 4 };
        let items = |keeps_price: bool| {
            let change =
                ItemChange { subscription_id: "sub_1", item_id: "si_1", item, keeps_price, begins_period: true };
            change.terms()["items"].clone()
        };
        assert_eq!(items(true), json!([{ "id": "si_1", "quantity": "4" }]));
        assert_eq!(items(false), json!([{ "id": "si_1", "quantity": "4", "price": "price_1" }]));
    }

    #[test]
    fn the_present_phase_is_repeated_with_its_discounts_so_that_it_stays_as_it_is() {
        let phase = json!({
            "start_date": 1, "end_date": 2, "trial_end": null, "items": [{ "price": "price_1", "quantity": 3 }],
            "discounts": [{ "coupon": { "id": "half" }, "discount": null, "promotion_code": null }],
        });
        let expected = json!({
            "start_date": "1", "end_date": "2", "items": [{ "price": "price_1", "quantity": "3" }],
            "discounts": [{ "coupon": "half" }],
        });
        assert_eq!(repeated(&phase), expected);
    }
}
