//! What the document says of fields and parameters beyond their type: their values, formats, lengths and limits.
//!
//! A set of values that may grow in later versions, such as the kinds of jobs, is described in words and not listed:
//! generated clients refuse a value that they do not know. A field that is not here has no such restriction.

use crate::routes::admin::reason::REASON_LEN_MAX;
use crate::routes::input::{IDEMPOTENCY_KEY_LEN_MAX, REFERENCE_LEN_MAX};
use bursar_engine::amount::{SPEND_CAP_MAX, UNITS_MAX};
use bursar_engine::domain::admin_token::LIFE_MAX_S;
use bursar_engine::domain::email::EMAIL_LEN_MAX;
use bursar_engine::domain::replay::RATE_MAX;
use bursar_engine::domain::subscription::change::QUANTITY_MAX;
use bursar_engine::key::KEY_LEN_MAX;
use bursar_engine::name::NAME_LEN_MAX;
use bursar_engine::stripe_id::STRIPE_ID_LEN_MAX;
use bursar_engine::usecase::api_key::GRACE_MAX_S;
use serde_json::{Map, Value, json};

/// A restriction of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// At least one item, and each is one of these texts.
    EachOneOf(&'static [&'static str]),
    /// A format of JSON Schema or of OpenAPI's registry.
    Format(&'static str),
    /// A regular expression, which describes the whole text.
    Pattern(&'static str),
    /// The least and the greatest number of characters.
    Length(usize, usize),
    /// The least and the greatest number.
    Between(i64, i64),
    /// The least number.
    AtLeast(i64),
}

use Shape::{AtLeast, Between, EachOneOf, Format, Length, OneOf, Pattern};

const UNITS: i64 = UNITS_MAX.0;
const CAP: i64 = SPEND_CAP_MAX.0;
const CURRENCY: &str = "^[a-z]{3}$";
const DAY: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}";
const KEY: &str = "^[a-z0-9_]+$";
const HASH: &str = "^[0-9a-f]{64}$";

const GRANT_KINDS: &[&str] = &["promotional", "adjustment", "included", "purchased"];
const OPERATION_STATES: &[&str] = &["processing", "requires_action", "succeeded", "failed"];
const ADDRESS_STATES: &[&str] = &["pending", "assumed", "link", "vouched", "staff"];
const SCOPES: &[&str] = &["read", "replay", "adjust", "refund", "onboard", "admin"];
const SUBJECTS: &[&str] = &["catalogue", "plan", "price", "pack"];

/// Fields by schema and name. `*` is every schema that has no line of its own for the field.
#[rustfmt::skip]
const FIELDS: &[(&str, &str, Shape)] = &[
    // Values.
    ("AddressBody", "email_confirmation", OneOf(ADDRESS_STATES)),
    ("CustomerDetail", "email_confirmation", OneOf(ADDRESS_STATES)),
    ("AdminInvoice", "state", OneOf(&["paid", "partly_refunded", "refunded", "disputed", "failed"])),
    ("AdminTokenBody", "state", OneOf(&["valid", "expired", "revoked"])),
    ("AdminTokenBody", "scopes", EachOneOf(SCOPES)),
    ("TokenCreateRequest", "scopes", EachOneOf(SCOPES)),
    ("AttemptBody", "outcome", OneOf(&["done", "retry", "snooze", "cancel", "dead"])),
    ("CatalogueChangeBody", "kind", OneOf(SUBJECTS)),
    ("CatalogueRefusalBody", "kind", OneOf(SUBJECTS)),
    ("CustomerBody", "source", OneOf(&["direct", "marketplace", "early_access"])),
    ("EventBody", "source", OneOf(&["stripe", "github"])),
    ("FlowBody", "grant_kind", OneOf(GRANT_KINDS)),
    ("FlowBody", "kind", OneOf(&["grant", "adjust", "claw_back", "expire"])),
    ("GrantBody", "kind", OneOf(GRANT_KINDS)),
    ("HealthBody", "status", OneOf(&["ok", "degraded", "down"])),
    ("HoldBody", "state", OneOf(&["open", "captured", "released"])),
    ("JobBody", "state", OneOf(&["scheduled", "available", "running", "succeeded", "cancelled", "dead"])),
    ("MailBody", "state", OneOf(&["queued", "sent", "stored", "failed", "cancelled"])),
    ("OperationBody", "state", OneOf(OPERATION_STATES)),
    ("OperationRow", "state", OneOf(OPERATION_STATES)),
    ("OperationRow", "asked_by", OneOf(&["customer", "staff", "bursar"])),
    ("PaymentBody", "kind", OneOf(&["charge", "invoice"])),
    ("PaymentBody", "state", OneOf(&["processing", "requires_action", "failed", "not_charged", "paid", "partly_refunded", "refunded", "disputed"])),
    ("PeriodBody", "kind", OneOf(&["subscription", "calendar_month"])),
    ("PriceBody", "grant", OneOf(&["whole", "monthly"])),
    ("PriceBody", "rollover", OneOf(&["keep", "reset"])),
    ("Problem", "type", OneOf(&["about:blank"])),
    ("Problem", "status", Between(400, 599)),
    ("Problem", "required_scope", OneOf(SCOPES)),
    ("ReconciliationBody", "state", OneOf(&["running", "done", "failed", "cancelled"])),
    ("RefundAnswer", "state", OneOf(&["planned", "processing", "succeeded", "failed"])),
    ("ReplayBody", "state", OneOf(&["preview", "running", "paused", "done", "cancelled", "failed"])),
    ("ReplayItemBody", "state", OneOf(&["waiting", "replayed", "skipped", "tried"])),
    ("StripePriceBody", "decided_by", OneOf(&["catalogue", "lookup_key", "tag", "product", "sold", "operator", "nothing"])),
    ("TopUpBody", "state", OneOf(&["off", "on", "waiting", "stopped"])),
    ("Transaction", "grant_kind", OneOf(GRANT_KINDS)),
    ("Transaction", "kind", OneOf(&["grant", "debit", "hold", "capture", "release", "adjust", "claw_back", "expire", "terms"])),
    // Identifiers.
    ("AdminTokenBody", "id", Pattern("^adt_[0-9a-z]{26}$")),
    ("ApiKeyBody", "id", Pattern("^key_[0-9a-z]{26}$")),
    ("AuditBody", "id", Pattern("^aud_[0-9a-z]{26}$")),
    ("CustomerBody", "id", Pattern("^cst_[0-9a-z]{26}$")),
    ("EventBody", "id", Pattern("^evt_[0-9a-z]{26}$")),
    ("HoldBody", "id", Pattern("^hld_[0-9a-z]{26}$")),
    ("JobBody", "id", Pattern("^job_[0-9a-z]{26}$")),
    ("MailBody", "id", Pattern("^mal_[0-9a-z]{26}$")),
    ("OperationBody", "id", Pattern("^op_[0-9a-z]{26}$")),
    ("OperationRow", "id", Pattern("^op_[0-9a-z]{26}$")),
    ("ReconciliationBody", "id", Pattern("^rec_[0-9a-z]{26}$")),
    ("ReplayBody", "id", Pattern("^rpl_[0-9a-z]{26}$")),
    ("Transaction", "id", Pattern("^txn_[0-9a-z]{26}_[0-9]+$")),
    ("*", "transaction_id", Pattern("^txn_[0-9a-z]{26}_[0-9]+$")),
    ("*", "hold_id", Pattern("^hld_[0-9a-z]{26}$")),
    ("SkipRequest", "job_id", Length(1, STRIPE_ID_LEN_MAX)),
    ("*", "job_id", Pattern("^job_[0-9a-z]{26}$")),
    ("FailureGroupBody", "latest_job_id", Pattern("^job_[0-9a-z]{26}$")),
    ("AuditHeadBody", "hash", Pattern(HASH)),
    ("AuditHeadBody", "seal", AtLeast(0)),
    // Numbers of credits, of money in minor units, of seats, of seconds.
    ("AdjustRequest", "amount", Between(-UNITS, UNITS)),
    ("CaptureRequest", "units", Between(0, UNITS)),
    ("CreditLimitRequest", "credits", Between(0, UNITS)),
    ("HoldRequest", "units", Between(1, UNITS)),
    ("HoldRequest", "expires_in_s", AtLeast(1)),
    ("UsageRequest", "units", Between(1, UNITS)),
    ("HoldBody", "units", Between(1, UNITS)),
    ("HoldBody", "captured", Between(0, UNITS)),
    ("TopUpRequest", "target", Between(1, UNITS)),
    ("TopUpRequest", "threshold", Between(1, UNITS)),
    ("TopUpRequest", "month_cap_minor", AtLeast(0)),
    ("SpendCapsRequest", "day_minor", Between(0, CAP)),
    ("SpendCapsRequest", "month_minor", Between(0, CAP)),
    ("AdminSpendCapsRequest", "day_minor", Between(0, CAP)),
    ("AdminSpendCapsRequest", "month_minor", Between(0, CAP)),
    ("RefundRequestBody", "amount_minor", AtLeast(1)),
    ("ChangeRequest", "quantity", Between(1, QUANTITY_MAX)),
    ("SubscriptionRequest", "quantity", Between(1, QUANTITY_MAX)),
    ("ReplayRequest", "rate_per_second", Between(1, RATE_MAX)),
    ("ReconciliationRequest", "since_hours", Between(1, 720)),
    ("RotateRequest", "grace_seconds", Between(0, GRACE_MAX_S)),
    ("TokenCreateRequest", "expires_in_s", Between(1, LIFE_MAX_S)),
    ("CatalogueApplyRequest", "expected_version", AtLeast(0)),
    ("PaymentMethodBody", "exp_month", Between(1, 12)),
    ("Dependency", "latency_ms", AtLeast(0)),
    ("EventBody", "deliveries", AtLeast(0)),
    ("EventBody", "attempts", AtLeast(0)),
    ("MailBody", "attempts", AtLeast(0)),
    ("JobBody", "attempt", AtLeast(0)),
    ("JobBody", "attempts_max", AtLeast(1)),
    ("AttemptBody", "attempt", AtLeast(0)),
    ("AttemptBody", "duration_ms", AtLeast(0)),
    ("*", "epoch", AtLeast(0)),
    ("*", "held", AtLeast(0)),
    ("*", "held_after", AtLeast(0)),
    ("FailureGroupBody", "count", AtLeast(1)),
    ("OutcomesBody", "succeeded", AtLeast(0)),
    ("OutcomesBody", "cancelled", AtLeast(0)),
    ("OutcomesBody", "dead", AtLeast(0)),
    ("OutcomesBody", "retrying", AtLeast(0)),
    ("OutcomesBody", "waiting", AtLeast(0)),
    ("OutcomesBody", "not_started", AtLeast(0)),
    ("OutcomesBody", "skipped", AtLeast(0)),
    ("OutcomesBody", "deleted", AtLeast(0)),
    // Texts.
    ("*", "email", Format("email")),
    ("CorrectEmailRequest", "email", Length(3, EMAIL_LEN_MAX)),
    ("CreateCustomerRequest", "email", Length(3, EMAIL_LEN_MAX)),
    ("OnboardRequest", "email", Length(3, EMAIL_LEN_MAX)),
    ("AdminApiKeyRequest", "name", Length(1, NAME_LEN_MAX)),
    ("ApiKeyRequest", "name", Length(1, NAME_LEN_MAX)),
    ("CreateCustomerRequest", "name", Length(1, NAME_LEN_MAX)),
    ("OnboardRequest", "name", Length(1, NAME_LEN_MAX)),
    ("TokenCreateRequest", "name", Pattern("^[A-Za-z0-9._@-]{1,64}$")),
    ("HoldRequest", "reference", Length(0, REFERENCE_LEN_MAX)),
    ("UsageRequest", "reference", Length(0, REFERENCE_LEN_MAX)),
    ("PurchaseRequest", "pack", Length(1, KEY_LEN_MAX)),
    ("PurchaseRequest", "pack", Pattern(KEY)),
    ("*", "currency", Pattern(CURRENCY)),
    ("CreateCustomerRequest", "credits_from", Pattern(DAY)),
    ("LinkStripeRequest", "credits_from", Pattern(DAY)),
    ("CreateCustomerRequest", "stripe_customer_id", Length(1, STRIPE_ID_LEN_MAX)),
    ("LinkStripeRequest", "stripe_customer_id", Length(1, STRIPE_ID_LEN_MAX)),
    ("PaymentMethodRequest", "payment_method", Length(1, STRIPE_ID_LEN_MAX)),
    ("InvoiceBody", "hosted_invoice_url", Format("uri")),
    ("InvoiceBody", "invoice_pdf", Format("uri")),
    // Times and days.
    ("DayBody", "date", Format("date")),
    ("MarketplaceCorrectionRequest", "effective_date", Format("date")),
    ("MarketplaceCorrectionRequest", "next_billing_date", Format("date")),
    ("*", "at", Format("date-time")),
    ("*", "start", Format("date-time")),
    ("*", "end", Format("date-time")),
    ("*", "until", Format("date-time")),
    ("*", "credits_until", Format("date-time")),
    ("*", "current_period_end", Format("date-time")),
    ("*", "lease_until", Format("date-time")),
    ("*", "past_due_since", Format("date-time")),
    ("*", "waits_until", Format("date-time")),
];

/// The parameters by name.
#[rustfmt::skip]
const PARAMETERS: &[(&str, Shape)] = &[
    ("Idempotency-Key", Length(1, IDEMPOTENCY_KEY_LEN_MAX)),
    ("Idempotency-Key", Pattern("^[!-~]+$")),
    ("cursor", Pattern("^[A-Za-z0-9_-]+$")),
    ("limit", Between(1, 100)),
    ("version", AtLeast(1)),
    ("at", Format("date-time")),
    ("from", Format("date-time")),
    ("to", Format("date-time")),
];

impl Shape {
    /// Adds the restriction to a schema.
    fn restrict(self, schema: &mut Map<String, Value>) {
        let mut set = |name: &str, value: Value| _ = schema.insert(name.to_owned(), value);
        match self {
            OneOf(values) => set("enum", json!(values)),
            EachOneOf(values) => {
                set("items", json!({ "type": "string", "enum": values }));
                set("minItems", json!(1));
            }
            Format(format) => set("format", json!(format)),
            Pattern(pattern) => set("pattern", json!(pattern)),
            Length(least, most) => {
                set("minLength", json!(least));
                set("maxLength", json!(most));
            }
            Between(least, most) => {
                set("minimum", json!(least));
                set("maximum", json!(most));
            }
            AtLeast(least) => set("minimum", json!(least)),
        }
    }
}

/// Restricts the fields of a schema, which is known by the framework's name for it.
pub(super) fn restrict_fields(name: &str, schema: &mut Value) {
    let is_request = name.ends_with("Request") || name == "RefundRequestBody";
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (field, property) in properties.into_iter().flatten() {
        let Some(property) = property.as_object_mut() else { continue };
        // References are restricted where they lead.
        if property.get("type").is_none() {
            continue;
        }
        restrict_number(property);
        let own = FIELDS.iter().filter(|(schema, of, _)| (*schema, *of) == (name, field.as_str()));
        let everywhere = FIELDS.iter().filter(|(schema, of, _)| (*schema, *of) == ("*", field.as_str()));
        let has_own = own.clone().next().is_some();
        // Formats go together with lengths.
        let general = everywhere.filter(|(_, _, shape)| !has_own || matches!(shape, Format(_)));
        general.chain(own).for_each(|(_, _, shape)| shape.restrict(property));
        if field.ends_with("_at") {
            Format("date-time").restrict(property);
        }
        if is_request && field == "reason" {
            Length(1, REASON_LEN_MAX).restrict(property);
        }
    }
}

/// Restricts a parameter.
pub(super) fn restrict_parameter(parameter: &mut Value) {
    let name = parameter["name"].as_str().unwrap_or_default().to_owned();
    let Some(schema) = parameter.get_mut("schema").and_then(Value::as_object_mut) else { return };
    restrict_number(schema);
    for (_, shape) in PARAMETERS.iter().filter(|(of, _)| *of == name) {
        shape.restrict(schema);
    }
}

/// Replaces formats of unsigned numbers, which OpenAPI's generators do not know, by those of signed ones with limits.
pub(super) fn restrict_number(schema: &mut Map<String, Value>) {
    let (format, most) = match schema.get("format").and_then(Value::as_str) {
        Some("uint64") => ("int64", None),
        Some("uint32") => ("int64", Some(u32::MAX)),
        Some("uint16") => ("int32", Some(u16::MAX.into())),
        _ => return,
    };
    schema.insert("format".to_owned(), json!(format));
    schema.entry("minimum").or_insert(json!(0));
    if let Some(most) = most {
        schema.entry("maximum").or_insert(json!(most));
    }
}

/// The schemas and fields that have a line above and are not in the document: a line for nothing.
#[cfg(test)]
pub(super) fn unused(schemas: &Value) -> Vec<String> {
    let has = |schema: &str, field: &str| schemas[schema]["properties"][field].is_object();
    let anywhere = |field: &str| {
        schemas.as_object().into_iter().flatten().any(|(_, schema)| schema["properties"][field].is_object())
    };
    let lines = FIELDS.iter().filter(|(schema, field, _)| match *schema {
        "*" => !anywhere(field),
        schema => !has(schema, field),
    });
    lines.map(|(schema, field, _)| format!("{schema}.{field}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_field_gets_the_line_of_its_schema_before_that_of_all() {
        let mut schema = json!({ "properties": {
            "email": { "type": "string" }, "job_id": { "type": "string" }, "reason": { "type": "string" },
        } });
        restrict_fields("SkipRequest", &mut schema);
        let expected = json!({ "properties": {
            "email": { "type": "string", "format": "email" },
            "job_id": { "type": "string", "minLength": 1, "maxLength": 255 },
            "reason": { "type": "string", "minLength": 1, "maxLength": 500 },
        } });
        assert_eq!(schema, expected);
    }

    #[test]
    fn a_format_goes_together_with_a_length() {
        let mut schema = json!({ "properties": { "email": { "type": "string" } } });
        restrict_fields("OnboardRequest", &mut schema);
        let email = json!({ "type": "string", "format": "email", "minLength": 3, "maxLength": 254 });
        assert_eq!(schema["properties"]["email"], email);
    }

    #[test]
    fn times_are_known_by_the_end_of_their_names() {
        let mut schema = json!({ "properties": { "revoked_at": { "type": "string" }, "that": { "type": "string" } } });
        restrict_fields("ApiKeyBody", &mut schema);
        assert_eq!(schema["properties"]["revoked_at"]["format"], "date-time");
        assert_eq!(schema["properties"]["that"], json!({ "type": "string" }));
    }

    #[test]
    fn unsigned_numbers_become_numbers_with_limits() {
        let mut schema = json!({ "type": "integer", "format": "uint16" });
        restrict_number(schema.as_object_mut().unwrap());
        assert_eq!(schema, json!({ "type": "integer", "format": "int32", "minimum": 0, "maximum": 65_535 }));
    }

    #[test]
    fn items_of_a_list_have_values() {
        let mut schema = json!({ "properties": { "scopes": { "type": "array", "items": { "type": "string" } } } });
        restrict_fields("TokenCreateRequest", &mut schema);
        assert_eq!(schema["properties"]["scopes"]["items"]["enum"].as_array().map(Vec::len), Some(SCOPES.len()));
    }
}
