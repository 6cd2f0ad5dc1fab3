//! Reads the bodies of requests, within their limits of size, time and memory.

use super::{overloaded, refused, timed_out};
use crate::body_memory::{BodyLimit, BodyMemory};
use crate::exchange::Exchange;
use bursar_engine::config::HttpConfig;
use bursar_engine::domain::catalogue::read::FILE_MAX_BYTES;
use futures_util::{Stream, StreamExt};
use poem::error::ReadBodyError;
use poem::http::header;
use poem::{Body, Request};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The largest body with a catalogue. In JSON its line breaks and quotes take two bytes each.
pub const CATALOGUE_BODY_MAX_BYTES: usize = 2 * FILE_MAX_BYTES + 64 * 1_024;
/// Bodies up to this size have the shorter time to arrive.
const SMALL_MAX_BYTES: usize = 64 * 1_024;
/// How many of the largest bodies of ordinary requests fit into the memory for them.
const LARGE_BODIES: usize = 4;

/// The limits of bodies.
pub struct Bodies {
    webhooks: BodyLimit,
    others: BodyLimit,
    small_timeout: Duration,
    timeout: Duration,
}

/// Which of the limits a body has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of a webhook.
    Webhook,
    /// Of any other request.
    Other,
}

impl Bodies {
    /// The configured limits.
    pub fn new(http: &HttpConfig) -> Self {
        let (client_bytes, small_bytes) = (http.bodies_per_client_bytes, http.webhook_bodies_small_bytes);
        let large_bytes = http.webhook_bodies_max_bytes.saturating_sub(small_bytes);
        let largest = http.body_max_bytes.max(CATALOGUE_BODY_MAX_BYTES);
        let timeout = Duration::from_millis(http.body_timeout_ms);
        Self {
            webhooks: BodyLimit::new(small_bytes, large_bytes, client_bytes, http.webhook_body_max_bytes),
            others: BodyLimit::new(http.bodies_max_bytes, LARGE_BODIES * largest, client_bytes, largest),
            small_timeout: Duration::from_millis(http.small_body_timeout_ms).min(timeout),
            timeout,
        }
    }

    /// Reads the body of a request, of at most `bytes_max` bytes. Its memory counts until the guard is dropped.
    pub async fn read(
        &self,
        kind: Kind,
        client: Option<IpAddr>,
        request: &mut Request,
        bytes_max: usize,
    ) -> poem::Result<(Vec<u8>, BodyMemory<'_>)> {
        let announced = announced_bytes(request).unwrap_or(0);
        if announced > bytes_max {
            return Err(ReadBodyError::PayloadTooLarge.into());
        }
        let limit = if kind == Kind::Webhook { &self.webhooks } else { &self.others };
        let mut memory = limit.begin(announced, client);
        let exchange = request.extensions().get::<Arc<Exchange>>().cloned();
        let (body, sizes) = (request.take_body(), (announced, bytes_max));
        let bytes = self.read_bytes(body, sizes, &mut memory, exchange.as_deref()).await?;
        Ok((bytes, memory))
    }

    /// Reads a body. Fails if it is evicted.
    async fn read_bytes(
        &self,
        body: Body,
        (announced, bytes_max): (usize, usize),
        memory: &mut BodyMemory<'_>,
        exchange: Option<&Exchange>,
    ) -> poem::Result<Vec<u8>> {
        let started = Instant::now();
        let (mut bytes, mut waiting) = (Vec::new(), None);
        let mut chunks = pin!(body.into_bytes_stream());
        loop {
            let is_small = announced.max(bytes.len()) <= SMALL_MAX_BYTES;
            let time = if is_small { self.small_timeout } else { self.timeout };
            let chunk = match part_at_once(&mut chunks).await {
                Poll::Ready(chunk) => chunk,
                Poll::Pending => {
                    // From the first part that is missing on, until the end.
                    waiting = waiting.or_else(|| exchange.map(Exchange::wait_for_body));
                    tokio::select! {
                        biased;
                        chunk = chunks.next() => chunk,
                        () = memory.evicted() => return Err(refused(overloaded())),
                        () = sleep_until(started + time) => return Err(refused(timed_out())),
                    }
                }
            };
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(ReadBodyError::Io)?;
            if bytes.len() + chunk.len() > bytes_max {
                return Err(ReadBodyError::PayloadTooLarge.into());
            }
            if !memory.grow(chunk.len()) {
                return Err(refused(overloaded()));
            }
            bytes.extend_from_slice(&chunk);
        }
        drop(waiting);
        if memory.complete() { Ok(bytes) } else { Err(refused(overloaded())) }
    }
}

/// The next part of a body if it is there: most small bodies arrive with their heads. It is asked for twice, because the
/// HTTP library hands a part over only after it was asked for one. So most bodies need no timer.
async fn part_at_once<T>(parts: &mut (impl Stream<Item = T> + Unpin)) -> Poll<Option<T>> {
    let mut is_asked = false;
    poll_fn(|context| match parts.poll_next_unpin(context) {
        Poll::Ready(part) => Poll::Ready(Poll::Ready(part)),
        Poll::Pending if is_asked => Poll::Ready(Poll::Pending),
        Poll::Pending => {
            is_asked = true;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// The size that a request announces; `None` without one.
fn announced_bytes(request: &Request) -> Option<usize> {
    request.header(header::CONTENT_LENGTH)?.parse().ok()
}

/// Whether bytes of a body may follow the head.
pub fn has_body(request: &Request) -> bool {
    announced_bytes(request).is_some_and(|bytes| bytes > 0) || request.headers().contains_key(header::TRANSFER_ENCODING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    #[tokio::test]
    async fn a_part_is_there_at_once_if_it_comes_when_it_is_asked_for_again() {
        let mut asked = 0;
        let mut parts = stream::poll_fn(|_| {
            asked += 1;
            if asked % 2 == 0 { Poll::Ready(Some(asked)) } else { Poll::Pending }
        });
        assert_eq!(part_at_once(&mut parts).await, Poll::Ready(Some(2)));
        assert_eq!(part_at_once(&mut parts).await, Poll::Ready(Some(4)));
        assert_eq!(part_at_once(&mut stream::pending::<()>()).await, Poll::Pending);
        assert_eq!(part_at_once(&mut stream::empty::<()>()).await, Poll::Ready(None));
    }
}
