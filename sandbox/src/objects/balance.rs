//! The account's balance and its transactions.

use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::handler::Call;
use crate::page;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Stripe's fee for a card payment in the United States: 2.9 % and 30 cents.
const FEE_PER_MILLE: i64 = 29;
const FEE_FIXED: i64 = 30;
/// The fee for a dispute, in minor units.
const DISPUTE_FEE: i64 = 1_500;

/// Records a transaction. `amount` is the gain of the account before fees.
pub(crate) fn record(
    account: &mut StripeAccount,
    kind: &str,
    source: &str,
    amount: i64,
    currency: &str,
) -> Result<Value, ApiError> {
    let fee = match kind {
        "charge" => amount * FEE_PER_MILLE / 1_000 + FEE_FIXED,
        "dispute" => DISPUTE_FEE,
        _ => 0,
    };
    let details = if fee == 0 {
        json!([])
    } else {
        json!([{ "amount": fee, "application": null, "currency": currency, "description": "SANDBOX fee",
                 "type": "stripe_fee" }])
    };
    let kind = if kind.starts_with("dispute") { ("adjustment", kind) } else { (kind, kind) };
    let fields = json!({
        "amount": amount, "available_on": account.now_s, "currency": currency, "fee": fee, "fee_details": details,
        "net": amount - fee, "reporting_category": kind.1, "source": source, "type": kind.0,
        "description": "SANDBOX - no real money moves",
    });
    account.make("txn", "balance_transaction", fields)
}

/// `GET /v1/balance`
pub(crate) fn retrieve(account: &mut StripeAccount, _call: &Call) -> Result<Value, ApiError> {
    let mut totals = BTreeMap::from([("usd".to_owned(), 0)]);
    for row in account.store.of_kind("balance_transaction") {
        *totals.entry(row.text("currency").to_owned()).or_insert(0) += row.int("net");
    }
    let of = |amount: i64, currency: &str| json!({ "amount": amount, "currency": currency, "source_types": { "card": amount } });
    let available: Vec<Value> = totals.iter().map(|(currency, amount)| of(*amount, currency)).collect();
    let pending: Vec<Value> = totals.keys().map(|currency| of(0, currency)).collect();
    Ok(json!({ "object": "balance", "available": available, "livemode": false, "pending": pending }))
}

/// `GET /v1/balance_transactions/{id}`
pub(crate) fn transaction(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("balance_transaction", call.id())
}

/// `GET /v1/balance_transactions`
pub(crate) fn transactions(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    page::list(account, call, "balance_transaction", &["source", "type", "currency"])
}
