//! Whose call is next when Stripe's rate limit makes calls wait.
//!
//! Calls wait in one line for each caller, and the lines take turns. So a caller with many waiting calls delays another
//! one's next call by at most one call for each line.

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Maximum number of waiting calls of one caller.
const LINE_LEN_MAX: usize = 64;

/// Too many calls of the caller are waiting already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineFull;

/// A rate limit whose waiting callers take turns.
pub(super) struct Turns {
    limiter: DefaultDirectRateLimiter,
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    /// The waiting calls of each caller, oldest first.
    by_caller: HashMap<Arc<str>, VecDeque<oneshot::Sender<()>>>,
    /// The callers with waiting calls, in the order of their turns.
    order: VecDeque<Arc<str>>,
    /// Whether a task gives the waiting calls their turns.
    is_served: bool,
}

impl Lines {
    /// Puts a call at the end of its caller's line.
    fn add(&mut self, caller: &Arc<str>, call: oneshot::Sender<()>) -> Result<(), LineFull> {
        let line = self.by_caller.entry(caller.clone()).or_default();
        if line.is_empty() {
            self.order.push_back(caller.clone());
        }
        // Calls that gave up while they waited leave their places.
        if line.len() >= LINE_LEN_MAX {
            line.retain(|call| !call.is_closed());
        }
        if line.len() >= LINE_LEN_MAX {
            return Err(LineFull);
        }
        line.push_back(call);
        Ok(())
    }

    /// The call whose turn it is; `None` if none waits. Its caller's next turn comes after everybody else's.
    fn next(&mut self) -> Option<oneshot::Sender<()>> {
        while let Some(caller) = self.order.pop_front() {
            let Some(line) = self.by_caller.get_mut(&caller) else { continue };
            let call = std::iter::from_fn(|| line.pop_front()).find(|call| !call.is_closed());
            if line.is_empty() {
                self.by_caller.remove(&caller);
            } else {
                self.order.push_back(caller);
            }
            if call.is_some() {
                return call;
            }
        }
        None
    }
}

impl Turns {
    /// At most `rate_per_s` calls a second.
    pub(super) fn new(rate_per_s: u32) -> Arc<Self> {
        let quota = Quota::per_second(NonZeroU32::new(rate_per_s).unwrap_or(NonZeroU32::MIN));
        Arc::new(Self { limiter: RateLimiter::direct(quota), lines: Mutex::default() })
    }

    /// Waits for the caller's turn.
    ///
    /// # Errors
    /// [`LineFull`], at once.
    pub(super) async fn wait(self: &Arc<Self>, caller: &Arc<str>) -> Result<(), LineFull> {
        let (turn, is_next) = oneshot::channel();
        {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if !lines.is_served && self.limiter.check().is_ok() {
                return Ok(());
            }
            lines.add(caller, turn)?;
            if !std::mem::replace(&mut lines.is_served, true) {
                tokio::spawn(serve(self.clone()));
            }
        }
        // The sender is dropped only when the process ends.
        let _ = is_next.await;
        Ok(())
    }

    /// The next call; if none waits, the line is no longer served.
    fn next(&self) -> Option<oneshot::Sender<()>> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let next = lines.next();
        lines.is_served = next.is_some();
        next
    }
}

/// Gives the waiting calls their turns, as fast as the limit allows, until none waits.
async fn serve(turns: Arc<Turns>) {
    loop {
        turns.limiter.until_ready().await;
        // A call that gives up at this moment wastes its turn.
        let Some(call) = turns.next() else { return };
        let _ = call.send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn caller(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    /// Adds a call and returns what tells that its turn has come.
    fn add(lines: &mut Lines, name: &str) -> oneshot::Receiver<()> {
        let (turn, is_next) = oneshot::channel();
        lines.add(&caller(name), turn).expect("the line is short");
        is_next
    }

    #[test]
    fn a_caller_with_one_call_waits_for_one_call_of_each_other() {
        let mut lines = Lines::default();
        let _flood: Vec<_> = (0..50).map(|_| add(&mut lines, "flood")).collect();
        let mut single = add(&mut lines, "single");
        lines.next().expect("a call waits").send(()).expect("it waits");
        assert!(single.try_recv().is_err(), "the flood was first");
        lines.next().expect("a call waits").send(()).expect("it waits");
        assert_eq!(single.try_recv(), Ok(()));
    }

    #[test]
    fn a_line_is_bounded_and_calls_that_gave_up_leave_it() {
        let mut lines = Lines::default();
        let waiting: Vec<_> = (0..LINE_LEN_MAX).map(|_| add(&mut lines, "flood")).collect();
        assert_eq!(lines.add(&caller("flood"), oneshot::channel().0), Err(LineFull));
        let _other = add(&mut lines, "other");
        drop(waiting);
        let _late = add(&mut lines, "flood");
        assert_eq!(std::iter::from_fn(|| lines.next()).count(), 2, "only calls that still wait get a turn");
        assert!(lines.by_caller.is_empty() && lines.order.is_empty(), "nothing is left of them");
    }

    proptest! {
        #[test]
        fn between_two_turns_of_a_caller_every_other_that_waits_has_one(calls in prop::collection::vec(0..4_usize, 1..60)) {
            let mut lines = Lines::default();
            let mut waiting: Vec<_> = calls.iter().map(|of| (*of, add(&mut lines, &of.to_string()))).collect();
            let mut turns = Vec::new();
            while let Some(call) = lines.next() {
                call.send(()).expect("it waits");
                let at = waiting.iter_mut().position(|(_, is_next)| is_next.try_recv().is_ok()).expect("one of them");
                turns.push(waiting.remove(at).0);
                let last = turns[turns.len() - 1];
                if let Some(before) = turns[..turns.len() - 1].iter().rposition(|of| *of == last) {
                    for (of, _) in &waiting {
                        prop_assert!(turns[before..].contains(of), "{turns:?}, and {of} waits");
                    }
                }
            }
            prop_assert!(waiting.is_empty());
        }
    }

    #[tokio::test]
    async fn every_call_beyond_the_limit_gets_its_turn_in_the_end() {
        let turns = Turns::new(100);
        let calls = (0..130).map(|n| {
            let (turns, caller) = (turns.clone(), caller(&(n % 3).to_string()));
            tokio::spawn(async move { turns.wait(&caller).await })
        });
        for call in calls.collect::<Vec<_>>() {
            assert_eq!(call.await.expect("it ends"), Ok(()));
        }
        let lines = turns.lines.lock().expect("nobody panicked");
        assert!(lines.by_caller.is_empty() && lines.order.is_empty());
    }
}
