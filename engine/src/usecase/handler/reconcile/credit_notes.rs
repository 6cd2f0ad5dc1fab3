//! Credit notes: what they gave back otherwise than by refunds, such as onto the customer's balance. A refund of the same
//! invoice is compared with the refunds, by its charge, and its notes with it.

use super::super::Failure;
use super::super::stripe::Known;
use super::super::stripe::clawback::paid_by;
use super::scope::{List, Listed};
use super::{Page, Walk, next_of};
use crate::domain::customer::Customer;
use crate::domain::webhook::fields::{self, CreditNoteFields};
use crate::domain::webhook::{self, EventKind};
use crate::infra::store::{payment, reconciliation as rows};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// How long before the window a note is compared that was made then: it may have been voided within the window. Older ones
/// are compared by a full pass, and by the run of one customer.
const CREDIT_NOTE_OPEN_S: i64 = 30 * 24 * 60 * 60;

impl Walk<'_> {
    /// Credit notes that may have changed within the window, whenever their invoice was made; all of them in a full pass
    /// and of one customer. Each of their invoices is compared once in a run, by all its notes, refunds and disputes: those
    /// of which an earlier phase compared the charge are passed over. Seen are the invoices and what paid them, as compared.
    pub(super) async fn credit_notes(&self) -> Result<Page, Failure> {
        let Listed { objects: notes, cursor } = match self.list_of_customer(List::CreditNotes).await? {
            Some(listed) => listed,
            None => {
                let since_s = self.created_since_s().map(|since_s| since_s - CREDIT_NOTE_OPEN_S);
                let after = self.run.cursor.as_deref();
                let list = self.deps.stripe.credit_note_list_page(since_s, self.until_s(), after).await?;
                Listed { objects: fields::rows(&list).to_vec(), cursor: next_of(&list) }
            }
        };
        let invoices = self.invoices_of(&notes).await?;
        let known = self.compared_before(invoices.keys()).await?;
        let (mut differences, mut seen) = (Vec::new(), Vec::new());
        for (id, linked) in invoices {
            if known.contains(&compared(&id)) {
                continue;
            }
            let Some(paid) = paid_by(self.deps, &id).await? else { continue };
            let paid_id = fields::id(&paid).unwrap_or_else(|| id.clone());
            if self.compared_before([&paid_id]).await?.is_empty() {
                differences.extend(self.compare_payment(linked, &paid, &id).await?);
            }
            seen.extend([compared(&id), compared(&paid_id)]);
        }
        Ok(Page { checked: notes.len(), differences, seen, cursor })
    }

    /// The invoices of which these notes gave money back otherwise than by refunds, or had before they were voided, each
    /// with whoever has the Stripe customer. Those that are surely none of ours are left out, before Stripe is asked for
    /// them.
    async fn invoices_of(&self, notes: &[Value]) -> Result<BTreeMap<String, Option<Customer>>, Failure> {
        let db = self.deps.db.read();
        let counts = |note: &&Value| CreditNoteFields::read(note).given_beside_refunds().0 > 0;
        let notes: Vec<&Value> = notes.iter().filter(counts).collect();
        let lookups: Vec<_> =
            notes.iter().map(|note| webhook::lookup(note, EventKind::CreditNoteCreated)).enumerate().collect();
        let known = Known::load(db, &lookups).await?;
        let named = notes.iter().zip(&lookups).filter_map(|(note, (_, lookup))| {
            let id = CreditNoteFields::read(note).invoice_id?;
            Some((id, known.customer(lookup, None)))
        });
        let mut invoices: BTreeMap<String, Option<Customer>> = named.collect();
        let ids: Vec<String> = invoices.keys().cloned().collect();
        let payers = payment::invoice_payer_find_many(db, &ids).await?;
        invoices.retain(|id, linked| linked.is_some() || payers.contains_key(id));
        Ok(invoices)
    }

    /// The marks of those among these objects that this run has compared.
    async fn compared_before<'b>(&self, ids: impl IntoIterator<Item = &'b String>) -> Result<HashSet<String>, Failure> {
        let marks: Vec<String> = ids.into_iter().map(|id| compared(id)).collect();
        let mut known = rows::objects_seen(self.deps.db.read(), &self.run.id, &marks).await?;
        // Those of this attempt are not committed yet.
        known.extend(marks.into_iter().filter(|mark| self.seen.contains(mark)));
        Ok(known)
    }
}

/// How a run notes that it compared the money of a payment: other phases note what they have listed, by its id alone.
pub(super) fn compared(id: &str) -> String {
    format!("compared:{id}")
}
