//! The counters of a run.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter shared by many tasks.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds one.
    pub fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Count {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

/// All counters of a run.
#[derive(Debug, Default, Serialize)]
pub struct Tally {
    /// Requests (not deliveries) that the server executed.
    pub acknowledged: Count,
    /// Requests that it refused.
    pub refused: Count,
    /// Retries of requests and deliveries without a definite answer.
    pub retried: Count,
    /// Requests that never had a definite answer.
    pub unanswered: Count,
    /// Requests repeated after their answer, to check that the answer stays the same.
    pub repeats: Count,
    /// Events sent.
    pub events: Count,
    /// Deliveries answered with 2xx.
    pub deliveries: Count,
    /// Those of them that the server called duplicates.
    pub duplicates: Count,
    /// Deliveries with a wrong signature, all refused.
    pub forgeries: Count,
    /// Nodes that got SIGKILL.
    pub kills: Count,
    /// Nodes that stopped in order after SIGTERM.
    pub graceful_stops: Count,
    /// Crashes of Postgres.
    pub postgres_restarts: Count,
    /// Orderly restarts of RabbitMQ.
    pub rabbitmq_restarts: Count,
    /// Kills of RabbitMQ.
    pub rabbitmq_kills: Count,
    /// Wipes of RabbitMQ.
    pub rabbitmq_wipes: Count,
    /// Faults skipped because an earlier one was not over.
    pub faults_skipped: Count,
}
