//! Expiry: which holds and grants of an account expire, and when the next one does.

use super::account::{Account, OpenGrant, OpenHold};
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
    /// expiry of an open hold or, while there are credits that no hold needs, of a grant with some on which no hold
    /// rests.
    ///
    /// It does not depend on the present, so the stored value stays valid until the account changes.
    pub fn next_settle_at_ms(&self) -> Option<TimeMs> {
        let holds = self.open.holds.iter().map(|hold| hold.expires_at_ms);
        // Those that expire soonest come first.
        let has_free = |(_, free): &(&OpenGrant, Credits)| *free > Credits::ZERO && self.available() > Credits::ZERO;
        let mut ending = self.free_of_holds().take_while(|(grant, _)| grant.expires_at_ms.is_some());
        let first = ending.find(has_free).and_then(|(grant, _)| grant.expires_at_ms);
        holds.chain(first).min()
    }

    /// The open grants, in the order of burning, with their credits on which no hold rests.
    ///
    /// A hold rests on the credits that expire soonest of those that were there when it was opened, because it would
    /// have spent these. Of several holds the oldest rests on them first.
    fn free_of_holds(&self) -> impl Iterator<Item = (&OpenGrant, Credits)> {
        let mut resting: Vec<(&OpenHold, Credits)> = self.open.holds.iter().map(|hold| (hold, hold.amount)).collect();
        self.open.grants.iter().map(move |grant| {
            let mut free = grant.remaining;
            for (_, left) in resting.iter_mut().filter(|(hold, _)| hold.may_rest_on(grant)) {
                let kept = free.min(*left);
                free -= kept;
                *left -= kept;
            }
            (grant, free)
        })
    }

    /// An expired grant with credits that no open hold rests on or needs, and their number.
    fn find_expired_grant(&self, now_ms: TimeMs) -> Option<(i64, Credits)> {
        let spendable = self.available().max(Credits::ZERO);
        // Most accounts have none, and need no more than a look at the first grant.
        self.open.grants.first().filter(|grant| grant.has_expired(now_ms))?;
        let ended = self.free_of_holds().take_while(|(grant, _)| grant.has_expired(now_ms));
        let mut ended = ended.map(|(grant, free)| (grant.seq, free.min(spendable)));
        ended.find(|(_, credits)| *credits > Credits::ZERO)
    }
}

impl Draft {
    /// Releases expired holds and expires grants. An expired grant keeps the credits on which an open hold rests, and
    /// those that one needs because others were taken back; they expire when the hold is released.
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
