//! What surrounds the charge of a purchase: the decision, the reservation, the record.

use super::{Run, check_job, count_verdict, operation_job};
use crate::domain::charge::record::records;
use crate::domain::charge::top_up::{TopUpHalt, halt};
use crate::domain::charge::{Decided, decide};
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::{NewJob, Outcome};
use crate::domain::ledger::{Command, Op, Spend};
use crate::domain::mail::{self, MailSubject, Purchase, Template};
use crate::domain::operation::{Charge, Operation, RESERVED_FOR_MS, Reservation, State, Task};
use crate::ids::HoldId;
use crate::infra::store::operation;
use crate::infra::stripe::StripeError;
use crate::usecase::charge::read_standing;
use crate::usecase::handler::Failure;

impl Run<'_> {
    /// Decides the charge now that the purchase's turn has come. It is stored together with the reservation of the
    /// customer's credits, and the next attempt carries it out. If the credits suffice by now, they are spent.
    ///
    /// If another request spends some of the credits before this commits, the attempt is decided again.
    pub(super) async fn decide(&self) -> Result<Verdict, Failure> {
        if let Some(verdict) = self.end_waiting().await? {
            return Ok(verdict);
        }
        let (deps, operation, now_ms) = (self.deps, self.operation, self.now_ms);
        let catalogue = deps.catalogue.now();
        let (db, request) = (deps.db.read(), &operation.request);
        let standing = read_standing(db, &operation.customer_id, request, &catalogue, now_ms).await?;
        match decide(&operation.request, &standing, &deps.credits, &catalogue, now_ms) {
            Err(refused) => Ok(self.failed(refused.problem(&standing.customer, &deps.credits, &catalogue))),
            Ok(Decided::Covered) => Ok(self.covered()),
            Ok(Decided::Charge(charge, reserve)) => {
                let hold = HoldId::of_charge(&operation.id, operation.round);
                let reserved = (reserve.0 > 0).then_some(Reservation { hold, credits: reserve });
                let command = reserved.as_ref().map(|reserved| self.reserve(reserved));
                let request = operation.request.with_charge(Charge { reserved, ..*charge });
                let decided = Operation { request, updated_at_ms: now_ms, ..operation.clone() };
                Ok(Verdict {
                    outcome: Outcome::Snooze { until_ms: now_ms },
                    ledger: command.map(|command| (operation.customer_id.clone(), command)),
                    effects: vec![Effect::operation(decided)],
                })
            }
        }
    }

    /// Nothing is charged: what is wanted is spent, if it is anything.
    fn covered(&self) -> Verdict {
        let (operation, now_ms) = (self.operation, self.now_ms);
        Verdict {
            outcome: Outcome::Done,
            ledger: operation.spend(now_ms).map(|spend| (operation.customer_id.clone(), command_of(spend))),
            effects: vec![Effect::operation(operation.succeeded(None, now_ms))],
        }
    }

    /// Ends another purchase of the customer whose payment waits for it, so that there is one charge at a time and no
    /// credits stay reserved for one that the customer has left. The next attempt goes on with the next of them. `None`
    /// if there is none, or if the bank is already processing its payment.
    ///
    /// A top-up asks for nothing in the customer's name, so it gives way itself.
    async fn end_waiting(&self) -> Result<Option<Verdict>, Failure> {
        let waiting = operation::operation_list_awaiting(self.deps.db.read(), &self.operation.customer_id).await?;
        if self.is_unattended() {
            return Ok((!waiting.is_empty()).then(|| self.covered()));
        }
        for other in &waiting {
            let run = Run { operation: other, task: Task::GiveWay, ..*self };
            let Some(charge) = other.request.charge().filter(|_| other.stripe_id.is_some()) else { continue };
            let mut verdict = match run.with_payment(charge).await {
                Ok(verdict) => verdict,
                // It says nothing about this purchase. The other one's own check has to deal with it.
                Err(Failure::Stripe(StripeError::NotFound { .. } | StripeError::Invalid { .. })) => continue,
                Err(error) => return Err(error),
            };
            if verdict.operations().any(|after| matches!(after.state, State::Failed | State::Succeeded)) {
                complete(other, Task::GiveWay, &mut verdict);
                count_verdict(other, &verdict);
                return Ok(Some(Verdict { outcome: Outcome::Snooze { until_ms: self.now_ms }, ..verdict }));
            }
        }
        Ok(None)
    }

    /// Begins anew with the payment method that the customer has now. What was reserved is returned.
    pub(super) fn again(&self) -> Verdict {
        let next = self.operation.next_round(self.operation.request.without_charge(), self.now_ms);
        let job = operation_job(&next, self.customer, self.now_ms);
        let effects = vec![Effect::operation(next), Effect::JobInsert(job)];
        Verdict { outcome: Outcome::Done, ledger: None, effects }
    }

    fn reserve(&self, reserved: &Reservation) -> Command {
        let (id, amount) = (reserved.hold.clone(), reserved.credits);
        let op = Op::Reserve { id, amount, expires_at_ms: self.now_ms + RESERVED_FOR_MS };
        let key = format!("reserve:{}", reserved.hold);
        Command::internal(op, "purchase", key).with_reference(self.operation.id.as_str())
    }
}

/// The debit or hold by itself, where no purchase precedes it.
fn command_of(spend: Spend) -> Command {
    let op = match spend.hold {
        Some((id, expires_at_ms)) => Op::Hold { id, amount: spend.amount, expires_at_ms },
        None => Op::Debit { amount: spend.amount },
    };
    Command {
        op,
        source: spend.source,
        reference: spend.reference,
        idempotency_key: Some(spend.idempotency_key),
        request_hash: spend.request_hash,
        metadata: spend.metadata,
    }
}

/// The mail about automatic top-ups that stopped or wait: one for each time, however often a cap is met.
fn halt_mail(after: &Operation, halt: &TopUpHalt) -> NewJob {
    let what = after.request.charge().map(|charge| charge.description.clone()).unwrap_or_default();
    let purchase = Purchase { operation: after.id.clone(), round: after.round, what, until_ms: halt.until_ms };
    let reason = Some(halt.problem.message.clone());
    let problem = Some(halt.problem.code.clone());
    let about = MailSubject { purchase: Some(purchase), reason, problem, ..MailSubject::default() };
    let once_per = match halt.until_ms {
        Some(until_ms) => format!("{}:{until_ms}", halt.problem.code),
        None => after.id.to_string(),
    };
    mail::job(Template::AutoTopUpStopped, &halt.customer_id, &once_per, about, after.updated_at_ms)
}

/// Completes the verdict on a purchase. The record of its charge follows it. A purchase that ends without a payment, or
/// begins anew, returns the credits reserved for it. A top-up that fails stops further ones. A purchase that waits for
/// its customer, or for a slow bank, leaves the stream to the customer's other purchases, and is checked outside it.
pub(super) fn complete(operation: &Operation, task: Task, verdict: &mut Verdict) {
    let after = verdict.operations().filter(|after| after.id == operation.id).last().cloned();
    if let Some(after) = &after {
        let charges = records(operation, after).into_iter();
        verdict.effects.extend(charges.map(|charge| Effect::ChargePut(Box::new(charge))));
        if let Some(halt) = halt(after) {
            verdict.effects.push(Effect::JobInsert(halt_mail(after, &halt)));
            verdict.effects.push(Effect::TopUpHalt(Box::new(halt)));
        }
        let begins_anew = after.round > operation.round && after.request.charge().is_none();
        let is_over = matches!(after.state, State::Failed | State::Succeeded) || begins_anew;
        if let Some(reserved) = operation.reservation().filter(|_| is_over && verdict.ledger.is_none()) {
            let command = Command::internal(
                Op::Unreserve { id: reserved.hold.clone() },
                "purchase",
                format!("unreserve:{}", reserved.hold),
            );
            let command = command.with_reference(operation.id.as_str());
            verdict.ledger = Some((operation.customer_id.clone(), command));
        }
    }
    let present = after.as_ref().unwrap_or(operation);
    // A bank that takes its time, as with direct debits, was seen to do so before.
    let is_slow = present.state == State::Processing && operation.stripe_id.is_some();
    if let (Outcome::Snooze { until_ms }, Task::CarryOut) = (&verdict.outcome, task)
        && (present.state == State::RequiresAction || is_slow)
    {
        verdict.effects.push(Effect::JobInsert(check_job(present, *until_ms)));
        verdict.outcome = Outcome::Done;
    }
}

#[cfg(test)]
mod tests;
