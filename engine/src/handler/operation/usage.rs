//! Usage without credits: charge, grant, debit.

use super::{Deps, Run, Stop, authentication, declined, failure};
use crate::clock::TimeMs;
use crate::effect::Effect;
use crate::error::Result;
use crate::ids::OperationId;
use crate::job::{Outcome, Verdict};
use crate::ledger::{Command, Op};
use crate::operation::{ACTION_TTL_MS, Operation, Problem, Request, State, UsageCharge, payment_key};
use crate::store::operation;
use crate::stripe::requests::{OPERATION_METADATA_KEY, OffSessionPayment};
use crate::stripe::{Gateway, StripeError};
use crate::webhook::shape::{self, PaymentIntentShape};
use serde_json::Value;

/// How long to wait for a payment that its bank is still working on.
const PROCESSING_WAIT_MS: i64 = 10_000;
/// Pages of PaymentIntents that are looked through for an operation's own.
const PAGES_MAX: usize = 50;

impl Run<'_> {
    pub(super) async fn usage_charge(&self, charge: &UsageCharge) -> Result<Verdict, Stop> {
        let (stripe, operation) = (&self.deps.stripe, self.operation);
        if let Some(id) = &operation.stripe_id {
            let intent = PaymentIntentShape::read(&stripe.payment_retrieve(id).await?);
            return self.by_intent_or_expire(charge, &intent).await;
        }
        if operation.key_is_stale(self.now_ms) {
            return match find(stripe, operation, self.stripe_customer_id).await? {
                Some(intent) => self.by_intent_or_expire(charge, &intent).await,
                None => Ok(self.new_round("the key is too old to be tried again, and there is no payment")),
            };
        }
        let payment = OffSessionPayment {
            amount_minor: charge.amount_minor,
            currency: &charge.currency,
            stripe_customer_id: self.stripe_customer_id,
            payment_method_id: &charge.payment_method_id,
            description: &charge.description,
            customer_id: operation.customer_id.as_str(),
            operation_id: operation.id.as_str(),
        };
        match stripe.payment_create(&payment, &self.key("pay")).await {
            Ok(answer) => Ok(by_intent(operation, charge, &PaymentIntentShape::read(&answer.body), self.now_ms)),
            Err(StripeError::Declined(decline)) => Ok(self.failed(declined(&decline))),
            Err(StripeError::AuthenticationRequired(decline)) => {
                let intent = PaymentIntentShape::read(&decline.payment_intent);
                if intent.id.is_none() {
                    return Ok(self.failed(declined(&decline)));
                }
                Ok(waits(operation, &intent, self.now_ms))
            }
            Err(StripeError::Unknown { is_stored: true, reason }) => {
                match find(stripe, operation, self.stripe_customer_id).await? {
                    Some(intent) => Ok(by_intent(operation, charge, &intent, self.now_ms)),
                    // The failure is final under this key, and it left no payment behind.
                    None => Ok(self.new_round(&reason)),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A payment that nobody finishes in time is cancelled, so that nobody can be charged for it later.
    async fn by_intent_or_expire(&self, charge: &UsageCharge, intent: &PaymentIntentShape) -> Result<Verdict, Stop> {
        let operation = self.operation;
        let waits = intent.wants_authentication() || intent.status.as_deref() == Some("requires_payment_method");
        if operation.state != State::RequiresAction || !waits {
            return Ok(by_intent(operation, charge, intent, self.now_ms));
        }
        let ends_at_ms = operation.round_at_ms + ACTION_TTL_MS;
        if self.now_ms < ends_at_ms {
            return Ok(Outcome::Snooze { until_ms: ends_at_ms }.into());
        }
        if let Some(id) = &intent.id {
            self.deps.stripe.payment_cancel(id, &self.key("cancel")).await?;
        }
        let message = "The payment was not authenticated in time; nothing was charged.".to_owned();
        Ok(self.failed(Problem { code: "authentication_expired".to_owned(), message, ..Problem::default() }))
    }
}

/// What the state of a PaymentIntent means for the operation that it pays.
fn by_intent(operation: &Operation, charge: &UsageCharge, intent: &PaymentIntentShape, now_ms: TimeMs) -> Verdict {
    let failed = |problem| Verdict {
        outcome: Outcome::Done,
        ledger: None,
        effects: vec![Effect::operation(operation.failed(problem, now_ms))],
    };
    let Some(id) = &intent.id else {
        return Outcome::Dead { reason: "shape_incomplete: a PaymentIntent without id".to_owned() }.into();
    };
    match intent.status.as_deref() {
        Some("succeeded") => settled(operation, charge, id, now_ms),
        _ if intent.wants_authentication() => waits(operation, intent, now_ms),
        Some("requires_payment_method") => failed(failure(intent)),
        Some("canceled") => {
            let message = "The payment was cancelled; nothing was charged.".to_owned();
            failed(Problem { code: "payment_canceled".to_owned(), message, ..Problem::default() })
        }
        // `processing`, or a status that Stripe invents later: it will say more.
        _ => Verdict {
            outcome: Outcome::Snooze { until_ms: now_ms + PROCESSING_WAIT_MS },
            ledger: None,
            effects: vec![Effect::operation(Operation { stripe_id: Some(id.clone()), ..operation.clone() })],
        },
    }
}

/// Stripe has the money: grant and debit, with the operation's end, in one transaction.
fn settled(operation: &Operation, charge: &UsageCharge, payment_intent_id: &str, now_ms: TimeMs) -> Verdict {
    let op = Op::Purchase { amount: charge.units, spend: Some(Box::new(operation.spend(charge))) };
    let command = Command::internal(op, "purchase", payment_key(payment_intent_id)).with_reference(payment_intent_id);
    let end = operation.succeeded(Some(payment_intent_id.to_owned()), now_ms);
    Verdict {
        outcome: Outcome::Done,
        ledger: Some((operation.customer_id.clone(), command)),
        effects: vec![Effect::operation(end)],
    }
}

fn waits(operation: &Operation, intent: &PaymentIntentShape, now_ms: TimeMs) -> Verdict {
    let end = operation.waits_for_customer(authentication(intent), intent.id.clone(), now_ms);
    Verdict {
        outcome: Outcome::Snooze { until_ms: operation.round_at_ms.max(now_ms - ACTION_TTL_MS) + ACTION_TTL_MS },
        ledger: None,
        effects: vec![Effect::operation(end)],
    }
}

/// The operation's own PaymentIntent at Stripe: the one that succeeded, else the latest.
async fn find(
    stripe: &Gateway,
    operation: &Operation,
    stripe_customer_id: &str,
) -> Result<Option<PaymentIntentShape>, StripeError> {
    let mut found: Option<PaymentIntentShape> = None;
    let mut after: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let page = stripe.payment_list(Some(stripe_customer_id), after.as_deref()).await?;
        for row in shape::rows(&page) {
            let intent = PaymentIntentShape::read(row);
            let is_own = intent.metadata.get(OPERATION_METADATA_KEY).is_some_and(|id| id == operation.id.as_str());
            if is_own && (found.is_none() || intent.status.as_deref() == Some("succeeded")) {
                found = Some(intent);
            }
        }
        let last = shape::rows(&page).last().and_then(|row| shape::id(&row["id"]));
        let is_older = shape::rows(&page).last().and_then(|row| row["created"].as_i64()).is_some_and(|created_s| {
            // An hour for clocks that differ.
            created_s.saturating_mul(1_000) < operation.created_at_ms - 60 * 60 * 1_000
        });
        if page["has_more"] != true || is_older || last.is_none() {
            return Ok(found);
        }
        after = last;
    }
    Err(StripeError::NotDone { reason: "there are too many payments to look through".to_owned() })
}

/// A PaymentIntent changed, says an event: what that means for the operation that it pays. `None` if
/// it pays none.
///
/// Only a success is taken from here. What failed is the operation's own job to find out, under its
/// own key; a customer that failed to authenticate may try again.
pub(in crate::handler) async fn settle_payment(deps: &Deps, object: &Value, now_ms: TimeMs) -> Result<Option<Verdict>> {
    let intent = PaymentIntentShape::read(object);
    let Some(id) = intent.metadata.get(OPERATION_METADATA_KEY).and_then(|id| OperationId::parse(id).ok()) else {
        return Ok(None);
    };
    let Some(operation) = operation::operation_find(deps.db.read(), &id).await? else { return Ok(None) };
    let Request::UsageCharge(charge) = &operation.request else { return Ok(None) };
    let is_paid = intent.status.as_deref() == Some("succeeded");
    let Some(payment_intent_id) = intent.id.filter(|_| is_paid) else { return Ok(Some(Outcome::Done.into())) };
    Ok(Some(settled(&operation, charge, &payment_intent_id, now_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CustomerId;
    use serde_json::json;

    fn charge() -> UsageCharge {
        UsageCharge {
            units: 1,
            amount_minor: 2_900,
            currency: "usd".to_owned(),
            payment_method_id: "pm_1".to_owned(),
            description: "1 fix".to_owned(),
            reference: None,
            metadata: None,
        }
    }

    fn operation() -> Operation {
        let key = "api:k".to_owned();
        Operation::new(&CustomerId::new(), Request::UsageCharge(charge()), key, "h".to_owned(), 1_000)
    }

    fn state(verdict: &Verdict) -> Option<State> {
        verdict.effects.iter().find_map(|effect| match effect {
            Effect::OperationPut(operation) => Some(operation.state),
            _ => None,
        })
    }

    fn verdict(intent: Value) -> Verdict {
        by_intent(&operation(), &charge(), &PaymentIntentShape::read(&intent), 2_000)
    }

    #[test]
    fn a_payment_that_succeeded_grants_and_debits_under_keys_of_its_own() {
        let verdict = verdict(json!({"id": "pi_1", "status": "succeeded"}));
        let (_, command) = verdict.ledger.clone().expect("a command");
        assert_eq!(command.keys().collect::<Vec<_>>(), ["stripe:payment:pi_1", "api:k"]);
        assert_eq!(state(&verdict), Some(State::Succeeded));
    }

    #[test]
    fn a_payment_that_wants_authentication_keeps_its_intent_and_is_no_failure() {
        let intent = json!({"id": "pi_1", "status": "requires_payment_method", "client_secret": "cs",
                            "last_payment_error": {"code": "authentication_required"}});
        let verdict = verdict(intent);
        assert_eq!(state(&verdict), Some(State::RequiresAction));
        assert!(matches!(verdict.outcome, Outcome::Snooze { .. }));
        let Some(Effect::OperationPut(waiting)) = verdict.effects.first() else { panic!("{verdict:?}") };
        assert_eq!(waiting.stripe_id.as_deref(), Some("pi_1"));
        assert_eq!(waiting.problem.as_ref().and_then(|problem| problem.client_secret.as_deref()), Some("cs"));
    }

    #[test]
    fn a_decline_moves_no_credit() {
        let intent = json!({"id": "pi_1", "status": "requires_payment_method",
                            "last_payment_error": {"code": "card_declined", "decline_code": "insufficient_funds"}});
        let verdict = verdict(intent);
        assert!(verdict.ledger.is_none());
        assert_eq!(state(&verdict), Some(State::Failed));
    }

    #[test]
    fn a_payment_under_way_is_looked_at_again_and_uses_up_no_attempt() {
        let verdict = verdict(json!({"id": "pi_1", "status": "processing"}));
        assert!(matches!(verdict.outcome, Outcome::Snooze { .. }));
        assert_eq!(state(&verdict), Some(State::Processing));
    }
}
