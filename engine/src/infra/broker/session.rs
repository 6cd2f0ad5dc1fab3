//! A session with the broker, and the loop that replaces a session that ended.

use super::{Pointer, Topology};
use crate::config::AmqpConfig;
use crate::domain::job::Wake;
use crate::error::{Error, Result};
use crate::metric;
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{Acker, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Event};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The first and the longest wait between attempts to connect.
const RECONNECT_MS: (u64, u64) = (100, 5_000);
/// The longest time to connect and declare.
const SETUP_TIMEOUT_MS: u64 = 15_000;
/// The longest time for a confirmation. A slower broker counts as down: the session ends.
const CONFIRM_TIMEOUT_MS: u64 = 5_000;
/// Messages are persistent.
const DELIVERY_MODE_PERSISTENT: u8 = 2;

/// The broker's address and settings. `Debug` does not show the address, which holds a password.
#[derive(Clone)]
pub struct BrokerOptions {
    /// `amqp://…`.
    pub url: String,
    /// Names, sizes, prefetch.
    pub config: AmqpConfig,
    /// Whether to consume; a node that only serves HTTP only publishes.
    pub consume: bool,
}

impl fmt::Debug for BrokerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, config, consume } = self;
        f.debug_struct("BrokerOptions").field("config", config).field("consume", consume).finish_non_exhaustive()
    }
}

/// A message for the application, to acknowledge once its attempt is committed.
#[derive(Debug)]
pub struct Delivered {
    /// Its pointer; `None` if it is unreadable.
    pub pointer: Option<Pointer>,
    /// `None` once acknowledged or left.
    acker: Option<Acker>,
}

impl Delivered {
    /// Whether the broker would still accept an acknowledgement.
    pub fn is_usable(&self) -> bool {
        self.acker.as_ref().is_some_and(Acker::usable)
    }

    /// Acknowledges the message. If its channel has closed, nothing happens and the broker delivers the message
    /// again, which then finds nothing to do.
    pub async fn ack(mut self) {
        if let Some(acker) = self.acker.take() {
            ack(acker).await;
        }
    }

    /// Leaves the message unacknowledged: the broker delivers it again once this process has gone.
    pub fn leave_unacknowledged(mut self) {
        self.acker = None;
    }
}

/// Acknowledges a message that was dropped, for example because an actor failed. Otherwise it would use up the
/// prefetch; the sweeper republishes its job.
impl Drop for Delivered {
    fn drop(&mut self) {
        if let (Some(acker), Ok(runtime)) = (self.acker.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(ack(acker));
        }
    }
}

async fn ack(acker: Acker) {
    if let Err(error) = acker.ack(BasicAckOptions::default()).await {
        tracing::debug!(%error, "an acknowledgement was lost");
    }
}

/// The state of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not connected; work goes through the database.
    Down,
    /// Connected.
    Up,
    /// Connected, but the broker accepts no publications (memory or disk alarm).
    Blocked,
}

/// A handle to the broker. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    topology: Topology,
    channel: watch::Receiver<Option<Channel>>,
    health: watch::Receiver<Health>,
    permits: Arc<Semaphore>,
    /// Notified when a confirmation is missing.
    unconfirmed: Arc<Notify>,
}

impl Broker {
    /// Connects in the background and reconnects for as long as the task runs. Messages go into `deliveries`; the
    /// prefetch limits how many are under way.
    pub fn start(options: BrokerOptions, deliveries: mpsc::Sender<Delivered>) -> (Self, tokio::task::JoinHandle<()>) {
        let (channel_tx, channel) = watch::channel(None);
        let (health_tx, health) = watch::channel(Health::Down);
        let topology = Topology::new(&options.config);
        let permits = Arc::new(Semaphore::new(options.config.confirms_max));
        let unconfirmed = Arc::new(Notify::new());
        let broker = Self { topology: topology.clone(), channel, health, permits, unconfirmed: unconfirmed.clone() };
        let task = tokio::spawn(async move {
            let mut wait_ms = RECONNECT_MS.0;
            let mut was_down = false;
            loop {
                let session = Session {
                    options: &options,
                    topology: &topology,
                    deliveries: &deliveries,
                    unconfirmed: &unconfirmed,
                };
                let end = session.run(&channel_tx, &health_tx).await;
                let was_up = *health_tx.borrow() != Health::Down;
                channel_tx.send_replace(None);
                health_tx.send_replace(Health::Down);
                if was_up || !was_down {
                    // Log each outage once, not each attempt.
                    tracing::warn!(error = %end.chain(), "the broker session ended; work goes through the database");
                    wait_ms = RECONNECT_MS.0;
                    was_down = true;
                }
                metrics::counter!(metric::BROKER_RECONNECTS).increment(1);
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                wait_ms = (wait_ms * 2).min(RECONNECT_MS.1);
            }
        });
        (broker, task)
    }

    /// The present state of the broker.
    pub fn health(&self) -> Health {
        *self.health.borrow()
    }

    /// Waits until the broker is connected.
    pub async fn wait_until_connected(&self) {
        let mut health = self.health.clone();
        // The sender lives in the task of `start`; once it is gone, nothing will connect.
        let _ = health.wait_for(|health| *health == Health::Up).await;
    }

    /// The duration of a round trip to the broker; `None` while it is down or blocked. Has no timeout of its own.
    pub async fn round_trip(&self) -> Option<Duration> {
        if self.health() != Health::Up {
            return None;
        }
        let channel = self.channel.borrow().clone()?;
        let started = Instant::now();
        // The prefetch has no effect on a channel that does not consume, but the broker answers.
        channel.basic_qos(0, BasicQosOptions::default()).await.ok()?;
        Some(started.elapsed())
    }

    /// Publishes a pointer and waits for the confirmation. True only if the broker has stored it. Returns false at
    /// once if too many confirmations are under way.
    pub async fn publish(&self, wake: &Wake, delay_ms: i64) -> bool {
        if self.health() != Health::Up {
            return false;
        }
        let Some(exchange) = self.topology.exchange_for(delay_ms) else { return false };
        let Some(channel) = self.channel.borrow().clone() else { return false };
        let Ok(_permit) = self.permits.try_acquire() else { return false };
        let confirmed = tokio::time::timeout(
            Duration::from_millis(CONFIRM_TIMEOUT_MS),
            publish(&channel, exchange, self.topology.routing_key(&wake.stream_key), wake),
        );
        let stored = match confirmed.await {
            Ok(Ok(Confirmation::Ack(None))) => true,
            Ok(Ok(_)) => false,
            Err(_) => {
                // A blocked broker owes no confirmation, and neither does an ended session.
                if self.health() == Health::Up && channel.status().connected() {
                    self.unconfirmed.notify_waiters();
                }
                false
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "a publication failed");
                false
            }
        };
        let outcome = if stored { "confirmed" } else { "failed" };
        metrics::counter!(metric::BROKER_PUBLISHED, "outcome" => outcome).increment(1);
        stored
    }
}

async fn publish(channel: &Channel, exchange: String, routing_key: String, wake: &Wake) -> lapin::Result<Confirmation> {
    let body = serde_json::to_vec(&Pointer::from(wake)).unwrap_or_default();
    let properties = BasicProperties::default()
        .with_delivery_mode(DELIVERY_MODE_PERSISTENT)
        .with_content_type("application/json".into())
        .with_message_id(format!("{}:{}", wake.job_id, wake.attempt).into());
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    channel.basic_publish(exchange.into(), routing_key.into(), options, &body, properties).await?.await
}

struct Session<'a> {
    options: &'a BrokerOptions,
    topology: &'a Topology,
    deliveries: &'a mpsc::Sender<Delivered>,
    unconfirmed: &'a Notify,
}

impl Session<'_> {
    /// Runs until something fails; returns the failure.
    async fn run(&self, channel: &watch::Sender<Option<Channel>>, health: &watch::Sender<Health>) -> Error {
        let setup = tokio::time::timeout(Duration::from_millis(SETUP_TIMEOUT_MS), self.set_up()).await;
        let (publishing, consuming, publisher, mut consumers) = match setup {
            Ok(Ok(parts)) => parts,
            Ok(Err(error)) => return error,
            Err(_) => return Error::Timeout("the broker"),
        };
        let unconfirmed = self.unconfirmed.notified();
        tokio::pin!(unconfirmed);
        let mut events = Box::pin(publishing.events_listener());
        channel.send_replace(Some(publisher.clone()));
        health.send_replace(Health::Up);
        tracing::info!(broker.consume = self.options.consume, "connected to the broker");
        let mut check = tokio::time::interval(Duration::from_millis(500));
        let end = loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        tracing::warn!(reason, "the broker takes no publications; work goes through the database");
                        health.send_replace(Health::Blocked);
                    }
                    Some(Event::ConnectionUnblocked) => { health.send_replace(Health::Up); }
                    Some(Event::Error(error)) => break Error::Broker(error),
                    Some(_) => {}
                    None => break Error::Timeout("the broker's publishing connection"),
                },
                () = &mut unconfirmed => break Error::Timeout("the broker's confirmations"),
                ended = consumers.join_next(), if self.options.consume => break match ended {
                    Some(Ok(error)) => error,
                    _ => Error::Timeout("a consumer"),
                },
                _ = check.tick() => if !publishing.status().connected() || !publisher.status().connected() {
                    break Error::Timeout("the broker's publishing channel");
                },
            }
        };
        consumers.abort_all();
        for connection in [&publishing, &consuming] {
            let close = connection.close(200, "session ends".into());
            // A broken connection may not answer.
            let _ = tokio::time::timeout(Duration::from_secs(1), close).await;
        }
        end
    }

    /// Publishing and consuming have separate connections, so that a blocked publisher does not hold up
    /// acknowledgements.
    async fn set_up(&self) -> Result<(Connection, Connection, Channel, JoinSet<Error>)> {
        let connect = async |name: &str| {
            let properties = ConnectionProperties::default().with_connection_name(format!("bursar {name}").into());
            Connection::connect(&self.options.url, properties).await
        };
        let publishing = connect("publish").await?;
        let consuming = connect("consume").await?;
        let publisher = publishing.create_channel().await?;
        self.topology.declare(&publisher).await?;
        publisher.confirm_select(ConfirmSelectOptions::default()).await?;
        let mut consumers = JoinSet::new();
        if self.options.consume {
            for queue in self.topology.work_queues() {
                self.consume(&consuming, queue, self.options.config.prefetch, &mut consumers).await?;
            }
            // One at a time: a message that was delivered too often may be one that kills the process.
            self.consume(&consuming, self.topology.parked_queue(), 1, &mut consumers).await?;
        }
        Ok((publishing, consuming, publisher, consumers))
    }

    async fn consume(
        &self,
        connection: &Connection,
        queue: String,
        prefetch: u16,
        consumers: &mut JoinSet<Error>,
    ) -> Result<()> {
        let channel = connection.create_channel().await?;
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let mut consumer =
            channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default()).await?;
        let deliveries = self.deliveries.clone();
        consumers.spawn(async move {
            while let Some(next) = consumer.next().await {
                let delivery = match next {
                    Ok(delivery) => delivery,
                    Err(error) => return Error::Broker(error),
                };
                if !delivery.acker.usable() {
                    continue;
                }
                let pointer = serde_json::from_slice(&delivery.data).ok();
                if deliveries.send(Delivered { pointer, acker: Some(delivery.acker) }).await.is_err() {
                    return Error::Timeout("the application, which takes no more deliveries");
                }
            }
            // The stream ends without an error when the server cancels the consumer.
            Error::Timeout("a consumer that the broker cancelled")
        });
        Ok(())
    }
}
