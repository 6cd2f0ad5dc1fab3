//! The intake of events: stores deliveries in batches, then acknowledges and announces them.

use crate::batcher::{Batcher, Limits, Work};
use crate::dispatch::Dispatcher;
use bursar_engine::clock::Clock;
use bursar_engine::domain::webhook::delivery::{Delivery, Fate};
use bursar_engine::ids::EventId;
use bursar_engine::infra::store::Db;
use bursar_engine::usecase::intake::{event_source_label, event_type_label, take_in};
use bursar_engine::{Error, Result, metric};
use std::sync::Arc;

/// Maximum number of deliveries in one transaction.
const BATCH_MAX: usize = 128;
/// Transactions under way at once. (SQLite runs one at a time.)
const CONCURRENCY: usize = 2;
/// Waiting deliveries needed to start a second transaction beside the first.
const SECOND_BATCH_MIN: usize = 32;
/// Maximum number of waiting deliveries. Further ones are refused and must be sent again.
const WAITING_MAX: usize = 2_048;

struct EventWriter {
    db: Db,
    clock: Clock,
    dispatcher: Dispatcher,
}

impl Work for EventWriter {
    type Item = Delivery;
    type Answer = Receipt;
    const NAME: &'static str = "intake";

    fn key(delivery: &Delivery) -> &str {
        &delivery.event.stream_key
    }

    async fn run(&self, deliveries: &[Delivery], short_lock_wait: bool) -> Result<Vec<Receipt>> {
        let taken = take_in(&self.db.with_short_lock_wait(short_lock_wait), deliveries, self.clock.now_ms()).await?;
        self.dispatcher.announce(taken.wakes);
        let receipts = deliveries.iter().zip(taken.is_new);
        Ok(receipts.map(|(delivery, is_new)| Receipt { event_id: delivery.event.id.clone(), is_new }).collect())
    }
}

/// Confirms that a delivery is stored.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The event's id. For a duplicate it is stored nowhere: the earlier delivery has another one.
    pub event_id: EventId,
    /// False for a duplicate of a stored event.
    pub is_new: bool,
}

/// Stores deliveries. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    batcher: Batcher<EventWriter>,
}

impl Intake {
    pub(crate) fn new(db: &Db, clock: &Clock, dispatcher: &Dispatcher) -> Self {
        let writer = EventWriter { db: db.clone(), clock: clock.clone(), dispatcher: dispatcher.clone() };
        let limits = Limits {
            batch_max: BATCH_MAX,
            concurrency: CONCURRENCY,
            second_batch_min: SECOND_BATCH_MIN,
            waiting_max: WAITING_MAX,
        };
        Self { batcher: Batcher::new(writer, limits) }
    }

    /// Stores a delivery. After `Ok` the event is durable and will be processed.
    ///
    /// # Errors
    /// `Busy` or the database's; the sender must deliver again.
    pub async fn store(&self, delivery: Delivery) -> Result<Receipt, Arc<Error>> {
        let source = event_source_label(&delivery.event.source);
        let event_type = event_type_label(&delivery.event.event_type);
        let on_arrival = match delivery.fate {
            Fate::Process => None,
            Fate::Ignore => Some("ignored"),
            Fate::Quarantine(_) => Some("dead"),
        };
        let receipt = self.batcher.submit(delivery).await?;
        metrics::counter!(metric::WEBHOOKS_RECEIVED, "source" => source, "type" => event_type).increment(1);
        if !receipt.is_new {
            metrics::counter!(metric::WEBHOOKS_DUPLICATE, "source" => source, "type" => event_type).increment(1);
        } else if let Some(outcome) = on_arrival {
            metrics::counter!(metric::EVENT_ATTEMPTS, "type" => event_type, "outcome" => outcome).increment(1);
        }
        Ok(receipt)
    }
}
