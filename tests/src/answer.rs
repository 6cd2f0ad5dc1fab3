//! Answers of the application under test.

use serde_json::Value;

/// An HTTP answer whose body has been read.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The body as JSON; null if it is not JSON.
    pub body: Value,
    /// The Content-Type header; empty if there is none.
    pub content_type: String,
    /// The Retry-After header.
    pub retry_after: Option<String>,
}

impl Answer {
    pub(crate) async fn read(response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let content_type = header("content-type").unwrap_or_default();
        let retry_after = header("retry-after");
        let bytes = response.bytes().await.expect("the body arrives");
        Self { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null), content_type, retry_after }
    }

    /// The stable code of a problem document.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// Asserts the status and returns the body.
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// Asserts that this is a problem document with this status and code.
    pub fn expect_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.body);
        assert_eq!(self.content_type, "application/problem+json");
    }
}
