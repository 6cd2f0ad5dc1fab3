//! RabbitMQ only announces work: whatever happens to it, every job is processed, and the application recovers without
//! a restart.
//!
//! Tests that stop or wipe a broker have their own. The others touch only queues with their own prefix, or a proxy to
//! the shared broker.

mod queues;
mod restart;

use bursar_engine::infra::broker::{Pointer, Topology};
use bursar_tests::{TestApp, wait};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

/// A test's own connection to the broker.
pub(crate) struct BrokerView {
    topology: Topology,
    connection: Connection,
}

impl BrokerView {
    pub(crate) async fn of(app: &TestApp) -> Self {
        let connection = Connection::connect(&app.config.amqp_url, ConnectionProperties::default()).await.unwrap();
        Self { topology: Topology::new(&app.config.amqp), connection }
    }

    pub(crate) fn work_queue(&self) -> String {
        self.topology.work_queues().remove(0)
    }

    /// A new channel, since a refusal closes the channel it came on.
    pub(crate) async fn channel(&self) -> Channel {
        self.connection.create_channel().await.unwrap()
    }

    /// The numbers of waiting messages and of consumers of a queue; `None` if it does not exist.
    pub(crate) async fn queue(&self, name: &str) -> Option<(u32, u32)> {
        let options = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
        let found = self.channel().await.queue_declare(name.into(), options, FieldTable::default()).await.ok()?;
        Some((found.message_count(), found.consumer_count()))
    }

    /// Waits until a queue has this many waiting messages.
    pub(crate) async fn until_waiting(&self, name: &str, messages: u32) {
        wait::until(&format!("{messages} messages wait in {name}"), || async {
            self.queue(name).await.filter(|(waiting, _)| *waiting == messages)
        })
        .await;
    }

    /// Waits until the queue exists, is empty and has a consumer.
    pub(crate) async fn until_consumed(&self, name: &str) {
        wait::until(&format!("{name} is consumed"), || async {
            self.queue(name).await.filter(|(messages, consumers)| *messages == 0 && *consumers == 1)
        })
        .await;
    }

    /// Publishes bytes to an exchange. In the default exchange, the key is a queue's name.
    pub(crate) async fn publish(&self, exchange: &str, key: &str, body: &[u8]) {
        let channel = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_delivery_mode(2);
        let published = channel.basic_publish(exchange.into(), key.into(), options, body, properties).await.unwrap();
        assert!(matches!(published.await.unwrap(), lapin::Confirmation::Ack(None)), "the broker did not accept it");
    }

    pub(crate) async fn announce(&self, stream: &str, job: &str, attempt: i64) {
        let key = self.topology.routing_key(stream);
        self.publish(&self.topology.work_exchange(), &key, &pointer(stream, job, attempt)).await;
    }
}

fn pointer(stream: &str, job: &str, attempt: i64) -> Vec<u8> {
    let pointer = Pointer { stream: stream.to_owned(), job: job.to_owned(), attempt };
    serde_json::to_vec(&pointer).unwrap()
}

/// Waits until `/health` has a status.
async fn health(app: &TestApp, status: &str) {
    wait::until(&format!("the health is {status}"), || async {
        let answer = app.request("GET", "/health", &[], None).await;
        assert_eq!(answer.status, 200, "without a broker the application still works: {}", answer.body);
        (answer.body["status"] == status).then_some(())
    })
    .await;
}
