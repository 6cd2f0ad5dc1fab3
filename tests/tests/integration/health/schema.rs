//! Checks answers against the OpenAPI document, from which clients are generated.

use super::openapi::document;
use super::*;
use crate::money::Shop;
use bursar_tests::answer::Answer;
use bursar_tests::{Backend, TestCustomer, github};
use std::collections::BTreeSet;

/// Compares answers with the document.
struct Checker<'a> {
    app: &'a TestApp,
    document: Value,
    /// The differences, each once.
    problems: BTreeSet<String>,
    /// Operations that were called.
    called: BTreeSet<String>,
}

impl Checker<'_> {
    /// Checks an answer of an operation, named by its path with parameters.
    fn check(&mut self, operation: &str, answer: Answer) -> Value {
        let (method, path) = operation.split_once(' ').unwrap();
        let documented = &self.document["paths"][path][method];
        assert!(documented.is_object(), "{operation} is not in the document");
        let response = &documented["responses"][answer.status.to_string()];
        assert!(response.is_object(), "{operation} does not document {}: {}", answer.status, answer.body);
        self.called.insert(operation.to_owned());
        if let Some(content) = response["content"].as_object() {
            let (content_type, media) = content.iter().next().unwrap();
            assert_eq!(&answer.content_type, content_type, "{operation}");
            // A file is any text.
            if content_type.contains("json") && content_type != "application/jsonl" {
                let mut problems = BTreeSet::new();
                compare(&self.document, &media["schema"], &answer.body, "", &mut problems);
                self.problems.extend(problems);
            }
        }
        answer.body
    }

    async fn call(&mut self, customer: &TestCustomer, operation: &str, id: &str, body: Option<Value>) -> Value {
        let (method, path) = operation.split_once(' ').unwrap();
        let path = path.replace("{id}", id);
        let answer = self.app.call(customer, &method.to_uppercase(), &path, &unique(), body.as_ref()).await;
        self.check(operation, answer)
    }

    async fn admin(&mut self, operation: &str, id: &str, body: Option<Value>) -> Value {
        let (method, path) = operation.split_once(' ').unwrap();
        let path = path.replace("{id}", id).replace("{key}", id).replace("{github_account_id}", id);
        let answer = self.app.admin(&method.to_uppercase(), &path, body.as_ref()).await;
        self.check(operation, answer)
    }
}

/// Collects the differences between a value and a schema.
pub(super) fn compare(document: &Value, schema: &Value, value: &Value, at: &str, problems: &mut BTreeSet<String>) {
    if let Some(name) = schema["$ref"].as_str().and_then(|text| text.strip_prefix("#/components/schemas/")) {
        return compare(document, &document["components"]["schemas"][name], value, name, problems);
    }
    // The only choice in the document is that between a schema and null.
    if let Some(choices) = schema["oneOf"].as_array() {
        if !value.is_null() {
            compare(document, &choices[0], value, at, problems);
        }
        return;
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        compare(document, part, value, at, problems);
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    if kinds.is_empty() {
        return;
    }
    if !kinds.iter().any(|kind| fits(kind, value)) {
        let shown = if value.is_null() { "null, which it may not be".to_owned() } else { value.to_string() };
        problems.insert(format!("{at}: {} is {shown}", kinds.join(" or ")));
        return;
    }
    restrictions(schema, value, at, problems);
    if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
        problems.insert(format!("{at}: {value} is none of {}", schema["enum"]));
    }
    for item in value.as_array().into_iter().flatten() {
        compare(document, &schema["items"], item, at, problems);
    }
    let fields = value.as_object().into_iter().flatten();
    for (name, field) in fields.filter(|_| schema["properties"].is_object()) {
        match schema["properties"].get(name) {
            Some(property) => compare(document, property, field, &format!("{at}.{name}"), problems),
            None => _ = problems.insert(format!("{at}.{name}: is not in the document")),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            problems.insert(format!("{at}.{name}: is required and missing"));
        }
    }
}

/// Whether a value has a type of JSON Schema.
fn fits(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => false,
    }
}

/// Compares a text or a number with its limits, and a text with its format.
fn restrictions(schema: &Value, value: &Value, at: &str, problems: &mut BTreeSet<String>) {
    if let Some(number) = value.as_f64() {
        let is_low = schema["minimum"].as_f64().is_some_and(|least| number < least);
        let is_high = schema["maximum"].as_f64().is_some_and(|most| number > most);
        if is_low || is_high {
            problems.insert(format!("{at}: {number} is outside of its limits"));
        }
    }
    let Some(text) = value.as_str() else { return };
    let length = text.chars().count() as u64;
    let is_short = schema["minLength"].as_u64().is_some_and(|least| length < least);
    if is_short || schema["maxLength"].as_u64().is_some_and(|most| length > most) {
        problems.insert(format!("{at}: {text} is too short or too long"));
    }
    let fits = match schema["format"].as_str() {
        Some("date-time") => bursar_engine::clock::parse_rfc3339(text).is_some(),
        Some("date") => bursar_engine::clock::parse_day(text).is_some(),
        Some("uri") => text.starts_with("https://") || text.starts_with("http://"),
        Some("email") => text.contains('@'),
        _ => true,
    };
    if !fits {
        problems.insert(format!("{at}: {text} is no {}", schema["format"]));
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && !regex::Regex::new(pattern).unwrap().is_match(text)
    {
        problems.insert(format!("{at}: {text} does not match {pattern}"));
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

async fn customer_operations(checker: &mut Checker<'_>, customer: &TestCustomer) {
    let person = json!({ "email": format!("{}@example.com", unique()), "name": "Ada", "source": null });
    let answer = checker.app.request("POST", "/api/v1/customers/onboard", &[], Some(&person)).await;
    checker.check("post /api/v1/customers/onboard", answer);
    checker.call(customer, "get /api/v1/customer", "", None).await;
    checker.call(customer, "post /api/v1/customer/confirmation", "", None).await;
    let usage = json!({ "units": 1, "reference": null, "metadata": { "n": [1, null] } });
    checker.call(customer, "post /api/v1/usage", "", Some(usage)).await;
    checker.call(customer, "post /api/v1/usage", "", Some(json!({ "units": 1_000 }))).await;
    checker.call(customer, "post /api/v1/usage", "", Some(json!({ "units": 0 }))).await;
    for end in ["post /api/v1/holds/{id}/capture", "post /api/v1/holds/{id}/release"] {
        let hold = checker.call(customer, "post /api/v1/holds", "", Some(json!({ "units": 1 }))).await;
        let id = text(&hold["hold"]["id"]);
        checker.call(customer, "get /api/v1/credits", "", None).await;
        checker.call(customer, end, &id, Some(json!({}))).await;
        checker.call(customer, end, &id, Some(json!({}))).await;
    }
    for path in ["credits/transactions", "credits/balance", "credits/transactions.csv", "usage/summary"] {
        checker.call(customer, &format!("get /api/v1/{path}"), "", None).await;
    }
    let key = checker.call(customer, "post /api/v1/api-keys", "", Some(json!({ "name": "ci" }))).await;
    let rotate = "post /api/v1/api-keys/{id}/rotate";
    let key = checker.call(customer, rotate, &text(&key["api_key"]["id"]), Some(json!({}))).await;
    checker.call(customer, rotate, &text(&key["api_key"]["id"]), Some(json!({ "grace_seconds": -1 }))).await;
    checker.call(customer, "delete /api/v1/api-keys/{id}", &text(&key["api_key"]["id"]), None).await;
    checker.call(customer, "get /api/v1/api-keys", "", None).await;
}

async fn admin_operations(checker: &mut Checker<'_>, customer: &TestCustomer, event: &str) {
    checker.admin("get /admin/v1/customers", "", None).await;
    let adjustment = json!({ "amount": 1, "reason": "test" });
    checker.admin("post /admin/v1/customers/{id}/adjustments", &customer.id, Some(adjustment)).await;
    checker.admin("get /admin/v1/customers/{id}", &customer.id, None).await;
    for part in ["transactions", "timeline", "balance", "transactions.csv", "usage-summary"] {
        checker.admin(&format!("get /admin/v1/customers/{{id}}/{part}"), &customer.id, None).await;
    }
    let key = json!({ "name": "recovered", "reason": "test" });
    let made = checker.admin("post /admin/v1/customers/{id}/api-keys", &customer.id, Some(key)).await;
    checker.admin("get /admin/v1/customers/{id}/api-keys", &customer.id, None).await;
    let revoke = "post /admin/v1/customers/{id}/api-keys/{key_id}/revoke";
    let path = format!("/admin/v1/customers/{}/api-keys/{}/revoke", customer.id, text(&made["api_key"]["id"]));
    for _ in 0..2 {
        let answer = checker.app.admin("POST", &path, Some(&json!({ "reason": "test" }))).await;
        checker.check(revoke, answer);
    }
    let email = json!({ "email": format!("{}@example.com", unique()), "reason": "test" });
    checker.admin("post /admin/v1/customers/{id}/email", &customer.id, Some(email)).await;
    let reason = json!({ "reason": "test" });
    checker.admin("get /admin/v1/events", "", None).await;
    let seen = checker.admin("get /admin/v1/events/{id}", event, None).await;
    let stream = text(&seen["event"]["stream"]);
    checker.admin("post /admin/v1/streams/{key}/pause", &stream, Some(reason.clone())).await;
    checker.admin("post /admin/v1/events/{id}/replay", event, Some(reason.clone())).await;
    checker.admin("get /admin/v1/streams", "", None).await;
    checker.admin("get /admin/v1/streams/{key}", &stream, None).await;
    checker.admin("post /admin/v1/streams/{key}/skip", &stream, Some(reason.clone())).await;
    checker.admin("post /admin/v1/streams/{key}/canary", &stream, Some(reason.clone())).await;
    checker.admin("post /admin/v1/streams/{key}/resume", &stream, None).await;
    checker.admin("get /admin/v1/failures", "", None).await;
    checker.admin("get /admin/v1/log-filter", "", None).await;
    let filter = json!({ "filter": "warn,bursar=info", "reason": "test" });
    checker.admin("post /admin/v1/log-filter", "", Some(filter)).await;
    for path in ["audit", "audit/head", "audit/export"] {
        checker.admin(&format!("get /admin/v1/{path}"), "", None).await;
    }
    let token = json!({ "name": "ada", "scopes": ["read"], "expires_in_s": 60, "reason": "test" });
    let made = checker.admin("post /admin/v1/tokens", "", Some(token)).await;
    checker.admin("get /admin/v1/tokens", "", None).await;
    let id = text(&made["admin_token"]["id"]);
    checker.admin("post /admin/v1/tokens/{id}/revoke", &id, Some(json!({ "reason": "test" }))).await;
    checker.admin("get /admin/v1/jobs", "", None).await;
    let job = text(&seen["event"]["job_id"]);
    checker.admin("get /admin/v1/jobs/{id}", &job, None).await;
    checker.admin("post /admin/v1/jobs/{id}/cancel", &job, Some(reason.clone())).await;
    checker.admin("post /admin/v1/jobs/{id}/replay", &job, Some(reason.clone())).await;
    mail_operations(checker, customer, reason).await;
    let replay = json!({ "filter": { "kind": "stripe.event" }, "dry_run": true, "reason": "test" });
    let made = checker.admin("post /admin/v1/replays", "", Some(replay)).await;
    let id = text(&made["replay"]["id"]);
    checker.admin("get /admin/v1/replays", "", None).await;
    for action in ["start", "pause", "resume", "cancel", "cancel"] {
        checker.admin(&format!("post /admin/v1/replays/{{id}}/{action}"), &id, None).await;
    }
    checker.admin("get /admin/v1/replays/{id}", &id, None).await;
    checker.admin("get /admin/v1/replays/{id}/items", &id, None).await;
}

async fn marketplace_operations(checker: &mut Checker<'_>, customer: &TestCustomer) {
    let (account, delivery) = (github::account(), github::delivery());
    let event = github::purchase("purchased", account, "Pro", &github::in_days(0));
    checker.check("post /webhooks/github", checker.app.deliver_github(&delivery, &event).await);
    checker.check("post /webhooks/github", checker.app.deliver_github_bytes(b"{}", &[]).await);
    checker.app.event_in_state(&delivery, "processed").await;
    let id = account.to_string();
    checker.admin("get /admin/v1/marketplace/accounts", "", None).await;
    checker.admin("get /admin/v1/marketplace/accounts/{github_account_id}", &id, None).await;
    checker.admin("post /admin/v1/marketplace/accounts/{github_account_id}/link-token", &id, None).await;
    let link = json!({ "customer_id": customer.id, "reason": "test" });
    checker.admin("post /admin/v1/marketplace/accounts/{github_account_id}/link", &id, Some(link)).await;
    let correction = json!({ "state": "cancelled", "reason": "test" });
    checker.admin("post /admin/v1/marketplace/accounts/{github_account_id}/state", &id, Some(correction)).await;
    checker.admin("post /admin/v1/marketplace/accounts/{github_account_id}/link-token", &id, None).await;
}

async fn price_operations(checker: &mut Checker<'_>) {
    let decide = "post /admin/v1/prices/{id}/decision";
    let ours = json!({ "decision": "ours", "price": "pro_monthly", "reason": "test" });
    checker.admin(decide, "price_1", Some(ours)).await;
    for (id, decision) in [("price_1", "ours"), ("price_2", "undecided")] {
        checker.admin(decide, id, Some(json!({ "decision": decision, "reason": "test" }))).await;
    }
    checker.admin(decide, "price_1", Some(json!({ "decision": "ours", "price": "gone", "reason": "test" }))).await;
    checker.admin("get /admin/v1/prices", "", None).await;
    checker.admin("get /admin/v1/prices/{id}", "price_1", None).await;
}

/// Needs an application with a Stripe.
async fn billing_operations(checker: &mut Checker<'_>, customer: &TestCustomer) {
    let attach = "post /api/v1/payment-methods";
    checker.call(customer, attach, "", Some(json!({ "payment_method": "pm_card_visa", "consent": false }))).await;
    let card = json!({ "payment_method": "pm_card_visa", "consent": true });
    let method = text(&checker.call(customer, attach, "", Some(card)).await["payment_method"]["id"]);
    checker.call(customer, "get /api/v1/payment-methods", "", None).await;
    checker.call(customer, "post /api/v1/payment-methods/{id}/default", &method, None).await;
    checker.call(customer, "get /api/v1/subscription", "", None).await;
    for _ in 0..2 {
        checker.call(customer, "post /api/v1/subscription", "", Some(json!({}))).await;
    }
    checker.call(customer, "get /api/v1/subscription", "", None).await;
    for when in ["now", "then"] {
        let change = json!({ "price": "pro_monthly", "when": when });
        checker.call(customer, "post /api/v1/subscription/preview", "", Some(change.clone())).await;
        checker.call(customer, "post /api/v1/subscription/change", "", Some(change)).await;
    }
    checker.call(customer, "delete /api/v1/payment-methods/{id}", &method, None).await;
    checker.call(customer, "delete /api/v1/subscription", "", None).await;
    checker.call(customer, "post /api/v1/subscription/resume", "", None).await;
    checker.call(customer, "delete /api/v1/subscription", "", None).await;
    checker.call(customer, "get /api/v1/invoices", "", None).await;
    checker.call(customer, "get /api/v1/plans", "", None).await;
    checker.call(customer, "delete /api/v1/payment-methods/{id}", &method, None).await;
    let operations = checker.call(customer, "get /api/v1/operations", "", None).await;
    let latest = text(&operations["data"][0]["id"]);
    checker.call(customer, "get /api/v1/operations/{id}", &latest, None).await;
    checker.call(customer, "post /api/v1/operations/{id}/cancel", &latest, None).await;
}

/// What limits purchases, and what is bought beside units.
async fn purchase_operations(checker: &mut Checker<'_>, customer: &TestCustomer) {
    checker.call(customer, "get /api/v1/packs", "", None).await;
    for purchase in [json!({ "pay_debt": true }), json!({ "pack": "none" }), json!({})] {
        checker.call(customer, "post /api/v1/credits/purchases", "", Some(purchase)).await;
    }
    checker.call(customer, "get /api/v1/spend-caps", "", None).await;
    for day in [10_000, -1] {
        checker.call(customer, "put /api/v1/spend-caps", "", Some(json!({ "day_minor": day }))).await;
    }
    checker.call(customer, "get /api/v1/credits/auto-top-up", "", None).await;
    for (threshold, target) in [(1, 2), (2, 1)] {
        let top_up = json!({ "enabled": false, "threshold": threshold, "target": target });
        checker.call(customer, "put /api/v1/credits/auto-top-up", "", Some(top_up)).await;
    }
    checker.admin("get /admin/v1/customers/{id}/auto-top-up", &customer.id, None).await;
    checker.admin("get /admin/v1/customers/{id}/spend-caps", &customer.id, None).await;
    let caps = json!({ "day_minor": 50_000, "month_minor": null, "reason": "test" });
    checker.admin("post /admin/v1/customers/{id}/spend-caps", &customer.id, Some(caps)).await;
}

/// Payments and accounts, as staff sees and changes them. Needs an application with a Stripe.
async fn money_operations(checker: &mut Checker<'_>, customer: &TestCustomer) {
    let card = json!({ "payment_method": "pm_card_visa", "consent": true });
    checker.call(customer, "post /api/v1/payment-methods", "", Some(card)).await;
    checker.call(customer, "post /api/v1/usage", "", Some(json!({ "units": 11 }))).await;
    let payments = checker.admin("get /admin/v1/payments", "", None).await;
    let id = text(&payments["data"][0]["id"]);
    for id in [&id, "op_1"] {
        checker.admin("get /admin/v1/payments/{id}", id, None).await;
    }
    for dry_run in [true, false, false] {
        let body = json!({ "dry_run": dry_run, "reason": "test" });
        checker.admin("post /admin/v1/payments/{id}/refund", &id, Some(body)).await;
    }
    checker.admin("get /admin/v1/invoices", "", None).await;
    checker.admin("get /admin/v1/operations", "", None).await;
    for (act, body) in [
        ("write-off", json!({ "reason": "test" })),
        ("credit-limit", json!({ "credits": 1, "reason": "test" })),
        ("credit-limit", json!({ "credits": -1, "reason": "test" })),
        ("suspend", json!({ "reason": "test" })),
        ("resume", json!({ "reason": " " })),
        ("confirmation-link", json!({ "reason": "test" })),
        ("confirm", json!({ "reason": "test" })),
    ] {
        checker.admin(&format!("post /admin/v1/customers/{{id}}/{act}"), &customer.id, Some(body)).await;
    }
    checker.call(customer, "post /api/v1/usage", "", Some(json!({ "units": 1 }))).await;
    checker.admin("post /admin/v1/customers/{id}/resume", &customer.id, Some(json!({ "reason": "test" }))).await;
}

/// Customers that staff makes, and their Stripe customers. Needs an application with a Stripe.
async fn link_operations(checker: &mut Checker<'_>) {
    let new = json!({ "email": "elsewhere@example.com", "name": "Elsewhere", "source": "direct" });
    let made = checker.admin("post /admin/v1/customers", "", Some(new.clone())).await;
    checker.admin("post /admin/v1/customers", "", Some(new)).await;
    let id = text(&made["customer"]["id"]);
    let own = wait::until("it has a Stripe customer", || async {
        let shown = checker.app.admin("GET", &format!("/admin/v1/customers/{id}"), None).await.body;
        shown["customer"]["stripe_customer_id"].as_str().map(str::to_owned)
    })
    .await;
    for stripe_customer in [own.as_str(), "cus_0"] {
        let link = json!({ "stripe_customer_id": stripe_customer, "reason": "test" });
        checker.admin("post /admin/v1/customers/{id}/stripe-link", &id, Some(link)).await;
    }
    for _ in 0..2 {
        checker.admin("post /admin/v1/customers/{id}/stripe-unlink", &id, Some(json!({ "reason": "test" }))).await;
    }
}

async fn catalogue_operations(checker: &mut Checker<'_>) {
    let catalogue = checker.admin("get /admin/v1/catalogue", "", None).await;
    checker.admin("get /admin/v1/catalogue/versions", "", None).await;
    for version in ["1", "9"] {
        checker.admin("get /admin/v1/catalogue/versions/{version}", version, None).await;
    }
    let text = text(&catalogue["catalogue"]);
    for catalogue in [text.replace("amount = 59900", "amount = 69900"), "entry = 1".to_owned()] {
        checker.admin("post /admin/v1/catalogue/plan", "", Some(json!({ "catalogue": catalogue }))).await;
        for expected_version in [9, 1] {
            let apply = json!({ "catalogue": catalogue, "reason": "test", "expected_version": expected_version });
            checker.admin("post /admin/v1/catalogue/apply", "", Some(apply)).await;
        }
    }
}

async fn reconciliation_operations(checker: &mut Checker<'_>) {
    let path = "post /admin/v1/stripe/reconciliations";
    let run = checker.admin(path, "", Some(json!({ "since_hours": 1, "repair": false }))).await;
    checker.admin(path, "", Some(json!({ "since_hours": -1 }))).await;
    let id = text(&run["reconciliation"]["id"]);
    checker.admin("get /admin/v1/stripe/reconciliations", "", None).await;
    checker.admin("get /admin/v1/stripe/reconciliations/{id}", &id, None).await;
    checker.admin("get /admin/v1/stripe/reconciliations/{id}/findings", &id, None).await;
}

async fn mail_operations(checker: &mut Checker<'_>, customer: &TestCustomer, reason: Value) {
    let path = format!("/admin/v1/mails?customer={}&state=stored", customer.id);
    let stored = wait::until("the welcome is stored", || async {
        let page = checker.app.admin("GET", &path, None).await.body;
        Some(text(page["data"].as_array()?.first()?.get("id")?))
    })
    .await;
    checker.admin("get /admin/v1/mails", "", None).await;
    checker.admin("get /admin/v1/customers/{id}/emails", &customer.id, None).await;
    checker.admin("get /admin/v1/mails/{id}", &stored, None).await;
    checker.admin("post /admin/v1/mails/{id}/resend", &stored, Some(reason.clone())).await;
    // A mail that may be sent again: low credit.
    let other = checker.app.onboard().await;
    checker.app.spend(&other, 5, "all").await.expect(200);
    let path = format!("/admin/v1/mails?customer={}&state=stored", other.id);
    let low = wait::until("the mail on low credits is stored", || async {
        let page = checker.app.admin("GET", &path, None).await.body;
        let mail = page["data"].as_array()?.iter().find(|mail| mail["template"] == "low_credit")?.clone();
        Some(text(&mail["id"]))
    })
    .await;
    checker.admin("post /admin/v1/mails/{id}/resend", &low, Some(reason)).await;
}

with_app! {
    async fn every_answer_matches_the_document(app: &TestApp) {
        let backend = if app.app.db.is_postgres() { Backend::Production } else { Backend::Embedded };
        let shop = Shop::open(backend).await;
        let mut checker =
            Checker { app, document: document(), problems: BTreeSet::new(), called: BTreeSet::new() };
        let customer = app.onboard().await;
        for path in ["/health", "/health/live", "/health/ready"] {
            let answer = app.request("GET", path, &[], None).await;
            checker.check(&format!("get {path}"), answer);
        }
        let event = stripe::event("invoice.paid", &stripe::pro_invoice("cus_1", Some(&customer.id)));
        checker.check("post /webhooks/stripe", app.deliver(&event).await);
        checker.check("post /webhooks/stripe", app.deliver_signed(b"{}", None).await);
        app.event_in_state(stripe::id(&event), "processed").await;
        customer_operations(&mut checker, &customer).await;
        admin_operations(&mut checker, &customer, stripe::id(&event)).await;
        marketplace_operations(&mut checker, &customer).await;
        price_operations(&mut checker).await;
        reconciliation_operations(&mut checker).await;
        catalogue_operations(&mut checker).await;
        checker.app = &shop.app;
        billing_operations(&mut checker, &shop.app.onboard().await).await;
        let buyer = shop.app.onboard().await;
        money_operations(&mut checker, &buyer).await;
        purchase_operations(&mut checker, &buyer).await;
        link_operations(&mut checker).await;
        let all: BTreeSet<String> = openapi::operations(&document()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(checker.called, all, "every operation is called");
        assert!(checker.problems.is_empty(), "{:#?}", checker.problems);
        shop.close().await;
    }
}
