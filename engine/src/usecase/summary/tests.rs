//! Compares the figures with their ledger, on an embedded database.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use super::*;
use crate::amount::Credits;
use crate::domain::catalogue::Plan;
use crate::domain::customer::Source;
use crate::domain::ledger::{Command, Entry, EntryKind, GrantKind, Op, decide};
use crate::ids::HoldId;
use crate::infra::seal::{SealBox, key_new};
use crate::infra::store::DbOptions;
use crate::infra::store::account::AccountWrite;
use crate::migrations::{Migrator, MigratorTrait};
use crate::usecase::onboard::{AddressRule, Signup, onboard};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tempfile::TempDir;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

const START_MS: TimeMs = 1_796_000_000_000;
/// Number of histories; each is checked at every millisecond.
const CASES: u32 = 48;

/// An empty database in a temporary folder.
async fn begin() -> (Db, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("summary").display());
    let db = Db::connect(&DbOptions::new(url)).await.unwrap();
    Migrator::up(db.write(), None).await.unwrap();
    (db, folder)
}

/// A customer without credits.
async fn customer(db: &Db) -> CustomerId {
    let seal = SealBox::new(&key_new()).unwrap();
    let email = format!("{}@example.com", HoldId::new().body());
    let plan = Plan { signup_credits: Credits::ZERO, ..Catalogue::built_in().entry_plan().clone() };
    let signup = Signup {
        email: &email,
        name: "Ada",
        source: Source::Direct,
        plan: &plan,
        marketplace_link: None,
        address: AddressRule::Assumed,
        per_mailbox_per_day: 0,
    };
    onboard(db, &seal, signup, START_MS).await.unwrap().customer.id
}

/// Writes the entries of commands at these times; returns the ledger. Refused commands are skipped.
async fn write(db: &Db, id: &CustomerId, commands: &[(TimeMs, Op)]) -> Vec<Entry> {
    let mut account = account::account_find(db.read(), id).await.unwrap().unwrap();
    let mut entries = Vec::new();
    for (at_ms, op) in commands {
        let command = Command { op: op.clone(), source: "usage".to_owned(), ..Command::settle() };
        if let Ok(decision) = decide(&account, &command, *at_ms) {
            account = decision.account;
            entries.extend(decision.entries);
        }
    }
    let write = AccountWrite { customer_id: id.clone(), expected_version: 0, account, entries: entries.clone() };
    account::account_update_many(db.write(), &[&write]).await.unwrap();
    account::entry_append_many(db.write(), &[&write]).await.unwrap();
    entries
}

fn grant(amount: i64) -> Op {
    Op::Grant { kind: GrantKind::Purchased, amount: Credits(amount), expires_at_ms: None }
}

/// The fold of all entries up to a moment.
fn folded(entries: &[Entry], at_ms: TimeMs) -> Standing {
    let mut account = Account::default();
    for entry in entries.iter().filter(|entry| entry.created_at_ms <= at_ms) {
        account.apply(entry);
    }
    Standing { balance: account.balance, held: account.held, seq: account.version }
}

/// Commands, each some time after the one before; skewed clocks sometimes go back.
fn histories() -> impl Strategy<Value = Vec<(i64, Op)>> {
    let op = prop_oneof![
        (1..20_i64, proptest::option::of(1..400_i64)).prop_map(|(amount, ends_ms)| Op::Grant {
            kind: GrantKind::Promotional,
            amount: Credits(amount),
            expires_at_ms: ends_ms.map(|ms| START_MS + ms),
        }),
        (1..8_i64).prop_map(|amount| Op::Debit { amount: Credits(amount) }),
        (1..8_i64, 1..500_i64).prop_map(|(amount, ends_ms)| Op::Hold {
            id: HoldId::new(),
            amount: Credits(amount),
            expires_at_ms: START_MS + ends_ms,
        }),
        (1..4_i64).prop_map(|amount| Op::Adjust {
            amount: Credits(-amount),
            reason: "r".to_owned(),
            expires_at_ms: None
        }),
        Just(Op::ClawBack {
            grant: 1,
            granted: Credits(6),
            returned: Vec::new(),
            total: Credits(6),
            unspent: Credits::ZERO,
            unspent_before: Credits::ZERO
        }),
    ];
    proptest::collection::vec((-3..12_i64, op), 0..40)
}

/// Asserts that every figure agrees with the entries.
async fn assert_agrees(db: &Db, moves: Vec<(i64, Op)>) {
    let mut at_ms = START_MS;
    let mut commands = Vec::new();
    for (wait_ms, op) in moves {
        at_ms += wait_ms;
        commands.push((at_ms, op));
    }
    let id = customer(db).await;
    let entries = write(db, &id, &commands).await;
    let last_ms = entries.last().map_or(START_MS, |entry| entry.created_at_ms);
    for at_ms in START_MS - 2..=last_ms + 2 {
        let found = balance_at(db, &id, at_ms, last_ms + 2).await.unwrap();
        assert_eq!(found, folded(&entries, at_ms), "at {at_ms}");
    }
    let summary = summary(db, &id, &CreditsConfig::default(), &Catalogue::built_in(), last_ms).await.unwrap();
    let sum = |kinds: &[EntryKind]| -> Credits {
        entries.iter().filter(|entry| kinds.contains(&entry.kind)).map(|entry| entry.amount).sum()
    };
    let expected = Totals {
        granted: sum(&[EntryKind::Grant]),
        spent: -sum(&[EntryKind::Debit, EntryKind::Capture]),
        expired: -sum(&[EntryKind::Expire]),
        clawed_back: -sum(&[EntryKind::ClawBack]),
        removed: -sum(&[EntryKind::Adjust]),
    };
    assert_eq!(summary.totals, expected);
    assert_eq!(summary.days.iter().map(|day| day.spent).sum::<Credits>(), expected.spent);
}

#[test]
fn the_balance_as_of_any_moment_is_the_fold_of_the_entries_by_then() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (db, _folder) = runtime.block_on(begin());
    let mut runner = TestRunner::new(ProptestConfig { cases: CASES, ..ProptestConfig::default() });
    let property = |moves| {
        runtime.block_on(assert_agrees(&db, moves));
        Ok(())
    };
    runner.run(&histories(), property).unwrap();
    runtime.block_on(db.close());
}

#[tokio::test]
async fn a_future_time_is_refused_and_the_balance_before_any_entry_is_zero() {
    let (db, _folder) = begin().await;
    let id = customer(&db).await;
    write(&db, &id, &[(START_MS + 10, grant(5))]).await;
    let refused = balance_at(&db, &id, START_MS + 21, START_MS + 20).await.unwrap_err();
    assert_eq!(refused.code(), Some("invalid_time"));
    let early = balance_at(&db, &id, 0, START_MS + 20).await.unwrap();
    assert_eq!(early, Standing { balance: Credits(0), held: Credits(0), seq: 0 });
    let unknown = balance_at(&db, &CustomerId::new(), START_MS, START_MS).await;
    assert!(matches!(unknown, Err(Error::NotFound(_))), "{unknown:?}");
    db.close().await;
}

#[test]
fn entries_dated_tomorrow_by_a_fast_clock_count_for_today() {
    let days_ms = [10 * DAY_MS, 11 * DAY_MS];
    let before = [Standing::default(), Standing { seq: 2, balance: Credits(4), held: Credits(0) }];
    // Six came in and two were spent; then nine came in, five of them dated tomorrow, and three were spent.
    let days = spent_by_day(&days_ms, &before, &[(10, Credits(6)), (11, Credits(4)), (12, Credits(5))], Credits(10));
    assert_eq!(days.iter().map(|day| day.spent.0).collect::<Vec<_>>(), [2, 3]);
}

#[tokio::test]
async fn figures_of_the_period_leave_out_what_came_before_it() {
    let (db, _folder) = begin().await;
    let id = customer(&db).await;
    // START is on the last day of a November.
    let december_ms = START_MS + DAY_MS;
    let commands = [
        (START_MS, grant(9)),
        (START_MS, Op::Debit { amount: Credits(2) }),
        (december_ms, Op::Debit { amount: Credits(3) }),
        (december_ms, Op::Adjust { amount: Credits(4), reason: "r".to_owned(), expires_at_ms: None }),
    ];
    write(&db, &id, &commands).await;
    let (config, catalogue) = (CreditsConfig::default(), Catalogue::built_in());
    let summary = summary(&db, &id, &config, &catalogue, december_ms).await.unwrap();
    let all = Totals { granted: Credits(13), spent: Credits(5), ..Totals::default() };
    assert_eq!(summary.totals, all);
    let period = Totals { granted: Credits(4), spent: Credits(3), ..Totals::default() };
    assert_eq!(summary.period_totals, period);
    let kinds: Vec<Option<&str>> = summary.flows.iter().map(|flow| flow.grant_kind.as_deref()).collect();
    assert_eq!(kinds, [Some("adjustment"), Some("purchased")]);
    let last: Vec<i64> = summary.days.iter().rev().take(3).map(|day| day.spent.0).collect();
    assert_eq!((last, summary.days.len()), (vec![3, 2, 0], 30));
    db.close().await;
}
