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
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let exchange = async |name: String, kind: ExchangeKind| {
            channel.exchange_declare(name.into(), kind, durable, FieldTable::default()).await
        };
        exchange(self.work_exchange(), ExchangeKind::Direct).await?;
        exchange(self.parked_exchange(), ExchangeKind::Fanout).await?;
        declare_queue(channel, &self.parked_queue(), &self.parked_exchange(), "", self.quorum_arguments(None)).await?;
        for (shard, name) in self.work_queues().iter().enumerate() {
            let mut arguments = self.quorum_arguments(Some(&self.parked_exchange()));
            arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
            declare_queue(channel, name, &self.work_exchange(), &shard.to_string(), arguments).await?;
        }
        for tier_ms in &self.tiers_ms {
            let name = self.tier_name(*tier_ms);
            exchange(format!("{name}.x"), ExchangeKind::Fanout).await?;
            let mut arguments = self.quorum_arguments(Some(&self.work_exchange()));
            arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(*tier_ms));
            declare_queue(channel, &name, &format!("{name}.x"), "", arguments).await?;
        }
        Ok(())
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

async fn declare_queue(channel: &Channel, name: &str, exchange: &str, key: &str, arguments: FieldTable) -> Result<()> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), durable, arguments).await?;
    channel
        .queue_bind(name.into(), exchange.into(), key.into(), QueueBindOptions::default(), FieldTable::default())
        .await
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
    fn a_stream_always_has_the_same_routing_key() {
        let topology = Topology::new(&AmqpConfig::default());
        assert_eq!(topology.routing_key("stripe:cus_1"), topology.routing_key("stripe:cus_1"));
    }
}
