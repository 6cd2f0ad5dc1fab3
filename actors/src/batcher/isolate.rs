//! Finds the item for which a batch is refused, so that only that item fails.
//!
//! A batch that the database refuses because of an item is halved until that item stands alone. This takes a few
//! short transactions once. The item's key is remembered for a while: items with that key are done last and alone,
//! so that a row that stays locked does not delay the others each time.

use super::{Answered, Work};
use bursar_engine::Error;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a batch is taken apart. Items that are not done by then fail and can be retried.
const ISOLATE_MAX: Duration = Duration::from_secs(3);
/// How long a key is suspect, unless an item with it succeeds before.
const SUSPECT_FOR: Duration = Duration::from_secs(60);
/// Most suspects. Keys beyond that are found again each time.
const SUSPECTS_MAX: usize = 1_000;

/// Keys of accounts and streams for which batches failed lately.
#[derive(Default)]
pub(super) struct Suspects(Mutex<HashMap<String, Instant>>);

impl Suspects {
    /// Moves items with suspect keys to the end, in their order; returns how many are before them.
    pub(super) fn put_last<T>(&self, batch: &mut Vec<T>, key: impl Fn(&T) -> &str) -> usize {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            return batch.len();
        }
        let (last, first): (Vec<T>, Vec<T>) = batch.drain(..).partition(|item| known.contains_key(key(item)));
        let innocent = first.len();
        batch.extend(first.into_iter().chain(last));
        innocent
    }

    fn add(&self, key: &str) {
        let now = Instant::now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, since| now.duration_since(*since) < SUSPECT_FOR);
        if known.len() < SUSPECTS_MAX {
            known.insert(key.to_owned(), now);
        }
    }

    fn clear(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// Does the first `innocent` items together and each of the others alone: one answer for each item, in order.
pub(super) async fn run_all<W: Work>(
    work: &W,
    suspects: &Suspects,
    items: &[W::Item],
    innocent: usize,
) -> Vec<Answered<W>> {
    let mut answers: Vec<Option<Answered<W>>> = items.iter().map(|_| None).collect();
    // A stack; the flag says whether the group is done in haste.
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
                    suspects.clear(W::key(&items[group.start]));
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
                let key = W::key(&items[group.start]);
                tracing::warn!(batch = W::NAME, about = key, error = %error.chain(), "a batch failed for this; it was left out");
                suspects.add(key);
                answers[group.start] = Some(Err(Arc::new(error)));
            }
            // Again in haste: in halves, or once more alone if it was alone.
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
