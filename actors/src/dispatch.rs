//! The dispatcher: makes it known that a stream has something to do.
//!
//! With a broker: a message to `work.x` or a delay tier. Without one, or while it is down: straight
//! to this process' own streams. Neither is ever the only way: the sweeper finds what was missed.

use crate::stream::Streams;
use bursar_engine::clock::Clock;
use bursar_engine::domain::job::Wake;
use bursar_engine::infra::broker::{Broker, Health};
use futures_util::future::join_all;

/// Announces work. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    broker: Option<Broker>,
    streams: Option<Streams>,
    clock: Clock,
}

impl Dispatcher {
    pub(crate) fn new(broker: Option<Broker>, streams: Option<Streams>, clock: Clock) -> Self {
        Self { broker, streams, clock }
    }

    /// Whether announcements go through the broker just now.
    pub(crate) fn is_brokered(&self) -> bool {
        self.broker.as_ref().is_some_and(|broker| broker.health() == Health::Up)
    }

    /// Announces in the background: the caller's work is on the disk already.
    pub fn announce(&self, wakes: Vec<Wake>) {
        if wakes.is_empty() {
            return;
        }
        if self.is_brokered() {
            let dispatcher = self.clone();
            tokio::spawn(async move { dispatcher.announce_all(&wakes).await });
        } else {
            for wake in &wakes {
                self.wake_here(wake);
            }
        }
    }

    /// Announces and waits until the broker has confirmed, so that the message that led here can be
    /// acknowledged afterwards.
    pub(crate) async fn announce_all(&self, wakes: &[Wake]) {
        join_all(wakes.iter().map(|wake| self.announce_one(wake))).await;
    }

    async fn announce_one(&self, wake: &Wake) {
        let delay_ms = wake.run_at_ms - self.clock.now_ms();
        let published = match &self.broker {
            Some(broker) => broker.publish(wake, delay_ms).await,
            None => false,
        };
        if !published {
            self.wake_here(wake);
        }
    }

    fn wake_here(&self, wake: &Wake) {
        if wake.run_at_ms <= self.clock.now_ms()
            && let Some(streams) = &self.streams
        {
            streams.wake(&wake.stream_key, None);
        }
    }
}
