//! The process's place among those that may use units of large limits without asking.
//!
//! At most [`PROCESSES_MAX`](bursar_engine::domain::rate_limit::PROCESSES_MAX) processes have one, so that the part of a
//! limit that is kept for them is enough. A place is a unit of a limit itself ([`PLACES`]), taken for a minute and renewed
//! while it is needed; the place of a process that ended stays taken for the longest window. Whoever has none asks the
//! database for every key.

use super::LogQuestions;
use crate::batcher::Batcher;
use bursar_engine::clock::Clock;
use bursar_engine::domain::rate_limit::PLACES;
use bursar_engine::domain::rate_limit::log::{Asked, Settlement, Taken};
use bursar_engine::domain::rate_limit::share::Question;
use bursar_engine::usecase::rate_limit::LogQuestion;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// For how long a place is taken, in milliseconds.
const HOLD_MS: i64 = 60_000;
/// It is renewed when less than this is left of it, in milliseconds.
const RENEW_MS: i64 = 40_000;
/// How long is waited after a try before the next one, in milliseconds.
const AGAIN_MS: i64 = 5_000;
/// Its key in the database.
const KEY: &str = "processes:";

/// The place, or the wish for one. Cheap to clone.
#[derive(Clone)]
pub(super) struct Place {
    questions: Batcher<LogQuestions>,
    clock: Clock,
    state: Arc<State>,
}

struct State {
    until_ms: AtomicI64,
    again_ms: AtomicI64,
    is_asking: AtomicBool,
}

impl Place {
    pub(super) fn new(questions: Batcher<LogQuestions>, clock: Clock) -> Self {
        let none = || AtomicI64::new(i64::MIN);
        let state = State { until_ms: none(), again_ms: none(), is_asking: AtomicBool::new(false) };
        Self { questions, clock, state: Arc::new(state) }
    }

    /// Whether the process has a place now. Asks for one, or for a longer time, if it is needed; nobody waits for that.
    pub(super) fn is_held(&self) -> bool {
        let now_ms = self.clock.now_ms();
        let until_ms = self.state.until_ms.load(Ordering::Relaxed);
        let is_short = until_ms < now_ms + RENEW_MS && now_ms >= self.state.again_ms.load(Ordering::Relaxed);
        if is_short && !self.state.is_asking.swap(true, Ordering::AcqRel) {
            let this = self.clone();
            tokio::spawn(async move {
                this.ask(until_ms, now_ms).await;
                this.state.is_asking.store(false, Ordering::Release);
            });
        }
        now_ms < until_ms
    }

    /// Takes a place, and gives back the one that ends at `until_ms`, unused as far as the limit is concerned.
    async fn ask(&self, until_ms: i64, now_ms: i64) {
        self.state.again_ms.store(now_ms + AGAIN_MS, Ordering::Relaxed);
        let settled = Settlement { until_ms, units: 1, used: 0, last_used_ms: now_ms };
        let asked = Asked { needed: 1, wanted: 1, hold_ms: HOLD_MS };
        let question = Question { asked: Some(asked), settled: Some(settled), given_back: 0 };
        let question = LogQuestion { key: KEY.to_owned(), quota: PLACES, question };
        match self.questions.submit(question).await {
            Ok(Some(Taken::Share { until_ms, .. })) => self.state.until_ms.store(until_ms, Ordering::Relaxed),
            // Others have all places.
            Ok(_) => {}
            Err(error) => tracing::debug!(error = %error, "a place among the processes was not taken"),
        }
    }
}
