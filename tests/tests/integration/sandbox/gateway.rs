//! Every call of the gateway, against the sandbox. With `BURSAR_SANDBOX_RECORDING` set to a path, the sandbox records
//! the calls there, to be validated against Stripe's OpenAPI document.

use super::scene::{Stripe, id};
use bursar_engine::amount::MoneyMinor;
use bursar_engine::config::Config;
use bursar_engine::infra::stripe::change::ItemChange;
use bursar_engine::infra::stripe::charge::NewRefund;
use bursar_engine::infra::stripe::requests::{Mark, OffSessionPayment, SubscribedItem};
use bursar_engine::infra::stripe::{Gateway, GatewayOptions, StripeError};
use bursar_engine::key::{PlanKey, PriceKey};
use bursar_sandbox::Options;
use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::{Response, Server};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinHandle;

/// The gateway's source, from which its calls are counted.
const SOURCES: [&str; 3] = [
    include_str!("../../../../engine/src/infra/stripe/requests.rs"),
    include_str!("../../../../engine/src/infra/stripe/change.rs"),
    include_str!("../../../../engine/src/infra/stripe/charge.rs"),
];

const FAR_S: i64 = 4_102_444_800;

/// Makes a call that must succeed, and records its name.
macro_rules! call {
    ($done:ident, $gateway:ident . $name:ident ( $($argument:expr),* $(,)? )) => {{
        $done.insert(stringify!($name));
        $gateway.$name($($argument),*).await.unwrap_or_else(|error| panic!("{}: {error}", stringify!($name)))
    }};
}

fn gateway(url: &str) -> Gateway {
    gateway_with(url, |_| {})
}

fn gateway_with(url: &str, change: impl FnOnce(&mut GatewayOptions)) -> Gateway {
    let mut config = Config::default();
    config.stripe.secret_key = "sk_test_gateway".to_owned();
    config.stripe.api_base = url.to_owned();
    let mut options = GatewayOptions::from(&config);
    change(&mut options);
    Gateway::new(options).unwrap()
}

/// A server that answers every call with the same status and body.
struct StandIn {
    url: String,
    calls: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl StandIn {
    async fn start(status: u16, body: &'static [u8]) -> Self {
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
        let address = *acceptor.local_addr()[0].as_socket_addr().unwrap();
        let (status, calls) = (StatusCode::from_u16(status).unwrap(), Arc::<AtomicUsize>::default());
        let counted = calls.clone();
        let endpoint = poem::endpoint::make_sync(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Response::builder().status(status).body(body)
        });
        let server = tokio::spawn(async move { Server::new_with_acceptor(acceptor).run(endpoint).await.unwrap() });
        Self { url: format!("http://{address}"), calls, server }
    }
}

fn calls_in_source() -> BTreeSet<&'static str> {
    let names =
        SOURCES.iter().flat_map(|source| source.lines()).filter_map(|line| line.trim().strip_prefix("pub async fn "));
    names.map(|rest| rest.split(['(', '<']).next().unwrap()).collect()
}

#[tokio::test]
async fn every_call_of_the_gateway_is_answered_by_the_sandbox() {
    let record = std::env::var_os("BURSAR_SANDBOX_RECORDING").map(PathBuf::from);
    let stripe = Stripe::start(Options { record, ..Options::default() }).await;
    let gateway = gateway(&stripe.url());
    let mut done: BTreeSet<&'static str> = BTreeSet::new();

    let customer = id(&call!(done, gateway.customer_create("cst_1", "ada@example.com", "Ada", "k1")));
    call!(done, gateway.customer_retrieve(&customer));
    assert_eq!(call!(done, gateway.customer_list("ada@example.com"))["data"][0]["id"], customer.as_str());
    let moved = call!(done, gateway.customer_set_email(&customer, "bob@example.com", "k43"));
    assert_eq!(moved["email"], "bob@example.com");
    let owner = |customer: &Value| customer["metadata"]["bursar_customer_id"].as_str().map(str::to_owned);
    assert_eq!(owner(&call!(done, gateway.customer_set_owner(&customer, Some("cst_2"), "k41"))), Some("cst_2".into()));
    assert_eq!(owner(&call!(done, gateway.customer_set_owner(&customer, None, "k42"))), None);
    let method = id(&call!(done, gateway.payment_method_attach("pm_card_visa", &customer, "k2")));
    call!(done, gateway.payment_method_retrieve(&method));
    assert_eq!(call!(done, gateway.payment_method_list(&customer))["data"][0]["id"], method.as_str());
    let with_default = call!(done, gateway.customer_set_default(&customer, &method, "k3"));
    assert_eq!(with_default["invoice_settings"]["default_payment_method"], method.as_str());

    pay(&stripe, &gateway, &customer, &method, &mut done).await;
    subscribe(&gateway, &customer, &method, &mut done).await;
    settle(&stripe, &gateway, &customer, &mut done).await;
    resume(&stripe, &gateway, &mut done).await;
    let events = call!(done, gateway.event_list(0, FAR_S, false, None));
    let event = id(&events["data"][0]);
    call!(done, gateway.event_list(0, FAR_S, false, Some(&event)));
    call!(done, gateway.event_list(0, FAR_S, true, None));
    call!(done, gateway.event_retrieve(&event));
    assert_eq!(call!(done, gateway.related_retrieve(&format!("/v1/customers/{customer}")))["id"], customer.as_str());
    call!(done, gateway.customer_list_page(None, FAR_S, None));
    call!(done, gateway.customer_list_page(Some(0), FAR_S, None));
    call!(done, gateway.invoice_list_page(0, FAR_S, None));
    call!(done, gateway.refund_list_page(0, FAR_S, None));
    call!(done, gateway.dispute_list_page(0, FAR_S, None));
    call!(done, gateway.credit_note_list_page(None, FAR_S, None));
    call!(done, gateway.credit_note_list_page(Some(0), FAR_S, None));
    call!(done, gateway.credit_note_list_of(&customer, None));
    let detached = call!(done, gateway.payment_method_detach(&method, "k12"));
    assert_eq!(detached["customer"], Value::Null);
    assert_eq!(done, calls_in_source(), "a call of the gateway is missing here");
}

async fn pay(stripe: &Stripe, gateway: &Gateway, customer: &str, method: &str, done: &mut BTreeSet<&'static str>) {
    let payment = OffSessionPayment {
        amount_minor: MoneyMinor(2_900),
        currency: "usd",
        stripe_customer_id: customer,
        payment_method_id: method,
        description: "One fix",
        customer_id: "cst_1",
        operation: Mark { operation_id: "op_1", round: 1 },
    };
    let answer = call!(done, gateway.payment_create(&payment, "k4"));
    assert_eq!((&answer.body["status"], answer.is_replay), (&Value::from("succeeded"), false));
    let again = call!(done, gateway.payment_create(&payment, "k4"));
    assert_eq!((&again.body["id"], again.is_replay), (&answer.body["id"], true));
    let intent = id(&answer.body);
    call!(done, gateway.payment_retrieve(&intent));
    call!(done, gateway.payment_list(Some(customer), 0, None));
    call!(done, gateway.payment_list(None, 0, Some(&intent)));
    let charge = answer.body["latest_charge"].as_str().unwrap();
    call!(done, gateway.charge_retrieve(charge));
    call!(done, gateway.charge_list(0, FAR_S, None));
    call!(done, gateway.charge_list(0, FAR_S, Some(charge)));
    call!(done, gateway.charge_list_of(customer, None));
    call!(done, gateway.charge_list_of(customer, Some(charge)));
    stripe.post("/v1/refunds", &[("charge", charge), ("amount", "900")]).await;
    let back = NewRefund {
        charge_id: charge,
        amount_minor: MoneyMinor(100),
        customer_id: "cst_1",
        operation: Mark { operation_id: "op_3", round: 1 },
        credits: "unspent",
    };
    assert_eq!(call!(done, gateway.refund_create(&back, "k40"))["metadata"]["bursar_credits"], "unspent");
    assert_eq!(call!(done, gateway.refund_list(charge))["data"][1]["amount"], 900);

    let open = [("amount", "500"), ("currency", "usd"), ("customer", customer)];
    let open = id(&stripe.post("/v1/payment_intents", &open).await);
    assert_eq!(call!(done, gateway.payment_cancel(&open, "k5"))["status"], "canceled");

    let declined = OffSessionPayment { payment_method_id: "pm_card_chargeCustomerFail", ..payment };
    let refused = gateway.payment_create(&declined, "k6").await;
    assert!(matches!(refused, Err(StripeError::Declined(_))), "{refused:?}");
    let disputed =
        id(&stripe.post("/v1/payment_methods/pm_card_createDispute/attach", &[("customer", customer)]).await);
    let disputed = OffSessionPayment { payment_method_id: &disputed, ..payment };
    let answer = call!(done, gateway.payment_create(&disputed, "k7"));
    let charge = answer.body["latest_charge"].as_str().unwrap();
    let dispute = id(&call!(done, gateway.dispute_list(charge))["data"][0]);
    call!(done, gateway.dispute_retrieve(&dispute));
}

async fn subscribe(gateway: &Gateway, customer: &str, method: &str, done: &mut BTreeSet<&'static str>) {
    let price = id(&call!(done, gateway.price_list("pro_monthly"))["data"][0]);
    let mark = Mark { operation_id: "op_2", round: 1 };
    let (key, plan) = (PriceKey::trusted("pro_monthly"), PlanKey::trusted("pro"));
    let item = SubscribedItem { price_id: &price, price: &key, plan: &plan, quantity: 1 };
    let subscription = call!(done, gateway.subscription_create(customer, &item, "cst_1", mark, "k8")).body;
    assert_eq!(subscription["status"], "active");
    assert_eq!(subscription["metadata"]["bursar_price"], "pro_monthly");
    assert_eq!(call!(done, gateway.price_retrieve(&price))["lookup_key"], "pro_monthly");
    let invoice = id(&subscription["latest_invoice"]);
    let subscription = id(&subscription);
    call!(done, gateway.subscription_retrieve(&subscription));
    call!(done, gateway.subscription_retrieve_discounts(&subscription));
    call!(done, gateway.subscription_list(Some(customer), None));
    call!(done, gateway.subscription_list(None, Some(&subscription)));
    assert_eq!(call!(done, gateway.subscription_list_at_price(&price, None))["data"][0]["id"], subscription.as_str());
    call!(done, gateway.subscription_list_at_price(&price, Some(&subscription)));
    call!(done, gateway.subscription_list_page(None, None));
    call!(done, gateway.subscription_list_page(Some(0), Some(&subscription)));
    call!(done, gateway.subscription_set_end(&subscription, true, "k9"));
    call!(done, gateway.subscription_set_end(&subscription, false, "k10"));
    call!(done, gateway.subscription_unset_end(&subscription, "k13"));
    let paid_with = call!(done, gateway.subscription_set_payment_method(&subscription, method, "k14"));
    assert_eq!(paid_with["default_payment_method"], method);
    let found = call!(done, gateway.invoice_retrieve(&invoice));
    let intent = id(&found["payments"]["data"][0]["payment"]["payment_intent"]);
    let lines = call!(done, gateway.invoice_line_list(&invoice, None));
    let line = id(&lines["data"][0]);
    assert_eq!(call!(done, gateway.invoice_line_list(&invoice, Some(&line)))["data"].as_array().map(Vec::len), Some(0));
    let sessions = call!(done, gateway.checkout_session_list(&subscription));
    assert_eq!(sessions["data"].as_array().map(Vec::len), Some(0));
    call!(done, gateway.invoice_list(customer, 10, None));
    call!(done, gateway.invoice_list(customer, 10, Some(&invoice)));
    assert_eq!(call!(done, gateway.invoice_payment_list(&intent))["data"][0]["invoice"], invoice.as_str());
    let notes = call!(done, gateway.credit_note_list(&invoice));
    assert_eq!(notes["data"].as_array().map(Vec::len), Some(0));
    let mine = call!(done, gateway.invoice_list_of_subscription(&subscription, None));
    assert_eq!(mine["data"][0]["id"], invoice.as_str());
    let rest = call!(done, gateway.invoice_list_of_subscription(&subscription, Some(&invoice)));
    assert_eq!(rest["data"].as_array().map(Vec::len), Some(0));
    change(gateway, customer, &subscription, item, done).await;
    assert_eq!(call!(done, gateway.subscription_cancel(&subscription, "k11"))["status"], "canceled");
}

/// Changes what a subscription sells, at once and with the end of its period.
async fn change(
    gateway: &Gateway,
    customer: &str,
    subscription: &str,
    item: SubscribedItem<'_>,
    done: &mut BTreeSet<&'static str>,
) {
    let mark = Mark { operation_id: "op_3", round: 1 };
    let item_id = id(&call!(done, gateway.subscription_retrieve(subscription))["items"]["data"][0]);
    let now =
        ItemChange { subscription_id: subscription, item_id: &item_id, item, keeps_price: false, begins_period: true };
    assert_eq!(call!(done, gateway.change_preview(customer, &now))["object"], "invoice");
    let changed = call!(done, gateway.subscription_change(&now, None, mark, "k20")).body;
    assert_eq!(changed["latest_invoice"]["billing_reason"], "subscription_update");
    let waiting = call!(done, gateway.invoice_item_list_pending(customer));
    assert_eq!(waiting["data"].as_array().map(Vec::len), Some(0));
    let schedule = call!(done, gateway.schedule_create(subscription, "k21"));
    let phases = call!(done, gateway.schedule_add_phase(&schedule, &item, mark, "k22"))["phases"].clone();
    assert_eq!(phases.as_array().map(Vec::len), Some(2));
    assert_eq!(call!(done, gateway.schedule_release(&id(&schedule), "k23"))["status"], "released");
}

/// An open invoice is paid with the customer's default payment method for invoices.
async fn settle(stripe: &Stripe, gateway: &Gateway, customer: &str, done: &mut BTreeSet<&'static str>) {
    let item = [("customer", customer), ("amount", "700"), ("currency", "usd")];
    stripe.post("/v1/invoiceitems", &item).await;
    let form = [("customer", customer), ("pending_invoice_items_behavior", "include"), ("auto_advance", "false")];
    let invoice = id(&stripe.post("/v1/invoices", &form).await);
    stripe.post(&format!("/v1/invoices/{invoice}/finalize"), &[("auto_advance", "false")]).await;
    assert_eq!(call!(done, gateway.invoice_pay(&invoice, "k15"))["status"], "paid");
}

/// A trial that ended without a payment method pauses its subscription until there is one.
async fn resume(stripe: &Stripe, gateway: &Gateway, done: &mut BTreeSet<&'static str>) {
    let customer = id(&call!(done, gateway.customer_create("cst_2", "bob@example.com", "Bob", "k16")));
    let price = id(&call!(done, gateway.price_list("pro_monthly"))["data"][0]);
    let trial = [
        ("customer", customer.as_str()),
        ("items[0][price]", price.as_str()),
        ("trial_period_days", "7"),
        ("trial_settings[end_behavior][missing_payment_method]", "pause"),
    ];
    let subscription = id(&stripe.post("/v1/subscriptions", &trial).await);
    let paused = stripe.post(&format!("/v1/subscriptions/{subscription}"), &[("trial_end", "now")]).await;
    assert_eq!(paused["status"], "paused");
    let method = id(&call!(done, gateway.payment_method_attach("pm_card_visa", &customer, "k17")));
    call!(done, gateway.customer_set_default(&customer, &method, "k18"));
    assert_eq!(call!(done, gateway.subscription_resume(&subscription, "k19"))["status"], "active");
}

#[tokio::test]
async fn refused_connections_did_nothing_and_open_the_circuit_breaker() {
    let gateway = gateway_with("http://127.0.0.1:1", |options| {
        options.retry.tries_max = 1;
        (options.breaker.failures_max, options.breaker.open_ms) = (3, 60_000);
    });
    for round in 0..4 {
        let Err(StripeError::NotDone { reason }) = gateway.price_list("pro").await else { panic!("{round}") };
        assert_eq!(reason.contains("circuit breaker"), round == 3, "{reason}");
        assert!(!reason.contains("127.0.0.1"), "an address may carry ids: {reason}");
    }
}

#[tokio::test]
async fn an_invalid_base_url_is_an_error_and_nothing_was_done() {
    let gateway = gateway_with("http://[nowhere", |options| options.retry.tries_max = 1);
    let answer = gateway.price_list("pro").await;
    assert!(matches!(answer, Err(StripeError::NotDone { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_call_that_waits_too_long_for_the_rate_limit_was_not_made() {
    let stand_in = StandIn::start(200, b"{}").await;
    let gateway = gateway_with(&stand_in.url, |options| {
        (options.rate_per_s, options.endpoint_rate_per_s, options.total_timeout_ms) = (1, 1, 500);
        options.retry.tries_max = 1;
    });
    gateway.price_list("pro").await.unwrap();
    let Err(StripeError::NotDone { reason }) = gateway.price_list("pro").await else { panic!("it had to wait") };
    assert!(reason.contains("waiting for Stripe's rate limit"), "{reason}");
    assert_eq!(stand_in.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_malformed_or_oversized_answer_leaves_the_outcome_unknown() {
    static HUGE: &[u8] = &[b' '; 17 * 1_024 * 1_024];
    for (body, expected) in [(b"<html>".as_slice(), "not JSON"), (HUGE, "larger than")] {
        let stand_in = StandIn::start(200, body).await;
        let gateway = gateway_with(&stand_in.url, |options| options.retry.tries_max = 1);
        let Err(StripeError::Unknown { reason, is_stored: false }) = gateway.price_list("pro").await else {
            panic!("{expected}")
        };
        assert!(reason.contains(expected), "{reason}");
    }
}

#[tokio::test]
async fn a_retry_beyond_the_deadline_is_not_made() {
    let stand_in = StandIn::start(503, br#"{"error":{"message":"later"}}"#).await;
    let gateway = gateway_with(&stand_in.url, |options| {
        (options.retry.tries_max, options.retry.base_ms, options.retry.wait_max_ms) = (9, 60_000, 60_000);
    });
    let answer = gateway.price_list("pro").await;
    assert!(matches!(&answer, Err(StripeError::Unknown { reason, .. }) if reason.contains("later")), "{answer:?}");
    assert_eq!(stand_in.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_thin_events_url_is_fetched_only_if_it_is_an_api_path() {
    let stripe = Stripe::start(Options::default()).await;
    let gateway = gateway(&stripe.url());
    for url in ["", "/v2/a", "/v1", "/v1customers", "/v1/a?b=c", "/v1/a#b", "/v1/%2e", "/v1/a\\b", "/v1/../b"] {
        let answer = gateway.related_retrieve(url).await;
        let Err(StripeError::NotFound { message }) = &answer else { panic!("{url}: {answer:?}") };
        assert!(message.contains("no address of an object"), "{url}: {message}");
    }
}

#[tokio::test]
async fn a_printed_gateway_does_not_show_its_key() {
    let printed = format!("{:?}", gateway("http://127.0.0.1:1"));
    assert!(printed.contains("127.0.0.1") && !printed.contains("sk_test"), "{printed}");
}
