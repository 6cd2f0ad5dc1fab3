//! The memory for answers that their clients have not read yet.
//!
//! A client that reads nothing makes the server keep its answer until the connection is closed. Answers that are made
//! for one request are bounded here; those that are the same for all are shared.

use bytes::Bytes;
use hyper::body::Body as _;
use poem::Response;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers up to this size are not counted: a connection's buffers are about as large.
const SMALL_MAX_BYTES: usize = 16 * 1_024;

/// Marks an answer whose bytes are the same for all clients.
#[derive(Debug, Clone, Copy)]
pub struct Shared;

/// Bytes that count until they are sent or dropped, wherever they wait.
struct Counted {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A bound for bytes of answers.
pub struct AnswerBytes {
    bytes_max: usize,
    permits: Arc<Semaphore>,
}

impl AnswerBytes {
    /// At most so many bytes at once.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, permits: Arc::new(Semaphore::new(bytes_max)) }
    }

    /// Counts the bytes of an answer until they are sent; `None` if there are too many. Streams are not counted: they
    /// are made while they are read, and have bounds of their own.
    pub async fn count(&self, response: Response) -> Option<Response> {
        if response.data::<Shared>().is_some() {
            return Some(response);
        }
        let mut response = hyper::Response::from(response);
        let size = response.body().size_hint().exact().and_then(|size| usize::try_from(size).ok());
        let Some(size) = size.filter(|size| *size > SMALL_MAX_BYTES) else { return Some(response.into()) };
        let permits = u32::try_from(size.min(self.bytes_max)).unwrap_or(u32::MAX);
        let permit = self.permits.clone().try_acquire_many_owned(permits).ok()?;
        let body = poem::Body::from(std::mem::take(response.body_mut()));
        let bytes = body.into_bytes().await.ok()?;
        let mut response = Response::from(response);
        response.set_body(Bytes::from_owner(Counted { bytes, _permit: permit }));
        Some(response)
    }
}

/// A page that is made for each request, unless too many copies wait for their clients: then the latest copy is
/// answered again.
pub struct Page {
    permits: Arc<Semaphore>,
    latest: Mutex<Bytes>,
}

impl Page {
    /// At most `kept_max` copies wait at once.
    pub fn new(kept_max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(kept_max)), latest: Mutex::default() }
    }

    /// The page, made now or before.
    pub fn get(&self, make: impl FnOnce() -> String) -> Bytes {
        let made = self.permits.clone().try_acquire_owned().ok().map(|permit| {
            let bytes = Bytes::from(make());
            Bytes::from_owner(Counted { bytes, _permit: permit })
        });
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made {
            *latest = made;
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
    async fn large_answers_have_so_much_memory_until_they_are_sent() {
        let bound = AnswerBytes::new(100_000);
        let first = bound.count(answer(60_000)).await.unwrap();
        assert!(bound.count(answer(60_000)).await.is_none());
        assert!(bound.count(answer(40_000)).await.is_some());
        assert!(bound.count(answer(SMALL_MAX_BYTES)).await.is_some());
        let waiting = first.into_body().into_bytes().await.unwrap();
        assert!(bound.count(answer(60_000)).await.is_none(), "it waits on a connection");
        assert_eq!(waiting.len(), 60_000);
        drop(waiting);
        assert!(bound.count(answer(100_001)).await.is_some(), "one alone may be larger");
    }

    #[tokio::test]
    async fn what_is_shared_or_streamed_does_not_count() {
        let bound = AnswerBytes::new(1);
        let mut shared = answer(60_000);
        shared.set_data(Shared);
        assert!(bound.count(shared).await.is_some());
        let chunks = futures_util::stream::iter([Ok::<_, std::io::Error>(vec![0; 60_000])]);
        assert!(bound.count(Response::builder().body(poem::Body::from_bytes_stream(chunks))).await.is_some());
    }

    #[test]
    fn a_page_that_many_do_not_take_is_answered_again() {
        let page = Page::new(2);
        let text = |number: usize| move || number.to_string();
        let [one, two, three] = [1, 2, 3].map(|number| page.get(text(number)));
        assert_eq!([&one[..], &two[..], &three[..]], [b"1", b"2", b"2"]);
        drop(one);
        assert_eq!(&page.get(text(4))[..], b"4");
    }
}
