//! Expiry: which holds and grants of an account expire, and when the next one does.

use super::account::Account;
use super::command::Command;
use super::decide::Draft;
use super::entry::{Burn, Detail, EntryKind};
use crate::amount::Credits;
use crate::clock::TimeMs;

impl Account {
    /// The account at `now_ms`, without expired holds and grants that no decision has settled yet. Only for
    /// reading; the next decision writes it.
    #[must_use]
    pub fn settled(&self, now_ms: TimeMs) -> Self {
        let mut draft = Draft::new(self, now_ms);
        draft.settle();
        draft.account
    }

    /// When the account must next be settled, if it does not change before; `None` if never. That is the earliest
    /// expiry of an open hold or, while there are credits that no hold needs, of a grant: a hold keeps the expired
    /// credits that it rests on.
    ///
    /// It does not depend on the present, so the stored value stays valid until the account changes.
    pub fn next_settle_at_ms(&self) -> Option<TimeMs> {
        let holds = self.open.holds.iter().map(|hold| hold.expires_at_ms);
        let grants = self
            .open
            .grants
            .iter()
            .filter(|_| self.available() > Credits::ZERO)
            .filter_map(|grant| grant.expires_at_ms);
        holds.chain(grants).min()
    }

    /// An expired grant with credits that no open hold needs, and their number.
    fn find_expired_grant(&self, now_ms: TimeMs) -> Option<(i64, Credits)> {
        let spendable = self.available().max(Credits::ZERO);
        let ended = self.open.grants.iter().filter(|grant| grant.has_expired(now_ms));
        ended.map(|grant| (grant.seq, grant.remaining.min(spendable))).find(|(_, credits)| *credits > Credits::ZERO)
    }
}

impl Draft {
    /// Releases expired holds and expires grants. A hold reserves a number of credits, not particular ones: it
    /// rests on those that expire last, and an expired grant keeps only credits that an open hold cannot find
    /// elsewhere.
    pub(super) fn settle(&mut self) {
        let command = Command::settle();
        while let Some(hold) = self.account.open.holds.iter().find(|hold| hold.expires_at_ms <= self.now_ms).cloned() {
            let detail = Detail { reason: Some("expired".to_owned()), ..Detail::default() };
            self.push(&command, EntryKind::Release, (Credits::ZERO, -hold.amount), Some(&hold.id), detail);
        }
        while let Some((grant, credits)) = self.account.find_expired_grant(self.now_ms) {
            let detail = Detail { burned: vec![Burn { grant, credits }], grant: Some(grant), ..Detail::default() };
            self.push(&command, EntryKind::Expire, (-credits, Credits::ZERO), None, detail);
        }
    }
}

#[cfg(test)]
mod tests;
