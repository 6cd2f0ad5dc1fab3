//! One random customer: its requests, its bank, support, and the answers it got.

mod answers;
mod bank;
mod billing;
mod limits;
mod support;

pub use answers::{Answers, UsageRequest};
pub use limits::{CapSide, Limits, TopUpTerms};

use super::plan::{Action, HoldEnd};
use super::report::Counts;
use crate::chaos::caller::{Caller, DefiniteAnswer};
use anyhow::Context;
use bursar_engine::clock::Clock;
use bursar_sandbox::Sandbox;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long a hold lasts that is left to expire, in seconds.
const HOLD_S: i64 = 2;

/// What a customer needs to act.
#[derive(Clone)]
pub struct CustomerDeps {
    /// Makes requests to the application.
    pub caller: Caller,
    /// The sandbox.
    pub stripe: Arc<Sandbox>,
    /// Counts the actions and their results.
    pub counts: Arc<Counts>,
    /// The application's clock.
    pub clock: Clock,
}

/// A customer.
pub struct Customer {
    /// Its name in this run.
    pub name: String,
    deps: CustomerDeps,
    identity: Mutex<Option<Identity>>,
    answers: Mutex<Answers>,
    limits: Mutex<Limits>,
    serial: AtomicU64,
}

/// The id and the key of a customer that has signed up.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its id.
    pub id: String,
    /// Its API key.
    pub api_key: String,
}

impl Customer {
    /// Creates a customer that has not signed up. Its name is the same in every run with the same seed.
    pub fn new(name: String, deps: CustomerDeps) -> Self {
        Self {
            name,
            deps,
            identity: Mutex::default(),
            answers: Mutex::default(),
            limits: Mutex::default(),
            serial: AtomicU64::new(0),
        }
    }

    /// Its id and key, once it has signed up.
    pub fn identity(&self) -> Option<Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The answers it got so far.
    pub fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it and support have set about charges so far.
    pub fn limits(&self) -> MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out an action and counts its result. Without an account, only a signup has an effect.
    pub async fn act(&self, action: Action) {
        let end = match (action, self.identity()) {
            (Action::SignUp, None) => self.sign_up().await,
            (_, Some(me)) => self.act_as(&me, action).await,
            (_, None) => "not signed up".to_owned(),
        };
        self.deps.counts.up(&action.name(), &end);
    }

    async fn act_as(&self, me: &Identity, action: Action) -> String {
        match action {
            Action::SignUp => "signed up before".to_owned(),
            Action::Attach { card, is_default } => {
                let body = json!({ "payment_method": card, "consent": true, "make_default": is_default });
                result_of(self.ask(me, Method::POST, "/api/v1/payment-methods", Some(&body)).await.as_ref())
            }
            Action::Detach { nth } => self.change_method(me, Method::DELETE, nth, "").await,
            Action::MakeDefault { nth } => self.change_method(me, Method::POST, nth, "/default").await,
            Action::Use { units } => self.spend(me, &self.key(), units).await,
            Action::UseAgain => self.spend_again(me).await,
            Action::UseAtOnce { units, times } => self.spend_at_once(me, units, times).await,
            Action::SpendAll => self.spend_all(me).await,
            Action::Hold { units, end } => self.hold(me, units, end).await,
            Action::Subscribe { price } => {
                let body = json!({ "price": price });
                result_of(self.ask(me, Method::POST, "/api/v1/subscription", Some(&body)).await.as_ref())
            }
            Action::Cancel { at_once } => {
                let path = format!("/api/v1/subscription?at_once={at_once}");
                result_of(self.ask(me, Method::DELETE, &path, None).await.as_ref())
            }
            Action::Resume => result_of(self.ask(me, Method::POST, "/api/v1/subscription/resume", None).await.as_ref()),
            Action::HoldBeyond { units, end } => self.hold_beyond(me, units, end).await,
            Action::BuyPack { .. }
            | Action::PayDebt
            | Action::SetTopUp { .. }
            | Action::EndTopUp
            | Action::SetCaps { .. }
            | Action::ChangePlan { .. } => self.act_on_billing(me, action).await,
            Action::Adjust { .. }
            | Action::SetHighestCaps { .. }
            | Action::RefundBySupport { .. }
            | Action::Suspend
            | Action::Unsuspend => self.act_as_support(me, action).await,
            _ => self.act_at_stripe(me, action).await,
        }
    }

    async fn sign_up(&self) -> String {
        let body = json!({ "email": format!("{}@example.com", self.name), "name": self.name, "source": "direct" });
        let answer = self
            .deps
            .caller
            .until_definite(|client, base| client.post(format!("{base}/api/v1/customers/onboard")).json(&body))
            .await;
        if let Some(made) = answer.as_ref().filter(|answer| answer.is_success()) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let me = Identity { id: text(&made.body["customer"]["id"]), api_key: text(&made.body["api_key"]) };
            *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = Some(me);
        }
        result_of(answer.as_ref())
    }

    /// A new idempotency key.
    fn key(&self) -> String {
        format!("{}-{}", self.name, self.serial.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a request under a new key.
    async fn ask(&self, me: &Identity, method: Method, path: &str, body: Option<&Value>) -> Option<DefiniteAnswer> {
        self.ask_under(me, &self.key(), method, path, body).await
    }

    async fn ask_under(
        &self,
        me: &Identity,
        key: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Option<DefiniteAnswer> {
        let caller = &self.deps.caller;
        let answer = caller
            .until_definite(|client, base| {
                let request = client.request(method.clone(), format!("{base}{path}"));
                let request = request.header("x-api-key", &me.api_key).header("Idempotency-Key", key);
                if let Some(body) = body { request.json(body) } else { request }
            })
            .await;
        if let Some(answer) = answer.as_ref().filter(|answer| answer.is_success()) {
            self.answers().add_transaction(&answer.body["transaction"]);
        }
        answer
    }

    /// Reads one of its resources; null if there is none.
    pub async fn get(&self, me: &Identity, path: &str) -> Value {
        let request =
            |client: &reqwest::Client, base: &str| client.get(format!("{base}{path}")).header("x-api-key", &me.api_key);
        let answer = self.deps.caller.until_definite(request).await;
        answer.filter(DefiniteAnswer::is_success).map(|answer| answer.body).unwrap_or_default()
    }

    async fn spend(&self, me: &Identity, key: &str, units: i64) -> String {
        self.answers().add_usage(key, units);
        let body = json!({ "units": units, "reference": key });
        let answer = self.ask_under(me, key, Method::POST, "/api/v1/usage", Some(&body)).await;
        if let Some(answer) = answer.as_ref().filter(|answer| answer.status == 200) {
            self.answers().add_spent(key, &answer.body["transaction"]);
        }
        result_of(answer.as_ref())
    }

    async fn spend_again(&self, me: &Identity) -> String {
        let latest = self.answers().latest_usage();
        let Some((key, units)) = latest else { return "nothing to repeat".to_owned() };
        self.spend(me, &key, units).await
    }

    async fn spend_at_once(&self, me: &Identity, units: i64, times: usize) -> String {
        let key = self.key();
        let mut ends = join_all((0..times).map(|_| self.spend(me, &key, units))).await;
        ends.sort_unstable();
        ends.pop().unwrap_or_default()
    }

    async fn spend_all(&self, me: &Identity) -> String {
        let credits = self.get(me, "/api/v1/credits").await;
        match credits["available"].as_i64() {
            Some(available) if available > 0 => self.spend(me, &self.key(), available).await,
            _ => "nothing left".to_owned(),
        }
    }

    async fn hold_beyond(&self, me: &Identity, units: i64, end: HoldEnd) -> String {
        let credits = self.get(me, "/api/v1/credits").await;
        match credits["available"].as_i64() {
            Some(available) if available >= 0 => self.hold(me, available + units, end).await,
            _ => "credits owed".to_owned(),
        }
    }

    async fn hold(&self, me: &Identity, units: i64, end: HoldEnd) -> String {
        let body = json!({ "units": units, "expires_in_s": HOLD_S });
        let held = self.ask(me, Method::POST, "/api/v1/holds", Some(&body)).await;
        let Some(id) = held.as_ref().and_then(|held| held.body["hold"]["id"].as_str()) else {
            return result_of(held.as_ref());
        };
        let (path, body) = match end {
            HoldEnd::Forget => return "201 forgotten".to_owned(),
            HoldEnd::Release => (format!("/api/v1/holds/{id}/release"), None),
            HoldEnd::Capture => (format!("/api/v1/holds/{id}/capture"), Some(json!({}))),
            HoldEnd::CaptureOne => (format!("/api/v1/holds/{id}/capture"), Some(json!({ "units": 1 }))),
        };
        result_of(self.ask(me, Method::POST, &path, body.as_ref()).await.as_ref())
    }

    async fn change_method(&self, me: &Identity, method: Method, nth: usize, suffix: &str) -> String {
        let methods = self.get(me, "/api/v1/payment-methods").await;
        let methods = methods["data"].as_array().cloned().unwrap_or_default();
        let Some(id) = pick(&methods, nth).and_then(|method| method["id"].as_str()) else {
            return "no payment method".to_owned();
        };
        result_of(self.ask(me, method, &format!("/api/v1/payment-methods/{id}{suffix}"), None).await.as_ref())
    }

    /// Reads one of its lists that has no pages.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn list_whole(&self, me: &Identity, path: &str) -> anyhow::Result<Vec<Value>> {
        self.rows(path, &self.get(me, path).await)
    }

    fn rows(&self, path: &str, page: &Value) -> anyhow::Result<Vec<Value>> {
        let rows = page["data"].as_array().cloned();
        rows.with_context(|| format!("{}: {path} has no answer", self.name))
    }

    /// Reads all pages of one of its lists.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn list_all(&self, me: &Identity, path: &str) -> anyhow::Result<Vec<Value>> {
        const PAGES_MAX: usize = 1_000;
        let (mut rows, mut after) = (Vec::new(), String::new());
        for _ in 0..PAGES_MAX {
            let page = self.get(me, &format!("{path}?limit=100{after}")).await;
            rows.extend(self.rows(path, &page)?);
            match page["next_cursor"].as_str() {
                Some(next) => after = format!("&cursor={next}"),
                None => return Ok(rows),
            }
        }
        anyhow::bail!("{}: {path} does not end", self.name)
    }
}

/// Picks one row of a list; `None` if it is empty.
fn pick(rows: &[Value], nth: usize) -> Option<&Value> {
    rows.get(nth % rows.len().max(1))
}

/// The result of a request, as a label.
fn result_of(answer: Option<&DefiniteAnswer>) -> String {
    match answer {
        None => "no answer".to_owned(),
        Some(answer) if answer.is_success() => answer.status.to_string(),
        Some(answer) => format!("{} {}", answer.status, answer.code()),
    }
}

impl std::fmt::Debug for Customer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Customer").field("name", &self.name).finish_non_exhaustive()
    }
}
