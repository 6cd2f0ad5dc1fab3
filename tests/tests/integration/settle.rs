//! Expiries without a request: the sweep finds accounts and settles them.

use crate::database::until_waiting;
use crate::scene::{customer_id, metric, now_ms, sql};
use bursar_engine::clock::rfc3339;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::account::{account_find, account_settle_correct};
use bursar_engine::metric::{SETTLE_FAILED, SETTLE_OVERDUE_SECONDS};
use bursar_tests::unique::unique;
use bursar_tests::{Backend, TestApp, TestCustomer, wait, with_app};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

async fn number(app: &TestApp, text: &str) -> Option<i64> {
    let db = app.app.db.read();
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), text)).await.unwrap();
    row.and_then(|row| row.try_get_by_index(0).unwrap())
}

/// When the sweep is due for a customer's account.
async fn next_settle(app: &TestApp, customer: &TestCustomer) -> Option<i64> {
    number(app, &format!("SELECT next_settle_at_ms FROM accounts WHERE customer_id = '{}'", customer.id)).await
}

/// Opens a hold of one credit for this many seconds; returns its id.
async fn hold(app: &TestApp, customer: &TestCustomer, expires_in_s: i64) -> String {
    let body = json!({ "units": 1, "expires_in_s": expires_in_s });
    let made = app.call(customer, "POST", "/api/v1/holds", &unique(), Some(&body)).await.expect(201);
    made["hold"]["id"].as_str().unwrap().to_owned()
}

async fn line(app: &TestApp, customer: &TestCustomer, kind: &str) -> Value {
    wait::until(&format!("there is a line of kind {kind}"), || async {
        let page = app.call(customer, "GET", "/api/v1/credits/transactions", "", None).await.expect(200);
        page["data"].as_array().unwrap().iter().find(|line| line["kind"] == kind).cloned()
    })
    .await
}

with_app! {
    async fn a_hold_and_its_capture_leave_neither_a_job_nor_a_stream(app: &TestApp) {
        let customer = app.onboard().await;
        let count = async || {
            let jobs = number(app, "SELECT COUNT(*) FROM jobs WHERE kind = 'account.settle'").await;
            let streams = "SELECT COUNT(*) FROM streams s WHERE NOT EXISTS \
                           (SELECT 1 FROM jobs j WHERE j.stream_key = s.key AND j.kind <> 'account.settle')";
            (jobs, number(app, streams).await)
        };
        let id = hold(app, &customer, 600).await;
        let account = account_find(app.app.db.read(), &customer_id(&customer)).await.unwrap().unwrap();
        assert_eq!(next_settle(app, &customer).await, Some(account.open.holds[0].expires_at_ms));
        assert_eq!(count().await, (Some(0), Some(0)));
        let path = format!("/api/v1/holds/{id}/capture");
        app.call(&customer, "POST", &path, "capture", Some(&json!({}))).await.expect(200);
        assert_eq!(next_settle(app, &customer).await, None);
        assert_eq!(count().await, (Some(0), Some(0)));
        app.verify().await;
    }

    async fn expiring_credits_end_in_the_ledger_by_themselves(app: &TestApp) {
        let customer = app.onboard().await;
        let body = json!({ "amount": 3, "reason": "a trial of more", "expires_at": rfc3339(now_ms() + 1_000) });
        let path = format!("/admin/v1/customers/{}/adjustments", customer.id);
        app.admin("POST", &path, Some(&body)).await.expect(200);
        let ended = line(app, &customer, "expire").await;
        assert_eq!([&ended["amount"], &ended["source"]], [&json!(-3), &json!("system")]);
        assert_eq!(next_settle(app, &customer).await, None);
        app.verify().await;
    }

    async fn a_failing_settlement_delays_no_other_account_and_is_retried(app: &TestApp) {
        let (broken, customer) = (app.onboard().await, app.onboard().await);
        hold(app, &broken, 2).await;
        // Its actor has cached the account; a write by another node makes it load the account again.
        let change = |text: &str| format!("UPDATE accounts SET {text} WHERE customer_id = '{}'", broken.id);
        sql(app, &change("open = 'no ' || open, version = version + 1, next_settle_at_ms = 1")).await;
        wait::until("settling it fails", || async { (metric(app, SETTLE_FAILED, "") >= 2.0).then_some(()) }).await;
        hold(app, &customer, 1).await;
        line(app, &customer, "release").await;
        wait::until("operators see it", || async { (metric(app, SETTLE_OVERDUE_SECONDS, "") > 1.0).then_some(()) }).await;

        sql(app, &change("open = SUBSTR(open, 4), version = version - 1")).await;
        line(app, &broken, "release").await;
        wait::until("nothing is overdue", || async { (metric(app, SETTLE_OVERDUE_SECONDS, "") == 0.0).then_some(()) }).await;
        app.verify().await;
    }

    async fn the_sweep_corrects_rows_of_the_previous_release(app: &TestApp) {
        let (closed, open) = (app.onboard().await, app.onboard().await);
        hold(app, &open, 600).await;
        let right = next_settle(app, &open).await;
        // The previous release closed a hold, or opened a later one, and did not update the column.
        sql(app, "UPDATE accounts SET next_settle_at_ms = 1").await;
        for (customer, right) in [(&closed, None), (&open, right)] {
            wait::until("the account is in order", || async { (next_settle(app, customer).await == right).then_some(()) }).await;
        }
        app.verify().await;
    }
}

// Production only: SQLite has one connection for writing, so its sweep would wait like everything else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overloaded_ledger_does_not_count_as_a_failed_settlement() {
    let app = TestApp::start_with(Backend::Production, |config| config.ledger.commands_max = 1).await;
    let (slow, customer) = (app.onboard().await, app.onboard().await);
    hold(&app, &customer, 600).await;
    let right = next_settle(&app, &customer).await;
    let block = app.app.db.begin().await.unwrap();
    let lock = format!("UPDATE accounts SET balance = balance WHERE customer_id = '{}'", slow.id);
    block.execute_unprepared(&lock).await.unwrap();
    let overloaded = async {
        until_waiting(&app, 1).await;
        // The ledger has no room for a command while sweeps find this account.
        sql(&app, &format!("UPDATE accounts SET next_settle_at_ms = 1 WHERE customer_id = '{}'", customer.id)).await;
        let begun = now_ms();
        wait::until("sweeps have met it", || async { (now_ms() > begun + 300).then_some(()) }).await;
        block.rollback().await.unwrap();
    };
    let (spent, ()) = tokio::join!(app.spend(&slow, 1, "key"), overloaded);
    spent.expect(200);
    wait::until("the account is swept", || async { (next_settle(&app, &customer).await == right).then_some(()) }).await;
    assert_eq!(metric(&app, SETTLE_FAILED, ""), 0.0);
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_two_nodes_sweep_at_once_ends_once() {
    let app = TestApp::start(Backend::Production).await;
    let other = TestApp::start_on(app.config.clone(), None).await;
    let mut customers = Vec::new();
    for _ in 0..12 {
        let customer = app.onboard().await;
        hold(&app, &customer, 1).await;
        customers.push(customer);
    }
    for customer in &customers {
        line(&other, customer, "release").await;
    }
    let ends = "SELECT COUNT(*) FROM ledger_entries WHERE kind = 'release'";
    assert_eq!(number(&app, ends).await, Some(12));
    other.stop().await;
    app.verify().await;
    app.stop().await;
}

with_app! {
    async fn nothing_is_corrected_if_no_account_is_left_to_correct(app: &TestApp) {
        let customer = app.onboard().await;
        sql(app, "UPDATE accounts SET next_settle_at_ms = 1").await;
        let gone = CustomerId::new().to_string();
        assert_eq!(account_settle_correct(app.app.db.write(), std::slice::from_ref(&gone)).await.unwrap(), 0);
        // One that is gone does not keep the others from being corrected.
        account_settle_correct(app.app.db.write(), &[gone, customer.id.clone()]).await.unwrap();
        assert_eq!(next_settle(app, &customer).await, None);
    }
}
