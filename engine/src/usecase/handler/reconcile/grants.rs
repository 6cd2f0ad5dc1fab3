//! Grants without an invoice that sells them, and parts that were not granted in time.

use super::super::Failure;
use super::super::invoice::whole_invoice;
use super::{HERE_PAGE_LEN, Page, Walk};
use crate::domain::reconcile::grants::OVERDUE_AFTER_MS;
use crate::domain::reconcile::{Class, Difference, grants, invoices};
use crate::domain::sale::SaleRecord;
use crate::infra::store::reconciliation as rows;

impl Walk<'_> {
    /// Grants of the window for invoices that Stripe did not list, asked for one by one.
    pub(super) async fn grants_here(&self) -> Result<Page, Failure> {
        let after = self.run.cursor.clone().unwrap_or_default();
        let ours = rows::grants_unseen(self.deps.db.read(), &self.run, &after, HERE_PAGE_LEN).await?;
        let mut differences = Vec::new();
        let named = ours.iter().filter_map(|(customer, entry)| Some((customer, entry, entry.reference.as_ref()?)));
        let named: Vec<_> = named.collect();
        for (customer, entry, id) in named {
            let Some(invoice) = whole_invoice(self.deps, id).await? else {
                let ours = format!("{} credits", entry.amount);
                let missing = Difference::new(Class::GrantWithoutLine, id, ours, "no such invoice");
                differences.push(missing.for_customer(customer));
                continue;
            };
            let objects = [invoice];
            let looked = self.look_up(&objects, invoices::EVENT_KIND).await?;
            let record = SaleRecord::read(entry.metadata.as_deref());
            let facts = looked.facts(self, &objects, invoices::EVENT_KIND);
            differences.extend(facts.iter().filter_map(|facts| invoices::compare_granted(facts, record.as_ref())));
        }
        let cursor = ours.last().and_then(|(_, entry)| entry.reference.clone());
        Ok(Page { checked: ours.len(), differences, seen: Vec::new(), cursor })
    }

    /// Jobs that grant parts of invoices, dead or overdue.
    pub(super) async fn grant_jobs(&self) -> Result<Page, Failure> {
        let after = self.run.cursor.clone().unwrap_or_default();
        let before_ms = self.now_ms - OVERDUE_AFTER_MS;
        let stuck = rows::parts_stuck(self.deps.db.read(), &self.run, before_ms, &after, HERE_PAGE_LEN).await?;
        let cursor = stuck.last().map(|part| part.job_id.to_string());
        let differences = stuck.iter().map(grants::compare).collect();
        Ok(Page { checked: stuck.len(), differences, seen: Vec::new(), cursor })
    }
}
