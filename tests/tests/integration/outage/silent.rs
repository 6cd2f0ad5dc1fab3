//! One end of a connection vanishes without a word: a host that lost its power, a network that drops packets.

use crate::scene::SIGNUP;
use bursar_engine::Error;
use bursar_engine::store::{Db, DbOptions};
use bursar_tests::{Backend, TestApp, TestCustomer, wait};
use sea_orm::{ConnectionTrait, Statement};

/// Takes the lock of an account's row.
fn lock_row(customer: &TestCustomer) -> String {
    format!("UPDATE accounts SET balance = balance WHERE customer_id = '{}'", customer.id)
}

/// A setting of a session as Postgres has it.
async fn setting(db: &impl ConnectionTrait, name: &str) -> String {
    let shown = db.query_one_raw(Statement::from_string(db.get_database_backend(), format!("SHOW {name}"))).await;
    shown.unwrap().unwrap().try_get_by_index(0).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_of_a_host_that_vanished_does_not_keep_its_rows() {
    let app = TestApp::start(Backend::Production).await;
    let customer = app.onboard().await;
    let url = app.config.database_url();
    let options = DbOptions { connections_max: 3, idle_transaction_timeout_ms: 100, ..DbOptions::new(url) };
    let vanished = Db::connect(&options).await.unwrap();
    let left = vanished.begin().await.unwrap();
    left.execute_unprepared(&lock_row(&customer)).await.unwrap();
    wait::until("the row is free again", || async {
        let answer = app.spend(&customer, 1, "key").await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(app.balance(&customer).await, SIGNUP - 1);
    // Whoever comes back after all is asked to try again.
    let ended = Error::from(left.execute_unprepared(&lock_row(&customer)).await.unwrap_err());
    assert!(ended.is_retryable() && !ended.is_particular(), "{}", ended.chain());
    drop(left);
    vanished.ping().await.unwrap();

    // The server's own sessions have such limits, too.
    for db in [app.app.db.ledger(), app.app.db.write(), app.app.db.read()] {
        assert_eq!(setting(db, "idle_in_transaction_session_timeout").await, "10s");
        assert_eq!(setting(db, "tcp_keepalives_idle").await, "10");
        assert_eq!(setting(db, "tcp_keepalives_interval").await, "5");
        assert_eq!(setting(db, "tcp_keepalives_count").await, "3");
        assert_eq!(setting(db, "tcp_user_timeout").await, "20000");
    }
    vanished.close().await;
    app.stop().await;
}
