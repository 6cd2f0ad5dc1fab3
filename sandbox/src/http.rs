//! The HTTP server: routes requests to the parts of the sandbox and marks every answer.

use crate::app::App;
use crate::call::{Admission, Incoming, Reply, record};
use crate::control::{self, ControlToken};
use crate::cut::ConnectionCutter;
use crate::fault::Fault;
use crate::html;
use crate::record::Recorder;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{Body, Request, Response};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The longest request body.
const BODY_MAX_BYTES: usize = 1_024 * 1_024;
/// Maximum number of requests in progress.
const REQUESTS_MAX: usize = 2_048;
/// The `Sandbox` header of every answer.
const BANNER: HeaderValue = HeaderValue::from_static("SANDBOX - no real money moves");

/// What a request needs.
pub(crate) struct Server {
    pub(crate) app: Arc<App>,
    pub(crate) control_token: ControlToken,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) cutter: ConnectionCutter,
    pub(crate) in_flight: AtomicUsize,
}

struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers a request.
pub(crate) async fn answer(server: Arc<Server>, mut request: Request) -> Response {
    let before = server.in_flight.fetch_add(1, Ordering::Relaxed);
    let _in_flight = InFlight(&server.in_flight);
    let mut response = if before >= REQUESTS_MAX {
        plain(503, "The SANDBOX is busy.")
    } else {
        match request.take_body().into_bytes_limit(BODY_MAX_BYTES).await {
            Ok(bytes) => route(&server, &request, String::from_utf8_lossy(&bytes).into_owned()).await,
            Err(_) => plain(413, "The body is too long for the SANDBOX."),
        }
    };
    response.headers_mut().insert("Sandbox", BANNER);
    response
}

async fn route(server: &Arc<Server>, request: &Request, body: String) -> Response {
    let path = request.uri().path();
    let method = request.method().as_str();
    if path.starts_with("/v1/") || path.starts_with("/v2/") {
        return imitate(server, request, body).await;
    }
    if let Some(command) = path.strip_prefix("/sandbox/v1/") {
        // Refuses commands of foreign web pages that are open in a browser on this machine.
        if request.header("origin").is_some() {
            return plain(403, "The SANDBOX's control API does not accept requests from web pages.");
        }
        if !server.control_token.is_in(request.header("authorization")) {
            let mut refused = plain(401, "The SANDBOX's control API asks for its token: Authorization: Bearer sct_...");
            refused
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sandbox\""));
            return refused;
        }
        let query = request.uri().query().unwrap_or_default().to_owned();
        let (app, method, command) = (server.app.clone(), method.to_owned(), command.to_owned());
        let answer = tokio::task::spawn_blocking(move || control::answer(&app, &method, &command, &query, &body)).await;
        return match answer {
            Ok((status, value)) => json(status, &value),
            Err(_) => plain(500, "The SANDBOX failed."),
        };
    }
    match html::page(&server.app, method, path) {
        Some(page) => Response::builder()
            .content_type("text/html; charset=utf-8")
            .header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'")
            .header("X-Content-Type-Options", "nosniff")
            .body(page),
        None => plain(404, "There is nothing here. SANDBOX."),
    }
}

async fn imitate(server: &Arc<Server>, request: &Request, body: String) -> Response {
    let text = |name: &str| request.header(name).map(str::to_owned);
    let call = Incoming {
        method: request.method().as_str().to_owned(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        body,
        authorization: text("authorization"),
        idempotency_key: text("idempotency-key"),
        version: text("stripe-version"),
    };
    let key = call.idempotency_key.clone();
    // A task of its own: a caller that disconnects does not stop the execution.
    let (inner, from) = (server.clone(), request.remote_addr().as_socket_addr().copied());
    let done = tokio::spawn(async move {
        let (reply, lost) = run(&inner, &call).await;
        if let Some(recorder) = &inner.recorder {
            recorder.write(record(&call, &reply));
        }
        (reply, lost)
    });
    let Ok((reply, lost)) = done.await else { return plain(500, "The SANDBOX failed.") };
    if let Some(hang_ms) = lost {
        tokio::time::sleep(Duration::from_millis(hang_ms)).await;
        if let Some(from) = from {
            server.cutter.cut(from);
        }
    }
    respond(&reply, key.as_deref())
}

/// Admits a call and executes it. Also returns how long to be silent if the answer is to be lost.
async fn run(server: &Arc<Server>, call: &Incoming) -> (Reply, Option<u64>) {
    let admitted = match server.app.admit(call) {
        Admission::Answered(reply) => return (reply, None),
        Admission::Execute(admitted) => admitted,
    };
    let mut lost = None;
    match admitted.fault {
        Some(Fault::Delay { ms }) => tokio::time::sleep(Duration::from_millis(ms)).await,
        Some(Fault::LoseAnswer { hang_ms }) => lost = Some(hang_ms),
        _ => {}
    }
    // Blocks, because it flushes the journal to disk.
    let (app, call) = (server.app.clone(), call.clone());
    let executed = tokio::task::spawn_blocking(move || app.execute(&call, &admitted)).await;
    (executed.unwrap_or_else(|_| Reply::failure()), lost)
}

fn respond(reply: &Reply, key: Option<&str>) -> Response {
    if reply.is_html {
        let page = "<html><body><h1>502 Bad Gateway</h1>SANDBOX</body></html>";
        return Response::builder().status(StatusCode::BAD_GATEWAY).content_type("text/html").body(page);
    }
    let mut response = json(reply.answer.status, &reply.answer.body);
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    set("request-id", &reply.request_id);
    set("stripe-version", reply.version.as_str());
    if let Some(key) = key {
        set("idempotency-key", key);
        set("original-request", reply.answer.repeats.as_deref().unwrap_or(&reply.request_id));
    }
    if reply.answer.repeats.is_some() {
        set("idempotent-replayed", "true");
    }
    if let Some(after_s) = reply.retry_after_s {
        set("retry-after", &after_s.to_string());
    }
    if let Some(should_retry) = reply.should_retry {
        set("stripe-should-retry", if should_retry { "true" } else { "false" });
    }
    response
}

fn json(status: u16, body: &serde_json::Value) -> Response {
    let text = serde_json::to_string_pretty(body).unwrap_or_default();
    let mut response = plain(status, "");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.set_body(Body::from_string(text));
    response
}

fn plain(status: u16, text: &'static str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Response::builder().status(status).content_type("text/plain; charset=utf-8").body(text)
}
