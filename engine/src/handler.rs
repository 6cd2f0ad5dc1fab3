//! Handlers: what each kind of job does. A handler reads, decides and gives a verdict; whatever it
//! wants changed commits together with the end of its attempt.

mod mail;
mod operation;
mod stripe;
mod stripe_customer;
mod subscription;

pub use operation::operation_job;
pub use stripe::{StripeEvent, gather};
pub use stripe_customer::stripe_customer_job;

use crate::clock::TimeMs;
use crate::config::CreditsConfig;
use crate::error::{Error, Result};
use crate::ids::{CustomerId, ReplayId};
use crate::job::{Claimed, JobKind, Outcome, Verdict};
use crate::ledger::Command;
use crate::mail::Mailer;
use crate::store::{Db, job, rate_limit};
use crate::stripe::Gateway;
use crate::webhook::ProPrice;
use crate::{effect::Effect, replay};
use serde::Deserialize;

/// Jobs deleted by one run of the retention.
const RETENTION_BATCH: u64 = 1_000;
/// A rate limit is forgotten this long after its last window, so that clocks that differ do no harm.
const RATE_LIMIT_SLACK_MS: i64 = 60 * 60 * 1_000;
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
    /// Numbers of the business.
    pub credits: CreditsConfig,
    /// The way to Stripe.
    pub stripe: Gateway,
    /// How long a call that failed at Stripe may still turn out to have been carried out.
    pub doubt_ms: i64,
    /// What mail is made and sent with.
    pub mail: Mailer,
    /// Whether events of live mode are expected.
    pub livemode: bool,
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
        Some(JobKind::StripeEvent) => {
            let verdict = Box::pin(stripe::run(deps, claimed, now_ms)).await?;
            Ok(stripe::of_ended_subscriptions(verdict, now_ms))
        }
        Some(JobKind::OperationRun) => {
            let verdict = Box::pin(operation::run(deps, claimed, now_ms)).await?;
            Ok(stripe::of_ended_subscriptions(verdict, now_ms))
        }
        Some(JobKind::StripeCustomer) => stripe_customer::run(deps, claimed, now_ms).await,
        Some(JobKind::StripeReconcile) => Ok(Outcome::Done.into()),
        Some(JobKind::AccountSettle) => {
            let customer_id = CustomerId::trusted(args::<AccountArgs>(claimed)?.customer);
            let ledger = Some((customer_id, Command::settle()));
            Ok(Verdict { outcome: Outcome::Done, ledger, effects: Vec::new() })
        }
        Some(JobKind::ReplayRun) => {
            let id = ReplayId::trusted(args::<ReplayArgs>(claimed)?.replay);
            Box::pin(replay::run(deps, &id, now_ms)).await
        }
        Some(JobKind::MailSend) => Box::pin(mail::run(deps, claimed, now_ms)).await,
        Some(JobKind::Retention) => retention(deps, now_ms).await,
        None => Ok(Outcome::Dead { reason: format!("this version knows no job of kind {}", claimed.job.kind) }.into()),
    }
}

async fn retention(deps: &Deps, now_ms: TimeMs) -> Result<Verdict> {
    let before_ms = now_ms - deps.retention_days * DAY_MS;
    let tx = deps.db.begin().await?;
    let deleted = job::job_prune(&tx, before_ms, RETENTION_BATCH).await?;
    tx.commit().await?;
    let forgotten =
        rate_limit::rate_limit_prune(deps.db.write(), now_ms - RATE_LIMIT_SLACK_MS, RETENTION_BATCH).await?;
    if deleted == RETENTION_BATCH || forgotten == RETENTION_BATCH {
        return Ok(Outcome::Snooze { until_ms: now_ms + 100 }.into());
    }
    Ok(Outcome::Done.into())
}

/// The job that settles an account at the moment a hold ends.
pub fn settle_job(customer: &CustomerId, unique_key: String, at_ms: TimeMs) -> Effect {
    let args = serde_json::json!({ "customer": customer.as_str() }).to_string();
    let mut job = crate::job::NewJob::new(JobKind::AccountSettle, args, at_ms);
    job.unique_key = Some(unique_key);
    job.customer_id = Some(customer.clone());
    Effect::JobInsert(job)
}
