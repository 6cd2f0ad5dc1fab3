//! The control API under `/sandbox/v1/`, for actions that Stripe's API does not offer. It asks for a token.

mod money;
mod token;

pub use money::Money;
pub(crate) use money::of_customer as money_of;
pub(crate) use money::state;
pub use token::{CONTROL_TOKEN_FILE, ControlToken};

use crate::account::{Cause, StripeAccount};
use crate::app::App;
use crate::error::ApiError;
use crate::fault::FaultRule;
use crate::field::{Fields, strip};
use crate::form::Form;
use crate::objects::webhook_endpoint::{self, NewEndpoint};
use crate::objects::{checkout, dispute, payment_intent, payment_method, refund};
use crate::policy::Policy;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Maximum number of calls in one answer.
const CALLS_LISTED_MAX: usize = 100;

type Outcome = Result<Value, ApiError>;

/// Answers a command with a status and a body.
pub(crate) fn answer(app: &App, method: &str, command: &str, query: &str, body: &str) -> (u16, Value) {
    let parts: Vec<&str> = command.trim_end_matches('/').split('/').collect();
    match dispatch(app, method, &parts, query, body) {
        Ok(mut value) => {
            strip(&mut value);
            (200, value)
        }
        Err(error) => (error.status, error.body()),
    }
}

fn dispatch(app: &App, method: &str, parts: &[&str], query: &str, body: &str) -> Outcome {
    match (method, parts) {
        ("GET", ["state"]) => Ok(app.read(state)),
        ("GET", ["clock"]) => Ok(app.read(|account| json!({ "now": account.now_s }))),
        ("POST", ["clock"]) => clock(app, &read(body)?),
        ("GET", ["faults"]) => Ok(json!({ "faults": app.state().faults.all() })),
        ("POST", ["faults"]) => add_fault(app, read(body)?),
        ("DELETE", ["faults"]) => {
            app.state().faults.clear();
            Ok(json!({ "faults": [] }))
        }
        ("GET", ["deliveries"]) => Ok(deliveries(app)),
        ("POST", ["deliveries"]) => set_policy(app, read(body)?),
        ("POST", ["redeliver"]) => redeliver(app, &read(body)?),
        ("GET", ["webhook_endpoints"]) => {
            let rows = |account: &StripeAccount| -> Vec<Value> {
                account.store.of_kind("webhook_endpoint").map(webhook_endpoint::without_secret).collect()
            };
            Ok(json!({ "data": app.read(rows) }))
        }
        ("POST", ["webhook_endpoints"]) => add_endpoint(app, read(body)?),
        ("DELETE", ["webhook_endpoints", id]) => act(app, |account| {
            account.find("webhook_endpoint", id)?;
            account.store.remove(id);
            Ok(json!({ "id": id, "deleted": true }))
        }),
        ("GET", ["calls"]) => calls(app, query),
        ("POST", ["reset"]) => app.reset().map(|()| json!({ "reset": true })),
        ("GET", ["objects", id]) => {
            let found = app.read(|account| account.get(id).map(webhook_endpoint::without_secret));
            found.ok_or_else(|| ApiError::no_such("object", id, None))
        }
        ("POST", parts) => act_on_object(app, parts, body),
        (_, parts) => Err(ApiError::no_such_url(method, &format!("/sandbox/v1/{}", parts.join("/")))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CompleteCheckout {
    payment_method: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenDispute {
    charge: String,
    amount: Option<i64>,
    reason: Option<String>,
    #[serde(default)]
    is_inquiry: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseDispute {
    status: String,
}

/// Actions of customers and of their banks.
fn act_on_object(app: &App, parts: &[&str], body: &str) -> Outcome {
    match parts {
        ["payment_intents", id, "authenticate"] => act(app, |account| payment_intent::authenticate(account, id, true)),
        ["payment_intents", id, "fail"] => act(app, |account| payment_intent::authenticate(account, id, false)),
        ["payment_methods", id, "renew"] => act(app, |account| payment_method::renew(account, id)),
        ["refunds", id, "fail"] => act(app, |account| refund::fail(account, id)),
        ["events", id, "thin"] => act(app, |account| account.emit_thin(id)),
        ["checkout", id, "complete"] => {
            let asked: CompleteCheckout = read(body)?;
            let method = asked.payment_method.unwrap_or_else(|| "pm_card_visa".to_owned());
            act(app, |account| checkout::complete(account, id, &method))
        }
        ["disputes"] => {
            let asked: OpenDispute = read(body)?;
            act(app, |account| {
                let amount = asked.amount.unwrap_or_else(|| account.copy(&asked.charge).int("amount"));
                let reason = asked.reason.as_deref().unwrap_or("fraudulent");
                dispute::open(account, &asked.charge, amount, reason, asked.is_inquiry)
            })
        }
        ["disputes", id, "close"] => {
            let asked: CloseDispute = read(body)?;
            let is_won = match asked.status.as_str() {
                "won" => true,
                "lost" => false,
                _ => return Err(ApiError::refused_without_code("The status must be won or lost.")),
            };
            act(app, |account| dispute::close(account, id, is_won))
        }
        parts => Err(ApiError::no_such_url("POST", &format!("/sandbox/v1/{}", parts.join("/")))),
    }
}

fn act(app: &App, change: impl FnOnce(&mut StripeAccount) -> Outcome) -> Outcome {
    app.transact(Cause::default(), change)
}

/// Reads a JSON body. An empty one counts as an empty object.
fn read<T: DeserializeOwned>(body: &str) -> Result<T, ApiError> {
    let text = if body.trim().is_empty() { "{}" } else { body };
    serde_json::from_str(text)
        .map_err(|error| ApiError::refused_without_code(&format!("The body cannot be read: {error}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdvanceClock {
    advance_s: Option<i64>,
    to: Option<i64>,
}

fn clock(app: &App, asked: &AdvanceClock) -> Outcome {
    let now_s = app.read(|account| account.now_s);
    let to_s = match (asked.to, asked.advance_s) {
        (Some(to_s), None) => to_s,
        (None, Some(by_s)) => now_s.saturating_add(by_s),
        _ => return Err(ApiError::refused_without_code("Give either `to` or `advance_s`.")),
    };
    if to_s < now_s {
        return Err(ApiError::refused_without_code("The clock cannot go back."));
    }
    let (now_s, done) = app.advance(to_s)?;
    Ok(json!({ "now": now_s, "transitions": done }))
}

fn add_fault(app: &App, rule: FaultRule) -> Outcome {
    let mut state = app.state();
    if state.faults.add(rule) {
        Ok(json!({ "faults": state.faults.all() }))
    } else {
        Err(ApiError::refused_without_code("There are too many faults."))
    }
}

/// The delivery policy, the number of waiting deliveries, and the failed ones.
fn deliveries(app: &App) -> Value {
    app.read(|account| {
        let failed = account.store.of_kind("_delivery").filter(|row| row.text("state") == "failed").count();
        json!({ "policy": account.policy, "waiting": account.waiting(), "failed": failed })
    })
}

fn set_policy(app: &App, policy: Policy) -> Outcome {
    if !(0.0..=1.0).contains(&policy.drop_probability) {
        return Err(ApiError::refused_without_code("A probability must be between 0 and 1."));
    }
    app.state().account.policy = policy;
    app.notify_changed();
    Ok(deliveries(app))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redeliver {
    event: Option<String>,
}

fn redeliver(app: &App, asked: &Redeliver) -> Outcome {
    let count = app.transact(Cause::default(), |account| match &asked.event {
        Some(event) => account.redeliver(event),
        None => account.redeliver_all(),
    })?;
    Ok(json!({ "deliveries": count }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddEndpoint {
    url: String,
    secret: Option<String>,
    api_version: Option<String>,
    enabled_events: Option<Vec<String>>,
    #[serde(default)]
    is_thin: bool,
}

fn add_endpoint(app: &App, asked: AddEndpoint) -> Outcome {
    let new = NewEndpoint {
        url: asked.url,
        secret: asked.secret,
        api_version: asked.api_version,
        enabled_events: asked.enabled_events.unwrap_or_else(|| vec!["*".to_owned()]),
        is_thin: asked.is_thin,
    };
    act(app, |account| webhook_endpoint::add(account, &new))
}

fn calls(app: &App, query: &str) -> Outcome {
    let form = Form::decode(query)?;
    let state = app.state();
    let found = || state.log.of(form.text("method"), form.text("path").unwrap_or_default());
    let count = found().count();
    let listed: Vec<_> = found().skip(count.saturating_sub(CALLS_LISTED_MAX)).collect();
    Ok(json!({ "count": count, "calls": listed }))
}
