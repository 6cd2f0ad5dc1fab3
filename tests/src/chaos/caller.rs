//! Requests as a careful client makes them: the same one again, on any node, until there is a
//! definite answer.

use super::tally::Tally;
use crate::app::ADMIN_TOKEN;
use anyhow::{Context, Result, bail};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long one request may take: longer than the server's own limit for a command.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);
/// Wait before the second try, and the longest wait; the wait doubles in between.
const RETRY_MS: (u64, u64) = (50, 1_000);
/// Tries of a request that looks at results. All servers are up by then.
const LOOK_TRIES_MAX: usize = 10;

/// Makes requests. Cheap to clone.
#[derive(Clone)]
pub struct Caller {
    client: Client,
    bases: Arc<[String]>,
    tally: Arc<Tally>,
    /// Milliseconds from `created` after which nothing is tried again.
    deadline_ms: Arc<AtomicU64>,
    created: Instant,
}

/// A definite answer.
#[derive(Debug, Clone)]
pub struct Definite {
    /// The status: 2xx, or 4xx other than 429.
    pub status: u16,
    /// The body; null if it is no JSON.
    pub body: Value,
    /// An earlier try of this request may have done something without our knowing.
    pub doubt: bool,
}

impl Definite {
    /// Whether the server did it.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The stable code of a refusal.
    pub fn code(&self) -> String {
        self.body["code"].as_str().map_or_else(|| format!("status {}", self.status), str::to_owned)
    }
}

enum Try {
    Answered(u16, Value),
    /// Nothing was done.
    Refused,
    /// It may have been done.
    Lost,
}

impl Caller {
    /// A caller of these nodes, which gives up after `patience`.
    pub fn new(bases: Vec<String>, tally: Arc<Tally>, patience: Duration) -> Result<Self> {
        // Only fails if a provider is installed already, which then serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(REQUEST_LIMIT).no_proxy().build().context("no HTTP client")?;
        let caller = Self { client, bases: bases.into(), tally, deadline_ms: Arc::default(), created: Instant::now() };
        caller.patience(patience);
        Ok(caller)
    }

    /// From now on, nothing is tried again after this time from now.
    pub fn patience(&self, patience: Duration) {
        let deadline = self.created.elapsed() + patience;
        self.deadline_ms.store(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The HTTP client, for requests that are not repeated.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Makes a request until there is a definite answer; `make` is given the address of a node.
    /// Nothing if there is none in time; then nobody knows whether it was done.
    pub async fn until_definite(&self, make: impl Fn(&Client, &str) -> RequestBuilder) -> Option<Definite> {
        let mut wait_ms = RETRY_MS.0;
        let mut doubt = false;
        let mut at = rand::random_range(0..self.bases.len().max(1));
        loop {
            match self.once(make(&self.client, &self.bases[at % self.bases.len()])).await {
                Try::Answered(status, body) => return Some(Definite { status, body, doubt }),
                Try::Refused => {}
                Try::Lost => doubt = true,
            }
            let now_ms = u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX);
            if now_ms >= self.deadline_ms.load(Ordering::Relaxed) {
                return None;
            }
            self.tally.retried.up();
            tokio::time::sleep(Duration::from_millis(rand::random_range(wait_ms / 2..=wait_ms))).await;
            wait_ms = (wait_ms * 2).min(RETRY_MS.1);
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
            // An answer that breaks off was sent by a node that is no more.
            status => match response.bytes().await {
                Ok(bytes) => Try::Answered(status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)),
                Err(_) => Try::Lost,
            },
        }
    }

    /// A request of a customer under an idempotency key.
    pub async fn customer(&self, api_key: &str, path: &str, key: &str, body: Option<&Value>) -> Option<Definite> {
        self.until_definite(|client, base| {
            let request = client.post(format!("{base}{path}")).header("x-api-key", api_key);
            let request = request.header("Idempotency-Key", key);
            if let Some(body) = body { request.json(body) } else { request }
        })
        .await
    }

    /// A request of staff under an idempotency key.
    pub async fn staff(&self, path: &str, key: &str, body: &Value) -> Option<Definite> {
        self.until_definite(|client, base| {
            let request = client.post(format!("{base}{path}")).bearer_auth(ADMIN_TOKEN);
            request.header("Idempotency-Key", key).json(body)
        })
        .await
    }

    /// Looks at something as staff; null if there is no such thing.
    ///
    /// # Errors
    /// If no node gives an answer, or not this kind of answer.
    pub async fn look(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let mut last = String::new();
        for at in 0..LOOK_TRIES_MAX {
            let base = &self.bases[at % self.bases.len()];
            let request = self.client.request(Method::GET, format!("{base}{path}"));
            match self.once(request.bearer_auth(ADMIN_TOKEN).query(query)).await {
                Try::Answered(200, body) => return Ok(body),
                Try::Answered(404, _) => return Ok(Value::Null),
                Try::Answered(status, body) => last = format!("{status} {body}"),
                Try::Refused | Try::Lost => "no answer".clone_into(&mut last),
            }
            tokio::time::sleep(Duration::from_millis(RETRY_MS.1 / 4)).await;
        }
        bail!("GET {path} {query:?}: {last}")
    }

    /// Looks at a list to its end.
    ///
    /// # Errors
    /// Those of [`Caller::look`]; a list that does not end.
    pub async fn look_at_all(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>> {
        const PAGES_MAX: usize = 20_000;
        let mut rows = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut query = query.to_vec();
            query.push(("limit", "100"));
            if let Some(cursor) = &cursor {
                query.push(("cursor", cursor));
            }
            let mut page = self.look(path, &query).await?;
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
