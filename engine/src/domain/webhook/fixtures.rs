//! One logical invoice and one logical subscription, rendered as each API version would.
//!
//! | module | what is in it |
//! |---|---|
//! | [`books`] | books of prices |
//! | [`records`] | our own records of a customer and its subscription |

mod books;
mod records;

pub(crate) use books::*;
pub(crate) use records::*;

use super::kind::EventKind;
use super::rules::Facts;
use crate::domain::effect::Verdict;
use crate::domain::sale::{Before, PriceBook};
use crate::domain::subscription::Subscription;
use serde_json::{Value, json};

pub(crate) const NOW_MS: i64 = 1_750_000_000_000;
pub(crate) const PERIOD_START_S: i64 = 1_749_000_000;
pub(crate) const PERIOD_END_S: i64 = 1_751_592_000;
pub(crate) const CUS: &str = "cus_1";
pub(crate) const SUB: &str = "sub_1";
/// The price of Pro.
pub(crate) const PRICE: &str = "price_pro";
/// The price of Team, which the book [`team`] knows.
pub(crate) const TEAM_PRICE: &str = "price_team";
/// A price of other business.
pub(crate) const OTHER_PRICE: &str = "price_other";

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
    pub total: i64,
    pub amount_paid: i64,
    pub is_paid: bool,
    pub is_proration: bool,
    /// Whether its line is an item on its own.
    pub is_item: bool,
    pub price_id: &'static str,
    pub lookup_key: Option<&'static str>,
    pub unit_amount: i64,
    pub quantity: i64,
    pub subscription_metadata: Value,
    pub period_end_s: i64,
}

impl Default for InvoiceDoc {
    fn default() -> Self {
        Self {
            id: "in_1",
            billing_reason: "subscription_cycle",
            total: 59_900,
            amount_paid: 59_900,
            is_paid: true,
            is_proration: false,
            is_item: false,
            price_id: PRICE,
            lookup_key: Some("pro_monthly"),
            unit_amount: 59_900,
            quantity: 1,
            subscription_metadata: json!({}),
            period_end_s: PERIOD_END_S,
        }
    }
}

impl InvoiceDoc {
    /// A period of Team with this many seats.
    pub(crate) fn team(quantity: i64) -> Self {
        let (total, lookup_key) = (19_900 * quantity, Some("team_monthly"));
        Self {
            total,
            amount_paid: total,
            price_id: TEAM_PRICE,
            lookup_key,
            unit_amount: 19_900,
            quantity,
            ..Self::default()
        }
    }

    /// A period of other business.
    pub(crate) fn other() -> Self {
        Self {
            total: 500,
            amount_paid: 500,
            price_id: OTHER_PRICE,
            lookup_key: Some("storage"),
            unit_amount: 500,
            ..Self::default()
        }
    }

    pub(crate) fn render(&self, version: Version) -> Value {
        let mut invoice = json!({
            "id": self.id, "object": "invoice", "customer": CUS, "currency": "usd", "livemode": false,
            "billing_reason": self.billing_reason, "total": self.total, "amount_due": self.total,
            "amount_paid": self.amount_paid, "status": if self.is_paid { "paid" } else { "open" }, "metadata": {},
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

    /// Its only line.
    pub(crate) fn line(&self, version: Version) -> Value {
        let mut line = json!({
            "id": "il_1", "object": "line_item", "amount": self.unit_amount * self.quantity, "currency": "usd",
            "quantity": self.quantity, "discount_amounts": [], "metadata": {},
            "period": {"start": PERIOD_START_S, "end": self.period_end_s},
        });
        let price = price(self.price_id, self.lookup_key, self.unit_amount);
        if version.is_old() {
            line["price"] = price;
            line["plan"] = plan(self.price_id);
            line["type"] = json!(if self.is_proration || self.is_item { "invoiceitem" } else { "subscription" });
            line["proration"] = json!(self.is_proration);
            line["subscription"] = json!(SUB);
            // Before `subscription_details` a line carried its subscription's metadata.
            line["metadata"] = self.subscription_metadata.clone();
        } else {
            let price = if version == Version::Clover { price } else { json!(self.price_id) };
            line["pricing"] = json!({"type": "price_details", "price_details": {"price": price, "product": "prod_1"}});
            let (details, no_details) = if self.is_item {
                ("invoice_item_details", "subscription_item_details")
            } else {
                ("subscription_item_details", "invoice_item_details")
            };
            line["parent"] = json!({
                "type": details, details: {"subscription": SUB, "proration": self.is_proration}, no_details: null,
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
    pub price_id: &'static str,
    pub lookup_key: Option<&'static str>,
    pub unit_amount: i64,
    pub quantity: i64,
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
            price_id: PRICE,
            lookup_key: Some("pro_monthly"),
            unit_amount: 59_900,
            quantity: 1,
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

    /// A subscription to Team with this many seats.
    pub(crate) fn team(quantity: i64) -> Self {
        let lookup_key = Some("team_monthly");
        Self { price_id: TEAM_PRICE, lookup_key, unit_amount: 19_900, quantity, ..Self::default() }
    }

    /// A subscription to other business.
    pub(crate) fn other() -> Self {
        Self { price_id: OTHER_PRICE, lookup_key: Some("storage"), unit_amount: 500, ..Self::default() }
    }

    pub(crate) fn render(&self, version: Version) -> Value {
        let item = self.item(version);
        let mut subscription = json!({
            "id": self.id, "object": "subscription", "customer": CUS, "status": self.status, "metadata": self.metadata,
            "cancel_at_period_end": self.ends_with_period && version != Version::Clover, "cancel_at": null,
            "canceled_at": self.ended_at_s.map(|at| at - 1_000), "ended_at": self.ended_at_s, "latest_invoice": "in_1",
        });
        if version.is_old() {
            subscription["plan"] = item["plan"].clone();
            subscription["current_period_end"] = json!(self.period_end_s);
        } else {
            // Flexible billing schedules the end instead of setting the flag.
            subscription["cancel_at"] = json!(self.ends_with_period.then_some(self.period_end_s));
        }
        subscription["items"] = json!({"object": "list", "has_more": false, "data": [item]});
        subscription
    }

    /// Its only item.
    pub(crate) fn item(&self, version: Version) -> Value {
        let mut item = json!({
            "id": "si_1", "object": "subscription_item", "quantity": self.quantity, "metadata": {},
            "price": price(self.price_id, self.lookup_key, self.unit_amount),
        });
        if version.is_old() {
            item["plan"] = plan(self.price_id);
        } else {
            item["current_period_end"] = json!(self.period_end_s);
        }
        item
    }
}

fn price(id: &str, lookup_key: Option<&str>, unit_amount: i64) -> Value {
    json!({
        "id": id, "object": "price", "lookup_key": lookup_key, "metadata": {}, "product": "prod_1",
        "unit_amount": unit_amount, "currency": "usd",
        "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
    })
}

/// What an old version says of a price beside the price itself.
fn plan(id: &str) -> Value {
    json!({"id": id, "object": "plan", "metadata": {}, "product": "prod_1"})
}

/// The event, with nothing known here but the customer.
pub(crate) fn facts<'a>(kind: EventKind, object: &'a Value, book: &'a PriceBook, plan: &str) -> Facts<'a> {
    Facts {
        kind,
        object,
        customer: Some(customer(plan)),
        subscription: None,
        subscriptions_of_customer: Vec::new(),
        book,
        before: Before::NONE,
        may_relink: true,
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
