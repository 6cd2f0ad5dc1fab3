//! A proxy between the application and the sandbox that replaces answers, to simulate rare ones of Stripe.

use super::*;
use poem::http::{HeaderMap, HeaderName, StatusCode};
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::{Request, Response, Server};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinHandle;

/// What happens to a call.
#[derive(Debug, Clone)]
pub(super) enum Interception {
    /// Nothing; the call only counts.
    None,
    /// Stripe executes it, and the caller gets this answer.
    Replaced(u16, Value),
    /// Stripe does not get it, and the caller gets this answer.
    Blocked(u16, Value),
    /// Like `Blocked`, with the header that marks an answer stored under the idempotency key.
    BlockedAsReplayed(u16, Value),
    /// Stripe lists one object a page, however many were asked for.
    OneAPage,
    /// Stripe executes it, and the caller gets no answer.
    AnswerLost,
    /// Stripe does not get it, and the caller gets no answer.
    RequestLost,
}

/// The calls to intercept: the method, the path or its prefix before a `*`, and their number.
#[derive(Debug, Clone)]
struct Rule {
    method: &'static str,
    path: String,
    left: usize,
    used: usize,
    interception: Interception,
}

pub(super) struct Interceptor {
    url: String,
    rules: Arc<Mutex<VecDeque<Rule>>>,
    server: JoinHandle<()>,
}

impl Drop for Interceptor {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Rule {
    fn is_for(&self, method: &str, path: &str) -> bool {
        let is_there = match self.path.strip_suffix('*') {
            Some(beginning) => path.starts_with(beginning),
            None => path == self.path,
        };
        self.left > 0 && self.method == method && is_there
    }
}

pub(super) fn error(kind: &str, code: &str) -> Value {
    json!({ "error": { "type": kind, "code": code, "message": "intercepted" } })
}

impl Interceptor {
    async fn start(stripe: &Sandbox) -> Self {
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.expect("a free port");
        let address = acceptor.local_addr().first().and_then(|a| a.as_socket_addr().copied()).expect("an address");
        let rules = Arc::new(Mutex::new(VecDeque::new()));
        let (shared, target, client) = (rules.clone(), stripe.url().to_owned(), reqwest::Client::new());
        let endpoint = poem::endpoint::make(move |request: Request| {
            let (rules, target, client) = (shared.clone(), target.clone(), client.clone());
            async move { answer(&rules, &target, &client, request).await }
        });
        let server = tokio::spawn(async move {
            Server::new_with_acceptor(acceptor).run(endpoint).await.expect("it serves");
        });
        Self { url: format!("http://{address}"), rules, server }
    }

    /// Intercepts the next `count` calls of this method to this path, or with this prefix if it ends with `*`.
    pub(super) fn intercept(&self, count: usize, method: &'static str, path: &str, interception: Interception) {
        let rule = Rule { method, path: path.to_owned(), left: count, used: 0, interception };
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push_back(rule);
    }

    /// Waits until all requested calls were intercepted.
    pub(super) async fn until_all_intercepted(&self) {
        let is_used = || self.rules.lock().unwrap_or_else(PoisonError::into_inner).iter().all(|rule| rule.left == 0);
        wait::until("Stripe was called", || async { is_used().then_some(()) }).await;
    }

    /// Waits until a call was intercepted.
    pub(super) async fn until_any_intercepted(&self) {
        let is_used = || self.rules.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|rule| rule.used > 0);
        wait::until("Stripe was called", || async { is_used().then_some(()) }).await;
    }

    /// Whether an interception was never used.
    pub(super) fn has_unused(&self) -> bool {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|rule| rule.used == 0)
    }

    pub(super) fn clear(&self) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn interception(rules: &Mutex<VecDeque<Rule>>, method: &str, path: &str) -> Option<Interception> {
    let mut rules = rules.lock().unwrap_or_else(PoisonError::into_inner);
    let rule = rules.iter_mut().find(|rule| rule.is_for(method, path))?;
    rule.left -= 1;
    rule.used += 1;
    Some(rule.interception.clone())
}

async fn answer(
    rules: &Mutex<VecDeque<Rule>>,
    target: &str,
    client: &reqwest::Client,
    mut request: Request,
) -> poem::Result<Response> {
    let interception = interception(rules, request.method().as_str(), request.uri().path());
    if let Some(Interception::Blocked(status, body)) = &interception {
        return Ok(reply(*status, body, false));
    }
    if let Some(Interception::BlockedAsReplayed(status, body)) = &interception {
        return Ok(reply(*status, body, true));
    }
    if let Some(Interception::RequestLost) = &interception {
        return std::future::pending().await;
    }
    let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let is_short = matches!(interception, Some(Interception::OneAPage));
    let path = if is_short { path.replace("limit=100", "limit=1") } else { path };
    let body = request.take_body().into_vec().await?;
    let mut call = client.request(request.method().clone(), format!("{target}{path}")).body(body);
    for name in ["authorization", "idempotency-key", "content-type", "stripe-version"] {
        if let Some(value) = request.headers().get(name) {
            call = call.header(name, value);
        }
    }
    let heard = call.send().await;
    match (heard, interception) {
        (_, Some(Interception::Replaced(status, body))) => Ok(reply(status, &body, false)),
        (Ok(heard), None | Some(Interception::None | Interception::OneAPage)) => {
            let (status, headers) = (heard.status(), heard.headers().clone());
            let body = heard.bytes().await.map_err(poem::error::BadGateway)?;
            Ok(forwarded(status, &headers, body.to_vec()))
        }
        // The caller's timeout ends this.
        _ => std::future::pending().await,
    }
}

fn reply(status: u16, body: &Value, is_stored: bool) -> Response {
    let response =
        Response::builder().status(StatusCode::from_u16(status).expect("a status")).content_type("application/json");
    let response = if is_stored { response.header("idempotent-replayed", "true") } else { response };
    response.body(body.to_string())
}

fn forwarded(status: StatusCode, headers: &HeaderMap, body: Vec<u8>) -> Response {
    let mut response = Response::builder().status(status);
    for name in ["content-type", "idempotent-replayed", "stripe-should-retry", "retry-after", "request-id"] {
        if let Some(value) = headers.get(name) {
            response = response.header(HeaderName::from_static(name), value);
        }
    }
    response.body(body)
}

impl Shop {
    /// A shop with an interceptor before its sandbox, which delivers no events.
    pub(super) async fn intercepted(backend: Backend) -> (Self, Interceptor) {
        Self::intercepted_with(backend, |_| {}).await
    }

    /// Like [`Shop::intercepted`], with changed settings.
    pub(super) async fn intercepted_with(backend: Backend, change: impl FnOnce(&mut Config)) -> (Self, Interceptor) {
        let stripe = Sandbox::start(Options { seed: Some(1), ..Options::default() }).await.expect("the sandbox starts");
        let interceptor = Interceptor::start(&stripe).await;
        let app = Self::app(backend, interceptor.url.clone(), change).await;
        (Self { app, stripe }, interceptor)
    }
}
