//! The batcher: gathers the items of many callers into batches.
//!
//! While a batch is under way the next one fills, so batches grow with the load and a lone item does not wait. Group
//! commit, event intake and claims of work are built on it.
//!
//! A batcher is a queue, not an actor: the caller starts the batch if none is under way, so items pass through no
//! mailbox.
//!
//! The items of a batch share one transaction. When the database refuses the batch because of one item, `isolate`
//! finds that item, and only that one fails.

mod isolate;

use crate::deadline::COMMIT_MAX;
use bursar_engine::{Error, Result, metric};
use isolate::Suspects;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What a batcher does with a batch.
pub(crate) trait Work: Send + Sync + 'static {
    /// What callers submit.
    type Item: Send + Sync + 'static;
    /// What they get back.
    type Answer: Send + 'static;
    /// Name for metrics and errors.
    const NAME: &'static str;

    /// The account or stream whose row the item locks.
    fn key(item: &Self::Item) -> &str;

    /// Runs a batch in one transaction and returns one answer per item, in order. If `short_lock_wait`, it waits only
    /// briefly for locked rows.
    fn run(
        &self,
        items: &[Self::Item],
        short_lock_wait: bool,
    ) -> impl Future<Output = Result<Vec<Self::Answer>>> + Send;
}

/// The answer for one item. The error may be shared with other items. Unless it `is_item_fault`, the item may have
/// been committed.
pub(crate) type Answered<W> = Result<<W as Work>::Answer, Arc<Error>>;

/// Receives the answer for an item. Dropped uncalled if the batch panics or times out.
type Reply<W> = Box<dyn FnOnce(Answered<W>) + Send>;

/// Bounds of a batcher.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Maximum number of items in one batch.
    pub(crate) batch_max: usize,
    /// Batches under way at once.
    pub(crate) concurrency: usize,
    /// Waiting items needed to start a second batch beside the first. Fewer wait for the first to end, because two
    /// small batches cost twice as much as one.
    pub(crate) second_batch_min: usize,
    /// Maximum number of items waiting or under way; more are refused.
    pub(crate) waiting_max: usize,
}

/// A handle to a batcher. Cheap to clone.
pub(crate) struct Batcher<W: Work> {
    shared: Arc<Shared<W>>,
}

impl<W: Work> Clone for Batcher<W> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<W: Work> {
    work: W,
    limits: Limits,
    suspects: Suspects,
    queue: Mutex<Queue<W>>,
}

struct Queue<W: Work> {
    waiting: VecDeque<(W::Item, Reply<W>)>,
    batches_under_way: usize,
    items_under_way: usize,
}

impl<W: Work> Batcher<W> {
    pub(crate) fn new(work: W, limits: Limits) -> Self {
        let queue = Queue { waiting: VecDeque::new(), batches_under_way: 0, items_under_way: 0 };
        Self { shared: Arc::new(Shared { work, limits, suspects: Suspects::default(), queue: Mutex::new(queue) }) }
    }

    /// Submits an item and waits for its answer.
    ///
    /// # Errors
    /// The work's error; `Busy` if too many items wait (nothing was done); `Timeout` if the batch panicked or timed out
    /// (it may have been committed).
    pub(crate) async fn submit(&self, item: W::Item) -> Answered<W> {
        let (reply, answer) = oneshot::channel();
        self.submit_then(item, |answered| {
            // The caller may have stopped waiting.
            let _ = reply.send(answered);
        });
        answer.await.map_err(|_| Error::Timeout(W::NAME))?
    }

    /// Submits an item and calls `reply` with the result that [`Batcher::submit`] would return. If the batch panics or
    /// times out, `reply` is dropped uncalled.
    pub(crate) fn submit_then(&self, item: W::Item, reply: impl FnOnce(Answered<W>) + Send + 'static) {
        let mut queue = self.shared.queue();
        if queue.waiting.len() + queue.items_under_way >= self.shared.limits.waiting_max {
            drop(queue);
            return reply(Err(Arc::new(Error::Busy(W::NAME))));
        }
        queue.waiting.push_back((item, Box::new(reply)));
        Shared::begin(&self.shared, queue);
    }
}

impl<W: Work> Shared<W> {
    fn queue(&self) -> MutexGuard<'_, Queue<W>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a batch if enough items wait.
    fn begin(this: &Arc<Self>, mut queue: MutexGuard<'_, Queue<W>>) {
        let needed = if queue.batches_under_way == 0 { 1 } else { this.limits.second_batch_min };
        if queue.batches_under_way >= this.limits.concurrency || queue.waiting.len() < needed {
            return;
        }
        // No task can be spawned once the runtime has shut down.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let size = queue.waiting.len().min(this.limits.batch_max);
        let batch: Vec<_> = queue.waiting.drain(..size).collect();
        queue.batches_under_way += 1;
        queue.items_under_way += size;
        // Unlock first: a runtime that shuts down drops the task at once, and dropping `end` takes the lock.
        drop(queue);
        let end = BatchEnd { shared: this.clone(), size };
        runtime.spawn(run_batch(this.clone(), batch, end));
    }
}

/// Starts the next batch when dropped, so also after a panic.
struct BatchEnd<W: Work> {
    shared: Arc<Shared<W>>,
    size: usize,
}

impl<W: Work> Drop for BatchEnd<W> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.batches_under_way -= 1;
        queue.items_under_way -= self.size;
        Shared::begin(&self.shared, queue);
    }
}

async fn run_batch<W: Work>(shared: Arc<Shared<W>>, mut batch: Vec<(W::Item, Reply<W>)>, end: BatchEnd<W>) {
    let started = Instant::now();
    #[allow(clippy::cast_precision_loss)]
    metrics::histogram!(metric::BATCH_ITEMS, "batch" => W::NAME).record(batch.len() as f64);
    let unsuspected = shared.suspects.put_last(&mut batch, |(item, _)| W::key(item));
    let (items, replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let run_all = isolate::run_all(&shared.work, &shared.suspects, &items, unsuspected);
    let Ok(answers) = tokio::time::timeout(COMMIT_MAX, run_all).await else {
        tracing::error!(batch = W::NAME, "a batch timed out");
        return;
    };
    metrics::histogram!(metric::BATCH_SECONDS, "batch" => W::NAME).record(started.elapsed().as_secs_f64());
    // Start the next batch before waking the callers of this one.
    drop(end);
    for (reply, answer) in replies.into_iter().zip(answers) {
        reply(answer);
    }
}
