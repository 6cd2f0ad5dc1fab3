//! Webhook endpoints.

use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::handler::Call;
use crate::page;
use crate::version::Version;
use serde_json::{Value, json};
use std::fmt;

/// Maximum number of endpoints. Source: Stripe, "Webhook endpoints".
const ENDPOINTS_MAX: usize = 16;

/// The contents of a new endpoint. `Debug` does not show the secret.
#[derive(Clone)]
pub struct NewEndpoint {
    /// The URL that events are sent to.
    pub url: String,
    /// The signing secret. `None` generates one.
    pub secret: Option<String>,
    /// The API version of its events. `None` means the account's version.
    pub api_version: Option<String>,
    /// Types of events, such as `invoice.paid`, `invoice.*` or `*`.
    pub enabled_events: Vec<String>,
    /// Whether it receives thin events instead of snapshot events.
    pub is_thin: bool,
}

impl NewEndpoint {
    /// An endpoint for all events.
    pub fn new(url: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            secret: Some(secret.into()),
            api_version: None,
            enabled_events: vec!["*".to_owned()],
            is_thin: false,
        }
    }
}

impl fmt::Debug for NewEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, secret, api_version, enabled_events, is_thin } = self;
        f.debug_struct("NewEndpoint")
            .field("url", url)
            .field("has_secret", &secret.is_some())
            .field("api_version", api_version)
            .field("enabled_events", enabled_events)
            .field("is_thin", is_thin)
            .finish()
    }
}

/// Adds an endpoint, or changes the one with the same URL.
pub(crate) fn add(account: &mut StripeAccount, new: &NewEndpoint) -> Result<Value, ApiError> {
    check_url(&new.url)?;
    if let Some(version) = &new.api_version
        && Version::parse(version).is_none()
    {
        let message = format!("Invalid API version: {version}");
        return Err(ApiError::invalid("parameter_invalid_string", Some("api_version"), &message));
    }
    let mut fields = json!({
        "url": new.url, "enabled_events": new.enabled_events, "api_version": new.api_version, "status": "enabled",
        "application": null, "description": "SANDBOX", "metadata": {}, "_is_thin": new.is_thin,
    });
    let is_it = |row: &&Value| row.text("url") == new.url && row.is("_is_thin") == new.is_thin;
    let known = account.store.of_kind("webhook_endpoint").find(is_it).map(|row| row.id().to_owned());
    if let Some(id) = known {
        if let Some(secret) = &new.secret {
            fields["secret"] = secret.as_str().into();
        }
        account.change(&id, fields);
        return Ok(account.copy(&id));
    }
    if account.store.count("webhook_endpoint") >= ENDPOINTS_MAX {
        return Err(ApiError::refused_without_code("You have reached the maximum of webhook endpoints."));
    }
    let secret = new.secret.clone().unwrap_or_else(|| account.ids.id("whsec"));
    fields["secret"] = secret.into();
    account.make("we", "webhook_endpoint", fields)
}

fn check_url(url: &str) -> Result<(), ApiError> {
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(());
    }
    Err(ApiError::invalid("url_invalid", Some("url"), &format!("Invalid URL: {url}")))
}

/// Adds the endpoints of the options, and deletes those of earlier options, because a server's address may have
/// changed.
pub(crate) fn set_configured(account: &mut StripeAccount, given: &[NewEndpoint]) -> Result<(), ApiError> {
    let is_old = |row: &&Value| row.is("_is_given") && given.iter().all(|new| new.url != row.text("url"));
    let old: Vec<String> =
        account.store.of_kind("webhook_endpoint").filter(is_old).map(|row| row.id().to_owned()).collect();
    for id in old {
        account.store.remove(&id);
    }
    for new in given {
        let endpoint = add(account, new)?;
        account.change(endpoint.id(), json!({ "_is_given": true, "_is_secret_made_up": new.secret.is_none() }));
    }
    Ok(())
}

/// Whether the options give this endpoint's secret, so that it need not be stored.
pub(crate) fn has_configured_secret(row: &Value) -> bool {
    row.is("_is_given") && !row.is("_is_secret_made_up") && row.get("secret").is_some()
}

/// `POST /v1/webhook_endpoints`
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let new = NewEndpoint {
        url: form.required("url")?.to_owned(),
        secret: None,
        api_version: form.text("api_version").map(str::to_owned),
        enabled_events: form.texts("enabled_events"),
        is_thin: false,
    };
    if new.enabled_events.is_empty() {
        return Err(ApiError::missing("enabled_events"));
    }
    add(account, &new)
}

/// `GET /v1/webhook_endpoints`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let mut page = page::list(account, call, "webhook_endpoint", &[])?;
    for row in page["data"].as_array_mut().into_iter().flatten() {
        *row = without_secret(row);
    }
    Ok(page)
}

/// `GET /v1/webhook_endpoints/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    Ok(without_secret(&account.find("webhook_endpoint", call.id())?))
}

/// `POST /v1/webhook_endpoints/{id}`
pub(crate) fn update(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let endpoint = account.find("webhook_endpoint", call.id())?;
    let form = &call.form;
    let mut fields = StripeAccount::metadata_change(&endpoint, form)?;
    if let Some(url) = form.text("url") {
        check_url(url)?;
        fields.insert("url".to_owned(), url.into());
    }
    if form.has("enabled_events") {
        fields.insert("enabled_events".to_owned(), form.texts("enabled_events").into());
    }
    if let Some(is_disabled) = form.flag("disabled")? {
        fields.insert("status".to_owned(), if is_disabled { "disabled" } else { "enabled" }.into());
    }
    fields.extend(form.nullables(&["description"]));
    account.change(endpoint.id(), Value::Object(fields));
    Ok(without_secret(&account.copy(endpoint.id())))
}

/// An object without a signing secret, which Stripe shows when it makes an endpoint and never again.
pub(crate) fn without_secret(object: &Value) -> Value {
    let mut shown = object.clone();
    if object.text("object") == "webhook_endpoint"
        && let Some(row) = shown.as_object_mut()
    {
        row.remove("secret");
    }
    shown
}

/// `DELETE /v1/webhook_endpoints/{id}`
pub(crate) fn delete(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let endpoint = account.find("webhook_endpoint", call.id())?;
    account.store.remove(endpoint.id());
    Ok(json!({ "id": endpoint.id(), "object": "webhook_endpoint", "deleted": true }))
}
