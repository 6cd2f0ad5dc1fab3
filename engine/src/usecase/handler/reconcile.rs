//! Carries out a reconciliation: compares page after page of Stripe's lists by the rules of
//! [`crate::domain::reconcile`].
//!
//! One attempt compares a limited number of pages and then snoozes, so that it is short and a crash loses little. Its
//! progress, findings and repairs commit together with its end.
//!
//! | module | contents |
//! |---|---|
//! | `customers` | events, customers |
//! | `subscriptions` | subscriptions, invoices |
//! | `grants` | grants for invoices, parts that are still to be granted |
//! | `payments` | payments, refunds, disputes |
//! | `credit_notes` | credit notes |
//! | `scope` | what a run compares: everything, what changed, one customer |

mod credit_notes;
mod customers;
mod grants;
mod payments;
mod scope;
mod subscriptions;

use super::Failure;
use super::{Deps, args, stripe_customer_job};
use crate::clock::TimeMs;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::reconcile::difference::{affected_objects, drop_recent};
use crate::domain::reconcile::{Difference, Finding, Phase, Reconciliation, Repair, State, Step};
use crate::domain::webhook::delivery::delivery;
use crate::domain::webhook::{fields, stripe_stream};
use crate::error::Result;
use crate::ids::ReconciliationId;
use crate::infra::store::customer::stripe_customers_of;
use crate::infra::store::reconciliation as rows;
use crate::infra::stripe::StripeError;
use crate::metric;
use crate::usecase::handler::Claimed;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of pages of one attempt.
const PAGES_MAX: usize = 20;
/// An attempt begins no page after this time, so that its progress is shown often.
const PAGES_FOR: Duration = Duration::from_secs(1);
/// An attempt begins no page after this many repairs: they commit in one transaction.
const REPAIRS_MAX: usize = 50;
/// Rows of ours on one page: Stripe is asked for each in a call of its own.
const HERE_PAGE_LEN: u64 = 25;
/// Maximum number of pages that are searched for recent events.
const RECENT_PAGES_MAX: usize = 50;
/// How far Stripe's clock may be ahead of ours.
const CLOCK_SLACK_S: i64 = 60 * 60;
/// Wait between checks whether the lost events that were stored are processed.
const SETTLE_WAIT_MS: i64 = 500;
/// How long a run waits for them. Later phases may find the effects of the others missing.
const SETTLE_FOR_MS: i64 = 60_000;

#[derive(Deserialize)]
struct ReconcileArgs {
    reconciliation: String,
}

/// Runs one attempt at the run that the job names.
pub(super) async fn run(deps: &Deps, claimed: &Claimed, now_ms: TimeMs) -> Result<Verdict> {
    let id = ReconciliationId::trusted(args::<ReconcileArgs>(claimed)?.reconciliation);
    let Some(run) = rows::reconciliation_find(deps.db.read(), &id).await? else {
        return Ok(Outcome::Cancel { reason: "the reconciliation is gone".to_owned() }.into());
    };
    if run.state != State::Running {
        return Ok(Outcome::Cancel { reason: format!("the reconciliation is {}", run.state.as_str()) }.into());
    }
    let started = Instant::now();
    let mut walk = Walk::new(deps, run, now_ms);
    for page in 0..PAGES_MAX {
        match walk.page().await {
            Ok(Next::Page) if started.elapsed() < PAGES_FOR && walk.repairs.len() < REPAIRS_MAX => {}
            Ok(Next::Page) => break,
            Ok(Next::Wait(until_ms)) => return Ok(walk.pause(until_ms)),
            Ok(Next::End) => return Ok(walk.end(State::Done, None, Outcome::Done)),
            Err(Failure::Engine(error)) => return Err(error),
            // Commit the pages before this one. The next attempt begins with this page.
            Err(Failure::Stripe(_)) if page > 0 => break,
            Err(Failure::Stripe(error)) => return Ok(walk.cannot_ask(&error, claimed)),
        }
    }
    Ok(walk.pause(now_ms))
}

/// What follows a page.
enum Next {
    /// The next page.
    Page,
    /// A pause until this time.
    Wait(TimeMs),
    /// Everything is compared.
    End,
}

/// A page, compared.
struct Page {
    /// Objects looked at.
    checked: usize,
    differences: Vec<Difference>,
    /// Ids of Stripe's objects, for the phase that looks for rows of ours without one.
    seen: Vec<String>,
    /// The id of the last object, if more follow.
    cursor: Option<String>,
}

/// One attempt at a run.
struct Walk<'a> {
    deps: &'a Deps,
    run: Reconciliation,
    findings: Vec<Finding>,
    seen: Vec<String>,
    repairs: Vec<Effect>,
    now_ms: TimeMs,
}

impl<'a> Walk<'a> {
    fn new(deps: &'a Deps, run: Reconciliation, now_ms: TimeMs) -> Self {
        Self { deps, run, findings: Vec::new(), seen: Vec::new(), repairs: Vec::new(), now_ms }
    }

    fn since_s(&self) -> i64 {
        self.run.since_ms / 1_000
    }

    fn until_s(&self) -> i64 {
        self.run.until_ms / 1_000
    }

    /// Compares one page of the current phase and moves on.
    async fn page(&mut self) -> Result<Next, Failure> {
        if self.run.phase == Phase::Settle && self.must_wait().await? {
            return Ok(Next::Wait(self.now_ms + SETTLE_WAIT_MS));
        }
        if self.run.phase == Phase::CustomersHere && self.run.cursor.is_none() {
            self.wake_waiting().await?;
        }
        let page = match self.run.phase {
            Phase::Undelivered => self.events(true).await?,
            Phase::Events => self.events(false).await?,
            Phase::Settle => Page { checked: 0, differences: Vec::new(), seen: Vec::new(), cursor: None },
            Phase::Customers => self.customers().await?,
            Phase::CustomersHere => self.customers_here().await?,
            Phase::Subscriptions => self.subscriptions().await?,
            Phase::SubscriptionsHere => self.subscriptions_here().await?,
            Phase::Invoices => self.invoices().await?,
            Phase::GrantsHere => self.grants_here().await?,
            Phase::GrantJobs => self.grant_jobs().await?,
            Phase::Payments => self.payments().await?,
            Phase::PaymentsHere => self.payments_here().await?,
            Phase::Refunds => self.refunds().await?,
            Phase::Disputes => self.disputes().await?,
            Phase::CreditNotes => self.credit_notes().await?,
        };
        let differences = self.without_recent(page.differences).await?;
        self.run.counts.count_checked(self.run.phase, page.checked);
        for difference in differences {
            self.note(&difference);
        }
        self.seen.extend(page.seen);
        self.run.cursor = page.cursor;
        if self.run.cursor.is_some() {
            return Ok(Next::Page);
        }
        match self.next_phase() {
            Some(phase) => self.run.phase = phase,
            None => return Ok(Next::End),
        }
        // What this attempt has seen or repaired must be committed before the next phase reads it.
        let asks_the_database = matches!(
            self.run.phase,
            Phase::Events
                | Phase::Settle
                | Phase::CustomersHere
                | Phase::SubscriptionsHere
                | Phase::GrantsHere
                | Phase::PaymentsHere
        );
        let has_news = !self.seen.is_empty() || !self.repairs.is_empty();
        Ok(if asks_the_database && has_news { Next::Wait(self.now_ms) } else { Next::Page })
    }

    /// Has what failed of the only customer's events tried again now: repairs come after it.
    async fn wake_waiting(&mut self) -> Result<(), Failure> {
        let Some(customer) = self.run.only_customer.as_ref().filter(|_| self.run.repair) else { return Ok(()) };
        let ids = stripe_customers_of(self.deps.db.read(), customer).await?;
        self.repairs.extend(ids.iter().map(|id| Effect::StreamHasten { stream_key: stripe_stream(id) }));
        Ok(())
    }

    /// The next phase that compares what the run is about.
    fn next_phase(&self) -> Option<Phase> {
        let is_of_run = |phase: &Phase| self.run.only_customer.is_none() || phase.is_of_customer();
        std::iter::successors(self.run.phase.next(), |phase| phase.next()).find(is_of_run)
    }

    /// Whether lost events are still being processed. The cursor of this phase is the end of the wait for them.
    async fn must_wait(&mut self) -> Result<bool, Failure> {
        let until_ms = self.run.cursor.as_deref().and_then(|text| text.parse().ok());
        let until_ms: TimeMs = until_ms.unwrap_or(self.now_ms + SETTLE_FOR_MS);
        self.run.cursor = Some(until_ms.to_string());
        let took_in = self.run.counts.total().repaired > 0;
        let waits = took_in && rows::reconciliation_waits(self.deps.db.read(), &self.run.id).await?;
        Ok(waits && self.now_ms < until_ms)
    }

    /// Drops differences in objects that have a recent event, which will explain them.
    async fn without_recent(&self, differences: Vec<Difference>) -> Result<Vec<Difference>, Failure> {
        let is_about_objects = !matches!(self.run.phase, Phase::Undelivered | Phase::Events);
        if differences.is_empty() || !is_about_objects || self.deps.reconcile_grace_ms == 0 {
            return Ok(differences);
        }
        let mut recent: HashSet<String> = HashSet::new();
        let mut after: Option<String> = None;
        let since_s = (self.now_ms - self.deps.reconcile_grace_ms) / 1_000;
        let until_s = self.now_ms / 1_000 + CLOCK_SLACK_S;
        for _ in 0..RECENT_PAGES_MAX {
            let list = self.deps.stripe.event_list(since_s, until_s, false, after.as_deref()).await?;
            recent.extend(fields::rows(&list).iter().flat_map(affected_objects));
            after = next_of(&list);
            if after.is_none() {
                break;
            }
        }
        Ok(drop_recent(differences, &recent))
    }

    /// Records a difference, and starts its repair if it has one and repairs are requested.
    fn note(&mut self, difference: &Difference) {
        let repair = difference.repair.as_ref().filter(|_| self.run.repair);
        self.findings.extend(self.run.counts.add(difference, repair.is_some()));
        let store_event = |event: &Value| {
            let delivery = delivery(event.to_string().as_bytes(), self.deps.livemode, self.now_ms);
            // It comes after what waits in its stream.
            let hasten = Effect::StreamHasten { stream_key: delivery.event.stream_key.clone() };
            vec![Effect::EventTake(Box::new(delivery)), hasten]
        };
        let effects = match repair {
            None => return,
            Some(Repair::StoreEvent(event)) => store_event(event),
            Some(Repair::MakeEvent { kind, object }) => {
                store_event(&difference.event(self.run.id.as_str(), *kind, object, self.deps.livemode))
            }
            Some(Repair::CreateStripeCustomer(customer)) => {
                vec![Effect::JobInsert(stripe_customer_job(customer, self.run.id.as_str(), self.now_ms))]
            }
            Some(Repair::Requeue(job_id)) => vec![Effect::JobRequeue { job_id: job_id.clone() }],
        };
        self.repairs.extend(effects);
    }

    fn verdict(self, outcome: Outcome) -> Verdict {
        let mut effects = self.repairs;
        let step = Step { run: self.run, findings: self.findings, seen: self.seen };
        effects.push(Effect::ReconciliationStep(Box::new(step)));
        Verdict { outcome, ledger: None, effects }
    }

    fn pause(self, until_ms: TimeMs) -> Verdict {
        self.verdict(Outcome::Snooze { until_ms })
    }

    fn end(mut self, state: State, reason: Option<String>, outcome: Outcome) -> Verdict {
        let total = self.run.counts.total();
        let (found, left) = (total.found, total.left());
        if left > 0 {
            tracing::warn!(reconciliation.id = %self.run.id, found, left, "Stripe and we know different things");
        }
        metrics::counter!(metric::RECONCILIATIONS, "outcome" => state.as_str()).increment(1);
        self.run = self.run.end(state, reason, self.now_ms);
        self.verdict(outcome)
    }

    /// Handles a failed call to Stripe: retries it while attempts are left and it may succeed, else ends the run.
    fn cannot_ask(self, error: &StripeError, claimed: &Claimed) -> Verdict {
        let reason = error.to_string();
        if matches!(error, StripeError::NotConfigured) {
            return self.end(State::Cancelled, Some(reason.clone()), Outcome::Cancel { reason });
        }
        if error.is_retryable() && claimed.job.attempt + 1 < claimed.job.attempts_max {
            return Outcome::Retry { reason }.into();
        }
        self.end(State::Failed, Some(reason.clone()), Outcome::Dead { reason })
    }
}

/// The id after which the next page of a list begins; `None` if there is none.
fn next_of(list: &Value) -> Option<String> {
    let last = fields::rows(list).last().and_then(|row| fields::id(&row["id"]));
    last.filter(|_| list["has_more"] == true)
}
