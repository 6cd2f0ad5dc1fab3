//! Automatic top-up.

use super::*;
use crate::node::NodeProcess;
use crate::scene::now_ms;
use bursar_engine::amount::{Credits, MoneyMinor};
use bursar_engine::domain::catalogue::Pack;
use bursar_engine::domain::charge::top_up::TopUpHalt;
use bursar_engine::domain::operation::{Problem, TopUpTerms};
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::top_up::{top_up_due, top_up_halt, top_up_page_end, top_up_put};
use bursar_engine::key::PackKey;

const TOP_UP: &str = "/api/v1/credits/auto-top-up";

impl Shop {
    async fn set_top_up(&self, customer: &TestCustomer, body: Value) -> Answer {
        self.app.call(customer, "PUT", TOP_UP, "", Some(&body)).await
    }

    /// Tops up to 5 credits when fewer than 2 are available.
    async fn top_up_at_two(&self, customer: &TestCustomer) {
        let set = self.set_top_up(customer, json!({ "enabled": true, "threshold": 2, "target": 5 })).await.expect(200);
        assert_eq!(set["state"], "on");
    }

    async fn top_up(&self, customer: &TestCustomer) -> Value {
        self.app.call(customer, "GET", TOP_UP, "", None).await.expect(200)
    }

    async fn until_top_up_is(&self, customer: &TestCustomer, state: &str) -> Value {
        wait::until(&format!("top-up is {state}"), || async {
            let found = self.top_up(customer).await;
            (found["state"] == state).then_some(found)
        })
        .await
    }

    /// A customer without credits that was topped up to 5, and the charge.
    async fn topped_up(&self) -> (TestCustomer, String) {
        let customer = self.without_credits("pm_card_visa").await;
        self.top_up_at_two(&customer).await;
        self.until_balance_is(&customer, 5).await;
        let charge = stripe::id(&self.stripe.list("charge").remove(0)).to_owned();
        (customer, charge)
    }

    async fn until_one_mail_says_that_it_stopped(&self, customer: &TestCustomer) {
        wait::until("the mail is there", || async {
            (self.mails(customer, "auto_top_up_stopped").await == 1).then_some(())
        })
        .await;
    }

    /// Whether a top-up would begin now.
    async fn is_top_up_due(&self, customer: &TestCustomer) -> bool {
        let id = CustomerId::trusted(customer.id.clone());
        let due = top_up_due(self.app.app.db.read(), Some(&id), Some(&id), now_ms()).await.expect("settings");
        !due.is_empty()
    }

    async fn until_balance_is(&self, customer: &TestCustomer, credits: i64) {
        wait::until(&format!("the balance is {credits}"), || async {
            (self.app.balance(customer).await == credits).then_some(())
        })
        .await;
    }
}

with_shop! {
    async fn one_charge_closes_the_gap_as_soon_as_few_credits_are_left(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.adjust(&customer, 3).await.expect(200);
        shop.top_up_at_two(&customer).await;
        shop.app.spend(&customer, 1, "two-left").await.expect(200);
        shop.app.spend(&customer, 1, "one-left").await.expect(200);
        shop.until_balance_is(&customer, 5).await;
        assert_eq!((shop.charge_calls(), shop.net_paid(&customer).await), (1, 4 * UNIT));
        assert_eq!(shop.top_up(&customer).await["month_charged_minor"], 4 * UNIT);
        let operations = shop.app.call(&customer, "GET", "/api/v1/operations", "", None).await.expect(200);
        let operation = &operations["data"][0];
        assert_eq!((&operation["kind"], &operation["transaction"]["amount"]), (&json!("auto_top_up"), &json!(4)));
        shop.app.spend(&customer, 4, "again-few").await.expect(200);
        shop.until_balance_is(&customer, 5).await;
        assert_eq!((shop.charge_calls(), shop.net_paid(&customer).await), (2, 8 * UNIT));
    }

    async fn a_look_for_due_top_ups_covers_a_page_of_those_that_are_on(shop: &Shop) {
        let mut customers = Vec::new();
        for _ in 0..4 {
            let customer = shop.without_credits("pm_card_visa").await;
            customers.push(CustomerId::trusted(customer.id));
        }
        customers.sort();
        let terms = TopUpTerms { threshold: Credits(5), target: Credits(6), pack: None, cap_month: None };
        let now_ms = now_ms();
        let tx = shop.app.app.db.begin().await.expect("a transaction");
        for (n, customer_id) in customers.iter().enumerate() {
            top_up_put(&tx, customer_id, n != 1, &terms, now_ms).await.expect("a setting");
            // So that the sweeper leaves them alone.
            let problem = Problem::new("spend_cap_reached", "A cap is reached.");
            let halt = TopUpHalt { customer_id: customer_id.clone(), version: 1, problem, until_ms: Some(now_ms + 3_600_000) };
            top_up_halt(&tx, &halt).await.expect("a halt");
        }
        tx.commit().await.expect("a commit");
        let [first, _, third, fourth] = &customers[..] else { unreachable!() };
        let db = shop.app.app.db.read();
        let pages = [(None, Some(third)), (Some(third), Some(fourth)), (Some(fourth), None)];
        for (from, end) in pages {
            assert_eq!(top_up_page_end(db, from, 2).await.expect("a page").as_ref(), end, "the page from {from:?}");
        }
        let due = async |from, to, at_ms| {
            let due = top_up_due(db, from, to, at_ms).await.expect("settings");
            due.into_iter().map(|setting| setting.customer_id).collect::<Vec<_>>()
        };
        let later_ms = now_ms + 2 * 3_600_000;
        assert_eq!(due(None, None, now_ms).await, [], "they wait");
        assert_eq!(due(None, Some(third), later_ms).await, [first.clone(), third.clone()]);
        assert_eq!(due(Some(third), None, later_ms).await, [third.clone(), fourth.clone()]);
    }

    async fn credits_that_support_took_are_not_bought_back_until_the_customer_spends(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.adjust(&customer, 6).await.expect(200);
        shop.top_up_at_two(&customer).await;
        shop.app.adjust(&customer, -5).await.expect(200);
        assert!(!shop.is_top_up_due(&customer).await, "one credit is left, and nobody asked for more");
        let shown = shop.top_up(&customer).await;
        assert_eq!([&shown["state"], &shown["problem"]["code"]], ["waiting", "credits_taken"], "{shown}");
        assert_eq!(shop.charge_calls(), 0);
        shop.app.spend(&customer, 1, "last").await.expect(200);
        shop.until_balance_is(&customer, 5).await;
        assert_eq!((shop.charge_calls(), shop.net_paid(&customer).await), (1, 5 * UNIT));
        assert_eq!(shop.top_up(&customer).await["state"], "on");
    }

    async fn a_debt_beyond_the_credit_limit_is_not_paid_by_itself(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let path = format!("/admin/v1/customers/{}/credit-limit", customer.id);
        let limit = async |credits: i64| {
            let body = json!({ "credits": credits, "reason": "pays by invoice" });
            shop.app.admin("POST", &path, Some(&body)).await.expect(200);
        };
        limit(10).await;
        shop.app.adjust(&customer, 5).await.expect(200);
        shop.top_up_at_two(&customer).await;
        sql(&shop.app, &format!("UPDATE auto_top_ups SET waits_until_ms = {}", now_ms() + 3_600_000)).await;
        shop.app.spend(&customer, 7, "on-credit").await.expect(200);
        limit(0).await;
        sql(&shop.app, "UPDATE auto_top_ups SET waits_until_ms = 1").await;
        assert!(!shop.is_top_up_due(&customer).await, "it owes two credits");
        assert_eq!((shop.app.balance(&customer).await, shop.charge_calls()), (-2, 0));
        limit(2).await;
        shop.until_balance_is(&customer, 5).await;
        assert_eq!(shop.net_paid(&customer).await, 7 * UNIT);
    }

    async fn setting_it_tops_up_at_once_and_pays_a_debt(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.spend_until_done(&customer, 2, "units").await;
        let charge = stripe::id(&shop.stripe.list("charge").remove(0)).to_owned();
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.deliver_event("charge.refunded", &shop.stripe.object(&charge)).await;
        assert_eq!(shop.app.balance(&customer).await, -2);
        shop.top_up_at_two(&customer).await;
        shop.until_balance_is(&customer, 5).await;
        assert_eq!(shop.net_paid(&customer).await, 7 * UNIT);
    }

    async fn a_decline_stops_it_with_one_mail_until_the_customer_turns_it_on_again(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        shop.top_up_at_two(&customer).await;
        let stopped = shop.until_top_up_is(&customer, "stopped").await;
        assert_eq!(stopped["problem"]["code"], "card_declined", "{stopped}");
        shop.until_one_mail_says_that_it_stopped(&customer).await;
        assert_eq!(shop.mails(&customer, "payment_failed").await, 0);
        shop.attach(&customer, "pm_card_visa", "better").await.expect(201);
        assert_eq!(shop.top_up(&customer).await["state"], "stopped", "the customer decides");
        shop.top_up_at_two(&customer).await;
        shop.until_balance_is(&customer, 5).await;
        assert_eq!((shop.charge_calls(), shop.net_paid(&customer).await), (2, 5 * UNIT));
        assert_eq!(shop.mails(&customer, "auto_top_up_stopped").await, 1);
    }

    async fn however_often_it_is_turned_on_again_one_mail_an_hour_says_that_it_stopped(shop: &Shop) {
        const MAILS: &str = "jobs WHERE unique_key LIKE 'mail:auto_top_up_stopped:%'";
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        shop.top_up_at_two(&customer).await;
        shop.until_top_up_is(&customer, "stopped").await;
        for _ in 0..3 {
            shop.top_up_at_two(&customer).await;
            let waiting = shop.until_top_up_is(&customer, "waiting").await;
            assert_eq!(waiting["problem"]["code"], "card_paused", "{waiting}");
        }
        wait::until("all but one are dropped", || async {
            let dropped = shop.count(&format!("{MAILS} AND state = 'cancelled'")).await;
            (shop.count(MAILS).await == 2 && dropped == 1).then_some(())
        })
        .await;
        assert_eq!(shop.count("mails WHERE template = 'auto_top_up_stopped'").await, 1);
        assert_eq!(shop.charge_calls(), 1);
    }

    async fn a_card_that_was_declined_for_something_else_makes_it_wait_and_another_one_lets_it_go_on(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        shop.subscribe(&customer, "pro").await.expect_problem(402, "payment_declined");
        shop.top_up_at_two(&customer).await;
        let waiting = shop.until_top_up_is(&customer, "waiting").await;
        assert_eq!(waiting["problem"]["code"], "card_paused", "{waiting}");
        assert!(waiting["waits_until"].is_string() && shop.charge_calls() == 0, "{waiting}");
        shop.until_one_mail_says_that_it_stopped(&customer).await;
        shop.attach(&customer, "pm_card_visa", "better").await.expect(201);
        shop.until_balance_is(&customer, 5).await;
        assert_eq!(shop.top_up(&customer).await["state"], "on");
    }

    async fn nobody_is_there_to_authenticate_a_top_up_so_it_is_cancelled_and_stops(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        shop.top_up_at_two(&customer).await;
        let stopped = shop.until_top_up_is(&customer, "stopped").await;
        assert_eq!(stopped["problem"]["code"], "authentication_required", "{stopped}");
        assert_eq!(shop.stripe.list("payment_intent")[0]["status"], "canceled");
        assert_eq!((shop.charge_calls(), shop.net_paid(&customer).await), (1, 0));
        assert_eq!(shop.mails(&customer, "action_required").await, 0);
    }

    async fn a_cap_makes_it_wait_and_raising_the_cap_lets_it_go_on(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let set = json!({ "enabled": true, "threshold": 2, "target": 5, "month_cap_minor": 9 * UNIT - 1 });
        shop.set_top_up(&customer, set).await.expect(200);
        shop.until_balance_is(&customer, 5).await;
        shop.app.spend(&customer, 4, "few").await.expect(200);
        let waiting = shop.until_top_up_is(&customer, "waiting").await;
        assert_eq!(waiting["problem"]["code"], "top_up_cap_reached", "{waiting}");
        assert!(waiting["waits_until"].is_string());
        shop.app.call(&customer, "PUT", CAPS, "", Some(&json!({ "month_minor": 9 * UNIT - 1 }))).await.expect(200);
        shop.top_up_at_two(&customer).await;
        let waiting = shop.until_top_up_is(&customer, "waiting").await;
        assert_eq!(waiting["problem"]["code"], "spend_cap_reached", "{waiting}");
        shop.app.call(&customer, "PUT", CAPS, "", Some(&json!({ "month_minor": 9 * UNIT }))).await.expect(200);
        shop.until_balance_is(&customer, 5).await;
        assert_eq!((shop.charge_calls(), shop.top_up(&customer).await["state"].clone()), (2, json!("on")));
    }

    async fn a_cap_below_one_top_up_turns_it_off_because_waiting_would_not_help(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.call(&customer, "PUT", CAPS, "", Some(&json!({ "day_minor": 5 * UNIT - 1 }))).await.expect(200);
        shop.set_top_up(&customer, json!({ "enabled": true, "threshold": 2, "target": 5 })).await.expect(200);
        let stopped = shop.until_top_up_is(&customer, "stopped").await;
        assert_eq!(stopped["problem"]["code"], "spend_cap_reached", "{stopped}");
        assert_eq!(stopped["waits_until"], Value::Null, "{stopped}");
        let capped = json!({ "enabled": true, "threshold": 2, "target": 4, "month_cap_minor": 4 * UNIT - 1 });
        shop.set_top_up(&customer, capped).await.expect(200);
        let stopped = shop.until_top_up_is(&customer, "stopped").await;
        assert_eq!(stopped["problem"]["code"], "top_up_cap_reached", "{stopped}");
        shop.set_top_up(&customer, json!({ "enabled": true, "threshold": 2, "target": 4 })).await.expect(200);
        shop.until_balance_is(&customer, 4).await;
        assert_eq!((shop.charge_calls(), shop.net_paid(&customer).await), (1, 4 * UNIT));
    }

    async fn terms_on_which_no_cap_ever_allows_a_top_up_are_refused_at_once(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        // From 1 credit, 59 are missing.
        for terms in [
            json!({ "enabled": true, "threshold": 2, "target": 60 }),
            json!({ "enabled": true, "threshold": 2, "target": 5, "month_cap_minor": 4 * UNIT - 1 }),
        ] {
            let refused = shop.set_top_up(&customer, terms).await;
            refused.expect_problem(422, "top_up_exceeds_cap");
        }
        assert_eq!(shop.top_up(&customer).await["state"], "off");
        shop.app.call(&customer, "PUT", CAPS, "", Some(&json!({ "day_minor": 4 * UNIT - 1 }))).await.expect(200);
        let terms = json!({ "enabled": true, "threshold": 2, "target": 5 });
        let refused = shop.set_top_up(&customer, terms).await;
        assert!(refused.body["detail"].as_str().expect("a reason").contains("spend cap"), "{:?}", refused.body);
        refused.expect_problem(422, "top_up_exceeds_cap");
        assert_eq!((shop.charge_calls(), shop.mails(&customer, "auto_top_up_stopped").await), (0, 0));
    }

    async fn turning_it_off_needs_nothing_else_and_keeps_what_was_set(shop: &Shop) {
        let customer = shop.app.onboard().await;
        shop.attach_until_done(&customer, "pm_card_visa").await;
        let off = json!({ "enabled": false });
        let never_set = shop.set_top_up(&customer, off.clone()).await.expect(200);
        assert_eq!((&never_set["state"], &never_set["threshold"]), (&json!("off"), &Value::Null));
        let capped = json!({ "enabled": true, "threshold": 2, "target": 5, "month_cap_minor": 70_000 });
        shop.set_top_up(&customer, capped).await.expect(200);
        let now_off = shop.set_top_up(&customer, off).await.expect(200);
        assert_eq!(now_off["state"], "off");
        let kept = [&now_off["threshold"], &now_off["target"], &now_off["month_cap_minor"]];
        assert_eq!(kept, [&json!(2), &json!(5), &json!(70_000)]);
        for partial in [
            json!({ "enabled": true }),
            json!({ "enabled": false, "threshold": 3 }),
            json!({ "enabled": false, "month_cap_minor": 3 }),
        ] {
            shop.set_top_up(&customer, partial).await.expect_problem(400, "invalid_auto_top_up");
        }
    }

    async fn a_wait_that_is_over_is_shown_as_on_without_its_problem(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let set = json!({ "enabled": true, "threshold": 2, "target": 5, "month_cap_minor": 9 * UNIT - 1 });
        shop.set_top_up(&customer, set).await.expect(200);
        shop.until_balance_is(&customer, 5).await;
        shop.app.spend(&customer, 4, "few").await.expect(200);
        shop.until_top_up_is(&customer, "waiting").await;
        shop.app.adjust(&customer, 9).await.expect(200);
        sql(&shop.app, "UPDATE auto_top_ups SET waits_until_ms = 1").await;
        let shown = shop.top_up(&customer).await;
        assert_eq!((&shown["state"], &shown["problem"], &shown["waits_until"]), (&json!("on"), &Value::Null, &Value::Null));
    }

    async fn money_given_back_turns_it_off_with_one_mail_until_it_is_set_again(shop: &Shop) {
        let (customer, charge) = shop.topped_up().await;
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, 0);
        let stopped = shop.top_up(&customer).await;
        assert_eq!([&stopped["state"], &stopped["problem"]["code"]], ["stopped", "payment_returned"], "{stopped}");
        assert!(!shop.is_top_up_due(&customer).await, "nothing is bought in their place");
        shop.until_one_mail_says_that_it_stopped(&customer).await;
        assert_eq!((shop.charge_calls(), shop.net_paid(&customer).await), (1, 0));
        shop.top_up_at_two(&customer).await;
        shop.until_balance_is(&customer, 5).await;
        shop.announce_refund(&charge).await;
        assert_eq!(shop.top_up(&customer).await["state"], "on", "one refund stops it once");
        assert_eq!((shop.charge_calls(), shop.mails(&customer, "auto_top_up_stopped").await), (2, 1));
        assert_eq!(shop.net_paid(&customer).await, 5 * UNIT);
    }

    async fn a_dispute_turns_it_off_and_an_inquiry_does_not(shop: &Shop) {
        let (customer, charge) = shop.topped_up().await;
        let inquiry = shop.control("disputes", json!({ "charge": charge, "is_inquiry": true })).await;
        shop.deliver_event("charge.dispute.created", &inquiry).await;
        shop.stripe.close_dispute(stripe::id(&inquiry), true).expect("it is open");
        assert_eq!(shop.top_up(&customer).await["state"], "on", "an inquiry takes nothing");
        let dispute = shop.stripe.open_dispute(&charge, None, "fraudulent").expect("a dispute");
        shop.deliver_event("charge.dispute.funds_withdrawn", &dispute).await;
        assert_eq!((shop.app.balance(&customer).await, shop.is_top_up_due(&customer).await), (0, false));
        assert_eq!(shop.top_up(&customer).await["problem"]["code"], "payment_returned");
        let won = shop.stripe.close_dispute(stripe::id(&dispute), true).expect("it is open");
        shop.deliver_event("charge.dispute.closed", &won).await;
        assert_eq!(shop.app.balance(&customer).await, 5);
        assert_eq!(shop.top_up(&customer).await["state"], "stopped", "the customer decides");
        shop.until_one_mail_says_that_it_stopped(&customer).await;
        assert_eq!(shop.charge_calls(), 1);
    }

    async fn a_refund_that_leaves_the_credits_stops_nothing_and_off_stays_off(shop: &Shop) {
        let (customer, charge) = shop.topped_up().await;
        let operations = shop.app.call(&customer, "GET", "/api/v1/operations", "", None).await.expect(200);
        let payment = operations["data"][0]["id"].as_str().expect("an id");
        let body = json!({ "amount_minor": UNIT, "credits": "none", "reason": "goodwill" });
        shop.app.admin("POST", &format!("/admin/v1/payments/{payment}/refund"), Some(&body)).await.expect(200);
        shop.announce_refund(&charge).await;
        let shown = shop.top_up(&customer).await;
        assert_eq!((shop.app.balance(&customer).await, &shown["state"]), (5, &json!("on")), "{shown}");
        let off = json!({ "enabled": false, "threshold": 2, "target": 5 });
        shop.set_top_up(&customer, off).await.expect(200);
        shop.stripe.refund(&charge, Some(4 * UNIT)).expect("a refund");
        shop.announce_refund(&charge).await;
        let shown = shop.top_up(&customer).await;
        assert_eq!((shop.app.balance(&customer).await, &shown["state"]), (1, &json!("off")), "{shown}");
        assert_eq!((&shown["problem"], shop.mails(&customer, "auto_top_up_stopped").await), (&Value::Null, 0));
    }

    async fn what_cannot_be_bought_is_refused_and_off_is_off(shop: &Shop) {
        let customer = shop.app.onboard().await;
        let body = |threshold: i64, target: i64| json!({ "enabled": true, "threshold": threshold, "target": target });
        shop.set_top_up(&customer, body(2, 5)).await.expect_problem(402, "payment_method_missing");
        shop.attach_until_done(&customer, "pm_card_visa").await;
        shop.set_top_up(&customer, body(0, 5)).await.expect_problem(400, "invalid_auto_top_up");
        shop.set_top_up(&customer, body(5, 4)).await.expect_problem(400, "invalid_auto_top_up");
        shop.set_top_up(&customer, body(5, 1_000_000)).await.expect_problem(422, "charge_too_large");
        let pack = json!({ "enabled": true, "threshold": 2, "target": 5, "pack": "none" });
        shop.set_top_up(&customer, pack).await.expect_problem(404, "pack_not_offered");
        assert_eq!(shop.top_up(&customer).await["threshold"], Value::Null, "nothing was stored");
        let off = json!({ "enabled": false, "threshold": 500, "target": 600 });
        assert_eq!(shop.set_top_up(&customer, off).await.expect(200)["state"], "off");
        let path = format!("/admin/v1/customers/{}/auto-top-up", customer.id);
        assert_eq!(shop.app.admin("GET", &path, None).await.expect(200)["threshold"], 500);
        assert_eq!(shop.count("operations WHERE kind = 'auto_top_up'").await, 0);
    }
}

with_backend! {
    async fn packs_are_bought_as_often_as_needed_in_one_charge(backend: Backend) {
        let shop = Shop::open_with(backend, |config| {
            config.catalogue = catalogue_with(|catalogue| {
                catalogue.packs.push(Pack {
                    key: PackKey::trusted("two"),
                    name: "2 fixes".to_owned(),
                    credits: Credits(2),
                    amount: MoneyMinor(5_000),
                    currency: catalogue.currency.clone(),
                    lifetime_days: Some(90),
                    offered: true,
                });
            });
        })
        .await;
        let customer = shop.without_credits("pm_card_visa").await;
        let set = json!({ "enabled": true, "threshold": 1, "target": 5, "pack": "two" });
        shop.set_top_up(&customer, set).await.expect(200);
        shop.until_balance_is(&customer, 6).await;
        assert_eq!((shop.charge_calls(), shop.net_paid(&customer).await), (1, 15_000));
        shop.close().await;
    }

    async fn a_lost_answer_or_a_killed_process_ends_in_one_top_up(backend: Backend) {
        for silent in [Interception::RequestLost, Interception::AnswerLost] {
            let (shop, interceptor) = Shop::intercepted_with(backend, |config| {
                config.jobs.lease_ms = 1_500;
                config.jobs.sweep_grace_ms = 100;
            })
            .await;
            let customer = shop.without_credits("pm_card_visa").await;
            shop.app.adjust(&customer, 2).await.expect(200);
            shop.top_up_at_two(&customer).await;
            let Shop { app, stripe } = shop;
            let (client, spend) = (app.client.clone(), json!({ "units": 1 }));
            let (config, folder) = app.halt().await;
            let served = NodeProcess::start(&config).await;
            interceptor.intercept(1, "POST", PAY, silent);
            let request = client.post(format!("{}/api/v1/usage", served.base())).json(&spend);
            let request = request.header("x-api-key", &customer.api_key).header("Idempotency-Key", "one");
            assert_eq!(request.send().await.expect("an answer").status().as_u16(), 200);
            interceptor.until_all_intercepted().await;
            served.kill().await;
            interceptor.clear();
            drop(served);
            let shop = Shop { app: TestApp::start_on(config, folder).await, stripe };
            shop.until_balance_is(&customer, 5).await;
            assert_eq!(shop.net_paid(&customer).await, 4 * UNIT);
            assert_eq!(shop.stripe.list("payment_intent").len(), 1);
            shop.close().await;
        }
    }
}
