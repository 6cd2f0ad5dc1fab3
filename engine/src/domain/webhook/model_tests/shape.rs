//! The model's objects in the formats of API versions.

use super::deed::Way;
use super::fact::{Invoice, Kind, Line, Named, Sub};
use super::stripe::Stripe;
use crate::domain::webhook::fixtures::CUS;
use serde_json::{Value, json};

/// The customer of other business.
pub(super) const STRANGER: &str = "cus_stranger";

/// API versions whose formats differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// 2014: plans instead of prices, and hardly anything else.
    Y2014,
    /// 2018: with `billing_reason` and products.
    Y2018,
    /// 2020: prices beside plans, `status`.
    Y2020,
    /// 2024: metadata of the subscription on the invoice.
    Y2024,
    /// 2025-03-31.basil: prices by their id alone, everything else below `parent` and `pricing`.
    Basil,
    /// 2025-12-15.clover, with prices expanded.
    Clover,
    /// 2026-10-28.endive, with flexible billing: the invoice itself names no subscription.
    Endive,
}

impl Version {
    pub const ALL: [Self; 7] =
        [Self::Y2014, Self::Y2018, Self::Y2020, Self::Y2024, Self::Basil, Self::Clover, Self::Endive];

    fn is_old(self) -> bool {
        matches!(self, Self::Y2014 | Self::Y2018 | Self::Y2020 | Self::Y2024)
    }

    fn has_prices(self) -> bool {
        !matches!(self, Self::Y2014 | Self::Y2018)
    }
}

pub(super) fn object(stripe: &Stripe, named: Named, version: Version) -> Value {
    match named {
        Named::Sub(n) => subscription(stripe, n, version),
        Named::Invoice(n) => invoice(stripe, n, version),
        Named::Charge(n) => charge(stripe, n, version),
        Named::Dispute(n) => dispute(stripe, n),
        Named::Note(n) => note(stripe, n, version),
    }
}

fn customer(is_stranger: bool) -> &'static str {
    if is_stranger { STRANGER } else { CUS }
}

fn metadata(sub: &Sub) -> Value {
    match &sub.tag {
        Some(price) => json!({
            "bursar_price": price.key.as_str(), "bursar_plan": price.plan.as_str(), "bursar_operation_id": "op_1",
        }),
        None => json!({}),
    }
}

/// The whole price.
pub(super) fn price(stripe: &Stripe, n: usize) -> Value {
    let price = &stripe.prices[n];
    json!({
        "id": format!("price_{n}"), "object": "price", "lookup_key": price.lookup_key, "metadata": {}, "active": true,
        "product": price.product, "unit_amount": price.amount, "currency": price.currency,
        "recurring": {
            "interval": price.every.unit.as_str(), "interval_count": price.every.count,
            "usage_type": if price.is_metered { "metered" } else { "licensed" },
        },
    })
}

/// The plan, as prices were called before.
fn plan(stripe: &Stripe, n: usize, version: Version) -> Value {
    let price = &stripe.prices[n];
    let mut plan = json!({
        "id": format!("price_{n}"), "object": "plan", "metadata": {}, "amount": price.amount,
        "currency": price.currency, "interval": price.every.unit.as_str(), "interval_count": price.every.count,
    });
    if version != Version::Y2014 {
        plan["product"] = json!(price.product);
        plan["usage_type"] = json!(if price.is_metered { "metered" } else { "licensed" });
    }
    plan
}

pub(super) fn invoice(stripe: &Stripe, n: usize, version: Version) -> Value {
    let said = &stripe.invoices[n];
    let lines: Vec<Value> = said.lines.iter().map(|billed| line(stripe, said, billed, version)).collect();
    let by_card = said.charge.as_ref().map_or(0, |charge| charge.amount);
    let first = &stripe.prices[said.lines[0].price];
    let mut invoice = json!({
        "id": format!("in_{n}"), "object": "invoice", "customer": customer(said.is_stranger), "total": said.total,
        "currency": first.currency, "metadata": {}, "lines": {"object": "list", "has_more": false, "data": lines},
    });
    invoice[if version == Version::Y2014 { "date" } else { "created" }] = json!(said.created_s);
    if version != Version::Y2014 {
        invoice["billing_reason"] = json!(said.reason);
        invoice["amount_paid"] = json!(by_card);
    }
    if version.has_prices() {
        invoice["status"] = json!(said.status);
    }
    let sub = said.sub.map(|sub| (format!("sub_{sub}"), metadata(&stripe.subs[sub])));
    if version.is_old() {
        invoice["paid"] = json!(said.is_paid());
        invoice["subscription"] = json!(sub.as_ref().map(|(id, _)| id));
        invoice["charge"] = json!(said.charge.as_ref().map(|_| format!("ch_{n}")));
    } else {
        let payment = json!({"type": "charge", "charge": format!("ch_{n}"), "payment_intent": format!("pi_{n}")});
        let payments =
            if said.charge.is_some() { json!([{"object": "invoice_payment", "payment": payment}]) } else { json!([]) };
        invoice["payments"] = json!({"object": "list", "data": payments});
    }
    if let Some((id, metadata)) = sub {
        match version {
            Version::Y2024 => invoice["subscription_details"] = json!({"metadata": metadata}),
            Version::Basil | Version::Clover => {
                let details = json!({"subscription": id, "metadata": metadata});
                invoice["parent"] = json!({"type": "subscription_details", "subscription_details": details});
            }
            _ => {}
        }
    }
    invoice
}

fn line(stripe: &Stripe, invoice: &Invoice, said: &Line, version: Version) -> Value {
    let sub = invoice.sub.map(|sub| format!("sub_{sub}"));
    let of_sub = invoice.sub.map_or_else(|| json!({}), |sub| metadata(&stripe.subs[sub]));
    let price_id = format!("price_{}", said.price);
    let mut line = json!({
        "id": "il_1", "object": "line_item", "amount": said.amount, "quantity": said.quantity,
        "currency": stripe.prices[said.price].currency, "metadata": {},
        "period": {"start": said.from_s, "end": said.until_s},
    });
    if version.has_prices() && said.discount > 0 {
        line["discount_amounts"] = json!([{"amount": said.discount, "discount": "di_1"}]);
    }
    let is_proration = said.kind == Kind::Proration;
    if version.is_old() {
        line["plan"] = plan(stripe, said.price, version);
        if version.has_prices() {
            line["price"] = price(stripe, said.price);
        }
        line["type"] = json!(if said.kind == Kind::Period { "subscription" } else { "invoiceitem" });
        line["proration"] = json!(is_proration);
        line["subscription"] = json!(sub);
        // Before `subscription_details` a line carried its subscription's metadata.
        line["metadata"] = of_sub;
    } else {
        let price = if version == Version::Clover { price(stripe, said.price) } else { json!(price_id) };
        let details = json!({"price": price, "product": stripe.prices[said.price].product});
        line["pricing"] = json!({"type": "price_details", "price_details": details});
        let of = if said.kind == Kind::Period { "subscription_item_details" } else { "invoice_item_details" };
        line["parent"] = json!({"type": of});
        line["parent"][of] = json!({"subscription": sub, "proration": is_proration});
    }
    line
}

pub(super) fn subscription(stripe: &Stripe, n: usize, version: Version) -> Value {
    let said = &stripe.subs[n];
    let item = |(price_n, quantity): &(usize, i64)| {
        let mut item = json!({"id": "si_1", "object": "subscription_item", "quantity": quantity, "metadata": {}});
        if version.is_old() {
            item["plan"] = plan(stripe, *price_n, version);
        } else {
            item["current_period_end"] = json!(said.until_s);
        }
        if version.has_prices() {
            item["price"] = price(stripe, *price_n);
        }
        item
    };
    let items: Vec<Value> = said.items.iter().map(item).collect();
    let mut subscription = json!({
        "id": format!("sub_{n}"), "object": "subscription", "customer": customer(said.is_stranger),
        "status": said.status, "metadata": metadata(said), "cancel_at_period_end": false, "cancel_at": null,
        "ended_at": said.ended_s, "items": {"object": "list", "has_more": false, "data": items},
        "pause_collection": if said.is_paused { json!({"behavior": "void"}) } else { Value::Null },
    });
    if version.is_old() {
        subscription["current_period_end"] = json!(said.until_s);
    }
    subscription
}

pub(super) fn charge(stripe: &Stripe, n: usize, version: Version) -> Value {
    let invoice = &stripe.invoices[n];
    let said = invoice.charge.as_ref().expect("a charge");
    let is_disputed = stripe.disputes.iter().any(|dispute| dispute.invoice == n);
    let mut charge = json!({
        "id": format!("ch_{n}"), "object": "charge", "customer": customer(invoice.is_stranger), "amount": said.amount,
        "currency": stripe.prices[invoice.lines[0].price].currency, "amount_refunded": said.refunded,
        "disputed": is_disputed, "paid": true, "metadata": {}, "payment_intent": format!("pi_{n}"),
    });
    if version.is_old() {
        charge["invoice"] = json!(format!("in_{n}"));
    }
    charge
}

pub(super) fn dispute(stripe: &Stripe, n: usize) -> Value {
    let said = &stripe.disputes[n];
    let currency = &stripe.prices[stripe.invoices[said.invoice].lines[0].price].currency;
    let moved = if said.status == "won" {
        json!([{"amount": -said.amount}, {"amount": said.amount}])
    } else {
        json!([{"amount": -said.amount}])
    };
    json!({
        "id": format!("dp_{n}"), "object": "dispute", "charge": format!("ch_{}", said.invoice), "amount": said.amount,
        "currency": if said.is_foreign { "gbp" } else { currency }, "status": said.status,
        "balance_transactions": moved,
    })
}

pub(super) fn note(stripe: &Stripe, n: usize, version: Version) -> Value {
    let said = &stripe.notes[n];
    let is_refund = said.way == Way::Refund;
    let mut note = json!({
        "id": format!("cn_{n}"), "object": "credit_note", "invoice": format!("in_{}", said.invoice),
        "amount": said.amount, "type": "post_payment", "status": if said.is_void { "void" } else { "issued" },
        "customer": customer(stripe.invoices[said.invoice].is_stranger),
        "out_of_band_amount": if said.way == Way::Outside { json!(said.amount) } else { Value::Null },
    });
    if version.is_old() {
        note["refund"] = if is_refund { json!("re_1") } else { Value::Null };
    } else {
        note["post_payment_amount"] = json!(said.amount);
        let refund = json!({"type": "refund", "refund": "re_1", "amount_refunded": said.amount});
        note["refunds"] = if is_refund { json!([refund]) } else { json!([]) };
    }
    note
}
