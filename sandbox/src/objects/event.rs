//! Events, which are stored for 30 days.

use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::handler::Call;
use crate::page;
use crate::template::overlay;
use serde_json::{Value, json};

/// How long events are stored. Source: Stripe, "List all events".
pub(crate) const EVENTS_KEPT_S: i64 = 30 * 86_400;
/// Maximum number of stored events.
pub(crate) const EVENTS_MAX: usize = 50_000;

impl StripeAccount {
    /// Emits an event with an object's current state.
    pub(crate) fn emit(&mut self, kind: &str, id: &str) -> Result<(), ApiError> {
        self.emit_object(kind, self.copy(id), None).map(|_| ())
    }

    /// Emits an event about a changed object, with the previous values of its fields.
    pub(crate) fn emit_change(&mut self, kind: &str, id: &str, previous: Value) -> Result<(), ApiError> {
        self.emit_object(kind, self.copy(id), Some(previous)).map(|_| ())
    }

    /// Creates an event with an object's current state and plans its deliveries. Returns the event's id.
    pub(crate) fn emit_object(
        &mut self,
        kind: &str,
        object: Value,
        previous: Option<Value>,
    ) -> Result<String, ApiError> {
        let mut data = json!({ "object": object });
        if let Some(previous) = previous {
            data["previous_attributes"] = previous;
        }
        let request = json!({ "id": self.cause.request_id, "idempotency_key": self.cause.idempotency_key });
        let fields = json!({
            "api_version": self.api_version, "type": kind, "data": data, "request": request, "pending_webhooks": 0,
            "created": self.sandbox_s(), "_made_s": self.kept_from_s(),
        });
        let event = self.make("evt", "event", fields)?;
        let pending = self.plan_deliveries(&event)?;
        self.change(event.id(), json!({ "pending_webhooks": pending }));
        Ok(event.id().to_owned())
    }

    /// Emits the thin event of a snapshot event. It names the object instead of containing it.
    pub(crate) fn emit_thin(&mut self, snapshot_event: &str) -> Result<Value, ApiError> {
        let twin = self.find("event", snapshot_event)?;
        let object = &twin["data"]["object"];
        let kind = object.text("object").to_owned();
        let related = json!({
            "id": object.id(), "type": kind, "url": format!("/v1/{}/{}", plural(&kind), object.id()),
        });
        let fields = json!({
            "type": format!("v1.{}", twin.text("type")), "related_object": related, "context": null,
            "snapshot_event": snapshot_event, "reason": null, "_twin": twin.text("type"),
            "_made_s": self.kept_from_s(),
        });
        let mut event = self.make("evt", "v2.core.event", fields)?;
        let created = chrono::DateTime::from_timestamp(self.sandbox_s(), 0).unwrap_or_default();
        let created = created.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        self.change(event.id(), json!({ "created": created }));
        self.plan_deliveries(&event)?;
        overlay(&mut event, json!({ "created": created }));
        Ok(event)
    }

    /// Deletes events that are too old or too many. One that is still to be delivered is not too old.
    pub(crate) fn prune_events(&mut self) {
        for kind in ["event", "v2.core.event"] {
            let excess = self.store.count(kind).saturating_sub(EVENTS_MAX);
            let until_s = self.now_s - EVENTS_KEPT_S;
            let old = self.store.of_kind(kind).enumerate();
            let old = old.take_while(|(at, event)| *at < excess || event.int("_made_s") < until_s);
            let old = old.filter(|(at, event)| *at < excess || !self.is_to_be_delivered(event.id()));
            let old: Vec<String> = old.map(|(_, event)| event.id().to_owned()).collect();
            for id in old {
                self.forget_deliveries(&id);
                self.store.remove(&id);
            }
        }
    }
}

/// The plural of a kind, as in paths.
pub(crate) fn plural(kind: &str) -> String {
    match kind {
        "checkout.session" | "test_helpers.test_clock" => format!("{}s", kind.replace('.', "/")),
        "invoiceitem" | "price" | "product" => format!("{kind}s"),
        "balance_transaction" => "balance_transactions".to_owned(),
        _ => format!("{kind}s"),
    }
}

/// `GET /v1/events`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let success = call.form.flag("delivery_success")?;
    let mut types = call.form.texts("types");
    types.extend(call.form.text("type").map(str::to_owned));
    let wanted = |event: &&Value| {
        let is_delivered = event.int("pending_webhooks") == 0;
        success.is_none_or(|success| success == is_delivered)
            && (types.is_empty() || types.iter().any(|pattern| matches(pattern, event.text("type"))))
    };
    page::paginate(&account.store, account.store.of_kind("event").filter(wanted), &call.form, "/v1/events")
}

/// `GET /v1/events/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("event", call.id())
}

/// `GET /v2/core/events/{id}`
pub(crate) fn retrieve_thin(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("v2.core.event", call.id())
}

/// Whether an event type matches a pattern such as `invoice.*` or `*`.
pub(crate) fn matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => pattern == kind,
    }
}
