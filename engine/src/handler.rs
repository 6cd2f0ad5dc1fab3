//! Handlers: what each kind of job does. A handler reads, decides and gives a verdict; whatever it
//! wants changed commits together with the end of its attempt.

use crate::clock::TimeMs;
use crate::error::{Error, Result};
use crate::ids::{CustomerId, ReplayId};
use crate::job::{Claimed, JobKind, Outcome, Verdict};
use crate::ledger::Command;
use crate::store::{Db, account, customer, job, subscription};
use crate::webhook::{self, Facts, ProPrice};
use crate::{effect::Effect, replay};
use serde::Deserialize;

/// Jobs deleted by one run of the retention.
const RETENTION_BATCH: u64 = 1_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// What handlers work with.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The database.
    pub db: Db,
    /// This process.
    pub node: String,
    /// What makes a price Pro's.
    pub pro: ProPrice,
    /// Credits for every paid period of Pro.
    pub pro_credits: i64,
    /// How long ended jobs are kept.
    pub retention_days: i64,
}

#[derive(Deserialize)]
struct AccountArgs {
    customer: String,
}

#[derive(Deserialize)]
struct ReplayArgs {
    replay: String,
}

fn args<'a, T: Deserialize<'a>>(claimed: &'a Claimed) -> Result<T> {
    serde_json::from_str(&claimed.job.args).map_err(|error| Error::Corrupt(format!("arguments of a job: {error}")))
}

/// Runs the handler of a job. An error is a failure of ours (such as no database), not of the job.
pub async fn handle(deps: &Deps, claimed: &Claimed, now_ms: TimeMs) -> Result<Verdict> {
    match JobKind::parse(&claimed.job.kind) {
        Some(JobKind::StripeEvent) => stripe_event(deps, claimed, now_ms).await,
        Some(JobKind::AccountSettle) => {
            let customer_id = CustomerId::trusted(args::<AccountArgs>(claimed)?.customer);
            let ledger = Some((customer_id, Command::settle()));
            Ok(Verdict { outcome: Outcome::Done, ledger, effects: Vec::new() })
        }
        Some(JobKind::ReplayRun) => {
            let id = ReplayId::trusted(args::<ReplayArgs>(claimed)?.replay);
            Box::pin(replay::run(deps, &id, now_ms)).await
        }
        Some(JobKind::Retention) => retention(deps, now_ms).await,
        None => Ok(Outcome::Dead { reason: format!("this version knows no job of kind {}", claimed.job.kind) }.into()),
    }
}

async fn retention(deps: &Deps, now_ms: TimeMs) -> Result<Verdict> {
    let before_ms = now_ms - deps.retention_days * DAY_MS;
    let tx = deps.db.begin().await?;
    let deleted = job::job_prune(&tx, before_ms, RETENTION_BATCH).await?;
    tx.commit().await?;
    if deleted == RETENTION_BATCH {
        return Ok(Outcome::Snooze { until_ms: now_ms + 100 }.into());
    }
    Ok(Outcome::Done.into())
}

/// Looks up what the event is about and lets the rules decide.
async fn stripe_event(deps: &Deps, claimed: &Claimed, now_ms: TimeMs) -> Result<Verdict> {
    let Some(payload) = &claimed.payload else {
        return Ok(Outcome::Dead { reason: "the event's bytes are gone".to_owned() }.into());
    };
    let envelope = match webhook::envelope(payload) {
        Ok(envelope) => envelope,
        Err(unreadable) => {
            return Ok(Outcome::Dead { reason: format!("unreadable: {}", unreadable.reason) }.into());
        }
    };
    if !webhook::wanted(&envelope.event_type) {
        return Ok(Outcome::Done.into());
    }
    let Some(object) = envelope.object else {
        return Ok(Outcome::Dead { reason: "unreadable: the event carries no object".to_owned() }.into());
    };
    let lookup = webhook::lookup(&object, &envelope.event_type);
    let db = deps.db.read();
    let mut found = match &lookup.stripe_customer_id {
        Some(id) => customer::customer_find_by_stripe(db, id).await?,
        None => None,
    };
    if found.is_none()
        && let Some(id) = lookup.bursar_customer_id.as_deref().and_then(|id| CustomerId::parse(id).ok())
    {
        found = customer::customer_find(db, &id).await?;
    }
    let stored = match &lookup.subscription_id {
        Some(id) => subscription::subscription_find(db, id).await?,
        None => None,
    };
    if found.is_none()
        && let Some(stored) = &stored
    {
        found = customer::customer_find(db, &stored.customer_id).await?;
    }
    if envelope.event_type == "invoice.payment_failed"
        && let (Some(customer), Some(invoice)) = (&found, webhook::shape::id(&object))
        && account::entry_find_by_key(db, &customer.id, &webhook::grant_key(&invoice)).await?.is_some()
    {
        // The news is older than the payment of the same invoice.
        return Ok(Outcome::Done.into());
    }
    let subscriptions_of_customer = match &found {
        Some(customer) => subscription::subscription_list(db, &customer.id).await?,
        None => Vec::new(),
    };
    let facts = Facts {
        event_type: &envelope.event_type,
        object: &object,
        customer: found,
        subscription: stored,
        subscriptions_of_customer,
        pro: &deps.pro,
        pro_credits: deps.pro_credits,
        now_ms,
    };
    Ok(webhook::decide(&facts))
}

/// The job that settles an account at the moment a hold ends.
pub fn settle_job(customer: &CustomerId, unique_key: String, at_ms: TimeMs) -> Effect {
    let args = serde_json::json!({ "customer": customer.as_str() }).to_string();
    let mut job = crate::job::NewJob::new(JobKind::AccountSettle, args, at_ms);
    job.unique_key = Some(unique_key);
    job.customer_id = Some(customer.clone());
    Effect::JobInsert(job)
}
