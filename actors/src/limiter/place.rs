//! The process's place among those that may use units of large limits without asking
//! ([`place`]). Whoever has none asks the database for every key.

use super::LogQuestions;
use crate::batcher::Batcher;
use bursar_engine::clock::Clock;
use bursar_engine::domain::rate_limit::log::Taken;
use bursar_engine::domain::rate_limit::place::{self, PLACES};
use bursar_engine::usecase::rate_limit::LogQuestion;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// How long is waited after a try before the next one, in milliseconds.
const AGAIN_MS: i64 = 5_000;
/// Its key in the database.
const KEY: &str = "processes:";
/// The end of a place that was never taken.
const NEVER: i64 = i64::MIN;

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
        let never = || AtomicI64::new(NEVER);
        let state = State { until_ms: never(), again_ms: never(), is_asking: AtomicBool::new(false) };
        Self { questions, clock, state: Arc::new(state) }
    }

    /// Whether the process has a place now. Asks for one, or for a longer time, if it is needed; nobody waits for that.
    pub(super) fn is_held(&self) -> bool {
        let now_ms = self.clock.now_ms();
        let until_ms = Some(self.state.until_ms.load(Ordering::Relaxed)).filter(|until_ms| *until_ms != NEVER);
        let may_ask = place::is_short(until_ms, now_ms) && now_ms >= self.state.again_ms.load(Ordering::Relaxed);
        if may_ask && !self.state.is_asking.swap(true, Ordering::AcqRel) {
            let this = self.clone();
            tokio::spawn(async move {
                this.ask(until_ms, now_ms).await;
                this.state.is_asking.store(false, Ordering::Release);
            });
        }
        until_ms.is_some_and(|until_ms| now_ms < until_ms)
    }

    async fn ask(&self, until_ms: Option<i64>, now_ms: i64) {
        self.state.again_ms.store(now_ms + AGAIN_MS, Ordering::Relaxed);
        let question = place::question(until_ms, now_ms);
        let question = LogQuestion { key: KEY.to_owned(), quota: PLACES, question };
        match self.questions.submit(question).await {
            Ok(Some(Taken::Share { until_ms, .. })) => self.state.until_ms.store(until_ms, Ordering::Relaxed),
            // Others have all places.
            Ok(_) => {}
            Err(error) => tracing::debug!(error = %error, "a place among the processes was not taken"),
        }
    }
}
