//! Group commit: units in one batch do not affect each other.

mod effects;
mod order;
mod plan;

use crate::database_proxy::DatabaseProxy;
use crate::scene::{SIGNUP, customer_id, now_ms};
use bursar_engine::amount::Credits;
use bursar_engine::domain::audit::Audit;
use bursar_engine::domain::effect::Effect;
use bursar_engine::domain::ledger::{Command, Op, decide};
use bursar_engine::infra::store::account::{AccountWrite, account_find};
use bursar_engine::infra::store::audit::audit_page;
use bursar_engine::infra::store::commit::{Unit, UnitResult, commit_units};
use bursar_engine::infra::store::{Db, DbOptions};
use bursar_tests::{Backend, TestApp, TestCustomer, with_app};
use sea_orm::ConnectionTrait;

/// A debit of one credit, decided on the stored account.
async fn debit(app: &TestApp, customer: &TestCustomer, key: &str) -> Unit {
    let customer_id = customer_id(customer);
    let account = account_find(app.app.db.read(), &customer_id).await.unwrap().unwrap();
    let command = Command::internal(Op::Debit { amount: Credits(1) }, "usage", key.to_owned());
    let decision = decide(&account, &command, now_ms()).unwrap();
    let (expected_version, account, entries) = (account.version, decision.account, decision.entries);
    let write = AccountWrite { customer_id, expected_version, account, entries };
    Unit { account: Some(write), ..Unit::default() }
}

async fn commit(app: &TestApp, units: &[Unit]) -> Vec<UnitResult> {
    commit_units(&app.app.db, units, "a-node", now_ms()).await.unwrap()
}

with_app! {
    async fn an_overtaken_unit_does_not_affect_its_batch(app: &TestApp) {
        let (overtaken, other) = (app.onboard().await, app.onboard().await);
        let stale = debit(app, &overtaken, "late").await;
        assert!(matches!(commit(app, &[debit(app, &overtaken, "early").await]).await[..], [UnitResult::Committed(_)]));
        let results = commit(app, &[stale, debit(app, &other, "other").await]).await;
        assert!(matches!(results[..], [UnitResult::Stale, UnitResult::Committed(_)]), "{results:?}");
        assert_eq!(app.balance(&overtaken).await, SIGNUP - 1);
        assert_eq!(app.balance(&other).await, SIGNUP - 1);
        app.verify().await;
    }

    async fn a_replayed_key_does_not_affect_its_batch(app: &TestApp) {
        let (again, other) = (app.onboard().await, app.onboard().await);
        commit(app, &[debit(app, &again, "key").await]).await;
        let results = commit(app, &[debit(app, &again, "key").await, debit(app, &other, "other").await]).await;
        let [UnitResult::KeysUsed(used), UnitResult::Committed(_)] = &results[..] else { panic!("{results:?}") };
        assert_eq!(used.iter().map(|entry| (entry.seq, entry.amount.0)).collect::<Vec<_>>(), [(2, -1)]);
        assert_eq!(app.balance(&again).await, SIGNUP - 1);
        assert_eq!(app.balance(&other).await, SIGNUP - 1);
        app.verify().await;
    }

    async fn only_the_first_of_two_units_for_one_account_counts_in_a_batch(app: &TestApp) {
        let customer = app.onboard().await;
        let units = [debit(app, &customer, "first").await, debit(app, &customer, "second").await];
        let results = commit(app, &units).await;
        assert!(matches!(results[..], [UnitResult::Committed(_), UnitResult::Stale]), "{results:?}");
        assert_eq!(app.balance(&customer).await, SIGNUP - 1);
        app.verify().await;
    }
}

async fn audited_debit(app: &TestApp, customer: &TestCustomer, key: &str) -> Unit {
    let line = Audit::new("test", "test", key, &serde_json::json!({}));
    Unit { effects: vec![Effect::Audit(line)], ..debit(app, customer, key).await }
}

/// A debit decided on an outdated account.
async fn stale_debit(app: &TestApp, customer: &TestCustomer) -> Unit {
    let stale = audited_debit(app, customer, "late").await;
    assert!(matches!(commit(app, &[debit(app, customer, "early").await]).await[..], [UnitResult::Committed(_)]));
    stale
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overtaken_unit_causes_no_second_transaction() {
    let app = TestApp::start(Backend::Production).await;
    let (overtaken, again, other) = (app.onboard().await, app.onboard().await, app.onboard().await);
    commit(&app, &[debit(&app, &again, "key").await]).await;
    let units = [
        stale_debit(&app, &overtaken).await,
        audited_debit(&app, &again, "key").await,
        audited_debit(&app, &other, "other").await,
    ];
    let proxy = DatabaseProxy::start(&app.config.database_url).await;
    let options = DbOptions { connections_max: 1, ..DbOptions::new(proxy.url.as_str()) };
    let db = Db::connect(&options).await.unwrap();
    db.begin().await.unwrap().rollback().await.unwrap();
    let before = proxy.statements();
    let results = commit_units(&db, &units, "a-node", now_ms()).await.unwrap();
    let [UnitResult::Stale, UnitResult::KeysUsed(_), UnitResult::Committed(_)] = &results[..] else {
        panic!("{results:?}")
    };
    // BEGIN, the accounts, the check of the two that were left out, the audit entry, COMMIT.
    assert_eq!(proxy.statements() - before, 5);
    let lines = audit_page(app.app.db.read(), None, None, 100).await.unwrap();
    let lines: Vec<_> = lines.iter().filter(|line| line.action == "test").map(|line| &*line.target).collect();
    assert_eq!(lines, ["other"]);
    db.close().await;
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_units_succeed_even_if_the_check_of_the_others_fails() {
    let app = TestApp::start(Backend::Production).await;
    let (again, other) = (app.onboard().await, app.onboard().await);
    commit(&app, &[debit(&app, &again, "key").await]).await;
    let units = [debit(&app, &again, "key").await, debit(&app, &other, "other").await];
    for statement in [
        "DROP TRIGGER ledger_entries_append_only ON ledger_entries",
        "UPDATE ledger_entries SET detail = 'no JSON' WHERE idempotency_key = 'key'",
    ] {
        app.app.db.read().execute_unprepared(statement).await.unwrap();
    }
    let results = commit(&app, &units).await;
    assert!(matches!(results[..], [UnitResult::Stale, UnitResult::Committed(_)]), "{results:?}");
    assert_eq!(app.balance(&other).await, SIGNUP - 1);
    app.stop().await;
}
