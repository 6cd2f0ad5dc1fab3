//! Reads of Stripe for a preflight: each is tried once, and keeps what the gateway has no use for, the status and the
//! headers.

use super::error::StripeError;
use super::gateway::{ANSWER_LEN_MAX, GatewayOptions};
use super::path;
use crate::error::{Error, Result};
use reqwest::Url;
use reqwest::header::{DATE, HeaderMap};
use serde_json::Value;
use std::time::Duration;

/// The header that names an API version.
const VERSION_HEADER: &str = "Stripe-Version";

/// An answer of Stripe.
#[derive(Debug, Clone, PartialEq)]
pub struct Probed {
    /// The status.
    pub status: u16,
    /// The body; null if it is not JSON.
    pub body: Value,
    /// Stripe's time, in seconds, by its header `Date`.
    pub date_s: Option<i64>,
    /// The API version in which it answered.
    pub version: Option<String>,
}

impl Probed {
    /// Stripe's own message about an answer without success.
    pub fn problem(&self) -> String {
        match self.body["error"]["message"].as_str() {
            Some(message) => message.chars().filter(|c| !c.is_control()).collect(),
            None => format!("status {}", self.status),
        }
    }
}

/// Asks Stripe. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Probe {
    http: reqwest::Client,
    base: String,
    key: SecretText,
}

/// A text that `Debug` does not show.
#[derive(Clone)]
struct SecretText(String);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(…)")
    }
}

impl Probe {
    /// Creates a probe, which connects at its first question and waits for `limit` at most, whatever is configured.
    ///
    /// # Errors
    /// `Config` if the client cannot be set up.
    pub fn new(options: &GatewayOptions, limit: Duration) -> Result<Self> {
        // The process uses one TLS provider; setting it again fails and changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(concat!("bursar/", env!("CARGO_PKG_VERSION")))
            .timeout(Duration::from_millis(options.timeout_ms).min(limit))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Error::Config(vec![format!("the Stripe client cannot be set up: {error}")]))?;
        let base = options.api_base.trim_end_matches('/').to_owned();
        Ok(Self { http, base, key: SecretText(options.secret_key.clone()) })
    }

    /// The API version of Bursar's own calls.
    pub fn calls_version() -> &'static str {
        stripe_client_core::VERSION.as_str()
    }

    /// Reads a path below `/v1`, such as `/prices`, in the version of Bursar's own calls.
    ///
    /// # Errors
    /// [`StripeError`] if Stripe cannot be reached. Whatever it answers is no error.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Probed, StripeError> {
        self.ask(path, query, Some(Self::calls_version())).await
    }

    /// The same in the version of the account.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_in_account_version(&self, path: &str, query: &[(&str, &str)]) -> Result<Probed, StripeError> {
        self.ask(path, query, None).await
    }

    async fn ask(&self, path: &str, query: &[(&str, &str)], version: Option<&str>) -> Result<Probed, StripeError> {
        path::check(path)?;
        let not_done = |reason: String| StripeError::NotDone { reason };
        let mut url = Url::parse(&format!("{}/v1{path}", self.base)).map_err(|error| not_done(error.to_string()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.get(url).bearer_auth(&self.key.0);
        if let Some(version) = version {
            request = request.header(VERSION_HEADER, version);
        }
        let mut response = request.send().await.map_err(|error| not_done(reason(error)))?;
        let status = response.status().as_u16();
        let (date_s, version) = (date_s(response.headers()), text(response.headers(), VERSION_HEADER));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| not_done(reason(error)))? {
            if body.len() + chunk.len() > ANSWER_LEN_MAX {
                return Err(not_done(format!("the answer is larger than {ANSWER_LEN_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Probed { status, body: serde_json::from_slice(&body).unwrap_or_default(), date_s, version })
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// The time in the header `Date`. Source: RFC 9110, section 5.6.7.
fn date_s(headers: &HeaderMap) -> Option<i64> {
    let date = headers.get(DATE)?.to_str().ok()?;
    chrono::DateTime::parse_from_rfc2822(date).ok().map(|at| at.timestamp())
}

/// Why there is no answer. The address is left out: an object's id may be in it.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = if error.is_timeout() { "no answer in time".to_owned() } else { error.to_string() };
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn the_time_in_an_answers_header_is_read() {
        let of = |text: &'static str| date_s(&HeaderMap::from_iter([(DATE, HeaderValue::from_static(text))]));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(of("yesterday"), None);
        assert_eq!(date_s(&HeaderMap::new()), None);
    }

    #[test]
    fn debug_does_not_show_the_key() {
        assert!(!format!("{:?}", SecretText("sk_live_x".to_owned())).contains("sk_live"));
    }
}
