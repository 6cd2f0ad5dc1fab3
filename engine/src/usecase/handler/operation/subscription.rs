//! Pro: subscribe, cancel, resume. What Stripe answers goes through the same rules as its events.

use super::{Run, authentication, failure, look_job, settle_job};
use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::operation::{Operation, Problem, State, Task};
use crate::domain::subscription::Subscription;
use crate::domain::webhook::shape::{
    self, InvoiceShape, IsPro, OPERATION_METADATA_KEY, PaymentIntentShape, SubscriptionShape,
};
use crate::infra::stripe::{Answer, StripeError};
use crate::usecase::handler::Failure;
use crate::usecase::handler::subscription::{learn, merge};
use serde_json::Value;

/// Wait before looking again whether a first payment went through.
const FIRST_PAYMENT_WAIT_MS: i64 = 10_000;
/// The same while the customer is trying on session. Its events tell sooner.
const CUSTOMER_TRIES_WAIT_MS: i64 = 5 * 60_000;

impl Run<'_> {
    pub(super) async fn subscribe(&self, payment_method_id: &str) -> Result<Verdict, Failure> {
        let (stripe, operation) = (&self.deps.stripe, self.operation);
        if let Some(id) = &operation.stripe_id {
            let object = stripe.subscription_retrieve(id).await?;
            return match self.task {
                Task::Look => self.look(&object).await,
                Task::CarryOut => self.by_subscription(&object).await,
            };
        }
        if let Some(verdict) = self.by_what_there_is().await? {
            return Ok(verdict);
        }
        if operation.key_is_spent(self.deps.doubt_ms, self.now_ms) {
            return Ok(self.with_another_key("there is no subscription"));
        }
        let Some(price_id) = self.price_id().await? else { return Ok(self.price_missing()) };
        stripe.customer_set_default(self.stripe_customer_id, payment_method_id, &self.key("default")).await?;
        let (customer_id, key) = (self.customer.id.as_str(), self.key("subscribe"));
        let made = stripe.subscription_create(self.stripe_customer_id, &price_id, customer_id, self.mark(), &key).await;
        match made {
            Ok(answer) => {
                let object = self.unless_old(answer).await?;
                let mut verdict = self.by_subscription(&object).await?;
                let (customer_id, id) = (self.customer.id.clone(), payment_method_id.to_owned());
                verdict.effects.push(Effect::PaymentMethodDefault { customer_id, id });
                Ok(verdict)
            }
            Err(StripeError::Unknown { is_stored: true, reason: why } | StripeError::KeyReused { message: why }) => {
                match self.by_what_there_is().await? {
                    Some(verdict) => Ok(verdict),
                    None => Ok(self.nothing_found(&why)),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What follows if the customer has a subscription at Stripe already: the operation's own, which an
    /// attempt before this one made without our learning of it, or another one, beside which none is
    /// made. One that another request of the customer's left unpaid makes room.
    async fn by_what_there_is(&self) -> Result<Option<Verdict>, Failure> {
        let stripe = &self.deps.stripe;
        let page = stripe.subscription_list(Some(self.stripe_customer_id), None).await?;
        let said = |row: &Value| SubscriptionShape::read(row);
        let is_open = |row: &&Value| !said(row).status.as_deref().is_some_and(Subscription::status_is_final);
        let open: Vec<&Value> = shape::rows(&page).iter().filter(is_open).collect();
        let maker = |row: &Value| row["metadata"][OPERATION_METADATA_KEY].as_str().map(str::to_owned);
        let own = open.iter().find(|row| maker(row).as_deref() == Some(self.operation.id.as_str()));
        if let Some(id) = own.and_then(|row| shape::id(&row["id"])) {
            let object = stripe.subscription_retrieve(&id).await?;
            return Ok(Some(self.by_subscription(&object).await?));
        }
        for row in open {
            let Some(id) = shape::id(&row["id"]) else { continue };
            if row["status"] == "incomplete" && maker(row).is_some() {
                let ended = self.end_now(&id, &format!("replace:{id}")).await?;
                if first_was_paid(&ended) {
                    return Ok(Some(merge(self.learn(&ended).await?, self.failed(paid_meanwhile()))));
                }
            } else if said(row).is_pro(&self.deps.pro) != IsPro::No {
                let message = "There is a subscription to Pro already.".to_owned();
                let code = "subscription_exists".to_owned();
                return Ok(Some(self.failed(Problem { code, message, ..Problem::default() })));
            }
        }
        Ok(None)
    }

    /// Under its key a call answers for a day what it answered first: what has become of it since is
    /// asked for. The attempt before may have ended it.
    async fn unless_old(&self, answer: Answer) -> Result<Value, Failure> {
        match shape::id(&answer.body["id"]).filter(|_| answer.is_replay) {
            Some(id) => Ok(self.deps.stripe.subscription_retrieve(&id).await?),
            None => Ok(answer.body),
        }
    }

    async fn price_id(&self) -> Result<Option<String>, Failure> {
        if let Some(id) = &self.deps.pro.price_id {
            return Ok(Some(id.clone()));
        }
        let prices = self.deps.stripe.price_list(&self.deps.pro.lookup_key).await?;
        Ok(shape::rows(&prices).first().and_then(|price| shape::id(&price["id"])))
    }

    fn price_missing(&self) -> Verdict {
        let reason = format!("Stripe has no active price with lookup key {}", self.deps.pro.lookup_key);
        let shown = "Subscribing is not possible just now.".to_owned();
        let problem = Problem { code: "price_missing".to_owned(), message: shown, ..Problem::default() };
        Verdict { outcome: Outcome::Dead { reason }, ..self.failed(problem) }
    }

    /// What the subscription that Stripe made means. Its stream is the Stripe customer's, whose events
    /// must not wait behind it: what is not decided yet is looked at by a job apart.
    async fn by_subscription(&self, object: &Value) -> Result<Verdict, Failure> {
        let Some(id) = shape::id(&object["id"]) else {
            return Ok(Outcome::Dead { reason: "shape_incomplete: a subscription without id".to_owned() }.into());
        };
        let known = self.learn(object).await?;
        Ok(match self.standing(object).await? {
            Standing::Paid => merge(known, self.done(&id, Vec::new())),
            Standing::Ended => merge(known, self.failed(self.why_it_ended(object).await?)),
            Standing::WantsCustomer(payment) => {
                let problem = authentication(&payment);
                let waiting = self.operation.waits_for_customer(problem, Some(id), self.now_ms);
                merge(known, self.look_later(waiting, CUSTOMER_TRIES_WAIT_MS))
            }
            // On session the customer may try as often as it likes; Stripe ends it after 23 hours.
            Standing::Declined(_) if self.operation.state == State::RequiresAction => {
                merge(known, self.look_later(self.operation.clone(), CUSTOMER_TRIES_WAIT_MS))
            }
            Standing::Declined(payment) => {
                // Else Stripe would keep it open for a day, and a later card would pay for it unasked.
                let ended = self.end_now(&id, "cancel").await?;
                let known = merge(known, self.learn(&ended).await?);
                let problem = if first_was_paid(&ended) { paid_meanwhile() } else { failure(&payment) };
                merge(known, self.failed(problem))
            }
            Standing::Open => {
                let going_on = Operation { stripe_id: Some(id), ..self.operation.clone() };
                merge(known, self.look_later(going_on, FIRST_PAYMENT_WAIT_MS))
            }
        })
    }

    /// A decline, if that is why it was ended before its first payment; else it was not paid in time.
    async fn why_it_ended(&self, object: &Value) -> Result<Problem, Failure> {
        let payment = self.first_payment(object).await?;
        let is_decline = |code: &str| code != "authentication_required";
        let declined = payment.filter(|payment| payment.error_code.as_deref().is_some_and(is_decline));
        Ok(declined.map_or_else(ended, |payment| failure(&payment)))
    }

    /// Looks whether anything has changed. What that means is for a job in the customer's stream to say,
    /// so that it is not older than what its events say.
    async fn look(&self, object: &Value) -> Result<Verdict, Failure> {
        let is_waiting = self.operation.state == State::RequiresAction;
        let wait_ms = match self.standing(object).await? {
            Standing::WantsCustomer(_) | Standing::Declined(_) if is_waiting => CUSTOMER_TRIES_WAIT_MS,
            Standing::Open => FIRST_PAYMENT_WAIT_MS.max((self.now_ms - self.operation.round_at_ms) / 4),
            _ => {
                let settle = settle_job(self.operation, self.customer, self.now_ms);
                return Ok(Verdict {
                    // It may come to nothing, and what began to wait then goes on waiting.
                    outcome: Outcome::Snooze { until_ms: self.now_ms + CUSTOMER_TRIES_WAIT_MS },
                    ledger: None,
                    effects: vec![Effect::JobInsert(settle)],
                });
            }
        };
        Ok(Outcome::Snooze { until_ms: self.now_ms + wait_ms }.into())
    }

    fn look_later(&self, operation: Operation, wait_ms: TimeMs) -> Verdict {
        let job = look_job(&operation, self.now_ms + wait_ms);
        let effects = vec![Effect::operation(operation), Effect::JobInsert(job)];
        Verdict { outcome: Outcome::Done, ledger: None, effects }
    }

    pub(super) async fn cancel(&self, id: &str, at_period_end: bool) -> Result<Verdict, Failure> {
        let stripe = &self.deps.stripe;
        let answer = if at_period_end {
            stripe.subscription_set_end(id, true, &self.key("end")).await
        } else {
            stripe.subscription_cancel(id, &self.key("cancel")).await
        };
        let object = match answer {
            Ok(object) => object,
            Err(StripeError::NotFound { message } | StripeError::Invalid { message, .. }) => {
                let now = stripe.subscription_retrieve(id).await?;
                match now["status"].as_str() {
                    // It has ended already, as was wanted.
                    Some(status) if Subscription::status_is_final(status) => now,
                    // It has no period yet that it could last for.
                    Some("incomplete") => self.end_now(id, "cancel").await?,
                    _ => {
                        let code = "stripe_refused".to_owned();
                        return Ok(self.failed(Problem { code, message, ..Problem::default() }));
                    }
                }
            }
            Err(error) => return Err(error.into()),
        };
        Ok(merge(self.learn(&object).await?, self.done(id, Vec::new())))
    }

    /// Takes back an end that is still to come, however it was scheduled, or a pause.
    pub(super) async fn resume(&self, id: &str) -> Result<Verdict, Failure> {
        let stripe = &self.deps.stripe;
        let now = stripe.subscription_retrieve(id).await?;
        let object = match now["status"].as_str() {
            Some(status) if Subscription::status_is_final(status) => {
                let message = "The subscription has ended. Subscribe again.".to_owned();
                let code = "subscription_ended".to_owned();
                return Ok(merge(
                    self.learn(&now).await?,
                    self.failed(Problem { code, message, ..Problem::default() }),
                ));
            }
            Some("paused") => stripe.subscription_resume(id, &self.key("resume")).await?,
            _ if now["cancel_at_period_end"] == true => {
                stripe.subscription_set_end(id, false, &self.key("resume")).await?
            }
            _ if !now["cancel_at"].is_null() => stripe.subscription_unset_end(id, &self.key("resume")).await?,
            _ => now,
        };
        Ok(merge(self.learn(&object).await?, self.done(id, Vec::new())))
    }

    /// Ends a subscription at once, or finds that it has ended.
    async fn end_now(&self, id: &str, call: &str) -> Result<Value, Failure> {
        match self.deps.stripe.subscription_cancel(id, &self.key(call)).await {
            Err(StripeError::NotFound { .. } | StripeError::Invalid { .. }) => {
                Ok(self.deps.stripe.subscription_retrieve(id).await?)
            }
            answer => Ok(answer?),
        }
    }

    async fn learn(&self, object: &Value) -> Result<Verdict, Failure> {
        Ok(learn(self.deps, Some(self.customer.clone()), object, self.now_ms).await?)
    }

    /// Where a new subscription stands: its status, and while that is open its first payment's.
    async fn standing(&self, object: &Value) -> Result<Standing, Failure> {
        Ok(match object["status"].as_str() {
            Some("incomplete") => match self.first_payment(object).await? {
                Some(payment) if payment.wants_authentication() => Standing::WantsCustomer(payment),
                Some(payment) if payment.status.as_deref() == Some("requires_payment_method") => {
                    Standing::Declined(payment)
                }
                _ => Standing::Open,
            },
            Some(status) if Subscription::status_is_final(status) => Standing::Ended,
            _ => Standing::Paid,
        })
    }

    /// The PaymentIntent of a subscription's latest invoice. Stripe names it by its id only.
    async fn first_payment(&self, object: &Value) -> Result<Option<PaymentIntentShape>, Failure> {
        let invoice = &object["latest_invoice"];
        let listed = shape::rows(&invoice["payments"]).iter().map(|payment| &payment["payment"]["payment_intent"]);
        let mut all = std::iter::once(&invoice["payment_intent"]).chain(listed);
        let Some(named) = all.find(|intent| shape::id(intent).is_some()) else { return Ok(None) };
        let mut intent = match shape::id(named).filter(|_| !named.is_object()) {
            Some(id) => PaymentIntentShape::read(&self.deps.stripe.payment_retrieve(&id).await?),
            None => PaymentIntentShape::read(named),
        };
        if intent.client_secret.is_none() {
            intent.client_secret = invoice["confirmation_secret"]["client_secret"].as_str().map(str::to_owned);
        }
        Ok(Some(intent))
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

/// Whether the first payment of a subscription was made, in the moment in which it was to end unpaid.
fn first_was_paid(object: &Value) -> bool {
    let invoice = InvoiceShape::read(&object["latest_invoice"]);
    invoice.is_paid == Some(true) && invoice.amount_paid.is_some_and(|amount| amount > MoneyMinor::ZERO)
}

fn paid_meanwhile() -> Problem {
    let message = "A subscription that waited for its first payment was paid just when it was ended to make room. \
                   Its credits are there, and nothing else was charged. Ask support to have it refunded or \
                   replaced.";
    Problem { code: "subscription_paid_meanwhile".to_owned(), message: message.to_owned(), ..Problem::default() }
}

fn ended() -> Problem {
    let message = "The first payment was not made in time; the subscription has ended.".to_owned();
    Problem { code: "authentication_expired".to_owned(), message, ..Problem::default() }
}
