//! The credit ledger's rules: a plain state machine, `account + command + now → entries or refusal`.
//!
//! Nothing here does I/O. An account is the sum of its entries ([`Account::apply`]). A decision ([`decide`]) makes
//! entries, and `apply` turns them into the next account, so folding the stored entries checks the stored account.
//!
//! * `balance` is all credits the customer owns, `held` the part reserved by open holds, `balance - held` the rest,
//!   which can be spent.
//! * A positive entry is a grant. The remainders of all open grants add up to `max(balance, 0)`.
//! * A debit burns grants in a fixed order and records which, so that every credit can be traced.
//! * A negative balance is debt (after a claw back); the next grant pays it first.

mod account;
mod command;
mod decide;
mod entry;
mod expire;

pub use account::{Account, GRANTS_OPEN_MAX, HOLDS_OPEN_MAX, Open, OpenGrant, OpenHold};
pub use command::{Command, Op, PartGrant, Spend, TAKEN_SUFFIX};
pub use decide::{Decision, decide};
pub use entry::{Burn, Detail, Entry, EntryKind, GrantKind};

#[cfg(test)]
mod model_tests;
