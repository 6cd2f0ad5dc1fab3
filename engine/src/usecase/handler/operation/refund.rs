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
//! | is under way | the refund waits until it has ended, and looks again; if the change looks meanwhile, it finds the refund and fails |
//! | has ended well | Stripe had its invoice before it ended: the refund finds what it credited |
//! | has failed | it left nothing at Stripe: it does not fail by this rule while a call of its own is in doubt |
//!
//! They do not wait in a circle: a change waits for no refund. A refund whose plan is older than a change looks like
//! any other when its job runs. Of a change that somebody makes at Stripe itself, only its invoice is found.

use super::{Run, given_up, wait_to_begin};
use crate::amount::MoneyMinor;
use crate::domain::effect::Verdict;
use crate::domain::operation::Problem;
use crate::domain::refund::{CreditsChoice, is_of_operation};
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields::{self, ChargeFields, InvoiceFields};
use crate::ids::OperationId;
use crate::infra::store::operation::operation_list_changing;
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
        let Some(invoice) = whole_invoice(self.deps, asked.payment_id).await? else { return Ok(None) };
        let Some(subscription) = InvoiceFields::read(&invoice).subscription_id else { return Ok(None) };
        let changes = operation_list_changing(self.deps.db.read(), &subscription).await?;
        if let Some(change) = changes.iter().find(|change| change.request.credits_time()) {
            let reason = format!("the change {} of the subscription is under way", change.id);
            return Ok(Some(wait_to_begin(self.operation, reason, self.now_ms)));
        }
        let Some(charge) = found(self.deps.stripe.charge_retrieve(asked.charge_id).await)? else { return Ok(None) };
        let charge = ChargeFields::read(&charge);
        let before = money_of_invoice_before_refund(self.deps, self.customer, &invoice, &charge).await?;
        let Err(refusal) = before.amount(Some(asked.amount), asked.currency) else { return Ok(None) };
        // An attempt before may have made it, and its answer was lost.
        match self.made_refund(asked.charge_id).await? {
            Some(made) => self.refunded(asked.charge_id, &made).await.map(Some),
            None => Ok(Some(self.failed_unless_in_doubt(refusal.into()))),
        }
    }

    /// The operation's own refund at Stripe.
    async fn made_refund(&self, charge_id: &str) -> Result<Option<Value>, Failure> {
        let refunds = self.deps.stripe.refund_list(charge_id).await?;
        let own = fields::rows(&refunds).iter().find(|refund| is_of_operation(refund, self.operation.id.as_str()));
        Ok(own.cloned())
    }

    /// Ends the operation by its refund, and has the credits of the charge reviewed: Stripe's own event may come late.
    async fn refunded(&self, charge_id: &str, made: &Value) -> Result<Verdict, Failure> {
        if matches!(made["status"].as_str(), Some("failed" | "canceled")) {
            let message = "The bank did not take the money back. Nothing was refunded.".to_owned();
            return Ok(self.failed(Problem { code: "refund_failed".to_owned(), message, ..Problem::default() }));
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
