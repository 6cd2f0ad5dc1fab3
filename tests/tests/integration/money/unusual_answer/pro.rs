//! Unusual answers to calls about subscriptions to Pro.

use super::*;
use bursar_engine::domain::operation::Request;
use bursar_engine::ids::OperationId;
use bursar_engine::infra::store::operation::operation_find;

/// A subscription to Pro in Stripe's format.
fn subscription_of(stripe_customer: &str, id: &str, status: &str) -> Value {
    let mut subscription = stripe::pro_subscription(stripe_customer, None, status);
    subscription["id"] = json!(id);
    subscription
}

/// Creates a subscription at Stripe whose answer is lost, while the application has an open operation for it.
async fn create_subscription_silently(shop: &Shop, interceptor: &Interceptor, customer: &TestCustomer) -> Value {
    interceptor.intercept(1, "POST", SUBSCRIPTIONS, Interception::AnswerLost);
    // It is looked for before and after the payer is decided.
    interceptor.intercept(2, "GET", SUBSCRIPTIONS, Interception::Blocked(200, list(&[])));
    interceptor.intercept(usize::MAX, "GET", SUBSCRIPTIONS, answers_429());
    shop.expect_202_and_delay_job(shop.subscribe(customer, "pro").await).await;
    let id = stripe::id(&shop.subscription()).to_owned();
    shop.ask_stripe("GET", &format!("{SUBSCRIPTIONS}/{id}?expand[]=latest_invoice"), &[]).await
}

with_backend! {
    async fn a_subscription_never_created_gets_a_new_key_once_its_own_expires(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(usize::MAX, "POST", SUBSCRIPTIONS, answers_429());
        shop.expect_202_and_delay_job(shop.subscribe(&customer, "pro").await).await;
        shop.a_day_passes().await;
        interceptor.clear();
        shop.subscribe_until_done(&customer, "pro").await;
        shop.pro_once(&customer).await;
        shop.close().await;
    }

    async fn subscribing_needs_an_active_or_a_configured_price(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(1, "GET", "/v1/prices", Interception::Blocked(200, list(&[])));
        shop.subscribe(&customer, "pro").await.expect_problem(503, "payment_unavailable");
        let prices = shop.ask_stripe("GET", "/v1/prices?lookup_keys[]=pro_monthly", &[]).await;
        let id = stripe::id(&prices["data"][0]).to_owned();
        let named = catalogue_with(|catalogue| catalogue.prices[0].stripe = vec![id]);
        shop.app.app.config.catalogue.replace(named.now());
        interceptor.intercept(usize::MAX, "GET", "/v1/prices", Interception::Blocked(200, list(&[])));
        shop.subscribe_until_done(&customer, "pro").await;
        shop.pro_once(&customer).await;
        shop.close().await;
    }

    async fn a_subscription_behind_a_stored_failure_is_found_and_not_created_again(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(1, "POST", SUBSCRIPTIONS, Interception::Replaced(500, error("api_error", "api_error")));
        interceptor.intercept(1, "POST", SUBSCRIPTIONS, Interception::BlockedAsReplayed(500, error("api_error", "api_error")));
        // Stripe's list has it only after the failure was repeated.
        interceptor.intercept(3, "GET", SUBSCRIPTIONS, Interception::Blocked(200, list(&[])));
        shop.subscribe_until_done(&customer, "pro").await;
        interceptor.until_all_intercepted().await;
        shop.pro_once(&customer).await;
        shop.close().await;
    }

    async fn only_a_possible_pro_subscription_prevents_a_new_one(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let unknown = json!({ "id": "sub_1", "object": "subscription", "status": "incomplete", "metadata": {} });
        interceptor.intercept(1, "GET", SUBSCRIPTIONS, Interception::Blocked(200, list(&[unknown])));
        shop.subscribe(&customer, "first").await.expect_problem(409, "already_subscribed");
        let mut other = subscription_of("cus_1", "sub_2", "active");
        other["items"]["data"][0]["price"] = json!({ "id": "price_2", "object": "price", "lookup_key": "other" });
        let nameless = json!({ "object": "subscription", "status": "active" });
        interceptor.intercept(1, "GET", SUBSCRIPTIONS, Interception::Blocked(200, list(&[nameless, other])));
        shop.subscribe(&customer, "pro").await.expect(201);
        shop.pro_once(&customer).await;
        shop.close().await;
    }

    async fn a_subscription_awaiting_authentication_yields_to_another_request(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        shop.subscribe(&customer, "first").await.expect_problem(402, "authentication_required");
        shop.attach(&customer, "pm_card_visa", "other").await.expect(201);
        shop.subscribe(&customer, "second").await.expect(201);
        let made = shop.stripe.list("subscription");
        assert_eq!((&made[0]["status"], &made[1]["status"]), (&json!("incomplete_expired"), &json!("active")));
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (MONTH, PERIOD));
        shop.close().await;
    }

    async fn a_subscription_without_an_id_is_shown_to_support_and_found_on_retry(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(1, "POST", SUBSCRIPTIONS, Interception::Replaced(200, json!({ "object": "subscription" })));
        shop.subscribe(&customer, "pro").await.expect(202);
        shop.wait_for_operation_job("dead").await;
        shop.subscribe_until_done(&customer, "pro").await;
        shop.pro_once(&customer).await;
        shop.close().await;
    }

    async fn a_failed_authentication_can_be_retried_until_it_expires(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let intent = payment_to_authenticate(&shop.subscribe(&customer, "pro").await);
        shop.stripe.authenticate(&intent, false).expect("it waits");
        let id = stripe::id(&shop.subscription()).to_owned();
        // For a moment it seems paid.
        let paid = subscription_of(&shop.stripe_customer(&customer).await, &id, "active");
        interceptor.intercept(1, "GET", &format!("{SUBSCRIPTIONS}/{id}"), Interception::Replaced(200, paid));
        shop.subscribe(&customer, "pro").await.expect_problem(402, "authentication_required");
        interceptor.until_all_intercepted().await;
        wait::until("a job has looked at the subscription", || async {
            let sql = "SELECT id FROM jobs WHERE unique_key LIKE '%:settle:%' AND state = 'succeeded'";
            texts(&shop.app, sql).await.pop()
        })
        .await;
        shop.subscribe(&customer, "pro").await.expect_problem(402, "authentication_required");
        shop.a_day_passes().await;
        shop.subscribe_until(&customer, "payment_declined").await;
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (0, 0));
        shop.close().await;
    }

    async fn a_first_payment_during_the_end_of_a_declined_subscription_counts(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let mut ended = subscription_of(&stripe_customer, "sub_paid", "canceled");
        ended["latest_invoice"] = stripe::pro_invoice(&stripe_customer, None);
        interceptor.intercept(1, "DELETE", "/v1/subscriptions/*", Interception::Replaced(200, ended));
        shop.subscribe(&customer, "pro").await.expect_problem(409, "subscription_paid_meanwhile");
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        shop.close().await;
    }

    async fn a_declined_subscription_is_checked_again_if_stripe_refuses_to_end_it(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        let gone = error("invalid_request_error", "resource_missing");
        interceptor.intercept(1, "DELETE", "/v1/subscriptions/*", Interception::Replaced(404, gone));
        shop.subscribe(&customer, "pro").await.expect_problem(402, "payment_declined");
        assert_eq!(shop.subscription()["status"], "incomplete_expired");
        assert_eq!(shop.status(&customer).await, "incomplete_expired");
        shop.close().await;
    }

    async fn a_processing_first_payment_is_polled_until_it_is_decided(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let made = create_subscription_silently(&shop, &interceptor, &customer).await;
        let path = format!("{SUBSCRIPTIONS}/{}", stripe::id(&made));
        // At first Stripe names no payment, then a processing one, expanded as in old versions.
        let mut nameless = made.clone();
        nameless["latest_invoice"] = json!({ "id": made["latest_invoice"]["id"], "object": "invoice" });
        let mut under_way = nameless.clone();
        under_way["latest_invoice"]["payment_intent"] = json!({ "id": "pi_1", "status": "processing" });
        under_way["latest_invoice"]["confirmation_secret"] = json!({ "client_secret": "pi_1_secret" });
        interceptor.clear();
        interceptor.intercept(1, "GET", &path, Interception::Replaced(200, nameless));
        interceptor.intercept(1, "GET", &path, Interception::Replaced(200, under_way));
        let asked = shop.subscribe_until(&customer, "authentication_required").await;
        interceptor.until_all_intercepted().await;
        let intent = asked.body["payment_intent"].as_str().expect("a PaymentIntent").to_owned();
        shop.stripe.authenticate(&intent, true).expect("it waits");
        shop.subscribe_until_done(&customer, "pro").await;
        shop.pro_once(&customer).await;
        shop.close().await;
    }

    async fn a_subscription_whose_payer_is_not_stored_is_found_before_its_card_is_judged(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_visa").await;
        create_subscription_silently(&shop, &interceptor, &customer).await;
        // As an older release stored it. The card was declined since.
        let id = OperationId::parse(&shop.last_operation(&customer).await).expect("an id");
        let known = operation_find(shop.app.app.db.read(), &id).await.expect("it is read").expect("it is there");
        let Request::SubscriptionCreate { payment_method_id, price, quantity, .. } = known.request else { panic!() };
        let undecided = Request::SubscriptionCreate { payment_method_id, price, quantity, payer: None };
        let undecided = serde_json::to_string(&undecided).expect("JSON");
        sql(&shop.app, &format!("UPDATE operations SET request = '{undecided}' WHERE id = '{id}'")).await;
        let declined = "UPDATE charges SET state = 'declined', ended_at_ms = decided_at_ms, \
                        advice_code = 'do_not_try_again'";
        sql(&shop.app, declined).await;
        interceptor.clear();
        shop.subscribe_until_done(&customer, "pro").await;
        shop.pro_once(&customer).await;
        shop.close().await;
    }

    async fn a_refused_cancellation_succeeds_if_already_ended_else_gives_the_reason(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let path = format!("{SUBSCRIPTIONS}/{}", stripe::id(&shop.subscription()));
        interceptor.intercept(1, "POST", &path, answers_429());
        interceptor.intercept(1, "POST", &path, answers_400());
        let kept = shop.app.call(&customer, "DELETE", SUBSCRIPTION, "with-the-period", None).await;
        kept.expect_problem(422, "refused_by_stripe");
        assert_eq!(shop.status_and_plan(&customer).await, ("active".to_owned(), "pro".to_owned()));
        let gone = error("invalid_request_error", "resource_missing");
        interceptor.intercept(1, "DELETE", &path, Interception::Replaced(404, gone));
        let end = format!("{SUBSCRIPTION}?at_once=true");
        let ended = shop.app.call(&customer, "DELETE", &end, "now", None).await.expect(200);
        assert_eq!((&ended["status"], &ended["plan"]), (&json!("canceled"), &json!("pay_as_you_go")));
        shop.close().await;
    }

    async fn a_declined_change_of_a_subscription_or_a_payment_method_changes_nothing(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let first = shop.default_method(&customer).await;
        let path = format!("{SUBSCRIPTIONS}/{}", stripe::id(&shop.subscription()));
        let other = json!({ "payment_method": "pm_card_mastercard", "consent": true, "make_default": false });
        shop.app.call(&customer, "POST", METHODS, "other", Some(&other)).await.expect(201);
        let declined = async |asked: &str, method: &str, target: &str, key: &str| {
            interceptor.intercept(1, "POST", asked, Interception::Blocked(402, error("card_error", "card_declined")));
            shop.app.call(&customer, method, target, key, None).await.expect_problem(402, "payment_declined");
            interceptor.until_all_intercepted().await;
        };
        let is_ending = async || {
            let found = shop.app.call(&customer, "GET", SUBSCRIPTION, "", None).await.expect(200);
            found["cancel_at_period_end"] == true
        };
        declined(&path, "DELETE", SUBSCRIPTION, "end-1").await;
        assert!(!is_ending().await);
        shop.app.call(&customer, "DELETE", SUBSCRIPTION, "end-2", None).await.expect(200);
        declined(&path, "POST", &format!("{SUBSCRIPTION}/resume"), "resume").await;
        assert!(is_ending().await);
        let stripe_customer = format!("/v1/customers/{}", shop.stripe_customer(&customer).await);
        declined(&stripe_customer, "DELETE", &format!("{METHODS}/{first}"), "remove").await;
        assert_eq!(shop.default_method(&customer).await, first);
        shop.close().await;
    }

    async fn a_subscription_without_a_period_ends_at_once(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let id = stripe::id(&shop.subscription()).to_owned();
        let path = format!("{SUBSCRIPTIONS}/{id}");
        let incomplete = subscription_of(&shop.stripe_customer(&customer).await, &id, "incomplete");
        interceptor.intercept(1, "POST", &path, answers_400());
        interceptor.intercept(1, "GET", &path, Interception::Blocked(200, incomplete));
        let ended = shop.app.call(&customer, "DELETE", SUBSCRIPTION, "end", None).await.expect(200);
        assert_eq!(ended["status"], "canceled");
        assert_eq!(shop.subscription()["status"], "canceled");
        shop.close().await;
    }

    async fn a_subscription_ended_at_stripe_cannot_be_resumed_and_is_updated(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.pro().await;
        shop.app.call(&customer, "DELETE", SUBSCRIPTION, "end", None).await.expect(200);
        let path = format!("{SUBSCRIPTIONS}/{}", stripe::id(&shop.subscription()));
        shop.ask_stripe("DELETE", &path, &[]).await;
        let resume = format!("{SUBSCRIPTION}/resume");
        let answer = shop.app.call(&customer, "POST", &resume, "resume", None).await;
        answer.expect_problem(409, "subscription_ended");
        assert_eq!(shop.status_and_plan(&customer).await, ("canceled".to_owned(), "pay_as_you_go".to_owned()));
        shop.close().await;
    }
}

with_shop! {
    async fn an_unknown_subscription_at_stripe_prevents_a_second_one(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let prices = shop.ask_stripe("GET", "/v1/prices?lookup_keys[]=pro_monthly", &[]).await;
        let form = [("customer", stripe_customer.as_str()), ("items[0][price]", stripe::id(&prices["data"][0]))];
        shop.ask_stripe("POST", "/v1/subscriptions", &form).await;
        shop.subscribe(&customer, "pro").await.expect_problem(409, "already_subscribed");
        assert_eq!(shop.stripe.list("subscription").len(), 1);
        assert_eq!(shop.net_paid(&customer).await, MONTH);
    }

    async fn a_stored_failure_delays_a_subscription_and_one_is_created(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.fail_next("POST", "/v1/subscriptions", Fault::StoreFailure { status: 500 });
        shop.subscribe_until_done(&customer, "pro").await;
        assert_eq!(shop.stripe.list("subscription").len(), 1);
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (MONTH, PERIOD));
    }
}
