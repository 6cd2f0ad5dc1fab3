//! A client that retries each request, on any node, until it has a definite answer.

use super::tally::Tally;
use crate::app::ADMIN_TOKEN;
use anyhow::{Context, Result, bail};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Timeout of a request: longer than the server's own limit for a command.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);
/// The wait before the first retry. It doubles with each further one.
const RETRY_FIRST_MS: u64 = 50;
/// The longest wait between two tries.
const RETRY_MAX_MS: u64 = 1_000;
/// Maximum number of attempts to read a result after the run. All servers are up by then, so a few are enough.
const READ_ATTEMPTS_MAX: usize = 10;

/// Makes requests. Cheap to clone.
#[derive(Clone)]
pub struct Caller {
    client: Client,
    bases: Arc<[String]>,
    tally: Arc<Tally>,
    /// Milliseconds from `created` after which no request is retried.
    deadline_ms: Arc<AtomicU64>,
    created: Instant,
}

/// An answer from which it follows whether the request was executed.
#[derive(Debug, Clone)]
pub struct DefiniteAnswer {
    /// The status: 2xx, or 4xx other than 429.
    pub status: u16,
    /// The body; null if it is no JSON.
    pub body: Value,
    /// Whether an earlier try of this request may have been executed.
    pub in_doubt: bool,
}

impl DefiniteAnswer {
    /// Whether the server executed the request.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The problem's stable code.
    pub fn code(&self) -> String {
        self.body["code"].as_str().map_or_else(|| format!("status {}", self.status), str::to_owned)
    }
}

enum Try {
    Answered(u16, Value),
    /// The request was not executed.
    Refused,
    /// The request may have been executed.
    Lost,
}

impl Caller {
    /// Creates a caller of these nodes, which gives up after `patience`.
    pub fn new(bases: Vec<String>, tally: Arc<Tally>, patience: Duration) -> Result<Self> {
        // Fails only if a provider is already installed; then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(REQUEST_LIMIT).no_proxy().build().context("no HTTP client")?;
        let caller = Self { client, bases: bases.into(), tally, deadline_ms: Arc::default(), created: Instant::now() };
        caller.set_patience(patience);
        Ok(caller)
    }

    /// Stops retrying when this much time has passed from now.
    pub fn set_patience(&self, patience: Duration) {
        let deadline = self.created.elapsed() + patience;
        self.deadline_ms.store(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The HTTP client, for requests that are not retried.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Makes a request until it has a definite answer; `make` gets the address of a node. Returns `None` if it has
    /// none in time; the request may have been executed then.
    pub async fn until_definite(&self, make: impl Fn(&Client, &str) -> RequestBuilder) -> Option<DefiniteAnswer> {
        let mut wait_ms = RETRY_FIRST_MS;
        let mut in_doubt = false;
        let mut at = rand::random_range(0..self.bases.len().max(1));
        loop {
            match self.once(make(&self.client, &self.bases[at % self.bases.len()])).await {
                Try::Answered(status, body) => return Some(DefiniteAnswer { status, body, in_doubt }),
                Try::Refused => {}
                Try::Lost => in_doubt = true,
            }
            let now_ms = u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX);
            if now_ms >= self.deadline_ms.load(Ordering::Relaxed) {
                return None;
            }
            self.tally.retried.up();
            tokio::time::sleep(Duration::from_millis(rand::random_range(wait_ms / 2..=wait_ms))).await;
            wait_ms = (wait_ms * 2).min(RETRY_MAX_MS);
            at += 1;
        }
    }

    async fn once(&self, request: RequestBuilder) -> Try {
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Try::Refused,
            Err(_) => return Try::Lost,
        };
        match response.status().as_u16() {
            429 => Try::Refused,
            500.. => Try::Lost,
            // A truncated answer comes from a node that was killed.
            status => match response.bytes().await {
                Ok(bytes) => Try::Answered(status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)),
                Err(_) => Try::Lost,
            },
        }
    }

    /// Makes a request as a customer under an idempotency key.
    pub async fn customer(&self, api_key: &str, path: &str, key: &str, body: Option<&Value>) -> Option<DefiniteAnswer> {
        self.until_definite(|client, base| {
            let request = client.post(format!("{base}{path}")).header("x-api-key", api_key);
            let request = request.header("Idempotency-Key", key);
            if let Some(body) = body { request.json(body) } else { request }
        })
        .await
    }

    /// Makes a request as staff under an idempotency key.
    pub async fn staff(&self, path: &str, key: &str, body: &Value) -> Option<DefiniteAnswer> {
        self.until_definite(|client, base| {
            let request = client.post(format!("{base}{path}")).bearer_auth(ADMIN_TOKEN);
            request.header("Idempotency-Key", key).json(body)
        })
        .await
    }

    /// Reads a resource as staff; null if there is none.
    ///
    /// # Errors
    /// If no node answers, or with another status than 200 and 404.
    pub async fn get_as_staff(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let mut last = String::new();
        for at in 0..READ_ATTEMPTS_MAX {
            let base = &self.bases[at % self.bases.len()];
            let request = self.client.request(Method::GET, format!("{base}{path}"));
            match self.once(request.bearer_auth(ADMIN_TOKEN).query(query)).await {
                Try::Answered(200, body) => return Ok(body),
                Try::Answered(404, _) => return Ok(Value::Null),
                Try::Answered(status, body) => last = format!("{status} {body}"),
                Try::Refused | Try::Lost => "no answer".clone_into(&mut last),
            }
            tokio::time::sleep(Duration::from_millis(RETRY_MAX_MS / 4)).await;
        }
        bail!("GET {path} {query:?}: {last}")
    }

    /// Reads all pages of a list as staff.
    ///
    /// # Errors
    /// Those of [`Caller::get_as_staff`], and if the list has too many pages.
    pub async fn list_as_staff(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>> {
        const PAGES_MAX: usize = 20_000;
        let mut rows = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut query = query.to_vec();
            query.push(("limit", "100"));
            if let Some(cursor) = &cursor {
                query.push(("cursor", cursor));
            }
            let mut page = self.get_as_staff(path, &query).await?;
            match page["data"].take() {
                Value::Array(data) => rows.extend(data),
                _ => bail!("GET {path}: there is no list in the answer"),
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(rows),
            }
        }
        bail!("GET {path}: the list has more than {PAGES_MAX} pages")
    }
}
