//! Settings: RabbitMQ.

use super::check::{CAPACITY_MAX, TIME_MAX_MS, need_within};
use serde::{Deserialize, Serialize};

/// The longest prefix, in bytes: RabbitMQ's names have at most 255.
const PREFIX_LEN_MAX: usize = 100;
/// The prefix of names that RabbitMQ reserves.
const PREFIX_RESERVED: &str = "amq.";
/// Maximum number of delay tiers. Each has one queue, which all shards share.
const TIERS_MAX: usize = 32;
/// The highest `queue_len_max`.
const QUEUE_LEN_MAX: i64 = 1_000_000_000;

/// RabbitMQ.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AmqpConfig {
    /// Prefix of the names of exchanges and queues.
    pub prefix: String,
    /// Number of work queues; a job's stream decides which one it goes to.
    pub shards: u16,
    /// Delay tiers, ascending. Longer delays live in the database only.
    pub tiers_ms: Vec<i64>,
    /// Unacknowledged messages that one work queue hands out.
    pub prefetch: u16,
    /// Maximum number of messages of a work queue.
    pub queue_len_max: i64,
    /// Maximum number of publications that wait for a confirmation.
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

impl AmqpConfig {
    /// Reports each problem.
    pub(super) fn check(&self, need: &mut impl FnMut(bool, &str)) {
        need(
            (1..=PREFIX_LEN_MAX).contains(&self.prefix.len())
                && self.prefix.bytes().all(|byte| byte.is_ascii_graphic())
                && !self.prefix.starts_with(PREFIX_RESERVED),
            "amqp.prefix must have 1 to 100 visible ASCII characters and not begin with amq.",
        );
        need_within(need, "amqp.shards", self.shards, 1..=64);
        let times = 1..=TIME_MAX_MS.cast_signed();
        need(
            (1..=TIERS_MAX).contains(&self.tiers_ms.len())
                && self.tiers_ms.iter().all(|tier_ms| times.contains(tier_ms))
                && self.tiers_ms.is_sorted_by(|a, b| a < b),
            &format!("amqp.tiers_ms must be 1 to {TIERS_MAX} ascending times from 1 to {TIME_MAX_MS}"),
        );
        need_within(need, "amqp.prefetch", self.prefetch, 1..=u16::MAX);
        need_within(need, "amqp.queue_len_max", self.queue_len_max, 1..=QUEUE_LEN_MAX);
        need_within(need, "amqp.confirms_max", self.confirms_max, 1..=CAPACITY_MAX);
    }
}
