//! Finds the item because of which the database refused a batch, so that only that item fails.
//!
//! The batch is halved, in a few short transactions, until the faulty item is alone. Its key is remembered for a while:
//! items with that key run last and alone, so that a row that stays locked does not delay every batch.

use super::{Answered, Work};
use bursar_engine::Error;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a batch is split. Items that have not run by then fail and can be retried.
const ISOLATE_MAX: Duration = Duration::from_secs(3);
/// How long a key is suspect, unless an item with it succeeds earlier.
const SUSPECT_FOR: Duration = Duration::from_secs(60);
/// Maximum number of suspects. Further keys are not remembered.
const SUSPECTS_MAX: usize = 1_000;

/// Keys of accounts and streams because of which batches failed recently.
#[derive(Default)]
pub(super) struct Suspects(Mutex<HashMap<String, Instant>>);

impl Suspects {
    /// Moves items with suspect keys to the end, keeping their order. Returns the number of the other items.
    pub(super) fn put_last<T>(&self, batch: &mut Vec<T>, key: impl Fn(&T) -> &str) -> usize {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            return batch.len();
        }
        let (last, first): (Vec<T>, Vec<T>) = batch.drain(..).partition(|item| known.contains_key(key(item)));
        let unsuspected = first.len();
        batch.extend(first.into_iter().chain(last));
        unsuspected
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

/// Runs the first `unsuspected` items together and each of the others alone. Returns one answer per item, in order.
pub(super) async fn run_all<W: Work>(
    work: &W,
    suspects: &Suspects,
    items: &[W::Item],
    unsuspected: usize,
) -> Vec<Answered<W>> {
    let mut answers: Vec<Option<Answered<W>>> = items.iter().map(|_| None).collect();
    // A stack of groups. True: suspects and retries, which wait only briefly for locked rows.
    let mut groups: Vec<(Range<usize>, bool)> = (unsuspected..items.len()).rev().map(|at| (at..at + 1, true)).collect();
    groups.push((0..unsuspected, false));
    let mut isolate_until = None;
    while let Some((group, short_lock_wait)) = groups.pop() {
        if group.is_empty() {
            continue;
        }
        if short_lock_wait && Instant::now() > *isolate_until.get_or_insert_with(|| Instant::now() + ISOLATE_MAX) {
            break;
        }
        match work.run(&items[group.clone()], short_lock_wait).await {
            Ok(done) => {
                if short_lock_wait && group.len() == 1 {
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
            Err(error) if short_lock_wait && group.len() == 1 => {
                let key = W::key(&items[group.start]);
                tracing::warn!(batch = W::NAME, key, error = %error.chain(), "a batch failed because of this item, which was left out");
                suspects.add(key);
                answers[group.start] = Some(Err(Arc::new(error)));
            }
            // Retry with a short wait: in halves, or once more if it is a single item.
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
