//! A plain client of the sandbox.

use bursar_sandbox::{Options, Sandbox};
use serde_json::Value;

pub struct Client {
    pub sandbox: Sandbox,
    http: reqwest::Client,
    url: String,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn id(&self) -> String {
        text(&self.body, "id")
    }

    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

pub fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is a text in {value}")).to_owned()
}

impl Client {
    pub async fn start() -> Self {
        Self::with(Options { seed: Some(1), ..Options::default() }).await
    }

    pub async fn with(options: Options) -> Self {
        let sandbox = Sandbox::start(options).await.expect("a sandbox");
        let url = sandbox.url().to_owned();
        Self { sandbox, http: reqwest::Client::new(), url }
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        form: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Result<Answer, reqwest::Error> {
        let encoded: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let method: reqwest::Method = method.parse().expect("a method");
        let mut request = if method == reqwest::Method::POST {
            let request = self.http.request(method, format!("{}{path}", self.url)).body(encoded);
            request.header("Content-Type", "application/x-www-form-urlencoded")
        } else {
            self.http.request(method, format!("{}{path}?{encoded}", self.url))
        };
        if !headers.iter().any(|(name, _)| *name == "Authorization") {
            request = request.header("Authorization", "Bearer sk_test_1");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?;
        Ok(Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() })
    }

    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.send("POST", path, form, &[]).await.expect("an answer")
    }

    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Answer {
        self.send("GET", path, query, &[]).await.expect("an answer")
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], &[]).await.expect("an answer")
    }

    pub async fn keyed(&self, key: &str, path: &str, form: &[(&str, &str)]) -> Answer {
        self.send("POST", path, form, &[("Idempotency-Key", key)]).await.expect("an answer")
    }

    /// Makes a call to the control API.
    pub async fn command(&self, method: &str, command: &str, body: &Value) -> Answer {
        let url = format!("{}/sandbox/v1/{command}", self.url);
        let method: reqwest::Method = method.parse().expect("a method");
        let request = self.http.request(method, url).bearer_auth(self.sandbox.control_token().reveal());
        let response = request.body(body.to_string()).send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.expect("a body");
        Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() }
    }

    /// Creates a customer with a payment method. Returns both ids.
    pub async fn customer_with(&self, method: &str) -> (String, String) {
        let customer = self.post("/v1/customers", &[("email", "ada@example.com")]).await.id();
        let path = format!("/v1/payment_methods/{method}/attach");
        let attached = self.post(&path, &[("customer", &customer)]).await;
        assert_eq!(attached.status, 200, "{}", attached.body);
        (customer, attached.id())
    }

    /// An off-session payment, as a billing engine makes it.
    pub async fn pay(&self, (customer, method): (&str, &str), more: &[(&str, &str)]) -> Answer {
        let mut form = vec![
            ("amount", "2900"),
            ("currency", "usd"),
            ("customer", customer),
            ("payment_method", method),
            ("confirm", "true"),
        ];
        form.extend(more);
        self.post("/v1/payment_intents", &form).await
    }

    /// The id of the permanent price.
    pub async fn pro(&self) -> String {
        let found = self.get("/v1/prices", &[("lookup_keys[0]", "pro_monthly"), ("active", "true")]).await;
        text(&found.body["data"][0], "id")
    }

    /// Subscribes a new customer with a payment method to Pro.
    pub async fn subscribe(&self, method: &str, more: &[(&str, &str)]) -> Answer {
        let (customer, method) = self.customer_with(method).await;
        let price = self.pro().await;
        let mut form = vec![
            ("customer", customer.as_str()),
            ("items[0][price]", price.as_str()),
            ("default_payment_method", method.as_str()),
            ("expand[0]", "latest_invoice.payments"),
        ];
        form.extend(more);
        self.post("/v1/subscriptions", &form).await
    }

    /// The types of all events about an object, oldest first.
    pub fn event_types(&self, id: &str) -> Vec<String> {
        let events = self.sandbox.list("event");
        let about = events.iter().filter(|event| event["data"]["object"]["id"] == id);
        about.map(|event| text(event, "type")).collect()
    }
}
