//! Refunds of money of which a change of the subscription has credited a part already.

use super::*;
use bursar_engine::domain::operation::{Operation, State};
use bursar_engine::domain::payment::Payment;
use bursar_engine::domain::refund::CreditsChoice;
use bursar_engine::infra::store::operation::operation_find;
use bursar_engine::usecase::payment;
use bursar_engine::usecase::refund::{self, RefundDeed, RefundPlan, RefundRequest};

const CHANGE: &str = "/api/v1/subscription/change";

impl Shop {
    /// What a refund of an invoice would do.
    async fn planned_refund(&self, invoice: &Value) -> Value {
        let path = format!("/admin/v1/payments/{}/refund", stripe::id(invoice));
        let body = json!({ "reason": "ticket 4711", "dry_run": true });
        self.app.admin("POST", &path, Some(&body)).await.expect(200)
    }

    async fn stored_payment(&self, invoice: &Value) -> Payment {
        let deps = &self.app.app.runtime.handlers;
        payment::find(deps, stripe::id(invoice)).await.expect("a query").expect("a payment")
    }

    /// Plans a refund, as the first half of support's request does.
    async fn plan_refund(&self, asked: RefundRequest<'_>) -> RefundPlan {
        let now_ms = self.app.app.clock.now_ms();
        refund::plan(&self.app.app.runtime.handlers, asked, now_ms).await.expect("a plan")
    }

    /// Asks for a planned refund, as the second half does, and waits until it has ended.
    async fn refund_as_planned(&self, asked: RefundRequest<'_>, plan: &RefundPlan, key: &str) -> Operation {
        let deed = RefundDeed { actor: "test", reason: "ticket 1", idempotency_key: key, request_hash: key };
        let now_ms = self.app.app.clock.now_ms();
        let made = refund::ask(&self.app.app.runtime.handlers, asked, plan, deed, now_ms).await.expect("an operation");
        self.app.app.runtime.dispatcher.announce(made.wakes);
        wait::until("the refund has ended", || async {
            let db = self.app.app.db.read();
            let found = operation_find(db, &made.operation.id).await.expect("a query").expect("an operation");
            (found.state != State::Processing).then_some(found)
        })
        .await
    }
}

with_backend! {
    async fn a_planned_refund_says_what_a_change_of_plan_has_credited_of_the_same_money(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe_to(&customer, "pro", json!({ "price": "pro_monthly" })).await.expect(201);
        let first = shop.stripe.list("invoice").remove(0);
        let planned = shop.planned_refund(&first).await;
        assert_eq!((&planned["refundable_minor"], &planned["credited_minor"]), (&json!(MONTH), &json!(0)));

        shop.stripe.advance(Duration::from_secs(10 * 24 * 60 * 60)).expect("time passes");
        let wanted = json!({ "price": "team_monthly", "when": "now" });
        shop.app.call(&customer, "POST", CHANGE, "up", Some(&wanted)).await.expect(200);
        let charged = shop.net_paid(&customer).await - MONTH;
        let credited = team_monthly().amount.0 - charged;
        assert!((1..MONTH).contains(&credited), "{credited}");
        let planned = shop.planned_refund(&first).await;
        let shown = (&planned["refundable_minor"], &planned["credited_minor"]);
        assert_eq!(shown, (&json!(MONTH - credited), &json!(credited)));
    }

    async fn what_was_credited_is_given_back_only_on_request(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe_to(&customer, "pro", json!({ "price": "pro_monthly" })).await.expect(201);
        let first = shop.stripe.list("invoice").remove(0);
        shop.stripe.advance(Duration::from_secs(10 * 24 * 60 * 60)).expect("time passes");
        let wanted = json!({ "price": "team_monthly", "when": "now" });
        shop.app.call(&customer, "POST", CHANGE, "up", Some(&wanted)).await.expect(200);
        let paid = shop.net_paid(&customer).await;
        let credited = team_monthly().amount.0 - (paid - MONTH);
        let left = MONTH - credited;

        let refund = async |more: Value| {
            let path = format!("/admin/v1/payments/{}/refund", stripe::id(&first));
            let mut body = json!({ "reason": "ticket 4711", "credits": "none" });
            body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            shop.app.admin("POST", &path, Some(&body)).await
        };
        refund(json!({ "amount_minor": left + 1 })).await.expect_problem(422, "refund_credited");
        let given = refund(json!({})).await.expect(200);
        assert_eq!((&given["amount_minor"], &given["state"]), (&json!(left), &json!("succeeded")));
        for more in [json!({}), json!({ "amount_minor": 1 }), json!({ "beyond_credited": true })] {
            refund(more).await.expect_problem(422, "refund_credited");
        }
        assert_eq!(shop.net_paid(&customer).await, paid - left);
        let beyond = json!({ "amount_minor": credited, "beyond_credited": true });
        refund(beyond).await.expect(200);
        assert_eq!(shop.net_paid(&customer).await, paid - MONTH);
        refund(json!({ "amount_minor": 1, "beyond_credited": true })).await.expect_problem(422, "payment_not_refundable");
        shop.close().await;
    }

    async fn a_planned_refund_of_a_month_that_brought_no_credits_takes_none(backend: Backend) {
        let plain = priced("plain_monthly", |price| (price.amount, price.credits) = (MoneyMinor(19_900), Credits::ZERO));
        let shop = Shop::selling(backend, &[plain]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe_to(&customer, "plain", json!({ "price": "plain_monthly" })).await.expect(201);
        shop.app.adjust(&customer, 10).await.expect(200);
        let hold = json!({ "units": 4 });
        shop.app.call(&customer, "POST", "/api/v1/holds", "job", Some(&hold)).await.expect(201);
        let planned = shop.planned_refund(&shop.stripe.list("invoice").remove(0)).await;
        let shown = ["amount_minor", "credits_to_go", "credits_reserved"].map(|key| planned[key].as_i64());
        assert_eq!(shown, [Some(19_900), Some(0), Some(0)], "{planned}");
        shop.close().await;
    }

    async fn a_refund_gives_back_nothing_that_a_change_after_its_plan_has_credited(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe_to(&customer, "pro", json!({ "price": "pro_monthly" })).await.expect(201);
        let first = shop.stripe.list("invoice").remove(0);
        let payment = shop.stored_payment(&first).await;
        let credits = CreditsChoice::None;
        let all = RefundRequest { payment: &payment, amount: None, beyond_credited: false, credits };
        let plan = shop.plan_refund(all).await;
        assert_eq!(plan.amount, MoneyMinor(MONTH));
        let wanted = json!({ "price": "team_monthly", "when": "now" });
        shop.app.call(&customer, "POST", CHANGE, "up", Some(&wanted)).await.expect(200);
        let paid = shop.net_paid(&customer).await;

        let refused = shop.refund_as_planned(all, &plan, "late").await;
        let problem = refused.problem.expect("a problem");
        assert_eq!((refused.state, problem.code.as_str()), (State::Failed, "refund_credited"));
        assert!(problem.message.contains("beyond_credited"), "{}", problem.message);
        assert_eq!((shop.net_paid(&customer).await, shop.stripe.calls("POST /v1/refunds")), (paid, 0));
        // Support knows it, and wants it all the same.
        let beyond = RefundRequest { amount: Some(MoneyMinor(MONTH)), beyond_credited: true, ..all };
        let plan = shop.plan_refund(beyond).await;
        let given = shop.refund_as_planned(beyond, &plan, "beyond").await;
        assert_eq!((given.state, shop.net_paid(&customer).await), (State::Succeeded, paid - MONTH));
        shop.close().await;
    }

    async fn a_planned_refund_of_a_year_says_what_goes_of_the_months_to_come(backend: Backend) {
        let shop = Shop::selling(backend, &[pro_yearly(GrantSchedule::Monthly)]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe_to(&customer, "year", json!({ "price": "pro_yearly" })).await.expect(201);
        shop.app.spend(&customer, 60, "first-month").await.expect(200);
        let path = format!("/admin/v1/payments/{}/refund", stripe::id(&shop.stripe.list("invoice").remove(0)));
        let half = pro_yearly(GrantSchedule::Monthly).amount.0 / 2;
        for (credits, later) in [("unspent", 330), ("none", 0)] {
            let body = json!({ "reason": "ticket 1", "dry_run": true, "amount_minor": half, "credits": credits });
            let planned = shop.app.admin("POST", &path, Some(&body)).await.expect(200);
            assert_eq!((&planned["credits_to_go"], &planned["credits_to_go_later"]), (&json!(0), &json!(later)));
        }
        let all = shop.app.admin("POST", &path, Some(&json!({ "reason": "ticket 1", "dry_run": true }))).await.expect(200);
        assert_eq!(all["credits_to_go_later"], json!(660), "no further month comes");
        shop.close().await;
    }

    async fn a_planned_refund_knows_what_is_credited_by_what_is_not_paid_yet(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let pro = stripe::id(&shop.pro_price().await).to_owned();
        let by_invoice = [("collection_method", "send_invoice"), ("days_until_due", "30")];
        let subscription = shop.subscribe_at_stripe(&stripe_customer, &pro, &by_invoice).await;
        let first = subscription["latest_invoice"].as_str().expect("an invoice").to_owned();
        let paid = shop.ask_stripe("POST", &format!("/v1/invoices/{first}/pay"), &[]).await;
        shop.deliver_event("invoice.paid", &paid).await;
        let planned = async || {
            let planned = shop.planned_refund(&paid).await;
            ["credited_minor", "refundable_minor"].map(|key| planned[key].as_i64().expect("an amount"))
        };
        assert_eq!(planned().await, [0, MONTH]);
        shop.stripe.advance(Duration::from_secs(10 * 24 * 60 * 60)).expect("time passes");

        // More seats, with the default of Stripe: its credit waits for the next invoice.
        shop.change_item(&subscription, &[("items[0][quantity]", "2")]).await;
        let items = shop.stripe.list("invoiceitem");
        let credited: i64 = items.iter().filter_map(|item| item["amount"].as_i64()).filter(|it| *it < 0).sum();
        assert!(credited < 0, "{items:#?}");
        assert_eq!(planned().await, [-credited, MONTH + credited]);

        // A new period: its invoice is sent, and open for weeks.
        let now = [("items[0][quantity]", "3"), ("billing_cycle_anchor", "now")];
        shop.change_item(&shop.subscription(), &now).await;
        let latest = shop.subscription()["latest_invoice"].as_str().expect("an invoice").to_owned();
        assert_eq!(shop.stripe.object(&latest)["status"], "open");
        let path = format!("/admin/v1/payments/{first}/refund");
        let refused = shop.app.admin("POST", &path, Some(&json!({ "reason": "ticket 4711", "dry_run": true }))).await;
        refused.expect_problem(422, "refund_credited");
        shop.ask_stripe("POST", &format!("/v1/invoices/{latest}/void"), &[]).await;
        assert_eq!(planned().await, [0, MONTH], "nothing of that is credited any more");
        shop.close().await;
    }

    async fn what_a_credit_note_put_on_the_balance_is_not_refunded_once_more(backend: Backend) {
        let shop = Shop::selling(backend, &[]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe_to(&customer, "pro", json!({ "price": "pro_monthly" })).await.expect(201);
        let paid = shop.stripe.list("invoice").remove(0);
        let path = format!("/admin/v1/payments/{}/refund", stripe::id(&paid));
        for (noted, left) in [(10_000, MONTH - 10_000), (MONTH - 10_000, 0)] {
            let amount = noted.to_string();
            let form = [("invoice", stripe::id(&paid)), ("credit_amount", amount.as_str())];
            shop.ask_stripe("POST", "/v1/credit_notes", &form).await;
            let body = json!({ "reason": "ticket 1", "amount_minor": left + 1, "credits": "none" });
            shop.app.admin("POST", &path, Some(&body)).await.expect_problem(422, "refund_credited");
            if left > 0 {
                let planned = shop.planned_refund(&paid).await;
                assert_eq!((&planned["credited_minor"], &planned["refundable_minor"]), (&json!(noted), &json!(left)));
            }
        }
        shop.close().await;
    }

    async fn a_refund_is_found_by_its_key_although_its_payment_went_over_to_another_customer(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe_to(&customer, "pro", json!({ "price": "pro_monthly" })).await.expect(201);
        let payment = shop.stored_payment(&shop.stripe.list("invoice").remove(0)).await;
        fn some(payment: &Payment) -> RefundRequest<'_> {
            let credits = CreditsChoice::None;
            RefundRequest { payment, amount: Some(MoneyMinor(50)), beyond_credited: false, credits }
        }
        let plan = shop.plan_refund(some(&payment)).await;
        let made = shop.refund_as_planned(some(&payment), &plan, "once").await;
        assert_eq!(made.state, State::Succeeded);

        let other = shop.app.onboard().await;
        let moved = Payment { customer_id: crate::scene::customer_id(&other), ..payment };
        let again = shop.refund_as_planned(some(&moved), &plan, "once").await;
        assert_eq!((again.id, shop.stripe.calls("POST /v1/refunds")), (made.id.clone(), 1));
        let deps = &shop.app.app.runtime.handlers;
        let deed = |hash| RefundDeed { actor: "test", reason: "ticket 1", idempotency_key: "once", request_hash: hash };
        let found = refund::find_earlier(deps, &moved, deed("once")).await.expect("a query").expect("a refund");
        assert_eq!(found.operation.id, made.id);
        assert!(refund::find_earlier(deps, &moved, deed("another")).await.is_err(), "another request");
        shop.close().await;
    }

    async fn the_operation_of_a_subscription_stands_for_its_first_payment(backend: Backend) {
        let shop = Shop::selling(backend, &[]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe_to(&customer, "pro", json!({ "price": "pro_monthly" })).await.expect(201);
        let first = shop.stripe.list("invoice").remove(0);
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        shop.app.call(&customer, "DELETE", SUBSCRIPTION, "end", None).await.expect(200);
        let operations = shop.app.call(&customer, "GET", "/api/v1/operations", "", None).await.expect(200);
        let path_of = |kind: &str| {
            let mut listed = operations["data"].as_array().expect("operations").iter();
            let id = listed.find(|row| row["kind"] == kind).expect("an operation")["id"].as_str().expect("an id");
            format!("/admin/v1/payments/{id}")
        };
        let made = path_of("subscription_create");
        let shown = shop.app.admin("GET", &made, None).await.expect(200);
        assert_eq!(shown["payment"]["id"], first["id"]);
        let body = json!({ "reason": "ticket 1", "credits": "none", "amount_minor": 100 });
        let given = shop.app.admin("POST", &format!("{made}/refund"), Some(&body)).await.expect(200);
        assert_eq!((&given["payment_id"], &given["state"]), (&first["id"], &json!("succeeded")));
        // One that has no payment of its own says where to look.
        let ended = shop.app.admin("GET", &path_of("subscription_cancel"), None).await;
        ended.expect_problem(404, "not_found");
        assert!(ended.body["detail"].as_str().is_some_and(|said| said.contains("payments list")), "{}", ended.body);
        shop.close().await;
    }

    async fn a_payment_that_is_credited_but_for_a_rounded_cent_is_not_refunded(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe_to(&customer, "pro", json!({ "price": "pro_monthly" })).await.expect(201);
        let first = shop.stripe.list("invoice").remove(0);
        let wanted = json!({ "price": "team_monthly", "when": "now" });
        shop.app.call(&customer, "POST", CHANGE, "up", Some(&wanted)).await.expect(200);
        let paid = shop.net_paid(&customer).await;
        let credited = team_monthly().amount.0 - (paid - MONTH);
        assert!((MONTH - 1..=MONTH).contains(&credited), "{credited}");
        let path = format!("/admin/v1/payments/{}/refund", stripe::id(&first));
        for asked in [json!({}), json!({ "amount_minor": 1 }), json!({ "dry_run": true })] {
            let mut body = json!({ "reason": "ticket 4711" });
            body.as_object_mut().expect("an object").extend(asked.as_object().expect("an object").clone());
            shop.app.admin("POST", &path, Some(&body)).await.expect_problem(422, "refund_credited");
        }
        assert_eq!((shop.net_paid(&customer).await, shop.stripe.calls("POST /v1/refunds")), (paid, 0));
        shop.close().await;
    }
}
