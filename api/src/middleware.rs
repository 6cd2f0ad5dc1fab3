//! The middleware of every request: limits, a deadline, metrics, problem documents.

use crate::app::App;
use crate::problem::{self, ApiError, Asked};
use crate::routes;
use crate::routes::admin::catalogue;
use crate::routes::webhook::{self, Sender};
use crate::unread_answers::UnreadAnswerLimit;
use crate::webhook_bodies::{BodyMemory, WebhookBodies};
use bursar_engine::domain::catalogue::read::FILE_MAX_BYTES;
use bursar_engine::metric;
use futures_util::StreamExt;
use poem::error::ReadBodyError;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Body, Endpoint, Request, Response};
use poem_openapi::OperationId;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The largest body with a catalogue. In JSON its line breaks and quotes take two bytes each.
const CATALOGUE_BODY_MAX_BYTES: usize = 2 * FILE_MAX_BYTES + 64 * 1_024;

/// The class of a request, which decides its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Health and metrics, which are never refused: a busy server must not look like a dead one.
    Monitoring,
    /// A webhook, which has a limit of its own.
    Webhook(Sender),
    /// All others.
    Ordinary,
}

impl Class {
    fn of(request: &Request) -> Self {
        let path = request.uri().path();
        let is_monitoring = path == "/metrics" || path.split('/').nth(1) == Some("health");
        match (is_read(request), Sender::of_path(path)) {
            (true, _) if is_monitoring => Self::Monitoring,
            (false, Some(sender)) if *request.method() == Method::POST => Self::Webhook(sender),
            _ => Self::Ordinary,
        }
    }
}

/// An endpoint behind limits, deadline and metrics.
pub struct Guarded<E> {
    inner: E,
    app: Arc<App>,
    in_flight: AtomicUsize,
    webhooks_in_flight: AtomicUsize,
    webhook_bodies: WebhookBodies,
    unread_answers: UnreadAnswerLimit,
}

impl<E> Guarded<E> {
    /// Wraps an endpoint.
    pub fn new(inner: E, app: Arc<App>) -> Self {
        let http = &app.config.http;
        let webhook_bodies = WebhookBodies::new(http.webhook_bodies_max_bytes, http.webhook_bodies_small_bytes);
        let unread_answers = UnreadAnswerLimit::new(http.answers_max_bytes);
        let (in_flight, webhooks_in_flight) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { inner, app, in_flight, webhooks_in_flight, webhook_bodies, unread_answers }
    }

    /// Counts a request as in flight, or refuses it if there are too many.
    fn enter<'a>(&self, in_flight: &'a AtomicUsize) -> poem::Result<InFlight<'a>> {
        let before = in_flight.fetch_add(1, Ordering::Relaxed);
        let entered = InFlight(in_flight);
        let is_free = before < self.app.config.http.requests_max;
        if is_free { Ok(entered) } else { Err(poem::Error::from_response(problem::respond(overloaded()))) }
    }
}

struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<E: Endpoint<Output = Response>> Endpoint for Guarded<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let method = method_label(request.method());
        let response = self.handle(request).await;
        let route = response.data::<OperationId>().map_or("other", |id| id.0);
        let status = response.status().as_u16().to_string();
        metrics::counter!(metric::HTTP_REQUESTS, "route" => route, "method" => method, "status" => status).increment(1);
        metrics::histogram!(metric::HTTP_SECONDS, "route" => route).record(started.elapsed().as_secs_f64());
        let in_flight = self.in_flight.load(Ordering::Relaxed) + self.webhooks_in_flight.load(Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss)]
        metrics::gauge!(metric::HTTP_IN_FLIGHT).set(in_flight as f64);
        Ok(response)
    }
}

impl<E: Endpoint<Output = Response>> Guarded<E> {
    async fn handle(&self, request: Request) -> Response {
        if request.uri().path_and_query().is_some_and(|text| text.as_str().contains("%00")) {
            let detail = "The URL contains a NUL character.";
            return problem::respond(ApiError::bad_request("invalid_parameter", detail));
        }
        let asked = Asked::new(&request);
        let answer = async {
            match Class::of(&request) {
                Class::Webhook(sender) => self.webhook(sender, request).await,
                Class::Monitoring => self.inner.call(request).await,
                Class::Ordinary => self.ordinary(request).await,
            }
        };
        match timeout(Duration::from_millis(self.app.config.http.timeout_ms), answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_from_response() => error.into_response(),
            Ok(Err(error)) => {
                let response = problem::from_framework(&error, asked, routes::required_fields);
                if response.status() == StatusCode::PAYLOAD_TOO_LARGE { close_after(response) } else { response }
            }
            Err(_) => problem::respond(timed_out()),
        }
    }

    async fn ordinary(&self, mut request: Request) -> poem::Result<Response> {
        let (method, path) = (request.method().as_str(), request.uri().path());
        // Without a credential the route says so first, whatever the query is.
        let has_credential = ["x-api-key", "authorization"].iter().any(|name| request.header(*name).is_some());
        let query = request.uri().query().filter(|_| has_credential);
        if let Some(detail) = query.and_then(|query| routes::query_problem(method, path, query)) {
            let refused = ApiError::bad_request("invalid_parameter", detail);
            return Err(poem::Error::from_response(problem::respond(refused)));
        }
        let _in_flight = self.enter(&self.in_flight)?;
        if is_read(&request) {
            let response = self.inner.call(request).await?;
            let counted = self.unread_answers.count(response).await;
            return Ok(counted.unwrap_or_else(|| problem::respond(overloaded())));
        }
        let body = request.take_body();
        let body_max_bytes = self.body_max_bytes(&request);
        let bytes = self.with_body_timeout(async { Ok(body.into_bytes_limit(body_max_bytes).await?) });
        request.set_body(Body::from_bytes(bytes.await?));
        // The answer is small and tells the outcome, so it is not limited.
        self.inner.call(request).await
    }

    /// The largest body of a request. Only staff may send a catalogue, so only they get room for one.
    fn body_max_bytes(&self, request: &Request) -> usize {
        let usual = self.app.config.http.body_max_bytes;
        let has_catalogue = catalogue::BODY_PATHS.contains(&request.uri().path());
        let token = request.header(header::AUTHORIZATION).and_then(|text| text.strip_prefix("Bearer "));
        let is_staff = || token.is_some_and(|token| self.app.is_admin_token(token));
        if has_catalogue && is_staff() { usual.max(CATALOGUE_BODY_MAX_BYTES) } else { usual }
    }

    /// Refuses a webhook with wrong headers before its body is read. The others count as in flight only once their
    /// bodies are complete, so that senders who withhold bodies do not use up the limit.
    async fn webhook(&self, sender: Sender, mut request: Request) -> poem::Result<Response> {
        if let Err(error) = webhook::check_head(sender, &self.app, request.headers()) {
            let mut response = close_after(problem::respond(error));
            response.set_data(OperationId(sender.operation()));
            return Ok(response);
        }
        // The body is read as bytes: a signed event is never refused for its content type.
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let length = request.header(header::CONTENT_LENGTH).and_then(|text| text.parse().ok()).unwrap_or(0);
        if length > self.app.config.http.webhook_body_max_bytes {
            return Err(ReadBodyError::PayloadTooLarge.into());
        }
        let mut memory = self.webhook_bodies.begin(length);
        let bytes = self.with_body_timeout(self.webhook_body(request.take_body(), &mut memory)).await?;
        let _in_flight = self.enter(&self.webhooks_in_flight)?;
        request.set_body(bytes);
        self.inner.call(request).await
    }

    /// Reads the body of a webhook. Fails if the body is evicted.
    async fn webhook_body(&self, body: Body, memory: &mut BodyMemory<'_>) -> poem::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut chunks = pin!(body.into_bytes_stream());
        loop {
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                () = memory.evicted() => return Err(refused(overloaded())),
            };
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(ReadBodyError::Io)?;
            if bytes.len() + chunk.len() > self.app.config.http.webhook_body_max_bytes {
                return Err(ReadBodyError::PayloadTooLarge.into());
            }
            if !memory.grow(chunk.len()) {
                return Err(refused(overloaded()));
            }
            bytes.extend_from_slice(&chunk);
        }
        if memory.complete() { Ok(bytes) } else { Err(refused(overloaded())) }
    }

    /// Reads a body within the time limit for bodies.
    async fn with_body_timeout<T>(&self, body: impl Future<Output = poem::Result<T>>) -> poem::Result<T> {
        let limit = Duration::from_millis(self.app.config.http.body_timeout_ms);
        timeout(limit, body).await.unwrap_or_else(|_| Err(refused(timed_out())))
    }
}

/// Whether a request only reads, and has no body.
fn is_read(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

fn timed_out() -> ApiError {
    let detail = "There was no answer in time. Try again with the same Idempotency-Key.";
    ApiError::with_code("timeout", detail)
}

/// Refuses a request whose body is not read to its end.
fn refused(error: ApiError) -> poem::Error {
    poem::Error::from_response(close_after(problem::respond(error)))
}

fn overloaded() -> ApiError {
    ApiError::with_code("overloaded", "The server is busy. Try again shortly.")
}

/// Closes the connection after the answer, because the rest of the body is not read.
fn close_after(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The metric label of a method. Unknown methods share one, so that there are only a few labels.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
