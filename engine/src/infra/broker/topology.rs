//! Exchanges and queues, the same on RabbitMQ 3.10 and 4.x.
//!
//! `work.x` (direct) feeds `work.0 … work.N-1`. Each delay tier is a fanout exchange with one quorum queue, whose
//! messages have one lifetime and then go to `work.x` under their old routing key. Messages that were delivered too
//! often go to `parked`. Names contain a version, because the arguments of an existing queue cannot be changed.

use crate::config::AmqpConfig;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{Channel, ExchangeKind, Result};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Deliveries of one message before it is parked. RabbitMQ 3.10 has no limit by default.
const DELIVERY_LIMIT: i64 = 20;

/// The names of exchanges and queues.
#[derive(Debug, Clone)]
pub struct Topology {
    prefix: String,
    shards: u16,
    tiers_ms: Vec<i64>,
    queue_len_max: i64,
}

impl Topology {
    /// The topology that the configuration describes.
    pub fn new(config: &AmqpConfig) -> Self {
        Self {
            prefix: config.prefix.clone(),
            shards: config.shards,
            tiers_ms: config.tiers_ms.clone(),
            queue_len_max: config.queue_len_max,
        }
    }

    /// The exchange that feeds the work queues.
    pub fn work_exchange(&self) -> String {
        format!("{}.work.x", self.prefix)
    }

    /// The work queues.
    pub fn work_queues(&self) -> Vec<String> {
        (0..self.shards).map(|shard| format!("{}.work.{shard}", self.prefix)).collect()
    }

    /// The queue of messages that were delivered too often.
    pub fn parked_queue(&self) -> String {
        format!("{}.parked", self.prefix)
    }

    fn parked_exchange(&self) -> String {
        format!("{}.parked.x", self.prefix)
    }

    /// The routing key of a stream: constant, so that its messages stay in one queue.
    pub fn routing_key(&self, stream: &str) -> String {
        let mut hasher = DefaultHasher::new();
        stream.hash(&mut hasher);
        (hasher.finish() % u64::from(self.shards)).to_string()
    }

    /// The exchange for a message due in `delay_ms`: `work.x` if it is due at once, else the shortest tier that is
    /// long enough. `None` if the delay is longer than every tier: it then lives in the database only.
    pub fn exchange_for(&self, delay_ms: i64) -> Option<String> {
        if delay_ms <= 0 {
            return Some(self.work_exchange());
        }
        let tier = self.tiers_ms.iter().find(|tier| **tier >= delay_ms)?;
        Some(self.tier_name(*tier) + ".x")
    }

    fn tier_name(&self, tier_ms: i64) -> String {
        format!("{}.wait.{tier_ms}", self.prefix)
    }

    /// Declares all exchanges and queues. Those that exist with the same arguments are left alone.
    pub async fn declare(&self, channel: &Channel) -> Result<()> {
        for part in self.parts() {
            part.declare(channel).await?;
        }
        Ok(())
    }

    /// All exchanges and queues; each comes after those that it refers to.
    pub(super) fn parts(&self) -> Vec<Part> {
        let exchange = |name: String, kind| Part { name, form: Form::Exchange(kind) };
        let queue = |name: String, exchange: String, key: String, arguments| Part {
            name,
            form: Form::Queue { exchange, key, arguments },
        };
        let mut parts = vec![
            exchange(self.work_exchange(), ExchangeKind::Direct),
            exchange(self.parked_exchange(), ExchangeKind::Fanout),
            queue(self.parked_queue(), self.parked_exchange(), String::new(), self.quorum_arguments(None)),
        ];
        for (shard, name) in self.work_queues().into_iter().enumerate() {
            let mut arguments = self.quorum_arguments(Some(&self.parked_exchange()));
            arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
            parts.push(queue(name, self.work_exchange(), shard.to_string(), arguments));
        }
        for tier_ms in &self.tiers_ms {
            let name = self.tier_name(*tier_ms);
            let mut arguments = self.quorum_arguments(Some(&self.work_exchange()));
            arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(*tier_ms));
            parts.push(exchange(format!("{name}.x"), ExchangeKind::Fanout));
            parts.push(queue(name.clone(), format!("{name}.x"), String::new(), arguments));
        }
        parts
    }

    /// A name for a queue that exists for a moment, to see whether queues can be made.
    pub(super) fn trial_queue(&self) -> String {
        format!("{}.preflight.{:016x}", self.prefix, rand::random::<u64>())
    }

    /// The arguments of a replicated queue that refuses messages when full, and keeps a dead-lettered message until
    /// the next queue has it.
    fn quorum_arguments(&self, dead_letter_exchange: Option<&str>) -> FieldTable {
        let text = |text: &str| AMQPValue::LongString(LongString::from(text.as_bytes()));
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), text("quorum"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(self.queue_len_max));
        if let Some(exchange) = dead_letter_exchange {
            arguments.insert("x-dead-letter-exchange".into(), text(exchange));
            arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        }
        arguments
    }
}

/// An exchange or a queue.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Its name.
    pub(super) name: String,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Exchange(ExchangeKind),
    /// A queue, bound to an exchange under a key.
    Queue {
        exchange: String,
        key: String,
        arguments: FieldTable,
    },
}

impl Part {
    /// Declares it, and binds it if it is a queue.
    pub(super) async fn declare(&self, channel: &Channel) -> Result<()> {
        self.declare_as(channel, false).await?;
        let Form::Queue { exchange, key, .. } = &self.form else { return Ok(()) };
        let (name, exchange, key) = (self.name.as_str().into(), exchange.as_str().into(), key.as_str().into());
        channel.queue_bind(name, exchange, key, QueueBindOptions::default(), FieldTable::default()).await
    }

    /// Declares it, or if `passive` only asks whether it is there.
    pub(super) async fn declare_as(&self, channel: &Channel, passive: bool) -> Result<()> {
        let name = self.name.as_str().into();
        match &self.form {
            Form::Exchange(kind) => {
                let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
                channel.exchange_declare(name, kind.clone(), options, FieldTable::default()).await
            }
            Form::Queue { arguments, .. } => {
                let options = QueueDeclareOptions { passive, durable: true, ..QueueDeclareOptions::default() };
                channel.queue_declare(name, options, arguments.clone()).await.map(drop)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_takes_the_shortest_tier_that_is_long_enough_and_a_long_one_none() {
        let topology = Topology::new(&AmqpConfig::default());
        assert_eq!(topology.exchange_for(0), Some("bursar.v1.work.x".to_owned()));
        assert_eq!(topology.exchange_for(4_000), Some("bursar.v1.wait.5000.x".to_owned()));
        assert_eq!(topology.exchange_for(5_001), Some("bursar.v1.wait.30000.x".to_owned()));
        assert_eq!(topology.exchange_for(600_001), None);
    }

    #[test]
    fn what_a_queue_refers_to_is_declared_before_it() {
        let parts = Topology::new(&AmqpConfig::default()).parts();
        assert_eq!(parts.len(), 2 + 1 + 4 + 2 * 4);
        for (at, part) in parts.iter().enumerate() {
            if let Form::Queue { exchange, .. } = &part.form {
                assert!(parts[..at].iter().any(|before| before.name == *exchange), "{}", part.name);
            }
        }
    }

    #[test]
    fn a_stream_always_has_the_same_routing_key() {
        let topology = Topology::new(&AmqpConfig::default());
        assert_eq!(topology.routing_key("stripe:cus_1"), topology.routing_key("stripe:cus_1"));
    }
}
