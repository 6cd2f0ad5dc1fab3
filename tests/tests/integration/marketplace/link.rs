//! Linking a purchase to a customer, by link token or by support.

use super::*;
use crate::database::{number, tables_with};
use crate::scene::audited;
use bursar_engine::ids::CustomerId;
use bursar_tests::Backend;
use bursar_tests::answer::Answer;
use futures_util::future::{join, join_all};
use sea_orm::ConnectionTrait;

async fn try_to_sign_up(app: &TestApp, token: &str) -> Answer {
    app.request("POST", "/api/v1/customers/onboard", &[], Some(&buyer(token))).await
}

async fn link(app: &TestApp, account: i64, customer: &TestCustomer) -> Answer {
    let body = json!({ "customer_id": customer.id, "reason": "ticket 4711" });
    app.admin("POST", &format!("/admin/v1/marketplace/accounts/{account}/link"), Some(&body)).await
}

/// A GitHub account that bought Pro today.
async fn buyer_of_pro(app: &TestApp) -> i64 {
    let account = account();
    deliver(app, &purchase("purchased", account, "Pro", &in_days(0))).await;
    account
}

/// Simulates the end of a job in an account's stream while another transaction is about to link the account: holds
/// the stream, and writes account and customer once the other one waits.
async fn end_a_job_while<T>(app: &TestApp, account: i64, customer: &str, other: impl Future<Output = T>) -> T {
    let tx = app.app.db.begin().await.unwrap();
    let hold = format!("UPDATE streams SET last_seq = last_seq WHERE key = 'github:{account}'");
    tx.execute_unprepared(&hold).await.unwrap();
    let end = async {
        let waiting = "SELECT COUNT(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        wait::until("the other one waits", || async { (number(app, waiting, []).await > 0).then_some(()) }).await;
        let write = format!("UPDATE marketplace_accounts SET unit_count = 1 WHERE github_account_id = {account}");
        tx.execute_unprepared(&write).await.expect("nobody else holds the account");
        let lock = format!("SELECT id FROM customers WHERE id = '{customer}' FOR NO KEY UPDATE");
        tx.execute_unprepared(&lock).await.expect("nobody else holds the customer");
        tx.commit().await.unwrap();
    };
    join(other, end).await.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linking_and_ending_a_job_of_the_account_never_deadlock() {
    let app = TestApp::start(Backend::Production).await;
    let customer = app.onboard().await;
    let account = buyer_of_pro(&app).await;
    let token = link_token(&app, account).await;
    end_a_job_while(&app, account, "", try_to_sign_up(&app, &token)).await.expect(201);
    let account = buyer_of_pro(&app).await;
    end_a_job_while(&app, account, &customer.id, link(&app, account, &customer)).await.expect(200);
    wait_until_on(&app, &customer, "pro", SIGNUP + PERIOD).await;
    app.verify().await;
    app.stop().await;
}

with_app! {
    async fn an_invalid_token_links_nothing_and_creates_no_customer(app: &TestApp) {
        let account = buyer_of_pro(app).await;
        let replaced = link_token(app, account).await;
        let token = link_token(app, account).await;
        for wrong in ["", "mlt_", "acme", &replaced, &format!("{token}x")] {
            try_to_sign_up(app, wrong).await.expect_problem(422, "marketplace_link_invalid");
        }
        sql(app, "UPDATE marketplace_accounts SET link_token_expires_ms = 1").await;
        try_to_sign_up(app, &token).await.expect_problem(422, "marketplace_link_expired");
        assert_eq!(number(app, "SELECT COUNT(*) FROM customers", []).await, 0);

        let token = link_token(app, account).await;
        sign_up(app, &token).await;
        try_to_sign_up(app, &token).await.expect_problem(422, "marketplace_link_invalid");
        assert_eq!(number(app, "SELECT COUNT(*) FROM customers", []).await, 1);
    }

    async fn a_token_is_used_once_under_concurrent_signups(app: &TestApp) {
        let account = buyer_of_pro(app).await;
        let token = link_token(app, account).await;
        let answers = join_all((0..8).map(|_| try_to_sign_up(app, &token))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
        let refused = answers.iter().filter(|answer| answer.code() == "marketplace_link_invalid").count();
        assert_eq!(refused, 7);
        assert_eq!(number(app, "SELECT COUNT(*) FROM customers", []).await, 1);
        app.verify().await;
    }

    async fn a_failed_signup_leaves_the_token_valid(app: &TestApp) {
        let account = buyer_of_pro(app).await;
        let token = link_token(app, account).await;
        let mut known = buyer(&token);
        known["marketplace_link"] = Value::Null;
        app.request("POST", "/api/v1/customers/onboard", &[], Some(&known)).await.expect(201);
        known["marketplace_link"] = json!(token);
        let again = app.request("POST", "/api/v1/customers/onboard", &[], Some(&known)).await;
        again.expect_problem(409, "customer_exists");
        sign_up(app, &token).await;
    }

    async fn a_token_is_kept_as_a_hash_only_and_is_in_the_audit_log_without_it(app: &TestApp) {
        let account = buyer_of_pro(app).await;
        let token = link_token(app, account).await;
        assert!(token.starts_with("mlt_") && token.len() > 50);
        assert!(tables_with(app, &token).await.is_empty());
        assert_eq!(audited(app, &format!("github:{account}")).await, ["marketplace.link_token"]);
    }

    async fn an_existing_customer_is_linked_by_support(app: &TestApp) {
        let (account, customer) = (buyer_of_pro(app).await, app.onboard().await);
        let linked = link(app, account, &customer).await.expect(200);
        assert_eq!(linked["account"]["customer_id"], customer.id.as_str());
        wait_until_on(app, &customer, "pro", SIGNUP + PERIOD).await;
        link(app, account, &customer).await.expect(200);
        link(app, account, &app.onboard().await).await.expect_problem(409, "marketplace_account_linked");
        link(app, buyer_of_pro(app).await, &customer).await.expect_problem(409, "marketplace_customer_linked");
        link(app, 1, &app.onboard().await).await.expect_problem(404, "not_found");
        let nobody = TestCustomer { id: CustomerId::new().to_string(), api_key: String::new() };
        link(app, buyer_of_pro(app).await, &nobody).await.expect_problem(404, "not_found");
        let path = format!("/admin/v1/marketplace/accounts/{account}/link-token");
        app.admin("POST", &path, None).await.expect_problem(409, "marketplace_account_linked");
        let timeline = app.admin("GET", &format!("/admin/v1/customers/{}/timeline", customer.id), None).await.expect(200);
        let what: Vec<&str> = timeline["data"].as_array().unwrap().iter().map(|row| row["what"].as_str().unwrap()).collect();
        assert!(what.contains(&"event.marketplace_purchase.purchased"), "{what:?}");
        let acts = number(app, "SELECT COUNT(*) FROM audit_log WHERE action = 'marketplace.link'", []).await;
        assert_eq!(acts, 1);
        app.verify().await;
    }

    async fn purchases_are_paged_and_filtered(app: &TestApp) {
        let mut accounts = [buyer_of_pro(app).await, buyer_of_pro(app).await, buyer_of_pro(app).await];
        accounts.sort_unstable();
        let list = async |query: &str| {
            app.admin("GET", &format!("/admin/v1/marketplace/accounts?{query}"), None).await.expect(200)
        };
        let ids = |page: &Value| -> Vec<i64> {
            let rows = page["data"].as_array().unwrap().iter();
            rows.map(|row| row["github_account_id"].as_i64().unwrap()).collect()
        };
        let first = list("limit=2").await;
        let cursor = first["next_cursor"].as_str().unwrap();
        let second = list(&format!("limit=2&cursor={cursor}")).await;
        assert_eq!([ids(&first), ids(&second)].concat(), accounts);
        assert_eq!(second["next_cursor"], Value::Null);
        sign_up(app, &link_token(app, accounts[1]).await).await;
        deliver(app, &purchase("cancelled", accounts[2], "Pro", &in_days(0))).await;
        assert_eq!(ids(&list("linked=true").await), [accounts[1]]);
        assert_eq!(ids(&list("state=cancelled").await), [accounts[2]]);
        assert_eq!(ids(&list(&format!("login=ACME-{}", accounts[0])).await), [accounts[0]]);
    }
}
