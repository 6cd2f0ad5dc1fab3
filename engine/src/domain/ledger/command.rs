//! Commands to an account, and the reasons for which one is refused.

use super::entry::GrantKind;
use crate::amount::Credits;
#[cfg(doc)]
use crate::amount::UNITS_MAX;
use crate::clock::TimeMs;
use crate::ids::HoldId;

/// What is to happen. Amounts are 1 to [`UNITS_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Credits come in.
    Grant {
        /// What they are.
        kind: GrantKind,
        /// How many.
        amount: Credits,
        /// When what is left of them ends.
        expires_at_ms: Option<TimeMs>,
    },
    /// Credits are spent at once.
    Debit {
        /// How many.
        amount: Credits,
    },
    /// Credits are reserved.
    Hold {
        /// The new hold.
        id: HoldId,
        /// How many.
        amount: Credits,
        /// When the hold is released by itself.
        expires_at_ms: TimeMs,
    },
    /// A hold is spent, wholly or in part; the rest is released.
    Capture {
        /// The hold.
        id: HoldId,
        /// How many; the whole hold if not given.
        amount: Option<Credits>,
    },
    /// A hold ends unspent.
    Release {
        /// The hold.
        id: HoldId,
    },
    /// Support gives (positive) or takes (negative) credits.
    Adjust {
        /// How many, not zero.
        amount: Credits,
        /// Why, in words.
        reason: String,
        /// When what is given ends.
        expires_at_ms: Option<TimeMs>,
    },
    /// Credits that were bought come in, under the command's own key, and what they were bought for
    /// is spent. If debt leaves too little of them, they are granted and nothing is spent.
    Purchase {
        /// Credits bought.
        amount: Credits,
        /// What they were bought for.
        spend: Option<Box<Spend>>,
    },
    /// The credits of a payment that was refunded or lost are taken back.
    ClawBack {
        /// Sequence number of the grant that the payment bought.
        grant: i64,
        /// Credits that grant gave.
        granted: Credits,
        /// Credits to have been taken back in all, this time included. Refunds are cumulative.
        total: Credits,
    },
    /// Credits that were taken back are given again: the payment turned out to be good after all.
    Reinstate {
        /// Sequence number of the grant that the payment bought.
        grant: i64,
        /// What that grant's credits are.
        kind: GrantKind,
        /// Credits that stay taken back.
        total: Credits,
    },
    /// Holds and grants whose time ran out are settled, nothing else.
    Settle,
}

/// The debit that follows a purchase, with what its own entry records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spend {
    /// How many credits.
    pub amount: Credits,
    /// Who causes it.
    pub source: String,
    /// The caller's own reference.
    pub reference: Option<String>,
    /// Makes a second try a no-op.
    pub idempotency_key: String,
    /// SHA-256 of the request.
    pub request_hash: Option<String>,
    /// The caller's metadata as JSON.
    pub metadata: Option<String>,
}

/// An operation with everything that its entry records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What is to happen.
    pub op: Op,
    /// Who causes it.
    pub source: String,
    /// The caller's own reference.
    pub reference: Option<String>,
    /// Makes a second try a no-op.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request.
    pub request_hash: Option<String>,
    /// The caller's metadata as JSON.
    pub metadata: Option<String>,
}

impl Command {
    /// A command of the engine itself, under a key of its own.
    pub fn internal(op: Op, source: &str, idempotency_key: String) -> Self {
        Self {
            op,
            source: source.to_owned(),
            reference: None,
            idempotency_key: Some(idempotency_key),
            request_hash: None,
            metadata: None,
        }
    }

    /// Settles what ran out of time.
    pub fn settle() -> Self {
        Self {
            op: Op::Settle,
            source: "system".to_owned(),
            reference: None,
            idempotency_key: None,
            request_hash: None,
            metadata: None,
        }
    }

    /// Every key that the command's entries carry.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let spend = match &self.op {
            Op::Purchase { spend: Some(spend), .. } => Some(spend.idempotency_key.as_str()),
            _ => None,
        };
        self.idempotency_key.as_deref().into_iter().chain(spend)
    }

    /// Leaves the debit that follows a purchase out, if it was made before under this key.
    pub fn drop_spend(&mut self, used: &str) {
        if let Op::Purchase { spend, .. } = &mut self.op
            && spend.as_ref().is_some_and(|spend| spend.idempotency_key == used)
        {
            *spend = None;
        }
    }

    /// The same command with a reference.
    pub fn with_reference(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into());
        self
    }
}
