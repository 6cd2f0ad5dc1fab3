//! The batcher: gathers what many callers want into batches and works one batch off at a time.
//!
//! While a batch is under way the next one fills, so under load batches grow by themselves and at
//! rest nobody waits. Group commit of decisions, intake of events and claims of work are all this.
//!
//! Whoever shares a batch shares its transaction, but not its neighbour's fate: when the database
//! refuses a batch for something that is in it, `isolate` finds out what, and only that fails.

mod isolate;

use crate::owed::Owed;
use crate::root::{Child, Slot};
use bursar_engine::{Error, Result, metric};
use isolate::Suspects;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

/// A batch that takes longer is given up; its callers then do not know what became of it.
const BATCH_TIMEOUT: Duration = Duration::from_secs(30);

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

/// What became of one item. The error may be shared with others; unless it `is_particular`, the item
/// may have been done nevertheless.
pub(crate) type Answered<W> = Result<<W as Work>::Answer, Arc<Error>>;

/// Bounds of a batcher.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most items in one batch.
    pub(crate) batch_max: usize,
    /// Batches under way at once.
    pub(crate) concurrency: usize,
    /// Most items waiting or under way; more are refused.
    pub(crate) waiting_max: usize,
}

pub(crate) enum Msg<W: Work> {
    Item(W::Item, oneshot::Sender<Answered<W>>),
    BatchEnded,
}

/// A handle to a batcher.
pub(crate) struct Batcher<W: Work> {
    slot: Slot<Msg<W>>,
    permits: Arc<Semaphore>,
}

impl<W: Work> Clone for Batcher<W> {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone(), permits: self.permits.clone() }
    }
}

impl<W: Work> Batcher<W> {
    /// A handle and the child that the root has to run.
    pub(crate) fn new(work: W, limits: Limits) -> (Self, Child) {
        let slot = Slot::new();
        let (work, suspects) = (Arc::new(work), Arc::new(Suspects::default()));
        let child = Child::new(W::NAME, slot.clone(), move || {
            (BatcherActor { work: work.clone(), suspects: suspects.clone(), limits }, ())
        });
        (Self { slot, permits: Arc::new(Semaphore::new(limits.waiting_max)) }, child)
    }

    /// Hands an item in and waits for its answer.
    ///
    /// # Errors
    /// The work's; `Busy` if too much waits already (nothing was done); `Timeout` if the batcher failed
    /// on the way (it may have been done).
    pub(crate) async fn submit(&self, item: W::Item) -> Answered<W> {
        let _permit = self.permits.try_acquire().map_err(|_| Error::Busy(W::NAME))?;
        let (reply, answer) = oneshot::channel();
        self.slot.send(W::NAME, Msg::Item(item, reply))?;
        answer.await.map_err(|_| Error::Timeout(W::NAME))?
    }
}

struct BatcherActor<W: Work> {
    work: Arc<W>,
    suspects: Arc<Suspects>,
    limits: Limits,
}

struct BatcherState<W: Work> {
    waiting: VecDeque<(W::Item, oneshot::Sender<Answered<W>>)>,
    under_way: usize,
}

impl<W: Work> Actor for BatcherActor<W> {
    type Msg = Msg<W>;
    type State = BatcherState<W>;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Msg<W>>, (): ()) -> Result<BatcherState<W>, ActorProcessingErr> {
        Ok(BatcherState { waiting: VecDeque::new(), under_way: 0 })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg<W>>,
        message: Msg<W>,
        state: &mut BatcherState<W>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Item(item, reply) => state.waiting.push_back((item, reply)),
            Msg::BatchEnded => state.under_way -= 1,
        }
        if state.under_way < self.limits.concurrency && !state.waiting.is_empty() {
            state.under_way += 1;
            let size = state.waiting.len().min(self.limits.batch_max);
            let batch = state.waiting.drain(..size).collect();
            tokio::spawn(run_batch(
                self.work.clone(),
                self.suspects.clone(),
                batch,
                Owed::new(myself, Msg::BatchEnded),
            ));
        }
        Ok(())
    }
}

async fn run_batch<W: Work>(
    work: Arc<W>,
    suspects: Arc<Suspects>,
    mut batch: Vec<(W::Item, oneshot::Sender<Answered<W>>)>,
    end: Owed<Msg<W>>,
) {
    let started = Instant::now();
    #[allow(clippy::cast_precision_loss)]
    metrics::histogram!(metric::BATCH_ITEMS, "batch" => W::NAME).record(batch.len() as f64);
    let innocent = suspects.put_last(&mut batch, |(item, _)| W::about(item));
    let (items, replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let work_off = isolate::work_off(&*work, &suspects, &items, innocent);
    let Ok(answers) = tokio::time::timeout(BATCH_TIMEOUT, work_off).await else {
        tracing::error!(batch = W::NAME, "a batch took too long and was given up");
        return;
    };
    metrics::histogram!(metric::BATCH_SECONDS, "batch" => W::NAME).record(started.elapsed().as_secs_f64());
    // The next batch begins before the callers of this one wake up. (If the work panics, it begins then,
    // and they see their replies dropped.)
    drop(end);
    for (reply, answer) in replies.into_iter().zip(answers) {
        // A caller that has stopped waiting needs no answer.
        let _ = reply.send(answer);
    }
}
