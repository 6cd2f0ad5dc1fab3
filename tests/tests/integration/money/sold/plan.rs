//! Plans beside Pro, and what can be bought.

use super::*;
use bursar_engine::domain::catalogue::currency::Currency;

/// The price and the credits of a month of Team.
const TEAM: (i64, i64) = (199_900, 250);

with_backend! {
    async fn a_second_plan_is_bought_by_its_price_and_followed_by_its_own_next_plan(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe(&customer, "unnamed").await.expect_problem(400, "price_required");
        let unknown = json!({ "price": "team_daily" });
        shop.subscribe_to(&customer, "unknown", unknown).await.expect_problem(404, "price_not_offered");
        assert_eq!(shop.stripe.list("subscription").len(), 0);

        let made = shop.subscribe_to(&customer, "team", json!({ "price": "team_monthly" })).await.expect(201);
        assert_eq!((&made["plan"], &made["price"]), (&json!("team"), &json!("team_monthly")));
        assert_eq!((&made["quantity"], &made["credit_balance"]), (&json!(1), &json!(TEAM.1)));
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (2 * TEAM.0, 2 * TEAM.1));
        // Units cost what they cost on this plan.
        shop.app.spend(&customer, 2 * TEAM.1, "both-months").await.expect(200);
        shop.app.spend(&customer, 1, "one-more").await.expect(200);
        assert_eq!(shop.net_paid(&customer).await, 2 * TEAM.0 + 1_200);

        let end = format!("{SUBSCRIPTION}?at_once=true");
        let ended = shop.app.call(&customer, "DELETE", &end, "end", None).await.expect(200);
        assert_eq!((&ended["status"], &ended["plan"]), (&json!("canceled"), &json!("trial")));
        shop.close().await;
    }

    async fn of_two_subscriptions_the_one_to_the_better_plan_counts(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe_to(&customer, "team", json!({ "price": "team_monthly" })).await.expect(201);
        let team = shop.subscription();
        let (stripe_customer, pro) = (shop.stripe_customer(&customer).await, shop.pro_price().await);
        shop.subscribe_at_stripe(&stripe_customer, stripe::id(&pro), &[]).await;
        shop.deliver_event("customer.subscription.created", &shop.subscription()).await;
        assert_eq!(shop.plan(&customer).await, "team");
        assert_eq!(shop.app.balance(&customer).await, TEAM.1 + PERIOD);
        shop.ask_stripe("DELETE", &format!("/v1/subscriptions/{}", stripe::id(&team)), &[]).await;
        shop.deliver_event("customer.subscription.deleted", &shop.stripe.object(stripe::id(&team))).await;
        assert_eq!(shop.plan(&customer).await, "pro");
        shop.close().await;
    }

    async fn a_price_in_another_currency_charges_that_currency_for_the_same_plan(backend: Backend) {
        let euro = priced("pro_monthly_eur", |price| {
            price.currency = Currency::parse("eur").expect("a currency");
            price.amount = MoneyMinor(54_900);
        });
        let shop = Shop::selling(backend, &[euro]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let made = shop.subscribe_to(&customer, "euro", json!({ "price": "pro_monthly_eur" })).await.expect(201);
        assert_eq!((&made["plan"], &made["credit_balance"]), (&json!("pro"), &json!(PERIOD)));
        let charge = shop.stripe.list("charge").remove(0);
        assert_eq!((&charge["amount"], &charge["currency"]), (&json!(54_900), &json!("eur")));
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
        shop.stripe.refund(stripe::id(&charge), Some(27_450)).expect("a refund");
        shop.announce_refund(stripe::id(&charge)).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD + PERIOD / 2);
        shop.close().await;
    }

    async fn the_plans_are_listed_with_the_prices_that_are_offered(backend: Backend) {
        let retired = priced("pro_quarterly", |price| price.offered = false);
        let shop = Shop::selling(backend, &[team_monthly(), pro_yearly(GrantSchedule::Monthly), retired]).await;
        let listed = shop.app.request("GET", "/api/v1/plans", &[], None).await.expect(200);
        let plans = listed["data"].as_array().expect("plans");
        let shown = |plan: &Value| {
            let prices = plan["prices"].as_array().expect("prices").iter().map(|price| price["key"].clone());
            json!([plan["key"], plan["unit_price_minor"], prices.collect::<Vec<_>>()])
        };
        assert_eq!(plans.iter().map(shown).collect::<Vec<_>>(), [
            json!(["trial", 2_900, []]),
            json!(["pay_as_you_go", 2_900, []]),
            json!(["pro", 1_500, ["pro_monthly", "pro_yearly"]]),
            json!(["team", 1_200, ["team_monthly"]]),
        ]);
        let year = &plans[2]["prices"][1];
        for (field, value) in [
            ("amount_minor", json!(599_000)),
            ("currency", json!("usd")),
            ("every", json!("year")),
            ("credits", json!(720)),
            ("grant", json!("monthly")),
            ("per_seat", json!(false)),
            ("rollover", json!("keep")),
        ] {
            assert_eq!(year[field], value, "{year}");
        }
        // What is not listed cannot be bought.
        let customer = shop.without_credits("pm_card_visa").await;
        let retired = json!({ "price": "pro_quarterly" });
        shop.subscribe_to(&customer, "retired", retired).await.expect_problem(404, "price_not_offered");
        shop.close().await;
    }
}
