//! Commands to an account.

use super::entry::GrantKind;
use crate::amount::Credits;
#[cfg(doc)]
use crate::amount::UNITS_MAX;
use crate::clock::TimeMs;
use crate::ids::HoldId;

/// What the key of credits that are taken back ends with, after the key of those that they were exchanged for.
pub const TAKEN_SUFFIX: &str = ":taken";

/// What to do. Amounts are 1 to [`UNITS_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Adds credits.
    Grant {
        /// Their kind.
        kind: GrantKind,
        /// Their number.
        amount: Credits,
        /// When the remaining ones expire.
        expires_at_ms: Option<TimeMs>,
    },
    /// Adds a part of the credits of a paid period of which some money is gone.
    GrantPart(PartGrant),
    /// Spends credits at once.
    Debit {
        /// Their number.
        amount: Credits,
    },
    /// Reserves credits.
    Hold {
        /// The new hold.
        id: HoldId,
        /// Their number.
        amount: Credits,
        /// When the hold expires.
        expires_at_ms: TimeMs,
    },
    /// Spends a hold, wholly or in part, and releases the rest.
    Capture {
        /// The hold.
        id: HoldId,
        /// Credits to spend; the whole hold if not given.
        amount: Option<Credits>,
    },
    /// Releases a hold unspent.
    Release {
        /// The hold.
        id: HoldId,
    },
    /// Adds (positive) or takes (negative) credits on behalf of support.
    Adjust {
        /// Their number, not zero.
        amount: Credits,
        /// The reason, in words.
        reason: String,
        /// When added credits expire.
        expires_at_ms: Option<TimeMs>,
    },
    /// Reserves credits while a charge buys those that are missing. Unlike a hold, it is not counted against the
    /// maximum of open holds, and only the end of its charge closes it.
    Reserve {
        /// The reservation, as an open hold.
        id: HoldId,
        /// Their number.
        amount: Credits,
        /// When the reservation expires; later than any charge lasts.
        expires_at_ms: TimeMs,
    },
    /// Releases a reservation whose charge failed, if it is open.
    Unreserve {
        /// The reservation.
        id: HoldId,
    },
    /// Adds bought credits under the command's own key and spends them on their purpose, with those reserved for it.
    ///
    /// If bought and reserved credits cover the purpose, it is never refused, whatever was clawed back meanwhile: the
    /// debt that was there before stays, and no new one is made. Otherwise the present balance decides, and if it is
    /// too small, the credits are granted and nothing is spent.
    Purchase {
        /// Credits bought.
        amount: Credits,
        /// When the remaining ones expire.
        expires_at_ms: Option<TimeMs>,
        /// The reservation of the credits that the customer had.
        reserved: Option<HoldId>,
        /// The purpose.
        spend: Option<Box<Spend>>,
    },
    /// Takes back the credits of a payment that was refunded or lost.
    ClawBack {
        /// Sequence number of the grant that the payment bought.
        grant: i64,
        /// Credits of that grant.
        granted: Credits,
        /// The grants that returned credits of it. What is left of it goes first, then what is left of these.
        returned: Vec<i64>,
        /// Credits to take back in all, including earlier times. Refunds are cumulative.
        total: Credits,
        /// How many of those still to be taken go only as far as credits are available at the commit, so that they make
        /// no debt.
        unspent: Credits,
        /// How many of those that are taken already went only because they were unspent.
        unspent_before: Credits,
    },
    /// Takes back credits of time that was paid for, left and credited: those that came with that time first, then
    /// those of other paid periods. May lead into debt.
    TakeBack {
        /// Their number.
        amount: Credits,
        /// The sequence numbers of the grants that came with that time; `None` if nobody knows.
        of: Option<Vec<i64>>,
    },
    /// Adds the credits of a paid period, and takes back those of the time that it replaces: first those that came with
    /// that time, then new ones. So what is left lasts as long as what it was bought with.
    Exchange {
        /// Credits of the new period.
        amount: Credits,
        /// When those that remain of them expire.
        expires_at_ms: Option<TimeMs>,
        /// Credits to take back.
        taken: Credits,
        /// The sequence numbers of the grants that came with the time that is replaced; `None` if nobody knows.
        of: Option<Vec<i64>>,
    },
    /// Returns clawed back credits, because the payment turned out to be good.
    Reinstate {
        /// Sequence number of the grant that the payment bought.
        grant: i64,
        /// The kind of the credits that come back.
        kind: GrantKind,
        /// Credits that stay clawed back.
        total: Credits,
        /// How many of those went only because they were unspent.
        unspent: Credits,
        /// The grant that those that come back had been taken from, if it is another.
        of: Option<i64>,
        /// When those that come back expire.
        expires_at_ms: Option<TimeMs>,
    },
    /// Forgives a debt: adds what brings the balance to zero.
    WriteOff {
        /// The reason, in words.
        reason: String,
    },
    /// Lets available credits go below zero, down to this limit.
    SetLimit {
        /// How many credits below zero, at least 0.
        limit: Credits,
        /// The reason, in words.
        reason: String,
    },
    /// Suspends the account, or ends that.
    SetSuspended {
        /// Whether it is suspended.
        suspended: bool,
        /// The reason, in words.
        reason: String,
    },
    /// Settles expired holds and grants, and nothing else.
    Settle,
}

/// A part of the credits of a paid period of which some money is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartGrant {
    /// Credits to add.
    pub amount: Credits,
    /// Credits of the part that are withheld. They count as clawed back, and come if the money returns.
    pub withheld: Credits,
    /// How many of those are withheld only because they are unspent.
    pub unspent: Credits,
    /// When the remaining ones expire.
    pub expires_at_ms: Option<TimeMs>,
}

/// The debit or hold that follows a purchase, with the fields of its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spend {
    /// Number of credits.
    pub amount: Credits,
    /// The hold that reserves them and when it expires; `None` if they are spent at once.
    pub hold: Option<(HoldId, TimeMs)>,
    /// The cause, such as `usage`.
    pub source: String,
    /// The caller's own reference.
    pub reference: Option<String>,
    /// Makes a retry a no-op.
    pub idempotency_key: String,
    /// SHA-256 of the request.
    pub request_hash: Option<String>,
    /// The caller's metadata as JSON.
    pub metadata: Option<String>,
}

/// An operation with the fields of its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What to do.
    pub op: Op,
    /// The cause, such as `usage`.
    pub source: String,
    /// The caller's own reference.
    pub reference: Option<String>,
    /// Makes a retry a no-op.
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

    /// A command that settles expired holds and grants.
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

    /// The keys of all entries that the command makes.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let spend = match &self.op {
            Op::Purchase { spend: Some(spend), .. } => Some(spend.idempotency_key.as_str()),
            _ => None,
        };
        self.idempotency_key.as_deref().into_iter().chain(spend)
    }

    /// Omits the debit or hold that follows a purchase if it was already made under this key.
    pub fn drop_spend(&mut self, used: &str) {
        if let Op::Purchase { spend, .. } = &mut self.op
            && spend.as_ref().is_some_and(|spend| spend.idempotency_key == used)
        {
            *spend = None;
        }
    }

    /// Sets the reference.
    pub fn with_reference(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into());
        self
    }
}
