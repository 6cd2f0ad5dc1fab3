//! The messages of customer actors and their router.

use super::pending::Pending;
use crate::ledger::LockedWithPermit;
use bursar_engine::domain::ledger::Account;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::commit::UnitResult;
use bursar_engine::{Error, Result};
use std::sync::Arc;

pub(crate) enum CustomerMsg {
    /// Decide and commit a command.
    Apply(Box<Pending>),
    /// The account was loaded.
    Loaded(Result<Option<Account>>),
    /// The account was locked.
    Locked(Result<Option<Box<LockedWithPermit>>>),
    /// The commit under way has ended.
    Committed(Result<UnitResult, Arc<Error>>),
    /// Ask the router to be stopped, if nothing is under way.
    Passivate,
    /// Panic, for a test.
    Crash,
}

pub(crate) enum RouterMsg {
    /// Forward a command.
    Apply(CustomerId, Box<Pending>),
    /// An actor is idle and has received this many messages. If the router has forwarded no more than these, stop it
    /// and cache the account.
    Idle { customer: CustomerId, received: u64, account: Option<Box<Account>> },
    /// Stop idle actors.
    Tick,
    /// Make a customer's actor fail, for a test.
    Crash(CustomerId),
    /// Fail, for a test.
    CrashRouter,
}
