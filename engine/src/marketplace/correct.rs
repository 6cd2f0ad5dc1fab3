//! Support says where a purchase stands, where GitHub's events leave it open or one was lost. Only the account's
//! own stream decides, in order with events; this makes the job that does.

use super::{MarketplaceAccount, PurchaseState, settle_job};
use crate::clock::TimeMs;
use crate::effect::Audit;
use crate::error::{Error, Result};
use crate::job::Wake;
use crate::store::marketplace::marketplace_find;
use crate::store::{Db, audit, job};
use serde_json::json;

/// Has an account stand as support says. Gives the account as it is until then, and what to wake.
///
/// # Errors
/// Not found; `marketplace_not_purchased`.
pub async fn correct(
    db: &Db,
    github_account_id: i64,
    state: PurchaseState,
    actor: &str,
    reason: &str,
    now_ms: TimeMs,
) -> Result<(MarketplaceAccount, Vec<Wake>)> {
    let tx = db.begin().await?;
    let account = marketplace_find(&tx, github_account_id).await?.ok_or(Error::NotFound("marketplace account"))?;
    if account.state == PurchaseState::Announced {
        let message = "GitHub has not reported a purchase of this account yet";
        return Err(Error::conflict("marketplace_not_purchased", message));
    }
    let mut settle = settle_job(github_account_id, now_ms);
    settle.args = json!({ "github_account_id": github_account_id, "corrected_to": state }).to_string();
    settle.customer_id.clone_from(&account.customer_id);
    let line = Audit {
        actor: actor.to_owned(),
        action: "marketplace.correct",
        target: format!("github:{github_account_id}"),
        details: json!({ "from": account.state, "to": state, "reason": reason }).to_string(),
    };
    audit::audit_append(&tx, &line, now_ms).await?;
    let wakes = job::job_insert_many(&tx, &[settle], now_ms).await?;
    tx.commit().await?;
    Ok((account, wakes))
}
