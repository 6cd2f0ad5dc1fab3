//! What pays for a subscription: a payment method of the customer's own. It is decided and stored before Stripe is
//! called, and its charges are recorded, so that declines count wherever the card is charged.

use super::{Run, authentication, failure};
use crate::domain::catalogue::currency::Currency;
use crate::domain::charge::NotCharged;
use crate::domain::charge::record::records;
use crate::domain::effect::{Effect, Verdict, merge};
use crate::domain::job::Outcome;
use crate::domain::operation::{Operation, Payer, Problem};
use crate::domain::subscription::ChangeRefusal;
use crate::domain::subscription::change::check_payer;
use crate::domain::webhook::fields;
use crate::usecase::charge::read_payer;
use crate::usecase::handler::Failure;
use serde_json::Value;

impl Run<'_> {
    /// Decides what pays at once, now that the operation's turn has come. It is stored, and the next attempt charges
    /// it.
    pub(super) async fn decide_payer(
        &self,
        payment_method_id: Option<&str>,
        currency: &Currency,
    ) -> Result<Verdict, Failure> {
        let decided = self.payer_decided(payment_method_id, currency).await?;
        Ok(decided.unwrap_or_else(|problem| self.failed(problem)))
    }

    /// The same, or why nothing may be charged.
    pub(super) async fn payer_decided(
        &self,
        payment_method_id: Option<&str>,
        currency: &Currency,
    ) -> Result<Result<Verdict, Problem>, Failure> {
        let standing = read_payer(self.deps.db.read(), &self.customer.id, payment_method_id).await?;
        let payer = match standing.decide(currency, self.now_ms) {
            Ok(payer) => payer,
            Err(refused) => return Ok(Err(self.why_not_charged(&refused))),
        };
        let request = self.operation.request.with_payer(payer);
        let decided = Operation { request, updated_at_ms: self.now_ms, ..self.operation.clone() };
        let effects = vec![Effect::operation(decided)];
        Ok(Ok(Verdict { outcome: Outcome::Snooze { until_ms: self.now_ms }, ledger: None, effects }))
    }

    /// Resumes a paused subscription: a period begins, and the customer's own payment method, which is decided and
    /// stored first, is charged for it at once. It is set before, because Stripe's resume names none. Nothing renews
    /// while it is paused, so nothing else is charged to it if the payment is declined. The subscription stays paused
    /// then.
    pub(super) async fn resume_paused(
        &self,
        id: &str,
        object: &Value,
        payer: Option<&Payer>,
    ) -> Result<Verdict, Failure> {
        if let Err(refusal) = self.check_payer_of(object) {
            return Ok(self.failed(refusal.into()));
        }
        let Some(payer) = payer else { return self.decide_payer(None, &self.deps.catalogue.now().currency).await };
        self.pay_with(object, &payer.payment_method_id).await?;
        let stripe = &self.deps.stripe;
        let object = match open_invoice(object) {
            // An earlier resume made it, and it was not paid. Another resume would bill a second period.
            Some(invoice) => {
                stripe.invoice_pay(&invoice, &self.key(&format!("pay:{invoice}"))).await?;
                stripe.subscription_retrieve(id).await?
            }
            None => stripe.subscription_resume(id, &self.key("resume")).await?,
        };
        let known = self.apply_rules(&object).await?;
        Ok(match self.why_still_paused(&object).await? {
            Some(problem) => merge(known, self.failed(problem)),
            None => merge(known, self.done(id, Vec::new())),
        })
    }

    /// Why the payment of a resumed subscription did not succeed; `None` if it did, or if the bank is still working on
    /// it.
    async fn why_still_paused(&self, object: &Value) -> Result<Option<Problem>, Failure> {
        if object["status"] != "paused" {
            return Ok(None);
        }
        Ok(self.first_payment(object).await?.and_then(|payment| match payment.status.as_deref() {
            _ if payment.wants_authentication() => Some(authentication(&payment)),
            Some("requires_payment_method") => Some(failure(&payment)),
            _ => None,
        }))
    }

    pub(super) fn why_not_charged(&self, refused: &NotCharged) -> Problem {
        refused.problem(self.customer, &self.deps.credits, &self.deps.catalogue.now())
    }

    /// Checks that the customer's own Stripe customer pays for a subscription.
    pub(super) fn check_payer_of(&self, object: &Value) -> Result<(), ChangeRefusal> {
        check_payer(fields::stripe_customer_id(object).as_deref(), Some(self.stripe_customer_id))
    }

    /// Has Stripe charge this payment method for a subscription, whichever it charged before.
    pub(super) async fn pay_with(&self, object: &Value, payment_method_id: &str) -> Result<(), Failure> {
        let other = self.other_payer(object, payment_method_id).await?;
        if let Some((other, id)) = other.zip(fields::id(&object["id"])) {
            self.deps.stripe.subscription_set_payment_method(&id, other, &self.key(&format!("payer:{other}"))).await?;
        }
        Ok(())
    }

    /// Makes this payment method the customer's default at Stripe. Returns it if the subscription has another one of
    /// its own, which is charged as long as it is not replaced. Source: Stripe, "Create a subscription": its own
    /// payment method comes before that of its customer.
    pub(super) async fn other_payer<'a>(&self, object: &Value, id: &'a str) -> Result<Option<&'a str>, Failure> {
        self.deps.stripe.customer_set_default(self.stripe_customer_id, id, &self.key(&format!("default:{id}"))).await?;
        let own = fields::id(&object["default_payment_method"]).or_else(|| fields::id(&object["default_source"]));
        Ok(own.is_some_and(|own| own != id).then_some(id))
    }
}

/// The invoice of a paused subscription that is not paid.
fn open_invoice(object: &Value) -> Option<String> {
    let invoice = &object["latest_invoice"];
    fields::id(&invoice["id"]).filter(|_| invoice["status"] == "open")
}

/// The records of a subscription's charge that follow from a verdict on its operation, unless the verdict has them,
/// with what is known of the payment.
pub(super) fn record_charges(operation: &Operation, verdict: &mut Verdict) {
    let after = verdict.effects.iter().rev().find_map(|effect| match effect {
        Effect::OperationPut(after) => Some(after.as_ref()).filter(|after| after.id == operation.id).cloned(),
        _ => None,
    });
    let has_record = |after: &Operation| {
        verdict.effects.iter().any(|effect| match effect {
            Effect::ChargePut(charge) => charge.operation_id == after.id && charge.round == after.round,
            _ => false,
        })
    };
    let after = after.filter(|after| !has_record(after));
    let charges = after.iter().flat_map(|after| records(operation, after));
    verdict.effects.extend(charges.map(|charge| Effect::ChargePut(Box::new(charge))));
}
