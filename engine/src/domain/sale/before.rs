//! What is known of the other invoices of a subscription when one of them is decided.

use super::record::SaleRecord;
use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::webhook::fields::{InvoiceFields, Line};
use std::collections::{BTreeMap, BTreeSet};

/// The invoices of a subscription, and what they brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Before {
    /// The other invoices.
    pub invoices: Vec<InvoiceFields>,
    /// What the ledger says of those invoices, and of the one in question, whose credits came, by their ids.
    pub brought: BTreeMap<String, BroughtBefore>,
}

/// What an invoice brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BroughtBefore {
    /// What it sold, on the terms of that time; empty for one that was granted before there were records.
    pub record: SaleRecord,
    /// Whether credits of it are clawed back.
    pub is_clawed_back: bool,
}

impl Before {
    /// Nothing is known, or there is nothing else.
    pub const NONE: &'static Self = &Self { invoices: Vec::new(), brought: BTreeMap::new() };

    /// The invoices with nothing known of what they brought.
    pub fn of(invoices: Vec<InvoiceFields>) -> Self {
        Self { invoices, brought: BTreeMap::new() }
    }

    /// What an invoice brought.
    pub fn brought_by(&self, invoice: &InvoiceFields) -> Option<&BroughtBefore> {
        self.brought.get(invoice.id.as_ref()?)
    }

    /// The credits that other invoices took back of the periods that an invoice billed, because they were left.
    pub fn taken_of(&self, invoice: &InvoiceFields) -> Credits {
        let billed = ends(invoice, Line::bills_period);
        let left = self.others(invoice).filter(|other| !ends(other, Line::credits_time).is_disjoint(&billed));
        left.filter_map(|other| self.brought_by(other)).map(|brought| brought.record.taken).sum()
    }

    /// The invoices whose periods an invoice leaves, and of whose credits some are clawed back.
    pub fn left_by(&self, invoice: &InvoiceFields) -> impl Iterator<Item = &str> {
        let left = ends(invoice, Line::credits_time);
        let is_left = move |other: &&InvoiceFields| !ends(other, Line::bills_period).is_disjoint(&left);
        let is_clawed_back = |other: &&InvoiceFields| self.brought_by(other).is_some_and(|b| b.is_clawed_back);
        self.others(invoice).filter(is_left).filter(is_clawed_back).filter_map(|other| other.id.as_deref())
    }

    fn others(&self, invoice: &InvoiceFields) -> impl Iterator<Item = &InvoiceFields> {
        self.invoices.iter().filter(|other| other.id != invoice.id)
    }
}

/// When the periods end of some lines.
fn ends(invoice: &InvoiceFields, is_one: impl Fn(&Line) -> bool) -> BTreeSet<TimeMs> {
    invoice.lines.iter().filter(|line| is_one(line)).filter_map(|line| line.period_end_ms).collect()
}
