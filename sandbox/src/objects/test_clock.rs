//! Test clocks: customers whose time passes on request. Source: Stripe, "Test clocks".

use super::customer;
use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::handler::Call;
use crate::page;
use serde_json::{Value, json};

const KIND: &str = "test_helpers.test_clock";
/// After this time Stripe deletes a clock.
const KEPT_S: i64 = 30 * 86_400;

/// The time of the customer that a call is about, if it has a test clock.
pub(crate) fn time_of(account: &StripeAccount, call: &Call) -> Option<i64> {
    let names = ["customer", "subscription", "from_subscription", "invoice", "payment_intent", "charge"];
    let named = names.iter().filter_map(|name| call.form.text(name));
    let mut ids = call.ids.iter().map(String::as_str).chain(named);
    let clock_of = |id: &str| {
        let object = account.get(id)?;
        account.get(object.text("customer")).unwrap_or(object).opt("test_clock")
    };
    let clock = call.form.text("test_clock").or_else(|| ids.find_map(clock_of))?;
    account.get(clock)?.opt_int("frozen_time")
}

/// `POST /v1/test_helpers/test_clocks`
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let fields = json!({
        "deletes_after": account.now_s + KEPT_S, "frozen_time": frozen_time(&call.form)?,
        "name": call.form.nullable("name"), "status": "ready", "status_details": {},
    });
    let clock = account.make("clock", KIND, fields)?;
    account.emit("test_helpers.test_clock.created", clock.id())?;
    Ok(clock)
}

/// `GET /v1/test_helpers/test_clocks/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find(KIND, call.id())
}

/// `GET /v1/test_helpers/test_clocks`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    page::list(account, call, KIND, &[])
}

/// `POST /v1/test_helpers/test_clocks/{id}/advance`. The answer shows the clock on its way, and it has arrived when it
/// is read again.
pub(crate) fn advance(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let clock = account.find(KIND, call.id())?;
    let (from_s, to_s) = (clock.int("frozen_time"), frozen_time(&call.form)?);
    if to_s <= from_s {
        let message = "The frozen_time must be after the clock's current frozen_time.";
        return Err(ApiError::invalid("parameter_invalid_integer", Some("frozen_time"), message));
    }
    let fields = json!({
        "status": "advancing", "status_details": { "advancing": { "target_frozen_time": to_s } },
    });
    let advancing = account.change_and_emit(clock.id(), fields, "test_helpers.test_clock.advancing")?;
    account.at(from_s, |account| account.run_transitions(to_s, Some(clock.id())))?;
    let fields = json!({ "frozen_time": to_s, "status": "ready", "status_details": {} });
    account.change_and_emit(clock.id(), fields, "test_helpers.test_clock.ready")?;
    Ok(advancing)
}

/// `DELETE /v1/test_helpers/test_clocks/{id}`. Deletes its customers too.
pub(crate) fn delete(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let clock = account.find(KIND, call.id())?;
    let customers = account.store.of_kind("customer").filter(|row| row.text("test_clock") == clock.id());
    let customers: Vec<String> = customers.map(|row| row.id().to_owned()).collect();
    for id in customers {
        account.at(clock.int("frozen_time"), |account| customer::remove(account, &id))?;
    }
    account.emit("test_helpers.test_clock.deleted", clock.id())?;
    let gone = json!({ "id": clock.id(), "object": KIND, "deleted": true });
    account.store.put(clock.id(), gone.clone());
    Ok(gone)
}

fn frozen_time(form: &Form) -> Result<i64, ApiError> {
    form.int("frozen_time")?.ok_or_else(|| ApiError::missing("frozen_time"))
}
