//! Answers that several routes share.

use super::page::page;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::customer::Customer;
use bursar_engine::domain::ledger::{Account, Entry};
use bursar_engine::ids::{CustomerId, transaction_id};
use poem_openapi::Object;
use poem_openapi::types::Example;

/// A customer.
#[derive(Debug, Clone, Object)]
#[oai(example)]
pub struct CustomerBody {
    /// Its identifier.
    pub id: String,
    /// Its e-mail address.
    pub email: String,
    /// Whether the address counts as its own. Before that there is no card, no charge and no subscription.
    pub email_confirmed: bool,
    /// Its name.
    pub name: String,
    /// The key of its plan, such as `trial`.
    pub plan: String,
    /// How it was acquired: `direct`, `marketplace` or `early_access`.
    pub source: String,
    /// Its customer object at Stripe, once there is one.
    pub stripe_customer_id: Option<String>,
    /// Whether it can be charged.
    pub has_payment_method: bool,
    /// All credits it owns.
    #[oai(skip_serializing_if_is_none)]
    pub credit_balance: Option<i64>,
    /// When it signed up.
    pub created_at: String,
}

impl CustomerBody {
    pub fn new(customer: &Customer, account: Option<&Account>) -> Self {
        Self {
            id: customer.id.to_string(),
            email: customer.email.clone(),
            email_confirmed: customer.confirmation.is_confirmed(),
            name: customer.name.clone(),
            plan: customer.plan.as_str().to_owned(),
            source: customer.source.clone(),
            stripe_customer_id: customer.stripe_customer_id.clone(),
            has_payment_method: customer.has_payment_method,
            credit_balance: account.map(|account| account.balance.0),
            created_at: rfc3339(customer.created_at_ms),
        }
    }
}

impl Example for CustomerBody {
    fn example() -> Self {
        Self {
            id: "cst_06bv1k2m8x0q3d5r7t9w1y3z5b".to_owned(),
            email: "ada@example.com".to_owned(),
            email_confirmed: true,
            name: "Ada Lovelace".to_owned(),
            plan: "trial".to_owned(),
            source: "direct".to_owned(),
            stripe_customer_id: None,
            has_payment_method: false,
            credit_balance: Some(5),
            created_at: "2026-11-22T08:00:00.000Z".to_owned(),
        }
    }
}

/// One line of the ledger.
#[derive(Debug, Clone, Object)]
#[oai(example)]
pub struct Transaction {
    /// Its identifier.
    pub id: String,
    /// `grant`, `debit`, `hold`, `capture`, `release`, `adjust`, `claw_back`, `expire` or `terms` (support has set a
    /// limit, or suspended or resumed the customer).
    pub kind: String,
    /// Change of the balance in credits.
    pub amount: i64,
    /// Change of the reserved credits.
    pub held_change: i64,
    /// Balance after it.
    pub balance_after: i64,
    /// Reserved credits after it.
    pub held_after: i64,
    /// Who or what caused it: `usage`, `hold`, `signup`, `stripe`, `payment_method` (its bonus), `purchase` (a charge),
    /// `reinstatement` (a refund or dispute that failed), `marketplace`, `support` or `system`.
    pub source: String,
    /// The caller's own reference.
    pub reference: Option<String>,
    /// The hold that it opens or closes.
    #[oai(skip_serializing_if_is_none)]
    pub hold_id: Option<String>,
    /// The kind of a grant: `promotional`, `adjustment`, `included` or `purchased`.
    #[oai(skip_serializing_if_is_none)]
    pub grant_kind: Option<String>,
    /// When a grant or a hold expires.
    #[oai(skip_serializing_if_is_none)]
    pub expires_at: Option<String>,
    /// The grants that it took credits from.
    pub burned: Vec<BurnedBody>,
    /// The reason, if one was given.
    #[oai(skip_serializing_if_is_none)]
    pub reason: Option<String>,
    /// The caller's metadata.
    #[oai(skip_serializing_if_is_none)]
    pub metadata: Option<serde_json::Value>,
    /// When it was decided.
    pub created_at: String,
}

/// Credits taken from one grant.
#[derive(Debug, Clone, Object)]
pub struct BurnedBody {
    /// The transaction that granted them.
    pub transaction_id: String,
    /// How many.
    pub credits: i64,
}

impl Transaction {
    pub fn new(customer: &CustomerId, entry: &Entry) -> Self {
        let burned = entry.detail.burned.iter();
        Self {
            id: transaction_id(customer, entry.seq),
            kind: entry.kind.as_str().to_owned(),
            amount: entry.amount.0,
            held_change: entry.held_delta.0,
            balance_after: entry.balance_after.0,
            held_after: entry.held_after.0,
            source: entry.source.clone(),
            reference: entry.reference.clone(),
            hold_id: entry.hold_id.as_ref().map(ToString::to_string),
            grant_kind: entry.detail.grant_kind.map(|kind| kind.as_str().to_owned()),
            expires_at: entry.detail.expires_at_ms.map(rfc3339),
            burned: burned
                .map(|burn| BurnedBody {
                    transaction_id: transaction_id(customer, burn.grant),
                    credits: burn.credits.0,
                })
                .collect(),
            reason: entry.detail.reason.clone(),
            metadata: entry.caller_metadata().and_then(|text| serde_json::from_str(text).ok()),
            created_at: rfc3339(entry.created_at_ms),
        }
    }
}

impl Example for Transaction {
    fn example() -> Self {
        Self {
            id: "txn_06bv1k2m8x0q3d5r7t9w1y3z5b_2".to_owned(),
            kind: "debit".to_owned(),
            amount: -1,
            held_change: 0,
            balance_after: 4,
            held_after: 0,
            source: "usage".to_owned(),
            reference: Some("deploy-4711".to_owned()),
            hold_id: None,
            grant_kind: None,
            expires_at: None,
            burned: vec![BurnedBody { transaction_id: "txn_06bv1k2m8x0q3d5r7t9w1y3z5b_1".to_owned(), credits: 1 }],
            reason: None,
            metadata: None,
            created_at: "2026-11-22T08:00:00.000Z".to_owned(),
        }
    }
}

page! {
    /// A page of transactions, latest first.
    pub TransactionPage of Transaction
}
