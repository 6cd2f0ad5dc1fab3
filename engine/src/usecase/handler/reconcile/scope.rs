//! What a run compares: everything, what changed within its window, or one customer.

use super::super::Failure;
use super::{Walk, next_of};
use crate::domain::webhook::fields;
use crate::infra::store::customer::stripe_customers_of;
use crate::infra::stripe::StripeError;
use crate::infra::stripe::requests::PAGE_LEN;
use serde_json::Value;

/// A list at Stripe that can be had of one customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// Subscriptions, ended ones too.
    Subscriptions,
    /// Invoices.
    Invoices,
    /// Charges.
    Charges,
    /// Credit notes.
    CreditNotes,
}

/// A page of a list.
pub(super) struct Listed {
    pub objects: Vec<Value>,
    /// Where the next page begins; `None` if this is the last.
    pub cursor: Option<String>,
}

impl Walk<'_> {
    /// When the objects were created that a run of all customers lists; `None` if it lists all.
    pub(super) fn created_since_s(&self) -> Option<i64> {
        (!self.run.is_full).then(|| self.since_s())
    }

    /// The next page of the customer's list, of each of its Stripe customers in turn; `None` if the run compares all
    /// customers. The cursor is the number of the Stripe customer and the last object of the page.
    pub(super) async fn list_of_customer(&self, list: List) -> Result<Option<Listed>, Failure> {
        let Some(customer) = &self.run.only_customer else { return Ok(None) };
        let ids = stripe_customers_of(self.deps.db.read(), customer).await?;
        let (at, after) = split(self.run.cursor.as_deref());
        let Some(id) = ids.get(at) else { return Ok(Some(Listed { objects: Vec::new(), cursor: None })) };
        let (stripe, after) = (&self.deps.stripe, after.as_deref());
        let page = match list {
            List::Subscriptions => existing(stripe.subscription_list(Some(id), after).await)?,
            List::Invoices => existing(stripe.invoice_list(id, PAGE_LEN, after).await)?,
            List::Charges => existing(stripe.charge_list_of(id, after).await)?,
            List::CreditNotes => existing(stripe.credit_note_list_of(id, after).await)?,
        };
        let page = page.unwrap_or_default();
        let next = (at + 1 < ids.len()).then(|| format!("{} ", at + 1));
        let cursor = next_of(&page).map(|after| format!("{at} {after}")).or(next);
        Ok(Some(Listed { objects: fields::rows(&page).to_vec(), cursor }))
    }
}

/// What Stripe has; `None` if it has no such object. Without an API key nothing can be compared.
pub(super) fn existing(answer: Result<Value, StripeError>) -> Result<Option<Value>, StripeError> {
    match answer {
        Err(StripeError::NotFound { .. }) => Ok(None),
        answer => answer.map(Some),
    }
}

/// The number of the Stripe customer, and the object after which its page begins.
fn split(cursor: Option<&str>) -> (usize, Option<String>) {
    let (at, after) = cursor.and_then(|cursor| cursor.split_once(' ')).unwrap_or(("0", ""));
    (at.parse().unwrap_or(0), Some(after.to_owned()).filter(|after| !after.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_the_stripe_customer_and_the_last_object() {
        assert_eq!(split(None), (0, None));
        assert_eq!(split(Some("2 ")), (2, None));
        assert_eq!(split(Some("1 in_7")), (1, Some("in_7".to_owned())));
    }
}
