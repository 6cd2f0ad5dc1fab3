//! The fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11) of each answer to a request
//! that counted against limits.
//!
//! `RateLimit-Policy: "writes";q=3000;w=300` says what a limit is: `q` units in any `w` seconds. `RateLimit:
//! "writes";r=2998;t=300` says what is left: `r` units, and no more in the next `t` seconds. While units are left, `t`
//! is the time after which all of them are free if none is used; a client that spreads `r` over `t` is never denied.
//! With none left it is when the request can be repeated, as `Retry-After`.

use bursar_engine::domain::rate_limit::Quota;
use bursar_engine::domain::rate_limit::log::Left;
use poem::http::{HeaderMap, HeaderName, HeaderValue};
use std::cell::{Cell, RefCell};
use std::fmt::Write;

/// What a limit is.
pub const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of it.
pub const LEFT: HeaderName = HeaderName::from_static("ratelimit");

tokio::task_local! {
    /// The limits of the request that this task answers.
    static REQUEST: Noted;
}

#[derive(Default)]
struct Noted {
    limits: RefCell<Vec<Limit>>,
    is_counted: Cell<bool>,
}

/// What a request learned of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    name: &'static str,
    quota: Quota,
    left: Left,
    retry_after_ms: Option<i64>,
}

/// Answers a request, and adds the fields to the answer.
pub async fn with_fields(answer: impl Future<Output = poem::Response>) -> poem::Response {
    REQUEST
        .scope(Noted::default(), async {
            let mut response = answer.await;
            REQUEST.with(|noted| add(response.headers_mut(), &noted.limits.borrow()));
            response
        })
        .await
}

/// Whether the request is to be counted: it was not before. Its credentials are checked twice.
pub fn count_once() -> bool {
    REQUEST.try_with(|noted| !noted.is_counted.replace(true)).unwrap_or(true)
}

/// Notes what the request learned of a limit; `retry_after_ms` if it was denied.
pub fn note(name: &'static str, quota: Quota, left: Left, retry_after_ms: Option<i64>) {
    // Outside of a request, nobody asks.
    let _ = REQUEST.try_with(|noted| {
        let mut limits = noted.limits.borrow_mut();
        limits.retain(|limit| limit.name != name);
        limits.push(Limit { name, quota, left, retry_after_ms });
    });
}

/// Room for the text of one limit in a field.
const FIELD_LEN: usize = 48;

fn add(headers: &mut HeaderMap, limits: &[Limit]) {
    if limits.is_empty() {
        return;
    }
    let [mut policy, mut left] = [(); 2].map(|()| String::with_capacity(limits.len() * FIELD_LEN));
    for limit in limits {
        let separator = if policy.is_empty() { "" } else { ", " };
        let window_s = seconds(limit.quota.window_ms).max(1);
        // Names are constants, and writing to a string does not fail.
        let _ = write!(policy, "{separator}\"{}\";q={};w={window_s}", limit.name, limit.quota.units);
        let (units, t) = limit.left_and_seconds();
        let _ = write!(left, "{separator}\"{}\";r={units};t={t}", limit.name);
    }
    for (name, text) in [(POLICY, policy), (LEFT, left)] {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
}

impl Limit {
    fn left_and_seconds(&self) -> (u32, i64) {
        match self.retry_after_ms {
            Some(retry_after_ms) => (0, seconds(retry_after_ms).max(1)),
            None => (self.left.units.min(self.quota.units), seconds(self.left.full_after_ms)),
        }
    }
}

/// Whole seconds, rounded up.
fn seconds(ms: i64) -> i64 {
    ms.max(0).unsigned_abs().div_ceil(1_000).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem::Response;

    const WRITES: Quota = Quota { units: 3_000, window_ms: 300_000 };
    const KEYS: Quota = Quota { units: 20, window_ms: 500 };

    fn fields(response: &Response) -> [Option<&str>; 2] {
        [POLICY, LEFT].map(|name| response.headers().get(name).map(|value| value.to_str().expect("ASCII")))
    }

    #[tokio::test]
    async fn each_limit_is_named_with_its_quota_and_what_is_left() {
        let response = with_fields(async {
            note("writes", WRITES, Left { units: 2_998, full_after_ms: 299_001 }, None);
            note("keys", KEYS, Left { units: 25, full_after_ms: 0 }, None);
            note("keys", KEYS, Left { units: 5, full_after_ms: 0 }, Some(1_001));
            Response::default()
        })
        .await;
        let expected = ["\"writes\";q=3000;w=300, \"keys\";q=20;w=1", "\"writes\";r=2998;t=300, \"keys\";r=0;t=2"];
        assert_eq!(fields(&response), expected.map(Some));
    }

    #[tokio::test]
    async fn an_answer_without_limits_has_no_fields() {
        note("writes", WRITES, Left::default(), None);
        assert_eq!(fields(&with_fields(async { Response::default() }).await), [None, None]);
    }

    #[tokio::test]
    async fn a_request_is_counted_once() {
        for _ in 0..2 {
            with_fields(async {
                assert_eq!([count_once(), count_once()], [true, false]);
                Response::default()
            })
            .await;
        }
    }
}
