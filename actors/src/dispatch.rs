//! The dispatcher: announces jobs to their streams.
//!
//! With a broker it publishes a message to `work.x` or a delay tier. Without one, or while it is down, it wakes the
//! streams of this process. The sweeper finds jobs that were not announced.

use crate::waker::StreamWaker;
use bursar_engine::clock::Clock;
use bursar_engine::domain::job::Wake;
use bursar_engine::infra::broker::{Broker, Health};
use futures_util::future::join_all;

/// Announces jobs. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    broker: Option<Broker>,
    streams: Option<StreamWaker>,
    clock: Clock,
}

impl Dispatcher {
    pub(crate) fn new(broker: Option<Broker>, streams: Option<StreamWaker>, clock: Clock) -> Self {
        Self { broker, streams, clock }
    }

    /// Whether announcements go through the broker now.
    pub(crate) fn is_brokered(&self) -> bool {
        self.broker.as_ref().is_some_and(|broker| broker.health() == Health::Up)
    }

    /// Announces committed jobs, in the background if through the broker.
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

    /// Announces jobs and waits for the broker's confirms. Only then may the message that led here be acknowledged.
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
