//! Whoever buys for a customer has agreed to what was bought, and to nothing more.

use super::*;

const CHANGE: &str = "/api/v1/subscription/change";
const PREVIEW: &str = "/api/v1/subscription/preview";
/// What a seat costs.
const SEAT: i64 = 1_000;

fn seats(quantity: i64, when: &str) -> Value {
    json!({ "price": "seats", "quantity": quantity, "when": when })
}

impl Shop {
    /// Sells Pro by seat, too.
    async fn sell_seats(&self) {
        let price = priced("seats", |price| {
            (price.amount, price.credits, price.per_seat) = (MoneyMinor(SEAT), Credits(20), true);
        });
        self.change_catalogue(|catalogue| catalogue.prices.push(price));
        let amount = SEAT.to_string();
        let form = [
            ("unit_amount", amount.as_str()),
            ("currency", "usd"),
            ("recurring[interval]", "month"),
            ("product_data[name]", "Seats"),
            ("lookup_key", "seats"),
        ];
        self.ask_stripe("POST", "/v1/prices", &form).await;
    }

    async fn changes(&self, customer: &TestCustomer, path: &str, key: &str, wanted: &Value) -> Answer {
        self.app.call(customer, "POST", path, key, Some(wanted)).await
    }

    /// More seats are refused with this, whenever they are to come, and by the preview too.
    async fn refuses_more(&self, customer: &TestCustomer, status: u16, code: &str) {
        for when in ["now", "period_end"] {
            for path in [CHANGE, PREVIEW] {
                let key = format!("more-{when}-{status}");
                self.changes(customer, path, &key, &seats(500, when)).await.expect_problem(status, code);
            }
        }
    }
}

with_backend! {
    async fn whoever_bought_for_a_customer_pays_for_nothing_more(backend: Backend) {
        let shop = Shop::patient(backend).await;
        shop.sell_seats().await;
        let (customer, _, payer) = shop.buys(Naming::ReferenceByStranger, |_| {}).await;
        shop.refuses_more(&customer, 402, "payment_method_missing").await;
        shop.attach_until_done(&customer, "pm_card_visa").await;
        shop.refuses_more(&customer, 409, "subscription_paid_elsewhere").await;
        assert_eq!((shop.stripe.money(&payer).net(), shop.net_paid(&customer).await), (MONTH, 0));

        let fewer = seats(1, "period_end");
        let said = shop.changes(&customer, PREVIEW, "", &fewer).await.expect(200);
        assert_eq!((&said["due_now_minor"], &said["next_amount_minor"]), (&json!(0), &json!(SEAT)));
        let changed = shop.changes(&customer, CHANGE, "fewer", &fewer).await.expect(200);
        assert_eq!(changed["pending_change"]["price"], json!("seats"));
        let resume = format!("{SUBSCRIPTION}/resume");
        shop.app.call(&customer, "POST", &resume, "resume", None).await.expect(200);
        let ends = shop.app.call(&customer, "DELETE", SUBSCRIPTION, "end", None).await.expect(200);
        assert_eq!(ends["cancel_at_period_end"], json!(true));
        assert_eq!(shop.stripe.money(&payer).net(), MONTH);
        shop.close().await;
    }

    async fn a_change_is_paid_by_the_customers_own_card_whichever_paid_before(backend: Backend) {
        let shop = Shop::patient(backend).await;
        shop.sell_seats().await;
        let (customer, _, payer) = shop.buys(Naming::Subscription, |_| {}).await;
        assert_eq!(shop.stripe_customer(&customer).await, payer);
        shop.refuses_more(&customer, 402, "payment_method_missing").await;
        assert_eq!(shop.net_paid(&customer).await, MONTH);

        let theirs = shop.subscription()["default_payment_method"].as_str().expect("a card").to_owned();
        let attached = shop.attach(&customer, "pm_card_mastercard", "own").await.expect(201);
        let own = &attached["payment_method"]["id"];
        // Somebody sets the other card again at Stripe.
        let path = format!("/v1/subscriptions/{}", stripe::id(&shop.subscription()));
        shop.ask_stripe("POST", &path, &[("default_payment_method", &theirs)]).await;
        let changed = shop.changes(&customer, CHANGE, "more", &seats(100, "now")).await.expect(200);
        assert_eq!(changed["quantity"], json!(100));
        let charge = shop.stripe.list("charge").pop().expect("a charge");
        assert_eq!((&charge["payment_method"], &charge["paid"]), (own, &json!(true)));
        shop.close().await;
    }
}
