//! Properties of the ledger's rules over random histories. The first compares them with a model without entries and
//! burn plans: a heap of single credits, each with the grant that gave it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

pub(super) mod example;
mod history;
mod model;

use super::*;
use crate::amount::{Credits, UNITS_MAX};
use crate::clock::TimeMs;
use crate::error::Refusal;
use history::{command, histories, histories_without_claw_backs, run};
use model::Model;
use proptest::collection::vec;
use proptest::prelude::*;

fn left(account: &Account) -> Credits {
    account.open.grants.iter().map(|grant| grant.remaining).sum()
}

/// The account without the numbers and times of entries, which depend on when and how often it was settled.
fn without_numbers(account: &Account) -> Account {
    let mut account = Account { version: 0, last_entry_at_ms: 0, ..account.clone() };
    account.open.grants.iter_mut().for_each(|grant| grant.seq = 0);
    account.open.holds.iter_mut().for_each(|hold| hold.seq = 0);
    let open = &mut account.open;
    let totals = open.clawed.iter_mut().chain(&mut open.owed).chain(&mut open.forgiven);
    totals.for_each(|(grant, _)| *grant = 0);
    account
}

/// Whether a purchase spends by this entry.
fn is_of_a_purchase(entry: &Entry) -> bool {
    entry.detail.paid_by.is_some() || entry.idempotency_key.as_ref().is_some_and(|key| key.starts_with("spend:"))
}

proptest! {
    #[test]
    fn the_account_agrees_with_a_model_of_single_credits(moves in histories(), floor in -5..3_i64) {
        let mut model = Model::new(floor);
        for step in run(&moves, floor).steps {
            let expected = model.act(&step.command.op, step.now_ms);
            match &step.result {
                Ok(decision) => {
                    prop_assert_eq!(Ok(()), expected);
                    model.learn(&decision.entries);
                    prop_assert_eq!(model.view(), Model::view_of(&decision.account));
                }
                Err(refusal) => prop_assert_eq!(Err(refusal.clone()), expected),
            }
        }
    }

    #[test]
    fn entries_are_gapless_and_the_balance_is_their_sum(moves in histories(), floor in -5..3_i64) {
        let history = run(&moves, floor);
        let (mut balance, mut held) = (Credits::ZERO, Credits::ZERO);
        for (seq, entry) in (1..).zip(&history.entries) {
            balance += entry.amount;
            held += entry.held_delta;
            prop_assert_eq!((entry.seq, entry.balance_after, entry.held_after), (seq, balance, held));
        }
        prop_assert_eq!(history.account.version, history.entries.len() as i64);
        prop_assert_eq!((history.account.balance, history.account.held), (balance, held));
    }

    #[test]
    fn the_times_of_a_ledger_never_go_back_even_if_the_clock_does(
        moves in histories(),
        back_ms in vec(0..50_i64, 60),
    ) {
        let mut account = Account::default();
        let mut entries = Vec::new();
        for (step, back_ms) in run(&moves, 0).steps.iter().zip(back_ms) {
            if let Ok(decision) = decide(&account, &step.command, step.now_ms - back_ms) {
                account = decision.account;
                entries.extend(decision.entries);
            }
        }
        prop_assert!(entries.is_sorted_by_key(|entry| entry.created_at_ms));
        prop_assert_eq!(account.last_entry_at_ms, entries.last().map_or(0, |entry| entry.created_at_ms));
    }

    #[test]
    fn folding_the_entries_gives_the_account_that_was_decided(moves in histories(), floor in -5..3_i64) {
        let history = run(&moves, floor);
        let mut folded = Account { floor: Credits(floor), ..Account::default() };
        for entry in &history.entries {
            folded.apply(entry);
        }
        prop_assert_eq!(folded, history.account);
    }

    #[test]
    fn after_every_entry_open_grants_add_up_to_the_balance_and_open_holds_to_what_is_held(
        moves in histories(),
        floor in -5..3_i64,
    ) {
        let history = run(&moves, floor);
        for (mut account, entry) in history.entries_with_accounts() {
            account.apply(&entry);
            prop_assert_eq!(left(&account), account.balance.max(Credits::ZERO));
            prop_assert!(account.open.grants.iter().all(|grant| grant.remaining > Credits::ZERO));
            prop_assert_eq!(account.open.holds.iter().map(|hold| hold.amount).sum::<Credits>(), account.held);
        }
    }

    #[test]
    fn no_customer_command_takes_what_is_available_below_the_floor(moves in histories(), floor in -5..3_i64) {
        for (before, entry) in run(&moves, floor).entries_with_accounts() {
            let available = entry.balance_after - entry.held_after;
            match entry.kind {
                EntryKind::Debit | EntryKind::Hold if entry.detail.paid_by.is_some() => {}
                EntryKind::Debit | EntryKind::Hold | EntryKind::Adjust => prop_assert!(available.0 >= floor),
                EntryKind::Capture | EntryKind::Release => prop_assert!(available >= before.available()),
                EntryKind::Grant | EntryKind::ClawBack | EntryKind::Expire | EntryKind::Terms => {}
            }
        }
    }

    #[test]
    fn a_capture_never_exceeds_its_hold_and_frees_all_of_it(moves in histories()) {
        for (before, entry) in run(&moves, 0).entries_with_accounts() {
            if matches!(entry.kind, EntryKind::Capture | EntryKind::Release) {
                let hold = before.open.holds.iter().find(|hold| Some(&hold.id) == entry.hold_id.as_ref()).unwrap();
                prop_assert!(-entry.amount <= hold.amount);
                prop_assert_eq!(-entry.held_delta, hold.amount);
            }
        }
    }

    #[test]
    fn a_claw_back_never_takes_more_than_was_granted_however_often_it_is_told(moves in histories()) {
        let history = run(&moves, 0);
        for (grant, total) in &history.account.open.clawed {
            let entries = history.entries.iter().filter(|entry| entry.kind == EntryKind::ClawBack);
            let own = entries.filter(|entry| entry.detail.grant == Some(*grant));
            let grants = history.entries.iter().filter(|entry| entry.kind == EntryKind::Grant);
            let reinstated = grants.filter(|entry| entry.detail.grant == Some(*grant));
            let reinstated: Credits = reinstated.map(|entry| entry.amount).sum();
            let terms = history.entries.iter().filter(|entry| entry.kind == EntryKind::Terms);
            let forgiven = terms.flat_map(|entry| &entry.detail.forgiven).filter(|burn| burn.grant == *grant);
            let forgiven: Credits = forgiven.map(|burn| burn.credits).sum();
            let taken = own.map(|entry| -entry.amount).sum::<Credits>() - reinstated - forgiven;
            prop_assert_eq!(taken, *total);
            prop_assert!((Credits(1)..=history.granted(*grant)).contains(&taken));
        }
        for step in &history.steps {
            if let (Op::ClawBack { .. }, Ok(decision)) = (&step.command.op, &step.result) {
                let repeated = decide(&decision.account, &step.command, step.now_ms);
                prop_assert_eq!(repeated, Err(Refusal::NothingToDo));
            }
        }
    }

    #[test]
    fn what_claw_backs_made_of_the_debt_is_never_more_than_the_debt_nor_forgiven_twice(
        moves in histories(),
        floor in -5..3_i64,
    ) {
        let history = run(&moves, floor);
        for (mut account, entry) in history.entries_with_accounts() {
            account.apply(&entry);
            let owed: Credits = account.open.owed.iter().map(|(_, credits)| *credits).sum();
            prop_assert!(owed <= (-account.balance).max(Credits::ZERO));
            for (grant, forgiven) in &account.open.forgiven {
                let open: Credits = account.open.owed.iter().filter(|(seq, _)| seq == grant).map(|(_, owed)| *owed).sum();
                prop_assert!(*forgiven + open <= account.clawed_back(*grant));
            }
        }
    }

    #[test]
    fn a_refusal_changes_nothing(moves in histories(), floor in -5..3_i64) {
        let history = run(&moves, floor);
        let mut account = Account { floor: Credits(floor), ..Account::default() };
        for step in history.steps.iter().filter(|step| step.result.is_ok()) {
            account = decide(&account, &step.command, step.now_ms).unwrap().account;
        }
        prop_assert_eq!(account, history.account);
    }

    #[test]
    fn credits_are_burned_soonest_end_first_then_free_before_paid_then_oldest(moves in histories()) {
        for (before, entry) in run(&moves, 0).entries_with_accounts() {
            if !matches!(entry.kind, EntryKind::Debit | EntryKind::Capture | EntryKind::Adjust) {
                continue;
            }
            let mut order = before.open.grants.clone();
            // What was reserved for a purchase burns them as a capture does, the rest as a debit. The model knows.
            let has_expired = |grant: &OpenGrant| grant.has_expired(entry.created_at_ms);
            if is_of_a_purchase(&entry) && order.iter().any(has_expired) {
                continue;
            }
            // Expired credits only back holds: a capture burns those that its hold saw in the usual order, and
            // everything else burns them last.
            let captured = before.open.holds.iter().find(|hold| Some(&hold.id) == entry.hold_id.as_ref());
            let is_last = |grant: &OpenGrant| {
                grant.has_expired(entry.created_at_ms) && !captured.is_some_and(|hold| hold.may_rest_on(grant))
            };
            order.sort_by_key(|grant| {
                (is_last(grant), grant.expires_at_ms.is_none(), grant.expires_at_ms, grant.kind, grant.seq)
            });
            let mut missing = -entry.amount;
            let mut expected = Vec::new();
            for grant in order {
                let credits = missing.min(grant.remaining);
                missing -= credits;
                if credits > Credits::ZERO {
                    expected.push(Burn { grant: grant.seq, credits });
                }
            }
            prop_assert_eq!(&entry.detail.burned, &expected);
        }
    }

    #[test]
    fn a_claw_back_takes_what_is_left_of_its_own_grant_first(moves in histories()) {
        for (before, entry) in run(&moves, 0).entries_with_accounts() {
            let Some(own) = entry.detail.grant.filter(|_| entry.kind == EntryKind::ClawBack) else { continue };
            let left = before.open.grants.iter().find(|grant| grant.seq == own).map_or(Credits::ZERO, |grant| grant.remaining);
            let first = entry.detail.burned.first().filter(|burn| burn.grant == own).map_or(Credits::ZERO, |burn| burn.credits);
            prop_assert_eq!(first, left.min(-entry.amount));
        }
    }

    #[test]
    fn credits_whose_time_ran_out_are_spent_by_captures_only(moves in histories(), floor in 0..3_i64) {
        let history = run(&moves, floor);
        for (before, entry) in history.entries_with_accounts() {
            if !matches!(entry.kind, EntryKind::Debit | EntryKind::Adjust | EntryKind::Hold) {
                continue;
            }
            let has_expired = |grant: &&OpenGrant| grant.expires_at_ms.is_some_and(|at| at <= entry.created_at_ms);
            let expired: Vec<&OpenGrant> = before.open.grants.iter().filter(has_expired).collect();
            // The debit of a purchase follows its grant without settling, and what was reserved for it was reserved in
            // time.
            let is_valid = entry.detail.burned.iter().all(|burn| expired.iter().all(|grant| grant.seq != burn.grant));
            prop_assert!(is_valid || is_of_a_purchase(&entry));
            // Only what holds keep has not ended.
            let kept: Credits = expired.iter().map(|grant| grant.remaining).sum();
            prop_assert!(kept <= before.held || is_of_a_purchase(&entry));
        }
    }

    #[test]
    fn what_was_charged_for_is_never_refused_and_adds_to_no_debt(moves in histories(), floor in -5..3_i64) {
        for step in run(&moves, floor).steps {
            let Op::Purchase { amount, reserved, spend: Some(spend), .. } = &step.command.op else { continue };
            let Ok(decision) = &step.result else { continue };
            let before = step.before.settled(step.now_ms);
            let held = before.open.holds.iter().find(|hold| Some(&hold.id) == reserved.as_ref());
            let held = held.map_or(Credits::ZERO, |hold| hold.amount);
            if *amount + held < spend.amount {
                continue;
            }
            let own = decision.entries.last().unwrap();
            prop_assert_eq!(own.idempotency_key.as_deref(), Some(&*spend.idempotency_key));
            prop_assert!(decision.account.available() >= before.available());
            if spend.hold.is_none() && before.balance >= before.held {
                let burned: Credits = own.detail.burned.iter().map(|burn| burn.credits).sum();
                prop_assert_eq!(burned, spend.amount);
            }
        }
    }

    #[test]
    fn expired_credits_stay_only_for_holds_that_were_opened_before_their_end(
        moves in histories_without_claw_backs(),
        floor in 0..3_i64,
    ) {
        for step in run(&moves, floor).steps {
            let Ok(decision) = &step.result else { continue };
            let settled = decision.account.settled(step.now_ms);
            let expired = || settled.open.grants.iter().filter(|grant| grant.has_expired(step.now_ms));
            let left: Credits = expired().map(|grant| grant.remaining).sum();
            let rests = |hold: &&OpenHold| expired().any(|grant| hold.may_rest_on(grant));
            let held: Credits = settled.open.holds.iter().filter(rests).map(|hold| hold.amount).sum();
            prop_assert!(left <= held || settled.available() <= Credits::ZERO);
        }
    }

    #[test]
    fn credits_only_expire_after_their_end_and_never_those_that_a_hold_needs(moves in histories()) {
        for (before, entry) in run(&moves, 0).entries_with_accounts() {
            if entry.kind == EntryKind::Expire {
                let [burn] = entry.detail.burned[..] else { panic!("an expiry ends one grant") };
                let grant = before.open.grants.iter().find(|grant| grant.seq == burn.grant).unwrap();
                prop_assert!(grant.expires_at_ms.unwrap() <= entry.created_at_ms);
                prop_assert!(entry.balance_after >= entry.held_after);
            }
        }
    }

    #[test]
    fn an_open_hold_is_good_for_all_its_credits_whatever_ended_since(moves in histories_without_claw_backs()) {
        let history = run(&moves, 0);
        let now_ms = history.steps.last().map_or(0, |step| step.now_ms);
        for hold in history.account.open.holds.iter().filter(|hold| hold.expires_at_ms > now_ms) {
            let capture = command(Op::Capture { id: hold.id.clone(), amount: None });
            let decision = decide(&history.account, &capture, hold.expires_at_ms - 1);
            let entry = decision.unwrap().entries.pop().unwrap();
            let funded: Credits = entry.detail.burned.iter().map(|burn| burn.credits).sum();
            prop_assert_eq!((-entry.amount, funded), (hold.amount, hold.amount));
        }
    }

    #[test]
    fn debt_is_paid_first_by_the_next_grant(moves in histories(), floor in -5..3_i64) {
        for (before, entry) in run(&moves, floor).entries_with_accounts() {
            if entry.kind == EntryKind::Grant {
                let mut after = before.clone();
                after.apply(&entry);
                let debt = (-before.balance).max(Credits::ZERO);
                prop_assert_eq!(left(&after) - left(&before), (entry.amount - debt).max(Credits::ZERO));
                prop_assert_eq!((-after.balance).max(Credits::ZERO), (debt - entry.amount).max(Credits::ZERO));
            }
        }
    }

    #[test]
    fn no_grant_funds_more_than_it_gave(moves in histories(), floor in -5..3_i64) {
        let history = run(&moves, floor);
        for grant in history.entries.iter().filter(|entry| entry.kind == EntryKind::Grant) {
            let burned = history.entries.iter().flat_map(|entry| &entry.detail.burned);
            let funded: Credits = burned.filter(|burn| burn.grant == grant.seq).map(|burn| burn.credits).sum();
            prop_assert!(funded <= grant.amount);
        }
    }

    #[test]
    fn a_decision_depends_on_account_command_and_moment_only(moves in histories()) {
        for step in run(&moves, 0).steps {
            prop_assert_eq!(decide(&step.before, &step.command, step.now_ms), step.result);
        }
    }

    #[test]
    fn it_makes_no_difference_when_a_timer_settles(
        moves in histories(),
        floor in -5..3_i64,
        gaps in vec(0..15_i64, 60),
    ) {
        let history = run(&moves, floor);
        let mut settled = Account { floor: Credits(floor), ..Account::default() };
        let mut seqs = std::collections::HashMap::new();
        let mut now_ms = 0;
        for (step, gap) in history.steps.iter().zip(gaps) {
            let timer_ms = (now_ms + gap).min(step.now_ms);
            if let Ok(decision) = decide(&settled, &Command::settle(), timer_ms) {
                settled = decision.account;
            }
            now_ms = step.now_ms;
            let mut command = step.command.clone();
            match &mut command.op {
                Op::ClawBack { grant, returned, .. } => {
                    *grant = seqs[&*grant];
                    returned.iter_mut().for_each(|grant| *grant = seqs[&*grant]);
                }
                Op::Reinstate { grant, .. } => *grant = seqs[&*grant],
                Op::TakeBack { of: Some(of), .. } | Op::Exchange { of: Some(of), .. } => {
                    of.iter_mut().for_each(|grant| *grant = seqs[&*grant]);
                }
                _ => {}
            }
            match (decide(&settled, &command, now_ms), &step.result) {
                (Ok(decision), Ok(expected)) => {
                    // The command's own entries come last, after the settled ones.
                    let pairs = expected.entries.iter().rev().zip(decision.entries.iter().rev());
                    seqs.extend(pairs.map(|(one, other)| (one.seq, other.seq)));
                    settled = decision.account;
                    prop_assert_eq!(without_numbers(&settled), without_numbers(&expected.account));
                }
                // The timer left nothing to settle.
                (Err(Refusal::NothingToDo), Ok(expected)) if command.op == Op::Settle => {
                    prop_assert_eq!(without_numbers(&settled), without_numbers(&expected.account));
                }
                (result, expected) => prop_assert!(result.is_err() && result == *expected),
            }
        }
    }

    #[test]
    fn settling_has_something_to_do_exactly_from_the_moment_that_the_account_names(
        moves in histories(),
        floor in -5..3_i64,
    ) {
        let history = run(&moves, floor);
        let afters = history.steps.iter().filter_map(|step| Some((&step.result.as_ref().ok()?.account, step.now_ms)));
        for (account, decided_ms) in afters {
            let next_ms = account.next_settle_at_ms();
            let settles = |now_ms: TimeMs| decide(account, &Command::settle(), now_ms).is_ok();
            // A decision settles everything first, but its own entry may free credits.
            for now_ms in [decided_ms, decided_ms + 1, next_ms.unwrap_or(TimeMs::MAX).saturating_sub(1), TimeMs::MAX - 1]
                .into_iter()
                .chain(next_ms)
            {
                prop_assert_eq!(settles(now_ms), next_ms.is_some_and(|at| at <= now_ms), "at {} of {:?}", now_ms, account);
            }
        }
    }

    #[test]
    fn what_is_open_reads_back_from_json_as_it_was(moves in histories(), floor in -5..3_i64) {
        let history = run(&moves, floor);
        let text = serde_json::to_string(&history.account.open).unwrap();
        prop_assert_eq!(serde_json::from_str::<Open>(&text).unwrap(), history.account.open);
        for entry in history.entries {
            let text = serde_json::to_string(&entry.detail).unwrap();
            prop_assert_eq!(serde_json::from_str::<Detail>(&text).unwrap(), entry.detail);
        }
    }
}
