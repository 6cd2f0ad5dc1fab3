//! API keys: list, make, revoke.

use super::text::Text;
use super::{Tag, input};
use crate::app::App;
use crate::auth::CustomerAuth;
use crate::problem::ApiError;
use bursar_engine::Error;
use bursar_engine::api_key::{API_KEYS_MAX, ApiKey, RawKey, secret_hash};
use bursar_engine::clock::rfc3339;
use bursar_engine::customer::check_name;
use bursar_engine::effect::Audit;
use bursar_engine::ids::ApiKeyId;
use bursar_engine::store::{api_key, audit};
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use std::sync::Arc;

/// Routes of API keys.
pub struct ApiKeyApi;

/// A key to make.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct ApiKeyRequest {
    /// What to call it, 1 to 200 characters.
    name: Text,
}

impl Example for ApiKeyRequest {
    fn example() -> Self {
        Self { name: "ci".into() }
    }
}

/// A key without its secret.
#[derive(Debug, Object)]
struct ApiKeyBody {
    /// Its identifier.
    id: String,
    /// What it is called.
    name: String,
    /// Its first characters.
    hint: String,
    /// When it was made.
    created_at: String,
    /// When it was revoked.
    revoked_at: Option<String>,
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
struct NewApiKeyBody {
    /// The key's record.
    api_key: ApiKeyBody,
    /// The key itself, shown once. Null when a request is repeated: make another key then.
    key: Option<String>,
}

/// A page of keys.
#[derive(Debug, Object)]
struct ApiKeyPage {
    /// The rows, oldest first.
    data: Vec<ApiKeyBody>,
    /// Where the next page begins; null on the last.
    next_cursor: Option<String>,
}

#[derive(ApiResponse)]
enum NewApiKeyResponse {
    /// The key is made.
    #[oai(status = 201)]
    Created(Json<NewApiKeyBody>),
}

#[derive(ApiResponse)]
enum RevokedResponse {
    /// The key is revoked: here at once, on other servers within seconds.
    #[oai(status = 204)]
    Revoked,
}

#[OpenApi]
impl ApiKeyApi {
    /// My keys
    #[oai(path = "/api/v1/api-keys", method = "get", operation_id = "list_api_keys", tag = "Tag::ApiKeys")]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<ApiKeyPage>, ApiError> {
        let limit = input::limit(limit.0)?;
        let after = input::cursor(cursor.0.as_deref())?.unwrap_or_default();
        let mut keys = api_key::api_key_list(app.db.read(), &auth.0, &after, limit + 1).await?;
        let next_cursor = input::next_cursor(&mut keys, limit, |key| key.id.to_string());
        Ok(Json(ApiKeyPage { data: keys.iter().map(ApiKeyBody::from).collect(), next_cursor }))
    }

    /// Make a key
    #[oai(path = "/api/v1/api-keys", method = "post", operation_id = "create_api_key", tag = "Tag::ApiKeys")]
    async fn create(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<ApiKeyRequest>,
    ) -> Result<NewApiKeyResponse, ApiError> {
        let idempotency_key = input::idempotency_key(&idempotency_key.0)?;
        let raw = RawKey::generate();
        let now_ms = app.clock.now_ms();
        let key = ApiKey {
            id: ApiKeyId::new(),
            customer_id: auth.0.clone(),
            name: check_name(&body.0.name.0)?,
            hint: raw.hint(),
            created_at_ms: now_ms,
            revoked_at_ms: None,
        };
        let tx = app.db.begin().await?;
        if let Some(first) = api_key::api_key_find_by_idempotency(&tx, &auth.0, &idempotency_key).await? {
            if first.name != key.name {
                return Err(Error::from(bursar_engine::ledger::Refusal::KeyReused).into());
            }
            let body = NewApiKeyBody { api_key: ApiKeyBody::from(&first), key: None };
            return Ok(NewApiKeyResponse::Created(Json(body)));
        }
        if api_key::api_key_count_active(&tx, &auth.0).await? >= API_KEYS_MAX {
            let detail = format!("A customer may have {API_KEYS_MAX} keys. Revoke one first.");
            return Err(ApiError::new(409, "too_many_api_keys", detail));
        }
        if !api_key::api_key_insert(&tx, &key, &secret_hash(raw.expose()), Some(&idempotency_key)).await? {
            return Err(ApiError::new(409, "concurrent_request", "The same request is under way. Repeat it."));
        }
        audit::audit_append(&tx, &line(&key, "api_key.create"), now_ms).await?;
        tx.commit().await.map_err(Error::from)?;
        let body = NewApiKeyBody { api_key: ApiKeyBody::from(&key), key: Some(raw.expose().to_owned()) };
        Ok(NewApiKeyResponse::Created(Json(body)))
    }

    /// Revoke a key
    ///
    /// The last key that works cannot be revoked: make another one first.
    #[oai(path = "/api/v1/api-keys/:id", method = "delete", operation_id = "revoke_api_key", tag = "Tag::ApiKeys")]
    async fn revoke(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// The key's identifier.
        id: Path<String>,
    ) -> Result<RevokedResponse, ApiError> {
        let id = ApiKeyId::parse(&id.0).map_err(|_| Error::NotFound("API key"))?;
        let now_ms = app.clock.now_ms();
        let tx = app.db.begin().await?;
        let active = api_key::api_key_count_active(&tx, &auth.0).await?;
        let Some(hash) = api_key::api_key_revoke(&tx, &auth.0, &id, now_ms).await? else {
            return Err(Error::NotFound("API key").into());
        };
        if active <= 1 {
            let detail = "This is the last key that works. Make another one first.";
            return Err(ApiError::new(409, "last_api_key", detail));
        }
        let line = Audit {
            actor: format!("customer:{}", auth.0),
            action: "api_key.revoke",
            target: auth.0.to_string(),
            details: serde_json::json!({ "api_key": id.as_str() }).to_string(),
        };
        audit::audit_append(&tx, &line, now_ms).await?;
        tx.commit().await.map_err(Error::from)?;
        app.api_key_forget(&hash).await;
        Ok(RevokedResponse::Revoked)
    }
}

fn line(key: &ApiKey, action: &'static str) -> Audit {
    Audit {
        actor: format!("customer:{}", key.customer_id),
        action,
        target: key.customer_id.to_string(),
        details: serde_json::json!({ "api_key": key.id.as_str(), "name": key.name }).to_string(),
    }
}
