//! Ledger entries: the immutable facts.

use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::ids::HoldId;
use serde::{Deserialize, Serialize};

/// What a grant's credits are. The order is the order in which they are burned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantKind {
    /// Given for nothing, such as the credits on signup.
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

/// What an entry does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Credits come in.
    Grant,
    /// Credits are spent.
    Debit,
    /// Credits are reserved; the balance does not move.
    Hold,
    /// Reserved credits are spent, the rest of the hold is released.
    Capture,
    /// A hold ends unspent, by request or because its time ran out.
    Release,
    /// Support takes credits away (support giving credits is a grant of kind adjustment).
    Adjust,
    /// Credits of a refunded or disputed payment are taken back; may lead into debt.
    ClawBack,
    /// What was left of a grant whose time ran out.
    Expire,
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
            _ => return None,
        })
    }
}

/// Credits taken from one grant, which is named by the sequence number of its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burn {
    /// Sequence number of the grant's entry.
    pub grant: i64,
    /// Credits taken from it.
    pub credits: Credits,
}

/// What an entry says beyond its numbers. Stored as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// Which grants the entry burned, in order. What a debit took beyond them is debt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub burned: Vec<Burn>,
    /// Of a grant: its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_kind: Option<GrantKind>,
    /// Of a grant or a hold: when it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<TimeMs>,
    /// Of a claw back: the grant whose credits are taken back. Of a grant: the one whose credits are
    /// given again after a claw back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<i64>,
    /// Why, in words, where a person or a rule gave a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One immutable line of a customer's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Position in the customer's ledger, from 1, without gaps.
    pub seq: i64,
    /// What it does.
    pub kind: EntryKind,
    /// Change of the balance.
    pub amount: Credits,
    /// Change of the reserved credits.
    pub held_delta: Credits,
    /// Balance after this entry.
    pub balance_after: Credits,
    /// Reserved credits after this entry.
    pub held_after: Credits,
    /// Who caused it: `usage`, `signup`, `stripe`, `support`, `system` …
    pub source: String,
    /// The caller's own reference.
    pub reference: Option<String>,
    /// Makes a second try a no-op; unique within the customer.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request, to tell a retry from a reused key.
    pub request_hash: Option<String>,
    /// The caller's metadata as JSON.
    pub metadata: Option<String>,
    /// The hold that it opens or closes.
    pub hold_id: Option<HoldId>,
    /// Burned grants, grant kind, end, reason.
    pub detail: Detail,
    /// When it was decided.
    pub created_at_ms: TimeMs,
}
