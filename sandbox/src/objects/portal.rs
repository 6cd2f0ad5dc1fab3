//! Sessions of the customer portal. What a customer would do on its page is done with the API.

use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::handler::Call;
use serde_json::{Value, json};

/// The configuration that sessions have which name none.
const CONFIGURATION: &str = "bpc_sandbox";

/// `POST /v1/billing_portal/sessions`
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let customer = form.required("customer")?;
    account.find_param("customer", customer, "customer")?;
    if let Some(id) = form.text("configuration").filter(|id| *id != CONFIGURATION) {
        return Err(ApiError::no_such("configuration", id, Some("configuration")));
    }
    if form.has("flow_data") {
        return Err(ApiError::refused_without_code("The SANDBOX does not imitate flows of the customer portal."));
    }
    let id = account.new_id("bps");
    let fields = json!({
        "configuration": CONFIGURATION, "customer": customer, "customer_account": null, "flow": null,
        "locale": form.nullable("locale"), "on_behalf_of": form.nullable("on_behalf_of"),
        "return_url": form.nullable("return_url"), "url": format!("{}/sandbox/portal/{id}", account.url),
    });
    account.make_as(&id, "billing_portal.session", fields)
}
