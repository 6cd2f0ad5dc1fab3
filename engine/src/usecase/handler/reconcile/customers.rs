//! Events and customers.

use super::super::Failure;
use super::super::stripe::Known;
use super::scope::existing;
use super::{HERE_PAGE_LEN, Page, Walk, next_of};
use crate::domain::reconcile::{customers, events};
use crate::domain::webhook::delivery::SOURCE_STRIPE;
use crate::domain::webhook::{self, EventKind, fields};
use crate::ids::CustomerId;
use crate::infra::store::reconciliation as rows;
use crate::usecase::reconcile::WINDOW_MAX_MS;

impl Walk<'_> {
    /// Events: those that Stripe could not deliver as far back as it lists any, all others since the
    /// run's window began.
    pub(super) async fn events(&self, undelivered: bool) -> Result<Page, Failure> {
        let since_s = if undelivered { (self.run.created_at_ms - WINDOW_MAX_MS) / 1_000 } else { self.since_s() };
        let stripe = &self.deps.stripe;
        let list = stripe.event_list(since_s, self.until_s(), undelivered, self.run.cursor.as_deref()).await?;
        let events = fields::rows(&list);
        let ids: Vec<String> = events.iter().filter_map(|event| fields::id(&event["id"])).collect();
        let known = rows::events_known(self.deps.db.read(), SOURCE_STRIPE, &ids).await?;
        let differences = events::compare(events, &known);
        Ok(Page { checked: events.len(), differences, seen: Vec::new(), cursor: next_of(&list) })
    }

    /// Stripe's customers: all, or those that were made within the window. Seen are their ids, and ours that they name.
    pub(super) async fn customers(&self) -> Result<Page, Failure> {
        let list = self
            .deps
            .stripe
            .customer_list_page(self.created_since_s(), self.until_s(), self.run.cursor.as_deref())
            .await?;
        let objects = fields::rows(&list);
        let lookups: Vec<_> =
            objects.iter().map(|object| webhook::lookup(object, EventKind::CustomerUpdated)).collect();
        let lookups: Vec<_> = lookups.into_iter().enumerate().collect();
        let known = Known::load(self.deps.db.read(), &lookups).await?;
        let (mut differences, mut seen) = (Vec::new(), Vec::new());
        for (object, (_, lookup)) in objects.iter().zip(&lookups) {
            let linked = lookup.stripe_customer_id.as_deref().and_then(|id| known.by_stripe_id(id));
            // One more Stripe customer of a customer that has another as its own.
            if lookup.stripe_customer_id.as_ref().is_some_and(|id| known.is_former(id)) {
                seen.extend(lookup.stripe_customer_id.clone());
                continue;
            }
            let named = lookup.bursar_customer_id.as_deref().and_then(|id| known.by_id(id));
            differences.extend(customers::compare(object, linked, named));
            seen.extend([&lookup.stripe_customer_id, &lookup.bursar_customer_id].into_iter().flatten().cloned());
        }
        Ok(Page { checked: objects.len(), differences, seen, cursor: next_of(&list) })
    }

    /// Our customers that Stripe did not list, asked for one by one.
    pub(super) async fn customers_here(&self) -> Result<Page, Failure> {
        // Identifiers begin with the time at which they were made.
        let first = || if self.run.is_full { String::new() } else { CustomerId::before(self.run.since_ms) };
        let after = self.run.cursor.clone().unwrap_or_else(first);
        let ours = rows::customers_unseen(self.deps.db.read(), &self.run, &after, HERE_PAGE_LEN).await?;
        let mut differences = Vec::new();
        for customer in &ours {
            let theirs = match &customer.stripe_customer_id {
                Some(id) => existing(self.deps.stripe.customer_retrieve(id).await)?,
                None => None,
            };
            differences.extend(customers::compare_unlisted(customer, theirs.as_ref()));
        }
        let cursor = ours.last().map(|customer| customer.id.to_string());
        Ok(Page { checked: ours.len(), differences, seen: Vec::new(), cursor })
    }
}
