//! Makes and revokes admin tokens. Each deed is in the audit log.

use crate::clock::{TimeMs, rfc3339};
use crate::config::Config;
use crate::domain::admin_token::{ADMIN_TOKENS_MAX, AdminToken, NewAdminToken};
use crate::domain::api_key::RawKey;
use crate::domain::audit::Audit;
use crate::domain::idempotency::check_same_request;
use crate::error::{Error, Result};
use crate::ids::AdminTokenId;
use crate::infra::store::admin_token::{self as rows, TokenRequest};
use crate::infra::store::{Db, audit};
use sea_orm::ConnectionTrait;
use serde_json::json;

/// A token that was made, now or by an earlier request with the same key.
#[derive(Debug)]
pub struct CreatedAdminToken {
    /// Its record.
    pub token: AdminToken,
    /// The token itself; `None` if an earlier request made it.
    pub raw: Option<RawKey>,
}

/// Stores a new token.
///
/// # Errors
/// `too_many_admin_tokens`; [`Refusal::KeyReused`](crate::error::Refusal::KeyReused).
pub async fn make(
    db: &Db,
    new: NewAdminToken,
    request: TokenRequest<'_>,
    reason: &str,
    now_ms: TimeMs,
) -> Result<CreatedAdminToken> {
    if let Some(token) = find_earlier(db.read(), request).await? {
        return Ok(CreatedAdminToken { token, raw: None });
    }
    let NewAdminToken { raw, token } = new;
    let tx = db.begin().await?;
    if rows::admin_token_count_valid(&tx, now_ms).await? >= ADMIN_TOKENS_MAX {
        let message = format!("there may be {ADMIN_TOKENS_MAX} valid admin tokens: revoke one first");
        return Err(Error::conflict("too_many_admin_tokens", message));
    }
    if !rows::admin_token_insert(&tx, &token, &raw.hash(), request).await? {
        tx.rollback().await?;
        let earlier = find_earlier(db.write(), request).await?.ok_or(Error::Busy("the admin token"))?;
        return Ok(CreatedAdminToken { token: earlier, raw: None });
    }
    let details = json!({
        "name": token.name,
        "scopes": token.scopes.names().collect::<Vec<_>>(),
        "expires_at": token.expires_at_ms.map(rfc3339),
        "reason": reason,
    });
    let line = Audit::new(token.created_by.as_str(), "admin_token.create", &token.id, &details);
    audit::audit_append(&tx, &line, now_ms).await?;
    tx.commit().await?;
    Ok(CreatedAdminToken { token, raw: Some(raw) })
}

async fn find_earlier(db: &impl ConnectionTrait, request: TokenRequest<'_>) -> Result<Option<AdminToken>> {
    let earlier = rows::admin_token_find_by_idempotency(db, request.idempotency_key).await?;
    let Some((token, hash)) = earlier else { return Ok(None) };
    check_same_request(Some(&hash), Some(request.hash))?;
    Ok(Some(token))
}

/// Revokes a token for good. A token that was revoked before stays as it is.
///
/// # Errors
/// [`Error::NotFound`] if there is no such token.
pub async fn revoke(db: &Db, id: &AdminTokenId, actor: &str, reason: &str, now_ms: TimeMs) -> Result<AdminToken> {
    let tx = db.begin().await?;
    let revoked = rows::admin_token_revoke(&tx, id, actor, now_ms).await?;
    let token = rows::admin_token_find(&tx, id).await?.ok_or(Error::NotFound("admin token"))?;
    if revoked {
        let details = json!({ "name": token.name, "reason": reason });
        audit::audit_append(&tx, &Audit::new(actor, "admin_token.revoke", id, &details), now_ms).await?;
    }
    tx.commit().await?;
    Ok(token)
}

/// A warning if the bootstrap token, which names nobody, still works beside tokens that do, where real money moves.
pub fn bootstrap_warning(config: &Config, valid_tokens: u64) -> Option<String> {
    (config.stripe.livemode && config.has_bootstrap() && valid_tokens > 0).then(|| {
        "the bootstrap admin token still works in live mode, though other admin tokens exist: switch it off with \
         admin.bootstrap = false (BURSAR_ADMIN__BOOTSTRAP), so that every deed of staff names somebody"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bootstrap_token_is_warned_about_in_live_mode_beside_other_tokens() {
        let mut config = Config { admin_token: "0123456789abcdef0123456789abcdef".to_owned(), ..Config::default() };
        config.stripe.livemode = true;
        assert!(bootstrap_warning(&config, 1).is_some_and(|warning| warning.contains("BURSAR_ADMIN__BOOTSTRAP")));
        assert_eq!(bootstrap_warning(&config, 0), None, "it makes the first token");
        config.admin.bootstrap = false;
        assert_eq!(bootstrap_warning(&config, 1), None);
        config.admin.bootstrap = true;
        config.stripe.livemode = false;
        assert_eq!(bootstrap_warning(&config, 1), None);
    }
}
