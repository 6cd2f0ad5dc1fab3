//! Answers, and expectations of them.

use serde_json::Value;

/// Why a step failed: what was expected, and what was there instead.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What was expected.
    pub expected: String,
    /// What the server answered instead.
    pub got: String,
}

impl Failure {
    /// Creates a failure from the expectation and the actual value.
    pub fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { expected: expected.into(), got: got.into() }
    }
}

/// The result of a check or a request in a step.
pub type Expected<T = ()> = std::result::Result<T, Failure>;

/// An answer of the server.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The request, such as `POST /api/v1/usage`.
    pub request: String,
    /// The status.
    pub status: u16,
    /// The body as JSON; null if it is not JSON.
    pub body: Value,
    /// The seconds in the Retry-After header.
    pub retry_after_s: Option<u64>,
}

impl Answer {
    /// Expects this status.
    pub fn status(self, status: u16) -> Expected<Self> {
        if self.status == status {
            return Ok(self);
        }
        Err(Failure::new(format!("{}: status {status}", self.request), self.summary()))
    }

    /// Expects a problem document with this status and code.
    pub fn problem(self, status: u16, code: &str) -> Expected<Self> {
        if self.status == status && self.body["code"] == code {
            return Ok(self);
        }
        Err(Failure::new(format!("{}: status {status} with the code {code}", self.request), self.summary()))
    }

    /// Expects this value at a JSON pointer, such as `/customer/plan`.
    pub fn has(self, pointer: &str, expected: impl Into<Value>) -> Expected<Self> {
        let expected = expected.into();
        let got = self.at(pointer);
        if *got == expected {
            return Ok(self);
        }
        Err(Failure::new(format!("{}: {pointer} is {expected}", self.request), got.to_string()))
    }

    /// Expects a text that contains `part` at a JSON pointer.
    pub fn contains_text(self, pointer: &str, part: &str) -> Expected<Self> {
        let got = self.at(pointer);
        if got.as_str().is_some_and(|text| text.contains(part)) {
            return Ok(self);
        }
        Err(Failure::new(format!("{}: {pointer} contains {part:?}", self.request), got.to_string()))
    }

    /// The text at a JSON pointer.
    pub fn text(&self, pointer: &str) -> Expected<String> {
        let got = self.at(pointer);
        let text = got.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        text.ok_or_else(|| Failure::new(format!("{}: {pointer} is a text", self.request), got.to_string()))
    }

    /// The whole number at a JSON pointer.
    pub fn number(&self, pointer: &str) -> Expected<i64> {
        let got = self.at(pointer);
        got.as_i64().ok_or_else(|| Failure::new(format!("{}: {pointer} is a number", self.request), got.to_string()))
    }

    /// The rows at a JSON pointer.
    pub fn rows(&self, pointer: &str) -> Expected<&Vec<Value>> {
        let got = self.at(pointer);
        got.as_array().ok_or_else(|| Failure::new(format!("{}: {pointer} is a list", self.request), got.to_string()))
    }

    /// The value at a JSON pointer; null if there is none.
    pub fn at(&self, pointer: &str) -> &Value {
        self.body.pointer(pointer).unwrap_or(&Value::Null)
    }

    fn summary(&self) -> String {
        match self.body["code"].as_str() {
            Some(code) => format!("status {} with the code {code}", self.status),
            None => format!("status {}", self.status),
        }
    }
}

/// Expects two values to be equal.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, expected: &T) -> Expected {
    if got == expected {
        return Ok(());
    }
    Err(Failure::new(format!("{what}: {expected:?}"), format!("{got:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_failure_names_the_request_the_field_and_the_actual_value() {
        let answer = Answer {
            request: "POST /api/v1/usage".to_owned(),
            status: 402,
            body: json!({ "code": "insufficient_credits", "available": 1 }),
            retry_after_s: None,
        };
        let failure = answer.clone().status(200).expect_err("it is 402");
        assert_eq!(failure.expected, "POST /api/v1/usage: status 200");
        assert_eq!(failure.got, "status 402 with the code insufficient_credits");
        let failure = answer.clone().has("/available", 0).expect_err("it is 1");
        assert_eq!((failure.expected.as_str(), failure.got.as_str()), ("POST /api/v1/usage: /available is 0", "1"));
        assert!(answer.problem(402, "insufficient_credits").and_then(|answer| answer.has("/available", 1)).is_ok());
    }
}
