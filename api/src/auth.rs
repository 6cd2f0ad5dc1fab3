//! Authentication: customers' API keys and admin tokens.

pub use crate::admin_token::Admin;

use crate::app::App;
use crate::problem::ApiError;
use crate::request_id::{Caller, note_caller};
use crate::route_table::Access;
use crate::scope;
use bursar_engine::domain::admin_token::{PREFIX, Scope};
use bursar_engine::domain::api_key::{KeyOwner, secret_hash};
use bursar_engine::ids::CustomerId;
use poem::http::{HeaderMap, header};
use poem::{FromRequest, Request, RequestBody};
use poem_openapi::SecurityScheme;
use poem_openapi::auth::{ApiKey, Bearer, BearerAuthorization};
use poem_openapi::error::AuthorizationError;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The longest accepted credential, in bytes.
const CREDENTIAL_LEN_MAX: usize = 256;
/// How long the owner of an API key that was found for the head of a request counts for its route: the route follows at
/// once unless the body is late.
const FOUND_FOR: Duration = Duration::from_millis(50);

/// The API key of a request, as found for its head.
#[derive(Clone)]
struct FoundKey {
    hash: String,
    owner: KeyOwner,
    found: Instant,
}

/// Checks the credentials of a request from its head alone, as its route does.
///
/// # Errors
/// Those of the route.
pub(crate) async fn check(access: Access, request: &mut Request) -> poem::Result<()> {
    match access {
        Access::Open => Ok(()),
        Access::Customer => {
            let key = request.header("x-api-key").ok_or(AuthorizationError)?.to_owned();
            let found = find_api_key(request, &key).await?;
            request.extensions_mut().insert(found);
            Ok(())
        }
        Access::Admin => {
            let bearer = Bearer::from_request(request)?;
            check_admin_token(request, bearer).await.map(drop)
        }
    }
}

/// A customer's API key in the header `x-api-key`.
#[derive(SecurityScheme)]
#[oai(ty = "api_key", key_name = "x-api-key", key_in = "header", checker = "check_api_key")]
pub struct CustomerAuth(pub CustomerId);

async fn check_api_key(request: &Request, key: ApiKey) -> poem::Result<CustomerId> {
    // It was found for the head of the same request, and counted there.
    if let (Some(app), Some(known)) = (request.data::<Arc<App>>(), request.data::<FoundKey>())
        && known.found.elapsed() < FOUND_FOR
        && app.is_still_valid(&known.hash, &known.owner)
    {
        return Ok(known.owner.customer_id.clone());
    }
    Ok(find_api_key(request, &key.key).await?.owner.customer_id)
}

/// Finds the owner of an API key, and counts the request.
async fn find_api_key(request: &Request, key: &str) -> Result<FoundKey, ApiError> {
    let invalid = || ApiError::with_code("invalid_api_key", "The API key is unknown or revoked.");
    let app = request.data::<Arc<App>>().ok_or_else(invalid)?;
    if key.len() > CREDENTIAL_LEN_MAX {
        return Err(invalid());
    }
    let (hash, found) = (secret_hash(key), Instant::now());
    let owner = app.api_key_owner(&hash).await?.ok_or_else(invalid)?;
    note_caller(|| Caller::Customer(owner.customer_id.clone()));
    app.write_limits.take_request(&hash).await?;
    Ok(FoundKey { hash, owner, found })
}

/// The hash of the API key that a request came with. What makes, rotates or revokes keys checks it once more under the
/// customer's lock, because a found key is cached for a while after its end.
pub struct CallingKey(pub String);

impl<'a> FromRequest<'a> for CallingKey {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self(secret_hash(request.header("x-api-key").unwrap_or_default())))
    }
}

/// Staff with an admin token in `Authorization: Bearer`. The token has the scope that the route needs.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", checker = "check_admin_token")]
pub struct AdminAuth(pub Admin);

async fn check_admin_token(request: &Request, bearer: Bearer) -> poem::Result<Admin> {
    let Some(app) = request.data::<Arc<App>>() else { return Err(invalid_token().into()) };
    Ok(admit(app, &bearer.token, scope::needed_by(request)).await?)
}

/// Finds who is behind a token that has to have `scope`.
async fn admit(app: &App, token: &str, scope: Scope) -> Result<Admin, ApiError> {
    if token.len() > CREDENTIAL_LEN_MAX {
        return Err(invalid_token());
    }
    let admin = app.admin_tokens.identify(token).await?.ok_or_else(invalid_token)?;
    note_caller(|| Caller::Admin(admin.actor.clone()));
    if admin.scopes.allow(scope) { Ok(admin) } else { Err(ApiError::insufficient_scope(scope, &admin.scopes)) }
}

/// Who vouches for a request to a route that needs no token, such as a signup: the holder of a token with the scope
/// `onboard`, such as a company's own backend; nobody if no token was sent.
pub struct Voucher(pub Option<Admin>);

impl Voucher {
    /// Whoever may say that an address is confirmed, or that a customer came from elsewhere. This is the one place that
    /// decides who may.
    pub fn may_vouch(&self) -> Option<&Admin> {
        self.0.as_ref()
    }
}

impl<'a> FromRequest<'a> for Voucher {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let Some(app) = request.data::<Arc<App>>() else { return Err(invalid_token().into()) };
        Ok(Self(find_voucher(app, request.headers(), Scope::Onboard).await?))
    }
}

/// Finds who vouches for a request: the holder of a token with this scope, or nobody if the request has no token. Other
/// forms of `Authorization` may belong to a proxy, and are ignored.
///
/// # Errors
/// 401 `invalid_token` if the token is unknown, expired or revoked; 403 `insufficient_scope` if it lacks the scope. A
/// request with a wrong token is never taken for one without.
pub async fn find_voucher(app: &App, headers: &HeaderMap, scope: Scope) -> Result<Option<Admin>, ApiError> {
    match bearer(headers) {
        None => Ok(None),
        Some(token) => admit(app, &token, scope).await.map(Some),
    }
}

/// The token in `Authorization: Bearer`. It is empty, which no token is, if the header has none, if it is there more
/// than once, or if a token came without `Bearer`.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let mut tokens = headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
        // Other bytes than ASCII make a token wrong, and no less a token.
        let text = String::from_utf8_lossy(value.as_bytes());
        let text = text.trim();
        let (kind, token) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        match kind.eq_ignore_ascii_case("bearer") {
            true => Some(token.trim().to_owned()),
            false => kind.starts_with(PREFIX).then(String::new),
        }
    });
    let first = tokens.next()?;
    Some(if tokens.next().is_none() { first } else { String::new() })
}

fn invalid_token() -> ApiError {
    ApiError::with_code("invalid_token", "The admin token is unknown, expired or revoked.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem::http::HeaderValue;

    #[test]
    fn a_token_in_whatever_form_is_not_overlooked_and_other_credentials_are_none() {
        let of = |texts: &[&str]| {
            let value = |text: &&str| HeaderValue::from_bytes(text.as_bytes()).expect("a header");
            let mut headers = HeaderMap::new();
            for value in texts.iter().map(value) {
                headers.append(header::AUTHORIZATION, value);
            }
            bearer(&headers)
        };
        let cases: [(&[&str], Option<&str>); 11] = [
            (&[], None),
            (&["Bearer bat_1"], Some("bat_1")),
            (&["bearer  bat_1 "], Some("bat_1")),
            (&["Bearer\tbat_1"], Some("bat_1")),
            (&["Bearer bat_é"], Some("bat_é")),
            (&["Bearer"], Some("")),
            (&["Bearer "], Some("")),
            (&["bat_1"], Some("")),
            (&["Basic YTpi"], None),
            (&["Basic YTpi", "Bearer bat_1"], Some("bat_1")),
            (&["Bearer bat_1", "Bearer bat_2"], Some("")),
        ];
        for (texts, token) in cases {
            assert_eq!(of(texts).as_deref(), token, "{texts:?}");
        }
    }
}
