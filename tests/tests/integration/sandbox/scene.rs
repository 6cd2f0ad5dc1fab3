//! A sandbox with every kind of object that Bursar reads.

use bursar_sandbox::version::Version;
use bursar_sandbox::{Options, Sandbox};
use serde_json::Value;

pub(super) struct Stripe {
    sandbox: Sandbox,
    http: reqwest::Client,
}

/// The ids of the created objects.
pub(super) struct Made {
    pub(super) customer: String,
    pub(super) method: String,
    pub(super) price: String,
    pub(super) subscription: String,
    pub(super) invoice: String,
    pub(super) intent: String,
    pub(super) charge: String,
    pub(super) refund: String,
    pub(super) dispute: String,
    pub(super) credit_note: String,
    pub(super) session: String,
}

pub(super) fn id(object: &Value) -> String {
    object["id"].as_str().unwrap_or_else(|| panic!("an id in {object}")).to_owned()
}

impl Stripe {
    pub(super) async fn start(options: Options) -> Self {
        Self { sandbox: Sandbox::start(options).await.unwrap(), http: reqwest::Client::new() }
    }

    pub(super) fn url(&self) -> String {
        self.sandbox.url().to_owned()
    }

    /// Reads an object in a version.
    pub(super) async fn get(&self, path: &str, version: Version) -> Value {
        let request = self.http.get(format!("{}{path}", self.url())).bearer_auth("sk_test_scene");
        let answer = request.header("Stripe-Version", version.as_str()).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path} at {version}");
        answer.json().await.unwrap()
    }

    /// Makes a call that may be declined.
    pub(super) async fn try_post(&self, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(format!("{}{path}", self.url())).bearer_auth("sk_test_scene");
        let request = request.header("Content-Type", "application/x-www-form-urlencoded").body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub(super) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let (status, body) = self.try_post(path, form).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// All events, latest first.
    pub(super) async fn events(&self) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let after = events.last().map(|event| format!("&starting_after={}", id(event))).unwrap_or_default();
            let page = self.get(&format!("/v1/events?limit=100{after}"), Version::newest()).await;
            events.extend(page["data"].as_array().unwrap().iter().cloned());
            if page["has_more"] != true {
                return events;
            }
        }
    }

    /// A subscription, payments that succeed, fail, are refunded and disputed, a checkout.
    pub(super) async fn everything(&self) -> Made {
        let customer =
            id(&self.post("/v1/customers", &[("email", "ada@example.com"), ("metadata[plan]", "pro")]).await);
        let of_customer = [("customer", customer.as_str())];
        let method = id(&self.post("/v1/payment_methods/pm_card_visa/attach", &of_customer).await);
        let default = [("invoice_settings[default_payment_method]", method.as_str())];
        self.post(&format!("/v1/customers/{customer}"), &default).await;
        let product = id(&self.post("/v1/products", &[("name", "Pro of this scene")]).await);
        let price = [
            ("product", product.as_str()),
            ("currency", "usd"),
            ("unit_amount", "59900"),
            ("recurring[interval]", "month"),
            ("lookup_key", "pro_monthly"),
            ("transfer_lookup_key", "true"),
        ];
        let price = id(&self.post("/v1/prices", &price).await);
        let (subscription, invoice) = self.subscribe(&customer, &price).await;
        let (intent, charge) = self.pay(&customer, &method).await;
        let refund = id(&self.post("/v1/refunds", &[("charge", charge.as_str()), ("amount", "900")]).await);
        let note = [("invoice", invoice.as_str()), ("refund_amount", "900")];
        let credit_note = id(&self.post("/v1/credit_notes", &note).await);
        self.fail(&customer).await;
        let dispute = self.dispute(&customer).await;
        let session = self.check_out(&customer, &price).await;
        Made { customer, method, price, subscription, invoice, intent, charge, refund, dispute, credit_note, session }
    }

    async fn subscribe(&self, customer: &str, price: &str) -> (String, String) {
        let form = [("customer", customer), ("items[0][price]", price), ("metadata[plan]", "pro")];
        let subscription = self.post("/v1/subscriptions", &form).await;
        let invoice = subscription["latest_invoice"].as_str().unwrap().to_owned();
        let subscription = id(&subscription);
        let end = [("cancel_at_period_end", "true")];
        self.post(&format!("/v1/subscriptions/{subscription}"), &end).await;
        (subscription, invoice)
    }

    async fn pay(&self, customer: &str, method: &str) -> (String, String) {
        let form = [
            ("amount", "2900"),
            ("currency", "usd"),
            ("customer", customer),
            ("payment_method", method),
            ("off_session", "true"),
            ("confirm", "true"),
            ("metadata[operation]", "op_1"),
        ];
        let intent = self.post("/v1/payment_intents", &form).await;
        (id(&intent), intent["latest_charge"].as_str().unwrap().to_owned())
    }

    async fn fail(&self, customer: &str) {
        let form = [
            ("amount", "2900"),
            ("currency", "usd"),
            ("customer", customer),
            ("payment_method", "pm_card_chargeDeclined"),
            ("confirm", "true"),
            ("payment_method_types[]", "card"),
        ];
        assert_eq!(self.try_post("/v1/payment_intents", &form).await.0, 402);
    }

    async fn dispute(&self, customer: &str) -> String {
        let form = [
            ("amount", "1500"),
            ("currency", "usd"),
            ("customer", customer),
            ("payment_method", "pm_card_createDispute"),
            ("confirm", "true"),
            ("payment_method_types[]", "card"),
        ];
        let intent = id(&self.post("/v1/payment_intents", &form).await);
        let disputes = self.get(&format!("/v1/disputes?payment_intent={intent}"), Version::newest()).await;
        id(&disputes["data"][0])
    }

    async fn check_out(&self, customer: &str, price: &str) -> String {
        let form = [
            ("customer", customer),
            ("mode", "subscription"),
            ("line_items[0][price]", price),
            ("line_items[0][quantity]", "1"),
            ("client_reference_id", "ref_1"),
            ("success_url", "https://example.com/done"),
        ];
        let session = id(&self.post("/v1/checkout/sessions", &form).await);
        let card = [("type", "card"), ("card[token]", "tok_visa")];
        let method = id(&self.post("/v1/payment_methods", &card).await);
        self.post(&format!("/v1/payment_pages/{session}/confirm"), &[("payment_method", method.as_str())]).await;
        session
    }
}
