//! Purchases on GitHub Marketplace: GitHub's events about them, and settling them when credits or changes are due.

use super::{Deps, args};
use crate::clock::TimeMs;
use crate::domain::customer::Customer;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::github::{self, Action};
use crate::domain::job::Outcome;
use crate::domain::marketplace::terms::Terms;
use crate::domain::marketplace::{MarketplaceAccount, SettleArgs, period, rules, settle_job};
use crate::domain::webhook::delivery::UNREADABLE;
use crate::error::Result;
use crate::ids::EventId;
use crate::infra::store::{customer, marketplace};
use crate::usecase::handler::Claimed;

/// Processes one event.
pub(super) async fn event(deps: &Deps, claimed: &Claimed, now_ms: TimeMs) -> Result<Verdict> {
    let dead = |reason: String| Ok(Verdict::from(Outcome::Dead { reason }));
    let (Some(payload), Some(event_type)) = (&claimed.payload, &claimed.event_type) else {
        return dead("the event's bytes are gone".to_owned());
    };
    if event_type != UNREADABLE && github::Action::of_event_type(event_type).is_none() {
        return Ok(Outcome::Done.into());
    }
    let said = match github::read_purchase(payload) {
        Ok(said) => said,
        Err(reason) => return dead(reason),
    };
    let known = marketplace::marketplace_find(deps.db.read(), said.account_id).await?;
    let catalogue = deps.catalogue.now();
    let terms = Terms { catalogue: &catalogue, config: &deps.marketplace };
    let plan = terms.plan_of(said.plan_id, &said.plan_name);
    let id = claimed.job.event_id.as_ref().map_or(claimed.job.id.as_str(), EventId::as_str);
    let account = rules::apply_purchase(known.as_ref(), &said, plan.as_ref(), id, &catalogue, now_ms);
    let is_order_unclear = rules::is_order_unclear(&account, said.effective_ms);
    let customer = owner(deps, &account).await?;
    let mut verdict = rules::settle(known.as_ref(), account, customer.as_ref(), terms, now_ms);
    if plan.is_none() && !matches!(said.action, Action::Cancelled | Action::PendingChangeCancelled) {
        // The change is stored although it has no effect yet: a replay applies it once the plan is configured.
        verdict.outcome = Outcome::Dead {
            reason: format!(
                "plan_unknown: marketplace.plans does not map the listing's plan {} ({}) to a plan or a price of the \
                 catalogue, and no plan of the catalogue has its name",
                said.plan_name, said.plan_id
            ),
        };
    } else if is_order_unclear {
        verdict.outcome = Outcome::Dead {
            reason: format!(
                "order_unclear: the events of {} do not say which of them came last; nothing is taken away until \
                 support corrects the purchase",
                period::day(said.effective_ms)
            ),
        };
    }
    Ok(verdict)
}

/// Settles an account if the job is in the account's stream. Otherwise its day has come, and it inserts a job into that
/// stream.
pub(super) async fn settle(deps: &Deps, claimed: &Claimed, now_ms: TimeMs) -> Result<Verdict> {
    let SettleArgs { github_account_id: id, correction } = args(claimed)?;
    // The job's day has come, even if this node's clock is behind that of the node that announced it.
    let now_ms = now_ms.max(claimed.job.run_at_ms);
    let mut job = settle_job(id, now_ms);
    if job.stream_key.as_deref() != Some(&claimed.job.stream_key) {
        job.unique_key = Some(format!("marketplace:run:{}", claimed.job.id));
        return Ok(Verdict { outcome: Outcome::Done, ledger: None, effects: vec![Effect::JobInsert(job)] });
    }
    let Some(account) = marketplace::marketplace_find(deps.db.read(), id).await? else {
        return Ok(Outcome::Cancel { reason: "there is no such marketplace account".to_owned() }.into());
    };
    let job_id = claimed.job.id.as_str();
    let corrected = correction.and_then(|correction| rules::apply_correction(&account, &correction, job_id, now_ms));
    let customer = owner(deps, &account).await?;
    let after = corrected.unwrap_or_else(|| account.clone());
    let catalogue = deps.catalogue.now();
    let terms = Terms { catalogue: &catalogue, config: &deps.marketplace };
    Ok(rules::settle(Some(&account), after, customer.as_ref(), terms, now_ms))
}

async fn owner(deps: &Deps, account: &MarketplaceAccount) -> Result<Option<Customer>> {
    match &account.customer_id {
        Some(id) => customer::customer_find(deps.db.read(), id).await,
        None => Ok(None),
    }
}
