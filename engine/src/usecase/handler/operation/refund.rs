//! Gives money back.

use super::{Run, given_up};
use crate::amount::MoneyMinor;
use crate::domain::effect::Verdict;
use crate::domain::operation::Problem;
use crate::domain::refund::{CreditsChoice, is_of_operation};
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields;
use crate::infra::stripe::charge::NewRefund;
use crate::infra::stripe::{StripeError, found};
use crate::usecase::handler::Failure;
use crate::usecase::handler::stripe::review_event;
use serde_json::{Value, json};

impl Run<'_> {
    pub(super) async fn refund(
        &self,
        charge_id: &str,
        amount: MoneyMinor,
        credits: CreditsChoice,
    ) -> Result<Verdict, Failure> {
        let key_is_closing = self.operation.key_is_closing(self.deps.doubt_ms, self.now_ms);
        if self.operation.round > 1 || key_is_closing {
            if let Some(made) = self.made_refund(charge_id).await? {
                return self.refunded(charge_id, &made).await;
            }
            if key_is_closing {
                return Ok(self.new_key_when_safe("there is no refund"));
            }
        }
        let refund = NewRefund {
            charge_id,
            amount_minor: amount,
            credits: credits.as_str(),
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
