//! Whether the address of a customer is known to be its own.

use crate::clock::TimeMs;

/// What is known of a customer's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressState {
    /// Its owner has not confirmed it yet.
    Pending,
    /// Nobody asked: the customer is older than the question, or `onboarding.confirmation` was off.
    Assumed,
    /// Its owner confirmed it by a link.
    Link,
    /// Whoever signed the customer up vouched for it.
    Vouched,
    /// Support vouched for it.
    Staff,
}

impl AddressState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Assumed, Self::Link, Self::Vouched, Self::Staff];

    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Assumed => "assumed",
            Self::Link => "link",
            Self::Vouched => "vouched",
            Self::Staff => "staff",
        }
    }

    /// Reads a stored name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Whether and when a customer's address was confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// What is known.
    pub state: AddressState,
    /// Since when it is confirmed; `None` if it is not, or nobody asked.
    pub at_ms: Option<TimeMs>,
}

impl Confirmation {
    /// That of a customer that nobody asked.
    pub const ASSUMED: Self = Self { state: AddressState::Assumed, at_ms: None };

    /// That of a new customer: `asks` if addresses have to be confirmed, `is_vouched` if a company's own backend says
    /// that this one is.
    pub fn at_signup(asks: bool, is_vouched: bool, now_ms: TimeMs) -> Self {
        match (is_vouched, asks) {
            (true, _) => Self { state: AddressState::Vouched, at_ms: Some(now_ms) },
            (false, true) => Self { state: AddressState::Pending, at_ms: None },
            (false, false) => Self::ASSUMED,
        }
    }

    /// Whether somebody has confirmed the address: its owner, or whoever vouched for it.
    pub fn is_proven(&self) -> bool {
        matches!(self.state, AddressState::Link | AddressState::Vouched | AddressState::Staff)
    }

    /// Whether the address counts as its customer's.
    pub fn is_confirmed(&self) -> bool {
        self.state != AddressState::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_asked_for_unless_nobody_asks_or_somebody_vouches() {
        let state = |asks, is_vouched| Confirmation::at_signup(asks, is_vouched, 7);
        assert_eq!(state(true, false), Confirmation { state: AddressState::Pending, at_ms: None });
        assert_eq!(state(false, false), Confirmation::ASSUMED);
        for asks in [true, false] {
            assert_eq!(state(asks, true), Confirmation { state: AddressState::Vouched, at_ms: Some(7) });
        }
    }

    #[test]
    fn only_a_pending_address_is_unconfirmed_and_names_are_read_as_written() {
        for state in AddressState::ALL {
            assert_eq!(AddressState::parse(state.as_str()), Some(state));
            let is_confirmed = Confirmation { state, at_ms: None }.is_confirmed();
            assert_eq!(is_confirmed, state != AddressState::Pending);
            let is_proven = Confirmation { state, at_ms: None }.is_proven();
            assert_eq!(is_proven, is_confirmed && state != AddressState::Assumed);
        }
        assert_eq!(AddressState::parse("lost"), None);
    }
}
