//! The HTTP client of a journey. It records the requests of a step for the report of a failure.

use super::answer::{Answer, Expected, Failure};
use super::mask::Mask;
use super::target::Target;
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// Tries of a request that is answered with 429.
const TRIES_MAX: usize = 4;
/// The longest Retry-After that is respected; signups are limited for each minute.
const COME_AGAIN_MAX_S: u64 = 65;
/// The first wait between checks of a condition; it grows by half.
const POLL_FIRST_MS: u64 = 20;
/// The longest wait between checks of a condition.
const POLL_MAX_MS: u64 = 1_000;
/// How many exchanges of a step are kept; older ones are dropped.
const EXCHANGES_MAX: usize = 20;
/// The length of a body in a report, in characters.
const BODY_SHOWN_MAX: usize = 2_000;
/// The longest body that is read.
const BODY_MAX_BYTES: usize = 4 * 1_024 * 1_024;

/// A request and its answer, as a report shows them.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The method and the path.
    pub request: String,
    /// What was sent.
    pub sent: Option<String>,
    /// The status; `None` without an answer.
    pub status: Option<u16>,
    /// The body of the answer, or the error.
    pub received: String,
    /// How long it took.
    pub took: Duration,
    /// How often it was repeated while waiting for a condition; the last answer is kept.
    pub times: usize,
}

/// The headers and the body of a request.
#[derive(Debug, Clone, Default)]
pub struct Call<'a> {
    /// Headers.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The body, byte for byte.
    pub body: Option<String>,
}

impl<'a> Call<'a> {
    /// A request with this JSON body.
    pub fn json(body: &Value) -> Self {
        Self { headers: vec![("Content-Type", "application/json")], body: Some(body.to_string()) }
    }

    /// Adds a header.
    pub fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Makes requests of one journey. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Rc<str>,
    timeout: Duration,
    record: Rc<RefCell<Record>>,
}

#[derive(Default)]
struct Record {
    exchanges: Vec<Exchange>,
    requests: usize,
}

impl Client {
    /// Creates a client for this server.
    pub fn new(target: &Target) -> Self {
        Self::to(&target.url, target.timeout)
    }

    /// Returns a client for another server that shares this one's record.
    pub fn with_base(&self, base: &str) -> Self {
        Self { base: base.trim_end_matches('/').into(), ..self.clone() }
    }

    fn to(base: &str, timeout: Duration) -> Self {
        // A redirect would turn a POST into a GET; the caller must give the final address.
        let built = reqwest::Client::builder().redirect(Policy::none()).timeout(timeout).build();
        let http = built.expect("a client with nothing but the system's certificates can be built");
        Self { http, base: base.into(), timeout, record: Rc::default() }
    }

    /// Makes a GET request.
    pub async fn get(&self, path: &str) -> Expected<Answer> {
        self.send("GET", path, Call::default()).await
    }

    /// Makes a request. After 429 it waits as the answer says and tries again.
    pub async fn send(&self, method: &str, path: &str, call: Call<'_>) -> Expected<Answer> {
        let mut tries = 1;
        loop {
            let answer = self.try_once(method, path, &call).await?;
            let wait_s = answer.retry_after_s.filter(|wait_s| *wait_s <= COME_AGAIN_MAX_S).unwrap_or(1);
            if answer.status != 429 || tries == TRIES_MAX {
                return Ok(answer);
            }
            tries += 1;
            tokio::time::sleep(Duration::from_secs(wait_s)).await;
        }
    }

    async fn try_once(&self, method: &str, path: &str, call: &Call<'_>) -> Expected<Answer> {
        let request = format!("{method} {path}");
        let parsed: Method = method.parse().map_err(|_| Failure::new("a method", method))?;
        let mut builder = self.http.request(parsed, format!("{}{path}", self.base));
        for (name, value) in &call.headers {
            builder = builder.header(*name, *value);
        }
        if let Some(body) = &call.body {
            builder = builder.body(body.clone());
        }
        let began = Instant::now();
        let received = exchange(builder).await;
        let took = began.elapsed();
        let (status, text) = match &received {
            Ok((status, _, text)) => (Some(*status), text.clone()),
            Err(error) => (None, error.clone()),
        };
        let sent = call.body.clone();
        self.note(Exchange { request: request.clone(), sent, status, received: text, took, times: 1 });
        match received {
            Ok((status, retry_after_s, text)) => {
                let body = serde_json::from_str(&text).unwrap_or(Value::Null);
                Ok(Answer { request, status, body, retry_after_s })
            }
            Err(error) => Err(Failure::new(format!("{request}: an answer"), error)),
        }
    }

    /// Polls until `look` returns a value.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Expected<Option<T>>) -> Expected<T> {
        let deadline = Instant::now() + self.timeout;
        let mut pause = Duration::from_millis(POLL_FIRST_MS);
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                let got = format!("not within {} s; see the last answer", self.timeout.as_secs());
                return Err(Failure::new(what, got));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_millis(POLL_MAX_MS));
        }
    }

    fn note(&self, exchange: Exchange) {
        let mut record = self.record.borrow_mut();
        record.requests += 1;
        if let Some(last) = record.exchanges.last_mut()
            && last.request == exchange.request
            && last.sent == exchange.sent
        {
            let times = last.times + 1;
            *last = Exchange { times, ..exchange };
            return;
        }
        if record.exchanges.len() == EXCHANGES_MAX {
            record.exchanges.remove(0);
        }
        record.exchanges.push(exchange);
    }

    /// Clears the record at the beginning of a step.
    pub fn forget(&self) {
        self.record.borrow_mut().exchanges.clear();
    }

    /// The number of requests made so far.
    pub fn requests(&self) -> usize {
        self.record.borrow().requests
    }

    /// The exchanges of this step, without secrets.
    pub fn exchanges(&self, mask: &Mask) -> Vec<Exchange> {
        let shown = |text: &str| mask.hide(text).chars().take(BODY_SHOWN_MAX).collect::<String>();
        let record = self.record.borrow();
        let rows = record.exchanges.iter().cloned();
        rows.map(|row| Exchange {
            request: mask.hide(&row.request),
            sent: row.sent.as_deref().map(shown),
            received: shown(&row.received),
            ..row
        })
        .collect()
    }
}

type Received = (u16, Option<u64>, String);

async fn exchange(builder: RequestBuilder) -> std::result::Result<Received, String> {
    let mut response = builder.send().await.map_err(|error| error_chain(&error))?;
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let retry_after_s = retry_after.and_then(|text| text.parse().ok());
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| error_chain(&error))? {
        if bytes.len() + chunk.len() > BODY_MAX_BYTES {
            return Err(format!("the answer is longer than {BODY_MAX_BYTES} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((status, retry_after_s, String::from_utf8_lossy(&bytes).into_owned()))
}

/// An error with its causes, but without its address, which may contain a password.
fn error_chain(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    let what = if error.is_timeout() { "no answer in time" } else { "no answer" };
    if causes.is_empty() { what.to_owned() } else { format!("{what}: {}", causes.join(": ")) }
}
