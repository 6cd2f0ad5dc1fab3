//! The charge of a purchase: pay, grant, spend.

use super::{Deps, Run, authentication, count_verdict, declined, failure, purchase};
use crate::clock::TimeMs;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::ledger::{Command, Entry, Op};
use crate::domain::mail::{self, MailSubject, Purchase, Template};
use crate::domain::operation::{ACTION_TTL_MS, Charge, Operation, Problem, Request, State, Task, payment_key};
use crate::domain::webhook::fields::{
    self, OPERATION_METADATA_KEY, PaymentIntentFields, PaymentMethodFields, ROUND_METADATA_KEY,
};
use crate::error::Result;
use crate::ids::OperationId;
use crate::infra::store::{account, operation};
use crate::infra::stripe::StripeError;
use crate::infra::stripe::requests::OffSessionPayment;
use crate::usecase::handler::Failure;
use serde_json::Value;
use std::ops::RangeInclusive;

/// The range of waits for a payment that the bank is still processing. Within it the wait is a quarter of the payment's
/// age.
const PROCESSING_WAIT_MS: RangeInclusive<i64> = 10_000..=10 * 60 * 1_000;
/// Maximum number of pages of PaymentIntents that are searched for the operation's own.
const PAGES_MAX: usize = 50;
/// How far Stripe's clock may be behind ours when the operation's own PaymentIntents are listed.
const CLOCK_SLACK_MS: i64 = 60 * 60 * 1_000;

/// Wait before a payment that waits for its customer is checked again: credits may have paid for the request meanwhile.
const ACTION_CHECK_MS: i64 = 15 * 60 * 1_000;
/// The longest time until a result is committed, so that the request that waits for it can answer.
const COMMIT_MS: i64 = 500;

impl Run<'_> {
    /// Decides the charge and, in the next attempt, carries it out: what it rests on is stored before Stripe is called.
    pub(super) async fn purchase(&self) -> Result<Verdict, Failure> {
        let paid_at_ms = self.paid_with_credits_at().await?;
        let Some(charge) = self.operation.request.charge() else {
            return if paid_at_ms.is_some() { Ok(self.done_without_payment()) } else { self.decide().await };
        };
        if let Some(paid_at_ms) = paid_at_ms {
            return self.without_payment(charge, paid_at_ms).await;
        }
        let verdict = self.with_payment(charge).await?;
        let is_bad = |after: &Operation| matches!(after.state, State::Failed | State::RequiresAction);
        if verdict.operations().any(is_bad) && self.paid_with_credits_at().await?.is_some() {
            // Credits paid for the request during the call to Stripe. The next attempt cancels the payment, or grants
            // credits for it.
            return Ok(Outcome::Retry { reason: "the customer's credits paid for it meanwhile".to_owned() }.into());
        }
        Ok(verdict)
    }

    pub(super) async fn with_payment(&self, charge: &Charge) -> Result<Verdict, Failure> {
        let (stripe, operation) = (&self.deps.stripe, self.operation);
        if let Some(id) = &operation.stripe_id {
            let intent = PaymentIntentFields::read(&stripe.payment_retrieve(id).await?);
            return self.by_intent_or_expire(charge, &intent).await;
        }
        let key_is_closing = operation.key_is_closing(self.deps.doubt_ms, self.now_ms);
        if operation.round > 1 || key_is_closing {
            if let Some(intent) = self.find().await? {
                return self.by_intent_or_expire(charge, &intent).await;
            }
            if key_is_closing {
                return Ok(self.new_key_when_safe("there is no payment"));
            }
        }
        let payment = OffSessionPayment {
            amount_minor: charge.amount_minor,
            currency: &charge.currency,
            stripe_customer_id: self.stripe_customer_id,
            payment_method_id: &charge.payment_method_id,
            description: &charge.description,
            customer_id: operation.customer_id.as_str(),
            operation: self.mark(),
        };
        match stripe.payment_create(&payment, &self.key("pay")).await {
            Ok(answer) => {
                let mut intent = PaymentIntentFields::read(&answer.body);
                if let Some(id) = intent.id.as_ref().filter(|_| answer.is_replay) {
                    // A replayed answer shows the payment as it was then; its state may have changed since.
                    intent = PaymentIntentFields::read(&stripe.payment_retrieve(id).await?);
                }
                self.by_intent_or_expire(charge, &intent).await
            }
            Err(StripeError::Declined(decline)) => Ok(self.failed(declined(&decline))),
            Err(StripeError::AuthenticationRequired(decline)) => {
                let intent = PaymentIntentFields::read(&decline.payment_intent);
                if intent.id.is_none() {
                    return Ok(self.failed(declined(&decline)));
                }
                if self.is_unattended() {
                    return self.by_intent_or_expire(charge, &intent).await;
                }
                Ok(waits(operation, &intent, self.now_ms))
            }
            Err(StripeError::Unknown { is_stored: true, reason: why } | StripeError::KeyReused { message: why }) => {
                match self.find().await? {
                    Some(intent) => self.by_intent_or_expire(charge, &intent).await,
                    None => Ok(self.nothing_found(&why)),
                }
            }
            Err(StripeError::Invalid { message, .. } | StripeError::NotFound { message }) => {
                self.refused_method(charge, message).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// When the customer's credits paid for this request: it was sent again after credits had come in.
    async fn paid_with_credits_at(&self) -> Result<Option<TimeMs>, Failure> {
        Ok(paid_with_credits(self.deps, self.operation).await?.map(|entry| entry.created_at_ms))
    }

    /// Ends an operation whose units credits have paid for. An earlier attempt may have begun a payment whose answer
    /// was lost. If that took money, the money buys credits; otherwise it is cancelled.
    async fn without_payment(&self, charge: &Charge, paid_at_ms: TimeMs) -> Result<Verdict, Failure> {
        let begun = match &self.operation.stripe_id {
            Some(id) => Some(PaymentIntentFields::read(&self.deps.stripe.payment_retrieve(id).await?)),
            None => self.find().await?,
        };
        if let Some(intent) = begun {
            let unstoppable = match intent.status.as_deref() {
                Some("succeeded" | "processing") => Some(intent),
                _ => self.cancel_payment(&intent).await?,
            };
            let by_intent = |intent: &_| by_intent(self.operation, charge, intent, self.now_ms);
            return Ok(unstoppable.as_ref().map_or_else(|| self.done_without_payment(), by_intent));
        }
        // No attempt begins a payment after the credits were spent, but an earlier payment may still show up at Stripe.
        let certain_at_ms = paid_at_ms + self.deps.doubt_ms;
        if self.now_ms < certain_at_ms {
            return Ok(Outcome::Snooze { until_ms: certain_at_ms }.into());
        }
        Ok(self.done_without_payment())
    }

    fn done_without_payment(&self) -> Verdict {
        // Forget the payment that this operation was waiting for.
        let end = Operation { stripe_id: None, ..self.operation.succeeded(None, self.now_ms) };
        Verdict {
            outcome: Outcome::Cancel { reason: "the customer's credits paid for it meanwhile".to_owned() },
            ledger: None,
            effects: vec![Effect::operation(end)],
        }
    }

    /// Ends an operation whose payment Stripe refused to create. If the payment method is no longer the customer's, it
    /// is detached here too, and the customer is asked for another one.
    async fn refused_method(&self, charge: &Charge, message: String) -> Result<Verdict, Failure> {
        let id = &charge.payment_method_id;
        let owner = match self.deps.stripe.payment_method_retrieve(id).await {
            Ok(object) => PaymentMethodFields::read(&object).stripe_customer_id,
            Err(StripeError::NotFound { .. } | StripeError::Invalid { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        if owner.as_deref() == Some(self.stripe_customer_id) {
            return Ok(self.failed(Problem { code: "stripe_refused".to_owned(), message, ..Problem::default() }));
        }
        let message = "The payment method is no longer there. Add another one.".to_owned();
        let mut verdict =
            self.failed(Problem { code: "payment_method_gone".to_owned(), message, ..Problem::default() });
        let customer_id = self.customer.id.clone();
        verdict.effects.push(Effect::PaymentMethodDetach { customer_id, id: id.clone() });
        Ok(verdict)
    }

    /// Whether nobody is there to authenticate the payment.
    pub(super) fn is_unattended(&self) -> bool {
        matches!(self.operation.request, Request::AutoTopUp(_))
    }

    /// Cancels a payment that was not authenticated in time, so that nobody can be charged for it later, one whose
    /// authentication failed, so that the customer can try another card, and one that the customer has given up.
    /// Otherwise the payment's state decides.
    async fn by_intent_or_expire(&self, charge: &Charge, intent: &PaymentIntentFields) -> Result<Verdict, Failure> {
        let operation = self.operation;
        let is_kept = operation.state == State::RequiresAction;
        let is_over = self.is_unattended() || self.now_ms >= ends_at_ms(operation);
        let wants_customer = intent.wants_authentication();
        let has_failed = is_kept && !wants_customer && intent.status.as_deref() == Some("requires_payment_method");
        let is_given_up = is_kept && self.task.ends_wait();
        if has_failed || ((is_over || is_given_up) && wants_customer) {
            if let Some(now) = self.cancel_payment(intent).await? {
                return Ok(by_intent(operation, charge, &now, self.now_ms));
            }
            return Ok(self.unpaid(match has_failed {
                true => failure(intent),
                false if self.is_unattended() => unattended(),
                false if is_over => expired(),
                false => given_up(self.task),
            }));
        }
        if is_kept && wants_customer {
            return Ok(Outcome::Snooze { until_ms: check_at_ms(operation, self.now_ms) }.into());
        }
        if is_kept && intent.status.as_deref() == Some("canceled") {
            // An earlier attempt cancelled it and died before it recorded that, or somebody else cancelled it.
            return Ok(self.unpaid(match (super::has_failed(intent), is_over) {
                (true, _) => failure(intent),
                (false, true) => expired(),
                (false, false) => given_up(self.task),
            }));
        }
        Ok(by_intent(operation, charge, intent, self.now_ms))
    }

    /// Ends a purchase whose payment was cancelled, or begins it anew if that is what the customer asked for.
    fn unpaid(&self, problem: Problem) -> Verdict {
        if self.task == Task::Replace { self.again() } else { self.failed(problem) }
    }

    /// Cancels a payment. Returns it if it cannot be cancelled, because it succeeded or the bank is processing it. Any
    /// other refusal is an error that is tried again.
    async fn cancel_payment(&self, intent: &PaymentIntentFields) -> Result<Option<PaymentIntentFields>, Failure> {
        let Some(id) = &intent.id else { return Ok(Some(intent.clone())) };
        // Each attempt has a key of its own, because under the same key Stripe repeats a refusal for a day.
        let key = self.key(&format!("cancel:{}", self.now_ms));
        let Err(refused) = self.deps.stripe.payment_cancel(id, &key).await else { return Ok(None) };
        let now = PaymentIntentFields::read(&self.deps.stripe.payment_retrieve(id).await?);
        match now.status.as_deref() {
            Some("canceled") => Ok(None),
            Some("succeeded" | "processing") => Ok(Some(now)),
            _ => Err(StripeError::NotDone { reason: format!("the payment is not cancelled yet: {refused}") }.into()),
        }
    }

    /// The operation's own PaymentIntent at Stripe: one that succeeded in any round, else this round's.
    async fn find(&self) -> Result<Option<PaymentIntentFields>, StripeError> {
        let operation = self.operation;
        let since_s = (operation.created_at_ms - CLOCK_SLACK_MS) / 1_000;
        let mut found: Option<PaymentIntentFields> = None;
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = self.deps.stripe.payment_list(Some(self.stripe_customer_id), since_s, after.as_deref()).await?;
            let intents = fields::rows(&page).iter().map(PaymentIntentFields::read);
            for intent in intents.filter(|intent| is_of(operation, intent)) {
                if intent.status.as_deref() == Some("succeeded") {
                    return Ok(Some(intent));
                }
                if found.is_none() && is_of_round(operation, &intent) {
                    found = Some(intent);
                }
            }
            after = fields::rows(&page).last().and_then(|row| fields::id(&row["id"]));
            if page["has_more"] != true || after.is_none() {
                return Ok(found);
            }
        }
        Err(StripeError::NotDone { reason: "there are too many payments to look through".to_owned() })
    }
}

fn is_of(operation: &Operation, intent: &PaymentIntentFields) -> bool {
    intent.metadata.get(OPERATION_METADATA_KEY).is_some_and(|id| id == operation.id.as_str())
}

fn is_of_round(operation: &Operation, intent: &PaymentIntentFields) -> bool {
    intent.metadata.get(ROUND_METADATA_KEY).and_then(|round| round.parse().ok()) == Some(operation.round)
}

/// What the state of a PaymentIntent means for the operation that it pays.
fn by_intent(operation: &Operation, charge: &Charge, intent: &PaymentIntentFields, now_ms: TimeMs) -> Verdict {
    let failed = |problem| Verdict {
        outcome: Outcome::Done,
        ledger: None,
        effects: vec![Effect::operation(operation.failed(problem, now_ms))],
    };
    let Some(id) = &intent.id else {
        return Outcome::Dead { reason: "shape_incomplete: a PaymentIntent without id".to_owned() }.into();
    };
    match intent.status.as_deref() {
        Some("succeeded") => settled(operation, charge, intent, id, now_ms),
        _ if intent.wants_authentication() => waits(operation, intent, now_ms),
        Some("requires_payment_method") => failed(failure(intent)),
        Some("canceled") => failed(cancelled()),
        // `processing`, or a status that Stripe adds later: wait for a final one.
        _ => {
            let age_ms = now_ms - operation.round_at_ms;
            let wait_ms = (age_ms / 4).clamp(*PROCESSING_WAIT_MS.start(), *PROCESSING_WAIT_MS.end());
            Verdict {
                outcome: Outcome::Snooze { until_ms: now_ms + wait_ms },
                ledger: None,
                effects: vec![Effect::operation(Operation { stripe_id: Some(id.clone()), ..operation.clone() })],
            }
        }
    }
}

/// Grants and debits the credits of a payment that succeeded, and ends the operation, in one transaction. If the
/// payment differs from the request, the job is dead and a person has to look at it.
fn settled(
    operation: &Operation,
    charge: &Charge,
    intent: &PaymentIntentFields,
    payment_intent_id: &str,
    now_ms: TimeMs,
) -> Verdict {
    let amount_minor = intent.amount_received.or(intent.amount).unwrap_or(charge.amount_minor);
    let currency = intent.currency.as_deref().unwrap_or(&charge.currency);
    if amount_minor != charge.amount_minor || !currency.eq_ignore_ascii_case(&charge.currency) {
        let reason = format!(
            "payment_mismatch: {payment_intent_id} took {amount_minor} {currency}, operation {} asked for {} {}",
            operation.id, charge.amount_minor, charge.currency
        );
        return Outcome::Dead { reason }.into();
    }
    let op = Op::Purchase {
        amount: charge.credits,
        expires_at_ms: operation.bought_until_ms(now_ms),
        reserved: operation.reservation().map(|reserved| reserved.hold.clone()),
        spend: operation.spend(now_ms).map(Box::new),
    };
    let command = Command::internal(op, "purchase", payment_key(payment_intent_id)).with_reference(payment_intent_id);
    let end = operation.succeeded(Some(payment_intent_id.to_owned()), now_ms);
    Verdict {
        outcome: Outcome::Done,
        ledger: Some((operation.customer_id.clone(), command)),
        effects: vec![Effect::operation(end)],
    }
}

fn waits(operation: &Operation, intent: &PaymentIntentFields, now_ms: TimeMs) -> Verdict {
    let end = operation.waits_for_customer(authentication(intent), intent.id.clone(), now_ms);
    Verdict {
        outcome: Outcome::Snooze { until_ms: check_at_ms(operation, now_ms) },
        ledger: None,
        effects: vec![Effect::operation(end)],
    }
}

/// Until when the customer may finish a payment on session.
fn ends_at_ms(operation: &Operation) -> TimeMs {
    operation.round_at_ms + ACTION_TTL_MS
}

/// When a payment that waits for its customer is checked again. Usually an event reports the result earlier.
fn check_at_ms(operation: &Operation, now_ms: TimeMs) -> TimeMs {
    ends_at_ms(operation).min(now_ms + ACTION_CHECK_MS)
}

fn cancelled() -> Problem {
    let message = "The payment was cancelled; nothing was charged.".to_owned();
    Problem { code: "payment_canceled".to_owned(), message, ..Problem::default() }
}

fn given_up(task: Task) -> Problem {
    match task {
        Task::GiveWay => {
            Problem::new("payment_canceled", "Another purchase took the place of this payment; nothing was charged.")
        }
        _ => cancelled(),
    }
}

fn unattended() -> Problem {
    Problem::new(
        "authentication_required",
        "The bank requires authentication, which nobody could give; nothing was charged.",
    )
}

fn expired() -> Problem {
    let message = "The payment was not authenticated in time; nothing was charged.".to_owned();
    Problem { code: "authentication_expired".to_owned(), message, ..Problem::default() }
}

/// The debit with which credits paid for an operation's request, if there is one. A debit of another request under the
/// same key does not count.
pub(in crate::usecase::handler) async fn paid_with_credits(
    deps: &Deps,
    operation: &Operation,
) -> Result<Option<Entry>> {
    let key = &operation.idempotency_key;
    let entry = account::entry_find_by_key(deps.db.read(), &operation.customer_id, key).await?;
    Ok(entry.filter(|entry| entry.request_hash.as_deref() == Some(operation.request_hash.as_str())))
}

/// The mail about a charge that was declined or requires authentication. It is sent, once each round, if the request
/// for the charge was answered before the result, or may have been: then perhaps nobody polls for it.
pub(super) fn late_bad_news(
    operation: &Operation,
    verdict: &Verdict,
    answer_wait_ms: i64,
    now_ms: TimeMs,
) -> Option<Effect> {
    // What is refused before anything was charged is no news about a payment.
    let charge = operation.request.charge()?;
    // A top-up that fails has a mail of its own.
    if matches!(operation.request, Request::AutoTopUp(_)) {
        return None;
    }
    if operation.state != State::Processing || now_ms - operation.round_at_ms + COMMIT_MS < answer_wait_ms {
        return None;
    }
    let after = verdict.operations().find(|after| after.id == operation.id)?;
    let template = match after.state {
        State::Failed => Template::PaymentFailed,
        State::RequiresAction => Template::ActionRequired,
        State::Processing | State::Succeeded => return None,
    };
    let problem = after.problem.as_ref()?;
    if problem.is_stripes() {
        return None;
    }
    let (what, round) = (charge.description.clone(), operation.round);
    let about = MailSubject {
        purchase: Some(Purchase {
            operation: operation.id.clone(),
            round,
            what,
            until_ms: (template == Template::ActionRequired).then(|| ends_at_ms(operation)),
        }),
        amount_minor: Some(charge.amount_minor),
        currency: Some(charge.currency.clone()),
        reason: (template == Template::PaymentFailed).then(|| problem.message.clone()),
        ..MailSubject::default()
    };
    let once_per = format!("{}:{}", operation.id, operation.round);
    Some(Effect::JobInsert(mail::job(template, &operation.customer_id, &once_per, about, now_ms)))
}

/// The verdict on an event about a PaymentIntent that pays for an operation; `None` if it pays for none.
///
/// Only a success has an effect here. Failures are left to the operation's own job, because a customer whose
/// authentication failed may try again.
pub(in crate::usecase::handler) async fn settle_payment(
    deps: &Deps,
    object: &Value,
    now_ms: TimeMs,
) -> Result<Option<Verdict>> {
    let intent = PaymentIntentFields::read(object);
    let Some(id) = intent.metadata.get(OPERATION_METADATA_KEY).and_then(|id| OperationId::parse(id).ok()) else {
        return Ok(None);
    };
    let Some(operation) = operation::operation_find(deps.db.read(), &id).await? else { return Ok(None) };
    if !operation.request.is_purchase() {
        return Ok(None);
    }
    let is_paid = intent.status.as_deref() == Some("succeeded");
    let Some(id) = intent.id.clone().filter(|_| is_paid) else { return Ok(Some(Outcome::Done.into())) };
    let Some(charge) = operation.request.charge() else {
        // Of an earlier round. The present one finds it at Stripe once it is decided.
        let reason = format!("payment_early: operation {} has not decided its charge yet", operation.id);
        return Ok(Some(Outcome::Retry { reason }.into()));
    };
    let mut verdict = settled(&operation, charge, &intent, &id, now_ms);
    if let Some(duplicate) = operation.duplicate(&id, now_ms).filter(|_| verdict.ledger.is_some()) {
        verdict.effects = vec![Effect::OperationInsert(Box::new(duplicate))];
        return Ok(Some(verdict));
    }
    purchase::complete(&operation, Task::CarryOut, &mut verdict);
    if operation.state != State::Succeeded {
        count_verdict(&operation, &verdict);
    }
    Ok(Some(verdict))
}

#[cfg(test)]
mod tests;
