//! The calls about charges, and about what is given back of them and of invoices.

use super::gateway::Gateway;
use super::requests::{Call, Mark, PAGE_LEN, created_between, metadata, owned};
use crate::amount::MoneyMinor;
use crate::domain::refund::CREDITS_METADATA_KEY;
use serde::Serialize;
use stripe_client_core::{RequestBuilder, StripeMethod};
use stripe_core::charge::{ListCharge, RetrieveCharge};
use stripe_core::dispute::{ListDispute, RetrieveDispute};
use stripe_core::refund::{CreateRefund, ListRefund};

/// Objects in one page of refunds, disputes or credit notes, each of which may need several more calls.
pub const MONEY_BACK_PAGE_LEN: i64 = 20;

/// The charge of each object in a list.
const CHARGE_EXPANDED: [&str; 1] = ["data.charge"];

/// A refund of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRefund<'a> {
    /// The charge.
    pub charge_id: &'a str,
    /// How much.
    pub amount_minor: MoneyMinor,
    /// What becomes of the credits, for whoever reads the refund later.
    pub credits: &'a str,
    /// Bursar's customer.
    pub customer_id: &'a str,
    /// The operation that gives the money back.
    pub operation: Mark<'a>,
}

/// Which credit notes to list. The types of the client library for them are not built for these few calls.
#[derive(Debug, Serialize)]
struct ListCreditNote<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<stripe_types::RangeQueryTs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<&'a str>,
    limit: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    starting_after: Option<&'a str>,
}

impl Gateway {
    /// Retrieves a charge.
    pub async fn charge_retrieve(&self, id: &str) -> Call {
        self.read("charge_retrieve", &RetrieveCharge::new(id)).await
    }

    /// Lists the charges of a Stripe customer, latest first.
    pub async fn charge_list_of(&self, stripe_customer_id: &str, after: Option<&str>) -> Call {
        let mut request = ListCharge::new().customer(stripe_customer_id).limit(PAGE_LEN);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("charge_list_of", &request).await
    }

    /// Lists a page of charges created between two times, in seconds, latest first.
    pub async fn charge_list(&self, since_s: i64, until_s: i64, after: Option<&str>) -> Call {
        let mut request = ListCharge::new().created(created_between(Some(since_s), Some(until_s))).limit(PAGE_LEN);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("charge_list", &request).await
    }

    /// Gives money of a charge back.
    pub async fn refund_create(&self, refund: &NewRefund<'_>, key: &str) -> Call {
        let mut metadata = metadata(refund.customer_id, Some(refund.operation));
        metadata.insert(CREDITS_METADATA_KEY.to_owned(), refund.credits.to_owned());
        let request = CreateRefund::new().charge(refund.charge_id).amount(refund.amount_minor.0).metadata(metadata);
        self.write("refund_create", &request, key).await
    }

    /// Lists the refunds of a charge, at most [`PAGE_LEN`].
    pub async fn refund_list(&self, charge_id: &str) -> Call {
        self.read("refund_list", &ListRefund::new().charge(charge_id).limit(PAGE_LEN)).await
    }

    /// Lists a page of refunds of all charges created between two times, in seconds, latest first, with their
    /// charges.
    pub async fn refund_list_page(&self, since_s: i64, until_s: i64, after: Option<&str>) -> Call {
        let mut request =
            ListRefund::new().created(created_between(Some(since_s), Some(until_s))).limit(MONEY_BACK_PAGE_LEN);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("refund_list_page", &request.expand(owned(&CHARGE_EXPANDED))).await
    }

    /// Lists a page of disputes of all charges opened between two times, in seconds, latest first, with their
    /// charges.
    pub async fn dispute_list_page(&self, since_s: i64, until_s: i64, after: Option<&str>) -> Call {
        let mut request =
            ListDispute::new().created(created_between(Some(since_s), Some(until_s))).limit(MONEY_BACK_PAGE_LEN);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("dispute_list_page", &request.expand(owned(&CHARGE_EXPANDED))).await
    }

    /// Retrieves a dispute.
    pub async fn dispute_retrieve(&self, id: &str) -> Call {
        self.read("dispute_retrieve", &RetrieveDispute::new(id)).await
    }

    /// Lists the disputes of a charge, at most [`PAGE_LEN`].
    pub async fn dispute_list(&self, charge_id: &str) -> Call {
        self.read("dispute_list", &ListDispute::new().charge(charge_id).limit(PAGE_LEN)).await
    }

    /// Lists a page of credit notes of all invoices created up to a time, in seconds, latest first: from another time on,
    /// or all.
    pub async fn credit_note_list_page(&self, since_s: Option<i64>, until_s: i64, after: Option<&str>) -> Call {
        let created = Some(created_between(since_s, Some(until_s)));
        let asked = ListCreditNote { created, customer: None, limit: MONEY_BACK_PAGE_LEN, starting_after: after };
        let request = RequestBuilder::new(StripeMethod::Get, "/credit_notes").query(&asked);
        Ok(self.get("credit_note_list_page", request).await?.body)
    }

    /// Lists a page of the credit notes of a Stripe customer, latest first.
    pub async fn credit_note_list_of(&self, stripe_customer_id: &str, after: Option<&str>) -> Call {
        let (customer, limit) = (Some(stripe_customer_id), MONEY_BACK_PAGE_LEN);
        let asked = ListCreditNote { created: None, customer, limit, starting_after: after };
        let request = RequestBuilder::new(StripeMethod::Get, "/credit_notes").query(&asked);
        Ok(self.get("credit_note_list_of", request).await?.body)
    }
}
