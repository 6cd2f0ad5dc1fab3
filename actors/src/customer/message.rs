//! What the actors of customers and their router tell each other.

use super::pending::Pending;
use crate::ledger::AccountLock;
use bursar_engine::domain::ledger::Account;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::commit::UnitResult;
use bursar_engine::{Error, Result};
use std::sync::Arc;

/// To one customer's actor.
pub(crate) enum CustomerMsg {
    /// Decide and commit a command.
    Apply(Box<Pending>),
    /// The account was loaded.
    Loaded(Result<Option<Account>>),
    /// The account was locked.
    Locked(Result<Option<Box<AccountLock>>>),
    /// The commit under way has ended.
    Committed(Result<UnitResult, Arc<Error>>),
    /// Offer to stop, if nothing is under way.
    Passivate,
    /// Panic, for a test.
    Crash,
}

/// To the router of customers.
pub(crate) enum RouterMsg {
    /// Forward a command.
    Apply(CustomerId, Box<Pending>),
    /// An idle actor can be stopped if this many messages are all that it was ever sent. With its account.
    Idle(CustomerId, u64, Option<Box<Account>>),
    /// Look for idle actors.
    Tick,
    /// Make a customer's actor fail, for a test.
    Crash(CustomerId),
    /// Fail, for a test.
    CrashRouter,
}
