//! Admin tokens: list, make, revoke.

use super::reason::{ReasonRequest, check_reason};
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::page::{PageQuery, page};
use crate::routes::path_id::PathId;
use crate::routes::text::Text;
use crate::routes::{Tag, input};
use crate::sample;
use bursar_engine::clock::{TimeMs, rfc3339};
use bursar_engine::domain::admin_token::{AdminToken, BOOTSTRAP, NewAdminToken, Scopes};
use bursar_engine::ids::AdminTokenId;
use bursar_engine::infra::store::admin_token::{TokenRequest, admin_token_list};
use bursar_engine::usecase::admin_token;
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use std::sync::Arc;

/// Routes of admin tokens.
pub struct AdminTokenApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_list_tokens", &[]),
    OperationDoc::new(
        "admin_create_token",
        &["invalid_expiry", "invalid_name", "invalid_reason", "invalid_scopes", "too_many_admin_tokens"],
    ),
    OperationDoc::new("admin_revoke_token", &["invalid_reason", "not_found"]),
];

/// A token to make.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct TokenCreateRequest {
    /// Whose it is, or what it is for: 1 to 64 letters, digits or `.`, `_`, `-`, `@`. It is in the audit log with
    /// everything that the token does.
    name: Text,
    /// What it may do: `read`, `replay`, `adjust`, `refund`, `onboard`, `admin`. `admin` includes all others.
    scopes: Vec<Text>,
    /// Seconds until it expires; never if omitted.
    #[oai(skip_serializing_if_is_none)]
    expires_in_s: Option<i64>,
    /// The reason, for the audit log.
    reason: Text,
}

impl Example for TokenCreateRequest {
    fn example() -> Self {
        Self {
            name: sample::EMAIL.into(),
            scopes: vec!["read".into(), "replay".into()],
            expires_in_s: Some(7_776_000),
            reason: "joined support".into(),
        }
    }
}

/// A token without its secret.
#[derive(Debug, Object)]
#[oai(example)]
struct AdminTokenBody {
    /// Its identifier.
    id: String,
    /// Its name.
    name: String,
    /// What it may do.
    scopes: Vec<String>,
    /// Its first characters.
    hint: String,
    /// `valid`, `expired` or `revoked`.
    state: String,
    /// Who made it.
    created_by: String,
    /// When it was made.
    created_at: String,
    /// When it expires; null if never.
    expires_at: Option<String>,
    /// When it was last used, to within a minute; null if never.
    last_used_at: Option<String>,
    /// When it was revoked.
    revoked_at: Option<String>,
    /// Who revoked it.
    revoked_by: Option<String>,
}

impl Example for AdminTokenBody {
    fn example() -> Self {
        Self {
            id: sample::ADMIN_TOKEN.to_owned(),
            name: sample::EMAIL.to_owned(),
            scopes: vec!["read".to_owned(), "replay".to_owned()],
            hint: "bat_06bv1k2m".to_owned(),
            state: "valid".to_owned(),
            created_by: BOOTSTRAP.to_owned(),
            created_at: sample::AT.to_owned(),
            expires_at: sample::text(sample::MONTH_LATER),
            last_used_at: None,
            revoked_at: None,
            revoked_by: None,
        }
    }
}

impl AdminTokenBody {
    fn new(token: &AdminToken, now_ms: TimeMs) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name.clone(),
            scopes: token.scopes.names().map(str::to_owned).collect(),
            hint: token.hint.clone(),
            state: token.state(now_ms).as_str().to_owned(),
            created_by: token.created_by.clone(),
            created_at: rfc3339(token.created_at_ms),
            expires_at: token.expires_at_ms.map(rfc3339),
            last_used_at: token.last_used_at_ms.map(rfc3339),
            revoked_at: token.revoked_at_ms.map(rfc3339),
            revoked_by: token.revoked_by.clone(),
        }
    }
}

/// A new token.
#[derive(Debug, Object)]
#[oai(example)]
struct NewAdminTokenBody {
    /// The token's record.
    admin_token: AdminTokenBody,
    /// The token itself, shown once. Null in the answer to a repeated request: if it is lost, make another one and
    /// revoke this one.
    token: Option<String>,
}

impl Example for NewAdminTokenBody {
    fn example() -> Self {
        Self { admin_token: AdminTokenBody::example(), token: sample::text("bat_…") }
    }
}

page! {
    /// A page of admin tokens, latest first.
    AdminTokenPage of AdminTokenBody
}

#[derive(ApiResponse)]
enum NewAdminTokenResponse {
    /// The token is made.
    #[oai(status = 201)]
    Created(Json<NewAdminTokenBody>),
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminTokenApi {
    /// Admin tokens
    ///
    /// Latest first, expired and revoked ones included. The tokens themselves are not stored. The bootstrap token of
    /// the configuration is not among them.
    #[oai(path = "/admin/v1/tokens", method = "get", operation_id = "admin_list_tokens")]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<AdminTokenPage>, ApiError> {
        let page = PageQuery::parse(cursor.0, limit.0)?;
        let found = admin_token_list(app.db.read(), page.cursor.as_deref(), page.rows_to_query()).await?;
        let now_ms = app.clock.now_ms();
        Ok(page.answer(found, |token| token.id.to_string(), |token| AdminTokenBody::new(&token, now_ms)))
    }

    /// Make an admin token
    ///
    /// For one person or one program, with no more scopes than it needs. The token is shown only in this answer, and
    /// works at once on this server and within a second on others. Repeating the request shows its record without it.
    #[oai(path = "/admin/v1/tokens", method = "post", operation_id = "admin_create_token")]
    async fn create(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<TokenCreateRequest>,
    ) -> Result<NewAdminTokenResponse, ApiError> {
        let idempotency_key = input::idempotency_key(&idempotency_key.0)?;
        let hash = input::request_hash("admin_create_token", &body.0);
        let request = TokenRequest { idempotency_key: &idempotency_key, hash: &hash };
        let reason = check_reason(&body.0.reason)?;
        let scopes = Scopes::parse(body.0.scopes.iter().map(|scope| scope.0.as_str()))?;
        let now_ms = app.clock.now_ms();
        let new = NewAdminToken::generate(&body.0.name.0, scopes, body.0.expires_in_s, &auth.0.actor, now_ms)?;
        let made = admin_token::make(&app.db, new, request, &reason, now_ms).await?;
        app.admin_tokens.forget();
        Ok(NewAdminTokenResponse::Created(Json(NewAdminTokenBody {
            admin_token: AdminTokenBody::new(&made.token, now_ms),
            token: made.raw.map(|raw| raw.expose().to_owned()),
        })))
    }

    /// Revoke an admin token
    ///
    /// For good: on this server at once, on others within `admin.token_cache_ms` (5 s by default). Revoking it again
    /// changes nothing. A token may revoke itself.
    #[oai(path = "/admin/v1/tokens/:id/revoke", method = "post", operation_id = "admin_revoke_token")]
    async fn revoke(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The token's identifier.
        id: Path<PathId<AdminTokenId>>,
        body: Json<ReasonRequest>,
    ) -> Result<Json<AdminTokenBody>, ApiError> {
        let id = id.0.parsed()?;
        let reason = check_reason(&body.0.reason)?;
        let now_ms = app.clock.now_ms();
        let token = admin_token::revoke(&app.db, &id, &auth.0.actor, &reason, now_ms).await?;
        app.admin_tokens.forget();
        Ok(Json(AdminTokenBody::new(&token, now_ms)))
    }
}
