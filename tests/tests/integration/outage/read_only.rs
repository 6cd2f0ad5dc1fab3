//! A read-only Postgres: a standby after a failover, or a server protected by its operator.

use super::{app_has, is_good, on_private_postgres};
use crate::scene::{PERIOD, SIGNUP, attempts, invoice_paid, job_in_state, job_of, now_ms, stripe_customer};
use bursar_engine::Error;
use bursar_engine::domain::job::JobState;
use bursar_engine::infra::store::{Db, DbOptions};
use bursar_tests::wait;
use sea_orm::{ConnectionTrait, Database, DbBackend, Statement, TransactionTrait};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};

/// After a failover the address leads to the new server, while open sessions stay with the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_on_a_read_only_server_are_dropped() {
    let (_postgres, app) = on_private_postgres(|_| {}).await;
    let spender = app.onboard_with(1_000).await;
    let psql = Database::connect(&app.config.database_url).await.unwrap();
    let (_, database) = app.config.database_url.rsplit_once('/').unwrap();
    // New sessions are read-only, as on a standby; then the old ones are terminated.
    let set = format!("ALTER DATABASE \"{database}\" SET default_transaction_read_only = on");
    psql.execute_unprepared(&set).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bursar'";
    psql.execute_unprepared(end).await.unwrap();
    wait::until("debits and signups are refused", || async {
        let debit = app.spend(&spender, 1, "debit").await;
        let signup = json!({ "email": "ada@example.com", "name": "Ada", "source": "direct" });
        let signup = app.request("POST", "/api/v1/customers/onboard", &[], Some(&signup)).await;
        let ready = app.request("GET", "/health/ready", &[], None).await;
        (!is_good(&debit) && !is_good(&signup) && ready.status == 503).then_some(())
    })
    .await;
    // Existing sessions stay read-only; only new ones reach the new server.
    let reset = format!("ALTER DATABASE \"{database}\" RESET default_transaction_read_only");
    psql.execute_unprepared(&reset).await.unwrap();
    wait::until("debits are answered and the node is ready", || async {
        let good = is_good(&app.spend(&spender, 1, "debit").await);
        let ready = app.request("GET", "/health/ready", &[], None).await;
        (good && ready.status == 200).then_some(())
    })
    .await;
    // Each session ends with the first write that it refuses, and others may be left for signups.
    wait::until("a signup is answered", || async {
        let signup = json!({ "email": "grace@example.com", "name": "Grace", "source": "direct" });
        let answer = app.request("POST", "/api/v1/customers/onboard", &[], Some(&signup)).await;
        (answer.status == 201 || is_good(&answer)).then_some(())
    })
    .await;
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lookup_does_not_reuse_a_session_from_before_a_refused_write() {
    let (_postgres, app) = on_private_postgres(|_| {}).await;
    let options = DbOptions { connections_max: 3, ..DbOptions::new(app.config.database_url()) };
    let db = Db::connect(&options).await.unwrap();
    let session = async || {
        let pid = Statement::from_string(DbBackend::Postgres, "SELECT pg_backend_pid()");
        db.ledger().query_one_raw(pid).await.unwrap().unwrap().try_get_by_index::<i32>(0).unwrap()
    };
    let before = session().await;
    assert_eq!(session().await, before, "a session is kept between look-ups");
    let read_only = format!("{}?options=-c%20default_transaction_read_only=on", options.url);
    let demoted = Db::connect(&DbOptions { url: read_only, ..options.clone() }).await.unwrap();
    let refused = Error::from(demoted.write().execute_unprepared("CREATE TABLE notes (id INTEGER)").await.unwrap_err());
    assert!(refused.is_retryable(), "{}", refused.chain());
    assert_ne!(session().await, before);
    demoted.close().await;
    db.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_database_loses_nothing() {
    let (_postgres, app) = on_private_postgres(|_| {}).await;
    let (spender, payer, stripe_customer) = (app.onboard_with(1_000).await, app.onboard().await, stripe_customer());
    // A job that runs when it begins: another transaction holds the row that its commit needs.
    let psql = Database::connect(&app.config.database_url).await.unwrap();
    let hanging = psql.begin().await.unwrap();
    let lock = format!("UPDATE accounts SET balance = balance WHERE customer_id = '{}'", payer.id);
    hanging.execute_unprepared(&lock).await.unwrap();
    let under_way = invoice_paid(&stripe_customer, Some(&payer));
    app.deliver(&under_way).await.expect(200);
    job_in_state(&app, &job_of(&app, &under_way).await.id, JobState::Running).await;

    // Like a failover to a standby, or an operator's protection of a full disk.
    let set_read_only = async |on: bool| {
        let setting = format!("ALTER SYSTEM SET default_transaction_read_only = {on}");
        psql.execute_unprepared(&setting).await.unwrap();
        psql.execute_unprepared("SELECT pg_reload_conf()").await.unwrap();
    };
    set_read_only(true).await;
    let (tries, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // Often enough that every connection has noticed it.
    wait::until("debits are refused", || async {
        let key = format!("one-{}", tries.fetch_add(1, Ordering::SeqCst));
        let good = is_good(&app.spend(&spender, 1, &key).await);
        let in_a_row = if good { 0 } else { refused.load(Ordering::SeqCst) + 1 };
        refused.store(in_a_row, Ordering::SeqCst);
        (in_a_row >= 10).then_some(())
    })
    .await;
    let balance = app.balance(&spender).await;
    hanging.rollback().await.unwrap();
    let later = invoice_paid(&stripe_customer, Some(&payer));
    // Longer than a lease: the job is given back and claimed again.
    let begun = now_ms();
    wait::until("leases have passed", || async {
        for answer in [app.spend(&spender, 1, "in-vain").await, app.deliver(&later).await] {
            assert!(!is_good(&answer), "{answer:?}");
        }
        (now_ms() > begun + 2 * app.config.jobs.lease_ms).then_some(())
    })
    .await;
    assert_eq!(app.balance(&spender).await, balance, "what is stored can be read, and nothing was written");

    set_read_only(false).await;
    wait::until("a debit is answered", || async { is_good(&app.spend(&spender, 1, "in-vain").await).then_some(()) })
        .await;
    assert_eq!(app.balance(&spender).await, balance - 1);
    wait::until("an event is taken", || async { is_good(&app.deliver(&later).await).then_some(()) }).await;
    for event in [&under_way, &later] {
        app_has(&app, event).await;
        let job = job_of(&app, event).await;
        let outcomes: Vec<_> = attempts(&app, &job.id).await.into_iter().map(|attempt| attempt.outcome).collect();
        assert_eq!((job.rescues, outcomes), (0, vec!["done".to_owned()]), "no attempt was used up, nobody died");
    }
    assert_eq!(app.balance(&payer).await, SIGNUP + 2 * PERIOD);
    app.verify().await;
    app.stop().await;
}
