//! Gives money back.
//!
//! A change of the subscription may credit the same money at Stripe. Refunds run beside changes, on any node, and after
//! a Stripe customer was linked anew as operations of another customer, so each looks at the other before its call.
//! Both are first stored as under way. The change then reads the refunds under way and after them Stripe's money
//! (`change/money.rs`), the refund the changes under way and after them Stripe's invoices ([`Run::check_again`]).
//!
//! | when the refund reads the changes, the change | why the money goes once |
//! |---|---|
//! | is not stored yet | it looks later, and the refund was stored before: it finds the refund under way, or its money gone at Stripe, and fails |
//! | is under way | the refund waits until it has ended, and looks again; if the change looks meanwhile, it finds the refund and fails. If it waited in vain, the refund fails, and has called nothing |
//! | is under way, and nobody carries it out: its job is dead or cancelled | the refund does not wait; the change looks when its job runs again, as if it were not stored yet |
//! | has ended well | Stripe had its invoice before it ended, or the items for one: the refund finds what they credit, paid or not |
//! | has failed | it left nothing at Stripe: it does not fail by this rule while a call of its own is in doubt |
//!
//! They do not wait in a circle: a change waits for no refund. A refund whose plan is older than a change looks like
//! any other when its job runs. Of a change that somebody makes at Stripe itself, only its invoice is found.

use super::{BEGIN_WAIT_FOR_MS, BEGIN_WAIT_MS, Run, given_up};
use crate::amount::MoneyMinor;
use crate::domain::effect::Verdict;
use crate::domain::job::Outcome;
use crate::domain::operation::{Operation, Problem};
use crate::domain::refund::{CreditsChoice, FailedRefund, is_of_operation};
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields::{self, ChargeFields, InvoiceFields};
use crate::ids::OperationId;
use crate::infra::store::operation::operation_list_changing;
use crate::infra::store::payment::invoice_find;
use crate::infra::stripe::charge::NewRefund;
use crate::infra::stripe::{StripeError, found};
use crate::usecase::handler::Failure;
use crate::usecase::handler::invoice::whole_invoice;
use crate::usecase::handler::stripe::clawback::money_of_invoice_before_refund;
use crate::usecase::handler::stripe::review_event;
use serde_json::{Value, json};

/// What an operation gives back.
#[derive(Clone, Copy)]
pub(super) struct RefundTerms<'a> {
    /// The payment: an operation, or an invoice at Stripe.
    pub payment_id: &'a str,
    /// The charge at Stripe that took the money.
    pub charge_id: &'a str,
    /// How much.
    pub amount: MoneyMinor,
    /// ISO currency, in lower case.
    pub currency: &'a str,
    /// What becomes of the credits.
    pub credits: CreditsChoice,
    /// Whether the amount may have been credited to the customer already.
    pub beyond_credited: bool,
}

impl Run<'_> {
    pub(super) async fn refund(&self, asked: RefundTerms<'_>) -> Result<Verdict, Failure> {
        let charge_id = asked.charge_id;
        let key_is_closing = self.operation.key_is_closing(self.deps.doubt_ms, self.now_ms);
        if self.operation.round > 1 || key_is_closing {
            if let Some(made) = self.made_refund(charge_id).await? {
                return self.refunded(charge_id, &made).await;
            }
            if key_is_closing {
                return Ok(self.new_key_when_safe("there is no refund"));
            }
        }
        if let Some(verdict) = self.check_again(&asked).await? {
            return Ok(verdict);
        }
        let refund = NewRefund {
            charge_id,
            amount_minor: asked.amount,
            credits: asked.credits.as_str(),
            customer_id: self.operation.customer_id.as_str(),
            operation: self.mark(),
        };
        match self.deps.stripe.refund_create(&refund, &self.key("refund")).await {
            Ok(made) => self.refunded(charge_id, &made).await,
            Err(StripeError::Unknown { is_stored: true, reason: why } | StripeError::KeyReused { message: why }) => {
                match self.made_refund(charge_id).await? {
                    Some(made) => self.refunded(charge_id, &made).await,
                    None => Ok(self.nothing_found(&why)),
                }
            }
            // Somebody may have given the money back meanwhile; or this operation has, and its answer was lost.
            Err(StripeError::Invalid { message, .. } | StripeError::NotFound { message }) => {
                match self.made_refund(charge_id).await? {
                    Some(made) => self.refunded(charge_id, &made).await,
                    None => {
                        Ok(self.failed(Problem { code: "stripe_refused".to_owned(), message, ..Problem::default() }))
                    }
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Looks again at what changes of the subscription have credited of the money, by the rule of the refund's plan.
    /// The verdict with which this attempt ends, if a change that may credit it is under way, or one has credited it,
    /// or the refund turns out to be made.
    async fn check_again(&self, asked: &RefundTerms<'_>) -> Result<Option<Verdict>, Failure> {
        // Only time of an invoice is ever credited.
        if asked.beyond_credited || OperationId::parse(asked.payment_id).is_ok() {
            return Ok(None);
        }
        let problem = match self.change_under_way(asked).await? {
            Some(_) if self.now_ms - self.operation.round_at_ms < BEGIN_WAIT_FOR_MS => {
                return Ok(Some(Outcome::Snooze { until_ms: self.now_ms + BEGIN_WAIT_MS }.into()));
            }
            Some(change) => Some(waited_for(&change)),
            None => self.refused_by_money(asked).await?,
        };
        let Some(problem) = problem else { return Ok(None) };
        // An attempt before may have made it, and its answer was lost.
        match self.made_refund(asked.charge_id).await? {
            Some(made) => self.refunded(asked.charge_id, &made).await.map(Some),
            None => Ok(Some(self.failed_unless_in_doubt(problem))),
        }
    }

    /// A change of the invoice's subscription that is under way and may credit its money. Stripe is asked for the
    /// subscription only if it is not stored.
    async fn change_under_way(&self, asked: &RefundTerms<'_>) -> Result<Option<Operation>, Failure> {
        let db = self.deps.db.read();
        let stored = invoice_find(db, asked.payment_id).await?.and_then(|invoice| invoice.subscription_id);
        let subscription = match stored {
            Some(id) => Some(id),
            None => {
                let invoice = whole_invoice(self.deps, asked.payment_id).await?;
                invoice.and_then(|invoice| InvoiceFields::read(&invoice).subscription_id)
            }
        };
        let Some(subscription) = subscription else { return Ok(None) };
        let changes = operation_list_changing(db, &subscription).await?;
        Ok(changes.into_iter().find(|change| change.request.credits_time()))
    }

    /// Why so much must not be given back any more, as Stripe has the invoices now.
    async fn refused_by_money(&self, asked: &RefundTerms<'_>) -> Result<Option<Problem>, Failure> {
        let Some(invoice) = whole_invoice(self.deps, asked.payment_id).await? else { return Ok(None) };
        let Some(charge) = found(self.deps.stripe.charge_retrieve(asked.charge_id).await)? else { return Ok(None) };
        let before = money_of_invoice_before_refund(self.deps, &invoice, &ChargeFields::read(&charge)).await?;
        Ok(before.amount(Some(asked.amount), asked.currency).err().map(Problem::from))
    }

    /// The operation's own refund at Stripe.
    async fn made_refund(&self, charge_id: &str) -> Result<Option<Value>, Failure> {
        let refunds = self.deps.stripe.refund_list(charge_id).await?;
        let own = fields::rows(&refunds).iter().find(|refund| is_of_operation(refund, self.operation.id.as_str()));
        Ok(own.cloned())
    }

    /// Ends the operation by its refund, and has the charge reviewed: Stripe's own event about the credits may come late,
    /// and that of a refund that failed since may have come before.
    async fn refunded(&self, charge_id: &str, made: &Value) -> Result<Verdict, Failure> {
        if let Some(failed) = FailedRefund::read(made) {
            return Ok(self.failed(Problem::refund_failed(failed.reason.as_deref())));
        }
        let Some(id) = fields::id(&made["id"]) else {
            return Ok(self.failed(given_up("Stripe's answer names no refund.")));
        };
        let charge = found(self.deps.stripe.charge_retrieve(charge_id).await)?;
        let object = charge.unwrap_or_else(|| json!({ "id": charge_id, "object": "charge" }));
        let named = format!("refund:{}:review", self.operation.id);
        let review = review_event(self.deps, &named, EventKind::ChargeRefunded, object, self.now_ms);
        Ok(self.done(&id, vec![review]))
    }
}

fn waited_for(change: &Operation) -> Problem {
    let message = format!(
        "The change {} of the subscription is still under way and may credit the same money, so nothing was refunded. Ask \
         again under another key once it has ended, or name the amount with beyond_credited.",
        change.id
    );
    Problem { code: "refund_waited".to_owned(), message, ..Problem::default() }
}
