//! Quantities whose period costs more than one charge may be, or brings more credits than are granted at once.

use super::*;

/// A month of Pro by seat, on these terms.
fn by_seat(key: &str, amount: i64, credits: i64) -> Price {
    priced(key, |price| {
        (price.amount, price.credits, price.per_seat) = (MoneyMinor(amount), Credits(credits), true);
    })
}

with_backend! {
    async fn seats_beyond_one_charge_or_one_grant_are_not_sold(backend: Backend) {
        let shop = Shop::selling(backend, &[by_seat("dear", 5_000, 20), by_seat("rich", 100, 10_000)]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let beyond = [("dear", 20_000, "charge_too_large"), ("rich", 101, "grant_too_large")];
        for (price, quantity, code) in beyond {
            let wanted = json!({ "price": price, "quantity": quantity });
            shop.subscribe_to(&customer, price, wanted).await.expect_problem(422, code);
        }
        shop.subscribe_to(&customer, "two", json!({ "price": "dear", "quantity": 2 })).await.expect(201);
        for (price, quantity, code) in beyond {
            for when in ["now", "period_end"] {
                let wanted = json!({ "price": price, "quantity": quantity, "when": when });
                for path in ["change", "preview"] {
                    let path = format!("{SUBSCRIPTION}/{path}");
                    let key = format!("{price}-{when}");
                    shop.app.call(&customer, "POST", &path, &key, Some(&wanted)).await.expect_problem(422, code);
                }
            }
        }
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (10_000, 40));
        shop.close().await;
    }
}
