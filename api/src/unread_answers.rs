//! Limits the memory of answers that clients have not read yet.
//!
//! If a client reads nothing, the server keeps its answer until the connection is closed. Answers made for one request
//! count against a limit; those that are the same for all clients share one copy.

use bytes::Bytes;
use hyper::body::Body as _;
use poem::{Response, ResponseParts};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers up to this size are not counted: a connection's buffers are about as large.
const SMALL_MAX_BYTES: usize = 16 * 1_024;

/// Marks an answer whose body is shared by all clients, so that it does not count.
#[derive(Debug, Clone, Copy)]
pub struct SharedBody;

/// Bytes that hold their permits until they are dropped.
struct Counted {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The limit on the bytes of unread answers.
pub struct UnreadAnswerLimit {
    bytes_max: usize,
    permits: Arc<Semaphore>,
}

impl UnreadAnswerLimit {
    /// Allows `bytes_max` bytes at once.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, permits: Arc::new(Semaphore::new(bytes_max)) }
    }

    /// Counts the bytes of an answer until they are sent. Returns `None` if there is no room for them; an answer larger
    /// than the limit takes all of it, while no other waits. Streams do not count: they are produced while they are
    /// read, and have limits of their own.
    pub async fn count(&self, response: Response) -> Option<Response> {
        if response.data::<SharedBody>().is_some() {
            return Some(response);
        }
        let (parts, body) = hyper::Response::from(response).into_parts();
        let parts = ResponseParts {
            status: parts.status,
            version: parts.version,
            headers: parts.headers,
            extensions: parts.extensions,
        };
        let size = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
        let body = poem::Body::from(body);
        let Some(size) = size.filter(|size| *size > SMALL_MAX_BYTES) else {
            return Some(Response::from_parts(parts, body));
        };
        let permits = u32::try_from(size.min(self.bytes_max)).unwrap_or(u32::MAX);
        let permit = self.permits.clone().try_acquire_many_owned(permits).ok()?;
        let bytes = body.into_bytes().await.ok()?;
        Some(Response::from_parts(parts, Bytes::from_owner(Counted { bytes, _permit: permit }).into()))
    }
}

/// A text rendered for each request. While too many copies wait for their clients, the latest copy is reused.
pub struct SharedRendering {
    permits: Arc<Semaphore>,
    latest: Mutex<Bytes>,
}

impl SharedRendering {
    /// Allows `copies_max` copies to wait at once.
    pub fn new(copies_max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(copies_max)), latest: Mutex::default() }
    }

    /// Returns a new copy, or the latest one.
    pub fn get(&self, render: impl FnOnce() -> String) -> Bytes {
        let rendered = self.permits.clone().try_acquire_owned().ok().map(|permit| {
            let bytes = Bytes::from(render());
            Bytes::from_owner(Counted { bytes, _permit: permit })
        });
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rendered) = rendered {
            *latest = rendered;
        }
        latest.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn answer(size: usize) -> Response {
        Response::builder().body("x".repeat(size))
    }

    #[tokio::test]
    async fn large_answers_count_until_they_are_sent() {
        let limit = UnreadAnswerLimit::new(100_000);
        let first = limit.count(answer(60_000)).await.unwrap();
        assert!(limit.count(answer(60_000)).await.is_none());
        assert!(limit.count(answer(40_000)).await.is_some());
        assert!(limit.count(answer(SMALL_MAX_BYTES)).await.is_some());
        let waiting = first.into_body().into_bytes().await.unwrap();
        assert!(limit.count(answer(60_000)).await.is_none(), "the first answer is not sent yet");
        assert_eq!(waiting.len(), 60_000);
        drop(waiting);
        assert!(limit.count(answer(100_001)).await.is_some(), "a single answer may exceed the limit");
    }

    #[tokio::test]
    async fn counted_answers_and_small_ones_keep_their_length() {
        let limit = UnreadAnswerLimit::new(100_000);
        for size in [0, 1, SMALL_MAX_BYTES, SMALL_MAX_BYTES + 1] {
            let counted = hyper::Response::from(limit.count(answer(size)).await.unwrap());
            assert_eq!(counted.body().size_hint().exact(), Some(size as u64));
        }
    }

    #[tokio::test]
    async fn shared_and_streamed_answers_do_not_count() {
        let limit = UnreadAnswerLimit::new(1);
        let mut shared = answer(60_000);
        shared.set_data(SharedBody);
        assert!(limit.count(shared).await.is_some());
        let chunks = futures_util::stream::iter([Ok::<_, std::io::Error>(vec![0; 60_000])]);
        assert!(limit.count(Response::builder().body(poem::Body::from_bytes_stream(chunks))).await.is_some());
    }

    #[test]
    fn the_latest_copy_is_reused_while_too_many_wait() {
        let shared = SharedRendering::new(2);
        let text = |number: usize| move || number.to_string();
        let [one, two, three] = [1, 2, 3].map(|number| shared.get(text(number)));
        assert_eq!([&one[..], &two[..], &three[..]], [b"1", b"2", b"2"]);
        drop(one);
        assert_eq!(&shared.get(text(4))[..], b"4");
    }
}
