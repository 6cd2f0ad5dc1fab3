//! The batcher: gathers what many callers want into batches and works one batch off at a time.
//!
//! While a batch is under way the next one fills, so under load batches grow by themselves and at
//! rest nobody waits. Group commit of decisions, intake of events and claims of work are all this.
//!
//! A batcher is a queue, not an actor: whoever hands an item in starts the batch if none is under way,
//! so an item at rest crosses no mailbox on its way to the database.
//!
//! Whoever shares a batch shares its transaction, but not its neighbour's fate: when the database
//! refuses a batch for something that is in it, `isolate` finds out what, and only that fails.

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
    /// What callers hand in.
    type Item: Send + Sync + 'static;
    /// What they get back.
    type Answer: Send + 'static;
    /// Name for metrics and errors.
    const NAME: &'static str;

    /// What an item is about: the account or stream whose row it may have to wait for.
    fn about(item: &Self::Item) -> &str;

    /// Works a batch off in one transaction, the whole of it or nothing: one answer for each item, in
    /// order. In haste, it does not wait long for a row that somebody keeps locked.
    fn run(&self, items: &[Self::Item], in_haste: bool) -> impl Future<Output = Result<Vec<Self::Answer>>> + Send;
}

/// What became of one item. The error may be shared with others; unless it `is_item_fault`, the item
/// may have been done nevertheless.
pub(crate) type Answered<W> = Result<<W as Work>::Answer, Arc<Error>>;

/// Hears what became of an item. It is dropped unheard if the batch panics or takes too long.
type Reply<W> = Box<dyn FnOnce(Answered<W>) + Send>;

/// Bounds of a batcher.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most items in one batch.
    pub(crate) batch_max: usize,
    /// Batches under way at once.
    pub(crate) concurrency: usize,
    /// So many items must wait before a batch begins beside another. Fewer go together once that one
    /// ends: two small batches cost twice what one costs.
    pub(crate) crowd: usize,
    /// Most items waiting or under way; more are refused.
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

    /// Hands an item in and waits for its answer.
    ///
    /// # Errors
    /// The work's; `Busy` if too much waits already (nothing was done); `Timeout` if the batch failed
    /// on the way (it may have been done).
    pub(crate) async fn submit(&self, item: W::Item) -> Answered<W> {
        let (reply, answer) = oneshot::channel();
        self.submit_then(item, |answered| {
            // A caller that has stopped waiting needs no answer.
            let _ = reply.send(answered);
        });
        answer.await.map_err(|_| Error::Timeout(W::NAME))?
    }

    /// Hands an item in; `reply` hears what [`Batcher::submit`] would answer. If the batch fails on the
    /// way, `reply` is dropped unheard.
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

    /// Begins a batch of what waits, if that is worth one now.
    fn begin(this: &Arc<Self>, mut queue: MutexGuard<'_, Queue<W>>) {
        let needed = if queue.batches_under_way == 0 { 1 } else { this.limits.crowd };
        if queue.batches_under_way >= this.limits.concurrency || queue.waiting.len() < needed {
            return;
        }
        // While the runtime shuts down nothing can begin any more.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let size = queue.waiting.len().min(this.limits.batch_max);
        let batch: Vec<_> = queue.waiting.drain(..size).collect();
        queue.batches_under_way += 1;
        queue.items_under_way += size;
        // Unlocked first: a runtime that shuts down drops the task at once, and with it this end.
        drop(queue);
        let end = BatchEnd { shared: this.clone(), size };
        runtime.spawn(run_batch(this.clone(), batch, end));
    }
}

/// The end of a batch, whichever way it comes: the next batch begins.
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
    let innocent = shared.suspects.put_last(&mut batch, |(item, _)| W::about(item));
    let (items, replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let work_off = isolate::work_off(&shared.work, &shared.suspects, &items, innocent);
    let Ok(answers) = tokio::time::timeout(COMMIT_MAX, work_off).await else {
        tracing::error!(batch = W::NAME, "a batch took too long and was given up");
        return;
    };
    metrics::histogram!(metric::BATCH_SECONDS, "batch" => W::NAME).record(started.elapsed().as_secs_f64());
    // The next batch begins before the callers of this one wake up. (If the work panics, it begins then,
    // and they see their replies dropped.)
    drop(end);
    for (reply, answer) in replies.into_iter().zip(answers) {
        reply(answer);
    }
}
