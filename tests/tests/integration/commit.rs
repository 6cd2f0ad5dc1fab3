//! Group commit: units that share a batch share nothing else.

mod effects;

use crate::scene::{SIGNUP, customer_id, now_ms};
use bursar_engine::ledger::{Command, Op, decide};
use bursar_engine::store::account::{AccountWrite, account_find};
use bursar_engine::store::commit::{Unit, UnitResult, commit_units};
use bursar_tests::{TestApp, TestCustomer, both};

/// A debit of one credit, decided on the account as it is stored now.
async fn debit(app: &TestApp, customer: &TestCustomer, key: &str) -> Unit {
    let customer_id = customer_id(customer);
    let account = account_find(app.app.db.read(), &customer_id).await.unwrap().unwrap();
    let command = Command::internal(Op::Debit { amount: 1 }, "usage", key.to_owned());
    let decision = decide(&account, &command, now_ms()).unwrap();
    let (expected_version, account, entries) = (account.version, decision.account, decision.entries);
    let write = AccountWrite { customer_id, expected_version, account, entries };
    Unit { account: Some(write), ..Unit::default() }
}

async fn commit(app: &TestApp, units: &[Unit]) -> Vec<UnitResult> {
    commit_units(&app.app.db, units, "a-node", now_ms()).await.unwrap()
}

both! {
    async fn a_unit_that_another_node_overtook_leaves_the_others_of_its_batch_alone(app: &TestApp) {
        let (overtaken, other) = (app.onboard().await, app.onboard().await);
        let stale = debit(app, &overtaken, "late").await;
        assert!(matches!(commit(app, &[debit(app, &overtaken, "early").await]).await[..], [UnitResult::Committed(_)]));
        let results = commit(app, &[stale, debit(app, &other, "other").await]).await;
        assert!(matches!(results[..], [UnitResult::Stale, UnitResult::Committed(_)]), "{results:?}");
        assert_eq!(app.balance(&overtaken).await, SIGNUP - 1);
        assert_eq!(app.balance(&other).await, SIGNUP - 1);
        app.verify().await;
    }

    async fn a_key_that_was_used_before_is_answered_and_leaves_the_others_alone(app: &TestApp) {
        let (again, other) = (app.onboard().await, app.onboard().await);
        commit(app, &[debit(app, &again, "key").await]).await;
        let results = commit(app, &[debit(app, &again, "key").await, debit(app, &other, "other").await]).await;
        let [UnitResult::KeysUsed(used), UnitResult::Committed(_)] = &results[..] else { panic!("{results:?}") };
        assert_eq!(used.iter().map(|entry| (entry.seq, entry.amount)).collect::<Vec<_>>(), [(2, -1)]);
        assert_eq!(app.balance(&again).await, SIGNUP - 1);
        assert_eq!(app.balance(&other).await, SIGNUP - 1);
        app.verify().await;
    }

    async fn of_two_units_about_one_account_in_a_batch_only_the_first_counts(app: &TestApp) {
        let customer = app.onboard().await;
        let units = [debit(app, &customer, "first").await, debit(app, &customer, "second").await];
        let results = commit(app, &units).await;
        assert!(matches!(results[..], [UnitResult::Committed(_), UnitResult::Stale]), "{results:?}");
        assert_eq!(app.balance(&customer).await, SIGNUP - 1);
        app.verify().await;
    }
}
