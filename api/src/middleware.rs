//! What every request passes through: bounds, a deadline, metrics, problem documents.

use crate::app::App;
use crate::problem::{self, ApiError};
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
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// What is answered however many requests are under way: whoever asks would otherwise take a busy server
/// for a dead one, and see nothing while it matters most.
fn is_watched(path: &str) -> bool {
    path == "/metrics" || path.split('/').nth(1) == Some("health")
}

/// Wraps an endpoint with all of it.
pub struct Guarded<E> {
    inner: E,
    app: Arc<App>,
    in_flight: AtomicUsize,
    /// A permit for each byte of webhooks that is in memory: nobody has looked at their signatures yet.
    webhook_bytes: Semaphore,
}

impl<E> Guarded<E> {
    /// Wraps an endpoint.
    pub fn new(inner: E, app: Arc<App>) -> Self {
        let webhook_bytes = Semaphore::new(app.config.http.webhook_bodies_max_bytes);
        Self { inner, app, in_flight: AtomicUsize::new(0), webhook_bytes }
    }

    fn enter(&self) -> Option<InFlight<'_>> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let entered = InFlight(&self.in_flight);
        (before < self.app.config.http.requests_max).then_some(entered)
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
        let response = if is_watched(request.uri().path()) {
            self.bounded(request).await
        } else {
            match self.enter() {
                None => problem::respond(overloaded()),
                Some(_in_flight) => self.bounded(request).await,
            }
        };
        let route = response.data::<OperationId>().map_or("other", |id| id.0);
        let status = response.status().as_u16().to_string();
        metrics::counter!(metric::HTTP_REQUESTS, "route" => route, "method" => method, "status" => status).increment(1);
        metrics::histogram!(metric::HTTP_SECONDS, "route" => route).record(started.elapsed().as_secs_f64());
        #[allow(clippy::cast_precision_loss)]
        metrics::gauge!(metric::HTTP_IN_FLIGHT).set(self.in_flight.load(Ordering::Relaxed) as f64);
        Ok(response)
    }
}

impl<E: Endpoint<Output = Response>> Guarded<E> {
    async fn bounded(&self, mut request: Request) -> Response {
        let http = &self.app.config.http;
        let is_webhook = request.uri().path().starts_with("/webhooks/");
        if is_webhook {
            // The bytes are taken as they are: a signed event is never refused for what it calls itself.
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        }
        if request.uri().path_and_query().is_some_and(|text| text.as_str().contains("%00")) {
            let detail = "The address contains a NUL character.";
            return problem::respond(ApiError::bad_request("invalid_parameter", detail));
        }
        let answer = tokio::time::timeout(Duration::from_millis(http.timeout_ms), async {
            // Kept until the answer: so long the body is in memory.
            let mut _permits = None;
            match *request.method() {
                Method::GET | Method::HEAD => {}
                _ if is_webhook => {
                    let (bytes, permits) = self.webhook_body(request.take_body()).await?;
                    request.set_body(bytes);
                    _permits = permits;
                }
                _ => {
                    let bytes = request.take_body().into_bytes_limit(http.body_max_bytes).await?;
                    request.set_body(Body::from_bytes(bytes));
                }
            }
            self.inner.call(request).await
        });
        match answer.await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_from_response() => error.into_response(),
            Ok(Err(error)) => {
                let response = problem::from_framework(&error);
                if response.status() == StatusCode::PAYLOAD_TOO_LARGE { closing(response) } else { response }
            }
            Err(_) => {
                let detail = "There was no answer in time. Try again with the same Idempotency-Key.";
                problem::respond(ApiError::new(503, "timeout", detail))
            }
        }
    }

    /// Reads a webhook. Each byte takes its permit when it is here and not when it is announced: who
    /// announces much and sends nothing keeps nobody out.
    async fn webhook_body(&self, body: Body) -> poem::Result<(Vec<u8>, Option<SemaphorePermit<'_>>)> {
        let (mut bytes, mut permits) = (Vec::new(), None::<SemaphorePermit<'_>>);
        let mut chunks = pin!(body.into_bytes_stream());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(ReadBodyError::Io)?;
            if bytes.len() + chunk.len() > self.app.config.http.webhook_body_max_bytes {
                return Err(ReadBodyError::PayloadTooLarge.into());
            }
            // A chunk is a part of what was just allowed, so its length always fits.
            let len = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let more = self.webhook_bytes.try_acquire_many(len);
            let more = more.map_err(|_| poem::Error::from_response(closing(problem::respond(overloaded()))))?;
            match &mut permits {
                Some(permits) => permits.merge(more),
                None => permits = Some(more),
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((bytes, permits))
    }
}

fn overloaded() -> ApiError {
    ApiError::new(503, "overloaded", "The server is busy. Try again shortly.")
}

/// What is left of the body is not read, so nothing can follow the answer.
fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Methods as a label; whatever else a client invents is one value.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
