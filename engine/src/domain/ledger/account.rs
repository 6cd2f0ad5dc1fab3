//! The account: the sum of a customer's entries.

use super::entry::{Burn, Entry, EntryKind, GrantKind};
use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::ids::HoldId;
use serde::{Deserialize, Serialize};

/// Maximum number of open grants of an account; another one is refused.
pub const GRANTS_OPEN_MAX: usize = 1_000;
/// Maximum number of open holds of an account; another one is refused.
pub const HOLDS_OPEN_MAX: usize = 1_000;

/// A grant with credits left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenGrant {
    /// Sequence number of the grant's entry.
    pub seq: i64,
    /// The kind of its credits.
    pub kind: GrantKind,
    /// Credits left.
    pub remaining: Credits,
    /// When the remaining credits expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<TimeMs>,
}

impl OpenGrant {
    /// Whether it has expired.
    pub fn has_expired(&self, now_ms: TimeMs) -> bool {
        self.expires_at_ms.is_some_and(|at| at <= now_ms)
    }

    /// The order in which grants are burned: soonest expiry, free before paid, oldest.
    fn burn_order(&self) -> (TimeMs, GrantKind, i64) {
        (self.expires_at_ms.unwrap_or(TimeMs::MAX), self.kind, self.seq)
    }
}

/// A reservation that is neither captured nor released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenHold {
    /// The hold.
    pub id: HoldId,
    /// Reserved credits.
    pub amount: Credits,
    /// When it expires.
    pub expires_at_ms: TimeMs,
    /// Sequence number of its entry; 0 for one of a release that did not keep it.
    #[serde(default)]
    pub seq: i64,
    /// When it was opened.
    #[serde(default)]
    pub opened_at_ms: TimeMs,
}

impl OpenHold {
    /// Whether it may rest on credits of a grant: they were there when it was opened, and had not expired.
    pub fn may_rest_on(&self, grant: &OpenGrant) -> bool {
        grant.seq < self.seq && grant.expires_at_ms.is_none_or(|at_ms| at_ms > self.opened_at_ms)
    }
}

/// The open grants and holds of an account. Stored as JSON beside the numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Grants with credits left, in the order in which they will be burned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<OpenGrant>,
    /// Open holds, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<OpenHold>,
    /// Credits clawed back so far for each grant: (sequence number of the grant, total).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clawed: Vec<(i64, Credits)>,
    /// The parts of the debt that claw backs made, oldest first: (sequence number of the grant, credits that are not
    /// paid). Empty without a debt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<(i64, Credits)>,
    /// Clawed back credits of each grant that were owed and written off: (sequence number of the grant, total). They do
    /// not come back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forgiven: Vec<(i64, Credits)>,
    /// Whether support has suspended the account: nothing is spent or reserved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
}

/// A customer's account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// All credits the customer owns; negative is debt.
    pub balance: Credits,
    /// The part of the balance that open holds reserve.
    pub held: Credits,
    /// Sequence number of the last entry; guards every write.
    pub version: i64,
    /// When the last entry was decided; later entries are not earlier.
    pub last_entry_at_ms: TimeMs,
    /// Customer commands keep `balance - held` at or above this.
    pub floor: Credits,
    /// Open grants and holds.
    pub open: Open,
}

impl Account {
    /// Credits that can be spent now.
    pub fn available(&self) -> Credits {
        self.balance - self.held
    }

    /// Bytes that the account takes on the heap, without the allocator's rounding.
    pub fn heap_bytes(&self) -> usize {
        let holds = self.open.holds.capacity() * size_of::<OpenHold>();
        let hold_ids: usize = self.open.holds.iter().map(|hold| hold.id.as_str().len()).sum();
        let grants = self.open.grants.capacity() * size_of::<OpenGrant>();
        let open = &self.open;
        let totals = open.clawed.capacity() + open.owed.capacity() + open.forgiven.capacity();
        grants + holds + hold_ids + totals * size_of::<(i64, Credits)>()
    }

    /// What remains of some grants.
    pub fn remaining_of(&self, grants: &[i64]) -> Credits {
        let is_of_these = |open: &&OpenGrant| grants.contains(&open.seq);
        self.open.grants.iter().filter(is_of_these).map(|open| open.remaining).sum()
    }

    /// Credits clawed back from a grant so far.
    pub fn clawed_back(&self, grant: i64) -> Credits {
        self.open.clawed.iter().find(|(seq, _)| *seq == grant).map_or(Credits::ZERO, |(_, total)| *total)
    }

    fn set_clawed_back(&mut self, grant: i64, total: Credits) {
        self.open.clawed.retain(|(seq, _)| *seq != grant);
        if total > Credits::ZERO {
            self.open.clawed.push((grant, total));
        }
    }

    /// Clawed back credits of a grant that were owed and written off.
    pub fn forgiven(&self, grant: i64) -> Credits {
        self.open.forgiven.iter().find(|(seq, _)| *seq == grant).map_or(Credits::ZERO, |(_, total)| *total)
    }

    fn set_forgiven(&mut self, grant: i64, total: Credits) {
        self.open.forgiven.retain(|(seq, _)| *seq != grant);
        if total > Credits::ZERO {
            self.open.forgiven.push((grant, total));
        }
    }

    /// The debt that each grant's claw backs made and that is not paid.
    pub(super) fn owed_of_grants(&self) -> Vec<Burn> {
        by_grant(self.open.owed.iter().copied())
    }

    /// The debts of claw backs that a grant of so many credits pays, for each grant whose claw backs made them. `first`
    /// is the grant whose credits it returns.
    pub(super) fn plan_payment(&self, amount: Credits, first: Option<i64>) -> Vec<Burn> {
        if self.open.owed.is_empty() {
            return Vec::new();
        }
        by_grant(self.clone().pay_owed(self.debt_paid_by(amount), first))
    }

    /// What a grant of so many credits pays of the debt.
    fn debt_paid_by(&self, amount: Credits) -> Credits {
        (-self.balance).max(Credits::ZERO).min(amount)
    }

    /// Pays a debt that claw backs made, that of the grant `first` before others. A debt of another origin is paid
    /// last. Returns what it paid of each.
    fn pay_owed(&mut self, mut credits: Credits, first: Option<i64>) -> Vec<(i64, Credits)> {
        let mut payments = Vec::new();
        let mut pay = |is_due: &dyn Fn(i64) -> bool| {
            for (grant, owed) in self.open.owed.iter_mut().filter(|(grant, _)| is_due(*grant)) {
                let paid = credits.min(*owed);
                *owed -= paid;
                credits -= paid;
                payments.push((*grant, paid));
            }
        };
        pay(&|grant| Some(grant) == first);
        pay(&|_| true);
        self.open.owed.retain(|(_, owed)| *owed > Credits::ZERO);
        payments
    }

    /// The grants that `credits` would be burned from, starting with those that are `first`. Credits beyond all
    /// grants are debt and part of no burn.
    pub fn plan_burn_starting_with(&self, credits: Credits, first: impl Fn(&OpenGrant) -> bool) -> Vec<Burn> {
        self.plan_burn_by(credits, |grant| u8::from(!first(grant)))
    }

    /// Like [`plan_burn_starting_with`](Self::plan_burn_starting_with), with the grants of a lower rank before those of
    /// a higher one.
    pub fn plan_burn_by(&self, credits: Credits, rank: impl Fn(&OpenGrant) -> u8) -> Vec<Burn> {
        let (mut left, mut plan) = (credits, Vec::new());
        let mut grants: Vec<&OpenGrant> = self.open.grants.iter().collect();
        grants.sort_by_key(|grant| rank(grant));
        for grant in grants {
            let taken = left.min(grant.remaining);
            if taken > Credits::ZERO {
                plan.push(Burn { grant: grant.seq, credits: taken });
            }
            left -= taken;
        }
        plan
    }

    /// Applies the next entry. Entries are facts: this never refuses.
    pub fn apply(&mut self, entry: &Entry) {
        match entry.kind {
            EntryKind::Grant => self.open_grant(entry),
            EntryKind::Hold => self.open.holds.push(OpenHold {
                id: entry.hold_id.clone().unwrap_or_else(|| HoldId::trusted(String::new())),
                amount: entry.held_delta,
                expires_at_ms: entry.detail.expires_at_ms.unwrap_or(TimeMs::MAX),
                seq: entry.seq,
                opened_at_ms: entry.created_at_ms,
            }),
            EntryKind::Capture | EntryKind::Release => {
                self.open.holds.retain(|hold| Some(&hold.id) != entry.hold_id.as_ref());
            }
            EntryKind::ClawBack => {
                if let Some(grant) = entry.detail.grant {
                    self.set_clawed_back(grant, self.clawed_back(grant) - entry.amount);
                    self.owe(grant, entry);
                }
            }
            EntryKind::Terms => {
                for burn in entry.detail.forgiven.iter().filter(|burn| entry.detail.grant == Some(burn.grant)) {
                    self.set_clawed_back(burn.grant, self.clawed_back(burn.grant) - burn.credits);
                    self.set_forgiven(burn.grant, self.forgiven(burn.grant) - burn.credits);
                }
                self.floor = entry.detail.floor.unwrap_or(self.floor);
                self.open.suspended = entry.detail.suspended.unwrap_or(self.open.suspended);
            }
            EntryKind::Debit | EntryKind::Adjust | EntryKind::Expire => {}
        }
        self.burn(&entry.detail.burned);
        self.balance = entry.balance_after;
        self.held = entry.held_after;
        self.version = entry.seq;
        self.last_entry_at_ms = entry.created_at_ms;
    }

    /// Notes the debt that a claw back of a grant made: what no grant had left for it.
    fn owe(&mut self, grant: i64, entry: &Entry) {
        let burned: Credits = entry.detail.burned.iter().map(|burn| burn.credits).sum();
        let owed = -entry.amount - burned;
        match self.open.owed.last_mut() {
            _ if owed <= Credits::ZERO => {}
            Some((last, credits)) if *last == grant => *credits += owed,
            _ => self.open.owed.push((grant, owed)),
        }
    }

    fn open_grant(&mut self, entry: &Entry) {
        if let Some(reinstated) = entry.detail.grant {
            self.set_clawed_back(reinstated, self.clawed_back(reinstated) - entry.amount);
        }
        self.set_clawed_back(entry.seq, entry.detail.withheld);
        let paid = self.debt_paid_by(entry.amount);
        for burn in &entry.detail.forgiven {
            self.set_forgiven(burn.grant, self.forgiven(burn.grant) + burn.credits);
        }
        self.pay_owed(paid, entry.detail.grant);
        let remaining = entry.amount - paid;
        if remaining == Credits::ZERO {
            return;
        }
        let grant = OpenGrant {
            seq: entry.seq,
            kind: entry.detail.grant_kind.unwrap_or(GrantKind::Adjustment),
            remaining,
            expires_at_ms: entry.detail.expires_at_ms,
        };
        let at = self.open.grants.partition_point(|open| open.burn_order() < grant.burn_order());
        self.open.grants.insert(at, grant);
    }

    pub(super) fn burn(&mut self, burned: &[Burn]) {
        for burn in burned {
            if let Some(grant) = self.open.grants.iter_mut().find(|grant| grant.seq == burn.grant) {
                grant.remaining -= burn.credits;
            }
        }
        if !burned.is_empty() {
            self.open.grants.retain(|grant| grant.remaining > Credits::ZERO);
        }
    }
}

/// The sums of each grant's credits, without those of nothing.
fn by_grant(parts: impl IntoIterator<Item = (i64, Credits)>) -> Vec<Burn> {
    let mut sums: Vec<Burn> = Vec::new();
    for (grant, credits) in parts.into_iter().filter(|(_, credits)| *credits > Credits::ZERO) {
        match sums.iter_mut().find(|burn| burn.grant == grant) {
            Some(same) => same.credits += credits,
            None => sums.push(Burn { grant, credits }),
        }
    }
    sums
}
