//! Actions at Stripe without the application: authentication, refunds, disputes.

use super::{Customer, Identity, pick};
use crate::journeys::deployment::STRIPE_KEY;
use crate::journeys::plan::Action;
use bursar_engine::domain::webhook::fields::CUSTOMER_METADATA_KEY;
use bursar_sandbox::Error;
use serde_json::Value;

impl Customer {
    pub(super) async fn act_at_stripe(&self, me: &Identity, action: Action) -> String {
        let stripe = &self.deps.stripe;
        match action {
            Action::Authenticate { succeeds } => self.authenticate(me, succeeds),
            Action::Refund { nth, percent } => {
                let charges = self.of(me, "charge", |charge| charge["paid"] == true);
                let Some(charge) = pick(&charges, nth) else { return "no charge".to_owned() };
                let amount = charge["amount"].as_i64().unwrap_or(0) * percent / 100;
                // Without an amount, the rest of the charge is refunded.
                let amount = (percent < 100).then_some(amount.max(1));
                result_of(stripe.refund(id(charge), amount))
            }
            Action::FailRefund => {
                let charges: Vec<String> =
                    self.of(me, "charge", |_| true).iter().map(|row| id(row).to_owned()).collect();
                let mut refunds = stripe.list("refund");
                refunds.retain(|row| {
                    charges.iter().any(|charge| row["charge"] == **charge) && row["status"] == "succeeded"
                });
                refunds
                    .last()
                    .map_or_else(|| "no refund".to_owned(), |refund| result_of(stripe.fail_refund(id(refund))))
            }
            Action::Dispute { nth } => {
                let charges = self.of(me, "charge", |charge| charge["paid"] == true && charge["disputed"] == false);
                let Some(charge) = pick(&charges, nth) else { return "no charge".to_owned() };
                result_of(stripe.open_dispute(id(charge), None, "fraudulent"))
            }
            Action::CloseDispute { is_won } => {
                let charges: Vec<String> =
                    self.of(me, "charge", |_| true).iter().map(|row| id(row).to_owned()).collect();
                let is_open = |row: &Value| !matches!(row["status"].as_str(), Some("won" | "lost" | "warning_closed"));
                let disputes = stripe.list("dispute");
                let mut own = disputes.iter().filter(|row| charges.iter().any(|charge| row["charge"] == **charge));
                let open = own.find(|row| is_open(row));
                open.map_or_else(|| "no dispute".to_owned(), |row| result_of(stripe.close_dispute(id(row), is_won)))
            }
            Action::RenewCard => {
                let methods = self.of(me, "payment_method", |_| true);
                let Some(method) = methods.last() else { return "no payment method".to_owned() };
                result_of(stripe.renew_payment_method(id(method)))
            }
            Action::DeleteStripeCustomer => match self.stripe_customers(me).first() {
                Some(customer) => self.stripe_delete(&format!("/v1/customers/{customer}")).await,
                None => "no stripe customer".to_owned(),
            },
            _ => "nothing to do".to_owned(),
        }
    }

    /// Deletes an object at Stripe. There is no retry: either outcome is allowed.
    async fn stripe_delete(&self, path: &str) -> String {
        let url = format!("{}{path}", self.deps.stripe.url());
        match self.deps.caller.client().delete(url).bearer_auth(STRIPE_KEY).send().await {
            Ok(answer) => answer.status().as_u16().to_string(),
            Err(_) => "no answer".to_owned(),
        }
    }

    /// Authenticates all payments of the customer that wait for it.
    fn authenticate(&self, me: &Identity, succeeds: bool) -> String {
        let waits = |intent: &Value| {
            intent["status"] == "requires_action"
                || (intent["status"] == "requires_payment_method"
                    && intent["last_payment_error"]["code"] == "authentication_required")
        };
        let waiting = self.of(me, "payment_intent", waits);
        let ends = waiting.iter().map(|intent| result_of(self.deps.stripe.authenticate(id(intent), succeeds)));
        ends.last().unwrap_or_else(|| "nobody waits".to_owned())
    }

    /// The customer's Stripe customers that are not deleted.
    fn stripe_customers(&self, me: &Identity) -> Vec<String> {
        let all = self.deps.stripe.list("customer");
        let own = all.iter().filter(|row| row["metadata"][CUSTOMER_METADATA_KEY] == *me.id && row["deleted"] != true);
        own.map(|row| id(row).to_owned()).collect()
    }

    /// The customer's objects of a kind that fulfil a condition, oldest first.
    fn of(&self, me: &Identity, kind: &str, is_it: impl Fn(&Value) -> bool) -> Vec<Value> {
        let owners = self.stripe_customers(me);
        let mut rows = self.deps.stripe.list(kind);
        rows.retain(|row| owners.iter().any(|owner| row["customer"] == **owner) && is_it(row));
        rows
    }
}

fn id(object: &Value) -> &str {
    object["id"].as_str().unwrap_or_default()
}

fn result_of(done: Result<Value, Error>) -> String {
    match done {
        Ok(object) => object["status"].as_str().unwrap_or("done").to_owned(),
        Err(_) => "refused".to_owned(),
    }
}
