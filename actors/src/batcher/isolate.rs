//! Finds what a batch fails for, so that only that fails.
//!
//! A batch that the database refuses for something in it is halved until what it is about stands
//! alone. That takes a few short transactions once; whatever was found is remembered for a while and
//! goes last and alone, so that a row that stays locked does not hold its neighbours up each time.

use super::{Answered, Work};
use bursar_engine::Error;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a batch is taken apart; what is not done by then is to come again.
const ISOLATE_MAX: Duration = Duration::from_secs(3);
/// How long it is remembered what a batch failed for, unless it succeeds before.
const SUSPECT_FOR: Duration = Duration::from_secs(60);
/// Most that is remembered; what is beyond is found out again.
const SUSPECTS_MAX: usize = 1_000;

/// Accounts and streams that batches failed for lately.
#[derive(Default)]
pub(super) struct Suspects(Mutex<HashMap<String, Instant>>);

impl Suspects {
    /// Moves items about suspects to the end, in their order; gives how many are before them.
    pub(super) fn put_last<T>(&self, batch: &mut Vec<T>, about: impl Fn(&T) -> &str) -> usize {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            return batch.len();
        }
        let (last, first): (Vec<T>, Vec<T>) = batch.drain(..).partition(|item| known.contains_key(about(item)));
        let innocent = first.len();
        batch.extend(first.into_iter().chain(last));
        innocent
    }

    fn add(&self, about: &str) {
        let now = Instant::now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, since| now.duration_since(*since) < SUSPECT_FOR);
        if known.len() < SUSPECTS_MAX {
            known.insert(about.to_owned(), now);
        }
    }

    fn clear(&self, about: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(about);
    }
}

/// Works items off, the first `innocent` of them together and each of the others alone: one answer
/// each, in order.
pub(super) async fn work_off<W: Work>(
    work: &W,
    suspects: &Suspects,
    items: &[W::Item],
    innocent: usize,
) -> Vec<Answered<W>> {
    let mut answers: Vec<Option<Answered<W>>> = items.iter().map(|_| None).collect();
    // Worked off from the end; the flag says whether it is in haste.
    let mut groups: Vec<(Range<usize>, bool)> = (innocent..items.len()).rev().map(|at| (at..at + 1, true)).collect();
    groups.push((0..innocent, false));
    let mut hurry_until = None;
    while let Some((group, in_haste)) = groups.pop() {
        if group.is_empty() {
            continue;
        }
        if in_haste && Instant::now() > *hurry_until.get_or_insert_with(|| Instant::now() + ISOLATE_MAX) {
            break;
        }
        match work.run(&items[group.clone()], in_haste).await {
            Ok(done) => {
                if in_haste && group.len() == 1 {
                    suspects.clear(W::about(&items[group.start]));
                }
                answers[group].iter_mut().zip(done).for_each(|(slot, answer)| *slot = Some(Ok(answer)));
            }
            Err(error) if !error.is_item_fault() => {
                tracing::warn!(batch = W::NAME, items = items.len(), error = %error.chain(), "a batch failed");
                let error = Arc::new(error);
                answers.iter_mut().for_each(|slot| {
                    slot.get_or_insert_with(|| Err(error.clone()));
                });
                break;
            }
            Err(error) if in_haste && group.len() == 1 => {
                let about = W::about(&items[group.start]);
                tracing::warn!(batch = W::NAME, about, error = %error.chain(), "a batch failed for this; it was left out");
                suspects.add(about);
                answers[group.start] = Some(Err(Arc::new(error)));
            }
            // Once more in haste: in halves, or alone if it was alone.
            Err(_) => {
                let middle = group.start + group.len() / 2;
                groups.push((middle..group.end, true));
                groups.push((group.start..middle, true));
            }
        }
    }
    answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(|| Err(Arc::new(Error::Unavailable("the database")))))
        .collect()
}

#[cfg(test)]
mod tests;
