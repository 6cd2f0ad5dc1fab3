//! The identifier of a request, and who sent it: in the answer, in the log, in the problem document of a failure.
//!
//! A client may choose the identifier in `X-Request-Id`. The trace of a client that takes part in W3C Trace Context
//! (`traceparent`) is only read: Bursar sends no spans. Both are known to the task that answers the request, so that
//! [`logging`](crate::logging) can add them to each line that the task logs.

use bursar_engine::ids::{self, CustomerId};
use poem::http::{HeaderMap, HeaderName, HeaderValue};
use std::cell::RefCell;
use std::fmt;

/// The header of the identifier, in requests and answers.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header of the trace (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The longest identifier that a client may choose, in bytes.
pub const LEN_MAX: usize = 128;

/// The identifier of a request: visible ASCII characters without quotes and backslashes, so that a log needs not escape
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The client's, if it sent exactly one that can be used; otherwise a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let given = only(headers, &REQUEST_ID).filter(|given| is_usable(given.as_bytes()));
        // A copy: the header shares the connection's read buffer, which the log's queue must not keep.
        given.and_then(|given| HeaderValue::from_bytes(given.as_bytes()).ok()).map_or_else(Self::generate, Self)
    }

    fn generate() -> Self {
        let id = ids::RequestId::new().to_string();
        Self(HeaderValue::try_from(id).expect("an identifier is visible ASCII"))
    }

    /// The identifier.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The header of the answer.
    pub fn to_header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_usable(given: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    (1..=LEN_MAX).contains(&given.len()) && given.iter().all(is_plain)
}

/// The trace that a request belongs to: 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 32]);

impl TraceId {
    /// The trace of a request that has exactly one valid `traceparent`.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        Self::parse(only(headers, &TRACEPARENT)?.to_str().ok()?)
    }

    /// Reads `version-trace-parent-flags`. Later versions may add parts.
    fn parse(text: &str) -> Option<Self> {
        let is_hex = |text: &str, len: usize| {
            text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
        let mut parts = text.split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let fits = is_hex(version, 2) && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2);
        let is_valid = version != "ff" && !is_zero(trace) && !is_zero(parent);
        let is_whole = version != "00" || parts.next().is_none();
        if fits && is_valid && is_whole { trace.as_bytes().try_into().ok().map(Self) } else { None }
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A customer with an API key.
    Customer(CustomerId),
    /// Staff: the name in the audit log.
    Admin(String),
}

tokio::task_local! {
    /// The request that this task answers.
    static CURRENT: Current;
}

struct Current {
    id: RequestId,
    trace: Option<TraceId>,
    caller: RefCell<Option<Caller>>,
}

/// Answers a request in `answer`, which knows its identifiers. Returns who sent it, too, once its credentials showed
/// it.
pub async fn answering<T>(
    id: RequestId,
    trace: Option<TraceId>,
    answer: impl Future<Output = T>,
) -> (T, Option<Caller>) {
    let current = Current { id, trace, caller: RefCell::default() };
    CURRENT
        .scope(current, async {
            let answer = answer.await;
            (answer, CURRENT.with(|current| current.caller.take()))
        })
        .await
}

/// Notes who sent the request. Credentials are checked twice, and made known once.
pub fn note_caller(caller: impl FnOnce() -> Caller) {
    // Outside of a request, nobody asks.
    let _ = CURRENT.try_with(|current| {
        current.caller.borrow_mut().get_or_insert_with(caller);
    });
}

/// The identifier of the request that this task answers.
pub fn current() -> Option<String> {
    CURRENT.try_with(|current| current.id.as_str().to_owned()).ok()
}

/// Gives the identifiers of the request that this task answers to `work`, if it answers one.
pub fn with_current<T>(work: impl FnOnce(&str, Option<&str>) -> T) -> Option<T> {
    CURRENT.try_with(|current| work(current.id.as_str(), current.trace.as_ref().map(TraceId::as_str))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn headers(name: &HeaderName, values: &[&[u8]]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_bytes(value).expect("a header"))).collect()
    }

    #[test]
    fn a_sane_identifier_of_the_client_is_taken() {
        for given in ["1", "f058ebd6-02f7-4d3f-942e-904344e8cde5", "Root=1-67891233-abcdef", &"x".repeat(128)] {
            assert_eq!(RequestId::of(&headers(&REQUEST_ID, &[given.as_bytes()])).as_str(), given);
        }
    }

    #[test]
    fn any_other_identifier_is_replaced_by_a_new_one() {
        let long = "x".repeat(129);
        let others: [&[&[u8]]; 9] = [
            &[],
            &[b""],
            &[b"a b"],
            &[b"a\"b"],
            &[b"a\\b"],
            &[b"a\tb"],
            &["é".as_bytes()],
            &[long.as_bytes()],
            &[b"one", b"two"],
        ];
        for given in others {
            let id = RequestId::of(&headers(&REQUEST_ID, given));
            assert!(ids::RequestId::parse(id.as_str()).is_ok(), "{id:?}");
        }
        let none = HeaderMap::new();
        assert_ne!(RequestId::of(&none), RequestId::of(&none));
    }

    #[test]
    fn a_trace_is_read_from_a_valid_traceparent() {
        for text in [
            format!("00-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-00"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-will-be"),
        ] {
            let trace = TraceId::of(&headers(&TRACEPARENT, &[text.as_bytes()]));
            assert_eq!(trace.as_ref().map(TraceId::as_str), Some(TRACE), "{text}");
        }
    }

    #[test]
    fn an_invalid_traceparent_names_no_trace() {
        for text in [
            String::new(),
            TRACE.to_owned(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}0-00f067aa0ba902b7-01"),
            format!("0-{TRACE}-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(TraceId::of(&headers(&TRACEPARENT, &[text.as_bytes()])), None, "{text}");
        }
        let twice = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(TraceId::of(&headers(&TRACEPARENT, &[twice.as_bytes(), twice.as_bytes()])), None);
    }

    #[tokio::test]
    async fn the_first_caller_that_is_noted_counts() {
        let id = RequestId::of(&HeaderMap::new());
        let (known, caller) = answering(id.clone(), None, async {
            note_caller(|| Caller::Admin("admin:bootstrap".to_owned()));
            note_caller(|| unreachable!("it is known"));
            current()
        })
        .await;
        assert_eq!(known.as_deref(), Some(id.as_str()));
        assert_eq!(caller, Some(Caller::Admin("admin:bootstrap".to_owned())));
        assert_eq!(current(), None, "outside of a request there is none");
    }
}
