//! The account's settings for failed payments.

use serde::{Deserialize, Serialize};

/// What happens to a subscription when all retries of a renewal's payment have failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterRetries {
    /// It is canceled.
    Cancel,
    /// It becomes unpaid. Later invoices stay drafts.
    Unpaid,
    /// It stays past due.
    PastDue,
}

/// The account's settings for failed payments. At Stripe they are set in the dashboard. Source: Stripe, "Smart
/// Retries" and "Manage failed payments".
#[derive(Debug, Clone)]
pub struct Rules {
    /// Days before each retry of a failed payment.
    pub retry_after_days: Vec<i64>,
    /// What happens after the last retry.
    pub after_retries: AfterRetries,
    /// How long the invoice of a renewal stays a draft, in seconds.
    pub draft_s: i64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { retry_after_days: vec![3, 5, 7], after_retries: AfterRetries::Cancel, draft_s: 3_600 }
    }
}
