//! Carries out operations: makes calls to Stripe one after another, each under its own key, and interprets the answers.
//!
//! A pure function turns Stripe's answer into the operation's state. After a crash before that is committed, the same
//! call is repeated under the same key. After an answer that leaves the outcome open, and once Stripe may have
//! forgotten the key, Stripe is asked what it has before the call is repeated.

mod change;
mod payer;
mod payment_method;
mod purchase;
mod refund;
mod subscription;
mod usage;

pub use change::{ChangePreview, PreviewError, preview_change};
pub(super) use usage::{paid_with_credits, settle_payment};

use super::{Claimed, Deps, Failure, args, stripe_customer_job};
use crate::clock::TimeMs;
use crate::domain::customer::Customer;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::{JobKind, NewJob, Outcome};
use crate::domain::ledger::{Command, Op};
use crate::domain::operation::{Operation, Problem, Request, State, Task};
use crate::domain::webhook::fields::PaymentIntentFields;
use crate::domain::webhook::stripe_stream;
use crate::error::Result;
use crate::ids::OperationId;
use crate::infra::store::{customer, operation};
use crate::infra::stripe::requests::Mark;
use crate::infra::stripe::{Decline, StripeError};
use crate::metric;
use refund::RefundTerms;
use serde::Deserialize;
use tokio::time::Instant;

/// Wait between checks whether an operation can begin: its customer has a Stripe customer, another operation has ended.
const BEGIN_WAIT_MS: i64 = 300;
/// How long it is checked that often; later checks are retries with backoff.
const BEGIN_WAIT_FOR_MS: i64 = 60_000;

/// Wait before the first automatic new round; doubles with each round.
const NEW_ROUND_WAIT_MS: i64 = 5_000;
/// The longest such wait.
const NEW_ROUND_WAIT_MAX_MS: i64 = 10 * 60 * 1_000;
/// Maximum number of rounds; after them the job is dead, for a person to look at.
const ROUNDS_MAX: i64 = 20;

#[derive(Deserialize)]
struct OperationArgs {
    operation: String,
}

/// The job of an operation's round. A customer's purchases run one at a time, in a stream of their own, which events do
/// not wait for. Changes to a subscription or a payment method run in the Stripe customer's stream, in order with its
/// events, so that neither overwrites newer state.
pub fn operation_job(operation: &Operation, customer: &Customer, at_ms: TimeMs) -> NewJob {
    let mut job = job(operation, operation.job_key(), at_ms);
    job.stream_key = match &customer.stripe_customer_id {
        _ if operation.request.is_purchase() => Some(format!("purchases:{}", customer.id)),
        // It must not wait behind the customer's events. What it shares with changes of the subscription, both look at.
        _ if matches!(operation.request, Request::PaymentRefund { .. }) => None,
        Some(id) => Some(stripe_stream(id)),
        None => Some(format!("operations:{}", customer.id)),
    };
    job
}

/// The job that checks from time to time whether something has changed at Stripe, in its own stream: the customer's
/// events must not wait behind it.
fn check_job(operation: &Operation, at_ms: TimeMs) -> NewJob {
    NewJob { stream_key: None, ..job(operation, operation.check_key(), at_ms) }
}

/// The job that cancels a payment which waits for its customer, because the customer wants that. Like a check, it waits
/// for no other purchase.
pub fn cancel_job(operation: &Operation, at_ms: TimeMs) -> NewJob {
    NewJob { stream_key: None, ..job(operation, operation.cancel_key(), at_ms) }
}

/// The job that cancels such a payment and begins anew with the payment method that the customer has now.
pub fn replace_job(operation: &Operation, payment_method_id: Option<&str>, at_ms: TimeMs) -> NewJob {
    NewJob { stream_key: None, ..job(operation, operation.replace_key(payment_method_id), at_ms) }
}

/// The job that decides about a change at Stripe that a check or an event has found, in its turn among the customer's
/// events.
pub(super) fn settle_job(operation: &Operation, customer: &Customer, at_ms: TimeMs) -> NewJob {
    let unique_key = Some(format!("{}:settle:{at_ms}", operation.job_key()));
    NewJob { unique_key, ..operation_job(operation, customer, at_ms) }
}

fn job(operation: &Operation, unique_key: String, at_ms: TimeMs) -> NewJob {
    let args = serde_json::json!({ "operation": operation.id.as_str() }).to_string();
    let mut job = NewJob::new(JobKind::OperationRun, args, at_ms);
    job.unique_key = Some(unique_key);
    job.customer_id = Some(operation.customer_id.clone());
    job
}

/// Runs the operation that the job names.
pub(super) async fn run(deps: &Deps, claimed: &Claimed, now_ms: TimeMs) -> Result<Verdict> {
    let id = OperationId::trusted(args::<OperationArgs>(claimed)?.operation);
    let Some(operation) = operation::operation_find(deps.db.read(), &id).await? else {
        return Ok(Outcome::Dead { reason: format!("there is no operation {id}") }.into());
    };
    let task = claimed.job.unique_key.as_deref().and_then(|key| operation.task_of(key));
    let Some(task) = task.filter(|_| !matches!(operation.state, State::Succeeded | State::Failed)) else {
        return Ok(Outcome::Done.into());
    };
    if task.ends_wait() && operation.state != State::RequiresAction {
        return Ok(Outcome::Done.into());
    }
    let Some(customer) = customer::customer_find(deps.db.read(), &operation.customer_id).await? else {
        return Ok(Outcome::Dead { reason: format!("there is no customer {}", operation.customer_id) }.into());
    };
    let has_begun = claimed.job.may_have_begun();
    let started = Instant::now();
    let mut verdict = match (customer.stripe_customer_id.as_deref(), &operation.request) {
        (Some(id), _) => carry_out(deps, (&operation, &customer, id), (task, has_begun), now_ms).await?,
        // It names its charge, whose Stripe customer may no longer be linked.
        (None, Request::PaymentRefund { .. }) => {
            carry_out(deps, (&operation, &customer, ""), (task, has_begun), now_ms).await?
        }
        (None, _) => wait_for_customer(&operation, now_ms),
    };
    if operation.request.is_purchase() {
        // The calls to Stripe may have taken long.
        let decided_ms = now_ms.saturating_add(started.elapsed().as_millis().try_into().unwrap_or(TimeMs::MAX));
        verdict.effects.extend(usage::late_bad_news(&operation, &verdict, deps.answer_wait_ms, decided_ms));
        purchase::complete(&operation, task, &mut verdict);
    } else {
        payer::record_charges(&operation, &mut verdict);
    }
    count_verdict(&operation, &verdict);
    Ok(verdict)
}

/// Carries out a customer's operation at Stripe.
async fn carry_out(
    deps: &Deps,
    (operation, customer, stripe_customer_id): (&Operation, &Customer, &str),
    (task, has_begun): (Task, bool),
    now_ms: TimeMs,
) -> Result<Verdict> {
    let run = Run { deps, operation, customer, stripe_customer_id, task, has_begun, now_ms };
    let result = match &operation.request {
        Request::UsageCharge(_)
        | Request::HoldCharge(_)
        | Request::PackPurchase(_)
        | Request::DebtPayment(_)
        | Request::AutoTopUp(_)
        | Request::DuplicatePayment(_) => run.purchase().await,
        Request::PaymentMethodAttach { payment_method_id, consent_at_ms, make_default } => {
            run.attach(payment_method_id, *consent_at_ms, *make_default).await
        }
        Request::PaymentMethodDetach { payment_method_id } => run.detach(payment_method_id).await,
        Request::PaymentMethodDefault { payment_method_id } => run.set_default(payment_method_id).await,
        Request::SubscriptionCreate { payment_method_id, price, quantity, payer } => {
            run.subscribe(payment_method_id, price.as_ref(), *quantity, payer.is_some()).await
        }
        Request::SubscriptionCancel { subscription_id, at_period_end } => {
            run.cancel(subscription_id, *at_period_end).await
        }
        Request::SubscriptionChange { subscription_id, change, payer } => {
            run.change(subscription_id, change, payer.as_ref()).await
        }
        Request::SubscriptionResume { subscription_id, payer } => run.resume(subscription_id, payer.as_ref()).await,
        Request::PaymentRefund { payment_id, charge_id, amount_minor, currency, credits, beyond_credited } => {
            let (amount, credits, beyond_credited) = (*amount_minor, *credits, *beyond_credited);
            run.refund(RefundTerms { payment_id, charge_id, amount, currency, credits, beyond_credited }).await
        }
    };
    match result {
        Ok(verdict) => Ok(verdict),
        Err(Failure::Engine(error)) => Err(error),
        Err(Failure::Stripe(error)) => Ok(run.refused(error)),
    }
}

/// Waits for the job that creates the Stripe customer. Before there is one, the operation has made no call to Stripe,
/// so it can be given up safely.
fn wait_for_customer(operation: &Operation, now_ms: TimeMs) -> Verdict {
    if operation.key_is_stale(now_ms) {
        let message = "There is no customer at Stripe for this account. Nothing was changed.";
        let reason = "the customer still has no Stripe customer".to_owned();
        let effects = vec![Effect::operation(operation.failed(given_up(message), now_ms))];
        return Verdict { outcome: Outcome::Dead { reason }, ledger: None, effects };
    }
    let mut verdict = wait_to_begin(operation, "the customer has no Stripe customer yet".to_owned(), now_ms);
    if matches!(verdict.outcome, Outcome::Retry { .. }) {
        // Support may have unlinked the one that was there when the customer asked.
        let job = stripe_customer_job(&operation.customer_id, operation.id.as_str(), now_ms);
        verdict.effects.push(Effect::JobInsert(job));
    }
    verdict
}

/// Waits for what an operation needs before it calls Stripe.
fn wait_to_begin(operation: &Operation, reason: String, now_ms: TimeMs) -> Verdict {
    if now_ms - operation.round_at_ms < BEGIN_WAIT_FOR_MS {
        return Outcome::Snooze { until_ms: now_ms + BEGIN_WAIT_MS }.into();
    }
    Outcome::Retry { reason }.into()
}

/// What one run works with.
pub(super) struct Run<'a> {
    deps: &'a Deps,
    operation: &'a Operation,
    customer: &'a Customer,
    stripe_customer_id: &'a str,
    task: Task,
    /// Whether an attempt before this one may have called Stripe.
    has_begun: bool,
    now_ms: TimeMs,
}

impl Run<'_> {
    fn key(&self, call: &str) -> String {
        self.operation.stripe_key(call)
    }

    /// The metadata by which the operation's objects are found at Stripe.
    fn mark(&self) -> Mark<'_> {
        Mark { operation_id: self.operation.id.as_str(), round: self.operation.round }
    }

    /// Begins a new round: the same calls under new keys, in a new job, after a wait. For failures that are final under
    /// the old key and changed nothing.
    fn new_round(&self, why: &str) -> Verdict {
        if self.operation.round >= ROUNDS_MAX {
            let message = "Stripe could not carry it out, however often it was asked. Nothing was changed.";
            let reason = format!("gave up after {ROUNDS_MAX} rounds: {why}");
            return Verdict { outcome: Outcome::Dead { reason }, ..self.failed(given_up(message)) };
        }
        let next = self.operation.next_round(self.operation.request.clone(), self.now_ms);
        let wait_ms = (NEW_ROUND_WAIT_MS << self.operation.round.clamp(0, 20)).min(NEW_ROUND_WAIT_MAX_MS);
        let job = operation_job(&next, self.customer, self.now_ms + wait_ms);
        let effects = vec![Effect::operation(next), Effect::JobInsert(job)];
        Verdict { outcome: Outcome::Cancel { reason: format!("a new round begins: {why}") }, ledger: None, effects }
    }

    /// The key is too old for another call, and Stripe has nothing of the operation. A new key takes its place once the
    /// last call's result would have shown at Stripe; until then the job snoozes.
    fn new_key_when_safe(&self, what: &str) -> Verdict {
        if self.operation.key_is_stale(self.now_ms) {
            return self.new_round(&format!("the key is too old to be tried again, and {what}"));
        }
        Outcome::Snooze { until_ms: self.operation.key_ends_at_ms() }.into()
    }

    /// Handles a failure after which Stripe shows no object of the operation. One may still appear, so a new key is
    /// safe only after a while. Source: Stripe, "Advanced error handling": the outcome of a 500 is indeterminate.
    fn nothing_found(&self, why: &str) -> Verdict {
        if self.now_ms - self.operation.round_at_ms < self.deps.doubt_ms {
            return Outcome::Retry { reason: format!("the outcome is in doubt: {why}") }.into();
        }
        self.new_round(why)
    }

    /// The operation ends well, with these changes.
    fn done(&self, stripe_id: &str, mut effects: Vec<Effect>) -> Verdict {
        effects.push(Effect::operation(self.operation.succeeded(Some(stripe_id.to_owned()), self.now_ms)));
        Verdict { outcome: Outcome::Done, ledger: None, effects }
    }

    /// The operation ends badly. The customer is told why; the job itself has done its work.
    fn failed(&self, problem: Problem) -> Verdict {
        let effects = vec![Effect::operation(self.operation.failed(problem, self.now_ms))];
        Verdict { outcome: Outcome::Done, ledger: None, effects }
    }

    /// The operation ends badly by a rule of ours, unless a call of an attempt before may still take effect: as long as
    /// its outcome is in doubt, the next attempt looks again.
    fn failed_unless_in_doubt(&self, problem: Problem) -> Verdict {
        let why = problem.code.clone();
        self.unless_in_doubt(self.failed(problem), &why)
    }

    /// This end by a rule of ours, under the same condition.
    fn unless_in_doubt(&self, end: Verdict, why: &str) -> Verdict {
        if self.has_begun && self.now_ms - self.operation.round_at_ms < self.deps.doubt_ms {
            let reason = format!("an earlier attempt is in doubt, and no other is made: {why}");
            return Outcome::Retry { reason }.into();
        }
        end
    }

    /// Handles an error of Stripe that the operation's own rules do not handle.
    fn refused(&self, error: StripeError) -> Verdict {
        let problem = |code: &str, message: String| Problem { code: code.to_owned(), message, ..Problem::default() };
        match error {
            // The operations that come here can be repeated safely.
            StripeError::Unknown { is_stored: true, reason } => self.new_round(&reason),
            StripeError::KeyReused { message } => self.new_round(&message),
            StripeError::Declined(decline) => self.failed(declined(&decline)),
            StripeError::AuthenticationRequired(decline) => {
                self.failed(Problem { is_decline: false, ..declined(&decline) })
            }
            StripeError::NotFound { message } => self.failed(problem("stripe_not_found", message)),
            StripeError::Invalid { message, .. } => self.failed(problem("stripe_refused", message)),
            // It is temporary, or an operator has to correct the API key. A retry succeeds then.
            error => Outcome::Retry { reason: error.to_string() }.into(),
        }
    }
}

fn given_up(message: &str) -> Problem {
    Problem { code: "stripe_unavailable".to_owned(), message: message.to_owned(), ..Problem::default() }
}

/// A decline in the words of the operation.
fn declined(decline: &Decline) -> Problem {
    let intent = PaymentIntentFields::read(&decline.payment_intent);
    Problem {
        code: decline.code.clone(),
        message: decline.message.clone(),
        decline_code: decline.decline_code.clone(),
        advice_code: decline.advice_code.clone(),
        is_decline: is_decline(&decline.code, decline.decline_code.as_deref()),
        payment_intent_id: intent.id,
        ..Problem::default()
    }
}

/// Whether a failure counts against the card. One that was not authenticated may be good.
fn is_decline(code: &str, decline_code: Option<&str>) -> bool {
    let is_authentication = matches!(
        code,
        "authentication_required"
            | "payment_intent_authentication_failure"
            | "subscription_payment_intent_requires_action"
            | "invoice_payment_intent_requires_action"
    );
    !is_authentication && decline_code != Some("authentication_required")
}

/// Whether the last failure of a PaymentIntent is more than that the bank requires authentication.
fn has_failed(intent: &PaymentIntentFields) -> bool {
    let codes = [&intent.error_code, &intent.decline_code];
    intent.error_code.is_some() && codes.iter().all(|code| code.as_deref() != Some("authentication_required"))
}

/// What the customer's browser needs to finish a payment on session.
fn authentication(intent: &PaymentIntentFields) -> Problem {
    Problem {
        code: "authentication_required".to_owned(),
        message:
            "The bank requires authentication: the customer must confirm the payment, with Stripe.js and client_secret."
                .to_owned(),
        decline_code: intent.decline_code.clone(),
        advice_code: intent.advice_code.clone(),
        payment_intent_id: intent.id.clone(),
        client_secret: intent.client_secret.clone(),
        ..Problem::default()
    }
}

/// What the last failure of a PaymentIntent says.
fn failure(intent: &PaymentIntentFields) -> Problem {
    let code = intent.error_code.clone().unwrap_or_else(|| "card_declined".to_owned());
    Problem {
        is_decline: is_decline(&code, intent.decline_code.as_deref()),
        code,
        message: intent.error_message.clone().unwrap_or_else(|| "The payment was declined.".to_owned()),
        decline_code: intent.decline_code.clone(),
        advice_code: intent.advice_code.clone(),
        payment_intent_id: intent.id.clone(),
        ..Problem::default()
    }
}

/// Counts how an operation moves, by its own job or by an event.
fn count_verdict(operation: &Operation, verdict: &Verdict) {
    for after in verdict.operations().filter(|after| after.id == operation.id) {
        count(operation, after);
    }
    let is_bought = matches!(&verdict.ledger, Some((_, Command { op: Op::Purchase { .. }, .. })));
    if let Some(charge) = operation.request.charge().filter(|_| is_bought) {
        let amount = charge.amount_minor.0.unsigned_abs();
        metrics::counter!(metric::MONEY_CHARGED, "currency" => charge.currency.clone()).increment(amount);
    }
}

/// Counts how an operation moves from one state to another.
pub(super) fn count(before: &Operation, after: &Operation) {
    if after.state != before.state {
        let (kind, state) = (before.request.kind(), after.state.as_str());
        metrics::counter!(metric::OPERATIONS, "kind" => kind, "state" => state).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::operation::KEY_GOOD_FOR_MS;
    use crate::ids::CustomerId;

    #[test]
    fn a_card_that_wants_authentication_is_not_declined() {
        for (code, decline_code, expected) in [
            ("card_declined", None, true),
            ("card_declined", Some("insufficient_funds"), true),
            ("card_declined", Some("authentication_required"), false),
            ("authentication_required", None, false),
            ("subscription_payment_intent_requires_action", None, false),
        ] {
            assert_eq!(is_decline(code, decline_code), expected, "{code} {decline_code:?}");
            let intent = PaymentIntentFields {
                error_code: Some(code.to_owned()),
                decline_code: decline_code.map(str::to_owned),
                ..PaymentIntentFields::default()
            };
            assert_eq!(failure(&intent).is_decline, expected, "{code} {decline_code:?}");
        }
        assert!(!has_failed(&PaymentIntentFields::default()), "it has not failed yet");
    }

    #[test]
    fn an_operation_whose_customer_never_gets_one_at_stripe_waits_and_then_ends() {
        let request = Request::PaymentMethodDetach { payment_method_id: "pm_1".to_owned() };
        let operation = Operation::new(&CustomerId::new(), request, "k".to_owned(), "h".to_owned(), 1_000);
        let verdict_after = |ms: i64| wait_for_customer(&operation, 1_000 + ms);
        assert!(matches!(verdict_after(0).outcome, Outcome::Snooze { .. }));
        let later = verdict_after(BEGIN_WAIT_FOR_MS);
        assert!(matches!(later.outcome, Outcome::Retry { .. }));
        let Some(Effect::JobInsert(job)) = later.effects.first() else { panic!("{later:?}") };
        assert_eq!(job.kind, JobKind::StripeCustomer, "one is made");
        let end = verdict_after(KEY_GOOD_FOR_MS);
        assert!(matches!(end.outcome, Outcome::Dead { .. }), "support sees it");
        let Some(Effect::OperationPut(ended)) = end.effects.first() else { panic!("{end:?}") };
        assert_eq!(ended.state, State::Failed);
    }
}
