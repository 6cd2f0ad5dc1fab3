//! Pro: subscribe, cancel, resume. What Stripe answers goes through the same rules as its events.

use super::{Run, Stop, authentication, failure, look_job};
use crate::clock::TimeMs;
use crate::effect::Effect;
use crate::handler::subscription::{learn, merge};
use crate::job::{Outcome, Verdict};
use crate::operation::{ACTION_TTL_MS, Operation, Problem, State};
use crate::stripe::StripeError;
use crate::webhook::shape::{self, PaymentIntentShape};
use serde_json::Value;

/// Wait before looking again whether a first payment went through.
const FIRST_PAYMENT_WAIT_MS: i64 = 10_000;
/// The same while the customer is trying on session. Its events tell sooner.
const CUSTOMER_TRIES_WAIT_MS: i64 = 5 * 60_000;

impl Run<'_> {
    pub(super) async fn subscribe(&self, payment_method_id: &str) -> Result<Verdict, Stop> {
        let (stripe, operation) = (&self.deps.stripe, self.operation);
        if let Some(id) = &operation.stripe_id {
            return self.look(id).await;
        }
        if let Some(object) = self.find_own().await? {
            return self.by_subscription(&object).await;
        }
        let price_id = match &self.deps.pro.price_id {
            Some(id) => id.clone(),
            None => {
                let prices = stripe.price_list(&self.deps.pro.lookup_key).await?;
                let Some(id) = shape::rows(&prices).first().and_then(|price| shape::id(&price["id"])) else {
                    let reason = format!("Stripe has no active price with lookup key {}", self.deps.pro.lookup_key);
                    let shown = "Subscribing is not possible just now.".to_owned();
                    let problem = Problem { code: "price_missing".to_owned(), message: shown, ..Problem::default() };
                    return Ok(Verdict { outcome: Outcome::Dead { reason }, ..self.failed(problem) });
                };
                id
            }
        };
        let metadata = (self.customer.id.as_str(), operation.id.as_str());
        let key = self.key("subscribe");
        let created =
            stripe.subscription_create(self.stripe_customer_id, &price_id, payment_method_id, metadata, &key).await?;
        self.by_subscription(&created).await
    }

    /// After a crash or once the key may be forgotten: what Stripe has of this operation.
    async fn find_own(&self) -> Result<Option<Value>, Stop> {
        if self.operation.round == 1 && !self.operation.key_is_stale(self.now_ms) {
            return Ok(None);
        }
        let page = self.deps.stripe.subscription_list(Some(self.stripe_customer_id), None).await?;
        let own = shape::rows(&page)
            .iter()
            .find(|row| row["metadata"][crate::stripe::requests::OPERATION_METADATA_KEY] == self.operation.id.as_str());
        let Some(id) = own.and_then(|row| shape::id(&row["id"])) else { return Ok(None) };
        Ok(Some(self.deps.stripe.subscription_retrieve(&id).await?))
    }

    /// What the subscription that Stripe made means. Its stream is the Stripe customer's, whose events
    /// must not wait behind it: what is not decided yet is looked at by a job apart.
    async fn by_subscription(&self, object: &Value) -> Result<Verdict, Stop> {
        let Some(id) = shape::id(&object["id"]) else {
            return Ok(Outcome::Dead { reason: "shape_incomplete: a subscription without id".to_owned() }.into());
        };
        let known = self.learn(object).await?;
        Ok(match Standing::of(object) {
            Standing::Paid => merge(known, self.done(&id, Vec::new())),
            Standing::Ended => merge(known, self.failed(ended())),
            Standing::WantsCustomer(payment) => {
                let problem = authentication(&payment);
                let waiting = self.operation.waits_for_customer(problem, Some(id), self.now_ms);
                merge(known, self.look_later(waiting, self.operation.round_at_ms + ACTION_TTL_MS))
            }
            Standing::Declined(payment) => {
                // Else Stripe would keep it open for a day, and a later card would pay for it unasked.
                let ended = self.deps.stripe.subscription_cancel(&id, &self.key("cancel")).await?;
                let known = merge(known, self.learn(&ended).await?);
                merge(known, self.failed(failure(&payment)))
            }
            Standing::Open => {
                let going_on = Operation { stripe_id: Some(id), ..self.operation.clone() };
                merge(known, self.look_later(going_on, self.now_ms + FIRST_PAYMENT_WAIT_MS))
            }
        })
    }

    /// Looks whether the first payment is decided by now. What the subscription brings is learned from
    /// its events, in their stream; here only the operation ends.
    pub(super) async fn look(&self, id: &str) -> Result<Verdict, Stop> {
        let stripe = &self.deps.stripe;
        let object = stripe.subscription_retrieve(id).await?;
        let is_waiting = self.operation.state == State::RequiresAction;
        Ok(match Standing::of(&object) {
            Standing::Paid => self.done(id, Vec::new()),
            Standing::Ended => self.failed(ended()),
            Standing::Declined(payment) if !is_waiting => {
                stripe.subscription_cancel(id, &self.key("cancel")).await?;
                self.failed(failure(&payment))
            }
            // On session the customer may try as often as it likes; Stripe ends it after 23 hours.
            _ => {
                let wait_ms = if is_waiting { CUSTOMER_TRIES_WAIT_MS } else { FIRST_PAYMENT_WAIT_MS };
                self.look_later(self.operation.clone(), self.now_ms + wait_ms)
            }
        })
    }

    fn look_later(&self, operation: Operation, at_ms: TimeMs) -> Verdict {
        let job = look_job(&operation, at_ms);
        let effects = vec![Effect::operation(operation), Effect::JobInsert(job)];
        Verdict { outcome: Outcome::Done, ledger: None, effects }
    }

    pub(super) async fn cancel(&self, id: &str, at_period_end: bool) -> Result<Verdict, Stop> {
        let stripe = &self.deps.stripe;
        let answer = if at_period_end {
            stripe.subscription_set_end(id, true, &self.key("end")).await
        } else {
            stripe.subscription_cancel(id, &self.key("cancel")).await
        };
        let object = match answer {
            // It has ended already: what it is now is what was wanted.
            Err(StripeError::NotFound { .. } | StripeError::Invalid { .. }) => stripe.subscription_retrieve(id).await?,
            answer => answer?,
        };
        Ok(merge(self.learn(&object).await?, self.done(id, Vec::new())))
    }

    pub(super) async fn resume(&self, id: &str) -> Result<Verdict, Stop> {
        let object = self.deps.stripe.subscription_set_end(id, false, &self.key("resume")).await?;
        Ok(merge(self.learn(&object).await?, self.done(id, Vec::new())))
    }

    async fn learn(&self, object: &Value) -> Result<Verdict, Stop> {
        Ok(learn(self.deps, Some(self.customer.clone()), object, self.now_ms).await?)
    }
}

/// Where a new subscription stands.
enum Standing {
    /// It is paid, or needs no payment.
    Paid,
    /// It has ended.
    Ended,
    /// The bank wants to see the customer.
    WantsCustomer(PaymentIntentShape),
    /// The first payment was declined.
    Declined(PaymentIntentShape),
    /// The bank is still working on it.
    Open,
}

impl Standing {
    fn of(object: &Value) -> Self {
        match object["status"].as_str() {
            Some("incomplete") => match first_payment(object) {
                Some(payment) if payment.wants_authentication() => Self::WantsCustomer(payment),
                Some(payment) if payment.status.as_deref() == Some("requires_payment_method") => {
                    Self::Declined(payment)
                }
                _ => Self::Open,
            },
            Some("incomplete_expired" | "canceled") => Self::Ended,
            _ => Self::Paid,
        }
    }
}

fn ended() -> Problem {
    let message = "The first payment was not made in time; the subscription has ended.".to_owned();
    Problem { code: "authentication_expired".to_owned(), message, ..Problem::default() }
}

/// The PaymentIntent of a subscription's latest invoice.
fn first_payment(object: &Value) -> Option<PaymentIntentShape> {
    let invoice = &object["latest_invoice"];
    let own = &invoice["payment_intent"];
    let listed = shape::rows(&invoice["payments"]).iter().map(|payment| &payment["payment"]["payment_intent"]);
    let mut intent =
        std::iter::once(own).chain(listed).find(|intent| intent.is_object()).map(PaymentIntentShape::read)?;
    if intent.client_secret.is_none() {
        intent.client_secret = invoice["confirmation_secret"]["client_secret"].as_str().map(str::to_owned);
    }
    Some(intent)
}
