//! The account's settings for payments that fail.

use serde::{Deserialize, Serialize};

/// What becomes of a subscription whose renewal was not paid after all retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterRetries {
    /// It ends.
    Cancel,
    /// It stays, marked unpaid; later invoices stay drafts.
    Unpaid,
    /// It stays past due.
    PastDue,
}

/// The account's settings for failed payments. Source: Stripe, "Smart Retries" and "Manage failed
/// payments": there they are set in the dashboard.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Days between a failed attempt to pay an invoice and the next.
    pub retry_after_days: Vec<i64>,
    /// What comes after the last.
    pub after_retries: AfterRetries,
    /// How long a renewal's invoice is a draft, in seconds.
    pub draft_s: i64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { retry_after_days: vec![3, 5, 7], after_retries: AfterRetries::Cancel, draft_s: 3_600 }
    }
}
