//! Subscriptions: subscribe, cancel, resume. Stripe's answers go through the same rules as its events.

use super::{Deps, Run, authentication, check_job, failure, has_failed, settle_job};
use crate::clock::TimeMs;
use crate::domain::catalogue::{Catalogue, Price};
use crate::domain::effect::{Effect, Verdict, merge};
use crate::domain::job::{NewJob, Outcome};
use crate::domain::operation::{Operation, Payer, Problem, State, Task};
use crate::domain::sale::at_stripe::sold;
use crate::domain::sale::{KnownPrice, PriceBook, Sold, judge};
use crate::domain::subscription::Subscription;
use crate::domain::subscription::change::{check_nothing_unpaid, check_size};
use crate::domain::webhook::fields::{self, OPERATION_METADATA_KEY, PaymentIntentFields, SubscriptionFields};
use crate::infra::store::price as prices;
use crate::infra::stripe::requests::SubscribedItem;
use crate::infra::stripe::{Answer, StripeError, found};
use crate::key::PriceKey;
use crate::usecase::handler::catalogue::is_changing;
use crate::usecase::handler::invoice::{Heard, failed_invoice, whole_invoice};
use crate::usecase::handler::subscription::{apply_rules, first_was_paid};
use crate::usecase::handler::{Failure, price};
use serde_json::Value;

/// Wait before checking a first payment again.
const FIRST_PAYMENT_WAIT_MS: i64 = 10_000;
/// The same while the customer authenticates the payment in the browser. Usually an event reports the result earlier.
const CUSTOMER_TRIES_WAIT_MS: i64 = 5 * 60_000;

impl Run<'_> {
    pub(super) async fn subscribe(
        &self,
        payment_method_id: &str,
        price: Option<&PriceKey>,
        quantity: i64,
        is_decided: bool,
    ) -> Result<Verdict, Failure> {
        let (stripe, operation) = (&self.deps.stripe, self.operation);
        if let Some(id) = &operation.stripe_id {
            let object = stripe.subscription_retrieve(id).await?;
            return match self.task {
                Task::Check => self.check(&object).await,
                _ => self.verdict_on(&object).await,
            };
        }
        let catalogue = self.deps.catalogue.now();
        let offer = offered(&catalogue, price);
        // Its own subscription, of an attempt whose answer was lost, comes before what is stored of the card by now.
        if let Some(verdict) = self.adopt_existing(is_decided).await? {
            return Ok(verdict);
        }
        if !is_decided {
            let currency = offer.map_or(&catalogue.currency, |price| &price.currency);
            return self.decide_payer(Some(payment_method_id), currency).await;
        }
        if operation.key_is_closing(self.deps.doubt_ms, self.now_ms) {
            return Ok(self.new_key_when_safe("there is no subscription"));
        }
        let Some(price) = offer else { return self.price_missing("no such price is offered").await };
        if let Err(refusal) = check_size(price, quantity) {
            return Ok(self.failed(refusal.into()));
        }
        let Some(price_id) = self.price_id(&catalogue, price).await? else {
            let key = &price.lookup_key;
            let why = format!(
                "Stripe has no active price for {key} at the catalogue's amount, or support decided that it sells \
                 something else"
            );
            return self.price_missing(&why).await;
        };
        stripe.customer_set_default(self.stripe_customer_id, payment_method_id, &self.key("default")).await?;
        let (customer_id, key) = (self.customer.id.as_str(), self.key("subscribe"));
        let item = SubscribedItem { price_id: &price_id, price: &price.key, plan: &price.plan, quantity };
        let made = stripe.subscription_create(self.stripe_customer_id, &item, customer_id, self.mark(), &key).await;
        match made {
            Ok(answer) => {
                let object = self.refetch_if_replayed(answer).await?;
                let mut verdict = self.verdict_on(&object).await?;
                let (customer_id, id) = (self.customer.id.clone(), payment_method_id.to_owned());
                verdict.effects.push(Effect::PaymentMethodDefault { customer_id, id });
                Ok(verdict)
            }
            Err(StripeError::Unknown { is_stored: true, reason: why } | StripeError::KeyReused { message: why }) => {
                match self.adopt_existing(true).await? {
                    Some(verdict) => Ok(verdict),
                    None => Ok(self.nothing_found(&why)),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The verdict if the customer already has a subscription at Stripe; `None` if none is in the way. It may be this
    /// operation's own (an earlier attempt created it and its answer was lost), or another one of ours (then this
    /// operation fails). An unpaid one of another request is cancelled first, if it may be replaced.
    async fn adopt_existing(&self, may_replace: bool) -> Result<Option<Verdict>, Failure> {
        let stripe = &self.deps.stripe;
        let page = stripe.subscription_list(Some(self.stripe_customer_id), None).await?;
        let said = |row: &Value| SubscriptionFields::read(row);
        let is_open = |row: &&Value| !said(row).status.as_deref().is_some_and(Subscription::status_is_final);
        let open: Vec<&Value> = fields::rows(&page).iter().filter(is_open).collect();
        let maker = |row: &Value| row["metadata"][OPERATION_METADATA_KEY].as_str().map(str::to_owned);
        let own = open.iter().find(|row| maker(row).as_deref() == Some(self.operation.id.as_str()));
        if let Some(id) = own.and_then(|row| fields::id(&row["id"])) {
            let object = stripe.subscription_retrieve(&id).await?;
            return Ok(Some(self.verdict_on(&object).await?));
        }
        for row in open {
            let Some(id) = fields::id(&row["id"]) else { continue };
            if row["status"] == "incomplete" && maker(row).is_some() {
                if !may_replace {
                    continue;
                }
                let ended = self.end_now(&id, &format!("replace:{id}")).await?;
                if first_was_paid(&ended) {
                    return Ok(Some(merge(self.apply_rules(&ended).await?, self.failed(paid_meanwhile()))));
                }
            } else if self.may_be_ours(row).await? {
                let message = "There is a subscription already.".to_owned();
                let code = "subscription_exists".to_owned();
                return Ok(Some(self.failed(Problem { code, message, ..Problem::default() })));
            }
        }
        Ok(None)
    }

    /// For a day Stripe answers a repeated idempotency key with the first answer. Such an answer may be old (the
    /// attempt before may have cancelled the subscription), so the subscription is fetched again.
    pub(super) async fn refetch_if_replayed(&self, answer: Answer) -> Result<Value, Failure> {
        match fields::id(&answer.body["id"]).filter(|_| answer.is_replay) {
            Some(id) => Ok(self.deps.stripe.subscription_retrieve(&id).await?),
            None => Ok(answer.body),
        }
    }

    /// Whether a subscription sells a plan of ours, or may do so.
    async fn may_be_ours(&self, object: &Value) -> Result<bool, Failure> {
        let book = PriceBook::new(self.deps.catalogue.now(), []);
        let book = price::learn(self.deps, &book, object, self.now_ms).await?;
        let said = SubscriptionFields::read(object);
        let is_open = |item| !matches!(book.item(item, &said.items, &said.metadata), Sold::NotOurs);
        Ok(!said.has_all_items() || said.items.iter().any(is_open))
    }

    /// The id at Stripe of what a price of the catalogue sells now. It is remembered as sold: whoever has it keeps it,
    /// whatever the catalogue becomes.
    pub(super) async fn price_id(&self, catalogue: &Catalogue, price: &Price) -> Result<Option<String>, Failure> {
        let Some(sold) = price_at_stripe(self.deps, catalogue, price, self.now_ms).await? else { return Ok(None) };
        let id = sold.id.clone();
        prices::price_put_many(self.deps.db.write(), &[sold]).await?;
        Ok(Some(id))
    }

    /// There is no price to buy by. While the catalogue changes, that passes; otherwise somebody has to see to it.
    pub(super) async fn price_missing(&self, why: &str) -> Result<Verdict, Failure> {
        if is_changing(self.deps).await? {
            return Ok(self.failed(Problem::prices_changing()));
        }
        let outcome = Outcome::Dead { reason: why.to_owned() };
        Ok(Verdict { outcome, ..self.failed(Problem::price_missing()) })
    }

    /// The verdict on the created subscription. This job runs in the Stripe customer's stream and must not delay its
    /// events, so an open payment is checked by a separate job.
    async fn verdict_on(&self, object: &Value) -> Result<Verdict, Failure> {
        let Some(id) = fields::id(&object["id"]) else {
            return Ok(Outcome::Dead { reason: "shape_incomplete: a subscription without id".to_owned() }.into());
        };
        let known = self.apply_rules(object).await?;
        Ok(match self.first_payment_state(object).await? {
            FirstPayment::Paid => merge(known, self.done(&id, Vec::new())),
            // It was paid just when it was cancelled.
            FirstPayment::Ended if first_was_paid(object) => merge(known, self.done(&id, Vec::new())),
            FirstPayment::Ended => {
                let failed = self.failed(self.why_it_ended(object).await?);
                self.with_failed_invoice(object, merge(known, failed)).await?
            }
            FirstPayment::NeedsAuthentication(payment) => {
                let problem = authentication(&payment);
                let waiting = self.operation.waits_for_customer(problem, Some(id), self.now_ms);
                merge(known, self.check_later(waiting, CUSTOMER_TRIES_WAIT_MS))
            }
            // The customer may try again in the browser as often as it likes. After 23 hours Stripe ends the
            // subscription.
            FirstPayment::Declined(_) if self.operation.state == State::RequiresAction => {
                merge(known, self.check_later(self.operation.clone(), CUSTOMER_TRIES_WAIT_MS))
            }
            FirstPayment::Declined(payment) => {
                // Otherwise the subscription would stay open for a day, and Stripe would charge a card that is added
                // later.
                let ended = self.end_now(&id, "cancel").await?;
                let known = merge(known, self.apply_rules(&ended).await?);
                let problem = if first_was_paid(&ended) { paid_meanwhile() } else { failure(&payment) };
                self.with_failed_invoice(&ended, merge(known, self.failed(problem))).await?
            }
            FirstPayment::Open => {
                let going_on = Operation { stripe_id: Some(id), ..self.operation.clone() };
                merge(known, self.check_later(going_on, FIRST_PAYMENT_WAIT_MS))
            }
        })
    }

    /// Adds to the verdict on a subscription that ended unpaid what support sees of its first invoice. The event about
    /// the failure may never come.
    async fn with_failed_invoice(&self, object: &Value, mut verdict: Verdict) -> Result<Verdict, Failure> {
        let Some(id) = fields::id(&object["latest_invoice"]) else { return Ok(verdict) };
        if let Some(invoice) = whole_invoice(self.deps, &id).await? {
            let own = verdict.operations().find(|after| after.id == self.operation.id);
            let problem = own.and_then(|after| after.problem.clone());
            let failed = failed_invoice(self.deps, self.customer, &invoice, problem.as_ref(), self.now_ms).await?;
            verdict.effects.extend(failed);
        }
        Ok(verdict)
    }

    /// Why the subscription ended unpaid: the decline of its first payment, else that it was cancelled, or that the
    /// payment was not made in time.
    async fn why_it_ended(&self, object: &Value) -> Result<Problem, Failure> {
        let payment = self.first_payment(object).await?;
        let declined = payment.filter(has_failed);
        Ok(declined.map_or_else(|| ended(object), |payment| failure(&payment)))
    }

    /// Checks whether the payment has changed. If so, it creates a job in the customer's stream to decide, so that the
    /// decision is in order with Stripe's events.
    async fn check(&self, object: &Value) -> Result<Verdict, Failure> {
        let is_waiting = self.operation.state == State::RequiresAction;
        let wait_ms = match self.first_payment_state(object).await? {
            FirstPayment::NeedsAuthentication(_) | FirstPayment::Declined(_) if is_waiting => CUSTOMER_TRIES_WAIT_MS,
            FirstPayment::Open => FIRST_PAYMENT_WAIT_MS.max((self.now_ms - self.operation.round_at_ms) / 4),
            _ => {
                let settle = settle_job(self.operation, self.customer, self.now_ms);
                return Ok(Verdict {
                    // That job may decide nothing (it began another wait), so this one stays and checks again.
                    outcome: Outcome::Snooze { until_ms: self.now_ms + CUSTOMER_TRIES_WAIT_MS },
                    ledger: None,
                    effects: vec![Effect::JobInsert(settle)],
                });
            }
        };
        Ok(Outcome::Snooze { until_ms: self.now_ms + wait_ms }.into())
    }

    fn check_later(&self, operation: Operation, wait_ms: TimeMs) -> Verdict {
        let job = check_job(&operation, self.now_ms + wait_ms);
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
                    // An unpaid one has no period at whose end it could be cancelled: cancel it now.
                    Some("incomplete") => self.end_now(id, "cancel").await?,
                    // A schedule, for a change that is to come or one that came, manages its end.
                    Some(_) if at_period_end && self.let_go(&now).await? => {
                        stripe.subscription_set_end(id, true, &self.key("end:released")).await?
                    }
                    _ => {
                        let code = "stripe_refused".to_owned();
                        return Ok(self.failed(Problem { code, message, ..Problem::default() }));
                    }
                }
            }
            Err(error) => return Err(error.into()),
        };
        Ok(merge(self.apply_rules(&object).await?, self.done(id, Vec::new())))
    }

    /// Takes back an end or a change that is still to come, however it was scheduled, or a pause. Refused if there is
    /// nothing of these, and a change waits for its payment.
    pub(super) async fn resume(&self, id: &str, payer: Option<&Payer>) -> Result<Verdict, Failure> {
        let stripe = &self.deps.stripe;
        let mut now = stripe.subscription_retrieve(id).await?;
        let has_next = SubscriptionFields::read(&now).schedule.is_some_and(|schedule| schedule.next.is_some());
        let is_let_go = has_next && self.let_go(&now).await?;
        if is_let_go {
            now = stripe.subscription_retrieve(id).await?;
        }
        let object = match now["status"].as_str() {
            Some(status) if Subscription::status_is_final(status) => {
                let message = "The subscription has ended. Subscribe again.".to_owned();
                let code = "subscription_ended".to_owned();
                return Ok(merge(
                    self.apply_rules(&now).await?,
                    self.failed(Problem { code, message, ..Problem::default() }),
                ));
            }
            Some("paused") => return self.resume_paused(id, &now, payer).await,
            _ if now["cancel_at_period_end"] == true => {
                stripe.subscription_set_end(id, false, &self.key("resume")).await?
            }
            _ if !now["cancel_at"].is_null() => stripe.subscription_unset_end(id, &self.key("resume")).await?,
            // An attempt before may have taken something back.
            _ if is_let_go || self.has_begun => now,
            _ => return self.resume_nothing(id, &now).await,
        };
        Ok(merge(self.apply_rules(&object).await?, self.done(id, Vec::new())))
    }

    /// The verdict if there is nothing to take back: well, unless a change waits for its payment.
    async fn resume_nothing(&self, id: &str, object: &Value) -> Result<Verdict, Failure> {
        let known = self.apply_rules(object).await?;
        let row = self.row_now(id, &known).await?;
        let end = match row.as_ref().map_or(Ok(()), check_nothing_unpaid) {
            Ok(()) => self.done(id, Vec::new()),
            Err(refusal) => self.failed(refusal.into()),
        };
        Ok(merge(known, end))
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

    pub(super) async fn apply_rules(&self, object: &Value) -> Result<Verdict, Failure> {
        let heard = Heard::At(self.now_ms);
        let customer = Some(self.customer.clone());
        let mut verdict = apply_rules(self.deps, customer, object, true, heard, self.now_ms).await?;
        // This run itself decides about its operation.
        let own = |job: &NewJob| job.unique_key.as_deref().is_some_and(|key| self.operation.task_of(key).is_some());
        verdict.effects.retain(|effect| !matches!(effect, Effect::JobInsert(job) if own(job)));
        Ok(verdict)
    }

    /// The state of a new subscription: from its status or, while that is `incomplete`, from its first payment's.
    async fn first_payment_state(&self, object: &Value) -> Result<FirstPayment, Failure> {
        Ok(match object["status"].as_str() {
            Some("incomplete") => match self.first_payment(object).await? {
                Some(payment) if payment.wants_authentication() => FirstPayment::NeedsAuthentication(payment),
                Some(payment) if payment.status.as_deref() == Some("requires_payment_method") => {
                    FirstPayment::Declined(payment)
                }
                _ => FirstPayment::Open,
            },
            Some(status) if Subscription::status_is_final(status) => FirstPayment::Ended,
            _ => FirstPayment::Paid,
        })
    }

    /// The PaymentIntent of a subscription's latest invoice, which is the first of a new one. Stripe may give only its
    /// id; then it is fetched.
    pub(super) async fn first_payment(&self, object: &Value) -> Result<Option<PaymentIntentFields>, Failure> {
        let invoice = &object["latest_invoice"];
        let listed = fields::rows(&invoice["payments"]).iter().map(|payment| &payment["payment"]["payment_intent"]);
        let mut all = std::iter::once(&invoice["payment_intent"]).chain(listed);
        let Some(named) = all.find(|intent| fields::id(intent).is_some()) else { return Ok(None) };
        let mut intent = match fields::id(named).filter(|_| !named.is_object()) {
            Some(id) => PaymentIntentFields::read(&self.deps.stripe.payment_retrieve(&id).await?),
            None => PaymentIntentFields::read(named),
        };
        if intent.client_secret.is_none() {
            intent.client_secret = invoice["confirmation_secret"]["client_secret"].as_str().map(str::to_owned);
        }
        Ok(Some(intent))
    }
}

/// What a price of the catalogue is sold by at Stripe now; `None` if Stripe has no such price at the catalogue's
/// amount, or if support decided that it sells something else.
pub(super) async fn price_at_stripe(
    deps: &Deps,
    catalogue: &Catalogue,
    price: &Price,
    now_ms: TimeMs,
) -> Result<Option<KnownPrice>, Failure> {
    let object = match price.stripe.first() {
        Some(id) => found(deps.stripe.price_retrieve(id).await)?,
        None => fields::rows(&deps.stripe.price_list(&price.lookup_key).await?).first().cloned(),
    };
    let Some(object) = object else { return Ok(None) };
    let said = fields::Price::read_object(&object);
    // Nobody is charged another amount than the catalogue shows.
    if !judge::Offer::of(&said).is_of(price) {
        return Ok(None);
    }
    let sold = sold(price, &said, catalogue, now_ms);
    // Nobody is charged for what would bring nothing: support's decision counts before the catalogue.
    let known = prices::price_find_many(deps.db.read(), std::slice::from_ref(&sold.id)).await?.pop();
    let is_denied = known.is_some_and(|known| known.is_denied(&price.key));
    Ok((!is_denied).then_some(sold))
}

/// The price that is asked for; if none is named, the only one that is offered.
fn offered<'a>(catalogue: &'a Catalogue, key: Option<&PriceKey>) -> Option<&'a Price> {
    let mut offered = catalogue.offered().filter(|price| key.is_none_or(|key| price.key == *key));
    let first = offered.next();
    first.filter(|_| offered.next().is_none())
}

/// The state of a new subscription and its first payment.
enum FirstPayment {
    /// It is paid, or needs no payment.
    Paid,
    /// It has ended.
    Ended,
    /// The bank requires authentication.
    NeedsAuthentication(PaymentIntentFields),
    /// The first payment was declined.
    Declined(PaymentIntentFields),
    /// The bank is still working on it.
    Open,
}

fn paid_meanwhile() -> Problem {
    let message = "A subscription that waited for its first payment was paid just when it was ended to make room. \
                   Its credits are there, and nothing else was charged. Ask support to have it refunded or \
                   replaced.";
    Problem { code: "subscription_paid_meanwhile".to_owned(), message: message.to_owned(), ..Problem::default() }
}

/// Why a subscription ended whose first payment was neither made nor declined. Source: Stripe, "The Subscription
/// object", `cancellation_details`.
fn ended(object: &Value) -> Problem {
    if object["cancellation_details"]["reason"] == "cancellation_requested" {
        let message = "The subscription was cancelled before its first payment was made. Nothing was charged.";
        return Problem::new("payment_canceled", message);
    }
    Problem::new("authentication_expired", "The first payment was not made in time; the subscription has ended.")
}
