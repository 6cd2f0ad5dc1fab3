//! Handlers: what each kind of job does. A handler reads, decides and gives a verdict; whatever it
//! wants changed commits together with the end of its attempt.

pub mod catalogue;
mod credits_grant;
mod invoice;
mod mail;
mod marketplace;
mod operation;
mod price;
mod reconcile;
pub mod replay;
mod stripe;
mod stripe_adopt;
mod stripe_customer;
mod subscription;

pub(in crate::usecase) use credits_grant::DECISION_WAIT_MS;
pub(in crate::usecase) use invoice::first_invoice_id;
pub use operation::{ChangePreview, PreviewError, cancel_job, operation_job, preview_change, replace_job};
pub use stripe::{StripeEvent, gather};
pub(in crate::usecase) use stripe::{
    charges_of_payment, credited_of_invoice, credits_after_refund, money_before_refund,
};
pub use stripe_adopt::stripe_adopt_job;
pub use stripe_customer::{stripe_customer_job, stripe_email_job};

use crate::clock::TimeMs;
use crate::config::{CreditsConfig, MarketplaceConfig};
use crate::domain::catalogue::SharedCatalogue;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::{Attempt, Job, JobKind, Outcome};
use crate::domain::ledger::Command;
use crate::error::{Error, Result};
use crate::ids::{CustomerId, ReplayId};
use crate::infra::smtp::Mailer;
use crate::infra::store::{Db, confirmation, job, rate_limit, rate_log, reconciliation, stream};
use crate::infra::stripe::{Gateway, StripeError};
use serde::{Deserialize, Serialize};
use std::sync::Once;
use std::time::Duration;
use tokio::time::Instant;

/// Jobs deleted by one run of the retention.
const RETENTION_BATCH: u64 = 1_000;
/// Streams checked in one transaction.
const SWEEP_BATCH: u64 = 1_000;
/// Maximum number of such transactions in one run of the retention.
const SWEEP_BATCHES_MAX: usize = 20;
/// The rest after a run that leaves more to delete, as a multiple of the run's duration.
const DELETING_REST: u32 = 4;
/// The rest after a run that only checked streams, as a multiple of the run's duration. Nobody waits for that, so it
/// may take at most a fiftieth of a connection's time.
const SWEEPING_REST: u32 = 50;
/// The shortest rest of the retention.
const RETENTION_REST_MIN_MS: i64 = 100;
/// How long the rows of a rate limit are kept after its last window, in case nodes' clocks differ.
const RATE_LIMIT_SLACK_MS: i64 = 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// How long a job whose kind this version does not know waits before it is dead.
const UNKNOWN_FOR_MS: i64 = 7 * DAY_MS;
/// The shortest wait between two checks of such a job.
const UNKNOWN_WAIT_MIN_MS: i64 = 60 * 1_000;
/// The longest wait between two checks of such a job.
const UNKNOWN_WAIT_MAX_MS: i64 = 60 * 60 * 1_000;

/// What handlers work with.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The database.
    pub db: Db,
    /// The name of this process.
    pub node: String,
    /// What is sold. A handler takes the present catalogue once.
    pub catalogue: SharedCatalogue,
    /// Settings for credits.
    pub credits: CreditsConfig,
    /// Settings for GitHub Marketplace.
    pub marketplace: MarketplaceConfig,
    /// The client of Stripe.
    pub stripe: Gateway,
    /// How long a request waits for its operation's end before it is answered with a hint to poll.
    pub answer_wait_ms: i64,
    /// How long after a failed call to Stripe its effects may still show up.
    pub doubt_ms: i64,
    /// Composes and sends mails.
    pub mail: Mailer,
    /// Whether events of live mode are expected.
    pub livemode: bool,
    /// A reconciliation leaves younger objects and events to their webhooks.
    pub reconcile_grace_ms: i64,
    /// How long ended jobs are kept.
    pub retention_days: i64,
    /// Whether a handler only tries a job, so that it must change nothing at Stripe.
    pub is_dry_run: bool,
}

/// The caller of Stripe that the requests of staff share.
pub const SUPPORT: &str = "support";

impl Deps {
    /// For the requests of one caller, a customer or [`SUPPORT`]: their calls to Stripe take turns with those of
    /// others.
    pub fn for_caller(&self, caller: &str) -> Self {
        Self { stripe: self.stripe.for_caller(caller), ..self.clone() }
    }

    /// For one job: its calls to Stripe take turns with those of other customers.
    pub fn for_job(&self, job: &Job) -> Self {
        let caller = job.customer_id.as_ref().map_or(job.stream_key.as_str(), CustomerId::as_str);
        self.for_caller(caller)
    }
}

/// A job that this node may work on, under an epoch.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The job.
    pub job: Job,
    /// The lease's epoch.
    pub epoch: i64,
    /// When the work began.
    pub started_at_ms: TimeMs,
    /// The event's bytes, if the job processes one. `gather` takes those of a Stripe event.
    pub payload: Option<Vec<u8>>,
    /// The type under which that event is stored.
    pub event_type: Option<String>,
    /// The newest version of the catalogue when its event was read.
    pub catalogue_version: Option<i64>,
    /// The Stripe event that it processes, with what is known here about it.
    pub event: Option<Box<StripeEvent>>,
}

impl Claimed {
    /// The attempt that begins with it.
    pub fn attempt(&self) -> Attempt<'_> {
        Attempt { job: &self.job, epoch: self.epoch, started_at_ms: self.started_at_ms }
    }
}

/// Why a handler cannot go on.
pub(in crate::usecase) enum Failure {
    /// A call to Stripe failed or was refused.
    Stripe(StripeError),
    /// An error of ours, such as no database.
    Engine(Error),
}

impl From<StripeError> for Failure {
    fn from(error: StripeError) -> Self {
        Self::Stripe(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

#[derive(Deserialize)]
struct AccountArgs {
    customer: String,
}

/// How far a run of the retention has come.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct RetentionArgs {
    /// The last stream that was checked.
    streams_upto: String,
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
        Some(JobKind::GithubEvent) => marketplace::event(deps, claimed, now_ms).await,
        Some(JobKind::MarketplaceSettle) => marketplace::settle(deps, claimed, now_ms).await,
        Some(JobKind::StripeCustomer) => stripe_customer::run(deps, claimed, now_ms).await,
        Some(JobKind::StripeAdopt) => Box::pin(stripe_adopt::run(deps, claimed, now_ms)).await,
        Some(JobKind::StripeReconcile) => Box::pin(reconcile::run(deps, claimed, now_ms)).await,
        // Only nodes of the release before m0018 create such jobs; today the sweep settles due accounts.
        Some(JobKind::AccountSettle) => {
            let customer_id = CustomerId::trusted(args::<AccountArgs>(claimed)?.customer);
            let ledger = Some((customer_id, Command::settle()));
            Ok(Verdict { outcome: Outcome::Done, ledger, effects: Vec::new() })
        }
        Some(JobKind::ReplayRun) => {
            let id = ReplayId::trusted(args::<ReplayArgs>(claimed)?.replay);
            Box::pin(replay::run(deps, &id, now_ms)).await
        }
        Some(JobKind::CatalogueApply) => Box::pin(catalogue::run(deps, claimed, now_ms)).await,
        Some(JobKind::CreditsGrant) => credits_grant::run(deps, claimed, now_ms).await,
        Some(JobKind::MailSend) => Box::pin(mail::run(deps, claimed, now_ms)).await,
        Some(JobKind::Retention) => retention(deps, claimed, now_ms).await,
        None => Ok(unknown_kind(&claimed.job, now_ms).into()),
    }
}

/// Snoozes a job whose kind only another version knows: during a rolling deploy, a node of that version will claim it.
/// The wait is the job's age, within bounds. So a deploy at most doubles the job's delay, and a job that no node knows
/// does not fill the table of attempts.
fn unknown_kind(job: &Job, now_ms: TimeMs) -> Outcome {
    static WARNED: Once = Once::new();
    let age_ms = now_ms - job.created_at_ms;
    if age_ms >= UNKNOWN_FOR_MS {
        return Outcome::Dead { reason: format!("this version knows no job of kind {}", job.kind) };
    }
    WARNED.call_once(|| {
        let (id, kind) = (&job.id, &job.kind);
        tracing::warn!(job.id = %id, kind, "this version does not know a kind of job; such jobs wait for one that does");
    });
    Outcome::Snooze { until_ms: now_ms + age_ms.clamp(UNKNOWN_WAIT_MIN_MS, UNKNOWN_WAIT_MAX_MS) }
}

/// The further changes when a job dies, whatever the reason.
pub fn after_death(claimed: &Claimed) -> Vec<Effect> {
    match (JobKind::parse(&claimed.job.kind), args::<ReplayArgs>(claimed)) {
        (Some(JobKind::ReplayRun), Ok(ReplayArgs { replay })) => vec![replay::after_death(ReplayId::trusted(replay))],
        _ => Vec::new(),
    }
}

/// Snoozes the retention until its next run: after the run that began at `now_ms`, and a rest of `times` its duration.
fn after_rest(took: Duration, times: u32, now_ms: TimeMs) -> Outcome {
    let both_ms = i64::try_from(took.saturating_mul(times + 1).as_millis()).unwrap_or(i64::MAX);
    Outcome::Snooze { until_ms: now_ms.saturating_add(both_ms.max(RETENTION_REST_MIN_MS)) }
}

async fn retention(deps: &Deps, claimed: &Claimed, now_ms: TimeMs) -> Result<Verdict> {
    let began = Instant::now();
    let before_ms = now_ms - deps.retention_days * DAY_MS;
    let tx = deps.db.begin().await?;
    let deleted = job::job_prune(&tx, before_ms, RETENTION_BATCH).await?;
    tx.commit().await?;
    let unlimited_ms = now_ms - RATE_LIMIT_SLACK_MS;
    let forgotten = rate_limit::rate_limit_prune(deps.db.write(), unlimited_ms, RETENTION_BATCH).await?;
    let logs = rate_log::rate_log_prune(deps.db.write(), unlimited_ms, RETENTION_BATCH).await?;
    let seen = reconciliation::reconciliation_prune(deps.db.write(), before_ms, RETENTION_BATCH).await?;
    let links = confirmation::confirmation_link_prune(deps.db.write(), before_ms, RETENTION_BATCH).await?;
    if [deleted, forgotten, logs, seen, links].contains(&RETENTION_BATCH) {
        return Ok(after_rest(began.elapsed(), DELETING_REST, now_ms).into());
    }
    sweep_streams(deps, claimed, now_ms).await
}

/// Deletes streams that are no longer used, some in each run. The job's arguments have the last stream that was
/// checked.
async fn sweep_streams(deps: &Deps, claimed: &Claimed, now_ms: TimeMs) -> Result<Verdict> {
    let mut args: RetentionArgs = args(claimed)?;
    let began = Instant::now();
    for _ in 0..SWEEP_BATCHES_MAX {
        let tx = deps.db.begin().await?;
        let swept = stream::stream_sweep(&tx, &args.streams_upto, SWEEP_BATCH).await?;
        tx.commit().await?;
        let Some(upto) = swept.next else { return Ok(Outcome::Done.into()) };
        args.streams_upto = upto;
    }
    let args = serde_json::to_string(&args).map_err(|error| Error::Corrupt(format!("arguments of a job: {error}")))?;
    let mut verdict = Verdict::from(after_rest(began.elapsed(), SWEEPING_REST, now_ms));
    verdict.effects.push(Effect::JobArgs { job_id: claimed.job.id.clone(), args });
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::JobState;
    use crate::ids::JobId;

    fn of_another_version(created_at_ms: TimeMs) -> Job {
        Job {
            id: JobId::new(),
            kind: "moon.landing".to_owned(),
            args: "{}".to_owned(),
            stream_key: "s".to_owned(),
            seq: 1,
            state: JobState::Running,
            attempt: 0,
            attempts_max: 3,
            rescues: 0,
            run_at_ms: created_at_ms,
            unique_key: None,
            event_id: None,
            customer_id: None,
            last_error: None,
            created_at_ms,
            finished_at_ms: None,
        }
    }

    #[test]
    fn the_retention_rests_in_proportion_to_the_work_it_did() {
        let next = |ms: u64, times: u32| after_rest(Duration::from_millis(ms), times, 1_000);
        let snooze_until = |until_ms: i64| Outcome::Snooze { until_ms };
        assert_eq!(next(80, SWEEPING_REST), snooze_until(1_000 + 80 * 51));
        assert_eq!(next(60, DELETING_REST), snooze_until(1_000 + 60 * 5));
        assert_eq!(next(0, SWEEPING_REST), snooze_until(1_000 + RETENTION_REST_MIN_MS));
        assert_eq!(after_rest(Duration::MAX, SWEEPING_REST, 1_000), snooze_until(i64::MAX));
    }

    #[test]
    fn a_kind_that_only_another_version_knows_waits_ever_longer_for_it_and_is_dead_after_a_week() {
        let looked_at = |age_ms: i64| unknown_kind(&of_another_version(5), 5 + age_ms);
        let waits = |age_ms: i64, for_ms: i64| {
            assert_eq!(looked_at(age_ms), Outcome::Snooze { until_ms: 5 + age_ms + for_ms }, "{age_ms}");
        };
        // Checked by a clock that is behind, at once, a while later, much later.
        waits(-1_000, UNKNOWN_WAIT_MIN_MS);
        waits(0, UNKNOWN_WAIT_MIN_MS);
        waits(10 * UNKNOWN_WAIT_MIN_MS, 10 * UNKNOWN_WAIT_MIN_MS);
        waits(DAY_MS, UNKNOWN_WAIT_MAX_MS);
        waits(7 * DAY_MS - 1, UNKNOWN_WAIT_MAX_MS);
        let dead = Outcome::Dead { reason: "this version knows no job of kind moon.landing".to_owned() };
        assert_eq!(looked_at(7 * DAY_MS), dead);
    }
}
