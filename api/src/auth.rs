//! Authentication: customers' API keys and the admin token.

use crate::app::App;
use crate::problem::ApiError;
use bursar_engine::domain::api_key::secret_hash;
use bursar_engine::ids::CustomerId;
use poem::Request;
use poem_openapi::SecurityScheme;
use poem_openapi::auth::{ApiKey, Bearer};
use std::sync::Arc;

/// The longest accepted credential, in bytes.
const CREDENTIAL_LEN_MAX: usize = 256;

/// A customer's API key in the header `x-api-key`.
#[derive(SecurityScheme)]
#[oai(ty = "api_key", key_name = "x-api-key", key_in = "header", checker = "check_api_key")]
pub struct CustomerAuth(pub CustomerId);

async fn check_api_key(request: &Request, key: ApiKey) -> poem::Result<CustomerId> {
    let invalid = || ApiError::with_code("invalid_api_key", "The API key is unknown or revoked.");
    let Some(app) = request.data::<Arc<App>>() else { return Err(invalid().into()) };
    if key.key.len() > CREDENTIAL_LEN_MAX {
        return Err(invalid().into());
    }
    match app.api_key_owner(&secret_hash(&key.key)).await {
        Ok(Some(customer)) => Ok(customer),
        Ok(None) => Err(invalid().into()),
        Err(error) => Err(ApiError::from(error).into()),
    }
}

/// Staff with an admin token in `Authorization: Bearer`.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", checker = "check_admin_token")]
pub struct AdminAuth(pub Admin);

/// The member of staff who is calling.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The name in the audit log, `admin:<name>`.
    pub actor: String,
}

async fn check_admin_token(request: &Request, bearer: Bearer) -> poem::Result<Admin> {
    let app = request.data::<Arc<App>>();
    if app.is_some_and(|app| bearer.token.len() <= CREDENTIAL_LEN_MAX && app.is_admin_token(&bearer.token)) {
        return Ok(Admin { actor: "admin:bootstrap".to_owned() });
    }
    Err(ApiError::with_code("invalid_token", "The admin token is not valid.").into())
}
