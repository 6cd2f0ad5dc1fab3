//! The stored entries: objects by id, and oldest first by kind and by customer. The changes of a call are rolled back
//! or committed together.
//!
//! Entries that are not objects of Stripe (answers, deliveries, the clock) have kinds that begin with `_`.

use crate::field::Fields;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Maximum number of entries of all kinds together. Beyond this none can be added.
pub(crate) const ENTRIES_MAX: usize = 500_000;

/// An object and its sequence number in the order of creation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) id: String,
    pub(crate) value: Value,
}

/// The changes of one call: entries that were put, and ids that were removed.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) puts: Vec<Entry>,
    pub(crate) gone: Vec<String>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.gone.is_empty()
    }
}

/// The entries.
#[derive(Debug, Default)]
pub(crate) struct Store {
    entries: HashMap<String, Entry>,
    kinds: HashMap<String, BTreeMap<u64, String>>,
    owners: HashMap<String, BTreeMap<u64, String>>,
    seq: u64,
    /// The previous entries of those that the current call changed, in the order of changes.
    undo: Vec<(String, Option<Entry>)>,
}

impl Store {
    /// Rebuilds a store from the journal's batches, in order.
    pub(crate) fn replay(batches: impl Iterator<Item = Batch>) -> Self {
        let mut store = Self::default();
        for batch in batches {
            for entry in batch.puts {
                store.seq = store.seq.max(entry.seq);
                store.place(entry);
            }
            for id in batch.gone {
                store.displace(&id);
            }
        }
        store
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Value> {
        self.entries.get(id).map(|entry| &entry.value)
    }

    /// An object's sequence number in the order of creation.
    pub(crate) fn seq_of(&self, id: &str) -> Option<u64> {
        self.entries.get(id).map(|entry| entry.seq)
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The last sequence number.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// The number of entries of a kind.
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.kinds.get(kind).map_or(0, BTreeMap::len)
    }

    /// The objects of a kind, oldest first.
    pub(crate) fn of_kind(&self, kind: &str) -> impl DoubleEndedIterator<Item = &Value> {
        self.kinds.get(kind).into_iter().flat_map(BTreeMap::values).filter_map(|id| self.get(id))
    }

    /// A customer's objects of a kind, oldest first.
    pub(crate) fn of_customer(&self, kind: &str, customer: &str) -> impl DoubleEndedIterator<Item = &Value> {
        let owned = self.owners.get(customer).into_iter().flat_map(BTreeMap::values);
        owned.filter_map(|id| self.get(id)).filter(move |value| value.text("object") == kind)
    }

    /// Inserts or replaces an object.
    pub(crate) fn put(&mut self, id: &str, value: Value) {
        let before = self.displace(id);
        let seq = before.as_ref().map_or_else(
            || {
                self.seq += 1;
                self.seq
            },
            |entry| entry.seq,
        );
        self.undo.push((id.to_owned(), before));
        self.place(Entry { seq, id: id.to_owned(), value });
    }

    /// Deletes an object.
    pub(crate) fn remove(&mut self, id: &str) {
        if let Some(before) = self.displace(id) {
            self.undo.push((id.to_owned(), Some(before)));
        }
    }

    /// Commits the current call's changes and returns them.
    pub(crate) fn commit(&mut self) -> Batch {
        let changed: Vec<String> = std::mem::take(&mut self.undo).into_iter().map(|(id, _)| id).collect();
        let mut seen = HashSet::new();
        let mut batch = Batch::default();
        for id in changed {
            if !seen.insert(id.clone()) {
                continue;
            }
            match self.entries.get(&id) {
                Some(entry) => batch.puts.push(entry.clone()),
                None => batch.gone.push(id),
            }
        }
        batch
    }

    /// Commits the current call's changes without collecting them.
    pub(crate) fn commit_quietly(&mut self) {
        self.undo.clear();
    }

    /// Rolls back the current call's changes.
    pub(crate) fn rollback(&mut self) {
        while let Some((id, before)) = self.undo.pop() {
            self.displace(&id);
            if let Some(entry) = before {
                self.place(entry);
            }
        }
    }

    /// All entries as one batch.
    pub(crate) fn snapshot(&self) -> Batch {
        let mut puts: Vec<Entry> = self.entries.values().cloned().collect();
        puts.sort_by_key(|entry| entry.seq);
        Batch { puts, gone: Vec::new() }
    }

    fn place(&mut self, entry: Entry) {
        self.displace(&entry.id);
        let kind = entry.value.text("object").to_owned();
        self.kinds.entry(kind).or_default().insert(entry.seq, entry.id.clone());
        if let Some(owner) = owner(&entry.value) {
            self.owners.entry(owner.to_owned()).or_default().insert(entry.seq, entry.id.clone());
        }
        self.entries.insert(entry.id.clone(), entry);
    }

    fn displace(&mut self, id: &str) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        if let Some(kind) = self.kinds.get_mut(entry.value.text("object")) {
            kind.remove(&entry.seq);
        }
        if let Some(owner) = owner(&entry.value)
            && let Some(owned) = self.owners.get_mut(owner)
        {
            owned.remove(&entry.seq);
            if owned.is_empty() {
                self.owners.remove(owner);
            }
        }
        Some(entry)
    }
}

/// The customer that an object belongs to. `_customer` names it where Stripe's object does not.
fn owner(value: &Value) -> Option<&str> {
    value.opt("customer").or_else(|| value.opt("_customer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ids<'a>(values: impl Iterator<Item = &'a Value>) -> Vec<&'a str> {
        values.map(Fields::id).collect()
    }

    fn charge(id: &str, customer: &str) -> Value {
        json!({"id": id, "object": "charge", "customer": customer})
    }

    #[test]
    fn a_rolled_back_call_leaves_nothing() {
        let mut store = Store::default();
        store.put("a", charge("a", "cus_1"));
        store.commit();
        store.put("a", charge("a", "cus_2"));
        store.put("b", charge("b", "cus_1"));
        store.remove("a");
        store.rollback();
        assert_eq!(ids(store.of_kind("charge")), ["a"]);
        assert_eq!(ids(store.of_customer("charge", "cus_1")), ["a"]);
        assert_eq!(ids(store.of_customer("charge", "cus_2")), [""; 0]);
    }

    #[test]
    fn a_replayed_store_is_the_same() {
        let mut store = Store::default();
        let mut batches = Vec::new();
        store.put("b", charge("b", "cus_1"));
        store.put("a", charge("a", "cus_1"));
        batches.push(store.commit());
        store.put("b", charge("b", "cus_2"));
        store.put("c", charge("c", "cus_1"));
        store.remove("a");
        batches.push(store.commit());
        let copy = Store::replay(batches.into_iter());
        assert_eq!(copy.snapshot(), store.snapshot());
        assert_eq!(ids(copy.of_kind("charge")), ["b", "c"]);
    }
}
