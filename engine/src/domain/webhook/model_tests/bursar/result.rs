//! What the rules have led to.

use super::super::stripe::Stripe;
use super::{Bursar, number};
use crate::domain::ledger::{Entry, EntryKind, TAKEN_SUFFIX};
use crate::domain::sale::SaleRecord;
use crate::domain::sale::grant::{grant_key, invoice_of};
use std::collections::BTreeMap;

impl Bursar {
    pub fn grants(&self) -> impl Iterator<Item = &Entry> {
        let is_own = |entry: &&Entry| entry.kind == EntryKind::Grant && entry.detail.grant.is_none();
        self.entries.iter().filter(is_own)
    }

    /// The entries that took credits back in exchange for new ones.
    pub fn exchanged(&self) -> impl Iterator<Item = &Entry> {
        let is_one = |entry: &&Entry| entry.idempotency_key.as_ref().is_some_and(|key| key.ends_with(TAKEN_SUFFIX));
        self.entries.iter().filter(is_one)
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What each invoice leaves: granted, minus clawed back, plus reinstated.
    pub fn credits_by_invoice(&self) -> BTreeMap<String, i64> {
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        let invoice_of: BTreeMap<i64, &String> =
            self.grants().filter_map(|grant| Some((grant.seq, grant.reference.as_ref()?))).collect();
        for entry in &self.entries {
            let counts = matches!(entry.kind, EntryKind::Grant | EntryKind::ClawBack);
            if let Some(invoice) = invoice_of.get(&entry.detail.grant.unwrap_or(entry.seq)).filter(|_| counts) {
                *sums.entry((*invoice).clone()).or_default() += entry.amount.0;
            }
        }
        sums
    }

    /// What each invoice took back for time that was left. What one left out of its own period, because that was left
    /// before its payment was known, is of the invoice that left it.
    pub fn taken_by_invoice(&self) -> BTreeMap<String, i64> {
        let mut taken: BTreeMap<String, i64> = BTreeMap::new();
        let is_own = |entry: &&Entry| entry.kind == EntryKind::ClawBack && entry.detail.grant.is_none();
        for entry in self.entries.iter().filter(is_own) {
            let Some(invoice) = entry.idempotency_key.as_deref().and_then(invoice_of) else { continue };
            *taken.entry(invoice.to_owned()).or_default() -= entry.amount.0;
            for left in self.record_of(invoice).left_out {
                *taken.entry(invoice.to_owned()).or_default() -= left.credits.0;
                *taken.entry(left.invoice).or_default() += left.credits.0;
            }
        }
        taken.retain(|_, credits| *credits != 0);
        taken
    }

    fn record_of(&self, invoice: &str) -> SaleRecord {
        let key = grant_key(invoice);
        let first = self.entries.iter().find(|entry| entry.idempotency_key.as_ref() == Some(&key));
        first.and_then(|entry| SaleRecord::read(entry.metadata.as_deref())).unwrap_or_default()
    }

    /// Dead events about anything else than a price that a person must decide on.
    pub fn unexplained_dead(&self, stripe: &Stripe) -> Vec<String> {
        let is_unknown = |id: &str| match id.split('_').next() {
            Some("in") => stripe.invoices[number(id)].lines.iter().any(|line| stripe.is_unknown(line.price)),
            Some("sub") => stripe.subs[number(id)].items.iter().any(|item| stripe.is_unknown(item.0)),
            _ => false,
        };
        // A subscription may have left the price since.
        let names_unknown = |reason: &str| {
            (0..stripe.prices.len()).any(|n| stripe.is_unknown(n) && reason.contains(&format!(" price_{n}:")))
        };
        let dead = self.dead.iter().filter(|(id, reason)| !is_unknown(id) && !names_unknown(reason));
        dead.map(|(id, reason)| format!("{id}: {reason}")).collect()
    }
}
