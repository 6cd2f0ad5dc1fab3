//! Stripe's objects in the sandbox.

use super::{number, text};
use crate::journeys::sold::{SOLD, SoldPrice};
use bursar_engine::domain::webhook::fields::{CUSTOMER_METADATA_KEY, OPERATION_METADATA_KEY};
use bursar_sandbox::Sandbox;
use serde_json::Value;

/// All objects that the comparison needs.
pub struct StripeObjects {
    pub(super) customers: Vec<Value>,
    pub(super) methods: Vec<Value>,
    pub(super) intents: Vec<Value>,
    pub(super) charges: Vec<Value>,
    pub(super) subscriptions: Vec<Value>,
    refunds: Vec<Value>,
    disputes: Vec<Value>,
    invoices: Vec<Value>,
    invoice_payments: Vec<Value>,
    prices: Vec<Value>,
}

impl StripeObjects {
    /// Reads the objects as they are now.
    pub fn read(stripe: &Sandbox) -> Self {
        Self {
            customers: stripe.list("customer"),
            methods: stripe.list("payment_method"),
            intents: stripe.list("payment_intent"),
            charges: stripe.list("charge"),
            subscriptions: stripe.list("subscription"),
            refunds: stripe.list("refund"),
            disputes: stripe.list("dispute"),
            invoices: stripe.list("invoice"),
            invoice_payments: stripe.list("invoice_payment"),
            prices: stripe.list("price"),
        }
    }

    /// The customer's Stripe customers that are not deleted.
    pub(super) fn customers_of(&self, customer: &str) -> Vec<&Value> {
        self.customers.iter().filter(|row| is_of(row, customer)).collect()
    }

    /// The customer's subscriptions, all to plans of ours: the sandbox has no other prices.
    pub(super) fn subscriptions_of(&self, customer: &str) -> Vec<&Value> {
        self.subscriptions.iter().filter(|row| is_of(row, customer)).collect()
    }

    /// The customer's PaymentIntents for units.
    pub(super) fn unit_payments_of(&self, customer: &str) -> Vec<&Value> {
        let is_it = |row: &&Value| is_of(row, customer) && !operation_of(row).is_empty();
        self.intents.iter().filter(is_it).collect()
    }

    /// Paid invoices of the customer's subscriptions that cost money and bill a whole period.
    pub(super) fn paid_periods_of(&self, customer: &str) -> Vec<&Value> {
        let own = self.subscriptions_of(customer);
        let is_paid = |row: &&Value| {
            let subscription = text(&row["parent"]["subscription_details"], "subscription");
            own.iter().any(|own| text(own, "id") == subscription)
                && row["status"] == "paid"
                && number(row, "total") > 0
                && row["lines"]["data"].as_array().is_some_and(|lines| lines.iter().any(bills_period))
        };
        self.invoices.iter().filter(is_paid).collect()
    }

    /// What an invoice billed for whole periods.
    pub(super) fn periods_of<'a>(&'a self, invoice: &'a Value) -> impl Iterator<Item = &'static SoldPrice> {
        let lines = invoice["lines"]["data"].as_array().into_iter().flatten().filter(|line| bills_period(line));
        lines.filter_map(|line| {
            let id = &line["pricing"]["price_details"]["price"];
            let price = self.prices.iter().find(|price| price["id"] == *id)?;
            sold_at(number(price, "unit_amount"))
        })
    }

    /// The charges that took money for a PaymentIntent.
    pub(super) fn charges_of_intent(&self, intent: &str) -> Vec<&Value> {
        self.charges.iter().filter(|row| row["payment_intent"] == intent && row["paid"] == true).collect()
    }

    /// The charges that took money for an invoice.
    pub(super) fn charges_of_invoice(&self, invoice: &str) -> Vec<&Value> {
        let payments = self.invoice_payments.iter().filter(|row| row["invoice"] == invoice);
        payments.flat_map(|row| self.charges_of_intent(text(&row["payment"], "payment_intent"))).collect()
    }

    /// Money of a charge that was refunded, or withdrawn by a dispute and not returned.
    pub(super) fn lost_money(&self, charge: &str) -> i64 {
        let of = |row: &&Value| row["charge"] == charge;
        let refunded = self.refunds.iter().filter(of).filter(|row| row["status"] == "succeeded");
        let moved = self.disputes.iter().filter(of).flat_map(|row| row["balance_transactions"].as_array());
        let taken: i64 = moved.flatten().map(|row| -number(row, "amount")).sum();
        refunded.map(|row| number(row, "amount")).sum::<i64>() + taken
    }

    /// Charges for neither units nor an invoice.
    pub(super) fn unexplained_charges(&self) -> Vec<String> {
        let is_known = |charge: &Value| {
            let intent = text(charge, "payment_intent");
            let of_units = self.intents.iter().any(|row| text(row, "id") == intent && !operation_of(row).is_empty());
            of_units || self.invoice_payments.iter().any(|row| text(&row["payment"], "payment_intent") == intent)
        };
        let unknown = self.charges.iter().filter(|charge| charge["paid"] == true && !is_known(charge));
        unknown.map(|charge| format!("nothing explains this charge: {charge}")).collect()
    }
}

/// The operation that created an object.
pub(super) fn operation_of(object: &Value) -> &str {
    text(&object["metadata"], OPERATION_METADATA_KEY)
}

/// The price that costs so much.
pub(super) fn sold_at(amount: i64) -> Option<&'static SoldPrice> {
    SOLD.iter().find(|sold| sold.amount == amount)
}

/// Whether a line bills a whole period, and not a change within one.
fn bills_period(line: &Value) -> bool {
    line["parent"]["subscription_item_details"]["proration"] == false
}

fn is_of(object: &Value, customer: &str) -> bool {
    object["metadata"][CUSTOMER_METADATA_KEY] == customer
}
