//! Leases and epochs: which node may work on a stream, and which results count.
//!
//! Jobs are due in a day, so the application leaves them alone. Other nodes are simulated by calling the engine with
//! a time at which the jobs are due.

use super::{DAY_MS, HOUR_MS, insert, settle};
use crate::scene::{SIGNUP, attempts, customer_id, job, job_in_state, now_ms, other_streams_proceed, sql};
use bursar_actors::Request;
use bursar_engine::Error;
use bursar_engine::amount::Credits;
use bursar_engine::domain::job::{Backoff, JobFinish, JobState, Outcome, finish};
use bursar_engine::domain::ledger::{Account, Command, GrantKind, Op, decide};
use bursar_engine::ids::JobId;
use bursar_engine::infra::store::account::{AccountWrite, account_find, entry_list};
use bursar_engine::infra::store::commit::{Unit, UnitResult, commit_units, write_unit};
use bursar_engine::infra::store::stream::stream_find;
use bursar_engine::usecase::handler::Claimed;
use bursar_engine::usecase::work;
use bursar_tests::{TestApp, TestCustomer, with_app};
use futures_util::future::join_all;
use std::collections::BTreeSet;

const LEASE_MS: i64 = 30_000;

/// A job that is due in a day, in its own stream.
async fn job_for_tomorrow(app: &TestApp, customer: &TestCustomer) -> (String, JobId) {
    let new = settle(customer, None, now_ms() + DAY_MS);
    insert(app, std::slice::from_ref(&new)).await;
    (new.stream(), new.id)
}

async fn claim(app: &TestApp, stream: &str, node: &str, now_ms: i64) -> Option<Claimed> {
    work::claim(&app.app.db, &[stream.to_owned()], node, now_ms, LEASE_MS).await.unwrap().pop()
}

fn end(claimed: &Claimed, outcome: Outcome) -> JobFinish {
    finish(&claimed.attempt(), outcome, Backoff::default(), claimed.started_at_ms + 1, 0.0)
}

async fn commit(app: &TestApp, units: &[Unit]) -> Vec<UnitResult> {
    commit_units(&app.app.db, units, "a-node", now_ms()).await.unwrap()
}

async fn account(app: &TestApp, customer: &TestCustomer) -> (Account, usize) {
    let id = customer_id(customer);
    let entries = entry_list(app.app.db.read(), &id, None, 1_000).await.unwrap();
    (account_find(app.app.db.read(), &id).await.unwrap().unwrap(), entries.len())
}

/// A grant of seven credits, together with the ends of attempts.
async fn grant(app: &TestApp, customer: &TestCustomer, key: &str, finishes: Vec<JobFinish>) -> Unit {
    let current = account(app, customer).await.0;
    let op = Op::Grant { kind: GrantKind::Promotional, amount: Credits(7), expires_at_ms: None };
    let decision = decide(&current, &Command::internal(op, "system", key.to_owned()), now_ms()).unwrap();
    let write = AccountWrite {
        customer_id: customer_id(customer),
        expected_version: current.version,
        account: decision.account,
        entries: decision.entries,
    };
    Unit { account: Some(write), finishes, effects: Vec::new() }
}

with_app! {
    async fn a_dead_nodes_lease_is_taken_over_only_after_it_expires(app: &TestApp) {
        let customer = app.onboard().await;
        let (stream, id) = job_for_tomorrow(app, &customer).await;
        // A node claimed the job a minute ago and died. Its lease lasts for another hour.
        let (due, until) = (now_ms() - 60_000, now_ms() + HOUR_MS);
        let taken = format!("owner = 'a-dead-node', epoch = 41, lease_until_ms = {until}");
        sql(app, &format!("UPDATE streams SET {taken} WHERE key = '{stream}'")).await;
        sql(app, &format!("UPDATE jobs SET state = 'running', run_at_ms = {due} WHERE id = '{id}'")).await;
        other_streams_proceed(app).await;
        let leased = stream_find(app.app.db.read(), &stream).await.unwrap().unwrap();
        assert_eq!((leased.owner.as_deref(), leased.epoch), (Some("a-dead-node"), 41));
        let why = app.admin("GET", &format!("/admin/v1/jobs/{id}"), None).await.expect(200)["why"].clone();
        assert_eq!(why, "It is being worked on by a-dead-node.");

        sql(app, &format!("UPDATE streams SET lease_until_ms = {} WHERE key = '{stream}'", now_ms() - 1)).await;
        let done = job_in_state(app, &id, JobState::Succeeded).await;
        assert_eq!((done.attempt, done.rescues), (1, 0), "a rescue is no attempt, and is reset once an attempt ended");
        let attempts = attempts(app, &id).await;
        assert_eq!(attempts.len(), 1, "{attempts:#?}");
        assert_eq!((attempts[0].epoch, attempts[0].attempt, attempts[0].outcome.as_str()), (42, 1, "done"));
        assert_ne!(attempts[0].node, "a-dead-node");
        app.verify().await;
    }

    async fn one_of_two_decisions_for_one_account_counts_in_a_batch(app: &TestApp) {
        let (customer, bystander) = (app.onboard().await, app.onboard().await);
        // An actor died with the first decision uncommitted, and the next actor decided again.
        let units = [
            grant(app, &customer, "first", Vec::new()).await,
            grant(app, &bystander, "harmless", Vec::new()).await,
            grant(app, &customer, "second", Vec::new()).await,
        ];
        let results = commit(app, &units).await;
        let [UnitResult::Committed(_), UnitResult::Committed(_), UnitResult::Stale] = results.as_slice() else {
            panic!("{results:?}");
        };
        assert_eq!(app.balance(&customer).await, SIGNUP + 7);
        assert_eq!(app.balance(&bystander).await, SIGNUP + 7);
        app.verify().await;
    }

    async fn one_of_two_ends_of_one_attempt_counts_in_a_batch(app: &TestApp) {
        let customer = app.onboard().await;
        let (stream, id) = job_for_tomorrow(app, &customer).await;
        let claimed = claim(app, &stream, "a-node", now_ms() + DAY_MS + HOUR_MS).await.unwrap();
        let unit = || Unit { finishes: vec![end(&claimed, Outcome::Done)], ..Unit::default() };
        let results = commit(app, &[unit(), unit()]).await;
        assert!(matches!(results.as_slice(), [UnitResult::Committed(_), UnitResult::Stale]), "{results:?}");
        assert_eq!((job(app, &id).await.state, attempts(app, &id).await.len()), (JobState::Succeeded, 1));
    }

    async fn an_impossible_unit_is_an_error_in_a_transaction_of_its_own(app: &TestApp) {
        let customer = app.onboard().await;
        let unit = grant(app, &customer, "first", Vec::new()).await;
        let stale = unit.clone();
        commit(app, &[unit]).await;
        let before = account(app, &customer).await;
        let tx = app.app.db.begin().await.unwrap();
        assert!(write_unit(&tx, &stale, "a-node", now_ms()).await.unwrap().is_none());
        tx.rollback().await.unwrap();
        assert_eq!(account(app, &customer).await, before);
    }

    async fn a_lost_lease_refuses_only_its_own_command(app: &TestApp) {
        let customer = app.onboard().await;
        let (stream, _) = job_for_tomorrow(app, &customer).await;
        let tomorrow = now_ms() + DAY_MS + HOUR_MS;
        let claimed = claim(app, &stream, "a-node", tomorrow).await.unwrap();
        assert!(work::give_back(&app.app.db, &stream, claimed.epoch, tomorrow).await.unwrap());
        let grant = |key: &str, finish: Option<JobFinish>| {
            let op = Op::Grant { kind: GrantKind::Promotional, amount: Credits(7), expires_at_ms: None };
            Request { command: Command::internal(op, "system", key.to_owned()), finish, effects: Vec::new() }
        };
        let (customers, id) = (&app.app.runtime.customers, customer_id(&customer));
        let (late, fine) = tokio::join!(
            customers.apply(&id, grant("late", Some(end(&claimed, Outcome::Done)))),
            customers.apply(&id, grant("fine", None)),
        );
        assert!(matches!(&late, Err(Error::Conflict { code: "fenced", .. })), "{late:?}");
        assert!(fine.is_ok(), "{fine:?}");
        assert_eq!(app.balance(&customer).await, SIGNUP + 7);
        app.verify().await;
    }

    async fn one_key_twice_in_one_unit_is_an_error_and_commits_nothing(app: &TestApp) {
        let customer = app.onboard().await;
        let before = account(app, &customer).await;
        let mut unit = grant(app, &customer, "twice", Vec::new()).await;
        let write = unit.account.as_mut().unwrap();
        let mut again = write.entries[0].clone();
        again.seq += 1;
        again.balance_after += again.amount;
        write.account.apply(&again);
        write.entries.push(again);
        let refused = commit_units(&app.app.db, &[unit], "a-node", now_ms()).await;
        assert!(matches!(&refused, Err(Error::Corrupt(_))), "{refused:?}");
        assert_eq!(account(app, &customer).await, before);
    }

    async fn giving_a_job_back_counts_neither_an_attempt_nor_a_rescue(app: &TestApp) {
        let customer = app.onboard().await;
        let (stream, id) = job_for_tomorrow(app, &customer).await;
        let tomorrow = now_ms() + DAY_MS + HOUR_MS;
        let first = claim(app, &stream, "a-node", tomorrow).await.unwrap();
        assert!(work::give_back(&app.app.db, &stream, first.epoch, tomorrow).await.unwrap());
        assert_eq!(job(app, &id).await.state, JobState::Available);
        assert!(!work::give_back(&app.app.db, &stream, first.epoch, tomorrow).await.unwrap(), "it no longer holds the lease");

        let second = claim(app, &stream, "another-node", tomorrow).await.unwrap();
        assert_eq!((second.job.attempt, second.job.rescues), (0, 0));
        assert!(second.job.may_have_begun() && !first.job.may_have_begun());
        assert!(!work::give_back(&app.app.db, &stream, first.epoch, tomorrow).await.unwrap());
        let late = commit(app, &[Unit { finishes: vec![end(&first, Outcome::Done)], ..Unit::default() }]).await;
        assert!(matches!(late[0], UnitResult::Fenced(_)));
        assert_eq!(job(app, &id).await.state, JobState::Running);
    }

    async fn a_stopping_node_gives_up_its_leases_and_late_results_are_ignored(app: &TestApp) {
        let customer = app.onboard().await;
        let tomorrow = now_ms() + DAY_MS + HOUR_MS;
        let ((own, id), (others, others_id)) =
            (job_for_tomorrow(app, &customer).await, job_for_tomorrow(app, &customer).await);
        let claimed = claim(app, &own, "stopping", tomorrow).await.unwrap();
        claim(app, &others, "another-node", tomorrow).await.unwrap();
        assert_eq!(work::release_node(&app.app.db, "stopping").await.unwrap(), 1);
        let before = account(app, &customer).await;
        let late = grant(app, &customer, "late", vec![end(&claimed, Outcome::Done)]).await;
        assert!(matches!(commit(app, &[late]).await[0], UnitResult::Fenced(_)));
        assert_eq!(account(app, &customer).await, before);
        let freed = job(app, &id).await;
        assert_eq!((freed.state, freed.attempt, freed.rescues), (JobState::Available, 0, 0));
        assert!(freed.may_have_begun(), "its attempt may have called Stripe");
        assert_eq!(job(app, &others_id).await.state, JobState::Running);
    }

    async fn a_result_for_a_job_that_is_not_running_changes_nothing(app: &TestApp) {
        let customer = app.onboard().await;
        let (stream, id) = job_for_tomorrow(app, &customer).await;
        let claimed = claim(app, &stream, "a-node", now_ms() + DAY_MS + HOUR_MS).await.unwrap();
        sql(app, &format!("UPDATE jobs SET state = 'available' WHERE id = '{id}'")).await;
        let before = account(app, &customer).await;
        let unit = grant(app, &customer, "too-late", vec![end(&claimed, Outcome::Done)]).await;
        assert!(matches!(commit(app, &[unit]).await[0], UnitResult::Fenced(_)));
        assert_eq!(account(app, &customer).await, before);
        assert!(attempts(app, &id).await.is_empty());
    }

    async fn a_result_under_an_old_epoch_is_fenced_and_changes_nothing(app: &TestApp) {
        let customer = app.onboard().await;
        let bystander = app.onboard().await;
        // The customer's actor has loaded the account.
        app.spend(&customer, 1, "before").await.expect(200);
        let (stream, id) = job_for_tomorrow(app, &customer).await;
        let tomorrow = now_ms() + DAY_MS + HOUR_MS;
        let old = claim(app, &stream, "old-node", tomorrow).await.unwrap();
        assert!(claim(app, &stream, "new-node", tomorrow + LEASE_MS).await.is_none(), "the lease still lasts");
        let new = claim(app, &stream, "new-node", tomorrow + LEASE_MS + 1).await.unwrap();
        assert_eq!((old.epoch + 1, new.job.attempt, new.job.rescues), (new.epoch, 0, 1));

        let before = account(app, &customer).await;
        let late = grant(app, &customer, "late", vec![end(&old, Outcome::Done)]).await;
        let harmless = grant(app, &bystander, "harmless", Vec::new()).await;
        let results = commit(app, &[late.clone(), harmless]).await;
        let [UnitResult::Fenced(streams), UnitResult::Committed(_)] = results.as_slice() else {
            panic!("{results:?}");
        };
        assert_eq!(streams, std::slice::from_ref(&stream));
        assert_eq!(account(app, &customer).await, before);
        assert_eq!(job(app, &id).await.state, JobState::Running);
        assert!(attempts(app, &id).await.is_empty());
        assert_eq!(app.balance(&bystander).await, SIGNUP + 7, "the rest of the batch is committed");

        let valid = grant(app, &customer, "valid", vec![end(&new, Outcome::Done)]).await;
        assert!(matches!(commit(app, std::slice::from_ref(&valid)).await[0], UnitResult::Committed(_)));
        // Its own epoch also ends with the result.
        for again in [&new, &old] {
            let again = Unit { finishes: vec![end(again, Outcome::Done)], ..Unit::default() };
            assert!(matches!(commit(app, &[again]).await[0], UnitResult::Fenced(_)));
        }
        for again in [valid, late] {
            // Its account is checked first, and has also changed.
            assert!(matches!(commit(app, &[again]).await[0], UnitResult::Stale | UnitResult::KeysUsed(_)));
        }
        assert_eq!(account(app, &customer).await.1, before.1 + 1);
        assert_eq!(job(app, &id).await.state, JobState::Succeeded);
        assert_eq!(attempts(app, &id).await.len(), 1);
        // The actor's cached account is out of date, which it notices.
        app.spend(&customer, 1, "after").await.expect(200);
        assert_eq!(app.balance(&customer).await, SIGNUP - 1 + 7 - 1);
        app.verify().await;
    }

    async fn concurrent_claims_never_share_a_stream(app: &TestApp) {
        let customer = app.onboard().await;
        for round in 1..=5 {
            let mut streams = Vec::new();
            for _ in 0..20 {
                streams.push(job_for_tomorrow(app, &customer).await.0);
            }
            let tomorrow = now_ms() + DAY_MS + HOUR_MS;
            let nodes = ["a", "b", "c", "d"];
            let claims = nodes.map(|node| work::claim(&app.app.db, &streams, node, tomorrow, LEASE_MS));
            let mut got = Vec::new();
            for (node, claimed) in nodes.iter().zip(join_all(claims).await) {
                for claimed in claimed.unwrap() {
                    let leased = stream_find(app.app.db.read(), &claimed.job.stream_key).await.unwrap().unwrap();
                    let now = (leased.owner.as_deref(), leased.epoch);
                    assert_eq!(now, (Some(*node), claimed.epoch), "round {round}");
                    got.push(claimed.job.stream_key);
                }
            }
            assert_eq!(got.len(), streams.len(), "each stream was claimed once");
            assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), streams.into_iter().collect());
        }
    }

    async fn a_snooze_uses_up_no_attempt_however_often(app: &TestApp) {
        let customer = app.onboard().await;
        let (stream, id) = job_for_tomorrow(app, &customer).await;
        let mut at = now_ms() + DAY_MS;
        let attempts_max = job(app, &id).await.attempts_max;
        for snoozes in 1..=attempts_max + 5 {
            at += HOUR_MS;
            let claimed = claim(app, &stream, "a-node", at).await.unwrap();
            let until_ms = at + HOUR_MS;
            let finishes = vec![end(&claimed, Outcome::Snooze { until_ms })];
            let result = commit(app, &[Unit { finishes, ..Unit::default() }]).await.remove(0);
            let UnitResult::Committed(wakes) = result else { panic!("{result:?}") };
            assert_eq!((wakes[0].attempt, wakes[0].run_at_ms), (0, until_ms));
            let snoozed = job(app, &id).await;
            assert_eq!((snoozed.state, snoozed.attempt, snoozed.run_at_ms), (JobState::Available, 0, until_ms));
            assert!(claim(app, &stream, "a-node", until_ms - 1).await.is_none(), "it is not due yet");
            assert_eq!(attempts(app, &id).await.len() as i64, snoozes);
        }
        let claimed = claim(app, &stream, "a-node", at + HOUR_MS).await.unwrap();
        let finishes = vec![end(&claimed, Outcome::Done)];
        assert!(matches!(commit(app, &[Unit { finishes, ..Unit::default() }]).await[0], UnitResult::Committed(_)));
        let done = job(app, &id).await;
        assert_eq!((done.state, done.attempt, done.rescues), (JobState::Succeeded, 1, 0));
        let recorded = attempts(app, &id).await;
        assert!(recorded.iter().all(|attempt| attempt.attempt == 1), "{recorded:#?}");
    }
}
