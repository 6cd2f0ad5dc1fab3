//! Settings: RabbitMQ.

use serde::{Deserialize, Serialize};

/// RabbitMQ.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AmqpConfig {
    /// What the names of exchanges and queues begin with.
    pub prefix: String,
    /// Work queues; the ordering key is hashed over them.
    pub shards: u16,
    /// Delay tiers, ascending. Longer delays live in the database only.
    pub tiers_ms: Vec<i64>,
    /// Messages that one work queue hands out before the first is acknowledged.
    pub prefetch: u16,
    /// Most messages of a work queue.
    pub queue_len_max: i64,
    /// Most publications that wait for their confirmation.
    pub confirms_max: usize,
}

impl Default for AmqpConfig {
    fn default() -> Self {
        Self {
            prefix: "bursar.v1".to_owned(),
            shards: 4,
            tiers_ms: vec![5_000, 30_000, 120_000, 600_000],
            prefetch: 128,
            queue_len_max: 1_000_000,
            confirms_max: 512,
        }
    }
}
