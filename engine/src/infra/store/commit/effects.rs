//! Writes the effects of a transaction's units in sets: each frequent kind takes one statement for all units. Rare
//! effects, such as staff's or those once in a customer's life, take one statement each.
//!
//! Kinds are written in a fixed order, so only effects on the same rows must keep theirs:
//! - a row with several effects is written that many times, in their order ([`waves`]), so that a guard such as "an
//!   ended subscription stays so" sees each of them;
//! - single effects, and links to Stripe among them, keep the order of the units;
//! - plans follow everything that gives a plan, because they read it;
//! - jobs come last, in one call, which locks streams in the order of their keys. Events come first, before any
//!   stream is locked, as at intake, and invoices next ([`write_invoices`]).

use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::domain::charge::record::ChargeRecord;
use crate::domain::effect::Effect;
use crate::domain::job::{NewJob, Wake};
use crate::domain::mail::Mail;
use crate::domain::operation::Operation;
use crate::domain::payment::Invoice;
use crate::domain::replay::ReplayStep;
use crate::domain::subscription::Subscription;
use crate::domain::webhook::delivery::Delivery;
use crate::error::Result;
use crate::ids::{CustomerId, JobId, ReplayId};
use crate::infra::store::customer::PlanChange;
use crate::infra::store::{
    audit, bonus, catalogue, charge, customer, event, job, mail, marketplace, operation, payment, payment_method,
    reconciliation, replay, stream, subscription, top_up,
};
use sea_orm::ConnectionTrait;
use std::borrow::Cow;
use std::collections::HashMap;

/// Effects by kind, each list in the order of the units.
#[derive(Default)]
pub(super) struct Effects<'a> {
    operations: Vec<&'a Operation>,
    charges: Vec<&'a ChargeRecord>,
    subscriptions: Vec<&'a Subscription>,
    invoices: Vec<&'a Invoice>,
    plans: Vec<PlanChange<'a>>,
    args: Vec<(&'a JobId, &'a str)>,
    mails: Vec<&'a Mail>,
    /// Each with the index of its unit.
    jobs: Vec<(usize, JobSource<'a>)>,
    others: Vec<OrderedEffect<'a>>,
}

/// The origin of a job.
enum JobSource<'a> {
    Job(&'a NewJob),
    Event(&'a Delivery),
}

/// Effects whose events are stored. What made a job no longer matters.
pub(super) struct Stored<'a> {
    effects: Effects<'a>,
    /// All jobs, each with the index of its unit.
    jobs: Vec<(usize, Cow<'a, NewJob>)>,
}

/// An effect that keeps its place among others.
enum OrderedEffect<'a> {
    /// Consecutive links to Stripe, which come with the first event of each customer.
    Links(Vec<(&'a CustomerId, &'a str)>),
    /// Another effect, with the index of its unit.
    Single(usize, &'a Effect),
}

impl<'a> Effects<'a> {
    /// Adds an effect of the unit at this index.
    pub(super) fn add(&mut self, unit: usize, effect: &'a Effect) {
        match effect {
            Effect::OperationPut(operation) => self.operations.push(operation),
            Effect::ChargePut(charge) => self.charges.push(charge),
            Effect::SubscriptionPut(subscription) => self.subscriptions.push(subscription),
            Effect::InvoicePut(invoice) => self.invoices.push(invoice),
            Effect::PlanSet { customer_id, plan, has_left, catalogue } => {
                self.plans.push(PlanChange { customer_id, plan, has_left: has_left.as_ref(), catalogue });
            }
            Effect::JobArgs { job_id, args } => self.args.push((job_id, args)),
            Effect::MailPut(mail) => self.mails.push(mail),
            Effect::JobInsert(new) => self.jobs.push((unit, JobSource::Job(new))),
            Effect::EventTake(delivery) => self.jobs.push((unit, JobSource::Event(delivery))),
            Effect::StripeLink { customer_id, stripe_customer_id } => {
                let link = (customer_id, stripe_customer_id.as_str());
                match self.others.last_mut() {
                    Some(OrderedEffect::Links(links)) => links.push(link),
                    _ => self.others.push(OrderedEffect::Links(vec![link])),
                }
            }
            other => self.others.push(OrderedEffect::Single(unit, other)),
        }
    }

    /// Stores the events. A new event is replaced by its job, a known one is removed.
    pub(super) async fn store_events(mut self, tx: &impl ConnectionTrait) -> Result<Stored<'a>> {
        let event = |(_, made): &(usize, JobSource<'a>)| {
            if let JobSource::Event(delivery) = made { Some(*delivery) } else { None }
        };
        let deliveries: Vec<&Delivery> = self.jobs.iter().filter_map(event).collect();
        let mut of_events = event::event_take_many(tx, &deliveries).await?.into_iter();
        let made = std::mem::take(&mut self.jobs).into_iter().filter_map(|(unit, made)| {
            let job = match made {
                JobSource::Job(job) => Cow::Borrowed(job),
                JobSource::Event(_) => Cow::Owned(of_events.next().flatten()?),
            };
            Some((unit, job))
        });
        let jobs = made.collect();
        Ok(Stored { effects: self, jobs })
    }
}

impl Stored<'_> {
    /// The shared streams that these effects lock: those that gain a job, and those that continue because a dead
    /// job runs again. A job without an order has a new stream of its own, which nobody else knows yet.
    pub(super) async fn shared_streams(&self, tx: &impl ConnectionTrait) -> Result<Vec<String>> {
        let mut streams: Vec<String> = self.jobs.iter().filter_map(|(_, job)| job.stream_key.clone()).collect();
        let others = self.effects.others.iter();
        let requeued: Vec<String> = others.flat_map(requeued_jobs).map(ToString::to_string).collect();
        streams.extend(stream::stream_of_dead_many(tx, &requeued).await?);
        Ok(streams)
    }
}

/// The ended jobs that an effect runs again.
fn requeued_jobs<'a>(other: &OrderedEffect<'a>) -> Vec<&'a JobId> {
    match other {
        OrderedEffect::Single(_, Effect::JobRequeue { job_id }) => vec![job_id],
        OrderedEffect::Single(_, Effect::ReplayItems { steps, .. }) => {
            steps.iter().filter_map(|step| step.requeue.as_ref()).collect()
        }
        _ => Vec::new(),
    }
}

/// Writes what becomes of invoices: all that a transaction changes in them, before it locks a stream.
pub(super) async fn write_invoices(tx: &impl ConnectionTrait, stored: &Stored<'_>) -> Result<()> {
    let by_kind = &stored.effects;
    for wave in waves(by_kind.invoices.clone(), |invoice| invoice.id.as_str()) {
        payment::invoice_put_many(tx, &wave).await?;
    }
    let mut gone: Vec<_> = by_kind.others.iter().filter_map(gone_of_payment).collect();
    // Those of one payment keep their order.
    gone.sort_by_key(|(id, ..)| *id);
    for (id, refunded, disputed, kept) in gone {
        payment::invoice_set_gone(tx, id, (refunded, disputed), kept).await?;
    }
    Ok(())
}

/// What an effect says is gone of a payment: what is refunded, what is disputed, and the part whose credits stay.
fn gone_of_payment<'a>(other: &OrderedEffect<'a>) -> Option<(&'a str, MoneyMinor, MoneyMinor, MoneyMinor)> {
    match other {
        OrderedEffect::Single(_, Effect::PaymentRefunded { payment, refunded, disputed, kept, .. }) => {
            Some((payment.as_str(), *refunded, *disputed, *kept))
        }
        _ => None,
    }
}

/// Writes the other effects. Returns the jobs to announce, each with the index of its unit.
pub(super) async fn write_effects(
    tx: &impl ConnectionTrait,
    stored: Stored<'_>,
    now_ms: TimeMs,
) -> Result<Vec<(usize, Wake)>> {
    let Stored { effects: by_kind, jobs } = stored;
    for wave in waves(by_kind.operations, |operation| operation.id.as_str()) {
        operation::operation_put_many(tx, &wave).await?;
    }
    // Operations were written by their ids, so the charges of one are written in its order.
    for wave in waves(by_kind.charges, |charge| charge.operation_id.as_str()) {
        charge::charge_put_many(tx, &wave).await?;
    }
    for wave in waves(by_kind.subscriptions, |subscription| subscription.id.as_str()) {
        subscription::subscription_put_many(tx, &wave, now_ms).await?;
    }
    for wave in waves(by_kind.args, |(job_id, _)| job_id.as_str()) {
        job::job_set_args_many(tx, &wave).await?;
    }
    mail::mail_put_many(tx, &by_kind.mails).await?;
    let mut wakes = Vec::new();
    for other in by_kind.others {
        match other {
            OrderedEffect::Links(links) => {
                for wave in waves(links, |(customer_id, _)| customer_id.as_str()) {
                    customer::customer_link_stripe_many(tx, &wave, now_ms).await?;
                }
            }
            OrderedEffect::Single(unit, effect) => {
                let woken = write_single(tx, effect, now_ms).await?;
                wakes.extend(woken.into_iter().map(|wake| (unit, wake)));
            }
        }
    }
    for wave in waves(by_kind.plans, |change| change.customer_id.as_str()) {
        customer::customer_set_plan_many(tx, &wave, now_ms).await?;
    }
    wakes.extend(write_jobs(tx, jobs, now_ms).await?);
    Ok(wakes)
}

/// Distributes items over statements so that each writes a row only once: the first item of each row, the second of
/// each, and so on. Nearly always one statement is enough. Within it they are sorted by key, so that all
/// transactions lock rows in the same order.
fn waves<'a, T: Copy>(items: Vec<T>, key: impl Fn(T) -> &'a str) -> Vec<Vec<T>> {
    let mut times: HashMap<&str, usize> = HashMap::new();
    let mut waves: Vec<Vec<T>> = Vec::new();
    for item in items {
        let at = times.entry(key(item)).or_default();
        if *at == waves.len() {
            waves.push(Vec::new());
        }
        waves[*at].push(item);
        *at += 1;
    }
    for wave in &mut waves {
        wave.sort_by(|one, other| key(*one).cmp(key(*other)));
    }
    waves
}

/// Inserts all jobs, in the order of the units.
async fn write_jobs(
    tx: &impl ConnectionTrait,
    made: Vec<(usize, Cow<'_, NewJob>)>,
    now_ms: TimeMs,
) -> Result<Vec<(usize, Wake)>> {
    let mut jobs = Vec::with_capacity(made.len());
    let mut units = HashMap::with_capacity(made.len());
    for (unit, job) in made {
        units.insert(job.id.clone(), unit);
        jobs.push(job.into_owned());
    }
    let wakes = job::job_insert_many(tx, &jobs, now_ms).await?;
    Ok(wakes.into_iter().filter_map(|wake| Some((*units.get(&wake.job_id)?, wake))).collect())
}

/// Writes one effect of a rare kind: staff's, or those that a customer causes a few times. Replays and
/// reconciliations have one unit under way, at their own rate.
async fn write_single(tx: &impl ConnectionTrait, effect: &Effect, now_ms: TimeMs) -> Result<Vec<Wake>> {
    match effect {
        Effect::StripeAdopt { customer_id, stripe_customer_id, replaces } => {
            customer::customer_adopt_stripe(tx, customer_id, stripe_customer_id, replaces.as_deref(), now_ms).await?;
        }
        Effect::StripeUnlink { customer_id, stripe_customer_id } => {
            customer::customer_unlink_stripe(tx, customer_id, stripe_customer_id, now_ms).await?;
            payment_method::payment_method_detach_all(tx, customer_id, now_ms).await?;
        }
        Effect::PaymentMethodPut(method) => payment_method::payment_method_put(tx, method).await?,
        Effect::PaymentMethodDefault { customer_id, id } => {
            payment_method::payment_method_set_default(tx, customer_id, id).await?;
        }
        Effect::PaymentMethodDetach { customer_id, id } => {
            payment_method::payment_method_detach(tx, customer_id, id, now_ms).await?;
        }
        Effect::SubscriptionPriceSet { id, stripe_price } => {
            subscription::subscription_set_stripe_price(tx, id, stripe_price).await?;
        }
        // Of an invoice, above.
        Effect::PaymentRefunded { payment: id, operation, refunded, disputed, .. } => {
            payment::charge_set_gone(tx, id, operation.as_deref(), (*refunded, *disputed)).await?;
        }
        Effect::OperationInsert(operation) => {
            operation::operation_insert(tx, operation).await?;
        }
        Effect::JobHasten { key, cancelled_for } => {
            return Ok(job::job_hasten_waiting(tx, key, cancelled_for, now_ms).await?.into_iter().collect());
        }
        Effect::MarketplacePut(account) => marketplace::marketplace_put(tx, account).await?,
        Effect::JobRequeue { job_id } => {
            return Ok(job::job_requeue(tx, job_id, now_ms).await?.into_iter().collect());
        }
        Effect::StreamHasten { stream_key } => return job::job_hasten_stream(tx, stream_key, now_ms).await,
        Effect::ReplayItems { replay_id, steps } => return write_replay_steps(tx, replay_id, steps, now_ms).await,
        Effect::ReplayEnd { replay_id, state } => {
            replay::replay_move(tx, replay_id, &["running"], state, Some(now_ms)).await?;
        }
        Effect::ReconciliationStep(step) => reconciliation::reconciliation_step(tx, step).await?,
        Effect::CatalogueApply(applied) => catalogue::catalogue_version_apply(tx, applied).await?,
        Effect::Audit(audit) => audit::audit_append(tx, audit, now_ms).await?,
        Effect::BonusPut(given) => bonus::bonus_put(tx, given, now_ms).await?,
        Effect::TopUpHalt(halt) => top_up::top_up_halt(tx, halt).await?,
        // Written in sets, above.
        Effect::OperationPut(_)
        | Effect::ChargePut(_)
        | Effect::SubscriptionPut(_)
        | Effect::InvoicePut(_)
        | Effect::PlanSet { .. }
        | Effect::StripeLink { .. }
        | Effect::JobArgs { .. }
        | Effect::MailPut(_)
        | Effect::JobInsert(_)
        | Effect::EventTake(_) => {}
    }
    Ok(Vec::new())
}

/// Does nothing if the replay was paused or cancelled meanwhile: its items keep waiting.
async fn write_replay_steps(
    tx: &impl ConnectionTrait,
    id: &ReplayId,
    steps: &[ReplayStep],
    now_ms: TimeMs,
) -> Result<Vec<Wake>> {
    let mut wakes = Vec::new();
    if replay::replay_lock_running(tx, id).await? {
        for step in steps {
            let mut step = step.clone();
            if let Some(job_id) = &step.requeue {
                let wake = job::job_requeue(tx, job_id, now_ms).await?;
                if wake.is_none() {
                    step.state = "skipped";
                }
                wakes.extend(wake);
            }
            replay::replay_item_finish(tx, id, &step).await?;
        }
    }
    Ok(wakes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_written_twice_is_written_in_its_order_and_others_in_one_statement() {
        let items = vec![("b", 1), ("a", 2), ("b", 3), ("c", 4), ("b", 5), ("a", 6)];
        let waves = waves(items, |(key, _)| key);
        assert_eq!(waves, [vec![("a", 2), ("b", 1), ("c", 4)], vec![("a", 6), ("b", 3)], vec![("b", 5)]]);
        assert!(super::waves(Vec::<(&str, i64)>::new(), |(key, _)| key).is_empty());
    }
}
