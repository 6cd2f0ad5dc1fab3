//! The running sandbox: the state behind its lock, and the operations on it.

use crate::account::{Cause, StripeAccount};
use crate::clock::{Clock, real_ms};
use crate::error::{ApiError, Error};
use crate::fault::Faults;
use crate::field::Fields;
use crate::journal::Journal;
use crate::log::CallLog;
use crate::objects::{price, webhook_endpoint};
use crate::options::Options;
use crate::store::Store;
use serde_json::json;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How often the background task runs what has become due.
const TICK: Duration = Duration::from_secs(1);
/// The store's entry with the clock's offset.
const CLOCK_ID: &str = "_clock";

/// Everything behind the lock.
pub(crate) struct State {
    pub(crate) account: StripeAccount,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) log: CallLog,
    /// Idempotency keys of calls in progress.
    pub(crate) keys: HashSet<String>,
    /// The current second and the number of calls in it, for the rate limit.
    pub(crate) rate: (i64, u32),
    journal: Option<Journal>,
    /// Whether writing the journal failed. Further changes are refused, because they would be lost.
    is_broken: bool,
}

/// A running sandbox, without its server.
pub(crate) struct App {
    state: Mutex<State>,
    wake: Notify,
    pub(crate) options: Options,
}

impl App {
    /// Builds an app, with the state from its data folder if it has one.
    pub(crate) fn new(options: Options, url: &str) -> Result<Self, Error> {
        let (journal, store) = match &options.data_dir {
            Some(folder) => {
                let (journal, store) = Journal::open(folder)?;
                (Some(journal), store)
            }
            None => (None, Store::default()),
        };
        let real_ms = real_ms();
        let mut clock = Clock::new(options.time_scale, real_ms);
        if let Some(kept) = store.get(CLOCK_ID) {
            clock.offset_ms = kept.int("offset_ms");
        }
        // A clock that ran faster than real time must not go back after a restart.
        let newest_s = store.of_kind("event").next_back().map_or(0, |event| event.int("created"));
        clock.advance(newest_s, real_ms);
        let account = StripeAccount::new(&options, store, url);
        let state = State {
            account,
            clock,
            faults: Faults::default(),
            log: CallLog::default(),
            keys: HashSet::new(),
            rate: (0, 0),
            journal,
            is_broken: false,
        };
        let app = Self { state: Mutex::new(state), wake: Notify::new(), options };
        app.set_up().map_err(|error| Error::Refused(error.message))?;
        Ok(app)
    }

    fn set_up(&self) -> Result<(), ApiError> {
        let endpoints = self.options.endpoints.clone();
        self.transact(Cause::default(), |account| {
            price::seed(account)?;
            webhook_endpoint::set_configured(account, &endpoints)
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the current state.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&StripeAccount) -> T) -> T {
        let mut state = self.state();
        state.set_time(Cause::default());
        read(&state.account)
    }

    /// Changes the state in one transaction: on an error nothing is changed or written to the journal.
    pub(crate) fn transact<T>(
        &self,
        cause: Cause,
        change: impl FnOnce(&mut StripeAccount) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut state = self.state();
        state.set_time(cause);
        let result = change(&mut state.account);
        let result = state.finish(result);
        drop(state);
        self.wake.notify_one();
        result
    }

    /// Advances the clock and carries out what becomes due. Returns the new time and the number of transitions.
    pub(crate) fn advance(&self, to_s: i64) -> Result<(i64, usize), ApiError> {
        let mut state = self.state();
        state.set_time(Cause::default());
        let to_s = to_s.max(state.account.now_s);
        let done = state.account.run_due(to_s);
        let real_ms = state.account.real_ms;
        let before = state.clock;
        state.clock.advance(to_s, real_ms);
        let entry = json!({ "id": CLOCK_ID, "object": CLOCK_ID, "offset_ms": state.clock.offset_ms });
        state.account.store.put(CLOCK_ID, entry);
        let result = state.finish(done);
        if result.is_err() {
            state.clock = before;
        }
        drop(state);
        self.wake.notify_one();
        result.map(|done| (to_s, done))
    }

    /// Deletes everything but the clock and the endpoints of the options.
    pub(crate) fn reset(&self) -> Result<(), ApiError> {
        {
            let mut state = self.state();
            state.set_time(Cause::default());
            let ids: Vec<String> = state.account.store.snapshot().puts.into_iter().map(|entry| entry.id).collect();
            for id in ids.iter().filter(|id| *id != CLOCK_ID) {
                state.account.store.remove(id);
            }
            state.faults.clear();
            state.log = CallLog::default();
            state.account.policy = self.options.policy.clone();
            state.finish(Ok(()))?;
        }
        self.set_up()
    }

    /// Records the result of a delivery attempt.
    pub(crate) fn record_delivery(&self, delivery: &str, is_accepted: bool) {
        let scaled = |after_s: &i64| (*after_s as f64 * self.options.retry_scale) as i64;
        let retries: Vec<i64> = self.options.retry_after_s.iter().map(scaled).collect();
        let result =
            self.transact(Cause::default(), |account| account.record_delivery(delivery, is_accepted, &retries));
        if let Err(error) = result {
            tracing::error!(error = %error.message, "the result of a delivery could not be stored");
        }
    }

    /// Releases the data folder. Later changes are refused.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        if state.journal.take().is_some() {
            state.is_broken = true;
        }
    }

    /// Wakes the courier after a change.
    pub(crate) fn notify_changed(&self) {
        self.wake.notify_one();
    }

    /// Waits for the next change.
    pub(crate) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Carries out what becomes due, until the task is aborted.
    pub(crate) async fn tick(&self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let done = self.transact(Cause::default(), |account| {
                let now_s = account.now_s;
                account.run_due(now_s)
            });
            if let Err(error) = done {
                tracing::error!(error = %error.message, "due transitions failed");
            }
        }
    }
}

impl State {
    /// Sets the time and the cause of the changes that follow.
    pub(crate) fn set_time(&mut self, cause: Cause) {
        self.account.real_ms = real_ms();
        self.account.now_s = self.clock.now_s(self.account.real_ms);
        self.account.cause = cause;
    }

    /// Ends a transaction: commits its changes, or rolls them back.
    pub(crate) fn finish<T>(&mut self, result: Result<T, ApiError>) -> Result<T, ApiError> {
        if matches!(&result, Err(error) if !error.commits_changes) {
            self.account.store.rollback();
            return result;
        }
        self.commit()?;
        result
    }

    /// Commits the changes and appends them to the journal.
    pub(crate) fn commit(&mut self) -> Result<(), ApiError> {
        let broken = || ApiError::api(500, "The SANDBOX cannot write its journal.");
        if self.is_broken {
            self.account.store.rollback();
            return Err(broken());
        }
        let Some(journal) = &mut self.journal else {
            self.account.store.commit_quietly();
            return Ok(());
        };
        let batch = self.account.store.commit();
        if !batch.is_empty()
            && let Err(error) = journal.append(&batch, &self.account.store)
        {
            tracing::error!(error = %error, "the journal cannot be written; further changes are refused");
            self.is_broken = true;
            return Err(broken());
        }
        Ok(())
    }
}
