//! API keys: list, make, rotate, revoke.

use super::page::{PageQuery, page};
use super::path_id::PathId;
use super::text::Text;
use super::{Tag, input};
use crate::app::App;
use crate::auth::{CallingKey, CustomerAuth};
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::sample;
use crate::write_limit::WriteCost;
use bursar_engine::Result as EngineResult;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::api_key::{ApiKey, NewKey};
use bursar_engine::ids::{ApiKeyId, CustomerId};
use bursar_engine::infra::store::api_key::{self as rows, KeyRequest};
use bursar_engine::name::check_name;
use bursar_engine::usecase::api_key::{self, Caller, CreatedKey};
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde_json::{Value, json};
use std::sync::Arc;

/// Routes of API keys.
pub struct ApiKeyApi;

pub(super) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("list_api_keys", &[]),
    OperationDoc::new("create_api_key", &["invalid_name", "rate_limited", "too_many_api_keys"]),
    OperationDoc::new(
        "rotate_api_key",
        &["api_key_rotated", "invalid_grace", "not_found", "rate_limited", "too_many_api_keys"],
    ),
    OperationDoc::new("revoke_api_key", &["last_api_key", "not_found", "rate_limited"]),
];

/// A key to create.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct ApiKeyRequest {
    /// Its name, 1 to 200 characters.
    name: Text,
}

impl Example for ApiKeyRequest {
    fn example() -> Self {
        Self { name: "ci".into() }
    }
}

/// A key without its secret.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct ApiKeyBody {
    /// Its identifier.
    id: String,
    /// Its name.
    name: String,
    /// Its first characters.
    hint: String,
    /// When it was created.
    created_at: String,
    /// When it was revoked, or will be if it was rotated.
    revoked_at: Option<String>,
}

impl Example for ApiKeyBody {
    fn example() -> Self {
        Self {
            id: sample::API_KEY.to_owned(),
            name: "ci".to_owned(),
            hint: "bsk_06bv1k2m".to_owned(),
            created_at: sample::AT.to_owned(),
            revoked_at: None,
        }
    }
}

impl From<&ApiKey> for ApiKeyBody {
    fn from(key: &ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.clone(),
            hint: key.hint.clone(),
            created_at: rfc3339(key.created_at_ms),
            revoked_at: key.revoked_at_ms.map(rfc3339),
        }
    }
}

/// A new key.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct NewApiKeyBody {
    /// The key's record.
    api_key: ApiKeyBody,
    /// The key itself, shown once. Null in the answer to a repeated request: if it is lost, create another key.
    key: Option<String>,
}

impl Example for NewApiKeyBody {
    fn example() -> Self {
        Self { api_key: ApiKeyBody::example(), key: sample::text("bsk_…") }
    }
}

/// A key to rotate.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct RotateRequest {
    /// How long the old key still works, in seconds, 0 (the default) to 86400.
    grace_seconds: Option<i64>,
}

impl Example for RotateRequest {
    fn example() -> Self {
        Self { grace_seconds: Some(3_600) }
    }
}

page! {
    /// A page of keys, oldest first.
    pub(super) ApiKeyPage of ApiKeyBody
}

#[derive(ApiResponse)]
pub(super) enum NewApiKeyResponse {
    /// The key is created.
    #[oai(status = 201)]
    Created(Json<NewApiKeyBody>),
}

impl From<CreatedKey> for NewApiKeyResponse {
    fn from(made: CreatedKey) -> Self {
        let key = made.raw.map(|raw| raw.expose().to_owned());
        Self::Created(Json(NewApiKeyBody { api_key: ApiKeyBody::from(&made.key), key }))
    }
}

#[derive(ApiResponse)]
enum RevokedResponse {
    /// The key is revoked: on this server at once, on others within seconds.
    #[oai(status = 204)]
    Revoked,
}

#[OpenApi(tag = "Tag::ApiKeys")]
impl ApiKeyApi {
    /// My keys
    ///
    /// Oldest first, including revoked ones. The keys themselves are not stored, only their first characters.
    #[oai(path = "/api/v1/api-keys", method = "get", operation_id = "list_api_keys")]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<ApiKeyPage>, ApiError> {
        api_key_page(&app, &auth.0, cursor.0, limit.0).await
    }

    /// Create a key
    ///
    /// The key is shown only in this answer. Repeating the request shows its record without it.
    #[oai(path = "/api/v1/api-keys", method = "post", operation_id = "create_api_key")]
    async fn create(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        calling: CallingKey,
        body: Json<ApiKeyRequest>,
    ) -> Result<NewApiKeyResponse, ApiError> {
        let idempotency_key = input::idempotency_key(&idempotency_key.0)?;
        let hash = input::request_hash("create_api_key", &body.0);
        let request = KeyRequest { idempotency_key: &idempotency_key, hash: &hash };
        let now_ms = app.clock.now_ms();
        let new = NewKey::generate(&auth.0, check_name(&body.0.name.0)?, now_ms);
        let cost = take_write_cost(&app, &auth.0, &idempotency_key).await?;
        let actor = actor(&auth.0);
        let by = Caller { actor: &actor, key_hash: Some(&calling.0), clock: &app.clock };
        let made = api_key::make(&app.db, by, new, request, Value::Null, now_ms).await;
        Ok(settle_write_cost(cost, made, |made| made)?.into())
    }

    /// Rotate a key
    ///
    /// Makes a key of the same name and revokes the old one, at once or after `grace_seconds`. The new
    /// key is in this answer and nowhere else: if the old one is your only key, give a grace, so that a
    /// lost answer does not lock you out. Repeating the request shows the record without the key; rotate
    /// that one then.
    #[oai(path = "/api/v1/api-keys/:id/rotate", method = "post", operation_id = "rotate_api_key")]
    async fn rotate(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// The key's identifier.
        id: Path<PathId<ApiKeyId>>,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        calling: CallingKey,
        body: Json<RotateRequest>,
    ) -> Result<NewApiKeyResponse, ApiError> {
        let idempotency_key = input::idempotency_key(&idempotency_key.0)?;
        let id = id.0.parsed()?;
        let hash = input::request_hash(&format!("rotate_api_key {id}"), &body.0);
        let request = KeyRequest { idempotency_key: &idempotency_key, hash: &hash };
        let grace_s = body.0.grace_seconds.unwrap_or(0);
        let now_ms = app.clock.now_ms();
        let cost = take_write_cost(&app, &auth.0, &idempotency_key).await?;
        let actor = actor(&auth.0);
        let by = Caller { actor: &actor, key_hash: Some(&calling.0), clock: &app.clock };
        let rotated = api_key::rotate(&app.db, by, &auth.0, &id, grace_s, request, now_ms).await;
        let (made, ended) = settle_write_cost(cost, rotated, |(made, _)| made)?;
        if let Some(ended) = ended {
            app.evict_api_key(&ended.hash, ended.at_ms <= now_ms).await;
        }
        Ok(made.into())
    }

    /// Revoke a key
    ///
    /// The last working key is only revoked with `force`, because afterwards only support can create a new one.
    #[oai(path = "/api/v1/api-keys/:id", method = "delete", operation_id = "revoke_api_key")]
    async fn revoke(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// The key's identifier.
        id: Path<PathId<ApiKeyId>>,
        /// Revoke it even if it is the last working key.
        force: Query<Option<bool>>,
        calling: CallingKey,
    ) -> Result<RevokedResponse, ApiError> {
        let id = id.0.parsed()?;
        let force = force.0.unwrap_or(false);
        // Kept even if the request is refused: both cases take a transaction.
        let _kept = app.write_limits.writes.take(&auth.0, 1).await?;
        let (actor, now_ms) = (actor(&auth.0), app.clock.now_ms());
        let by = Caller { actor: &actor, key_hash: Some(&calling.0), clock: &app.clock };
        let ended = api_key::revoke(&app.db, by, &auth.0, &id, force, json!({}), now_ms).await?;
        app.evict_api_key(&ended.hash, true).await;
        Ok(RevokedResponse::Revoked)
    }
}

/// The write cost of a request for a new key.
struct NewKeyCost {
    /// For the key.
    key: WriteCost,
    /// For the transaction, kept only if the request fails.
    write: WriteCost,
}

/// Counts a new key against the customer's limits. A repeated request always passes, because it writes nothing.
async fn take_write_cost(app: &App, customer: &CustomerId, idempotency_key: &str) -> EngineResult<NewKeyCost> {
    let taken = async {
        let write = app.write_limits.writes.take(customer, 1).await?;
        match app.write_limits.keys.take(customer, 1).await {
            Ok(key) => Ok(NewKeyCost { key, write }),
            Err(error) => {
                write.give_back();
                Err(error)
            }
        }
    }
    .await;
    if taken.is_err() && rows::api_key_find_by_idempotency(app.db.read(), customer, idempotency_key).await?.is_some() {
        return Ok(NewKeyCost { key: WriteCost::none(), write: WriteCost::none() });
    }
    taken
}

/// Gives costs back: that of the key if none was created, and that of the transaction unless it failed.
fn settle_write_cost<T>(cost: NewKeyCost, made: EngineResult<T>, key: impl Fn(&T) -> &CreatedKey) -> EngineResult<T> {
    match &made {
        Ok(made) => {
            cost.write.give_back();
            if key(made).raw.is_none() {
                cost.key.give_back();
            }
        }
        Err(error) => cost.key.settle(error),
    }
    made
}

/// A page of a customer's keys.
pub(super) async fn api_key_page(
    app: &App,
    customer: &CustomerId,
    cursor: Option<String>,
    limit: Option<u64>,
) -> Result<Json<ApiKeyPage>, ApiError> {
    let page = PageQuery::parse(cursor, limit)?;
    let keys = rows::api_key_list(app.db.read(), customer, page.cursor_or_empty(), page.rows_to_query()).await?;
    Ok(page.answer(keys, |key| key.id.to_string(), |key| ApiKeyBody::from(&key)))
}

fn actor(customer: &CustomerId) -> String {
    format!("customer:{customer}")
}
