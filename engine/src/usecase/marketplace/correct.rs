//! Support corrects the state of a purchase from a day on, after a lost event or an ambiguous order. This creates
//! the job; the decision is made in the account's stream, in order with events.

use crate::clock::{TimeMs, day, parse_day};
use crate::domain::audit::Audit;
use crate::domain::job::Wake;
use crate::domain::marketplace::rules::is_order_unclear;
use crate::domain::marketplace::{Correction, MarketplaceAccount, PurchaseState, SettleArgs, settle_job};
use crate::error::{Error, Result};
use crate::infra::store::marketplace::marketplace_find;
use crate::infra::store::{Db, audit, job};
use serde_json::json;

/// Creates the job of a correction. Returns the account before it, and the jobs to announce. A correction without a
/// day applies to the day of the last change, if the order on that day is ambiguous.
///
/// # Errors
/// Not found; `marketplace_not_purchased`, `effective_date_required`, `invalid_date`.
pub async fn correct(
    db: &Db,
    github_account_id: i64,
    correction: Correction,
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
    let correction = add_effective_date(correction, &account, now_ms)?;
    let mut settle = settle_job(github_account_id, now_ms);
    settle.args = SettleArgs { github_account_id, correction: Some(correction.clone()) }.to_json();
    settle.customer_id.clone_from(&account.customer_id);
    let details = json!({
        "from": account.state,
        "to": correction.state,
        "effective_ms": correction.effective_ms,
        "next_billing_ms": correction.next_billing_ms,
        "reason": reason,
    });
    let line = Audit::new(actor, "marketplace.correct", format!("github:{github_account_id}"), &details);
    audit::audit_append(&tx, &line, now_ms).await?;
    let wakes = job::job_insert_many(&tx, &[settle], now_ms).await?;
    tx.commit().await?;
    Ok((account, wakes))
}

/// Adds the day from which a correction applies, and checks it.
fn add_effective_date(correction: Correction, account: &MarketplaceAccount, now_ms: TimeMs) -> Result<Correction> {
    let unclear_ms = || parse_day(&day(account.effective_ms)).filter(|at_ms| is_order_unclear(account, *at_ms));
    let effective_ms = correction.effective_ms.or_else(unclear_ms).ok_or_else(|| {
        let message = "effective_date, the day from which the correction applies, may be omitted only if the order \
                       of the last events is unclear";
        Error::invalid("effective_date_required", message)
    })?;
    if effective_ms > now_ms {
        return Err(Error::invalid("invalid_date", "effective_date must not be in the future"));
    }
    if correction.next_billing_ms.is_some_and(|billing_ms| billing_ms <= effective_ms) {
        return Err(Error::invalid("invalid_date", "next_billing_date must be after effective_date"));
    }
    Ok(Correction { effective_ms: Some(effective_ms), ..correction })
}
