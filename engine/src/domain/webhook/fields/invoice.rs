//! Invoices and their lines.

use super::price::{IsPro, Price, ProPrice, says_pro};
use super::{
    Metadata, add_metadata, clean, id, metadata_of, money, push_new, rows, short_text, stripe_customer_id, time_ms,
};
use crate::amount::MoneyMinor;
use crate::clock::{TimeMs, rfc3339};
use serde_json::Value;

/// The longest text kept of Stripe's own explanation of a failure, in characters.
const MESSAGE_LEN_MAX: usize = 500;

/// The fields of a Stripe invoice that the rules use. Amounts are minor units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvoiceFields {
    /// Its id.
    pub id: Option<String>,
    /// Its Stripe customer.
    pub stripe_customer_id: Option<String>,
    /// Its subscription.
    pub subscription_id: Option<String>,
    /// Its own metadata, its subscription's, its lines'; the first that names a key wins.
    pub metadata: Metadata,
    /// Whether metadata of its own or of its subscription says `plan=pro`, wherever it stands.
    pub is_tagged_pro: bool,
    /// Why it was made: `subscription_create`, `subscription_cycle`, `manual` …
    pub billing_reason: Option<String>,
    /// Money that was paid.
    pub amount_paid: Option<MoneyMinor>,
    /// ISO currency, in lower case as Stripe gives it.
    pub currency: Option<String>,
    /// Whether it is paid: by its `status`, else by `paid`, which 2025-03-31.basil removed.
    pub is_paid: Option<bool>,
    /// The PaymentIntents that paid or try to pay it.
    pub payment_intent_ids: Vec<String>,
    /// The charges that paid it.
    pub charge_ids: Vec<String>,
    /// Start of the time in which its items were gathered. Of a renewal that is the period that just
    /// ended: what was paid for is in [`Line::period_end_ms`]. Source: Stripe, "The Invoice object".
    pub period_start_ms: Option<TimeMs>,
    /// End of the time in which its items were gathered.
    pub period_end_ms: Option<TimeMs>,
    /// Its lines, as far as the event carries them.
    pub lines: Vec<Line>,
    /// Whether there are lines that the event does not carry.
    pub has_more_lines: bool,
    /// Attempts to have it paid.
    pub attempt_count: Option<i64>,
    /// When Stripe tries again.
    pub next_payment_attempt_ms: Option<TimeMs>,
    /// Why paying or finalising it failed, as far as the event carries it.
    pub failure: Option<String>,
}

/// The fields of one of its lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// Its price.
    pub price: Price,
    /// Its own metadata.
    pub metadata: Metadata,
    /// Its subscription.
    pub subscription_id: Option<String>,
    /// Its amount, negative for a credit.
    pub amount: Option<MoneyMinor>,
    /// Whether it settles a change within a period.
    pub is_proration: bool,
    /// Whether it is an item on its own rather than a period of a subscription.
    pub is_invoice_item: bool,
    /// Start of what it pays for.
    pub period_start_ms: Option<TimeMs>,
    /// End of what it pays for.
    pub period_end_ms: Option<TimeMs>,
}

impl InvoiceFields {
    /// Reads an invoice in any API version.
    pub fn read(object: &Value) -> Self {
        let details = [&object["parent"]["subscription_details"], &object["subscription_details"]];
        let lines: Vec<Line> = rows(&object["lines"]).iter().map(Line::read).collect();
        let mut metadata = Metadata::new();
        let mut is_tagged_pro = false;
        for place in [object, details[0], details[1], &object["subscription"]] {
            is_tagged_pro |= says_pro(&metadata_of(place));
            add_metadata(&mut metadata, &place["metadata"]);
        }
        for (key, value) in lines.iter().flat_map(|line| &line.metadata) {
            metadata.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let status = short_text(&object["status"]);
        let (payment_intent_ids, charge_ids) = payment_ids(object);
        Self {
            id: id(&object["id"]),
            stripe_customer_id: stripe_customer_id(object),
            subscription_id: id(&object["subscription"])
                .or_else(|| details.iter().find_map(|place| id(&place["subscription"])))
                .or_else(|| lines.iter().find_map(|line| line.subscription_id.clone())),
            metadata,
            is_tagged_pro,
            billing_reason: short_text(&object["billing_reason"]),
            amount_paid: money(&object["amount_paid"]),
            currency: short_text(&object["currency"]),
            is_paid: status.map(|status| status == "paid").or_else(|| object["paid"].as_bool()),
            payment_intent_ids,
            charge_ids,
            period_start_ms: time_ms(&object["period_start"]),
            period_end_ms: time_ms(&object["period_end"]),
            lines,
            has_more_lines: object["lines"]["has_more"] == true,
            attempt_count: object["attempt_count"].as_i64(),
            next_payment_attempt_ms: time_ms(&object["next_payment_attempt"]),
            failure: failure(object),
        }
    }

    /// Whether it bills a period of Pro. Prorations, items on their own and lines that cost nothing
    /// (a trial) bill no period, whatever the subscription is.
    pub fn is_pro(&self, pro: &ProPrice) -> IsPro {
        let periods: Vec<&Line> = self.lines.iter().filter(|line| line.bills_period()).collect();
        if periods.iter().any(|line| line.is_pro(pro) == IsPro::Yes) {
            return IsPro::Yes;
        }
        let all_lines_known = !self.lines.is_empty() && !self.has_more_lines;
        if all_lines_known && periods.is_empty() {
            IsPro::No
        } else if self.is_tagged_pro {
            IsPro::Yes
        } else if all_lines_known && periods.iter().all(|line| line.is_pro(pro) == IsPro::No) {
            IsPro::No
        } else {
            IsPro::Unknown
        }
    }

    /// End of the period that it bills: Pro's line's, else the latest of its lines'.
    pub fn billed_until_ms(&self, pro: &ProPrice) -> Option<TimeMs> {
        let of_pro = self.lines.iter().filter(|line| line.bills_period() && line.is_pro(pro) == IsPro::Yes);
        let latest = self.lines.iter().filter_map(|line| line.period_end_ms).max();
        of_pro.filter_map(|line| line.period_end_ms).max().or(latest)
    }

    /// The prices that its lines name, for a person to read.
    pub fn price_ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for price in self.lines.iter().flat_map(|line| &line.price.ids) {
            push_new(&mut ids, Some(price.clone()));
        }
        ids
    }

    /// Why its payment failed and what Stripe does next, in words.
    pub fn failure_in_words(&self) -> String {
        let mut text = self.failure.clone().unwrap_or_else(|| "the payment failed".to_owned());
        if let Some(count) = self.attempt_count {
            text.push_str(&format!("; attempt {count}"));
        }
        if let Some(at_ms) = self.next_payment_attempt_ms {
            text.push_str(&format!("; Stripe tries again at {}", rfc3339(at_ms)));
        }
        text
    }
}

impl Line {
    /// Reads a line in any API version.
    fn read(line: &Value) -> Self {
        let item = &line["parent"]["subscription_item_details"];
        let invoice_item = &line["parent"]["invoice_item_details"];
        Self {
            price: Price::read(line),
            metadata: metadata_of(line),
            subscription_id: id(&line["subscription"])
                .or_else(|| id(&item["subscription"]))
                .or_else(|| id(&invoice_item["subscription"])),
            amount: money(&line["amount"]),
            is_proration: [line, item, invoice_item].iter().any(|place| place["proration"] == true),
            is_invoice_item: line["type"] == "invoiceitem" || line["parent"]["type"] == "invoice_item_details",
            period_start_ms: time_ms(&line["period"]["start"]),
            period_end_ms: time_ms(&line["period"]["end"]),
        }
    }

    /// Whether it bills a period of a subscription with money.
    fn bills_period(&self) -> bool {
        !self.is_proration && !self.is_invoice_item && self.amount.is_none_or(|amount| amount > MoneyMinor::ZERO)
    }

    fn is_pro(&self, pro: &ProPrice) -> IsPro {
        if says_pro(&self.metadata) { IsPro::Yes } else { self.price.is_pro(pro) }
    }
}

/// `payment_intent` and `charge` before 2025-03-31.basil, `payments` since.
fn payment_ids(object: &Value) -> (Vec<String>, Vec<String>) {
    let (mut intents, mut charges) = (Vec::new(), Vec::new());
    for place in payments(object) {
        push_new(&mut intents, id(&place["payment_intent"]));
        push_new(&mut charges, id(&place["charge"]));
    }
    (intents, charges)
}

fn payments(object: &Value) -> impl Iterator<Item = &Value> {
    std::iter::once(object).chain(rows(&object["payments"]).iter().map(|payment| &payment["payment"]))
}

/// The first explanation that is there: of an expanded PaymentIntent, of an expanded charge, of the
/// finalisation.
fn failure(object: &Value) -> Option<String> {
    let explained = payments(object).find_map(|place| {
        let error = &place["payment_intent"]["last_payment_error"];
        let charge = &place["charge"];
        explanation(&error["message"], &[&error["decline_code"], &error["code"]])
            .or_else(|| explanation(&charge["failure_message"], &[&charge["failure_code"]]))
    });
    let error = &object["last_finalization_error"];
    explained.or_else(|| explanation(&error["message"], &[&error["code"]]))
}

fn explanation(message: &Value, codes: &[&Value]) -> Option<String> {
    let message = message.as_str().map(|text| clean(text, MESSAGE_LEN_MAX)).filter(|text| !text.is_empty());
    let code = codes.iter().find_map(|code| short_text(code));
    match (message, code) {
        (Some(message), Some(code)) => Some(format!("{message} ({code})")),
        (message, code) => message.or(code),
    }
}
