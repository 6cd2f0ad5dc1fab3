//! Events that refer to Bursar's objects in unusual ways, or to none of them.

mod invoice;
mod link;
mod refund;

use super::interceptor::{Interception, error};
use super::unusual_answer::answers_404;
use super::*;
use crate::database::texts;
use crate::scene::{PERIOD, admin_post, delay_job, events, replay_event, resume_job_without, with_backend};
use bursar_engine::ids::{CustomerId, OperationId};

impl Shop {
    /// Delivers an event about an object and waits until it is dead; returns the reason.
    async fn deliver_dead_event(&self, event_type: &str, object: &Value) -> String {
        let event = stripe::event(event_type, object);
        self.app.deliver(&event).await.expect(200);
        let dead = self.app.event_in_state(stripe::id(&event), "dead").await;
        dead["event"]["last_error"].as_str().expect("a reason").to_owned()
    }

    /// Makes a payment of a Stripe customer outside of Bursar; returns its charge.
    async fn paid_elsewhere(&self, stripe_customer: &str, amount: &str, metadata: &[(&str, &str)]) -> String {
        let method =
            self.ask_stripe("POST", "/v1/payment_methods/pm_card_visa/attach", &[("customer", stripe_customer)]).await;
        let mut form = vec![
            ("amount", amount),
            ("currency", "usd"),
            ("customer", stripe_customer),
            ("payment_method", stripe::id(&method)),
            ("confirm", "true"),
            ("off_session", "true"),
        ];
        form.extend(metadata);
        let intent = self.ask_stripe("POST", "/v1/payment_intents", &form).await;
        intent["latest_charge"].as_str().expect("a charge").to_owned()
    }
}

with_shop! {
    async fn objects_without_an_id_are_read_as_they_are_and_change_nothing(shop: &Shop) {
        let customer = shop.pro().await;
        let without_id = |object: &Value| {
            let mut object = object.clone();
            object["id"] = Value::Null;
            object
        };
        let subscription = shop.subscription();
        let invoice = shop.stripe.object(subscription["latest_invoice"].as_str().expect("an invoice"));
        let reason = shop.deliver_dead_event("customer.subscription.updated", &without_id(&subscription)).await;
        assert!(reason.contains("shape_incomplete"), "{reason}");
        shop.deliver_event("invoice.payment_failed", &without_id(&invoice)).await;
        let intent = shop.stripe.list("payment_intent").remove(0);
        shop.deliver_event("payment_intent.succeeded", &without_id(&intent)).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }

    async fn a_foreign_customers_event_is_ignored_and_one_naming_ours_is_retried(shop: &Shop) {
        let stranger = json!({ "id": "cus_else", "object": "customer", "metadata": {} });
        shop.deliver_event("customer.updated", &stranger).await;
        let nobody = CustomerId::new();
        let mut invoice = stripe::pro_invoice("cus_unknown", None);
        invoice["metadata"] = json!({ "bursar_customer_id": nobody.as_str() });
        invoice["customer"] = Value::Null;
        let reason = shop.deliver_dead_event("invoice.paid", &invoice).await;
        assert!(reason.contains("customer_unknown") && reason.contains(nobody.as_str()), "{reason}");
    }

    async fn events_about_unknown_customers_and_cards_change_nothing(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let ours = json!({ "bursar_customer_id": customer.id });
        for (event_type, object) in [
            ("payment_method.attached", json!({ "id": null, "object": "payment_method" })),
            ("payment_method.attached", json!({ "id": "pm_else", "object": "payment_method", "customer": "cus_else" })),
            ("payment_method.detached", json!({ "id": "pm_else", "object": "payment_method", "customer": null })),
            ("customer.updated", json!({ "id": null, "object": "customer", "metadata": ours })),
            // Another Stripe customer that claims to be ours, which is linked to its own.
            ("customer.deleted", json!({ "id": "cus_else", "object": "customer", "metadata": ours })),
        ] {
            shop.deliver_event(event_type, &object).await;
        }
        let methods = shop.app.call(&customer, "GET", "/api/v1/payment-methods", "", None).await.expect(200);
        assert_eq!(methods["data"].as_array().map(Vec::len), Some(1));
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        assert_eq!(shop.net_paid(&customer).await, UNIT);
    }

    async fn an_event_without_an_object_is_dead_as_unreadable(shop: &Shop) {
        let mut event = stripe::event("invoice.paid", &Value::Null);
        event["data"] = json!({});
        shop.app.deliver(&event).await.expect(200);
        let dead = shop.app.event_in_state(stripe::id(&event), "dead").await;
        assert!(dead["event"]["last_error"].as_str().expect("a reason").contains("unreadable"), "{dead}");
    }

    async fn an_unreadable_or_ignored_event_ends_the_same_when_replayed(shop: &Shop) {
        shop.app.deliver_bytes(b"{").await.expect(200);
        let kept = wait::until("the event is kept", || async { events(&shop.app, "type=unreadable").await.pop() }).await;
        let dead = replay_event(&shop.app, kept["external_id"].as_str().expect("an id"), "dead").await;
        assert!(dead["event"]["last_error"].as_str().expect("a reason").contains("unreadable"), "{dead}");
        let other = stripe::event("product.created", &json!({ "id": "prod_1", "object": "product" }));
        shop.app.deliver(&other).await.expect(200);
        shop.app.event_in_state(stripe::id(&other), "processed").await;
        replay_event(&shop.app, stripe::id(&other), "processed").await;
    }

    async fn a_job_whose_event_is_gone_is_dead_and_says_why(shop: &Shop) {
        let customer = shop.pro().await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let stream = format!("/admin/v1/streams/stripe:{stripe_customer}");
        admin_post(&shop.app, &format!("{stream}/pause"), "test").await.expect(200);
        let event = stripe::event("customer.subscription.updated", &shop.subscription());
        shop.app.deliver(&event).await.expect(200);
        let waiting = "SELECT id FROM jobs WHERE kind = 'stripe.event' AND state = 'available'";
        let job = texts(&shop.app, waiting).await.pop().expect("a job");
        let event_id = texts(&shop.app, &format!("SELECT event_id FROM jobs WHERE id = '{job}'")).await.remove(0);
        sql(&shop.app, &format!("UPDATE jobs SET event_id = NULL WHERE id = '{job}'")).await;
        admin_post(&shop.app, &format!("{stream}/resume"), "test").await.expect(200);
        let reason = wait::until("the job is dead", || async {
            texts(&shop.app, &format!("SELECT last_error FROM jobs WHERE id = '{job}' AND state = 'dead'")).await.pop()
        })
        .await;
        assert_eq!(reason, "the event's bytes are gone");
        sql(&shop.app, &format!("UPDATE jobs SET event_id = '{event_id}' WHERE id = '{job}'")).await;
    }

    async fn other_business_is_ignored_and_pro_of_an_unknown_customer_is_reported(shop: &Shop) {
        let stranger = shop.ask_stripe("POST", "/v1/customers", &[("email", "else@example.com")]).await;
        let stranger = stripe::id(&stranger).to_owned();
        let attach = [("customer", stranger.as_str())];
        let method = shop.ask_stripe("POST", "/v1/payment_methods/pm_card_visa/attach", &attach).await;
        let pay = [("invoice_settings[default_payment_method]", stripe::id(&method))];
        shop.ask_stripe("POST", &format!("/v1/customers/{stranger}"), &pay).await;
        let form = [
            ("unit_amount", "500"),
            ("currency", "usd"),
            ("recurring[interval]", "month"),
            ("product_data[name]", "Else"),
            ("lookup_key", "else"),
        ];
        let other = shop.ask_stripe("POST", "/v1/prices", &form).await;
        let pro = shop.ask_stripe("GET", "/v1/prices?lookup_keys[]=pro_monthly", &[]).await;
        for (price, is_pro) in [(&other, false), (&pro["data"][0], true)] {
            let form = [("customer", stranger.as_str()), ("items[0][price]", stripe::id(price))];
            let made = shop.ask_stripe("POST", "/v1/subscriptions", &form).await;
            if is_pro {
                let reason = shop.deliver_dead_event("customer.subscription.updated", &made).await;
                assert!(reason.contains("customer_unknown"), "{reason}");
            } else {
                shop.deliver_event("customer.subscription.updated", &made).await;
            }
        }
    }

    async fn payments_without_a_charging_operation_change_nothing(shop: &Shop) {
        let customer = shop.pro().await;
        let operations = shop.app.call(&customer, "GET", "/api/v1/operations", "", None).await.expect(200);
        let mut rows = operations["data"].as_array().expect("rows").iter();
        let subscribe = rows.find(|row| row["kind"] == "subscription_create").expect("it was subscribed")["id"].clone();
        for operation in [json!(OperationId::new().as_str()), subscribe] {
            let intent = json!({
                "id": "pi_unknown", "object": "payment_intent", "status": "succeeded", "amount": UNIT,
                "metadata": { "bursar_operation_id": operation },
            });
            shop.deliver_event("payment_intent.succeeded", &intent).await;
        }
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }
}

with_backend! {
    async fn a_database_failure_during_an_event_delays_it(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let methods = shop.app.call(&customer, "GET", "/api/v1/payment-methods", "", None).await.expect(200);
        let id = methods["data"][0]["id"].as_str().expect("an id").to_owned();
        let path = format!("/v1/payment_methods/{id}");
        shop.ask_stripe("POST", &format!("{path}/detach"), &[]).await;
        // Stripe cannot be asked at first, so that there is a waiting attempt.
        interceptor.intercept(1, "GET", &path, Interception::Blocked(429, error("invalid_request_error", "rate_limit")));
        let event = stripe::event("payment_method.detached", &shop.stripe.object(&id));
        shop.app.deliver(&event).await.expect(200);
        let job = delay_job(&shop.app, "stripe.event").await;
        resume_job_without(&shop.app, &job, "payment_methods").await;
        shop.app.event_in_state(stripe::id(&event), "processed").await;
        let methods = shop.app.call(&customer, "GET", "/api/v1/payment-methods", "", None).await.expect(200);
        assert_eq!(methods["data"], json!([]));
        shop.close().await;
    }
}
