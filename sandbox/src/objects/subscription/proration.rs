//! Prorations: invoice items for what is left of an item's period when it changes or ends.
//!
//! In flexible billing mode a credit is a share of what was debited for the time, whatever the price, the quantity and
//! the discounts are by now, and each debit is credited once. In classic mode it is a share of the present price and
//! quantity. Neither mode asks whether the debit's invoice is paid. Discounts are contained in the amounts
//! (`proration_discounts` is `included`). Source: Stripe, "Prorations" and "Compare classic and flexible billing mode".

use crate::account::StripeAccount;
use crate::billing::pricing;
use crate::error::ApiError;
use crate::field::Fields;
use crate::objects::coupon;
use crate::template::overlay;
use serde_json::{Value, json};
use std::collections::HashSet;

/// What was debited for a part of an item's period, up to the period's end.
#[derive(Debug)]
struct Debit {
    /// The id of the invoice item, or of the invoice line if there is no item.
    id: String,
    /// After discounts.
    amount: i64,
    start_s: i64,
    price: Value,
    quantity: i64,
    /// The `credited_items` of its credit.
    reference: Value,
}

/// Creates the credits for the rest of an item's period.
pub(super) fn credit(account: &mut StripeAccount, subscription: &Value, item: &Value) -> Result<(), ApiError> {
    if is_classic(subscription) {
        let fields =
            json!({ "amount": -cost_of_rest(account, subscription, item), "description": "Unused time (SANDBOX)" });
        return make(account, subscription, item, fields);
    }
    let end_s = item.int("current_period_end");
    for debit in debits(account, subscription, item) {
        let amount = share(debit.amount, end_s - account.now_s, end_s - debit.start_s);
        let fields = json!({
            "amount": -amount, "description": "Unused time (SANDBOX)", "quantity": debit.quantity,
            "quantity_decimal": debit.quantity.to_string(), "pricing": pricing(&debit.price), "_price": debit.price,
            "proration_details": { "credited_items": debit.reference, "discount_amounts": [] }, "_credits": debit.id,
        });
        make(account, subscription, item, fields)?;
    }
    Ok(())
}

/// Creates the debit for the rest of an item's period.
pub(super) fn debit(account: &mut StripeAccount, subscription: &Value, item: &Value) -> Result<(), ApiError> {
    let fields =
        json!({ "amount": cost_of_rest(account, subscription, item), "description": "Remaining time (SANDBOX)" });
    make(account, subscription, item, fields)
}

fn is_classic(subscription: &Value) -> bool {
    subscription["billing_mode"].text("type") == "classic"
}

fn make(account: &mut StripeAccount, subscription: &Value, item: &Value, of_kind: Value) -> Result<(), ApiError> {
    let mut fields = json!({
        "net_amount": of_kind["amount"], "currency": subscription["currency"], "customer": subscription["customer"],
        "date": account.now_s, "period": { "start": account.now_s, "end": item["current_period_end"] },
        "proration": true, "quantity": item["quantity"], "quantity_decimal": item["quantity"].to_string(),
        "pricing": pricing(&item["price"]), "discountable": false, "_price": item["price"],
        "_subscription": subscription.id(), "_item": item.id(),
        "parent": { "type": "subscription_details", "subscription_details": {
            "subscription": subscription.id(), "subscription_item": item.id(),
        } },
    });
    overlay(&mut fields, of_kind);
    let made = account.make("ii", "invoiceitem", fields)?;
    account.emit("invoiceitem.created", made.id())
}

/// What an item costs for the rest of its period, at its price and with the subscription's discounts.
fn cost_of_rest(account: &StripeAccount, subscription: &Value, item: &Value) -> i64 {
    if subscription.text("status") == "trialing" {
        return 0;
    }
    let cost = |item: &Value| item["price"].int("unit_amount") * item.int("quantity");
    let full = cost(item);
    let mut costs = vec![full];
    if !is_classic(subscription) {
        // Only flexible mode shares a discount of an amount among the items.
        let others = subscription["items"]["data"].as_array().into_iter().flatten();
        costs.extend(others.filter(|other| other.id() != item.id()).map(cost));
    }
    let off: i64 = coupon::taken_off(account, subscription, &costs).iter().map(|(_, each)| each[0]).sum();
    let (start_s, end_s) = (item.int("current_period_start"), item.int("current_period_end"));
    share(full - off, end_s - account.now_s, end_s - start_s)
}

/// The share of an amount for what is left of a time, rounded to the nearest.
fn share(amount: i64, left_s: i64, of_s: i64) -> i64 {
    if of_s <= 0 { 0 } else { (2 * amount * left_s.clamp(0, of_s) + of_s) / (2 * of_s) }
}

/// What was debited for the present period of an item and is not credited yet, whatever the state of its invoice. Stripe
/// says so of unpaid invoices, and nothing of void ones.
fn debits(account: &StripeAccount, subscription: &Value, item: &Value) -> Vec<Debit> {
    let customer = subscription.text("customer");
    let is_of_item = |row: &&Value| row.text("_item") == item.id();
    let prorations: Vec<&Value> = account.store.of_customer("invoiceitem", customer).filter(is_of_item).collect();
    let credited: HashSet<&str> = prorations.iter().filter_map(|row| row.opt("_credits")).collect();
    let invoices = account.store.of_customer("invoice", customer);
    let lines = invoices.flat_map(|invoice| invoice["lines"]["data"].as_array().into_iter().flatten());
    let bills_item = |line: &&Value| line["parent"]["subscription_item_details"].text("subscription_item") == item.id();
    let is_debit = |row: &&&Value| row["_credits"].is_null() && row.int("amount") >= 0;
    let is_present = |row: &Value| row["period"]["end"] == item["current_period_end"] && !credited.contains(row.id());
    let of_lines = lines.filter(bills_item).filter(|line| is_present(line)).map(|line| of_line(account, line));
    let of_prorations = prorations.iter().filter(is_debit).filter(|row| is_present(row));
    of_lines.chain(of_prorations.map(|row| of_proration(account, row))).collect()
}

fn of_line(account: &StripeAccount, line: &Value) -> Debit {
    let off: i64 = line["discount_amounts"].as_array().into_iter().flatten().map(|off| off.int("amount")).sum();
    Debit {
        id: line.id().to_owned(),
        amount: line.int("amount") - off,
        start_s: line["period"].int("start"),
        price: account.copy(line["pricing"]["price_details"].text("price")),
        quantity: line.int("quantity"),
        reference: line_reference(line.text("invoice"), line.id()),
    }
}

fn of_proration(account: &StripeAccount, row: &Value) -> Debit {
    let invoice = account.copy(row.text("invoice"));
    let lines = invoice["lines"]["data"].as_array().into_iter().flatten();
    let line = lines.into_iter().find(|line| line["parent"]["invoice_item_details"].text("invoice_item") == row.id());
    Debit {
        id: row.id().to_owned(),
        amount: row.int("amount"),
        start_s: row["period"].int("start"),
        price: row["_price"].clone(),
        quantity: row.int("quantity"),
        reference: match line {
            Some(line) => line_reference(invoice.id(), line.id()),
            None => json!({ "type": "invoice_item", "invoice_item": row.id() }),
        },
    }
}

/// The reference to a line. Source: Stripe, "Adds credited items information to invoice item proration details".
fn line_reference(invoice: &str, line: &str) -> Value {
    json!({
        "type": "invoice_line_items",
        "invoice_line_item_details": { "invoice": invoice, "invoice_line_items": [line] },
    })
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn a_share_is_rounded_to_the_nearest_and_never_more_than_the_whole() {
        assert_eq!((share(2_000, 10, 30), share(1_000, 10, 30), share(834, 14, 28)), (667, 333, 417));
        assert_eq!((share(1_000, 31, 30), share(1_000, -1, 30), share(1_000, 0, 0)), (1_000, 0, 0));
    }
}
