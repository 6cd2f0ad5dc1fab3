//! Support: customers' API keys, and a new one if a customer has lost all.

use super::reason::{ReasonRequest, check_reason};
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::api_key::{ApiKeyBody, ApiKeyPage, NewApiKeyResponse, api_key_page};
use crate::routes::path_id::PathId;
use crate::routes::text::Text;
use crate::routes::{Tag, input};
use bursar_engine::Error;
use bursar_engine::domain::api_key::NewKey;
use bursar_engine::ids::{ApiKeyId, CustomerId};
use bursar_engine::infra::store::api_key::{KeyRequest, api_key_find};
use bursar_engine::name::check_name;
use bursar_engine::usecase::api_key::{self, Caller};
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde_json::json;
use std::sync::Arc;

/// Routes of customers' API keys for staff.
pub struct AdminApiKeyApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_list_api_keys", &["not_found"]),
    OperationDoc::new("admin_create_api_key", &["invalid_name", "invalid_reason", "not_found", "too_many_api_keys"]),
    OperationDoc::new("admin_revoke_api_key", &["invalid_reason", "not_found"]),
];

/// A key to create for a customer.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct AdminApiKeyRequest {
    /// Its name, 1 to 200 characters.
    name: Text,
    /// The reason, for the audit log.
    reason: Text,
}

impl Example for AdminApiKeyRequest {
    fn example() -> Self {
        Self { name: "recovered".into(), reason: "all keys lost, ticket 4711".into() }
    }
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminApiKeyApi {
    /// A customer's keys
    ///
    /// Oldest first, including revoked ones. The keys themselves are not stored.
    #[oai(path = "/admin/v1/customers/:id/api-keys", method = "get", operation_id = "admin_list_api_keys")]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<ApiKeyPage>, ApiError> {
        api_key_page(&app, &id.0.parsed()?, cursor.0, limit.0).await
    }

    /// Create a key for a customer
    ///
    /// For a customer that has lost all of its keys. Verify the requester's identity first: the key gives access to
    /// the customer's account.
    #[oai(path = "/admin/v1/customers/:id/api-keys", method = "post", operation_id = "admin_create_api_key")]
    async fn create(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<AdminApiKeyRequest>,
    ) -> Result<NewApiKeyResponse, ApiError> {
        let id = id.0.parsed()?;
        // The prefix keeps it apart from idempotency keys that the customer itself uses.
        let idempotency_key = format!("admin:{}", input::idempotency_key(&idempotency_key.0)?);
        let hash = input::request_hash("admin_create_api_key", &body.0);
        let request = KeyRequest { idempotency_key: &idempotency_key, hash: &hash };
        let reason = check_reason(&body.0.reason)?;
        let now_ms = app.clock.now_ms();
        let new = NewKey::generate(&id, check_name(&body.0.name.0)?, now_ms);
        let details = json!({ "reason": reason });
        let by = Caller { actor: &auth.0.actor, key_hash: None, clock: &app.clock };
        let made = api_key::make(&app.db, by, new, request, details, now_ms).await?;
        Ok(NewApiKeyResponse::from(made))
    }

    /// Revoke a customer's key
    ///
    /// For a key that got into wrong hands: on this server at once, on others within `http.api_key_cache_ms` (5 s by
    /// default), even if it is the last one. A key that is revoked already is answered with 404.
    #[oai(
        path = "/admin/v1/customers/:id/api-keys/:key_id/revoke",
        method = "post",
        operation_id = "admin_revoke_api_key"
    )]
    async fn revoke(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        /// The key's identifier.
        key_id: Path<PathId<ApiKeyId>>,
        body: Json<ReasonRequest>,
    ) -> Result<Json<ApiKeyBody>, ApiError> {
        let (customer, id) = (id.0.parsed()?, key_id.0.parsed()?);
        let details = json!({ "reason": check_reason(&body.0.reason)? });
        let now_ms = app.clock.now_ms();
        let by = Caller { actor: &auth.0.actor, key_hash: None, clock: &app.clock };
        let ended = api_key::revoke(&app.db, by, &customer, &id, true, details, now_ms).await?;
        app.evict_api_key(&ended.hash, true).await;
        let revoked = api_key_find(app.db.read(), &customer, &id).await?.ok_or(Error::NotFound("API key"))?;
        Ok(Json(ApiKeyBody::from(&revoked)))
    }
}
