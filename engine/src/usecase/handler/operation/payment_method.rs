//! Payment methods: attach, detach, which one is charged.

use super::{Run, declined};
use crate::amount::Credits;
use crate::domain::bonus::Bonus;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::ledger::{Command, GrantKind, Op};
use crate::domain::operation::{BONUS_KEY, Problem};
use crate::domain::payment_method::PaymentMethod;
use crate::domain::webhook::fields::{self, PaymentMethodFields};
use crate::infra::store::{account, bonus, operation, payment_method, subscription};
use crate::infra::stripe::StripeError;
use crate::usecase::handler::Failure;
use serde_json::Value;

impl Run<'_> {
    pub(super) async fn attach(&self, id: &str, consent_at_ms: i64, make_default: bool) -> Result<Verdict, Failure> {
        let stripe = &self.deps.stripe;
        let answer = match stripe.payment_method_attach(id, self.stripe_customer_id, &self.key("attach")).await {
            Ok(answer) => answer,
            Err(StripeError::Declined(decline) | StripeError::AuthenticationRequired(decline)) => {
                return Ok(self.failed(declined(&decline)));
            }
            Err(StripeError::NotFound { message } | StripeError::Invalid { message, .. }) => {
                let code = "payment_method_invalid".to_owned();
                return Ok(self.failed(Problem { code, message, ..Problem::default() }));
            }
            Err(error) => return Err(error.into()),
        };
        let fields = PaymentMethodFields::read(&answer);
        // For a test id such as pm_card_visa, Stripe creates a payment method and answers with its id.
        let id = fields.id.clone().unwrap_or_else(|| id.to_owned());
        let known = payment_method::payment_method_list(self.deps.db.read(), &self.customer.id).await?;
        let is_default = make_default || !known.iter().any(|method| method.is_default && method.id != id);
        if is_default {
            stripe.customer_set_default(self.stripe_customer_id, &id, &self.key("default")).await?;
        }
        let fingerprint = fields.fingerprint.clone().filter(|_| self.deps.credits.bonus_once_per_card);
        let method = PaymentMethod::from_stripe(
            fields,
            id.clone(),
            &self.customer.id,
            Some(consent_at_ms),
            is_default,
            self.now_ms,
        );
        if is_default {
            self.subscriptions_follow(&id).await?;
        }
        let mut verdict = self.done(&id, vec![Effect::PaymentMethodPut(method)]);
        let credits = self.deps.catalogue.now().entry_plan().payment_method_credits;
        let given = Bonus::new(&self.customer.id, &self.customer.email, fingerprint.as_deref());
        if credits > Credits::ZERO && self.gets_bonus(&given).await? {
            let op = Op::Grant { kind: GrantKind::Promotional, amount: credits, expires_at_ms: None };
            let command = Command::internal(op, "payment_method", BONUS_KEY.to_owned()).with_reference(id);
            verdict.ledger = Some((self.customer.id.clone(), command));
            verdict.effects.push(Effect::BonusPut(Box::new(given)));
        }
        Ok(verdict)
    }

    /// Whether the customer gets the bonus: it never had it, and nobody else had it for the same mailbox or card.
    async fn gets_bonus(&self, bonus: &Bonus) -> Result<bool, Failure> {
        let db = self.deps.db.read();
        let had = account::entry_find_by_key(db, &self.customer.id, BONUS_KEY).await?;
        Ok(had.is_none() && !bonus::bonus_is_taken(db, bonus).await?)
    }

    pub(super) async fn detach(&self, id: &str) -> Result<Verdict, Failure> {
        let (stripe, db) = (&self.deps.stripe, self.deps.db.read());
        // Read now, because the default may have changed since the request, and a subscription may have begun.
        let known = payment_method::payment_method_list(db, &self.customer.id).await?;
        if let Some(method) = known.iter().find(|method| method.id == id) {
            let subscriptions = subscription::subscription_list(db, &self.customer.id).await?;
            let open = operation::operation_list_open(db, &self.customer.id).await?;
            if let Some(problem) = method.kept_because(&known, &subscriptions, &open) {
                return Ok(self.failed(problem));
            }
        }
        let next = PaymentMethod::next_default(&known, id);
        if let Some(next) = next {
            stripe.customer_set_default(self.stripe_customer_id, next, &self.key("default")).await?;
            self.subscriptions_follow(next).await?;
        }
        match stripe.payment_method_detach(id, &self.key("detach")).await {
            // It was already deleted or detached.
            Ok(_) | Err(StripeError::NotFound { .. } | StripeError::Invalid { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let customer_id = self.customer.id.clone();
        let mut effects = vec![Effect::PaymentMethodDetach { customer_id: customer_id.clone(), id: id.to_owned() }];
        if let Some(next) = next {
            effects.push(Effect::PaymentMethodDefault { customer_id, id: next.to_owned() });
        }
        Ok(self.done(id, effects))
    }

    pub(super) async fn set_default(&self, id: &str) -> Result<Verdict, Failure> {
        self.deps.stripe.customer_set_default(self.stripe_customer_id, id, &self.key("default")).await?;
        self.subscriptions_follow(id).await?;
        let customer_id = self.customer.id.clone();
        Ok(self.done(id, vec![Effect::PaymentMethodDefault { customer_id, id: id.to_owned() }]))
    }

    /// Makes subscriptions use a new default. A subscription that names its own payment method, as those made on
    /// Stripe's page do, is changed to the new one, and an overdue invoice is tried with it at once. A refusal by
    /// Stripe is ignored: the payment method stays the default, and events report the invoice's state.
    async fn subscriptions_follow(&self, payment_method_id: &str) -> Result<(), Failure> {
        let stripe = &self.deps.stripe;
        let rows = subscription::subscription_list(self.deps.db.read(), &self.customer.id).await?;
        for row in rows.iter().filter(|row| row.is_ours() && row.ended_at_ms.is_none()) {
            let Some(object) = unless_refused(stripe.subscription_retrieve(&row.id).await)? else { continue };
            if self.check_payer_of(&object).is_err() {
                // Whoever pays for it has not agreed to pay when this customer says so.
                continue;
            }
            let own = fields::id(&object["default_payment_method"]);
            if own.is_some_and(|own| own != payment_method_id) {
                let key = self.key(&format!("follow:{}", row.id));
                unless_refused(stripe.subscription_set_payment_method(&row.id, payment_method_id, &key).await)?;
            }
            let is_late = matches!(object["status"].as_str(), Some("past_due" | "unpaid"));
            let invoice = &object["latest_invoice"];
            let open = fields::id(&invoice["id"]).filter(|_| is_late && invoice["status"] == "open");
            if let Some(id) = open {
                unless_refused(stripe.invoice_pay(&id, &self.key(&format!("pay:{id}"))).await)?;
            }
        }
        Ok(())
    }
}

/// The answer; `None` if Stripe refused the call for good.
fn unless_refused(answer: Result<Value, StripeError>) -> Result<Option<Value>, StripeError> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_retryable() => Err(error),
        Err(error @ (StripeError::Unauthorized { .. } | StripeError::NotConfigured)) => Err(error),
        Err(_) => Ok(None),
    }
}
