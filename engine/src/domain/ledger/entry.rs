//! Ledger entries: the immutable facts.

use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::ids::HoldId;
use serde::{Deserialize, Serialize};

/// The kind of a grant's credits. The order is the order of burning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantKind {
    /// Given for free, such as the credits for signing up.
    Promotional,
    /// Given by support.
    Adjustment,
    /// Part of a paid period of a plan.
    Included,
    /// Bought one by one.
    Purchased,
}

impl GrantKind {
    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promotional => "promotional",
            Self::Adjustment => "adjustment",
            Self::Included => "included",
            Self::Purchased => "purchased",
        }
    }
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Adds credits.
    Grant,
    /// Spends credits.
    Debit,
    /// Reserves credits; the balance stays the same.
    Hold,
    /// Spends reserved credits and releases the rest of the hold.
    Capture,
    /// Releases a hold unspent, by request or because it expired.
    Release,
    /// Takes credits on behalf of support (credits that support gives are a grant of kind adjustment).
    Adjust,
    /// Takes back credits of a payment that was refunded or disputed, or of paid time that was left and credited; may
    /// lead into debt.
    ClawBack,
    /// Removes the remaining credits of an expired grant.
    Expire,
    /// Sets the credit limit, suspends or resumes the account, or notes that forgiven credits do not come back; moves
    /// no credits.
    Terms,
}

impl EntryKind {
    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Debit => "debit",
            Self::Hold => "hold",
            Self::Capture => "capture",
            Self::Release => "release",
            Self::Adjust => "adjust",
            Self::ClawBack => "claw_back",
            Self::Expire => "expire",
            Self::Terms => "terms",
        }
    }

    /// Reads a stored name.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "grant" => Self::Grant,
            "debit" => Self::Debit,
            "hold" => Self::Hold,
            "capture" => Self::Capture,
            "release" => Self::Release,
            "adjust" => Self::Adjust,
            "claw_back" => Self::ClawBack,
            "expire" => Self::Expire,
            "terms" => Self::Terms,
            _ => return None,
        })
    }
}

/// Credits taken from one grant, which is identified by its entry's sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burn {
    /// Sequence number of the grant's entry.
    pub grant: i64,
    /// Credits taken from it.
    pub credits: Credits,
}

/// The details of an entry beyond its numbers. Stored as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// The burned grants, in order. The part of a debit beyond them is debt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub burned: Vec<Burn>,
    /// Of a grant: the kind of its credits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_kind: Option<GrantKind>,
    /// Of a grant or a hold: when it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<TimeMs>,
    /// Of a claw back after a refund or a dispute: the grant whose credits are taken back. Of a grant: the one whose
    /// credits are returned. Of terms: the one whose credits do not come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<i64>,
    /// Of a grant that returns credits: the grant that they had been taken from for the other one's payment, if they were
    /// not of that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<i64>,
    /// Of a grant: the debts that it paid of other grants' claw backs, with the credits. They come back as credits of
    /// this grant if the payment of the other turns out to be good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pays: Vec<Burn>,
    /// Of a grant: the credits that were withheld from it, because their money was gone. They count as clawed back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub withheld: Credits,
    /// Of a claw back, a grant with withheld credits, or one that returns credits: how many of those that are clawed
    /// back of their grant since then went only because they were unspent. `None` if that was not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unspent: Option<Credits>,
    /// Of a write-off: the grants whose claw backs made the debt that it forgives, with the credits. Of terms: the
    /// credits that do not come back, because they were forgiven.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forgiven: Vec<Burn>,
    /// Of a debit or a hold: the grant that was bought for it and covers it, with the credits reserved for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid_by: Option<i64>,
    /// Of terms: what available credits may not go below from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Credits>,
    /// Of terms: whether the account is suspended from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<bool>,
    /// The reason of a person or a rule, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn is_zero(credits: &Credits) -> bool {
    *credits == Credits::ZERO
}

/// One immutable line of a customer's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Position in the customer's ledger, from 1, without gaps.
    pub seq: i64,
    /// Its kind.
    pub kind: EntryKind,
    /// Change of the balance.
    pub amount: Credits,
    /// Change of the reserved credits.
    pub held_delta: Credits,
    /// Balance after this entry.
    pub balance_after: Credits,
    /// Reserved credits after this entry.
    pub held_after: Credits,
    /// The cause: `usage`, `signup`, `stripe`, `support`, `system` …
    pub source: String,
    /// The caller's own reference.
    pub reference: Option<String>,
    /// Makes a retry a no-op; unique within the customer.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request, to distinguish a retry from a reused key.
    pub request_hash: Option<String>,
    /// The caller's metadata as JSON, or what an invoice sold that brought the credits (`domain::sale::record`).
    pub metadata: Option<String>,
    /// The hold that it opens or closes.
    pub hold_id: Option<HoldId>,
    /// Burned grants, kind of credits, expiry, reason.
    pub detail: Detail,
    /// When it was decided.
    pub created_at_ms: TimeMs,
}

impl Entry {
    /// The credits of a grant, with those that were withheld from it.
    pub fn granted(&self) -> Credits {
        self.amount + self.detail.withheld
    }

    /// Of a grant: the one whose credits it has. That is another if it returns credits that were taken back.
    pub fn origin(&self) -> i64 {
        self.detail.of.or(self.detail.grant).unwrap_or(self.seq)
    }

    /// Of a grant: what it paid of the debt that claw backs of another made.
    pub fn paid_for(&self, grant: i64) -> Credits {
        self.detail.pays.iter().filter(|paid| paid.grant == grant).map(|paid| paid.credits).sum()
    }

    /// The metadata that the caller gave. What Stripe paid for has none: its metadata is the engine's own.
    pub fn caller_metadata(&self) -> Option<&str> {
        self.metadata.as_deref().filter(|_| self.source != "stripe")
    }
}
