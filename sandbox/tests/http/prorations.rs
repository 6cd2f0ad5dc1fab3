//! What a change within a period credits and debits, in both billing modes. Times are exact: customers have a test clock.

use crate::client::{Client, text};
use serde_json::{Value, json};

const DAY_S: i64 = 86_400;
/// 2027-04-01, the beginning of a month of 30 days.
const APRIL_S: i64 = 1_806_537_600;
/// 2027-02-01, the beginning of a month of 28 days.
const FEBRUARY_S: i64 = 1_801_440_000;

/// A customer with a card in a time of its own, and its subscription.
struct Subscriber {
    client: Client,
    clock: String,
    customer: String,
    subscription: String,
}

impl Subscriber {
    /// Subscribes a new customer at a time, with more parameters.
    async fn new(begin_s: i64, prices: &[i64], more: &[(&str, &str)]) -> Self {
        let client = Client::start().await;
        let clock = client.post("/v1/test_helpers/test_clocks", &[("frozen_time", &begin_s.to_string())]).await.id();
        let new = [("test_clock", clock.as_str()), ("payment_method", "pm_card_visa")];
        let customer = client.post("/v1/customers", &new).await.id();
        let methods = client.get(&format!("/v1/customers/{customer}/payment_methods"), &[]).await.body;
        let method = text(&methods["data"][0], "id");
        let mut form = vec![("customer".to_owned(), customer.clone()), ("default_payment_method".to_owned(), method)];
        for (at, amount) in prices.iter().enumerate() {
            form.push((format!("items[{at}][price]"), monthly(&client, *amount).await));
        }
        let mut form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        form.extend(more);
        let coupon = [("id", "half"), ("percent_off", "50"), ("duration", "once")];
        client.post("/v1/coupons", &coupon).await;
        let coupon = [("id", "five"), ("amount_off", "500"), ("currency", "usd"), ("duration", "once")];
        client.post("/v1/coupons", &coupon).await;
        let made = client.post("/v1/subscriptions", &form).await;
        assert_eq!(made.status, 200, "{}", made.body);
        Self { clock, customer, subscription: made.id(), client }
    }

    async fn pass_days(&self, days: i64) {
        let path = format!("/v1/test_helpers/test_clocks/{}", self.clock);
        let now_s = self.client.get(&path, &[]).await.body["frozen_time"].as_i64().expect("a time");
        let to_s = (now_s + days * DAY_S).to_string();
        assert_eq!(self.client.post(&format!("{path}/advance"), &[("frozen_time", &to_s)]).await.status, 200);
    }

    async fn update(&self, form: &[(&str, &str)]) -> Value {
        let changed = self.client.post(&format!("/v1/subscriptions/{}", self.subscription), form).await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        changed.body
    }

    /// Changes an item to another price.
    async fn change(&self, item: usize, amount: i64, behavior: &str) -> Value {
        let price = monthly(&self.client, amount).await;
        let item = text(&self.client.sandbox.object(&self.subscription)["items"]["data"][item], "id");
        self.update(&[("items[0][id]", &item), ("items[0][price]", &price), ("proration_behavior", behavior)]).await
    }

    /// The amounts of all prorations, oldest first.
    fn prorations(&self) -> Vec<i64> {
        let rows = self.client.sandbox.list("invoiceitem");
        rows.iter().map(|row| row["amount"].as_i64().expect("an amount")).collect()
    }

    fn latest_invoice(&self) -> Value {
        let id = text(&self.client.sandbox.object(&self.subscription), "latest_invoice");
        self.client.sandbox.object(&id)
    }
}

/// The id of a new monthly price.
async fn monthly(client: &Client, amount: i64) -> String {
    let amount = amount.to_string();
    let form = [
        ("currency", "usd"),
        ("unit_amount", amount.as_str()),
        ("recurring[interval]", "month"),
        ("product_data[name]", "A plan"),
    ];
    client.post("/v1/prices", &form).await.id()
}

#[tokio::test]
async fn a_credit_is_of_what_was_billed_and_in_classic_mode_of_the_present_price() {
    // The example of Stripe's page "Prorations".
    for (mode, credit, total) in [("flexible", -333, 0), ("classic", -667, -334)] {
        let subscriber = Subscriber::new(APRIL_S, &[1_000], &[("billing_mode[type]", mode)]).await;
        subscriber.pass_days(10).await;
        subscriber.change(0, 2_000, "none").await;
        assert_eq!(subscriber.prorations(), [0; 0], "{mode}");
        subscriber.pass_days(10).await;
        let changed = subscriber.change(0, 1_000, "always_invoice").await;
        assert_eq!(changed["billing_mode"]["type"], mode);
        assert_eq!(subscriber.prorations(), [credit, 333], "{mode}");
        assert_eq!(subscriber.latest_invoice()["total"], total, "{mode}");
    }
}

#[tokio::test]
async fn a_credit_is_of_what_was_paid_after_the_coupon_that_halved_it_is_used_up() {
    for (mode, credit) in [("flexible", -500), ("classic", -1_000)] {
        let more = [("billing_mode[type]", mode), ("discounts[0][coupon]", "half")];
        let subscriber = Subscriber::new(APRIL_S, &[3_000], &more).await;
        assert_eq!(subscriber.latest_invoice()["amount_paid"], 1_500);
        assert_eq!(subscriber.client.sandbox.object(&subscriber.subscription)["discounts"], json!([]));
        subscriber.pass_days(20).await;
        subscriber.change(0, 6_000, "create_prorations").await;
        assert_eq!(subscriber.prorations(), [credit, 2_000], "{mode}");
    }
}

#[tokio::test]
async fn a_coupon_of_the_same_call_reduces_the_debit_and_not_the_credit() {
    let subscriber = Subscriber::new(APRIL_S, &[3_000], &[]).await;
    subscriber.pass_days(20).await;
    let price = monthly(&subscriber.client, 6_000).await;
    subscriber.update(&[("items[0][price]", &price), ("discounts[0][coupon]", "half")]).await;
    assert_eq!(subscriber.prorations(), [-1_000, 1_000]);
}

#[tokio::test]
async fn a_coupon_of_an_amount_is_shared_by_items_and_so_are_credits() {
    // The second example of Stripe's page "Prorations".
    let subscriber = Subscriber::new(FEBRUARY_S, &[1_000, 2_000], &[("discounts[0][coupon]", "five")]).await;
    let first = subscriber.latest_invoice();
    let off = |line: usize| first["lines"]["data"][line]["discount_amounts"][0]["amount"].clone();
    assert_eq!((&first["total"], off(0), off(1)), (&json!(2_500), json!(166), json!(334)));
    subscriber.pass_days(14).await;
    subscriber.change(0, 4_000, "create_prorations").await;
    assert_eq!(subscriber.prorations(), [-417, 2_000]);
}

#[tokio::test]
async fn each_debit_is_credited_once_and_named_by_its_credit() {
    let subscriber = Subscriber::new(APRIL_S, &[1_000], &[]).await;
    let first = subscriber.latest_invoice();
    subscriber.pass_days(15).await;
    subscriber.change(0, 2_000, "create_prorations").await;
    subscriber.change(0, 3_000, "always_invoice").await;
    subscriber.pass_days(10).await;
    subscriber.change(0, 1_000, "create_prorations").await;
    assert_eq!(subscriber.prorations(), [-500, 1_000, -1_000, 1_500, -500, 167]);

    let rows = subscriber.client.sandbox.list("invoiceitem");
    let credited = |at: usize| rows[at]["proration_details"]["credited_items"].clone();
    let line_of = |invoice: &Value, line: usize| {
        let lines = [invoice["lines"]["data"][line]["id"].clone()];
        json!({ "invoice": invoice["id"], "invoice_line_items": lines })
    };
    let changed = subscriber.latest_invoice();
    assert_eq!(credited(0)["invoice_line_item_details"], line_of(&first, 0));
    assert_eq!(credited(2), json!({ "type": "invoice_item", "invoice_item": rows[1]["id"] }));
    assert_eq!(credited(4)["invoice_line_item_details"], line_of(&changed, 3));
    let details = &changed["lines"]["data"][0]["parent"]["invoice_item_details"]["proration_details"];
    assert_eq!(details["credited_items"], line_of(&first, 0));
}

#[tokio::test]
async fn a_debit_that_nobody_paid_is_credited_all_the_same() {
    for (mode, is_voided) in [("flexible", false), ("flexible", true), ("classic", false), ("classic", true)] {
        let subscriber = Subscriber::new(APRIL_S, &[1_000], &[("billing_mode[type]", mode)]).await;
        let client = &subscriber.client;
        let bad = [("customer", subscriber.customer.as_str())];
        let bad = client.post("/v1/payment_methods/pm_card_chargeCustomerFail/attach", &bad).await.id();
        subscriber.update(&[("default_payment_method", &bad)]).await;
        // The renewal of May, and one day of it.
        subscriber.pass_days(31).await;
        let unpaid = subscriber.latest_invoice();
        assert_eq!(unpaid["status"], "open");
        if is_voided {
            client.post(&format!("/v1/invoices/{}/void", text(&unpaid, "id")), &[]).await;
        }
        subscriber.change(0, 2_000, "create_prorations").await;
        assert_eq!(subscriber.prorations(), [-968, 1_935], "{mode}, void: {is_voided}");
    }
}

#[tokio::test]
async fn an_item_is_credited_only_if_adding_it_was_debited() {
    for (behavior, prorations) in [("create_prorations", &[600, -300, 1_200][..]), ("none", &[1_200])] {
        let subscriber = Subscriber::new(APRIL_S, &[1_000], &[]).await;
        subscriber.pass_days(10).await;
        let price = monthly(&subscriber.client, 900).await;
        let item = text(&subscriber.client.sandbox.object(&subscriber.subscription)["items"]["data"][0], "id");
        let added = [("items[0][id]", item.as_str()), ("items[1][price]", &price), ("proration_behavior", behavior)];
        subscriber.update(&added).await;
        subscriber.pass_days(10).await;
        subscriber.change(1, 3_600, "create_prorations").await;
        assert_eq!(subscriber.prorations(), prorations, "{behavior}");
    }
}

#[tokio::test]
async fn a_subscription_that_ends_now_credits_what_was_paid_and_a_new_period_does() {
    let subscriber = Subscriber::new(APRIL_S, &[3_000], &[("discounts[0][coupon]", "half")]).await;
    subscriber.pass_days(10).await;
    subscriber.update(&[("billing_cycle_anchor", "now")]).await;
    let invoice = subscriber.latest_invoice();
    assert_eq!((&invoice["total"], &invoice["amount_paid"]), (&json!(3_000 - 1_000), &json!(2_000)));
    subscriber.pass_days(15).await;
    let path = format!("/v1/subscriptions/{}", subscriber.subscription);
    let form = [("prorate", "true"), ("invoice_now", "true")];
    assert_eq!(subscriber.client.send("DELETE", &path, &form, &[]).await.expect("an answer").status, 200);
    // The new period of 30 days began on the 11th of April.
    assert_eq!(subscriber.prorations(), [-1_000, -1_500]);
    assert_eq!(subscriber.client.sandbox.object(&subscriber.customer)["balance"], -1_500);
}

#[tokio::test]
async fn a_billing_mode_that_is_not_imitated_is_refused() {
    let client = Client::start().await;
    let itemized = ("billing_mode[flexible][proration_discounts]", "itemized");
    for mode in [itemized, ("billing_mode[type]", "old")] {
        let refused = client.subscribe("pm_card_visa", &[mode]).await;
        assert_eq!((refused.status, &refused.body["error"]["param"]), (400, &json!(mode.0)), "{}", refused.body);
    }
    let made = client.subscribe("pm_card_visa", &[]).await;
    assert_eq!(made.body["billing_mode"]["type"], "flexible");
}
