//! Unusual answers to calls about the PaymentIntents of usage charges.

use super::*;
use bursar_engine::config::ConfirmationMode;

with_backend! {
    async fn a_payment_without_an_id_is_shown_to_support_and_settled_on_retry(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let nameless = json!({ "object": "payment_intent", "status": "succeeded" });
        interceptor.intercept(1, "POST", PAY, Interception::Replaced(200, nameless));
        shop.app.spend(&customer, 1, "unit").await.expect(202);
        shop.wait_for_operation_job("dead").await;
        shop.spend_until_done(&customer, 1, "unit").await;
        assert_eq!((shop.net_paid(&customer).await, shop.stripe.list("payment_intent").len()), (UNIT, 1));
        shop.close().await;
    }

    async fn a_pending_payment_without_an_id_is_shown_to_support_and_completed(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let intent = payment_to_authenticate(&shop.app.spend(&customer, 1, "unit").await);
        let nameless = json!({ "object": "payment_intent", "status": "requires_payment_method" });
        interceptor.intercept(1, "GET", &format!("{PAY}/{intent}"), Interception::Replaced(200, nameless));
        shop.app.spend(&customer, 1, "unit").await.expect_problem(402, "authentication_required");
        interceptor.until_all_intercepted().await;
        shop.wait_for_operation_job("dead").await;
        shop.stripe.authenticate(&intent, true).expect("it waits");
        shop.spend_until_done(&customer, 1, "unit").await;
        assert_eq!(shop.net_paid(&customer).await, UNIT);
        shop.close().await;
    }

    async fn a_request_for_authentication_without_a_payment_intent_is_a_decline(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(1, "POST", PAY, Interception::Blocked(402, error("card_error", "authentication_required")));
        let declined = shop.app.spend(&customer, 1, "unit").await;
        declined.expect_problem(402, "payment_declined");
        assert_eq!(declined.body["reason"], "authentication_required");
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        assert_eq!(shop.net_paid(&customer).await, UNIT);
        shop.close().await;
    }

    async fn a_refused_payment_differs_from_a_missing_payment_method(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let method = format!("/v1/payment_methods/{}", shop.default_method(&customer).await);
        interceptor.intercept(1, "POST", PAY, answers_400());
        shop.app.spend(&customer, 1, "unit").await.expect_problem(422, "refused_by_stripe");
        // At first Stripe cannot say to whom the payment method belongs.
        interceptor.intercept(2, "POST", PAY, answers_400());
        interceptor.intercept(1, "GET", &method, answers_429());
        interceptor.intercept(1, "GET", &method, answers_404());
        shop.spend_until(&customer, "payment_method_missing").await;
        assert_eq!((shop.net_paid(&customer).await, shop.stripe.list("payment_intent").len()), (0, 0));
        shop.attach(&customer, "pm_card_visa", "another").await.expect(201);
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        assert_eq!(shop.net_paid(&customer).await, UNIT);
        shop.close().await;
    }

    async fn a_payment_stripe_refuses_to_cancel_waits_until_it_ends(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let intent = payment_to_authenticate(&shop.app.spend(&customer, 1, "unit").await);
        let cancel = format!("{PAY}/{intent}/cancel");
        interceptor.intercept(1, "POST", &cancel, answers_429());
        interceptor.intercept(1, "POST", &cancel, answers_400());
        sql(&shop.app, "UPDATE operations SET round_at_ms = round_at_ms - 86400000").await;
        let expired = shop.spend_until(&customer, "payment_declined").await;
        assert_eq!(expired.body["reason"], "authentication_expired");
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.stripe.object(&intent)["status"], "canceled");
        shop.close().await;
    }

    async fn a_payment_cancelled_elsewhere_has_failed(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let intent = payment_to_authenticate(&shop.app.spend(&customer, 1, "unit").await);
        shop.ask_stripe("POST", &format!("{PAY}/{intent}/cancel"), &[]).await;
        let failed = shop.spend_until(&customer, "payment_declined").await;
        assert_eq!(failed.body["reason"], "payment_canceled");
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (0, 0));
        shop.close().await;
    }

    async fn a_payment_is_searched_on_all_pages_and_not_made_again(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(usize::MAX, "POST", PAY, Interception::AnswerLost);
        shop.expect_202_and_delay_job(shop.app.spend(&customer, 1, "unit").await).await;
        assert_eq!(shop.net_paid(&customer).await, UNIT);
        // The first search gives up after 50 pages; the second one finds the payment on its second page.
        interceptor.intercept(51, "GET", PAY, endless("payment_intent"));
        shop.a_day_passes().await;
        shop.spend_until_done(&customer, 1, "unit").await;
        interceptor.clear();
        assert_eq!((shop.net_paid(&customer).await, shop.stripe.list("payment_intent").len()), (UNIT, 1));
        shop.close().await;
    }

    async fn a_payment_made_by_a_call_with_a_stored_500_is_found_and_authenticated(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        interceptor.intercept(1, "POST", PAY, Interception::Replaced(500, error("api_error", "api_error")));
        interceptor.intercept(9, "POST", PAY, Interception::BlockedAsReplayed(500, error("api_error", "api_error")));
        let intent = payment_to_authenticate(&shop.spend_until(&customer, "authentication_required").await);
        interceptor.clear();
        shop.stripe.authenticate(&intent, true).expect("it waits");
        shop.spend_until_done(&customer, 1, "unit").await;
        assert_eq!((shop.net_paid(&customer).await, shop.stripe.list("payment_intent").len()), (UNIT, 1));
        shop.close().await;
    }

    async fn a_charge_never_made_gets_a_new_key_once_its_own_expires(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, |config| {
            answers_202_soon(config);
            config.stripe.doubt_ms = 60_000;
        })
        .await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(usize::MAX, "POST", PAY, answers_429());
        shop.expect_202_and_delay_job(shop.app.spend(&customer, 1, "unit").await).await;
        // Within half a minute of its key's expiry no call is made under it.
        const ALMOST_A_DAY_MS: i64 = 23 * 60 * 60 * 1_000 - 30_000;
        sql(&shop.app, &format!("UPDATE operations SET round_at_ms = round_at_ms - {ALMOST_A_DAY_MS}")).await;
        wait::until("the operation waits for the end of its key", || async {
            shop.app.spend(&customer, 1, "unit").await.expect(202);
            let (from_ms, to_ms) = (crate::scene::now_ms() + 10_000, crate::scene::now_ms() + 60_000);
            let is_due = format!("run_at_ms BETWEEN {from_ms} AND {to_ms}");
            let sql = format!("SELECT id FROM jobs WHERE kind = 'operation.run' AND {is_due}");
            texts(&shop.app, &sql).await.pop()
        })
        .await;
        interceptor.clear();
        sql(&shop.app, "UPDATE operations SET round_at_ms = round_at_ms - 60000").await;
        shop.spend_until_done(&customer, 1, "unit").await;
        assert_eq!((shop.net_paid(&customer).await, shop.stripe.list("payment_intent").len()), (UNIT, 1));
        shop.close().await;
    }

    async fn an_event_that_settles_a_charge_first_leaves_its_job_nothing_to_do(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(usize::MAX, "POST", PAY, Interception::AnswerLost);
        let job = shop.expect_202_and_delay_job(shop.app.spend(&customer, 1, "unit").await).await;
        let paid = shop.stripe.list("payment_intent").remove(0);
        shop.deliver_event("payment_intent.succeeded", &paid).await;
        assert_eq!(shop.app.balance(&customer).await, 0);
        resume_job(&shop.app, &job).await;
        wait::until("no job is left", || async {
            let sql = "SELECT id FROM jobs WHERE kind = 'operation.run' AND state <> 'succeeded'";
            texts(&shop.app, sql).await.is_empty().then_some(())
        })
        .await;
        interceptor.clear();
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        assert_eq!((shop.net_paid(&customer).await, shop.stripe.list("payment_intent").len()), (UNIT, 1));
        shop.close().await;
    }

    async fn only_a_charge_that_fails_or_waits_after_the_response_sends_a_mail(backend: Backend) {
        let wait_ms = |config: &mut Config| config.stripe.wait_ms = 3_000;
        for (card, mail, state) in [
            ("pm_card_chargeCustomerFail", "payment_failed", "failed"),
            ("pm_card_authenticationRequired", "action_required", "requires_action"),
        ] {
            let (shop, interceptor) = Shop::intercepted_with(backend, wait_ms).await;
            let customer = shop.without_credits(card).await;
            interceptor.intercept(usize::MAX, "POST", PAY, answers_429());
            let job = shop.expect_202_and_delay_job(shop.app.spend(&customer, 1, "unit").await).await;
            interceptor.clear();
            resume_job(&shop.app, &job).await;
            let id = shop.last_operation(&customer).await;
            shop.operation(&customer, &id, state).await;
            assert_eq!(shop.mails(&customer, mail).await, 1);
            let told = "SELECT m.body_text FROM mails m JOIN jobs j ON j.id = m.job_id WHERE j.args LIKE '%purchase%'";
            let told = wait::until("the mail is kept", || async { texts(&shop.app, told).await.pop() }).await;
            assert!(told.contains("for 1 fix credit"), "{told}");
            // A repeated request is answered at once, so there is no other mail.
            let again = shop.app.spend(&customer, 1, "unit").await;
            assert_eq!(again.status, 402, "{}", again.body);
            assert_eq!(shop.mails(&customer, mail).await, 1);
            shop.close().await;
        }
    }

    async fn a_mail_about_a_charge_that_proceeded_or_that_credits_paid_meanwhile_is_cancelled(backend: Backend) {
        for by_credits in [false, true] {
            let (shop, interceptor) = Shop::intercepted_with(backend, |config| {
                answers_202_soon(config);
                config.mail.smtp_url = "smtp://127.0.0.1:1?tls=none".to_owned();
                config.onboarding.confirmation = ConfirmationMode::Off;
                config.mail.from = "billing@acme.example".to_owned();
            })
            .await;
            let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
            interceptor.intercept(usize::MAX, "POST", PAY, answers_429());
            let job = shop.expect_202_and_delay_job(shop.app.spend(&customer, 1, "unit").await).await;
            interceptor.clear();
            resume_job(&shop.app, &job).await;
            let id = shop.last_operation(&customer).await;
            shop.operation(&customer, &id, "failed").await;
            assert_eq!(shop.mails(&customer, "payment_failed").await, 1);
            if by_credits {
                shop.app.adjust(&customer, 1).await.expect(200);
            } else {
                wait::until("another card is there", || async {
                    (shop.attach(&customer, "pm_card_visa", "better").await.status == 201).then_some(())
                })
                .await;
            }
            shop.spend_until_done(&customer, 1, "unit").await;
            wait::until("the mail is cancelled", || async {
                let sql =
                    "SELECT id FROM jobs WHERE state = 'cancelled' AND last_error = 'the purchase has gone on since'";
                texts(&shop.app, sql).await.pop()
            })
            .await;
            shop.close().await;
        }
    }

    async fn a_charge_paid_by_credits_meanwhile_succeeds_and_cancels_its_payment(backend: Backend) {
        for (card, is_second_round) in [
            ("pm_card_chargeCustomerFail", false),
            ("pm_card_chargeCustomerFail", true),
            ("pm_card_authenticationRequired", false),
        ] {
            let (shop, interceptor) = Shop::intercepted_with(backend, answers_202_soon).await;
            let customer = shop.without_credits(card).await;
            if is_second_round {
                shop.spend_until(&customer, "payment_declined").await;
                sql(&shop.app, "UPDATE charges SET ended_at_ms = ended_at_ms - 3600000").await;
            }
            interceptor.intercept(1, "POST", PAY, Interception::Replaced(500, error("api_error", "api_error")));
            interceptor.intercept(usize::MAX, "POST", PAY, answers_429());
            interceptor.intercept(1, "GET", PAY, Interception::Blocked(200, list(&[])));
            interceptor.intercept(usize::MAX, "GET", PAY, answers_429());
            let job = shop.expect_202_and_delay_job(shop.app.spend(&customer, 1, "unit").await).await;
            interceptor.clear();
            shop.app.adjust(&customer, 1).await.expect(200);
            shop.app.spend(&customer, 1, "unit").await.expect(200);
            resume_job(&shop.app, &job).await;
            wait::until("the payment is cancelled", || async {
                let intents = shop.stripe.list("payment_intent");
                (intents.last().expect("a PaymentIntent")["status"] == "canceled").then_some(())
            })
            .await;
            let id = shop.last_operation(&customer).await;
            let settled = shop.operation(&customer, &id, "succeeded").await;
            assert_eq!(settled["transaction"]["amount"], -1);
            assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (0, 0));
            // The only mail may be the one about the first round.
            assert_eq!(shop.mails(&customer, "payment_failed").await, usize::from(is_second_round));
            assert_eq!(shop.mails(&customer, "action_required").await, 0);
            shop.close().await;
        }
    }

    async fn a_pending_payment_is_cancelled_once_credits_paid_its_request(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        payment_to_authenticate(&shop.app.spend(&customer, 1, "unit").await);
        shop.app.adjust(&customer, 1).await.expect(200);
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        // It no longer asks for authentication.
        let id = shop.last_operation(&customer).await;
        let shown = shop.operation(&customer, &id, "succeeded").await;
        assert_eq!((&shown["problem"], &shown["transaction"]["amount"]), (&Value::Null, &json!(-1)));
        let job = "SELECT id FROM jobs WHERE kind = 'operation.run' AND state = 'available'";
        let job = texts(&shop.app, job).await.remove(0);
        let due = format!("SELECT id FROM jobs WHERE id = '{job}' AND run_at_ms < {}", now_ms() + 16 * 60 * 1_000);
        assert_eq!(texts(&shop.app, &due).await.len(), 1, "it is looked at within a quarter of an hour");
        resume_job(&shop.app, &job).await;
        wait::until("the payment is cancelled", || async {
            (shop.stripe.list("payment_intent")[0]["status"] == "canceled").then_some(())
        })
        .await;
        shop.close().await;
    }

    async fn a_stored_failure_of_a_cancellation_makes_no_second_payment(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let intent = payment_to_authenticate(&shop.app.spend(&customer, 1, "unit").await);
        let cancel = format!("{PAY}/{intent}/cancel");
        interceptor.intercept(1, "POST", &cancel, Interception::BlockedAsReplayed(500, error("api_error", "api_error")));
        interceptor.intercept(1, "POST", &cancel, Interception::Blocked(400, error("idempotency_error", "idempotency_error")));
        sql(&shop.app, "UPDATE operations SET round_at_ms = round_at_ms - 86400000").await;
        let expired = shop.spend_until(&customer, "payment_declined").await;
        assert_eq!(expired.body["reason"], "authentication_expired");
        interceptor.until_all_intercepted().await;
        let intents = shop.stripe.list("payment_intent");
        assert_eq!((intents.len(), &intents[0]["status"]), (1, &json!("canceled")));
        shop.close().await;
    }

    async fn a_payment_whose_cancellation_was_not_recorded_fails_with_its_reason(backend: Backend) {
        let of_bank = "payment_intent_authentication_failure";
        for (is_failed, expected) in [(false, "authentication_expired"), (true, of_bank)] {
            let shop = Shop::open(backend).await;
            let customer = shop.without_credits("pm_card_authenticationRequired").await;
            let intent = payment_to_authenticate(&shop.app.spend(&customer, 1, "unit").await);
            if is_failed {
                shop.stripe.authenticate(&intent, false).expect("it waits");
            }
            // As if an attempt had cancelled the payment and died before it recorded that.
            shop.ask_stripe("POST", &format!("{PAY}/{intent}/cancel"), &[]).await;
            sql(&shop.app, "UPDATE operations SET round_at_ms = round_at_ms - 86400000").await;
            let ended = shop.spend_until(&customer, "payment_declined").await;
            assert_eq!(ended.body["reason"], expected);
            shop.close().await;
        }
    }

    async fn a_payment_still_awaiting_authentication_after_its_deadline_fails(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        interceptor.intercept(1, "POST", PAY, Interception::Replaced(500, error("api_error", "api_error")));
        interceptor.intercept(usize::MAX, "POST", PAY, answers_429());
        let job = shop.expect_202_and_delay_job(shop.app.spend(&customer, 1, "unit").await).await;
        sql(&shop.app, "UPDATE operations SET round_at_ms = round_at_ms - 86400000").await;
        resume_job(&shop.app, &job).await;
        let id = shop.last_operation(&customer).await;
        let failed = shop.operation(&customer, &id, "failed").await;
        assert_eq!(failed["problem"]["code"], "authentication_expired");
        assert_eq!(shop.stripe.list("payment_intent")[0]["status"], "canceled");
        assert_eq!(shop.mails(&customer, "payment_failed").await, 1);
        assert_eq!(shop.mails(&customer, "action_required").await, 0);
        shop.close().await;
    }

    async fn a_hold_under_a_charges_key_is_not_mistaken_for_its_payment(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(usize::MAX, "POST", PAY, answers_429());
        let job = shop.expect_202_and_delay_job(shop.app.spend(&customer, 1, "unit").await).await;
        shop.app.adjust(&customer, 1).await.expect(200);
        shop.app.call(&customer, "POST", "/api/v1/holds", "unit", Some(&json!({ "units": 1 }))).await.expect(201);
        interceptor.clear();
        resume_job(&shop.app, &job).await;
        wait::until("the card is charged", || async { (shop.net_paid(&customer).await == UNIT).then_some(()) }).await;
        wait::until("the bought credit is in the balance", || async {
            (shop.app.balance(&customer).await == 2).then_some(())
        })
        .await;
        shop.app.spend(&customer, 1, "unit").await.expect_problem(422, "idempotency_key_reused");
        shop.close().await;
    }

    async fn a_job_whose_operation_is_gone_is_dead_and_names_it(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(usize::MAX, "POST", PAY, answers_429());
        let job = shop.expect_202_and_delay_job(shop.app.spend(&customer, 1, "unit").await).await;
        let args = texts(&shop.app, &format!("SELECT args FROM jobs WHERE id = '{job}'")).await.remove(0);
        let gone = r#"{"operation":"op_gone"}"#;
        sql(&shop.app, &format!("UPDATE jobs SET args = '{gone}' WHERE id = '{job}'")).await;
        resume_job(&shop.app, &job).await;
        shop.wait_for_operation_job("dead").await;
        let error = texts(&shop.app, &format!("SELECT last_error FROM jobs WHERE id = '{job}'")).await.remove(0);
        assert!(error.contains("there is no operation op_gone"), "{error}");
        sql(&shop.app, &format!("UPDATE jobs SET args = '{args}' WHERE id = '{job}'")).await;
        interceptor.clear();
        shop.spend_until_done(&customer, 1, "unit").await;
        assert_eq!(shop.net_paid(&customer).await, UNIT);
        shop.close().await;
    }
}
