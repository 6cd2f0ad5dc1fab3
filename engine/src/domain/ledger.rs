//! The credit ledger's rules: a plain state machine, `account + command + now → entries or refusal`.
//!
//! Nothing here does I/O. An account is what its entries add up to ([`Account::apply`]); a decision
//! ([`decide`]) makes entries, and the same `apply` turns them into the next account, so the stored
//! account can always be checked by folding the stored entries again.
//!
//! * `balance` is all credits the customer owns, `held` the part that open holds reserve,
//!   `balance - held` what can be spent.
//! * A positive entry is a grant. What is left of all open grants adds up to `max(balance, 0)`.
//! * A debit burns grants in one fixed order and records which, so a credit can be traced.
//! * A negative balance is debt (after a claw back); the next grant pays it first.

mod account;
mod command;
mod decide;
mod entry;

pub use account::{Account, GRANTS_OPEN_MAX, HOLDS_OPEN_MAX, Open, OpenGrant, OpenHold};
pub use command::{Command, Op, Spend};
pub use decide::{Decision, decide};
pub use entry::{Burn, Detail, Entry, EntryKind, GrantKind};

#[cfg(test)]
mod model_tests;
