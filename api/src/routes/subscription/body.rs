//! What the routes of the subscription and of invoices answer.

use crate::routes::plan::{PriceBody, price_body};
use crate::sample;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::sale::SubscribedPrice;
use bursar_engine::domain::subscription::{PausedCollection, PendingChange};
use bursar_engine::domain::webhook::fields::InvoiceFields;
use poem_openapi::Object;
use poem_openapi::types::Example;

/// The subscription as Stripe has it.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct SubscriptionBody {
    /// Its id at Stripe.
    pub id: String,
    /// `active`, `past_due`, `canceled` …
    pub status: String,
    /// The customer's plan now.
    pub plan: String,
    /// The key of the price that it was bought at, if that is known.
    pub price: Option<String>,
    /// What a period of it costs and brings, if that is known. Whoever has a price keeps its terms, so they may differ
    /// from those at which it is sold now.
    #[oai(skip_serializing_if_is_none)]
    pub terms: Option<SubscriptionTermsBody>,
    /// How many of the price.
    pub quantity: i64,
    /// Whether it ends with the period.
    pub cancel_at_period_end: bool,
    /// When the paid period ends.
    pub current_period_end: Option<String>,
    /// Since when a payment is overdue.
    pub past_due_since: Option<String>,
    /// Why it is overdue.
    pub past_due_reason: Option<String>,
    /// The invoice that has to be paid before the price gives its plan; until then the customer keeps the plan before.
    #[oai(skip_serializing_if_is_none)]
    pub unpaid_invoice: Option<String>,
    /// The pause of its collection: nothing is charged, and no new credits come meanwhile.
    #[oai(skip_serializing_if_is_none)]
    pub paused_collection: Option<PausedCollectionBody>,
    /// A change that comes with the end of the period.
    #[oai(skip_serializing_if_is_none)]
    pub pending_change: Option<PendingChangeBody>,
    /// When it ended.
    pub ended_at: Option<String>,
    /// All credits now.
    pub credit_balance: i64,
}

/// What a subscription costs and brings.
#[derive(Debug, Object)]
#[oai(example)]
pub(in crate::routes) struct SubscriptionTermsBody {
    /// The price, on the terms of this subscription.
    price: PriceBody,
    /// Whether these are terms of the past, which the subscription keeps: the price is sold on others now, or no
    /// longer.
    is_former: bool,
}

impl From<SubscribedPrice> for SubscriptionTermsBody {
    fn from(subscribed: SubscribedPrice) -> Self {
        Self { price: price_body(&subscribed.price), is_former: subscribed.is_former }
    }
}

impl Example for SubscriptionTermsBody {
    fn example() -> Self {
        Self { price: PriceBody::example(), is_former: false }
    }
}

/// A pause of collection.
#[derive(Debug, Object)]
pub(in crate::routes) struct PausedCollectionBody {
    /// What becomes of its invoices: `void`, `keep_as_draft` or `mark_uncollectible`.
    behavior: String,
    /// When collection resumes by itself.
    resumes_at: Option<String>,
}

impl From<&PausedCollection> for PausedCollectionBody {
    fn from(pause: &PausedCollection) -> Self {
        Self { behavior: pause.behavior.clone(), resumes_at: pause.resumes_at_ms.map(rfc3339) }
    }
}

/// A change that is to come.
#[derive(Debug, Object)]
pub(in crate::routes) struct PendingChangeBody {
    /// The key of the price from then on.
    price: String,
    /// How many of it.
    quantity: i64,
    /// What a period costs then, in minor units of the subscription's currency, before discounts and taxes.
    amount_minor: Option<i64>,
    /// When.
    at: String,
}

impl From<&PendingChange> for PendingChangeBody {
    fn from(change: &PendingChange) -> Self {
        Self {
            price: change.price.to_string(),
            quantity: change.quantity,
            amount_minor: change.amount.map(|amount| amount.0),
            at: rfc3339(change.at_ms),
        }
    }
}

impl Example for SubscriptionBody {
    fn example() -> Self {
        Self {
            id: "sub_1Q0PsIJvEtkwdCNYMSaVuRz6".to_owned(),
            status: "active".to_owned(),
            plan: "pro".to_owned(),
            price: sample::text("pro_monthly"),
            terms: Some(SubscriptionTermsBody::example()),
            quantity: 1,
            cancel_at_period_end: false,
            current_period_end: Some("2026-12-22T08:00:00.000Z".to_owned()),
            past_due_since: None,
            past_due_reason: None,
            unpaid_invoice: None,
            paused_collection: None,
            pending_change: None,
            ended_at: None,
            credit_balance: 65,
        }
    }
}

/// An invoice at Stripe.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct InvoiceBody {
    /// Its id at Stripe.
    pub id: String,
    /// Its number, once it is final.
    pub number: Option<String>,
    /// `draft`, `open`, `paid`, `void` or `uncollectible`.
    pub status: Option<String>,
    /// The amount due, in minor units.
    pub amount_due_minor: i64,
    /// The amount paid, in minor units.
    pub amount_paid_minor: i64,
    /// ISO 4217 code.
    pub currency: Option<String>,
    /// When it was created.
    pub created_at: Option<String>,
    /// Stripe's page for it.
    pub hosted_invoice_url: Option<String>,
    /// The invoice as PDF.
    pub invoice_pdf: Option<String>,
}

impl Example for InvoiceBody {
    fn example() -> Self {
        Self {
            id: "in_1MtHbELkdIwHu7ixl4OzzPMv".to_owned(),
            number: sample::text("6C9A1D52-0001"),
            status: sample::text("paid"),
            amount_due_minor: 59_900,
            amount_paid_minor: 59_900,
            currency: sample::text("usd"),
            created_at: sample::text(sample::AT),
            hosted_invoice_url: sample::text("https://invoice.stripe.com/i/acct_1032D82eZvKYlo2C/test_YWNjdA"),
            invoice_pdf: sample::text("https://pay.stripe.com/invoice/acct_1032D82eZvKYlo2C/test_YWNjdA/pdf"),
        }
    }
}

pub(super) fn invoice(object: &serde_json::Value) -> Option<InvoiceBody> {
    let said = InvoiceFields::read(object);
    let text = |key: &str| object[key].as_str().map(str::to_owned);
    Some(InvoiceBody {
        id: said.id?,
        number: text("number"),
        status: text("status"),
        amount_due_minor: object["amount_due"].as_i64().unwrap_or(0),
        amount_paid_minor: said.amount_paid.map_or(0, |amount| amount.0),
        currency: said.currency,
        created_at: object["created"].as_i64().map(|seconds| rfc3339(seconds.saturating_mul(1_000))),
        hosted_invoice_url: text("hosted_invoice_url"),
        invoice_pdf: text("invoice_pdf"),
    })
}
