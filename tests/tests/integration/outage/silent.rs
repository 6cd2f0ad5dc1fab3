//! Connections whose other end vanishes silently: a host without power, a network that drops packets.

use crate::database_proxy::DatabaseProxy;
use crate::scene::{SIGNUP, sql};
use bursar_engine::Error;
use bursar_engine::infra::store::{Db, DbOptions};
use bursar_tests::app::config;
use bursar_tests::{Backend, TestApp, TestCustomer, wait};
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement, TransactionTrait};

/// The statement that locks an account's row.
fn lock_row(customer: &TestCustomer) -> String {
    format!("UPDATE accounts SET balance = balance WHERE customer_id = '{}'", customer.id)
}

async fn setting(db: &impl ConnectionTrait, name: &str) -> String {
    let shown = db.query_one_raw(Statement::from_string(db.get_database_backend(), format!("SHOW {name}"))).await;
    shown.unwrap().unwrap().try_get_by_index(0).unwrap()
}

/// Asserts that sessions end when their host vanishes.
async fn has_limits(db: &impl ConnectionTrait) {
    assert_eq!(setting(db, "idle_in_transaction_session_timeout").await, "10s");
    assert_eq!(setting(db, "tcp_keepalives_idle").await, "10");
    assert_eq!(setting(db, "tcp_keepalives_interval").await, "5");
    assert_eq!(setting(db, "tcp_keepalives_count").await, "3");
    assert_eq!(setting(db, "tcp_user_timeout").await, "20000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vanished_hosts_transaction_releases_its_rows() {
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
    // The vanished host is asked to retry if it returns.
    let ended = Error::from(left.execute_unprepared(&lock_row(&customer)).await.unwrap_err());
    assert!(ended.is_retryable() && !ended.is_item_fault(), "{}", ended.chain());
    drop(left);
    vanished.read().ping().await.unwrap();

    // The server's own sessions have these limits, too.
    has_limits(app.app.db.ledger()).await;
    has_limits(app.app.db.write()).await;
    has_limits(app.app.db.read()).await;
    vanished.close().await;
    app.stop().await;
}

/// Waits until four statements wait for locks. It asks beside the proxy: a session that goes silent while it is given back
/// to its pool keeps its place there.
async fn until_four_wait(psql: &DatabaseConnection) {
    let waiting =
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    wait::until("statements wait for locks", || async {
        let counted = psql.query_one_raw(Statement::from_string(DbBackend::Postgres, waiting)).await.unwrap().unwrap();
        (counted.try_get_by_index::<i64>(0).unwrap() == 4).then_some(())
    })
    .await;
}

/// Makes a customer's actor lose races until it locks its account to decide.
async fn decides_under_lock(app: &TestApp, customer: &TestCustomer) {
    let nobody = "CREATE FUNCTION nobody() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; \
                  CREATE TRIGGER nobody BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION nobody()";
    sql(app, nobody).await;
    app.spend(customer, 1, "lost").await.expect_problem(429, "busy");
    sql(app, "DROP TRIGGER nobody ON accounts; DROP FUNCTION nobody").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_replaces_silent_connections() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(Backend::Production, &folder).await;
    let psql = Database::connect(&config.database_url).await.unwrap();
    let proxy = DatabaseProxy::start(&config.database_url).await;
    config.database_url.clone_from(&proxy.url);
    config.ledger.timeout_ms = 1_000;
    // A job whose statement gets no answer keeps its connection until its attempt times out.
    config.jobs.timeout_ms = 5_000;
    config.mail.timeout_ms = 1_000;
    let app = TestApp::start_on(config, Some(folder)).await;
    // The maximum of customers that may be locked concurrently.
    let mut customers = Vec::new();
    for _ in 0..4 {
        let customer = app.onboard().await;
        decides_under_lock(&app, &customer).await;
        customers.push(customer);
    }
    // The network fails while the node waits for their locks, so it never learns that it got them.
    let holder = psql.begin().await.unwrap();
    for customer in &customers {
        holder.execute_unprepared(&lock_row(customer)).await.unwrap();
    }
    let go_silent = async {
        until_four_wait(&psql).await;
        proxy.go_silent();
        holder.rollback().await.unwrap();
    };
    let (answers, ()) =
        tokio::join!(join_all(customers.iter().map(|customer| app.spend(customer, 1, "key"))), go_silent);
    for answer in answers {
        answer.expect_problem(503, "timeout");
    }
    for customer in &customers {
        wait::until("a debit is answered", || async {
            (app.spend(customer, 1, "key").await.status == 200).then_some(())
        })
        .await;
        assert_eq!(app.balance(customer).await, SIGNUP - 1);
    }
    // Silent connections do not keep their places in the pool.
    for lane in 0..app.app.db.pool_usage().len() {
        wait::until("a pool is free", || async { (app.app.db.pool_usage()[lane].in_use == 0).then_some(()) }).await;
    }
    app.verify().await;
    app.stop().await;
}
