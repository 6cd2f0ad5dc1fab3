//! One logical invoice and one logical subscription, rendered as each API version would.

use super::fields::ProPrice;
use super::kind::EventKind;
use super::rules::Facts;
use crate::amount::Credits;
use crate::domain::customer::Customer;
use crate::domain::effect::Verdict;
use crate::domain::subscription::Subscription;
use crate::ids::CustomerId;
use crate::plan::Plan;
use serde_json::{Value, json};

pub(crate) const NOW_MS: i64 = 1_750_000_000_000;
pub(crate) const PERIOD_START_S: i64 = 1_749_000_000;
pub(crate) const PERIOD_END_S: i64 = 1_751_592_000;
pub(crate) const CUS: &str = "cus_1";
pub(crate) const SUB: &str = "sub_1";
pub(crate) const PRICE: &str = "price_pro";

/// The API versions whose shapes differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V20200827,
    V20221115,
    V20240620,
    Basil,
    /// With the price expanded.
    Clover,
}

impl Version {
    pub(crate) const ALL: [Self; 5] = [Self::V20200827, Self::V20221115, Self::V20240620, Self::Basil, Self::Clover];

    fn is_old(self) -> bool {
        !matches!(self, Self::Basil | Self::Clover)
    }
}

/// What an invoice says, independent of an API version.
#[derive(Debug, Clone)]
pub(crate) struct InvoiceDoc {
    pub id: &'static str,
    pub billing_reason: &'static str,
    pub amount_paid: i64,
    pub is_paid: bool,
    pub is_proration: bool,
    pub lookup_key: Option<&'static str>,
    pub subscription_metadata: Value,
    pub period_end_s: i64,
}

impl Default for InvoiceDoc {
    fn default() -> Self {
        Self {
            id: "in_1",
            billing_reason: "subscription_cycle",
            amount_paid: 59_900,
            is_paid: true,
            is_proration: false,
            lookup_key: Some("pro_monthly"),
            subscription_metadata: json!({}),
            period_end_s: PERIOD_END_S,
        }
    }
}

impl InvoiceDoc {
    pub(crate) fn render(&self, version: Version) -> Value {
        let mut invoice = json!({
            "id": self.id, "object": "invoice", "customer": CUS, "currency": "usd", "livemode": false,
            "billing_reason": self.billing_reason, "amount_due": 59_900, "amount_paid": self.amount_paid,
            "status": if self.is_paid { "paid" } else { "open" }, "metadata": {},
            "attempt_count": 1, "next_payment_attempt": null, "last_finalization_error": null,
            // These look one period back.
            "period_start": PERIOD_START_S - 2_592_000, "period_end": PERIOD_START_S,
            "lines": {"object": "list", "has_more": false, "data": [self.line(version)]},
        });
        if version.is_old() {
            invoice["subscription"] = json!(SUB);
            invoice["paid"] = json!(self.is_paid);
            invoice["payment_intent"] = json!("pi_1");
            invoice["charge"] = json!("ch_1");
        } else {
            invoice["parent"] = json!({
                "type": "subscription_details", "quote_details": null,
                "subscription_details": {"subscription": SUB, "metadata": self.subscription_metadata},
            });
            let payment = json!({"type": "payment_intent", "payment_intent": "pi_1", "charge": "ch_1"});
            invoice["payments"] =
                json!({"object": "list", "data": [{"object": "invoice_payment", "payment": payment}]});
        }
        if version == Version::V20240620 {
            invoice["subscription_details"] = json!({"metadata": self.subscription_metadata});
        }
        invoice
    }

    fn line(&self, version: Version) -> Value {
        let mut line = json!({
            "id": "il_1", "object": "line_item", "amount": 59_900, "metadata": {},
            "period": {"start": PERIOD_START_S, "end": self.period_end_s},
        });
        if version.is_old() {
            line["price"] = price(self.lookup_key);
            line["plan"] = json!({"id": PRICE, "object": "plan", "metadata": {}, "product": "prod_1"});
            line["type"] = json!(if self.is_proration { "invoiceitem" } else { "subscription" });
            line["proration"] = json!(self.is_proration);
            line["subscription"] = json!(SUB);
            // Before `subscription_details` a line carried its subscription's metadata.
            line["metadata"] = self.subscription_metadata.clone();
        } else {
            let price = if version == Version::Clover { price(self.lookup_key) } else { json!(PRICE) };
            line["pricing"] = json!({"type": "price_details", "price_details": {"price": price, "product": "prod_1"}});
            line["parent"] = json!({
                "type": "subscription_item_details", "invoice_item_details": null,
                "subscription_item_details": {"subscription": SUB, "proration": self.is_proration},
            });
        }
        line
    }
}

/// What a subscription says, independent of an API version.
#[derive(Debug, Clone)]
pub(crate) struct SubscriptionDoc {
    pub id: &'static str,
    pub status: &'static str,
    pub ends_with_period: bool,
    pub lookup_key: Option<&'static str>,
    pub metadata: Value,
    pub period_end_s: i64,
    pub ended_at_s: Option<i64>,
}

impl Default for SubscriptionDoc {
    fn default() -> Self {
        Self {
            id: SUB,
            status: "active",
            ends_with_period: false,
            lookup_key: Some("pro_monthly"),
            metadata: json!({}),
            period_end_s: PERIOD_END_S,
            ended_at_s: None,
        }
    }
}

impl SubscriptionDoc {
    pub(crate) fn with_status(status: &'static str) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn render(&self, version: Version) -> Value {
        let mut item = json!({"id": "si_1", "object": "subscription_item", "metadata": {}});
        item["price"] = price(self.lookup_key);
        let mut subscription = json!({
            "id": self.id, "object": "subscription", "customer": CUS, "status": self.status, "metadata": self.metadata,
            "cancel_at_period_end": self.ends_with_period && version != Version::Clover, "cancel_at": null,
            "canceled_at": self.ended_at_s.map(|at| at - 1_000), "ended_at": self.ended_at_s, "latest_invoice": "in_1",
        });
        if version.is_old() {
            item["plan"] = json!({"id": PRICE, "object": "plan", "metadata": {}, "product": "prod_1"});
            subscription["plan"] = item["plan"].clone();
            subscription["current_period_end"] = json!(self.period_end_s);
        } else {
            item["current_period_end"] = json!(self.period_end_s);
            // Flexible billing schedules the end instead of setting the flag.
            subscription["cancel_at"] = json!(self.ends_with_period.then_some(self.period_end_s));
        }
        subscription["items"] = json!({"object": "list", "has_more": false, "data": [item]});
        subscription
    }
}

fn price(lookup_key: Option<&str>) -> Value {
    json!({"id": PRICE, "object": "price", "lookup_key": lookup_key, "metadata": {}, "product": "prod_1"})
}

pub(crate) fn by_id() -> ProPrice {
    ProPrice { price_id: Some(PRICE.to_owned()), ..ProPrice::default() }
}

pub(crate) fn customer(plan: Plan) -> Customer {
    Customer {
        id: CustomerId::trusted("cst_00000000000000000000000001".to_owned()),
        email: "ada@example.com".to_owned(),
        name: "Ada".to_owned(),
        source: "direct".to_owned(),
        plan,
        stripe_customer_id: Some(CUS.to_owned()),
        former_stripe_ids: Vec::new(),
        has_payment_method: true,
        created_at_ms: 0,
    }
}

/// The row of the default subscription with this status.
pub(crate) fn row(status: &str) -> Subscription {
    Subscription {
        id: SUB.to_owned(),
        customer_id: customer(Plan::Trial).id,
        status: status.to_owned(),
        is_pro: true,
        cancel_at_period_end: false,
        current_period_end_ms: Some(PERIOD_END_S * 1_000),
        past_due_since_ms: None,
        past_due_reason: None,
        ended_at_ms: None,
    }
}

pub(crate) fn facts<'a>(kind: EventKind, object: &'a Value, pro: &'a ProPrice, plan: Plan) -> Facts<'a> {
    Facts {
        kind,
        object,
        customer: Some(customer(plan)),
        subscription: None,
        subscriptions_of_customer: Vec::new(),
        pro,
        pro_credits: Credits(60),
        now_ms: NOW_MS,
    }
}

/// The same with the row known.
pub(crate) fn knowing<'a>(facts: Facts<'a>, row: &Subscription) -> Facts<'a> {
    Facts { subscription: Some(row.clone()), subscriptions_of_customer: vec![row.clone()], ..facts }
}

/// A verdict in a form that can be compared.
pub(crate) fn text(verdict: &Verdict) -> String {
    format!("{verdict:#?}")
}
