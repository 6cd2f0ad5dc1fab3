//! The part of obligation 1 that SQL cannot prove: folding an account's entries with the ledger's rules gives the
//! stored account, with its open grants and holds. `docs/internals/database.md` lists the obligations.

use super::CheckReport;
use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::ledger::{Account, Entry, EntryKind, Open};
use crate::error::Result;
use crate::ids::CustomerId;
use crate::infra::store::Db;
use crate::infra::store::check::{self, EntryRange, ReadEntry, StoredAccount};
use std::collections::HashMap;

pub(super) const NAME: &str = "folding an account's entries gives its balance, its open grants and its open holds";
/// The part of obligation 5 that needs the ledger's rules.
pub(super) const SETTLE_NAME: &str = "every account is due for settling when its first open hold or grant ends";
/// Number of checks in one pass over the accounts.
pub(super) const CHECKS: usize = 2;
/// Accounts in memory at once.
const ACCOUNTS_PAGE: u64 = 200;
/// Entries in memory at once. A long ledger is folded in several rounds.
const ENTRIES_ROUND_MAX: i64 = 10_000;

/// Folds every account, and checks its time of settling. `progress` receives the accounts done and their
/// approximate total.
pub(super) async fn run(db: &Db, progress: impl Fn(u64, u64)) -> Result<[CheckReport; CHECKS]> {
    let (mut report, mut settle) = (CheckReport::new(1, NAME), CheckReport::new(5, SETTLE_NAME));
    let total = check::check_count(db.read(), "accounts").await?;
    let mut after = String::new();
    loop {
        progress(report.checked, total.max(report.checked));
        let page = check::check_accounts(db.read(), &after, ACCOUNTS_PAGE).await?;
        let Some(last) = page.last() else { return Ok([report, settle]) };
        last.customer_id.as_str().clone_into(&mut after);
        report.checked += page.len() as u64;
        settle.checked = report.checked;
        page.iter().filter_map(describe_wrong_settle).for_each(|problem| settle.add(problem));
        for folding in fold_page(db, page).await? {
            if let Some(problem) = folding.problem() {
                report.add(format!("{}: {problem}", folding.stored.customer_id));
            }
        }
    }
}

/// Describes a wrong time of settling, by which the sweep finds accounts.
fn describe_wrong_settle(stored: &StoredAccount) -> Option<String> {
    let (found, right) = (stored.next_settle_at_ms, stored.account.next_settle_at_ms());
    let in_words = |at_ms: Option<TimeMs>| at_ms.map_or_else(|| "never".to_owned(), |at| format!("at {at}"));
    let is_wrong = stored.unreadable.is_none() && found != right;
    let (id, found, right) = (&stored.customer_id, in_words(found), in_words(right));
    is_wrong.then(|| format!("{id}: its next settlement should be {right} but is stored as {found}"))
}

/// An account while its entries are folded up to its stored version.
struct Folding {
    stored: StoredAccount,
    folded: Account,
    /// Why folding cannot continue.
    stuck: Option<String>,
    /// Whether its floor was ever set: then only its entries tell which one counted when.
    has_terms: bool,
}

impl Folding {
    fn new(stored: StoredAccount) -> Self {
        let folded = Account::default();
        let stuck = stored.unreadable.as_ref().map(|why| format!("its open items cannot be read: {why}"));
        Self { stored, folded, stuck, has_terms: false }
    }

    fn missing_entries(&self) -> i64 {
        if self.stuck.is_some() { 0 } else { self.stored.account.version.saturating_sub(self.folded.version) }
    }

    fn fold_entry(&mut self, entry: ReadEntry) {
        if self.stuck.is_some() {
            return;
        }
        match entry {
            Ok(entry) if entry.seq == self.folded.version + 1 => self.apply(&entry),
            Ok(_) => self.stuck = Some(format!("there is no entry {}", self.folded.version + 1)),
            Err((seq, why)) => self.stuck = Some(format!("entry {seq} cannot be read: {why}")),
        }
    }

    fn apply(&mut self, entry: &Entry) {
        let available = entry.balance_after - entry.held_after;
        let is_command = matches!(entry.kind, EntryKind::Debit | EntryKind::Hold | EntryKind::Adjust)
            && entry.detail.paid_by.is_none();
        if self.has_terms && is_command && available < self.folded.floor {
            let floor = self.folded.floor;
            self.stuck = Some(format!("entry {} left {available} available, below the floor of {floor}", entry.seq));
            return;
        }
        self.has_terms |= entry.kind == EntryKind::Terms && entry.detail.forgiven.is_empty();
        self.folded.apply(entry);
        let account = &self.folded;
        let (left, reserved) = (left_credits(&account.open), reserved_credits(&account.open));
        if left != account.balance.max(Credits::ZERO) {
            self.stuck = Some(format!(
                "after entry {} its grants have {left} left and the balance is {}",
                entry.seq, account.balance
            ));
        } else if reserved != account.held {
            self.stuck = Some(format!(
                "after entry {} its open holds reserve {reserved} and {} is held",
                entry.seq, account.held
            ));
        }
    }

    /// The first problem of the account, if any.
    fn problem(&self) -> Option<String> {
        if self.stuck.is_some() {
            return self.stuck.clone();
        }
        let (stored, mut folded) = (&self.stored.account, self.folded.clone());
        // The time of the last entry is not read with the account, but with the entry.
        folded.last_entry_at_ms = stored.last_entry_at_ms;
        // Releases before write-offs were noted did not store which claw backs made a debt.
        folded.open.owed.clone_from(&stored.open.owed);
        // Earlier releases did not store when a hold was opened.
        for (folded, stored) in
            folded.open.holds.iter_mut().zip(&stored.open.holds).filter(|(_, stored)| stored.seq == 0)
        {
            (folded.seq, folded.opened_at_ms) = (stored.seq, stored.opened_at_ms);
        }
        let folded = &folded;
        if stored == folded {
            return None;
        }
        let parts = [
            (stored.version != folded.version)
                .then(|| format!("version {} instead of {}", stored.version, folded.version)),
            (stored.balance != folded.balance)
                .then(|| format!("balance {} instead of {}", stored.balance, folded.balance)),
            (stored.held != folded.held).then(|| format!("held {} instead of {}", stored.held, folded.held)),
            (stored.floor != folded.floor).then(|| format!("floor {} instead of {}", stored.floor, folded.floor)),
            (stored.open.suspended != folded.open.suspended)
                .then(|| format!("suspended {} instead of {}", stored.open.suspended, folded.open.suspended)),
            (stored.open.grants != folded.open.grants).then(|| {
                let (stored, folded) = (&stored.open, &folded.open);
                let (stored_left, folded_left) = (left_credits(stored), left_credits(folded));
                format!(
                    "{} open grants with {stored_left} left instead of {} with {folded_left}",
                    stored.grants.len(),
                    folded.grants.len()
                )
            }),
            (stored.open.holds != folded.open.holds).then(|| {
                let (stored, folded) = (&stored.open, &folded.open);
                let (stored_held, folded_held) = (reserved_credits(stored), reserved_credits(folded));
                format!(
                    "{} open holds of {stored_held} instead of {} of {folded_held}",
                    stored.holds.len(),
                    folded.holds.len()
                )
            }),
            (stored.open.clawed != folded.open.clawed)
                .then(|| format!("clawed back {:?} instead of {:?}", clawed(&stored.open), clawed(&folded.open))),
            (stored.open.forgiven != folded.open.forgiven)
                .then(|| format!("forgiven {:?} instead of {:?}", stored.open.forgiven, folded.open.forgiven)),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        Some(format!("the account does not match its entries: it has {}", parts.join(", ")))
    }
}

/// Clawed back credits as (sequence number of the grant, credits), for the report.
fn clawed(open: &Open) -> Vec<(i64, i64)> {
    open.clawed.iter().map(|(grant, credits)| (*grant, credits.0)).collect()
}

/// Remaining credits of open grants.
fn left_credits(open: &Open) -> Credits {
    Credits(open.grants.iter().fold(0, |sum, grant| sum.saturating_add(grant.remaining.0)))
}

fn reserved_credits(open: &Open) -> Credits {
    Credits(open.holds.iter().fold(0, |sum, hold| sum.saturating_add(hold.amount.0)))
}

async fn fold_page(db: &Db, page: Vec<StoredAccount>) -> Result<Vec<Folding>> {
    let mut foldings: Vec<Folding> = page.into_iter().map(Folding::new).collect();
    let places: HashMap<CustomerId, usize> =
        foldings.iter().enumerate().map(|(index, folding)| (folding.stored.customer_id.clone(), index)).collect();
    loop {
        let asked = next_round(&foldings);
        if asked.is_empty() {
            return Ok(foldings);
        }
        let ranges: Vec<EntryRange<'_>> = asked
            .iter()
            .map(|(index, upto)| EntryRange {
                customer_id: &foldings[*index].stored.customer_id,
                after: foldings[*index].folded.version,
                upto: *upto,
            })
            .collect();
        for (customer, entry) in check::check_entries(db.read(), &ranges).await? {
            if let Some(index) = places.get(&customer) {
                foldings[*index].fold_entry(entry);
            }
        }
        // Entries that the query did not return do not exist, so reading again would not help.
        for (index, upto) in asked {
            let folding = &mut foldings[index];
            if folding.stuck.is_none() && folding.folded.version < upto {
                folding.stuck = Some(format!("there is no entry {}", folding.folded.version + 1));
            }
        }
    }
}

/// The accounts to read next, each up to an entry, within the limit of a round.
fn next_round(foldings: &[Folding]) -> Vec<(usize, i64)> {
    let mut left = ENTRIES_ROUND_MAX;
    let mut asked = Vec::new();
    for (index, folding) in foldings.iter().enumerate() {
        let count = folding.missing_entries().min(left);
        if count > 0 {
            asked.push((index, folding.folded.version + count));
            left -= count;
        }
    }
    asked
}
