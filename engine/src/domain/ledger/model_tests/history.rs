//! Random histories of one account.

use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::ledger::{Account, Command, Decision, Entry, EntryKind, GrantKind, Op, Spend, decide};
use crate::error::Refusal;
use crate::ids::HoldId;
use proptest::collection::vec;
use proptest::prelude::*;
use std::ops::Range;

/// The next step of a random history. Holds and grants are picked from those made so far.
#[derive(Debug, Clone)]
pub(super) enum Move {
    Grant { kind: GrantKind, amount: Credits, ends_in_ms: Option<i64> },
    Debit { amount: Credits },
    Hold { amount: Credits, ends_in_ms: i64 },
    Capture { pick: usize, amount: Option<Credits> },
    Release { pick: usize },
    Adjust { amount: Credits },
    ClawBack { pick: usize, returned: Vec<usize>, total: Credits, unspent: Credits },
    TakeBack { amount: Credits, of: Option<Vec<usize>> },
    Exchange { amount: Credits, ends_in_ms: Option<i64>, taken: Credits, of: Option<Vec<usize>> },
    Reserve { amount: Credits },
    Unreserve { pick: usize },
    Purchase { amount: Credits, ends_in_ms: Option<i64>, reserved: Option<usize>, spend: Option<(Credits, bool)> },
    Reinstate { pick: usize, total: Credits, ends_in_ms: Option<i64> },
    WriteOff,
    Settle,
}

/// A command at a moment, with the account before it and its result.
pub(super) struct Step {
    pub before: Account,
    pub command: Command,
    pub now_ms: TimeMs,
    pub result: Result<Decision, Refusal>,
}

/// An account's history from the beginning.
pub(super) struct History {
    pub steps: Vec<Step>,
    pub account: Account,
    pub entries: Vec<Entry>,
}

fn kinds() -> impl Strategy<Value = GrantKind> {
    prop_oneof![
        Just(GrantKind::Promotional),
        Just(GrantKind::Adjustment),
        Just(GrantKind::Included),
        Just(GrantKind::Purchased)
    ]
}

fn credits(range: Range<i64>) -> impl Strategy<Value = Credits> {
    range.prop_map(Credits)
}

fn moves(claw_backs: bool) -> impl Strategy<Value = Move> {
    let claw_back = if claw_backs { 2 } else { 0 };
    prop_oneof![
        4 => (kinds(), credits(0..20), proptest::option::of(-5..80_i64))
            .prop_map(|(kind, amount, ends_in_ms)| Move::Grant { kind, amount, ends_in_ms }),
        4 => credits(-1..12).prop_map(|amount| Move::Debit { amount }),
        3 => (credits(0..12), -2..60_i64).prop_map(|(amount, ends_in_ms)| Move::Hold { amount, ends_in_ms }),
        2 => (any::<usize>(), proptest::option::of(credits(-1..12)))
            .prop_map(|(pick, amount)| Move::Capture { pick, amount }),
        1 => any::<usize>().prop_map(|pick| Move::Release { pick }),
        1 => credits(-6..6).prop_map(|amount| Move::Adjust { amount }),
        claw_back => claw_backs_of_some(),
        claw_back => prop_oneof![
            (any::<usize>(), credits(-2..12), proptest::option::of(-5..80_i64))
                .prop_map(|(pick, total, ends_in_ms)| Move::Reinstate { pick, total, ends_in_ms }),
            (credits(-1..12), picks()).prop_map(|(amount, of)| Move::TakeBack { amount, of }),
            (credits(0..12), proptest::option::of(1..80_i64), credits(0..12), picks())
                .prop_map(|(amount, ends_in_ms, taken, of)| Move::Exchange { amount, ends_in_ms, taken, of }),
        ],
        7 => purchases(),
        1 => prop_oneof![Just(Move::Settle), Just(Move::WriteOff)],
    ]
}

fn claw_backs_of_some() -> impl Strategy<Value = Move> {
    let unspent = prop_oneof![Just(Credits::ZERO), credits(0..25)];
    (any::<usize>(), vec(any::<usize>(), 0..3), credits(-2..25), unspent)
        .prop_map(|(pick, returned, total, unspent)| Move::ClawBack { pick, returned, total, unspent })
}

/// Some grants of those made so far, or nobody knows which.
fn picks() -> impl Strategy<Value = Option<Vec<usize>>> {
    proptest::option::of(vec(any::<usize>(), 0..3))
}

/// Purchases and what surrounds them.
fn purchases() -> impl Strategy<Value = Move> {
    let spend = proptest::option::of((credits(0..10), any::<bool>()));
    let (ends_in_ms, reserved) = (proptest::option::of(1..80_i64), proptest::option::of(any::<usize>()));
    let purchase = (credits(0..6), ends_in_ms, reserved, spend);
    prop_oneof![
        2 => credits(0..8).prop_map(|amount| Move::Reserve { amount }),
        1 => any::<usize>().prop_map(|pick| Move::Unreserve { pick }),
        4 => purchase.prop_map(|(amount, ends_in_ms, reserved, spend)| {
            Move::Purchase { amount, ends_in_ms, reserved, spend }
        }),
    ]
}

/// Moves with the time that passes before each.
pub(super) fn histories() -> impl Strategy<Value = Vec<(i64, Move)>> {
    vec((0..15_i64, moves(true)), 1..60)
}

pub(super) fn histories_without_claw_backs() -> impl Strategy<Value = Vec<(i64, Move)>> {
    vec((0..15_i64, moves(false)), 1..60)
}

/// Holds and grants made so far, for moves that pick from them.
#[derive(Default)]
struct Made {
    holds: Vec<HoldId>,
    grants: Vec<Grant>,
}

#[derive(Clone, Copy)]
struct Grant {
    seq: i64,
    amount: Credits,
    kind: GrantKind,
}

impl Made {
    fn op(&self, step: &Move, at: usize, now_ms: TimeMs) -> Option<Op> {
        let hold = |pick: usize| self.holds.get(pick % self.holds.len().max(1)).cloned();
        let grant = |pick: usize| self.grants.get(pick % self.grants.len().max(1)).copied();
        let seqs = |picks: Vec<usize>| picks.into_iter().filter_map(|pick| Some(grant(pick)?.seq)).collect();
        Some(match step.clone() {
            Move::Grant { kind, amount, ends_in_ms } => {
                Op::Grant { kind, amount, expires_at_ms: ends_in_ms.map(|ms| now_ms + ms) }
            }
            Move::Debit { amount } => Op::Debit { amount },
            Move::Hold { amount, ends_in_ms } => {
                Op::Hold { id: HoldId::trusted(format!("hld_{at}")), amount, expires_at_ms: now_ms + ends_in_ms }
            }
            Move::Capture { pick, amount } => Op::Capture { id: hold(pick)?, amount },
            Move::Release { pick } => Op::Release { id: hold(pick)? },
            Move::Adjust { amount } => Op::Adjust { amount, reason: "because".to_owned(), expires_at_ms: None },
            Move::ClawBack { pick, returned, total, unspent } => {
                let Grant { seq, amount, .. } = grant(pick)?;
                let (returned, unspent_before) = (seqs(returned), Credits::ZERO);
                Op::ClawBack { grant: seq, granted: amount, returned, total, unspent, unspent_before }
            }
            Move::TakeBack { amount, of } => Op::TakeBack { amount, of: of.map(seqs) },
            Move::Exchange { amount, ends_in_ms, taken, of } => {
                Op::Exchange { amount, expires_at_ms: ends_in_ms.map(|ms| now_ms + ms), taken, of: of.map(seqs) }
            }
            Move::Reinstate { pick, total, ends_in_ms } => {
                let Grant { seq, kind, .. } = grant(pick)?;
                let expires_at_ms = ends_in_ms.map(|ms| now_ms + ms);
                Op::Reinstate { grant: seq, kind, total, unspent: Credits::ZERO, of: None, expires_at_ms }
            }
            Move::Reserve { amount } => {
                Op::Reserve { id: HoldId::trusted(format!("hld_{at}")), amount, expires_at_ms: now_ms + 1_000_000 }
            }
            Move::Unreserve { pick } => Op::Unreserve { id: hold(pick)? },
            Move::Purchase { amount, ends_in_ms, reserved, spend } => Op::Purchase {
                amount,
                expires_at_ms: ends_in_ms.map(|ms| now_ms + ms),
                reserved: reserved.and_then(hold),
                spend: spend.map(|(amount, is_hold)| {
                    let hold = is_hold.then(|| (HoldId::trusted(format!("hld_{at}")), now_ms + 20));
                    Box::new(Spend { hold, ..*spend_of(amount, at) })
                }),
            },
            Move::WriteOff => Op::WriteOff { reason: "because".to_owned() },
            Move::Settle => Op::Settle,
        })
    }

    fn learn(&mut self, decision: &Decision) {
        for entry in &decision.entries {
            match entry.kind {
                EntryKind::Grant => {
                    let kind = entry.detail.grant_kind.expect("a grant has a kind");
                    self.grants.push(Grant { seq: entry.seq, amount: entry.amount, kind });
                }
                EntryKind::Hold => self.holds.extend(entry.hold_id.clone()),
                _ => {}
            }
        }
    }
}

fn spend_of(amount: Credits, at: usize) -> Box<Spend> {
    Box::new(Spend {
        amount,
        hold: None,
        source: "usage".to_owned(),
        reference: None,
        idempotency_key: format!("spend:{at}"),
        request_hash: None,
        metadata: None,
    })
}

pub(super) fn command(op: Op) -> Command {
    Command { source: "test".to_owned(), ..Command { op, ..Command::settle() } }
}

pub(super) fn run(moves: &[(i64, Move)], floor: i64) -> History {
    let mut account = Account { floor: Credits(floor), ..Account::default() };
    let mut history = History { steps: Vec::new(), account: account.clone(), entries: Vec::new() };
    let mut made = Made::default();
    let mut now_ms = 1_000;
    for (at, (wait_ms, step)) in moves.iter().enumerate() {
        now_ms += wait_ms;
        let Some(op) = made.op(step, at, now_ms) else { continue };
        let command = command(op);
        let before = account.clone();
        let result = decide(&before, &command, now_ms);
        if let Ok(decision) = &result {
            made.learn(decision);
            account = decision.account.clone();
            history.entries.extend(decision.entries.iter().cloned());
        }
        history.steps.push(Step { before, command, now_ms, result });
    }
    history.account = account;
    history
}

impl History {
    /// Each entry with the account before it.
    pub(super) fn entries_with_accounts(&self) -> Vec<(Account, Entry)> {
        let mut account = Account { floor: self.account.floor, ..Account::default() };
        let mut pairs = Vec::new();
        for entry in &self.entries {
            pairs.push((account.clone(), entry.clone()));
            account.apply(entry);
        }
        pairs
    }

    /// Credits of a grant.
    pub(super) fn granted(&self, seq: i64) -> Credits {
        self.entries.iter().find(|entry| entry.seq == seq && entry.kind == EntryKind::Grant).unwrap().amount
    }
}
