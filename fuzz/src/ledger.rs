//! Commands to one account. The input is a list of commands of a few bytes each: what to do, how much time has passed,
//! and the numbers.
//!
//! The claims are those that hold of every ledger: entries without gaps whose sum is the balance, no spending below the
//! floor, no capture beyond its hold, no claw back beyond its grant. The engine's own tests compare random histories
//! with a model; here the amounts and the times may be the largest that there are, and the fuzzer looks for the order.

mod commands;

use bursar_engine::amount::Credits;
use bursar_engine::domain::ledger::{Account, Command, Detail, Entry, EntryKind, Op, Open, OpenGrant, decide};
use bursar_engine::error::Refusal;
use commands::Commands;
use std::collections::BTreeMap;

/// Checks the claims. Returns whether a command was accepted.
pub fn run(data: &[u8]) -> bool {
    let mut ledger = Ledger::default();
    let mut commands = Commands::new(data);
    while let Some((command, now_ms)) = commands.next(&ledger.account) {
        if let Some(entries) = ledger.act(&command, now_ms) {
            commands.learn(&entries);
        }
    }
    ledger.account.version > 0
}

/// An account with what its entries say in sum.
#[derive(Default)]
struct Ledger {
    account: Account,
    /// Credits that each grant gave, with those that were withheld.
    granted: BTreeMap<i64, Credits>,
    /// Credits that were taken from each grant.
    burned: BTreeMap<i64, Credits>,
}

impl Ledger {
    /// Decides a command. Returns the new entries; `None` if it is refused.
    fn act(&mut self, command: &Command, now_ms: i64) -> Option<Vec<Entry>> {
        let decided = decide(&self.account, command, now_ms);
        assert_eq!(decide(&self.account, command, now_ms), decided, "nothing else decides");
        let before = self.account.clone();
        let decision = match decided {
            Ok(decision) => decision,
            Err(refusal) => {
                assert!(!refusal.to_string().is_empty());
                return None;
            }
        };
        assert!(!decision.entries.is_empty(), "what is done is in the ledger: {command:?}");
        for entry in &decision.entries {
            self.check_entry(entry);
            self.account.apply(entry);
            self.add(entry);
            self.check_account();
        }
        assert_eq!(self.account, decision.account, "the entries make the account");
        if before.open.suspended {
            assert!(!matches!(command.op, Op::Debit { .. } | Op::Hold { .. }), "a suspended customer spends nothing");
        }
        self.check_settling(now_ms);
        Some(decision.entries)
    }

    /// What one entry may say, from the account before it.
    fn check_entry(&self, entry: &Entry) {
        let before = &self.account;
        assert_eq!(entry.seq, before.version + 1, "no gaps");
        assert_eq!(entry.balance_after, before.balance + entry.amount);
        assert_eq!(entry.held_after, before.held + entry.held_delta);
        assert!(entry.created_at_ms >= before.last_entry_at_ms, "times never go back");
        let available = entry.balance_after - entry.held_after;
        match entry.kind {
            EntryKind::Debit | EntryKind::Hold if entry.detail.paid_by.is_some() => {}
            EntryKind::Debit | EntryKind::Hold | EntryKind::Adjust => assert!(available >= before.floor, "{entry:?}"),
            EntryKind::Capture | EntryKind::Release => {
                let hold = before.open.holds.iter().find(|hold| Some(&hold.id) == entry.hold_id.as_ref());
                let hold = hold.expect("an open hold");
                assert!(-entry.amount <= hold.amount, "a capture exceeds its hold: {entry:?}");
                assert_eq!(-entry.held_delta, hold.amount, "the whole hold is freed");
            }
            EntryKind::Expire => assert!(entry.balance_after >= entry.held_after, "a hold needs them: {entry:?}"),
            EntryKind::Grant | EntryKind::ClawBack | EntryKind::Terms => {}
        }
        let burned: Credits = entry.detail.burned.iter().map(|burn| burn.credits).sum();
        assert!(burned <= (-entry.amount).max(Credits::ZERO), "more is burned than spent: {entry:?}");
        let text = serde_json::to_string(&entry.detail).expect("plain data");
        assert_eq!(serde_json::from_str::<Detail>(&text).ok().as_ref(), Some(&entry.detail), "{text}");
    }

    fn add(&mut self, entry: &Entry) {
        if entry.kind == EntryKind::Grant {
            self.granted.insert(entry.seq, entry.granted());
        }
        for burn in &entry.detail.burned {
            *self.burned.entry(burn.grant).or_default() += burn.credits;
        }
    }

    /// What holds of every account.
    fn check_account(&self) {
        let Account { balance, held, open, .. } = &self.account;
        let left: Credits = open.grants.iter().map(|grant| grant.remaining).sum();
        assert_eq!(left, (*balance).max(Credits::ZERO), "open grants add up to the balance");
        assert!(open.grants.iter().all(|grant| grant.remaining > Credits::ZERO));
        assert!(open.grants.is_sorted_by_key(burn_order), "grants stand in the order of burning");
        assert_eq!(open.holds.iter().map(|hold| hold.amount).sum::<Credits>(), *held);
        assert!(open.holds.iter().all(|hold| hold.amount > Credits::ZERO));
        let owed: Credits = open.owed.iter().map(|(_, credits)| *credits).sum();
        assert!(owed <= (-*balance).max(Credits::ZERO), "claw backs made {owed} of a debt of {balance}");
        for (grant, burned) in &self.burned {
            assert!(*burned <= self.given(*grant), "grant {grant} funds more than it gave");
        }
        for (grant, clawed) in &open.clawed {
            assert!((Credits(1)..=self.given(*grant)).contains(clawed), "{clawed} of grant {grant} are taken back");
        }
    }

    fn given(&self, grant: i64) -> Credits {
        self.granted.get(&grant).copied().unwrap_or_default()
    }

    /// Settling has something to do exactly from the moment that the account names, and what is open reads back.
    fn check_settling(&self, now_ms: i64) {
        let next_ms = self.account.next_settle_at_ms();
        for at_ms in [now_ms, next_ms.unwrap_or(i64::MAX).saturating_sub(1), i64::MAX - 1].into_iter().chain(next_ms) {
            let settled = decide(&self.account, &Command::settle(), at_ms);
            let is_due = next_ms.is_some_and(|next_ms| next_ms <= at_ms);
            assert_eq!(settled.is_ok(), is_due, "at {at_ms}: {:?}", self.account);
            assert!(settled.is_ok() || settled == Err(Refusal::NothingToDo));
        }
        let text = serde_json::to_string(&self.account.open).expect("plain data");
        assert_eq!(serde_json::from_str::<Open>(&text).ok().as_ref(), Some(&self.account.open), "{text}");
    }
}

fn burn_order(grant: &OpenGrant) -> (i64, bursar_engine::domain::ledger::GrantKind, i64) {
    (grant.expires_at_ms.unwrap_or(i64::MAX), grant.kind, grant.seq)
}
