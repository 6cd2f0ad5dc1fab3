//! Reasons for which an account refuses a command.

use crate::amount::{Credits, UNITS_MAX};
use crate::count::counted;
use crate::ids::HoldId;

/// The reason for which an account refuses a command. A refusal changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too few credits are available.
    #[error("credits requested: {requested}, available: {available}")]
    InsufficientCredits {
        /// Credits requested.
        requested: Credits,
        /// Credits that can be spent, those of a credit limit included.
        available: Credits,
    },
    /// An amount is zero, negative where it must be positive, or greater than [`UNITS_MAX`].
    #[error("an amount of credits must be from 1 to {UNITS_MAX}")]
    InvalidAmount,
    /// The customer has no open hold with this id.
    #[error("there is no open hold {0}")]
    HoldNotFound(HoldId),
    /// The capture is larger than the hold.
    #[error("the hold reserves {}, fewer than the {requested} to capture", counted(held.0, "credit"))]
    CaptureExceedsHold {
        /// Credits to capture.
        requested: Credits,
        /// Credits reserved by the hold.
        held: Credits,
    },
    /// The expiry of a hold is not in the future.
    #[error("a hold must end in the future")]
    HoldAlreadyOver,
    /// The expiry of a grant is not in the future.
    #[error("expires_at must be in the future")]
    GrantAlreadyOver,
    /// Too many open holds or grants.
    #[error("the account has too many open {what}, at most {max}")]
    TooManyOpen {
        /// `holds` or `grants`.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// Support has suspended the customer.
    #[error("the customer is suspended")]
    Suspended,
    /// The key was already used for another request.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// There is nothing (left) to do, such as for a claw back that is already complete.
    #[error("there is nothing left to do")]
    NothingToDo,
}

impl Refusal {
    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InsufficientCredits { .. } => "insufficient_credits",
            Self::InvalidAmount => "invalid_amount",
            Self::HoldNotFound(_) => "hold_not_found",
            Self::CaptureExceedsHold { .. } => "capture_exceeds_hold",
            Self::HoldAlreadyOver => "hold_already_over",
            Self::GrantAlreadyOver => "grant_already_over",
            Self::TooManyOpen { .. } => "too_many_open",
            Self::Suspended => "suspended",
            Self::KeyReused => "key_reused",
            Self::NothingToDo => "nothing_to_do",
        }
    }
}
