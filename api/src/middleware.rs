//! The middleware of every request: its identifier, limits, a deadline, credentials before bodies, headers, metrics,
//! the access log, problem documents.

mod body;
mod cors;
mod header;
mod host;
mod logged;
mod panic;

use crate::app::App;
use crate::auth;
use crate::capacity::Capacity;
use crate::client_ip::limited_client;
use crate::limit_fields;
use crate::problem::{self, ApiError, Asked};
use crate::request_id::{self, REQUEST_ID, RequestId, TraceId};
use crate::route_table::{Access, Operation, RouteTable};
use crate::routes;
use crate::routes::admin::catalogue;
use crate::routes::webhook::{self, Sender};
use crate::unread_answers::UnreadAnswerLimit;
use body::{Bodies, CATALOGUE_BODY_MAX_BYTES, Kind, has_body};
use bursar_engine::metric;
use bytes::Bytes;
use cors::Cors;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use logged::Logged;
use poem::http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE};
use poem::http::uri::PathAndQuery;
use poem::http::{HeaderValue, Method, StatusCode};
use poem::{Endpoint, Request, Response};
use poem_openapi::OperationId;
use poem_openapi::error::ParseRequestPayloadError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The path of liveness, which costs nothing and is answered without a limit.
const LIVE: &str = "/health/live";

/// The class of a request, which decides its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Liveness, which is never refused.
    Live,
    /// Health and metrics, which have a limit of their own: a busy server must not look like a dead one.
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
            (true, _) if path == LIVE => Self::Live,
            (true, _) if is_monitoring => Self::Monitoring,
            (false, Some(sender)) if *request.method() == Method::POST => Self::Webhook(sender),
            _ => Self::Ordinary,
        }
    }
}

/// Requests of one class that are under way.
struct Lane {
    requests_max: usize,
    in_flight: AtomicUsize,
}

impl Lane {
    fn new(requests_max: usize) -> Self {
        Self { requests_max, in_flight: AtomicUsize::new(0) }
    }

    /// Counts a request as in flight, or refuses it if there are too many.
    fn enter(&self) -> poem::Result<InFlight<'_>> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let entered = InFlight(&self.in_flight);
        let is_free = before < self.requests_max;
        if is_free { Ok(entered) } else { Err(poem::Error::from_response(problem::respond(overloaded()))) }
    }
}

struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An endpoint behind limits, deadline and metrics.
pub struct Guarded<E> {
    inner: E,
    app: Arc<App>,
    routes: RouteTable,
    cors: Cors,
    requests: Lane,
    webhooks: Lane,
    monitoring: Lane,
    bodies: Bodies,
    unread_answers: UnreadAnswerLimit,
}

impl<E> Guarded<E> {
    /// Wraps an endpoint with these routes.
    pub fn new(inner: E, app: Arc<App>, routes: RouteTable, capacity: Capacity) -> Self {
        let http = &app.config.http;
        Self {
            inner,
            routes,
            cors: Cors::new(&http.cors_origins),
            requests: Lane::new(capacity.requests),
            webhooks: Lane::new(capacity.webhooks),
            monitoring: Lane::new(capacity.health),
            bodies: Bodies::new(http),
            unread_answers: UnreadAnswerLimit::new(http.answers_max_bytes),
            app,
        }
    }
}

impl<E: Endpoint<Output = Response>> Endpoint for Guarded<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let (method, path) = (method_label(request.method()), request.uri().path().to_owned());
        let (id, trace) = (RequestId::of(request.headers()), TraceId::of(request.headers()));
        let trusted = self.app.trusted_proxies();
        let logged = Logged::begin(&request, (method, &path), (&id, trace), trusted, &self.routes);
        let (asked, has_token) = (self.cors.ask(&request), request.headers().contains_key(AUTHORIZATION));
        let preflight = cors::answer_preflight(&request, &asked, &self.routes);
        let answer = async {
            match preflight {
                Some(response) => response,
                // In a box, as each part of it: otherwise every layer moves a future of many kilobytes.
                None => limit_fields::with_fields(self.handle(request).boxed()).await,
            }
        };
        let (mut response, caller) = request_id::answering(id.clone(), trace, answer).await;
        logged.answer(&response, caller);
        response.headers_mut().insert(REQUEST_ID, id.to_header());
        header::complete(&mut response, &path, has_token, &self.routes);
        cors::mark(response.headers_mut(), asked);
        let route = response.data::<OperationId>().map_or("other", |id| id.0);
        let status = response.status().as_u16().to_string();
        metrics::counter!(metric::HTTP_REQUESTS, "route" => route, "method" => method, "status" => status).increment(1);
        metrics::histogram!(metric::HTTP_SECONDS, "route" => route).record(started.elapsed().as_secs_f64());
        let in_flight: usize =
            [&self.requests, &self.webhooks].iter().map(|lane| lane.in_flight.load(Ordering::Relaxed)).sum();
        #[allow(clippy::cast_precision_loss)]
        metrics::gauge!(metric::HTTP_IN_FLIGHT).set(in_flight as f64);
        Ok(response)
    }
}

impl<E: Endpoint<Output = Response>> Guarded<E> {
    async fn handle(&self, request: Request) -> Response {
        if let Err(error) = check_head(&request) {
            let response = problem::respond(error);
            return if has_body(&request) { close_after(response) } else { response };
        }
        let asked = Asked::new(&request);
        let answer = match Class::of(&request) {
            Class::Webhook(sender) => self.webhook(sender, request).boxed(),
            Class::Live => self.inner(request),
            Class::Monitoring => self.monitoring(request).boxed(),
            Class::Ordinary => self.ordinary(request).boxed(),
        };
        let answer = panic::caught(timeout(Duration::from_millis(self.app.config.http.timeout_ms), answer));
        match answer.await {
            Err(error) => problem::respond(error),
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(error))) if error.is_from_response() => error.into_response(),
            Ok(Ok(Err(error))) => {
                let response = problem::from_framework(&error, asked, routes::required_fields);
                if response.status() == StatusCode::PAYLOAD_TOO_LARGE { close_after(response) } else { response }
            }
            Ok(Err(_)) => problem::respond(timed_out()),
        }
    }

    fn inner(&self, request: Request) -> BoxFuture<'_, poem::Result<Response>> {
        self.inner.call(request).boxed()
    }

    async fn monitoring(&self, request: Request) -> poem::Result<Response> {
        let _in_flight = self.monitoring.enter()?;
        self.inner(request).await
    }

    async fn ordinary(&self, mut request: Request) -> poem::Result<Response> {
        let (method, path) = (request.method(), request.uri().path());
        // A route that needs a credential says so first, whatever the query is.
        let is_open = || self.routes.operation(method, path).is_some_and(|found| found.access == Access::Open);
        let has_credential = || ["x-api-key", "authorization"].iter().any(|name| request.header(*name).is_some());
        let query = request.uri().query().filter(|_| has_credential() || is_open());
        if let Some(detail) = query.and_then(|query| routes::query_problem(method.as_str(), path, query)) {
            let response = problem::respond(ApiError::bad_request("invalid_parameter", detail));
            return Ok(if has_body(&request) { close_after(response) } else { response });
        }
        if is_read(&request) {
            let _in_flight = self.requests.enter()?;
            let response = self.inner(request).await?;
            let counted = self.unread_answers.count(response).await;
            return Ok(counted.unwrap_or_else(|| problem::respond(overloaded())));
        }
        let Some(operation) = self.routes.operation(request.method(), request.uri().path()) else {
            return self.unknown(request).await;
        };
        if let Some(refusal) = self.refuse_credentials(operation, &mut request).await {
            return Ok(refusal);
        }
        let client = limited_client(&request, self.app.trusted_proxies());
        let bytes_max = self.body_max_bytes(operation.access, &request);
        let (bytes, _memory) = self.bodies.read(Kind::Other, client, &mut request, bytes_max).await?;
        let _in_flight = self.requests.enter()?;
        let bytes = Bytes::from(bytes);
        request.set_body(bytes.clone());
        // The answer is small and tells the outcome, so it is not limited.
        let answer = self.inner(request).await;
        let Err(error) = &answer else { return answer };
        if !error.is::<ParseRequestPayloadError>() {
            return answer;
        }
        match routes::body_problem(operation.id, &bytes) {
            Some(detail) => {
                let mut response = problem::respond(ApiError::bad_request("invalid_body", detail));
                response.set_data(OperationId(operation.id));
                Ok(response)
            }
            None => answer,
        }
    }

    /// Answers a request for nothing that exists, without its body.
    async fn unknown(&self, mut request: Request) -> poem::Result<Response> {
        let has_body = has_body(&request);
        drop(request.take_body());
        let asked = Asked::new(&request);
        let response = match self.inner(request).await {
            Err(error) if !error.is_from_response() => problem::from_framework(&error, asked, routes::required_fields),
            answer => answer.unwrap_or_else(poem::Error::into_response),
        };
        Ok(if has_body { close_after(response) } else { response })
    }

    /// Refuses a request with missing or wrong credentials before its body is read. Its route checks them again, but
    /// looks an API key up only if the body was late.
    async fn refuse_credentials(&self, operation: Operation, request: &mut Request) -> Option<Response> {
        if operation.access == Access::Open {
            return None;
        }
        request.extensions_mut().insert(self.app.clone());
        let checked = async {
            let _in_flight = self.requests.enter()?;
            auth::check(operation.access, request).await
        };
        let error = checked.await.err()?;
        let mut response = problem::from_framework_or_own(error, Asked::new(request), routes::required_fields);
        response.set_data(OperationId(operation.id));
        Some(if has_body(request) { close_after(response) } else { response })
    }

    /// The largest body of a request. Only staff may send a catalogue, so only they get room for one.
    fn body_max_bytes(&self, access: Access, request: &Request) -> usize {
        let usual = self.app.config.http.body_max_bytes;
        let has_catalogue = access == Access::Admin && catalogue::BODY_PATHS.contains(&request.uri().path());
        if has_catalogue { usual.max(CATALOGUE_BODY_MAX_BYTES) } else { usual }
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
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let client = limited_client(&request, self.app.trusted_proxies());
        let bytes_max = self.app.config.http.webhook_body_max_bytes;
        let (bytes, _memory) = self.bodies.read(Kind::Webhook, client, &mut request, bytes_max).await?;
        let _in_flight = self.webhooks.enter()?;
        request.set_body(bytes);
        self.inner(request).await
    }
}

/// Refuses a request whose head makes no sense.
fn check_head(request: &Request) -> Result<(), ApiError> {
    host::check(request)?;
    let url = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
    // Few URLs have a percent sign, and one character is found quickly.
    if url.contains('%') && url.contains("%00") {
        return Err(ApiError::bad_request("invalid_parameter", "The URL contains a NUL character."));
    }
    if request.headers().get_all("Idempotency-Key").iter().nth(1).is_some() {
        // Whoever sends two means the one that is not looked at.
        return Err(ApiError::bad_request(
            "invalid_idempotency_key",
            "The header Idempotency-Key is there more than once.",
        ));
    }
    Ok(())
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
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The name of a method in metrics and the access log. Unknown methods share one, so that there are only a few labels.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
