//! The HTTP client of a server.

use super::Cli;
use super::connection::Secret;
use super::error::Error;
use anyhow::Context;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::io;
use std::time::Duration;

/// How long a request may take, in seconds.
pub const TIMEOUT_S: u64 = 30;
/// How long connecting may take, in seconds.
const CONNECT_TIMEOUT_S: u64 = 10;
/// How long the download of a file may take, in seconds.
const FILE_TIMEOUT_S: u64 = 15 * 60;
/// The longest answer that is read, in bytes.
const ANSWER_LEN_MAX: usize = 32 * 1_024 * 1_024;

/// An answer with any status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body, with invalid UTF-8 replaced.
    pub body: String,
}

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<Secret>,
}

impl Client {
    /// Creates a client with an admin token.
    ///
    /// # Errors
    /// The URL is wrong, or there is no token.
    pub fn new(cli: &Cli) -> anyhow::Result<Self> {
        let token = cli.connection.admin_token(cli.config.as_deref())?;
        Ok(Self { token: Some(token), ..Self::anonymous(cli)? })
    }

    /// Creates a client without a token.
    ///
    /// # Errors
    /// The URL is wrong.
    pub fn anonymous(cli: &Cli) -> anyhow::Result<Self> {
        let base = cli.connection.base(cli.config.as_deref())?;
        // A redirect would lose the body of a POST, and would send the token to another server.
        let mut http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(CONNECT_TIMEOUT_S))
            .timeout(Duration::from_secs(TIMEOUT_S))
            .user_agent(concat!("bursar/", env!("CARGO_PKG_VERSION")));
        if base.starts_with("http:") {
            // Without this, building fails on machines that have no certificates at all.
            http = http.tls_certs_only([]);
        }
        Ok(Self { http: http.build().context("cannot make an HTTP client")?, base, token: None })
    }

    /// The server's URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a GET request.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Error> {
        let request = self.request(Method::GET, path).query(query);
        self.document(self.send(request).await?)
    }

    /// Sends a GET request and passes the body to `write` in chunks, until `write` returns false.
    ///
    /// # Errors
    /// See [`Error`]; or an error of `write`.
    pub async fn get_chunks(
        &self,
        path: &str,
        query: &[(&str, String)],
        mut write: impl FnMut(&[u8]) -> io::Result<bool>,
    ) -> anyhow::Result<()> {
        let failed = |error: reqwest::Error| Error::from_transport(&self.base, FILE_TIMEOUT_S, &error);
        let request = self.request(Method::GET, path).query(query).timeout(Duration::from_secs(FILE_TIMEOUT_S));
        let mut response = request.send().await.map_err(failed)?;
        if !response.status().is_success() {
            let answer = self.read(response, FILE_TIMEOUT_S).await?;
            return Err(Error::from_answer(answer.status, &answer.body).into());
        }
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if !write(&chunk)? {
                break;
            }
        }
        Ok(())
    }

    /// Sends a POST request.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.post_with_key(path, body, None).await
    }

    /// Sends a POST request with an idempotency key.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post_with_key(&self, path: &str, body: &Value, key: Option<&str>) -> Result<Value, Error> {
        let mut request = self.request(Method::POST, path).json(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        self.document(self.send(request).await?)
    }

    /// Posts bytes with these headers only.
    ///
    /// # Errors
    /// See [`Error`]; an answer of any status is no error.
    pub async fn post_bytes(&self, path: &str, body: Vec<u8>, headers: &[(&str, &str)]) -> Result<Answer, Error> {
        let request = self.http.post(format!("{}{path}", self.base)).body(body);
        self.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, Error> {
        let failed = |error: reqwest::Error| Error::from_transport(&self.base, TIMEOUT_S, &error);
        self.read(request.send().await.map_err(failed)?, TIMEOUT_S).await
    }

    async fn read(&self, mut response: reqwest::Response, timeout_s: u64) -> Result<Answer, Error> {
        let failed = |error: reqwest::Error| Error::from_transport(&self.base, timeout_s, &error);
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_LEN_MAX {
                return Err(self.unreadable(format!("the answer is longer than {ANSWER_LEN_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    fn document(&self, answer: Answer) -> Result<Value, Error> {
        if !answer.status.is_success() {
            return Err(Error::from_answer(answer.status, &answer.body));
        }
        if answer.body.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&answer.body).map_err(|error| self.unreadable(format!("the answer is not JSON: {error}")))
    }

    fn unreadable(&self, reason: String) -> Error {
        Error::Unreadable { url: self.base.clone(), reason }
    }
}

/// Builds a path of the admin API, percent-encoding each part.
///
/// # Errors
/// A usage error if a part is empty, `.` or `..`.
pub fn admin_path(parts: &[&str]) -> anyhow::Result<String> {
    let mut path = "/admin/v1".to_owned();
    for part in parts {
        if matches!(*part, "" | "." | "..") {
            return Err(super::usage(format!("'{part}' is not an identifier")));
        }
        path.push('/');
        for byte in part.bytes() {
            // The unreserved characters of RFC 3986, section 2.3.
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                path.push(char::from(byte));
            } else {
                path.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_one_part_of_the_path() {
        let path = admin_path(&["streams", "stripe:cus_1/../x?y#z ü", "pause"]).expect("valid");
        assert_eq!(path, "/admin/v1/streams/stripe%3Acus_1%2F..%2Fx%3Fy%23z%20%C3%BC/pause");
    }

    #[test]
    fn empty_parts_and_dots_are_refused() {
        for part in ["", ".", ".."] {
            assert!(admin_path(&["customers", part]).is_err(), "{part}");
        }
    }
}
