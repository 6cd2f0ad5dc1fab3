//! Effects of events on credits, plans and subscriptions.

use super::*;
use bursar_tests::Backend;

async fn deliver_and_wait(app: &TestApp, event: &Value) {
    app.deliver(event).await.expect(200);
    app.event_in_state(stripe::id(event), "processed").await;
}

/// A customer as support sees it.
async fn shown(app: &TestApp, customer: &TestCustomer) -> Value {
    app.admin("GET", &format!("/admin/v1/customers/{}", customer.id), None).await.expect(200)
}

async fn plan(app: &TestApp, customer: &TestCustomer) -> String {
    let me = app.call(customer, "GET", "/api/v1/customer", "", None).await.expect(200);
    me["plan"].as_str().unwrap().to_owned()
}

fn subscription(event_type: &str, stripe_customer: &str, customer: &TestCustomer, status: &str) -> Value {
    let object = stripe::pro_subscription(stripe_customer, Some(&customer.id), status);
    stripe::event(&format!("customer.subscription.{event_type}"), &object)
}

with_app! {
    async fn one_payment_grants_once_for_any_of_its_events_in_any_order(app: &TestApp) {
        let types = ["invoice.paid", "invoice.payment_succeeded"];
        for order in [[types[0], types[1]], [types[1], types[0]]] {
            let customer = app.onboard().await;
            let invoice = stripe::pro_invoice(&cus(), Some(&customer.id));
            for event_type in order {
                deliver_and_wait(app, &stripe::event(event_type, &invoice)).await;
                assert_eq!(app.balance(&customer).await, 65, "after {event_type} of {order:?}");
            }
        }
        let customer = app.onboard().await;
        let invoice = stripe::pro_invoice(&cus(), Some(&customer.id));
        let at_once: Vec<Value> = (0..10).map(|n| stripe::event(types[n % 2], &invoice)).collect();
        join_all(at_once.iter().map(|event| deliver_and_wait(app, event))).await;
        assert_eq!(app.balance(&customer).await, 65);
        app.verify().await;
    }

    async fn each_paid_period_grants_and_the_ledger_says_for_which_invoice(app: &TestApp) {
        let (customer, stripe_customer) = (app.onboard().await, cus());
        let first = stripe::pro_invoice(&stripe_customer, Some(&customer.id));
        // The second names only the Stripe customer, which is known by then.
        let second = stripe::pro_invoice(&stripe_customer, None);
        for invoice in [&first, &second] {
            deliver_and_wait(app, &stripe::event("invoice.paid", invoice)).await;
        }
        assert_eq!(app.balance(&customer).await, 125);
        let page = app.call(&customer, "GET", "/api/v1/credits/transactions", "", None).await.expect(200);
        let mut grant = scrubbed(&page["data"][0]);
        assert_eq!(page["data"][0]["reference"], second["id"]);
        grant["reference"] = json!("[invoice]");
        assert_body!(grant, @r#"
        {
          "amount": 60,
          "balance_after": 125,
          "burned": [],
          "created_at": "[time]",
          "grant_kind": "included",
          "held_after": 0,
          "held_change": 0,
          "id": "txn_…_3",
          "kind": "grant",
          "reference": "[invoice]",
          "source": "stripe"
        }
        "#);
        assert_eq!(shown(app, &customer).await["customer"]["stripe_customer_id"], stripe_customer);
    }

    async fn invoices_that_pay_no_period_of_pro_grant_nothing(app: &TestApp) {
        let customer = app.onboard().await;
        let stripe_customer = cus();
        let change = |change: fn(&mut Value)| {
            let mut invoice = stripe::pro_invoice(&stripe_customer, Some(&customer.id));
            change(&mut invoice);
            invoice
        };
        let invoices = [
            change(|invoice| invoice["total"] = json!(0)),
            // A trial.
            change(|invoice| invoice["lines"]["data"][0]["amount"] = json!(0)),
            // A period that a discount leaves nothing of.
            change(|invoice| invoice["lines"]["data"][0]["discount_amounts"] = json!([{ "amount": 59_900 }])),
            change(|invoice| invoice["status"] = json!("open")),
            change(|invoice| {
                let line = &mut invoice["lines"]["data"][0];
                line["parent"]["subscription_item_details"]["proration"] = json!(true);
            }),
            change(|invoice| {
                let line = &mut invoice["lines"]["data"][0];
                let details = json!({ "proration": true });
                line["parent"] = json!({ "type": "invoice_item_details", "invoice_item_details": details });
            }),
            change(|invoice| {
                let price = &mut invoice["lines"]["data"][0]["pricing"]["price_details"]["price"];
                *price = json!({ "id": "price_other", "object": "price", "lookup_key": null, "metadata": {} });
            }),
        ];
        for invoice in &invoices {
            for event_type in ["invoice.paid", "invoice.payment_succeeded"] {
                deliver_and_wait(app, &stripe::event(event_type, invoice)).await;
            }
            assert_eq!(app.balance(&customer).await, 5, "{invoice}");
        }
        assert_eq!(plan(app, &customer).await, "trial");
        app.verify().await;
    }

    async fn a_paid_period_grants_whatever_the_invoice_was_made_for(app: &TestApp) {
        let (customer, stripe_customer) = (app.onboard().await, cus());
        let reasons = [json!("subscription_update"), json!("manual"), json!("upcoming"), Value::Null];
        for (n, reason) in (1..).zip(reasons) {
            let mut invoice = stripe::pro_invoice(&stripe_customer, Some(&customer.id));
            invoice["billing_reason"] = reason;
            for event_type in ["invoice.paid", "invoice.payment_succeeded"] {
                deliver_and_wait(app, &stripe::event(event_type, &invoice)).await;
            }
            assert_eq!(app.balance(&customer).await, 5 + n * 60, "{invoice}");
        }
        // What was paid from the customer's balance or out of band counts as well.
        let mut invoice = stripe::pro_invoice(&stripe_customer, None);
        invoice["amount_paid"] = json!(0);
        deliver_and_wait(app, &stripe::event("invoice.paid", &invoice)).await;
        assert_eq!(app.balance(&customer).await, 5 + 5 * 60);
        app.verify().await;
    }

    async fn the_plan_follows_the_subscription_and_credits_stay_when_it_ends(app: &TestApp) {
        let (customer, stripe_customer) = (app.onboard().await, cus());
        deliver_and_wait(app, &subscription("created", &stripe_customer, &customer, "incomplete")).await;
        assert_eq!(plan(app, &customer).await, "trial");
        deliver_and_wait(app, &subscription("updated", &stripe_customer, &customer, "active")).await;
        assert_eq!(plan(app, &customer).await, "pro");
        let invoice = stripe::pro_invoice(&stripe_customer, None);
        deliver_and_wait(app, &stripe::event("invoice.paid", &invoice)).await;

        let mut ending = subscription("updated", &stripe_customer, &customer, "active");
        ending["data"]["object"]["cancel_at_period_end"] = json!(true);
        deliver_and_wait(app, &ending).await;
        let seen = shown(app, &customer).await;
        assert_eq!(seen["customer"]["plan"], "pro");
        assert_eq!(seen["subscriptions"][0]["cancel_at_period_end"], true);

        deliver_and_wait(app, &subscription("deleted", &stripe_customer, &customer, "canceled")).await;
        let seen = shown(app, &customer).await;
        assert_eq!(seen["customer"]["plan"], "pay_as_you_go");
        assert!(seen["subscriptions"][0]["ended_at"].is_string(), "{seen}");
        assert_eq!(app.balance(&customer).await, 65);
        app.verify().await;
    }

    async fn a_late_update_after_the_end_does_not_revive_pro(app: &TestApp) {
        let (customer, stripe_customer) = (app.onboard().await, cus());
        deliver_and_wait(app, &subscription("created", &stripe_customer, &customer, "active")).await;
        let end = subscription("deleted", &stripe_customer, &customer, "canceled");
        deliver_and_wait(app, &end).await;
        let before = shown(app, &customer).await;
        for late in ["updated", "created", "updated"] {
            deliver_and_wait(app, &subscription(late, &stripe_customer, &customer, "active")).await;
        }
        let mut end_again = end.clone();
        end_again["id"] = json!(format!("evt_{}", unique()));
        deliver_and_wait(app, &end_again).await;
        assert_eq!(shown(app, &customer).await, before);
        assert_eq!(before["customer"]["plan"], "pay_as_you_go");
        // The same if the end was the first known event.
        let (other, stripe_other) = (app.onboard().await, cus());
        deliver_and_wait(app, &subscription("deleted", &stripe_other, &other, "canceled")).await;
        deliver_and_wait(app, &subscription("updated", &stripe_other, &other, "active")).await;
        deliver_and_wait(app, &subscription("created", &stripe_other, &other, "active")).await;
        assert_ne!(plan(app, &other).await, "pro");
    }

    async fn a_period_paid_for_before_the_end_is_granted_but_does_not_bring_pro_back(app: &TestApp) {
        let (customer, stripe_customer) = (app.onboard().await, cus());
        deliver_and_wait(app, &subscription("deleted", &stripe_customer, &customer, "canceled")).await;
        let invoice = stripe::pro_invoice(&stripe_customer, None);
        deliver_and_wait(app, &stripe::event("invoice.paid", &invoice)).await;
        assert_eq!(app.balance(&customer).await, 65);
        assert_eq!(plan(app, &customer).await, "pay_as_you_go");
    }

    async fn a_failed_payment_makes_the_subscription_past_due_and_keeps_the_credits(app: &TestApp) {
        let (customer, stripe_customer) = (app.onboard().await, cus());
        deliver_and_wait(app, &subscription("created", &stripe_customer, &customer, "active")).await;
        let first = stripe::pro_invoice(&stripe_customer, None);
        deliver_and_wait(app, &stripe::event("invoice.paid", &first)).await;

        let mut unpaid = stripe::pro_invoice(&stripe_customer, None);
        unpaid["status"] = json!("open");
        unpaid["amount_paid"] = json!(0);
        let error = json!({ "message": "Your card was declined.", "decline_code": "do_not_honor" });
        let intent = json!({ "id": "pi_1", "last_payment_error": error });
        let payment = json!({ "payment": { "type": "payment_intent", "payment_intent": intent } });
        unpaid["payments"] = json!({ "object": "list", "data": [payment] });
        deliver_and_wait(app, &stripe::event("invoice.payment_failed", &unpaid)).await;
        let seen = shown(app, &customer).await;
        let late = &seen["subscriptions"][0];
        assert_eq!(late["status"], "past_due");
        assert_eq!(late["past_due_reason"], "Your card was declined. (do_not_honor); attempt 1");
        assert!(late["past_due_since"].is_string());
        assert_eq!((&seen["customer"]["plan"], &seen["credits"]["balance"]), (&json!("pro"), &json!(65)));

        // Stripe's own event agrees, and the date does not change.
        let mut said = subscription("updated", &stripe_customer, &customer, "past_due");
        let period_end = unpaid["lines"]["data"][0]["period"]["end"].clone();
        said["data"]["object"]["items"]["data"][0]["current_period_end"] = period_end;
        deliver_and_wait(app, &said).await;
        let still = &shown(app, &customer).await["subscriptions"][0];
        for field in ["status", "past_due_since", "past_due_reason"] {
            assert_eq!(still[field], late[field]);
        }

        unpaid["status"] = json!("paid");
        unpaid["amount_paid"] = json!(59_900);
        deliver_and_wait(app, &stripe::event("invoice.paid", &unpaid)).await;
        let seen = shown(app, &customer).await;
        let paid = &seen["subscriptions"][0];
        assert_eq!(paid["status"], "active");
        assert_eq!([&paid["past_due_since"], &paid["past_due_reason"]], [&Value::Null, &Value::Null]);
        assert_eq!(seen["credits"]["balance"], 125);

        // A late repetition of the failure, older than the payment.
        unpaid["status"] = json!("open");
        deliver_and_wait(app, &stripe::event("invoice.payment_failed", &unpaid)).await;
        assert_eq!(shown(app, &customer).await["subscriptions"][0], *paid);
        app.verify().await;
    }

    async fn a_payment_of_another_stripe_customer_that_names_ours_counts_and_the_link_stays(app: &TestApp) {
        let (customer, stripe_customer) = (app.onboard().await, cus());
        let invoice = stripe::pro_invoice(&stripe_customer, Some(&customer.id));
        deliver_and_wait(app, &stripe::event("invoice.paid", &invoice)).await;
        // Its metadata names our customer, and it was paid by a Stripe customer of its own, as by a Payment Link.
        let other = cus();
        let invoice = stripe::pro_invoice(&other, Some(&customer.id));
        deliver_and_wait(app, &stripe::event("invoice.paid", &invoice)).await;
        // From now on that Stripe customer is ours without being named.
        deliver_and_wait(app, &stripe::event("invoice.paid", &stripe::pro_invoice(&other, None))).await;
        assert_eq!(app.balance(&customer).await, 5 + 3 * 60);
        assert_eq!(shown(app, &customer).await["customer"]["stripe_customer_id"], stripe_customer);
        app.verify().await;
    }

    async fn a_payment_for_another_customers_subscription_grants_nothing(app: &TestApp) {
        let (one, other, stripe_customer) = (app.onboard().await, app.onboard().await, cus());
        let invoice = stripe::pro_invoice(&stripe_customer, Some(&one.id));
        deliver_and_wait(app, &stripe::event("invoice.paid", &invoice)).await;
        let mut odd = stripe::pro_invoice(&cus(), Some(&other.id));
        odd["parent"]["subscription_details"]["subscription"] =
            invoice["parent"]["subscription_details"]["subscription"].clone();
        let event = stripe::event("invoice.paid", &odd);
        app.deliver(&event).await.expect(200);
        let dead = app.event_in_state(stripe::id(&event), "dead").await;
        assert!(dead["event"]["last_error"].as_str().unwrap().starts_with("customer_mismatch"), "{dead}");
        assert_eq!((app.balance(&one).await, app.balance(&other).await), (65, 5));
    }
}

// Production only: SQLite serves one process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_delivered_to_two_nodes_at_once_grant_once() {
    let one = TestApp::start(Backend::Production).await;
    let two = TestApp::start_on(one.config.clone(), None).await;
    let nodes = [&one, &two];
    let (customer, stripe_customer) = (one.onboard().await, cus());
    let mut events = Vec::new();
    for _ in 0..5 {
        let invoice = stripe::pro_invoice(&stripe_customer, Some(&customer.id));
        events.push(stripe::event("invoice.paid", &invoice));
        events.push(stripe::event("invoice.payment_succeeded", &invoice));
    }
    let copies = (0..60).map(|n| nodes[n / 10 % 2].deliver(&events[n % 10]));
    for answer in join_all(copies).await {
        answer.expect(200);
    }
    for event in &events {
        let found = two.event_in_state(stripe::id(event), "processed").await;
        assert_eq!(found["event"]["deliveries"], 6);
        assert_eq!(found["attempts"].as_array().unwrap().len(), 1, "nobody did it again: {found}");
    }
    assert_eq!((number(&one, EVENTS, []).await, two.balance(&customer).await), (10, 5 + 5 * 60));
    one.verify().await;
    two.stop().await;
    one.stop().await;
}
