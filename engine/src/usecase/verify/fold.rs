//! Obligation 1, the part that arithmetic cannot prove: folding an account's entries with the
//! ledger's own rules gives the stored account, with its open grants and holds.

use super::CheckReport;
use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::ledger::{Account, Entry, Open};
use crate::error::Result;
use crate::ids::CustomerId;
use crate::infra::store::Db;
use crate::infra::store::check::{self, EntryRange, ReadEntry, StoredAccount};
use std::collections::HashMap;

pub(super) const NAME: &str = "folding an account's entries gives its balance, its open grants and its open holds";
/// Obligation 5, as far as it needs the ledger's rules.
pub(super) const SETTLE_NAME: &str = "every account is found when the first of its open holds and grants ends";
/// Checks that one pass over the accounts makes.
pub(super) const CHECKS: usize = 2;
/// Accounts in memory at once.
const ACCOUNTS_PAGE: u64 = 200;
/// Entries in memory at once. A long ledger is folded in several rounds.
const ENTRIES_ROUND_MAX: i64 = 10_000;

/// Folds every account, and looks at when the sweep finds it. `progress` gets the accounts done and how many
/// there are, about.
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
        page.iter().filter_map(wrong_settle).for_each(|problem| settle.add(problem));
        for folding in fold_page(db, page).await? {
            if let Some(problem) = folding.problem() {
                report.add(format!("{}: {problem}", folding.stored.customer_id));
            }
        }
    }
}

/// What the sweep would get wrong: it finds accounts by a time that follows from what is open.
fn wrong_settle(stored: &StoredAccount) -> Option<String> {
    let (found, right) = (stored.next_settle_at_ms, stored.account.next_settle_at_ms());
    let in_words = |at_ms: Option<TimeMs>| at_ms.map_or_else(|| "never".to_owned(), |at| format!("at {at}"));
    let is_wrong = stored.unreadable.is_none() && found != right;
    let (id, found, right) = (&stored.customer_id, in_words(found), in_words(right));
    is_wrong.then(|| format!("{id}: is to be settled {right} and is found {found}"))
}

/// One account on its way from its first entry to its stored version.
struct Folding {
    stored: StoredAccount,
    folded: Account,
    /// Why it cannot go on.
    stuck: Option<String>,
}

impl Folding {
    fn new(stored: StoredAccount) -> Self {
        let folded = Account { floor: stored.account.floor, ..Account::default() };
        let stuck = stored.unreadable.as_ref().map(|why| format!("what is open cannot be read: {why}"));
        Self { stored, folded, stuck }
    }

    fn missing(&self) -> i64 {
        if self.stuck.is_some() { 0 } else { self.stored.account.version.saturating_sub(self.folded.version) }
    }

    fn take(&mut self, entry: ReadEntry) {
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
        self.folded.apply(entry);
        let account = &self.folded;
        let (left, reserved) = (left(&account.open), reserved(&account.open));
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

    /// What is wrong with the account, if anything is.
    fn problem(&self) -> Option<String> {
        if self.stuck.is_some() {
            return self.stuck.clone();
        }
        let (stored, folded) = (&self.stored.account, &self.folded);
        if stored == folded {
            return None;
        }
        let parts = [
            (stored.version != folded.version).then(|| format!("version {} for {}", stored.version, folded.version)),
            (stored.balance != folded.balance).then(|| format!("balance {} for {}", stored.balance, folded.balance)),
            (stored.held != folded.held).then(|| format!("held {} for {}", stored.held, folded.held)),
            (stored.open.grants != folded.open.grants).then(|| {
                let (stored, folded) = (&stored.open, &folded.open);
                let (one, other) = (left(stored), left(folded));
                format!("{} open grants with {one} left for {} with {other}", stored.grants.len(), folded.grants.len())
            }),
            (stored.open.holds != folded.open.holds).then(|| {
                let (stored, folded) = (&stored.open, &folded.open);
                let (one, other) = (reserved(stored), reserved(folded));
                format!("{} open holds of {one} for {} of {other}", stored.holds.len(), folded.holds.len())
            }),
            (stored.open.clawed != folded.open.clawed)
                .then(|| format!("clawed back {:?} for {:?}", clawed(&stored.open), clawed(&folded.open))),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        Some(format!("the account has {}, which its entries make", parts.join(", ")))
    }
}

/// Clawed back credits as (sequence number of the grant, credits), for the report.
fn clawed(open: &Open) -> Vec<(i64, i64)> {
    open.clawed.iter().map(|(grant, credits)| (*grant, credits.0)).collect()
}

/// Credits left in open grants.
fn left(open: &Open) -> Credits {
    Credits(open.grants.iter().fold(0, |sum, grant| sum.saturating_add(grant.remaining.0)))
}

/// Credits that open holds reserve.
fn reserved(open: &Open) -> Credits {
    Credits(open.holds.iter().fold(0, |sum, hold| sum.saturating_add(hold.amount.0)))
}

async fn fold_page(db: &Db, page: Vec<StoredAccount>) -> Result<Vec<Folding>> {
    let mut foldings: Vec<Folding> = page.into_iter().map(Folding::new).collect();
    let places: HashMap<CustomerId, usize> =
        foldings.iter().enumerate().map(|(at, folding)| (folding.stored.customer_id.clone(), at)).collect();
    loop {
        let asked = next_round(&foldings);
        if asked.is_empty() {
            return Ok(foldings);
        }
        let ranges: Vec<EntryRange<'_>> = asked
            .iter()
            .map(|(at, upto)| EntryRange {
                customer_id: &foldings[*at].stored.customer_id,
                after: foldings[*at].folded.version,
                upto: *upto,
            })
            .collect();
        for (customer, entry) in check::check_entries(db.read(), &ranges).await? {
            if let Some(at) = places.get(&customer) {
                foldings[*at].take(entry);
            }
        }
        // Whoever did not get all of its range will never get it.
        for (at, upto) in asked {
            let folding = &mut foldings[at];
            if folding.stuck.is_none() && folding.folded.version < upto {
                folding.stuck = Some(format!("there is no entry {}", folding.folded.version + 1));
            }
        }
    }
}

/// Which accounts to read on, and up to which entry, so that the round stays within its bound.
fn next_round(foldings: &[Folding]) -> Vec<(usize, i64)> {
    let mut left = ENTRIES_ROUND_MAX;
    let mut asked = Vec::new();
    for (at, folding) in foldings.iter().enumerate() {
        let count = folding.missing().min(left);
        if count > 0 {
            asked.push((at, folding.folded.version + count));
            left -= count;
        }
    }
    asked
}
