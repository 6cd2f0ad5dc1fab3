//! Invoices and their lines.

use super::price::Price;
use super::{
    Metadata, add_metadata, clean, id, metadata_of, money, push_new, rows, saturating_sum, short_text,
    stripe_customer_id, time_ms,
};
use crate::amount::MoneyMinor;
use crate::clock::{TimeMs, rfc3339};
use serde_json::Value;

/// What follows is when Stripe tries a failed payment again.
const TRIES_AGAIN: &str = "; Stripe tries again at ";

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
    /// Metadata of its subscription alone.
    pub subscription_metadata: Metadata,
    /// Why it was made: `subscription_create`, `subscription_cycle`, `manual` …
    pub billing_reason: Option<String>,
    /// Its total after discounts, taxes, and credit notes that reduced it while it was open; however it is paid: by
    /// card, from the customer's balance, out of band.
    pub total: Option<MoneyMinor>,
    /// Money that was paid.
    pub amount_paid: Option<MoneyMinor>,
    /// ISO currency, in lower case as Stripe gives it.
    pub currency: Option<String>,
    /// Whether it is paid: by its `status`, else by `paid`, which 2025-03-31.basil removed. One that credit notes annulled
    /// while it was open is not, although Stripe calls it so.
    pub is_paid: Option<bool>,
    /// Whether it was voided, or annulled by credit notes while it was open: nothing of it is paid or credited any more.
    pub is_void: bool,
    /// Whether it is not final yet, so that nobody could pay it.
    pub is_draft: bool,
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
    pub failure: Option<InvoiceFailure>,
    /// When it was made, in whole seconds.
    pub created_ms: Option<TimeMs>,
    /// When it was paid.
    pub paid_at_ms: Option<TimeMs>,
    /// How long it was open before it was paid.
    pub open_for_ms: Option<i64>,
    /// By how much credit notes reduced it while it was open, which [`Self::total`] tells already.
    pub reduced: MoneyMinor,
}

/// Why paying or finalising an invoice failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceFailure {
    /// In Stripe's words, with its most precise code.
    pub words: String,
    /// Stripe's code: `card_declined`, `expired_card`, `authentication_required` …
    pub code: Option<String>,
    /// The issuer's reason.
    pub decline_code: Option<String>,
}

/// An invoice whose payment was tried at once was not a draft or open for longer than this.
const AT_ONCE_MS: i64 = 60 * 1_000;

/// What is heard of a payment later than this after it is not heard at once.
const HEARD_AT_ONCE_MS: i64 = 5 * 60 * 1_000;

/// The fields of one of its lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// Its price.
    pub price: Price,
    /// Its own metadata.
    pub metadata: Metadata,
    /// Its subscription.
    pub subscription_id: Option<String>,
    /// Its amount before discounts, negative for a credit.
    pub amount: Option<MoneyMinor>,
    /// Of what is credited: the invoice whose charge it gives back, if Stripe names it.
    pub credits_of: Option<String>,
    /// What discounts take off the amount.
    pub discount: MoneyMinor,
    /// How many of the price it bills.
    pub quantity: Option<i64>,
    /// ISO currency, in lower case.
    pub currency: Option<String>,
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
        let (mut metadata, mut subscription_metadata) = (metadata_of(object), Metadata::new());
        for place in [details[0], details[1], &object["subscription"]] {
            add_metadata(&mut metadata, &place["metadata"]);
            add_metadata(&mut subscription_metadata, &place["metadata"]);
        }
        for (key, value) in lines.iter().flat_map(|line| &line.metadata) {
            metadata.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let status = short_text(&object["status"]);
        let (total, reduced) = (total(object), money(&object["pre_payment_credit_notes_amount"]).unwrap_or_default());
        // Stripe calls it paid, but nothing is paid or credited of it.
        let is_annulled = reduced > MoneyMinor::ZERO && total.is_some_and(|total| total <= MoneyMinor::ZERO);
        let (payment_intent_ids, charge_ids) = payment_ids(object);
        Self {
            id: id(&object["id"]),
            stripe_customer_id: stripe_customer_id(object),
            subscription_id: id(&object["subscription"])
                .or_else(|| details.iter().find_map(|place| id(&place["subscription"])))
                .or_else(|| lines.iter().find_map(|line| line.subscription_id.clone())),
            metadata,
            subscription_metadata,
            billing_reason: short_text(&object["billing_reason"]),
            total,
            amount_paid: money(&object["amount_paid"]),
            currency: short_text(&object["currency"]),
            is_void: status.as_deref() == Some("void") || is_annulled,
            is_draft: status.as_deref() == Some("draft"),
            is_paid: status
                .map(|status| status == "paid")
                .or_else(|| object["paid"].as_bool())
                .map(|is_paid| is_paid && !is_annulled),
            payment_intent_ids,
            charge_ids,
            period_start_ms: time_ms(&object["period_start"]),
            period_end_ms: time_ms(&object["period_end"]),
            lines,
            has_more_lines: object["lines"]["has_more"] == true,
            attempt_count: object["attempt_count"].as_i64(),
            next_payment_attempt_ms: time_ms(&object["next_payment_attempt"]),
            failure: failure(object),
            created_ms: created_ms(object),
            paid_at_ms: time_ms(&object["status_transitions"]["paid_at"]),
            open_for_ms: open_for_ms(object),
            reduced,
        }
    }

    /// Whether all its lines are there.
    pub fn has_all_lines(&self) -> bool {
        !self.lines.is_empty() && !self.has_more_lines
    }

    /// Whether it was not paid by its first attempt, so that its periods may have been left before. Attempts alone do
    /// not tell: what a customer pays by hand after the first one is not counted. Source: Stripe, "The Invoice object".
    pub fn is_paid_late(&self) -> bool {
        let is_late = self.attempt_count.is_some_and(|count| count != 1)
            || self.open_for_ms.is_some_and(|open_for_ms| open_for_ms > AT_ONCE_MS);
        is_late && self.pays_a_period()
    }

    /// Whether its periods had begun some time before it was paid, so that they may have been left meanwhile: the invoice
    /// of a renewal is a draft for an hour. Source: Stripe, "Subscription invoices".
    pub fn was_draft(&self) -> bool {
        let times = self.paid_at_ms.zip(self.created_ms);
        times.is_some_and(|(paid, created)| paid.saturating_sub(created) > AT_ONCE_MS) && self.pays_a_period()
    }

    /// Whether money was paid with it, and it bills a period.
    fn pays_a_period(&self) -> bool {
        let is_paid = self.is_paid == Some(true) && self.total.is_some_and(|total| total > MoneyMinor::ZERO);
        is_paid && self.lines.iter().any(Line::bills_period)
    }

    /// Whether the other invoices of its subscription have to be known to decide it: it is paid, and credits time that
    /// they billed, or they may have left its periods.
    pub fn needs_others(&self) -> bool {
        let credits_time = self.is_paid == Some(true) && self.lines.iter().any(Line::credits_time);
        credits_time || self.is_paid_late()
    }

    /// Whether it was paid some time ago, so that its money may have been given back meanwhile.
    pub fn was_paid_before(&self, now_ms: TimeMs) -> bool {
        self.paid_at_ms.is_some_and(|paid_at_ms| now_ms.saturating_sub(paid_at_ms) > HEARD_AT_ONCE_MS)
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
        let words = self.failure.as_ref().map(|failure| failure.words.clone());
        let mut text = words.unwrap_or_else(|| "the payment failed".to_owned());
        if let Some(count) = self.attempt_count {
            text.push_str(&format!("; attempt {count}"));
        }
        if self.is_void {
            text.push_str("; the invoice was voided or credited since, so nothing is due");
            return text;
        }
        if let Some(at_ms) = self.next_payment_attempt_ms {
            text.push_str(&format!("{TRIES_AGAIN}{}", rfc3339(at_ms)));
        }
        text
    }
}

/// Why a payment failed, without when Stripe tries again: it does not once nobody waits for the payment.
pub fn without_next_attempt(failure_in_words: &str) -> &str {
    failure_in_words.split_once(TRIES_AGAIN).map_or(failure_in_words, |(why, _)| why)
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
            credits_of: [line, item, invoice_item]
                .iter()
                .find_map(|place| id(&place["proration_details"]["credited_items"]["invoice"])),
            discount: saturating_sum(rows(&line["discount_amounts"]).iter().filter_map(|row| money(&row["amount"]))),
            quantity: line["quantity"].as_i64(),
            currency: short_text(&line["currency"]),
            is_proration: [line, item, invoice_item].iter().any(|place| place["proration"] == true),
            is_invoice_item: line["type"] == "invoiceitem" || line["parent"]["type"] == "invoice_item_details",
            period_start_ms: time_ms(&line["period"]["start"]),
            period_end_ms: time_ms(&line["period"]["end"]),
        }
    }

    /// Whether it bills a period of a subscription, and not a change within one or an item on its own.
    pub fn bills_period(&self) -> bool {
        !self.is_proration && !self.is_invoice_item
    }

    /// Whether it bills a period that has a price, whatever discounts leave of that.
    pub fn bills_priced_period(&self) -> bool {
        self.bills_period() && self.amount.is_none_or(|amount| amount > MoneyMinor::ZERO)
    }

    /// Whether it settles a change within a period, for money.
    pub fn prorates(&self) -> bool {
        self.is_proration && self.amount.is_some_and(|amount| amount != MoneyMinor::ZERO)
    }

    /// Whether it charges for a period, or for more within one.
    pub fn charges_time(&self) -> bool {
        self.bills_period() || (self.is_proration && self.amount.is_some_and(|amount| amount > MoneyMinor::ZERO))
    }

    /// Whether it credits time of a period that is no longer used.
    pub fn credits_time(&self) -> bool {
        self.is_proration && self.amount.is_some_and(|amount| amount < MoneyMinor::ZERO)
    }

    /// Whether it costs something after discounts.
    pub fn costs(&self) -> bool {
        self.net_amount().is_none_or(|amount| amount > MoneyMinor::ZERO)
    }

    /// Its amount after discounts.
    pub fn net_amount(&self) -> Option<MoneyMinor> {
        self.amount.map(|amount| MoneyMinor(amount.0.saturating_sub(self.discount.0)))
    }

    /// What one of its price costs, if the amount divides evenly.
    pub fn unit_amount(&self) -> Option<MoneyMinor> {
        let (amount, quantity) = (self.amount?, self.quantity.unwrap_or(1));
        (quantity > 0 && amount.0 % quantity == 0).then(|| MoneyMinor(amount.0 / quantity))
    }
}

/// When an invoice was made: `created`, which was called `date` before 2019-03-14.
pub fn created_ms(invoice: &Value) -> Option<TimeMs> {
    time_ms(&invoice["created"]).or_else(|| time_ms(&invoice["date"]))
}

/// How long an invoice was open before it was paid; `None` if one of both times is missing.
fn open_for_ms(invoice: &Value) -> Option<i64> {
    let times = &invoice["status_transitions"];
    Some(time_ms(&times["paid_at"])?.saturating_sub(time_ms(&times["finalized_at"])?))
}

/// Hand-made objects may lack the total. Credit notes do not change it; the amounts for which it may be read otherwise,
/// they do. Source: Stripe, "The Invoice object".
fn total(object: &Value) -> Option<MoneyMinor> {
    let reduced = money(&object["pre_payment_credit_notes_amount"]).unwrap_or_default();
    let total = money(&object["total"]).map(|total| MoneyMinor(total.0.saturating_sub(reduced.0)));
    total.or_else(|| ["amount_due", "amount_paid"].iter().find_map(|name| money(&object[*name])))
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
fn failure(object: &Value) -> Option<InvoiceFailure> {
    let explained = payments(object).find_map(|place| {
        let error = &place["payment_intent"]["last_payment_error"];
        let charge = &place["charge"];
        explanation(&error["message"], &error["code"], &error["decline_code"])
            .or_else(|| explanation(&charge["failure_message"], &charge["failure_code"], &Value::Null))
    });
    let error = &object["last_finalization_error"];
    explained.or_else(|| explanation(&error["message"], &error["code"], &Value::Null))
}

fn explanation(message: &Value, code: &Value, decline_code: &Value) -> Option<InvoiceFailure> {
    let message = message.as_str().map(|text| clean(text, MESSAGE_LEN_MAX)).filter(|text| !text.is_empty());
    let (code, decline_code) = (short_text(code), short_text(decline_code));
    let words = match (message, decline_code.as_ref().or(code.as_ref())) {
        (Some(message), Some(code)) => format!("{message} ({code})"),
        (message, code) => message.or_else(|| code.cloned())?,
    };
    Some(InvoiceFailure { words, code, decline_code })
}
