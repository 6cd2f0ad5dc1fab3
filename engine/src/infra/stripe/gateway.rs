//! One call to Stripe: rate limits, tries, metrics.

use super::API_BASE;
use super::breaker::{Breaker, BreakerOptions};
use super::error::StripeError;
use super::path;
use super::retry::{Hints, RetryPolicy};
use super::turns::{LineFull, Turns};
use crate::config::{Config, key_is_live};
use crate::error::{Error, Result};
use crate::metric;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stripe_client_core::{RequestBuilder, StripeMethod};
use tokio::time::Instant;

/// Idle connections kept open to Stripe.
const IDLE_CONNECTIONS_MAX: usize = 32;
/// The largest answer, in bytes.
pub(super) const ANSWER_LEN_MAX: usize = 16 * 1_024 * 1_024;

/// The gateway's settings.
#[derive(Clone)]
pub struct GatewayOptions {
    /// The secret key; if empty, every call fails with [`StripeError::NotConfigured`].
    pub secret_key: String,
    /// [`super::API_BASE`], or the address of a stand-in.
    pub api_base: String,
    /// The longest duration of one try.
    pub timeout_ms: u64,
    /// The longest duration of a call with all its tries.
    pub total_timeout_ms: u64,
    /// Calls a second, below Stripe's own limit. Source: Stripe, "Rate limits": 100 in live mode, 25 in test mode.
    pub rate_per_s: u32,
    /// Calls a second of one kind, below Stripe's own limit for an endpoint. Source: as above: 25.
    pub endpoint_rate_per_s: u32,
    /// When a call is retried.
    pub retry: RetryPolicy,
    /// When the circuit breaker opens.
    pub breaker: BreakerOptions,
}

impl From<&Config> for GatewayOptions {
    fn from(config: &Config) -> Self {
        let stripe = &config.stripe;
        let elsewhere = !stripe.api_base.is_empty() && stripe.api_base != API_BASE;
        let rate_per_s = match (stripe.rate_per_s, key_is_live(stripe.secret_key.trim())) {
            (0, Some(true)) => 80,
            (0, _) if elsewhere => 2_000,
            (0, _) => 20,
            (rate, _) => rate,
        };
        Self {
            secret_key: stripe.secret_key.trim().to_owned(),
            api_base: if elsewhere { stripe.api_base.clone() } else { API_BASE.to_owned() },
            timeout_ms: stripe.timeout_ms,
            total_timeout_ms: stripe.total_timeout_ms,
            rate_per_s,
            endpoint_rate_per_s: if stripe.rate_per_s == 0 { rate_per_s.min(20) } else { rate_per_s },
            retry: RetryPolicy { tries_max: stripe.tries_max.max(1), base_ms: 500, wait_max_ms: 5_000 },
            breaker: BreakerOptions { failures_max: 5, open_ms: 5_000 },
        }
    }
}

/// A successful answer of Stripe.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The object.
    pub body: Value,
    /// Whether it is the stored answer of an earlier call under the same key.
    pub is_replay: bool,
}

/// The gateway to Stripe. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
    /// For whom it calls; empty for Bursar itself.
    caller: Arc<str>,
}

struct Inner {
    http: reqwest::Client,
    base: String,
    options: GatewayOptions,
    turns: Arc<Turns>,
    /// By the label of the call.
    endpoint_turns: Mutex<HashMap<&'static str, Arc<Turns>>>,
    breaker: Mutex<Breaker>,
    /// Duration of the last answer.
    latency: Mutex<Option<Duration>>,
    /// Start of the breaker's clock, which is monotonic so that setting the clock back does not keep it open.
    born: Instant,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("base", &self.inner.base).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Creates a gateway, which connects at its first call.
    ///
    /// # Errors
    /// `Config` if the key or the address is malformed.
    pub fn new(options: GatewayOptions) -> Result<Self> {
        // The process uses one TLS provider; setting it again fails and changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let problem = |text: &str| Error::Config(vec![text.to_owned()]);
        let mut headers = HeaderMap::new();
        let mut key = HeaderValue::from_str(&format!("Bearer {}", options.secret_key))
            .map_err(|_| problem("stripe.secret_key (STRIPE_SECRET_KEY) has characters that no key can have"))?;
        key.set_sensitive(true);
        headers.insert(AUTHORIZATION, key);
        let version = HeaderValue::from_str(stripe_client_core::VERSION.as_str());
        headers.insert("Stripe-Version", version.map_err(|_| problem("the version of Stripe's API cannot be sent"))?);
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("bursar/", env!("CARGO_PKG_VERSION")))
            .timeout(Duration::from_millis(options.timeout_ms))
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| problem(&format!("the Stripe client cannot be set up: {error}")))?;
        let base = options.api_base.trim_end_matches('/').to_owned();
        let (turns, endpoint_turns) = (Turns::new(options.rate_per_s), Mutex::default());
        let breaker = Mutex::new(Breaker::default());
        let (latency, born) = (Mutex::new(None), Instant::now());
        let inner = Inner { http, base, options, turns, endpoint_turns, breaker, latency, born };
        Ok(Self { inner: Arc::new(inner), caller: Arc::from("") })
    }

    /// The same gateway for the calls of one caller, such as a customer. Callers take turns where Stripe's rate limit
    /// makes them wait.
    pub fn for_caller(&self, caller: &str) -> Self {
        Self { inner: self.inner.clone(), caller: Arc::from(caller) }
    }

    /// Whether there is a key, without which every call fails.
    pub fn is_configured(&self) -> bool {
        !self.inner.options.secret_key.is_empty()
    }

    /// Reads an object. `call` is its label in metrics.
    pub(super) async fn get(&self, call: &'static str, request: RequestBuilder) -> Result<Answer, StripeError> {
        self.call(call, request, None).await
    }

    /// Makes a change, under a key that makes a retry a no-op.
    pub(super) async fn change(
        &self,
        call: &'static str,
        request: RequestBuilder,
        key: &str,
    ) -> Result<Answer, StripeError> {
        self.call(call, request, Some(key)).await
    }

    async fn call(
        &self,
        call: &'static str,
        request: RequestBuilder,
        key: Option<&str>,
    ) -> Result<Answer, StripeError> {
        let started = Instant::now();
        let result = self.call_with_retries(call, &request, key, started).await;
        let outcome = result.as_ref().map_or_else(StripeError::label, |_| "ok");
        metrics::counter!(metric::STRIPE_CALLS, "call" => call, "outcome" => outcome).increment(1);
        metrics::histogram!(metric::STRIPE_SECONDS, "call" => call).record(started.elapsed().as_secs_f64());
        result
    }

    async fn call_with_retries(
        &self,
        call: &'static str,
        request: &RequestBuilder,
        key: Option<&str>,
        started: Instant,
    ) -> Result<Answer, StripeError> {
        let options = &self.inner.options;
        if options.secret_key.is_empty() {
            return Err(StripeError::NotConfigured);
        }
        path::check(&request.path)?;
        let end = started + Duration::from_millis(options.total_timeout_ms);
        let mut tries = 0;
        // Once a try may have happened, a later "not done" must not hide that.
        let mut doubt: Option<StripeError> = None;
        loop {
            let (error, hints) = match self.try_once(call, request, key, end).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            tries += 1;
            if error.may_have_happened() {
                doubt = Some(error.clone());
            }
            let wait = options.retry.wait_ms(&error, hints, tries, rand::random()).map(Duration::from_millis);
            match wait {
                Some(wait) if Instant::now() + wait < end => tokio::time::sleep(wait).await,
                _ if matches!(error, StripeError::NotDone { .. }) => return Err(doubt.unwrap_or(error)),
                _ => return Err(error),
            }
        }
    }

    async fn try_once(
        &self,
        call: &'static str,
        request: &RequestBuilder,
        key: Option<&str>,
        end: Instant,
    ) -> Result<Answer, (StripeError, Hints)> {
        let inner = &self.inner;
        let not_done = |reason: &str| (StripeError::NotDone { reason: reason.to_owned() }, Hints::default());
        if !self.breaker(|breaker, options, now_ms| breaker.admits(options, now_ms)) {
            return Err((
                StripeError::NotDone { reason: "the circuit breaker is open after several failures".to_owned() },
                Hints { should_retry: Some(false), ..Hints::default() },
            ));
        }
        let waited = Instant::now();
        match tokio::time::timeout_at(end, self.turn(call)).await {
            Ok(Ok(())) => {}
            Ok(Err(LineFull)) => {
                return Err(not_done("too many calls of this caller are waiting for Stripe's rate limit"));
            }
            Err(_) => return Err(not_done("too many calls are waiting for Stripe's rate limit")),
        }
        metrics::histogram!(metric::STRIPE_WAIT_SECONDS).record(waited.elapsed().as_secs_f64());

        let sent = Instant::now();
        let result = self.send(request, key).await;
        self.breaker(|breaker, options, now_ms| match &result {
            Err((_, hints)) if hints.is_outage => breaker.record_failure(options, now_ms),
            _ => {
                *inner.latency.lock().unwrap_or_else(PoisonError::into_inner) = Some(sent.elapsed());
                breaker.record_answer();
            }
        });
        result
    }

    /// Waits for the caller's turn, first at the call's own limit and then at that of all calls.
    async fn turn(&self, call: &'static str) -> Result<(), LineFull> {
        let rate_per_s = self.inner.options.endpoint_rate_per_s;
        let of_endpoint = {
            let mut turns = self.inner.endpoint_turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.entry(call).or_insert_with(|| Turns::new(rate_per_s)).clone()
        };
        of_endpoint.wait(&self.caller).await?;
        self.inner.turns.wait(&self.caller).await
    }

    fn breaker<T>(&self, act: impl FnOnce(&mut Breaker, BreakerOptions, i64) -> T) -> T {
        let mut breaker = self.inner.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = i64::try_from(self.inner.born.elapsed().as_millis()).unwrap_or(i64::MAX);
        let answer = act(&mut breaker, self.inner.options.breaker, now_ms);
        metrics::gauge!(metric::STRIPE_BREAKER_OPEN).set(if breaker.is_open() { 1.0 } else { 0.0 });
        answer
    }

    async fn send(&self, request: &RequestBuilder, key: Option<&str>) -> Result<Answer, (StripeError, Hints)> {
        let outage = Hints { is_outage: true, ..Hints::default() };
        let mut response = self.build(request, key).send().await.map_err(|error| {
            let reason = without_url(error);
            // Without a connection nothing was sent. After that the outcome is unknown.
            let class = if reason.is_connect {
                StripeError::NotDone { reason: reason.text }
            } else {
                StripeError::Unknown { reason: reason.text, is_stored: false }
            };
            (class, outage)
        })?;
        let status = response.status().as_u16();
        let (hints, is_replay) = read_hints(status, response.headers());
        let unknown = |reason: String| (StripeError::Unknown { reason, is_stored: false }, hints);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unknown(without_url(error).text))? {
            if body.len() + chunk.len() > ANSWER_LEN_MAX {
                return Err(unknown(format!("the answer is larger than {ANSWER_LEN_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        if !(200..300).contains(&status) {
            return Err((StripeError::read(status, &body, is_replay), hints));
        }
        match serde_json::from_slice(&body) {
            Ok(body) => Ok(Answer { body, is_replay }),
            Err(error) => Err(unknown(format!("the answer is not JSON: {error}"))),
        }
    }

    fn build(&self, request: &RequestBuilder, key: Option<&str>) -> reqwest::RequestBuilder {
        let mut url = format!("{}/v1{}", self.inner.base, path::encode(&request.path));
        if let Some(query) = request.query.as_deref().filter(|query| !query.is_empty()) {
            url.push('?');
            url.push_str(query);
        }
        let http = &self.inner.http;
        let mut builder = match request.method {
            StripeMethod::Get => http.get(url),
            StripeMethod::Post => http.post(url),
            StripeMethod::Delete => http.delete(url),
        };
        if let Some(body) = &request.body {
            builder = builder.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body.clone());
        }
        match key {
            Some(key) => builder.header("Idempotency-Key", key),
            None => builder,
        }
    }

    /// Duration of Stripe's last answer; `None` before the first.
    pub fn latency(&self) -> Option<Duration> {
        *self.inner.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the circuit breaker is open.
    pub fn is_breaker_open(&self) -> bool {
        self.breaker(|breaker, _, _| breaker.is_open())
    }
}

/// The retry hints in an answer's headers, and whether it is the stored answer of an earlier call.
fn read_hints(status: u16, headers: &HeaderMap) -> (Hints, bool) {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_replay = header("idempotent-replayed") == Some("true");
    let retry_after_s = header("retry-after").and_then(|text| text.parse::<u64>().ok());
    let hints = Hints {
        should_retry: header("stripe-should-retry").and_then(|text| text.parse().ok()),
        retry_after_ms: retry_after_s.map(|seconds| seconds.saturating_mul(1_000)),
        is_outage: status >= 500 && !is_replay,
    };
    (hints, is_replay)
}

struct Reason {
    text: String,
    is_connect: bool,
}

/// Removes the URL from an error, because it may contain ids.
fn without_url(error: reqwest::Error) -> Reason {
    let is_connect = error.is_connect() || error.is_builder();
    let is_timeout = error.is_timeout();
    let error = error.without_url();
    let mut text = if is_timeout { "no answer in time".to_owned() } else { error.to_string() };
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    Reason { text, is_connect }
}
