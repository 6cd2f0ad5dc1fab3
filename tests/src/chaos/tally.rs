//! What was counted during a run.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that many tasks count up.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Count {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

/// All counts of a run.
#[derive(Debug, Default, Serialize)]
pub struct Tally {
    /// Requests (not deliveries) that the server did.
    pub acknowledged: Count,
    /// Requests that it refused for good.
    pub refused: Count,
    /// Requests and deliveries that were made once more for want of a definite answer.
    pub retried: Count,
    /// Requests to which there was no definite answer to the end.
    pub unanswered: Count,
    /// Requests repeated after their answer, to see whether the answer stays the same.
    pub echoes: Count,
    /// Events sent.
    pub events: Count,
    /// Deliveries answered with 2xx.
    pub deliveries: Count,
    /// Of those, deliveries that the server called duplicates.
    pub duplicates: Count,
    /// Deliveries under a wrong signature, all refused.
    pub forgeries: Count,
    /// Nodes that got SIGKILL.
    pub kills: Count,
    /// Nodes that ended in good order when they were asked to.
    pub graceful_stops: Count,
    /// Crashes of Postgres.
    pub postgres_restarts: Count,
    /// Restarts of RabbitMQ in good order.
    pub rabbitmq_restarts: Count,
    /// RabbitMQ killed.
    pub rabbitmq_kills: Count,
    /// RabbitMQ emptied.
    pub rabbitmq_wipes: Count,
    /// Faults left out because an earlier one was not over.
    pub faults_skipped: Count,
}
