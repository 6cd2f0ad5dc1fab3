//! Limits that all nodes share, at less than a question to the database for each request.
//!
//! A process takes shares of a limit ([`Share`]): a key that is busy asks once for many requests, and one that is not
//! asks for each. Requests of one key that wait at the same moment ask together, and the keys of a process in one
//! transaction. A share that is over is settled, so that other nodes find what it did not use.
//!
//! Most keys are never asked about: of a large limit a process uses some units of each key without asking
//! ([`Quota::own_units`]).
//!
//! Never over: the log counts a share from when it is taken until a window after its end. Under by at most what other
//! nodes hold unused at the moment: each up to a quarter of what was free, for a tenth of the window and at most ten
//! seconds; up to a 64th of the limit for a window; and a 32nd of a large one, which is kept for what processes use
//! without asking. The shares of a process that dies count as used for a window.

mod place;

use crate::batcher::{Batcher, Limits, Work};
use crate::deadline::{ANSWER_MAX, within};
use bursar_engine::clock::Clock;
use bursar_engine::domain::rate_limit::log::{Left, Taken};
use bursar_engine::domain::rate_limit::share::{DENIAL_MS, Known, Share, UsedOf, hold_ms};
use bursar_engine::domain::rate_limit::{OWN_WINDOW_MAX_MS, Quota};
use bursar_engine::infra::store::Db;
use bursar_engine::usecase::rate_limit::{LogQuestion, answer_many};
use bursar_engine::{Error, Result, metric};
use moka::future::Cache;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use place::Place;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Maximum number of keys asked about at once.
const BATCH_MAX: usize = 128;
/// Batches under way at once.
const CONCURRENCY: usize = 2;
/// Waiting questions needed to start a second batch beside the first.
const SECOND_BATCH_MIN: usize = 16;
/// Maximum number of keys of a limit that a process remembers. Beyond it, the least recently used are forgotten.
const KEYS_MAX: u64 = 100_000;
/// How long a process remembers a key that is not used, at least. It is never less than a window in which it may use
/// units without asking.
const IDLE: Duration = Duration::from_secs(60);
/// How long a request waits for a limit that lets it pass if the database does not answer.
const OPEN_WAIT: Duration = Duration::from_secs(1);
/// For how long such a limit then asks no more.
const AWAY_MS: i64 = 1_000;
/// How long after its end a share is settled, in milliseconds.
const SETTLE_AFTER_MS: i64 = DENIAL_MS;

struct LogQuestions {
    db: Db,
    clock: Clock,
}

impl Work for LogQuestions {
    type Item = LogQuestion;
    type Answer = Option<Taken>;
    const NAME: &'static str = "limit";

    fn key(asked: &LogQuestion) -> &str {
        &asked.key
    }

    async fn run(&self, questions: &[LogQuestion], short_lock_wait: bool) -> Result<Vec<Option<Taken>>> {
        let db = self.db.with_short_lock_wait(short_lock_wait);
        answer_many(&db, questions, self.clock.now_ms()).await
    }
}

/// Makes limiters. Cheap to clone.
#[derive(Clone)]
pub struct Limiters {
    questions: Batcher<LogQuestions>,
    place: Place,
    clock: Clock,
}

impl Limiters {
    /// Limiters on a database. `waiting_max`: how many keys may be asked about at a time.
    pub fn new(db: &Db, clock: &Clock, waiting_max: usize) -> Self {
        let limits =
            Limits { batch_max: BATCH_MAX, concurrency: CONCURRENCY, second_batch_min: SECOND_BATCH_MIN, waiting_max };
        let work = LogQuestions { db: db.clone(), clock: clock.clone() };
        let questions = Batcher::new(work, limits);
        Self { place: Place::new(questions.clone(), clock.clone()), questions, clock: clock.clone() }
    }

    /// Makes a limiter. Its name begins its keys in the database.
    pub fn limiter(&self, name: &'static str, quota: Quota, without_database: WithoutDatabase) -> Limiter {
        let shared = Arc::new(Shared {
            name,
            quota,
            without_database,
            limiters: self.clone(),
            away_until_ms: AtomicI64::new(i64::MIN),
            forgets_until_ms: AtomicI64::new(i64::MIN),
        });
        let window = Duration::from_millis(quota.window_ms.clamp(0, OWN_WINDOW_MAX_MS).unsigned_abs());
        let forgetful = shared.clone();
        let keys = Cache::builder()
            .max_capacity(KEYS_MAX)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(IDLE.max(window))
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    forgetful.forget();
                }
            })
            .build();
        Limiter { shared, keys }
    }
}

/// What a limit does when the database does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutDatabase {
    /// It lets requests pass, uncounted.
    Passes,
    /// It fails as the database does.
    Fails,
}

/// One limit, for each of its subjects. Cheap to clone.
#[derive(Clone)]
pub struct Limiter {
    shared: Arc<Shared>,
    keys: Cache<String, Arc<Slot>>,
}

struct Shared {
    name: &'static str,
    quota: Quota,
    without_database: WithoutDatabase,
    limiters: Limiters,
    away_until_ms: AtomicI64,
    /// Until when a key that the process does not know may be one that it has forgotten, because there are too many.
    forgets_until_ms: AtomicI64,
}

/// What the process knows of one key.
#[derive(Default)]
struct Slot {
    share: Mutex<Share>,
    /// Whoever asks the database holds it.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Units that requests ask for at the moment.
    waiting: AtomicU32,
}

/// Whether a request is within a limit.
#[derive(Debug)]
pub enum Decision {
    /// It is, and its units are used.
    Used(UsedUnits),
    /// It is not.
    Denied {
        /// When its units are free if nobody else takes them, in milliseconds.
        retry_after_ms: i64,
    },
    /// The database did not answer, and the limit lets it pass.
    Unchecked,
}

/// Units that were used.
#[derive(Debug)]
#[must_use]
pub struct UsedUnits {
    slot: Arc<Slot>,
    of: UsedOf,
    units: u32,
}

impl UsedUnits {
    /// Gives them back.
    pub fn give_back(self) {
        self.slot.share().give_back(self.units, Some(self.of));
    }
}

impl Limiter {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.shared.name
    }

    /// Its limit.
    pub fn quota(&self) -> Quota {
        self.shared.quota
    }

    /// Uses units of a subject's limit, and says what is left. More than the whole limit counts as the whole limit.
    ///
    /// # Errors
    /// That of the database, unless the limit passes without it.
    pub async fn take(&self, subject: &str, units: u32) -> Result<(Decision, Left)> {
        let (shared, units) = (&self.shared, units.clamp(1, self.shared.quota.units.max(1)));
        let slot = self.slot(subject).await;
        let (known, left) = match shared.take_known(&slot, units) {
            (Known::Unknown, _) if shared.is_away() => return Ok((Decision::Unchecked, Left::default())),
            (Known::Unknown, _) => match shared.ask_in_time(&slot, subject, units).await {
                Ok(known) => (known, slot.share().left(shared.quota, shared.now_ms())),
                Err(error) if shared.without_database == WithoutDatabase::Passes => {
                    shared.pass(&error);
                    return Ok((Decision::Unchecked, Left::default()));
                }
                Err(error) => return Err(error),
            },
            known => known,
        };
        match known {
            Known::Used(of) => Ok((Decision::Used(UsedUnits { slot, of, units }), left)),
            Known::Denied { retry_after_ms } => {
                metrics::counter!(metric::RATE_LIMITED, "limit" => shared.name).increment(1);
                Ok((Decision::Denied { retry_after_ms }, left))
            }
            Known::Unknown => Err(Error::Busy("a rate limit")),
        }
    }

    /// Gives back units that were used some time ago, on whatever node.
    pub async fn give_back(&self, subject: &str, units: u32) {
        let slot = self.slot(subject).await;
        let is_first = slot.share().give_back(units, None);
        if is_first {
            self.shared.settle_later(slot, subject.to_owned(), hold_ms(self.shared.quota));
        }
    }

    async fn slot(&self, subject: &str) -> Arc<Slot> {
        if let Some(slot) = self.keys.get(subject).await {
            return slot;
        }
        self.keys.entry_by_ref(subject).or_insert_with(async { self.shared.new_slot() }).await.into_value()
    }
}

impl Slot {
    fn share(&self) -> MutexGuard<'_, Share> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slot")
    }
}

/// Counts what a request waits for.
struct Waiting<'a>(&'a AtomicU32, u32);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicU32, units: u32) -> Self {
        waiting.fetch_add(units, Ordering::Relaxed);
        Self(waiting, units)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl Shared {
    fn now_ms(&self) -> i64 {
        self.limiters.clock.now_ms()
    }

    /// Uses units of what the process has or may use, or denies them. Says what is left then.
    fn take_known(&self, slot: &Slot, units: u32) -> (Known, Left) {
        let has_place = self.quota.own_units() > 0 && self.limiters.place.is_held();
        let (mut share, now_ms) = (slot.share(), self.now_ms());
        let known = share.take(self.quota, units, has_place, now_ms);
        (known, share.left(self.quota, now_ms))
    }

    /// Notes that a key was forgotten that may have been used just now.
    fn forget(&self) {
        self.forgets_until_ms.fetch_max(self.now_ms() + self.quota.window_ms, Ordering::Relaxed);
    }

    fn new_slot(&self) -> Arc<Slot> {
        let is_forgotten = self.now_ms() < self.forgets_until_ms.load(Ordering::Relaxed);
        let share = if is_forgotten { Share::forgotten() } else { Share::default() };
        Arc::new(Slot { share: Mutex::new(share), ..Slot::default() })
    }

    fn is_away(&self) -> bool {
        self.now_ms() < self.away_until_ms.load(Ordering::Relaxed)
    }

    /// Lets a request pass uncounted, and others for a while without asking.
    fn pass(&self, error: &Error) {
        let until_ms = self.now_ms() + AWAY_MS;
        if self.away_until_ms.fetch_max(until_ms, Ordering::Relaxed) < until_ms - AWAY_MS {
            tracing::warn!(limit = self.name, error = %error.chain(), "requests pass uncounted: the database does not answer");
        }
        metrics::counter!(metric::RATE_LIMIT_UNCHECKED, "limit" => self.name).increment(1);
    }

    /// Asks, but does not wait long for a database that does not answer, least of all if requests pass without it.
    async fn ask_in_time(self: &Arc<Self>, slot: &Arc<Slot>, subject: &str, units: u32) -> Result<Known> {
        let asked = self.ask(slot, subject, units);
        match self.without_database {
            WithoutDatabase::Fails => within(ANSWER_MAX, asked).await,
            WithoutDatabase::Passes => within(OPEN_WAIT, asked).await,
        }
    }

    /// Asks the log, together with all that wait for the same key.
    async fn ask(self: &Arc<Self>, slot: &Arc<Slot>, subject: &str, units: u32) -> Result<Known> {
        let _waiting = Waiting::new(&slot.waiting, units);
        let turn = slot.turn.clone().lock_owned().await;
        // Whoever asked before may have got enough for all.
        let (known, _) = self.take_known(slot, units);
        if known != Known::Unknown {
            return Ok(known);
        }
        let waiting = slot.waiting.load(Ordering::Relaxed);
        let question = slot.share().ask(self.quota, units, waiting);
        let asked = LogQuestion { key: self.key(subject), quota: self.quota.logged(), question };
        let (this, slot, subject) = (self.clone(), slot.clone(), subject.to_owned());
        // In a task: whoever stops waiting must not lose what the others got.
        let answered = tokio::spawn(async move {
            let _turn = turn;
            let taken = this.limiters.questions.submit(asked).await.map_err(Error::from)?;
            let taken = taken.ok_or_else(|| Error::Corrupt("a rate limit has no answer".to_owned()))?;
            let now_ms = this.now_ms();
            let known = slot.share().learn(taken, units, now_ms);
            if let Known::Used(UsedOf::Share { until_ms }) = known {
                this.settle_later(slot, subject, until_ms - now_ms);
            }
            Ok(known)
        });
        answered.await.unwrap_or(Err(Error::Timeout("a rate limit")))
    }

    /// Settles a share some time after it is over, unless that was done meanwhile.
    fn settle_later(self: &Arc<Self>, slot: Arc<Slot>, subject: String, over_in_ms: i64) {
        let this = self.clone();
        tokio::spawn(async move {
            let wait_ms = over_in_ms.max(0) + SETTLE_AFTER_MS;
            tokio::time::sleep(Duration::from_millis(wait_ms.unsigned_abs())).await;
            let Some(question) = slot.share().ask_nothing(this.quota, this.now_ms()) else { return };
            let asked = LogQuestion { key: this.key(&subject), quota: this.quota.logged(), question };
            // What cannot be settled counts as used until its window is over.
            if let Err(error) = this.limiters.questions.submit(asked).await {
                tracing::debug!(limit = this.name, error = %error.chain(), "a share of a limit was not settled");
            }
        });
    }

    fn key(&self, subject: &str) -> String {
        format!("{}:{subject}", self.name)
    }
}
