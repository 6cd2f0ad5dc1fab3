//! One call to the imitated API, from the request's bytes to the answer.

use crate::account::{Cause, StripeAccount};
use crate::app::{App, State};
use crate::clock::real_ms;
use crate::deliver::courier::render_event;
use crate::error::ApiError;
use crate::expand::expand;
use crate::fault::Fault;
use crate::field::{Fields, strip};
use crate::form::Form;
use crate::handler::Call;
use crate::idempotency::{self, Answer};
use crate::legacy_fields;
use crate::log::LoggedCall;
use crate::objects::test_clock;
use crate::parameters;
use crate::permission;
use crate::render::render;
use crate::routes;
use crate::version::Version;
use data_encoding::BASE64;
use serde_json::{Value, json};

/// Parameters are checked from this version on. Older versions had parameters that the list lacks.
const PARAMETERS_SINCE: &str = "2025-03-31.basil";

/// A call as it arrived.
#[derive(Debug, Clone, Default)]
pub(crate) struct Incoming {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: String,
    pub(crate) authorization: Option<String>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) version: Option<String>,
}

/// A call that may be executed.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) request_id: String,
    pub(crate) version: Version,
    pub(crate) form: Form,
    fingerprint: String,
    /// Its idempotency key, reserved until the answer.
    key: Option<String>,
    pub(crate) fault: Option<Fault>,
}

/// The decision whether to execute a call.
pub(crate) enum Admission {
    Execute(Box<Admitted>),
    /// The answer of a call that is not executed.
    Answered(Reply),
}

/// An answer with the values of its headers.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) request_id: String,
    pub(crate) version: Version,
    pub(crate) answer: Answer,
    pub(crate) retry_after_s: Option<u64>,
    pub(crate) should_retry: Option<bool>,
    /// Whether the body is a proxy's HTML page instead of JSON.
    pub(crate) is_html: bool,
}

impl App {
    /// Admits a call: checks its credentials, finds an earlier answer under its key and selects its fault.
    pub(crate) fn admit(&self, call: &Incoming) -> Admission {
        let mut state = self.state();
        let request_id = state.account.ids.id("req");
        let cause = Cause { request_id: Some(request_id.clone()), idempotency_key: call.idempotency_key.clone() };
        state.set_time(cause);
        let version = match &call.version {
            Some(text) => Version::parse(text),
            None => Some(Version::newest()),
        };
        let refuse = |state: &mut State, error: ApiError| {
            state.log.push(logged(call, error.status, false));
            let answer = Answer { status: error.status, body: error.body(), repeats: None };
            Admission::Answered(Reply::new(request_id.clone(), version.unwrap_or_default(), answer))
        };
        let form = match check(call, version, self.options.permissions.as_deref()) {
            Ok(form) => form,
            Err(error) => return refuse(&mut state, error),
        };
        if !state.admits(self.options.rate_per_s) {
            return refuse(&mut state, ApiError::rate_limited());
        }
        let fingerprint = idempotency::fingerprint(&call.method, &call.path, &form.to_json());
        let key = call.idempotency_key.clone().filter(|_| call.method == "POST");
        if let Some(key) = &key {
            match idempotency::find(&state.account, key, &fingerprint) {
                Ok(None) if state.keys.contains(key) => return refuse(&mut state, ApiError::key_in_use(key)),
                Ok(None) => {}
                Ok(Some(answer)) => {
                    state.log.push(logged(call, answer.status, true));
                    return Admission::Answered(Reply::new(request_id, version.unwrap_or_default(), answer));
                }
                Err(error) => return refuse(&mut state, error),
            }
        }
        let State { faults, account, .. } = &mut *state;
        let fault = faults.select(&call.method, &call.path, &mut account.rng);
        if let Some(key) = &key {
            state.keys.insert(key.clone());
        }
        let version = version.unwrap_or_default();
        Admission::Execute(Box::new(Admitted { request_id, version, form, fingerprint, key, fault }))
    }

    /// Executes an admitted call, or what its fault does instead.
    pub(crate) fn execute(&self, call: &Incoming, admitted: &Admitted) -> Reply {
        let cause =
            Cause { request_id: Some(admitted.request_id.clone()), idempotency_key: call.idempotency_key.clone() };
        let mut state = self.state();
        state.set_time(cause);
        let (result, hints) = match &admitted.fault {
            Some(Fault::Refuse { status, should_retry }) => {
                let mut error = ApiError::api(*status, "The SANDBOX was told to refuse this call.");
                error.is_stored = false;
                (Err(error), (None, *should_retry))
            }
            Some(Fault::StoreFailure { status }) => {
                (Err(ApiError::api(*status, "The SANDBOX was told to fail this call.")), (None, None))
            }
            Some(Fault::RateLimit { retry_after_s }) => (Err(ApiError::rate_limited()), (*retry_after_s, None)),
            Some(Fault::BadGateway) => {
                let mut error = ApiError::api(502, "bad gateway");
                error.is_stored = false;
                (Err(error), (None, None))
            }
            Some(Fault::LoseAnswer { .. } | Fault::Delay { .. }) | None => {
                (perform(&mut state, call, admitted), (None, None))
            }
        };
        let answer = finish_call(&mut state, admitted, result);
        if let Some(key) = &admitted.key {
            state.keys.remove(key);
        }
        state.log.push(logged(call, answer.status, false));
        drop(state);
        self.notify_changed();
        let mut reply = Reply::new(admitted.request_id.clone(), admitted.version, answer);
        (reply.retry_after_s, reply.should_retry) = hints;
        reply.is_html = matches!(admitted.fault, Some(Fault::BadGateway));
        reply
    }
}

impl Reply {
    fn new(request_id: String, version: Version, answer: Answer) -> Self {
        Self { request_id, version, answer, retry_after_s: None, should_retry: None, is_html: false }
    }

    /// An internal error of the sandbox.
    pub(crate) fn failure() -> Self {
        let error = ApiError::api(500, "The SANDBOX failed.");
        let answer = Answer { status: error.status, body: error.body(), repeats: None };
        Self::new(String::new(), Version::newest(), answer)
    }
}

/// The checks that need no state.
fn check(call: &Incoming, version: Option<Version>, restricted: Option<&[String]>) -> Result<Form, ApiError> {
    let key = authorize(call.authorization.as_deref())?;
    let granted = restricted.filter(|_| key.starts_with("rk_"));
    if let Some(missing) = granted.and_then(|granted| permission::missing(granted, &call.method, &call.path)) {
        return Err(ApiError::forbidden(&missing));
    }
    if version.is_none() {
        let message = format!("Invalid Stripe API version: {}", call.version.as_deref().unwrap_or_default());
        return Err(ApiError::invalid("invalid_api_version", None, &message));
    }
    Ok(Form::decode(&call.query)?.merged(Form::decode(&call.body)?))
}

/// Accepts a test key as a bearer token or as the user name of basic authentication, and returns it.
fn authorize(header: Option<&str>) -> Result<String, ApiError> {
    let Some(header) = header else {
        return Err(ApiError::unauthorized("You did not provide an API key."));
    };
    let key = match header.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim().to_owned(),
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("basic") => {
            let text = BASE64.decode(token.trim().as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            text.map(|text| text.split(':').next().unwrap_or_default().to_owned()).unwrap_or_default()
        }
        _ => String::new(),
    };
    if key.contains("_live_") {
        let message = "This is a SANDBOX: it accepts no live keys. Do not send them here.";
        return Err(ApiError::unauthorized(message));
    }
    let is_test = ["sk_test_", "rk_test_", "pk_test_"].iter().any(|prefix| key.starts_with(prefix));
    if is_test {
        Ok(key)
    } else {
        Err(ApiError::unauthorized("Invalid API Key provided. The SANDBOX takes sk_test_…."))
    }
}

fn perform(state: &mut State, call: &Incoming, admitted: &Admitted) -> Result<Value, ApiError> {
    let Some((handler, pattern, ids)) = routes::find(&call.method, &call.path) else {
        return Err(ApiError::no_such_url(&call.method, &call.path));
    };
    if admitted.version >= Version::parse(PARAMETERS_SINCE).unwrap_or_default() {
        parameters::check(&call.method, pattern, &admitted.form)?;
    }
    let routed = Call { path: call.path.clone(), ids, form: admitted.form.clone() };
    let mut answer = match test_clock::time_of(&state.account, &routed) {
        Some(clock_s) => state.account.at(clock_s, |account| handler(account, &routed)),
        None => handler(&mut state.account, &routed),
    }?;
    expand(&state.account, &mut answer, &admitted.form.texts("expand"))?;
    Ok(answer)
}

/// Commits or rolls back the changes, renders the answer and stores it under its key.
fn finish_call(state: &mut State, admitted: &Admitted, result: Result<Value, ApiError>) -> Answer {
    let keeps = match &result {
        Ok(_) => true,
        Err(error) => error.commits_changes,
    };
    if !keeps {
        state.account.store.rollback();
    }
    let is_stored = result.as_ref().map_or_else(|error| error.is_stored, |_| true);
    let (status, mut body) = match result {
        Ok(body) => (200, body),
        Err(error) => (error.status, error.body()),
    };
    shape_answer(&state.account, &mut body, admitted.version);
    let answer = Answer { status, body, repeats: None };
    if let Some(key) = admitted.key.as_ref().filter(|_| is_stored) {
        idempotency::keep(&mut state.account, key, &admitted.fingerprint, &answer);
    }
    match state.commit() {
        Ok(()) => answer,
        Err(error) => Answer { status: error.status, body: error.body(), repeats: None },
    }
}

/// Renders an answer in the caller's version. Events keep the account's version.
fn shape_answer(account: &StripeAccount, body: &mut Value, version: Version) {
    let account_version = Version::parse(&account.api_version).unwrap_or_default();
    let is_list = body.text("object") == "list";
    if body.text("object") == "event" {
        render_event(account, body, account_version);
    } else if is_list && body["data"][0].text("object") == "event" {
        body["data"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .for_each(|event| render_event(account, event, account_version));
    } else {
        legacy_fields::add(account, body, version);
        render(body, version);
    }
    strip(body);
}

fn logged(call: &Incoming, status: u16, is_replay: bool) -> LoggedCall {
    LoggedCall { method: call.method.clone(), path: call.path.clone(), status, is_replay }
}

impl State {
    /// Whether the rate limit admits another call.
    fn admits(&mut self, rate_per_s: Option<u32>) -> bool {
        let Some(rate_per_s) = rate_per_s else { return true };
        let second = real_ms().div_euclid(1_000);
        if self.rate.0 != second {
            self.rate = (second, 0);
        }
        self.rate.1 += 1;
        self.rate.1 <= rate_per_s
    }
}

/// A call as a recording's line.
pub(crate) fn record(call: &Incoming, reply: &Reply) -> Value {
    let decode = |text: &str| Form::decode(text).map(|form| form.to_json()).unwrap_or_default();
    json!({
        "method": call.method, "path": call.path, "query": decode(&call.query), "form": decode(&call.body),
        "status": reply.answer.status, "response": reply.answer.body, "version": reply.version.as_str(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_keys_are_accepted() {
        assert!(authorize(Some("Bearer sk_test_1")).is_ok());
        assert!(authorize(Some("Basic c2tfdGVzdF8xOg==")).is_ok());
        for header in [None, Some("Bearer sk_live_1"), Some("Bearer x"), Some("sk_test_1"), Some("Basic !")] {
            assert_eq!(authorize(header).unwrap_err().status, 401, "{header:?}");
        }
    }
}
