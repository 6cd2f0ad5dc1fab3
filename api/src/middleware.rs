//! What every request passes through: bounds, a deadline, metrics, problem documents.

use crate::app::App;
use crate::problem::{self, ApiError};
use bursar_engine::metric;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Body, Endpoint, Request, Response};
use poem_openapi::OperationId;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
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
}

impl<E> Guarded<E> {
    /// Wraps an endpoint.
    pub fn new(inner: E, app: Arc<App>) -> Self {
        Self { inner, app, in_flight: AtomicUsize::new(0) }
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
                None => problem::respond(ApiError::new(503, "overloaded", "The server is busy. Try again shortly.")),
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
        let limit = if is_webhook { http.webhook_body_max_bytes } else { http.body_max_bytes };
        if is_webhook {
            // The bytes are taken as they are: a signed event is never refused for what it calls itself.
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        }
        if request.uri().path_and_query().is_some_and(|text| text.as_str().contains("%00")) {
            let detail = "The address contains a NUL character.";
            return problem::respond(ApiError::bad_request("invalid_parameter", detail));
        }
        let answer = tokio::time::timeout(Duration::from_millis(http.timeout_ms), async {
            if !matches!(*request.method(), Method::GET | Method::HEAD) {
                match request.take_body().into_bytes_limit(limit).await {
                    Ok(bytes) => request.set_body(Body::from_bytes(bytes)),
                    Err(error) => return Err(error.into()),
                }
            }
            self.inner.call(request).await
        });
        match answer.await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_from_response() => error.into_response(),
            Ok(Err(error)) => {
                let mut response = problem::from_framework(&error);
                if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    // What is left of the body is not read, so nothing can follow it.
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
            Err(_) => {
                let detail = "There was no answer in time. Try again with the same Idempotency-Key.";
                problem::respond(ApiError::new(503, "timeout", detail))
            }
        }
    }
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
