//! Seats that are added or removed after the price was raised: the old price stays with who bought it.

use super::*;

const CHANGE: &str = "/api/v1/subscription/change";
const PREVIEW: &str = "/api/v1/subscription/preview";

/// What a seat costs, and the credits that it brings: as it was sold, and as the catalogue has it later.
const SOLD: (i64, i64) = (5_000, 20);
const LATER: (i64, i64) = (9_000, 30);

/// The built-in catalogue with a price of Pro by seat, as TOML.
fn with_seats((amount, credits): (i64, i64), offered: bool) -> String {
    changed(|catalogue| {
        catalogue.prices.push(Price {
            key: PriceKey::trusted("seats"),
            lookup_key: "seats".to_owned(),
            amount: MoneyMinor(amount),
            credits: Credits(credits),
            per_seat: true,
            offered,
            ..Catalogue::built_in().prices[0].clone()
        });
    })
}

fn seats(quantity: i64, when: &str) -> Value {
    json!({ "price": "seats", "quantity": quantity, "when": when })
}

impl Shop {
    /// A shop that raised the price of a seat after a customer had bought five. Also returns the id of the old price.
    async fn with_raised_seats(backend: Backend) -> (Self, TestCustomer, String) {
        let shop = Self::open(backend).await;
        apply(&shop.app, &with_seats(SOLD, true)).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let request = json!({ "price": "seats", "quantity": 5 });
        shop.app.call(&customer, "POST", SUBSCRIPTION, "five", Some(&request)).await.expect(201);
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (5 * SOLD.0, 5 * SOLD.1));
        let old = shop.price_sold();
        apply(&shop.app, &with_seats(LATER, true)).await;
        assert_ne!(stripe::id(&shop.keyed_price("seats").await), old, "new subscribers pay another price");
        (shop, customer, old)
    }

    /// The id of the price that the subscription has at Stripe.
    fn price_sold(&self) -> String {
        stripe::id(&self.subscription()["items"]["data"][0]["price"]).to_owned()
    }

    async fn preview_seats(&self, customer: &TestCustomer, change: &Value) -> Value {
        self.app.call(customer, "POST", PREVIEW, "", Some(change)).await.expect(200)
    }

    async fn change_seats(&self, customer: &TestCustomer, key: &str, change: &Value) -> Value {
        self.app.call(customer, "POST", CHANGE, key, Some(change)).await.expect(200)
    }
}

with_backend! {
    async fn a_seat_removed_with_the_period_keeps_the_old_price_and_its_credits(backend: Backend) {
        let (shop, customer, old) = Shop::with_raised_seats(backend).await;
        let fewer = seats(4, "period_end");
        let said = shop.preview_seats(&customer, &fewer).await;
        let next = (&said["next_amount_minor"], &said["next_credits"], &said["due_now_minor"]);
        assert_eq!(next, (&json!(4 * SOLD.0), &json!(4 * SOLD.1), &json!(0)), "{said}");
        let changed = shop.change_seats(&customer, "four", &fewer).await;
        assert_eq!((&changed["quantity"], &changed["pending_change"]["quantity"]), (&json!(5), &json!(4)));

        let renewal = shop.next_month();
        assert_eq!(renewal["total"], json!(4 * SOLD.0));
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.deliver_event("invoice.paid", &renewal).await;
        assert_eq!(shop.price_sold(), old);
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (9 * SOLD.0, 9 * SOLD.1));
        let shown = shop.app.call(&customer, "GET", SUBSCRIPTION, "", None).await.expect(200);
        assert_eq!((&shown["quantity"], &shown["price"]), (&json!(4), &json!("seats")));
        shop.close().await;
    }

    async fn a_seat_added_now_keeps_the_old_price_and_another_price_of_the_catalogue_does_not(backend: Backend) {
        let (shop, customer, old) = Shop::with_raised_seats(backend).await;
        let more = seats(6, "now");
        let said = shop.preview_seats(&customer, &more).await;
        let next = (&said["next_amount_minor"], &said["next_credits"], &said["credits_now"]);
        assert_eq!(next, (&json!(6 * SOLD.0), &json!(6 * SOLD.1), &json!(SOLD.1)), "{said}");
        let changed = shop.change_seats(&customer, "six", &more).await;
        assert_eq!((&changed["quantity"], &changed["credit_balance"]), (&json!(6), &json!(6 * SOLD.1)));
        assert_eq!(shop.price_sold(), old);
        let paid = shop.net_paid(&customer).await;
        assert!((6 * SOLD.0..6 * SOLD.0 + 10).contains(&paid), "the five seats were credited: {paid}");

        let pro = json!({ "price": "pro_monthly", "when": "now" });
        shop.change_seats(&customer, "pro", &pro).await;
        let back = seats(1, "now");
        assert_eq!(shop.preview_seats(&customer, &back).await["next_amount_minor"], json!(LATER.0));
        shop.change_seats(&customer, "back", &back).await;
        assert_eq!(shop.price_sold(), stripe::id(&shop.keyed_price("seats").await));
        let balance = shop.app.balance(&customer).await;
        assert!((LATER.1 - 3..=LATER.1).contains(&balance), "each was left at once: {balance}");
        shop.close().await;
    }

    async fn seats_take_the_present_terms_together_with_another_number_on_request(backend: Backend) {
        let (shop, customer, old) = Shop::with_raised_seats(backend).await;
        let mut more = seats(6, "now");
        more["present_terms"] = json!(true);
        let said = shop.preview_seats(&customer, &more).await;
        let next = (&said["next_amount_minor"], &said["next_credits"]);
        assert_eq!(next, (&json!(6 * LATER.0), &json!(6 * LATER.1)), "{said}");
        let changed = shop.change_seats(&customer, "six", &more).await;
        assert_eq!((&changed["quantity"], &changed["credit_balance"]), (&json!(6), &json!(6 * LATER.1)));
        assert_ne!(shop.price_sold(), old);
        assert_eq!(changed["terms"]["is_former"], json!(false));
        shop.close().await;
    }

    async fn seats_of_a_price_that_is_offered_no_longer_can_still_be_changed(backend: Backend) {
        let (shop, customer, old) = Shop::with_raised_seats(backend).await;
        apply(&shop.app, &with_seats(LATER, false)).await;
        let changed = shop.change_seats(&customer, "seven", &seats(7, "now")).await;
        assert_eq!((&changed["quantity"], &changed["credit_balance"]), (&json!(7), &json!(7 * SOLD.1)));
        assert_eq!(shop.price_sold(), old);
        shop.close().await;
    }

    async fn what_costs_less_than_the_old_price_needs_no_good_card_whatever_the_catalogue_has_now(backend: Backend) {
        let shop = Shop::open(backend).await;
        let selling = |seats: i64| {
            changed(|catalogue| {
                for (key, amount) in [("seats", seats), ("small", 6_000)] {
                    catalogue.prices.push(Price {
                        key: PriceKey::trusted(key),
                        lookup_key: key.to_owned(),
                        amount: MoneyMinor(amount),
                        credits: Credits(20),
                        per_seat: true,
                        ..Catalogue::built_in().prices[0].clone()
                    });
                }
            })
        };
        apply(&shop.app, &selling(9_000)).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let request = json!({ "price": "seats", "quantity": 5 });
        shop.app.call(&customer, "POST", SUBSCRIPTION, "five", Some(&request)).await.expect(201);
        apply(&shop.app, &selling(5_000)).await;
        shop.attach(&customer, "pm_card_chargeCustomerFail", "bad").await.expect(201);
        let units = shop.app.balance(&customer).await + 1;
        shop.app.spend(&customer, units, "units").await.expect_problem(402, "payment_declined");

        let less = json!({ "price": "small", "quantity": 5, "when": "now" });
        let changed = shop.change_seats(&customer, "less", &less).await;
        assert_eq!((&changed["price"], shop.net_paid(&customer).await), (&json!("small"), 5 * 9_000));
        shop.close().await;
    }
}
