//! Customers: every credit command of a customer goes through that customer's actor.
//!
//! The actor decides on its cached account and hands the decision to a ledger writer. While that is being committed,
//! later commands queue up and are committed as one batch. The account's version guards the cache: if another node has
//! written the account, the actor loads it and decides again.

mod account_cache;
mod actor;
mod footprint;
mod load;
mod message;
mod pending;
mod races;
mod router;

use crate::ledger::Ledger;
use crate::root::{Child, Slot};
pub(crate) use account_cache::AccountCache;
use bursar_engine::amount::Credits;
use bursar_engine::clock::Clock;
use bursar_engine::config::Config;
use bursar_engine::domain::effect::Effect;
use bursar_engine::domain::job::JobFinish;
use bursar_engine::domain::ledger::{Command, Entry};
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::Db;
use bursar_engine::{Error, Result};
use footprint::Footprint;
use load::{Loads, loads};
use message::RouterMsg;
use pending::Pending;
use router::Router;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// A command and everything to be committed with it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The command.
    pub command: Command,
    /// The end of the job attempt that issued it.
    pub finish: Option<JobFinish>,
    /// Other changes to commit.
    pub effects: Vec<Effect>,
}

impl From<Command> for Request {
    fn from(command: Command) -> Self {
        Self { command, finish: None, effects: Vec::new() }
    }
}

/// The result of a command that was applied.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The command's own entry.
    pub entry: Entry,
    /// Whether an earlier command with the same idempotency key wrote it. Nothing was committed then.
    pub replayed: bool,
}

pub(crate) struct CustomerDeps {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) ledger: Ledger,
    pub(crate) loads: Loads,
    pub(crate) footprint: Footprint,
    pub(crate) account_cache: AccountCache,
    pub(crate) queue_max: usize,
    pub(crate) batch_max: usize,
    /// The customer gets a mail when the balance falls to this or below.
    pub(crate) warn_at: Credits,
}

/// Why a command was not applied.
enum SendError {
    /// The actor failed before it answered.
    ActorFailed,
    Other(Error),
}

impl From<Error> for SendError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::ActorFailed => Self::Timeout("the customer's actor"),
            SendError::Other(error) => error,
        }
    }
}

/// Sends commands to customers. Cheap to clone.
#[derive(Clone)]
pub struct Customers {
    slot: Slot<RouterMsg>,
    permits: Arc<Semaphore>,
    timeout: Duration,
}

impl Customers {
    pub(crate) fn new(
        db: &Db,
        clock: &Clock,
        ledger: &Ledger,
        account_cache: &AccountCache,
        config: &Config,
    ) -> (Self, Child) {
        let warn_at = config.credits.warn_at;
        let config = &config.ledger;
        let slot = Slot::new();
        let loads = loads(db, config.commands_max);
        let deps = Arc::new(CustomerDeps {
            db: db.clone(),
            clock: clock.clone(),
            ledger: ledger.clone(),
            loads,
            footprint: Footprint::default(),
            account_cache: account_cache.clone(),
            queue_max: config.customer_queue_max,
            batch_max: config.batch_max,
            warn_at,
        });
        let idle = Duration::from_millis(config.idle_ms);
        let bytes_max = config.customers_memory_kib.saturating_mul(1_024);
        let child =
            Child::new("customer_router", slot.clone(), move || (Router { deps: deps.clone(), idle, bytes_max }, ()));
        let permits = Arc::new(Semaphore::new(config.commands_max));
        (Self { slot, permits, timeout: Duration::from_millis(config.timeout_ms) }, child)
    }

    /// Decides and commits a command.
    ///
    /// # Errors
    /// `Refused` by the rules; `NotFound` without an account; `Conflict` with code `fenced` if the attempt's lease
    /// was lost; `Busy` beyond the limits (nothing was done); `Timeout` and database errors, after which a retry with
    /// the same idempotency key returns the actual result.
    pub async fn apply(&self, customer: &CustomerId, request: impl Into<Request>) -> Result<Applied> {
        let _permit = self.permits.try_acquire().map_err(|_| Error::Busy("the ledger"))?;
        let request = request.into();
        match self.send(customer, request.clone()).await {
            // The command may be committed. The idempotency key makes a second try safe; a command without a key only
            // settles the account, which is safe to repeat.
            Err(SendError::ActorFailed) => Ok(self.send(customer, request).await?),
            answer => Ok(answer?),
        }
    }

    async fn send(&self, customer: &CustomerId, request: Request) -> Result<Applied, SendError> {
        let (reply, answer) = oneshot::channel();
        self.slot.send("the customers", RouterMsg::Apply(customer.clone(), Box::new(Pending::new(request, reply))))?;
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer?),
            Ok(Err(_)) => Err(SendError::ActorFailed),
            Err(_) => Err(Error::Timeout("the ledger").into()),
        }
    }

    /// Makes a customer's actor panic, for tests.
    #[doc(hidden)]
    pub fn crash(&self, customer: &CustomerId) {
        let _ = self.slot.send("the customers", RouterMsg::Crash(customer.clone()));
    }

    /// Makes the router fail, for tests.
    #[doc(hidden)]
    pub fn crash_router(&self) {
        let _ = self.slot.send("the customers", RouterMsg::CrashRouter);
    }
}
