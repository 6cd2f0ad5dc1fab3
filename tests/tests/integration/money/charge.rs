//! Payment methods, and usage without credits: charge, grant, debit.

use super::*;
use crate::database::texts;
use crate::scene::{now_ms, sql, with_backend};
use bursar_engine::ids::OperationId;
use bursar_engine::infra::store::operation::{operation_begin_round, operation_find};
use futures_util::future::join_all;

const PAY: &str = "/v1/payment_intents";

with_shop! {
    async fn a_payment_method_needs_consent_and_grants_credits_once_per_customer(shop: &Shop) {
        let customer = shop.app.onboard().await;
        let refused = json!({ "payment_method": "pm_card_visa", "consent": false });
        let path = "/api/v1/payment-methods";
        let answer = shop.app.call(&customer, "POST", path, "no", Some(&refused)).await;
        answer.expect_problem(400, "consent_required");
        let added = shop.attach(&customer, "pm_card_visa", "1").await.expect(201);
        assert_eq!(added["credit_balance"], 10);
        assert!(added["payment_method"]["consent_at"].is_string(), "{added}");
        let id = added["payment_method"]["id"].as_str().expect("an id");
        shop.app.call(&customer, "DELETE", &format!("{path}/{id}"), "2", None).await.expect(200);
        let left = shop.app.call(&customer, "GET", path, "", None).await.expect(200);
        assert_eq!(left["data"], json!([]));
        let again = shop.attach(&customer, "pm_card_visa", "3").await.expect(201);
        assert_eq!(again["credit_balance"], 10);
    }

    async fn every_stripe_metric_appears_after_a_charge(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        let health = shop.app.request("GET", "/health", &[], None).await.expect(200);
        let stripe = &health["dependencies"][2];
        assert!(stripe["name"] == "stripe" && stripe["latency_ms"].is_number(), "{health}");
        let (_, metrics) = crate::health::text(&shop.app, "/metrics").await;
        for name in crate::health::OF_STRIPE {
            let line = format!("# TYPE {name} ");
            assert!(metrics.lines().any(|found| found.starts_with(&line)), "{name} is not among\n{metrics}");
        }
        for line in [
            r#"bursar_operations_total{kind="usage_charge",state="succeeded"} 1"#,
            r#"bursar_credits_granted_total{source="payment_method"} 5"#,
            r#"bursar_credits_granted_total{source="purchase"} 1"#,
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line} is not among\n{metrics}");
        }
    }

    async fn a_payment_method_that_stripe_does_not_know_is_refused(shop: &Shop) {
        let customer = shop.app.onboard().await;
        shop.attach(&customer, "pm_unknown", "1").await.expect_problem(400, "payment_method_invalid");
        shop.attach(&customer, "not a method", "2").await.expect_problem(400, "payment_method_invalid");
        assert_eq!(shop.app.balance(&customer).await, 5);
    }

    async fn a_unit_without_credits_is_charged_granted_and_debited_once_for_each_key(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let spent = shop.app.spend(&customer, 1, "unit").await.expect(200);
        assert_eq!((&spent["credit_balance"], &spent["replayed"]), (&json!(0), &json!(false)));
        let again = shop.app.spend(&customer, 1, "unit").await.expect(200);
        assert_eq!((&again["transaction"], &again["replayed"]), (&spent["transaction"], &json!(true)));
        assert_eq!(shop.net_paid(&customer).await, 2_900);
        let second = shop.app.spend(&customer, 2, "two").await.expect(200);
        assert_eq!(second["transaction"]["amount"], -2);
        assert_eq!(shop.net_paid(&customer).await, 3 * 2_900);
        shop.app.spend(&customer, 3, "two").await.expect_problem(422, "idempotency_key_reused");
    }

    async fn concurrent_requests_are_charged_once_each_and_repeated_ones_once(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let keys: Vec<String> = (0..20).map(|n| format!("key-{}", n % 5)).collect();
        let answers = join_all(keys.iter().map(|key| shop.app.spend(&customer, 1, key))).await;
        answers.into_iter().for_each(|answer| drop(answer.expect(200)));
        assert_eq!(shop.net_paid(&customer).await, 5 * 2_900);
        assert_eq!(shop.app.balance(&customer).await, 0);
    }

    async fn after_a_stored_failure_a_new_key_is_used_if_nothing_was_charged(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.fail_next("POST", PAY, Fault::StoreFailure { status: 500 });
        wait::until("the unit is settled", || async {
            let answer = shop.app.spend(&customer, 1, "unit").await;
            (answer.status == 200).then_some(())
        })
        .await;
        assert_eq!(shop.net_paid(&customer).await, 2_900);
    }

    async fn while_stripe_is_down_a_unit_is_accepted_and_settled_later_exactly_once(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        for _ in 0..3 {
            shop.fail_next("POST", PAY, Fault::Refuse { status: 503, should_retry: None });
        }
        let answer = shop.app.spend(&customer, 1, "unit").await;
        if answer.status == 202 {
            let id = answer.body["operation"]["id"].as_str().expect("an id");
            shop.operation(&customer, id, "succeeded").await;
        } else {
            answer.expect(200);
        }
        assert_eq!(shop.net_paid(&customer).await, 2_900);
        assert_eq!(shop.app.balance(&customer).await, 0);
    }

    async fn only_missing_credits_are_charged(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.adjust(&customer, 3).await.expect(200);
        let spent = shop.app.spend(&customer, 5, "five").await.expect(200);
        assert_eq!((&spent["transaction"]["amount"], &spent["credit_balance"]), (&json!(-5), &json!(0)));
        assert_eq!(shop.net_paid(&customer).await, 2 * UNIT);
    }

    async fn credits_arriving_while_stripe_is_down_pay_for_the_request(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let fault = Fault::RateLimit { retry_after_s: None };
        let rule = FaultRule { method: None, path: PAY.to_owned(), count: None, probability: None, fault };
        shop.stripe.fault(rule).expect("there is room for a fault");
        let asked = async { shop.app.spend(&customer, 1, "unit").await };
        let meanwhile = async {
            wait::until("Stripe was asked", || async {
                (shop.stripe.calls("POST /v1/payment_intents") > 0).then_some(())
            })
            .await;
            shop.app.adjust(&customer, 1).await.expect(200);
            let spent = shop.app.spend(&customer, 1, "unit").await.expect(200);
            assert_eq!(spent["credit_balance"], 0);
            shop.stripe.clear_faults();
        };
        let (asked, ()) = tokio::join!(asked, meanwhile);
        assert!(matches!(asked.status, 200 | 202), "{}", asked.body);
        let operations = shop.app.call(&customer, "GET", "/api/v1/operations", "", None).await.expect(200);
        let id = operations["data"][0]["id"].as_str().expect("an id").to_owned();
        shop.operation(&customer, &id, "succeeded").await;
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (0, 0));
        assert_eq!(shop.stripe.list("payment_intent"), Vec::<Value>::new());
        let summary = shop.app.call(&customer, "GET", "/api/v1/usage/summary", "", None).await.expect(200);
        assert_eq!(summary["charged"], json!([]));
    }

    async fn credits_returned_while_a_request_is_refused_pay_for_it(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.adjust(&customer, 1).await.expect(200);
        for round in 0..20 {
            let hold = json!({ "units": 1 });
            let held = shop.app.call(&customer, "POST", "/api/v1/holds", &format!("h{round}"), Some(&hold)).await;
            let id = held.expect(201)["hold"]["id"].as_str().expect("an id").to_owned();
            let release = format!("/api/v1/holds/{id}/release");
            let (key, release_key) = (format!("u{round}"), format!("r{round}"));
            let (spent, released) = tokio::join!(
                shop.app.spend(&customer, 1, &key),
                shop.app.call(&customer, "POST", &release, &release_key, None)
            );
            released.expect(200);
            spent.expect(200);
            if shop.app.balance(&customer).await == 0 {
                shop.app.adjust(&customer, 1).await.expect(200);
            }
        }
    }

    async fn an_operation_without_its_job_resumes_when_its_request_is_repeated(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let job = "kind = 'operation.run' AND state <> 'succeeded'";
        for (charged, (way, ends)) in (1..).zip([
            ("cancelled", vec![]),
            ("dead", vec![format!("UPDATE jobs SET state = 'dead' WHERE {job}")]),
            ("deleted", vec![
                format!("DELETE FROM attempts WHERE job_id IN (SELECT id FROM jobs WHERE {job})"),
                format!("DELETE FROM jobs WHERE {job}"),
            ]),
        ]) {
            let fault = Fault::RateLimit { retry_after_s: None };
            let rule = FaultRule { method: None, path: PAY.to_owned(), count: None, probability: None, fault };
            shop.stripe.fault(rule).expect("there is room for a fault");
            let asked = async { shop.app.spend(&customer, 1, way).await };
            let meanwhile = async {
                let id = wait::until("there is a job", || async {
                    texts(&shop.app, &format!("SELECT id FROM jobs WHERE {job}")).await.pop()
                })
                .await;
                wait::until("the job is cancelled between two attempts", || async {
                    let path = format!("/admin/v1/jobs/{id}/cancel");
                    let answer = shop.app.admin("POST", &path, Some(&json!({ "reason": "test" }))).await;
                    (answer.status == 200).then_some(())
                })
                .await;
                for statement in &ends {
                    sql(&shop.app, statement).await;
                }
                shop.stripe.clear_faults();
            };
            tokio::select! {
                answer = asked => panic!("{way}: {answer:?}"),
                () = meanwhile => (),
            }
            let operations = shop.app.call(&customer, "GET", "/api/v1/operations", "", None).await.expect(200);
            assert_eq!(operations["data"][0]["state"], "processing", "{way}");
            shop.spend_until_done(&customer, 1, way).await;
            assert_eq!(shop.net_paid(&customer).await, charged * UNIT, "{way}");
        }
        assert_eq!(shop.app.balance(&customer).await, 0);
    }

    async fn a_key_of_another_operation_is_refused(shop: &Shop) {
        let customer = shop.app.onboard().await;
        shop.attach(&customer, "pm_card_visa", "key").await.expect(201);
        let other = shop.attach(&customer, "pm_card_mastercard", "key").await;
        other.expect_problem(422, "idempotency_key_reused");
        shop.subscribe(&customer, "key").await.expect_problem(422, "idempotency_key_reused");
        assert_eq!((shop.stripe.list("payment_method").len(), shop.stripe.list("subscription").len()), (1, 0));
    }

    async fn concurrent_retries_of_a_failed_request_make_one_subscription(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        for key in ["a", "b"] {
            shop.subscribe(&customer, key).await.expect_problem(402, "payment_declined");
            shop.hours_pass_since_charges(4).await;
        }
        shop.attach(&customer, "pm_card_visa", "better").await.expect(201);
        let keys = ["a", "b"].repeat(8);
        let answers = join_all(keys.iter().map(|key| shop.subscribe(&customer, key))).await;
        let made = answers.iter().filter(|answer| answer.status == 201).count();
        assert!(made > 0, "{answers:?}");
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            assert!(matches!(answer.code(), "subscribing" | "already_subscribed"), "{}", answer.body);
        }
        assert_eq!(shop.net_paid(&customer).await, MONTH);
        let active = shop.stripe.list("subscription").into_iter().filter(|row| row["status"] == "active");
        assert_eq!(active.count(), 1);
    }

    async fn a_stored_failure_delays_the_stripe_customer_by_one_attempt(shop: &Shop) {
        shop.fail_next("POST", "/v1/customers", Fault::StoreFailure { status: 500 });
        let customer = shop.app.onboard().await;
        shop.attach(&customer, "pm_card_visa", "card").await.expect(201);
        assert_eq!(shop.stripe.list("customer").len(), 1);
    }
}

with_backend! {
    async fn while_stripe_is_down_the_answer_is_202_with_an_operation_to_poll(backend: Backend) {
        let shop = Shop::open_with(backend, |config| config.stripe.wait_ms = 100).await;
        let customer = shop.app.onboard().await;
        shop.attach_until_done(&customer, "pm_card_visa").await;
        let balance = shop.app.balance(&customer).await;
        shop.app.spend(&customer, balance, "all").await.expect(200);
        let fault = Fault::Refuse { status: 503, should_retry: None };
        let rule = FaultRule { method: None, path: PAY.to_owned(), count: None, probability: None, fault };
        shop.stripe.fault(rule).expect("there is room for a fault");
        let accepted = shop.app.spend(&customer, 1, "unit").await.expect(202);
        let id = accepted["operation"]["id"].as_str().expect("an id").to_owned();
        assert_eq!(accepted["operation"]["state"], "processing");
        shop.operation(&customer, &id, "processing").await;
        shop.stripe.clear_faults();
        let settled = shop.operation(&customer, &id, "succeeded").await;
        assert_eq!(settled["transaction"]["amount"], -1);
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (UNIT, 0));
        shop.close().await;
    }
}

/// Postgres only: SQLite has one writer, so two rounds cannot begin at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_while_another_subscription_begins_is_a_conflict() {
    let shop = Shop::open(Backend::Production).await;
    let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
    for key in ["a", "b"] {
        shop.subscribe(&customer, key).await.expect_problem(402, "payment_declined");
        shop.hours_pass_since_charges(4).await;
    }
    let db = &shop.app.app.db;
    let first = "SELECT id FROM operations WHERE kind = 'subscription_create' ORDER BY id LIMIT 1";
    let id = OperationId::parse(&texts(&shop.app, first).await[0]).expect("an id");
    let known = operation_find(db.read(), &id).await.expect("it is read").expect("it is there");
    let next = known.next_round(known.request.clone(), now_ms());
    // Another node is beginning a round, for which a concurrent request waits.
    let other = db.begin().await.expect("a transaction");
    assert!(operation_begin_round(&other, &next).await.expect("a round"));
    let (refused, ()) = tokio::join!(shop.subscribe(&customer, "b"), async {
        wait::until("the request waits", || async {
            let sql = "SELECT pid::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                       AND datname = current_database() AND query LIKE 'UPDATE operations%'";
            texts(&shop.app, sql).await.pop()
        })
        .await;
        other.commit().await.expect("a commit");
    });
    refused.expect_problem(409, "subscribing");
    // The other node stopped before it created the round's job.
    shop.hours_pass_since_charges(24).await;
    shop.subscribe(&customer, "a").await.expect_problem(402, "payment_declined");
    shop.close().await;
}
