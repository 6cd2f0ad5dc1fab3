//! Stripe's objects in the sandbox.

use super::{number, text};
use crate::journeys::sold::{SOLD, SoldPrice};
use bursar_engine::domain::refund::CREDITS_METADATA_KEY;
use bursar_engine::domain::webhook::fields::{CUSTOMER_METADATA_KEY, OPERATION_METADATA_KEY};
use bursar_sandbox::Sandbox;
use serde_json::Value;

/// All objects that the comparison needs.
#[derive(Default)]
pub struct StripeObjects {
    pub(super) customers: Vec<Value>,
    pub(super) methods: Vec<Value>,
    pub(super) intents: Vec<Value>,
    pub(super) charges: Vec<Value>,
    pub(super) subscriptions: Vec<Value>,
    pub(super) refunds: Vec<Value>,
    pub(super) invoices: Vec<Value>,
    disputes: Vec<Value>,
    invoice_payments: Vec<Value>,
    prices: Vec<Value>,
    schedules: Vec<Value>,
}

/// Money of a payment that is gone.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// All of it: refunded, or withdrawn by a dispute and not returned.
    pub(super) all: i64,
    /// The part that was refunded so that the customer keeps its credits.
    pub(super) kept: i64,
    /// The part that was refunded so that its credits go only as far as they are not spent.
    pub(super) unspent: i64,
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
            schedules: stripe.list("subscription_schedule"),
        }
    }

    /// These PaymentIntents alone.
    #[cfg(test)]
    pub(super) fn of_intents(intents: Vec<Value>) -> Self {
        Self { intents, ..Self::default() }
    }

    /// The customer's Stripe customers that are not deleted.
    pub(super) fn customers_of(&self, customer: &str) -> Vec<&Value> {
        self.customers.iter().filter(|row| is_of(row, customer)).collect()
    }

    /// The customer's subscriptions, all to plans of ours: the sandbox has no other prices.
    pub(super) fn subscriptions_of(&self, customer: &str) -> Vec<&Value> {
        self.subscriptions.iter().filter(|row| is_of(row, customer)).collect()
    }

    /// The customer's PaymentIntents for purchases of credits, in the order in which they were made.
    pub(super) fn unit_payments_of(&self, customer: &str) -> Vec<&Value> {
        let is_it = |row: &&Value| is_of(row, customer) && !operation_of(row).is_empty();
        self.intents.iter().filter(is_it).collect()
    }

    /// Paid invoices of the customer's subscriptions that bill a whole period. One without a price pays for nothing,
    /// unless it credits an earlier period.
    pub(super) fn paid_periods_of(&self, customer: &str) -> Vec<&Value> {
        let own = self.subscriptions_of(customer);
        let is_paid = |row: &&Value| {
            let subscription = text(&row["parent"]["subscription_details"], "subscription");
            own.iter().any(|own| text(own, "id") == subscription)
                && row["status"] == "paid"
                && (number(row, "total") > 0 || lines(row).any(credits_time))
                && lines(row).any(bills_period)
        };
        self.invoices.iter().filter(is_paid).collect()
    }

    /// What an invoice billed for whole periods.
    pub(super) fn periods_of<'a>(&'a self, invoice: &'a Value) -> impl Iterator<Item = &'static SoldPrice> {
        let billed = lines(invoice).filter(|line| bills_period(line) && number(line, "amount") > 0);
        billed.filter_map(|line| sold_at(number(self.price_of(line)?, "unit_amount")))
    }

    /// The price of a subscription after a change that comes with the end of its period, if there is one.
    pub(super) fn price_to_come(&self, subscription: &Value) -> Option<&'static SoldPrice> {
        let is_its = |row: &&Value| row["id"] == subscription["schedule"] && row["status"] == "active";
        let schedule = self.schedules.iter().find(is_its)?;
        let ends = &schedule["current_phase"]["end_date"];
        let next = schedule["phases"].as_array()?.iter().find(|phase| phase["start_date"] == *ends)?;
        let price = self.prices.iter().find(|price| price["id"] == next["items"][0]["price"])?;
        sold_at(number(price, "unit_amount"))
    }

    /// The price of an invoice's line.
    pub(super) fn price_of(&self, line: &Value) -> Option<&Value> {
        let id = &line["pricing"]["price_details"]["price"];
        self.prices.iter().find(|price| price["id"] == *id)
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

    /// What is gone of the money of charges.
    pub(super) fn lost_money(&self, charges: &[&Value]) -> Lost {
        let of = |row: &&Value| charges.iter().any(|charge| row["charge"] == charge["id"]);
        let mut lost = Lost::default();
        for refund in self.refunds.iter().filter(of).filter(|row| row["status"] == "succeeded") {
            let amount = number(refund, "amount");
            lost.all += amount;
            match choice_of(refund) {
                "none" => lost.kept += amount,
                "unspent" => lost.unspent += amount,
                _ => {}
            }
        }
        let moved = self.disputes.iter().filter(of).flat_map(|row| row["balance_transactions"].as_array());
        lost.all -= moved.flatten().map(|row| number(row, "amount")).sum::<i64>();
        lost
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

/// The lines of an invoice.
pub(super) fn lines(invoice: &Value) -> impl Iterator<Item = &Value> {
    invoice["lines"]["data"].as_array().into_iter().flatten()
}

/// Whether a line bills a whole period, and not a change within one.
pub(super) fn bills_period(line: &Value) -> bool {
    line["parent"]["subscription_item_details"]["proration"] == false
}

/// Whether a line credits time of a period that is no longer used.
pub(super) fn credits_time(line: &Value) -> bool {
    line["parent"]["invoice_item_details"]["proration"] == true && number(line, "amount") < 0
}

/// What becomes of the credits of refunded money; empty if the refund does not say.
fn choice_of(refund: &Value) -> &str {
    text(&refund["metadata"], CREDITS_METADATA_KEY)
}

/// Whether a payment may still take money: it is under way, or waits for its customer to authenticate it.
pub(super) fn is_open(intent: &Value) -> bool {
    let error = text(&intent["last_payment_error"], "code");
    match text(intent, "status") {
        "requires_action" | "processing" | "requires_capture" | "requires_confirmation" => true,
        "requires_payment_method" => {
            matches!(error, "authentication_required" | "payment_intent_authentication_failure")
        }
        _ => false,
    }
}

fn is_of(object: &Value, customer: &str) -> bool {
    object["metadata"][CUSTOMER_METADATA_KEY] == customer
}
