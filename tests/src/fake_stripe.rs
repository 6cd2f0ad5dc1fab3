//! A fake Stripe for tests of reconciliation: the few paths that Bursar calls, with Stripe's idempotency keys,
//! payment methods whose ids decide their outcome, and faults on demand. Unlike the sandbox it sends no events.
//!
//! It keeps objects as JSON. Tests send events themselves, or put them on its list of events.

mod objects;

use objects::{Form, Objects};
use poem::http::{Method, StatusCode};
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::{Request, Response, Server};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinHandle;

/// A fault of one call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is not executed, and answered with this status.
    Refuse(u16),
    /// It is not executed, and this status is stored under its key, as Stripe does with a 500.
    StoreFailure(u16),
    /// It is executed, and its answer is lost.
    LoseAnswer,
}

/// An answer: status and body.
pub(crate) type Reply = (u16, Value);

#[derive(Default)]
struct State {
    objects: Objects,
    /// The request and the answer of each idempotency key.
    answers: HashMap<String, (String, Reply)>,
    faults: VecDeque<(Method, String, Fault)>,
    calls: Vec<String>,
}

/// A running fake.
pub struct FakeStripe {
    /// `http://127.0.0.1:…`
    pub url: String,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Drop for FakeStripe {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeStripe {
    /// Starts a fake on a free port.
    pub async fn start() -> Self {
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.expect("a free port");
        let address = acceptor.local_addr().first().and_then(|a| a.as_socket_addr().copied()).expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let endpoint = poem::endpoint::make(move |request: Request| {
            let state = shared.clone();
            async move { answer(&state, request).await }
        });
        let server = tokio::spawn(async move {
            Server::new_with_acceptor(acceptor).run(endpoint).await.expect("the fake serves");
        });
        Self { url: format!("http://{address}"), state, server }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the next call of this method to a path with this prefix fail.
    pub fn fail_next(&self, method: Method, path: &str, fault: Fault) {
        self.state().faults.push_back((method, path.to_owned(), fault));
    }

    /// How often a call was made, such as `POST /v1/payment_intents`.
    pub fn calls(&self, call: &str) -> usize {
        self.state().calls.iter().filter(|made| *made == call).count()
    }

    /// Money paid by a Stripe customer less its refunds, in minor units.
    pub fn net_paid(&self, stripe_customer: &str) -> i64 {
        self.state().objects.net_paid(stripe_customer)
    }

    /// Returns the object with this id as JSON.
    pub fn object(&self, id: &str) -> Value {
        self.state().objects.get(id)
    }

    /// Returns all objects of a kind, oldest first.
    pub fn all(&self, kind: &str) -> Vec<Value> {
        self.state().objects.all(kind)
    }

    /// Completes a payment that waited for authentication; returns the PaymentIntent.
    pub fn authenticate(&self, payment_intent: &str) -> Value {
        self.state().objects.succeed(payment_intent)
    }

    /// Refunds a part of a charge; returns the charge.
    pub fn refund(&self, charge: &str, amount: i64) -> Value {
        self.state().objects.refund(charge, amount)
    }

    /// Opens a dispute of the whole charge, or sets the status of its dispute; returns the dispute.
    pub fn dispute(&self, charge: &str, status: &str) -> Value {
        self.state().objects.dispute(charge, status)
    }

    /// Adds an object that Bursar did not create.
    pub fn put(&self, object: &Value) {
        self.state().objects.put(object.clone());
    }

    /// Adds an event to what `GET /v1/events` lists; `is_lost` marks its delivery as failed (`delivery_success=false`).
    pub fn add_listed_event(&self, event: &Value, is_lost: bool) {
        let mut event = event.clone();
        event["outcome"] = if is_lost { "lost" } else { "delivered" }.into();
        self.put(&event);
    }

    /// Removes all faults that have not struck.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// Overwrites these fields of an object and keeps the others.
    pub fn set(&self, id: &str, fields: &Value) {
        self.state().objects.set(id, fields);
    }
}

async fn answer(state: &Mutex<State>, mut request: Request) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let key = request.header("idempotency-key").map(str::to_owned).filter(|_| method == Method::POST);
    let body = request.take_body().into_string().await.unwrap_or_default();
    let form = Form::read(&format!("{query}&{body}"));
    let (reply, replayed, is_lost) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        decide(&mut state, &method, &path, key, &body, &form)
    };
    if is_lost {
        // The caller's timeout ends this.
        std::future::pending::<()>().await;
    }
    let (status, body) = reply;
    let mut response = Response::builder()
        .status(StatusCode::from_u16(status).expect("a status"))
        .content_type("application/json")
        .body(serde_json::to_string_pretty(&body).expect("JSON"));
    if replayed {
        response.headers_mut().insert("idempotent-replayed", "true".parse().expect("a header"));
    }
    response
}

fn decide(
    state: &mut State,
    method: &Method,
    path: &str,
    key: Option<String>,
    body: &str,
    form: &Form,
) -> (Reply, bool, bool) {
    state.calls.push(format!("{method} {path}"));
    let request_text = format!("{path}\n{body}");
    if let Some((before, reply)) = key.as_ref().and_then(|key| state.answers.get(key)) {
        if *before != request_text {
            let error = json!({"error": {"type": "idempotency_error", "message": "other parameters"}});
            return ((400, error), false, false);
        }
        return (reply.clone(), true, false);
    }
    let matches = |(on, prefix, _): &(Method, String, Fault)| on == method && path.starts_with(prefix.as_str());
    let fault = state.faults.iter().position(matches).and_then(|at| state.faults.remove(at)).map(|(.., fault)| fault);
    let failure = |status: u16| (status, json!({"error": {"type": "api_error", "message": "told to fail"}}));
    let (reply, is_lost) = match fault {
        Some(Fault::Refuse(status)) => return (failure(status), false, false),
        Some(Fault::StoreFailure(status)) => (failure(status), false),
        Some(Fault::LoseAnswer) => (state.objects.call(method, path, form), true),
        None => (state.objects.call(method, path, form), false),
    };
    if let Some(key) = key {
        state.answers.insert(key, (request_text, reply.clone()));
    }
    (reply, false, is_lost)
}
