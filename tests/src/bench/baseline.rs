//! The baseline that Bursar is compared with: `POST /api/v1/usage` on row locks.
//!
//! It shares the HTTP server, tables, ledger rules, answers, pool size and durability with Bursar. The only
//! difference is that each request is a transaction of its own that locks the account's row.

mod answer;
mod debit;

use answer::{Failure, Usage, respond};
use anyhow::{Context, Result};
use bursar_engine::amount::{Credits, UNITS_MAX};
use bursar_engine::clock::Clock;
use bursar_engine::domain::api_key::secret_hash;
use bursar_engine::domain::ledger::{Command, Op};
use bursar_engine::ids::CustomerId;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use moka::future::Cache;
use poem::endpoint::{make, make_sync};
use poem::http::{HeaderMap, StatusCode};
use poem::listener::TcpListener;
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, Route, Server, get, post};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::NoTls;

/// Connections to Postgres, as many as Bursar's pool has by default.
const CONNECTIONS_MAX: usize = 20;
/// How long an API key is cached.
const KEY_TTL: Duration = Duration::from_secs(5);
/// How many API keys are cached.
const KEYS_MAX: u64 = 100_000;
/// The largest body, in bytes.
const BODY_MAX_BYTES: usize = 64 * 1_024;
/// The longest idempotency key, in characters.
const IDEMPOTENCY_KEY_LEN_MAX: usize = 255;
/// The longest reference, in characters.
const REFERENCE_LEN_MAX: usize = 200;
/// Maximum size of the metadata, in bytes of JSON.
const METADATA_LEN_MAX: usize = 4_096;

/// Serves HTTP at an address on a database with Bursar's schema, until the process ends.
///
/// # Errors
/// When the address is taken or the URL cannot be read.
pub async fn serve(listen: &str, database_url: &str) -> Result<()> {
    let manager = Manager::from_config(
        database_url.parse().context("the database's URL is wrong")?,
        NoTls,
        ManagerConfig { recycling_method: RecyclingMethod::Fast },
    );
    let pool = Pool::builder(manager).max_size(CONNECTIONS_MAX).build()?;
    let keys = Cache::builder().max_capacity(KEYS_MAX).time_to_live(KEY_TTL).build();
    let service = Arc::new(Service { pool, keys, clock: Clock::System });
    Server::new(TcpListener::bind(listen.to_owned())).run(endpoint(service)).await?;
    Ok(())
}

/// State shared by all requests.
struct Service {
    pool: Pool,
    keys: Cache<String, CustomerId>,
    clock: Clock,
}

/// The body of a request; the fields are Bursar's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageRequest {
    units: i64,
    reference: Option<String>,
    metadata: Option<Value>,
}

fn endpoint(service: Arc<Service>) -> impl Endpoint<Output = Response> {
    let usage = make(move |request: Request| {
        let service = service.clone();
        async move { service.usage(request).await.unwrap_or_else(IntoResponse::into_response) }
    });
    let health = make_sync(|_| respond(StatusCode::OK, br#"{"status":"ok"}"#.to_vec()));
    Route::new().at("/api/v1/usage", post(usage)).at("/health", get(health)).map_to_response()
}

impl Service {
    async fn usage(&self, mut request: Request) -> Result<Response, Failure> {
        let body = request.take_body().into_bytes_limit(BODY_MAX_BYTES).await;
        let body = body.map_err(|_| Failure::Refused(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"))?;
        let customer = self.authenticate(request.headers()).await?;
        let command = read_command(request.headers(), &body)?;
        let mut client = self.pool.get().await.context("no connection")?;
        match debit::apply(&mut client, &customer, &command, self.clock.now_ms()).await? {
            Ok(applied) => {
                let body = serde_json::to_vec(&Usage::new(&customer, &applied)).context("an answer is JSON")?;
                Ok(respond(StatusCode::OK, body))
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Result<CustomerId, Failure> {
        let unknown = || Failure::Refused(StatusCode::UNAUTHORIZED, "invalid_api_key");
        let hash = secret_hash(header(headers, "x-api-key").ok_or_else(unknown)?);
        if let Some(customer) = self.keys.get(&hash).await {
            return Ok(customer);
        }
        let client = self.pool.get().await.context("no connection")?;
        let owner = debit::key_owner(&client, &hash, self.clock.now_ms()).await?.ok_or_else(unknown)?;
        drop(client);
        self.keys.insert(hash, owner.clone()).await;
        Ok(owner)
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Validates a request as Bursar does and turns it into a command.
fn read_command(headers: &HeaderMap, body: &[u8]) -> Result<Command, Failure> {
    let key = header(headers, "idempotency-key").unwrap_or_default();
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_LEN_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::bad_request("invalid_idempotency_key"));
    }
    let UsageRequest { units, reference, metadata } =
        serde_json::from_slice(body).map_err(|_| Failure::bad_request("invalid_body"))?;
    if !(1..=UNITS_MAX.0).contains(&units) {
        return Err(Failure::bad_request("invalid_units"));
    }
    if reference.as_ref().is_some_and(|text| text.chars().count() > REFERENCE_LEN_MAX || text.contains('\0')) {
        return Err(Failure::bad_request("invalid_reference"));
    }
    let metadata_text = metadata.as_ref().map(Value::to_string);
    let is_valid = |text: &String| text.len() <= METADATA_LEN_MAX && !text.contains("\\u0000");
    if metadata.is_some_and(|value| !value.is_object()) || !metadata_text.as_ref().is_none_or(is_valid) {
        return Err(Failure::bad_request("invalid_metadata"));
    }
    let request_hash = secret_hash(&format!("usage\n{units}\n{reference:?}\n{metadata_text:?}"));
    Ok(Command {
        op: Op::Debit { amount: Credits(units) },
        source: "usage".to_owned(),
        reference: reference.filter(|text| !text.is_empty()),
        idempotency_key: Some(format!("api:{key}")),
        request_hash: Some(request_hash),
        metadata: metadata_text,
    })
}
