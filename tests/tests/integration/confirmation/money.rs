//! Before the address is confirmed there is no card, no charge, no subscription and no other mail.

use super::*;
use crate::mail::hasten;
use crate::money::Shop;
use crate::scene::with_backend;

const ADDRESS: &str = "address_unconfirmed";

with_backend! {
    async fn nothing_that_costs_money_is_done_before_the_address_is_confirmed(backend: Backend) {
        let shop = Shop::open_with(backend, asks).await;
        let customer = sign_up(&shop.app, "ada@example.com").await;
        let refused = shop.attach(&customer, "pm_card_visa", "card").await;
        refused.expect_problem(403, ADDRESS);
        assert_body!(refused.body, @r#"
        {
          "code": "address_unconfirmed",
          "detail": "Confirm the e-mail address first: the link is in the mail to it. POST /api/v1/customer/confirmation sends a new one.",
          "status": 403,
          "title": "Forbidden",
          "type": "about:blank"
        }
        "#);
        for (method, path, body) in [
            ("POST", "/api/v1/subscription", json!({})),
            ("POST", "/api/v1/credits/purchases", json!({ "pay_debt": true })),
            ("PUT", "/api/v1/credits/auto-top-up", json!({ "enabled": true, "threshold": 1, "target": 5 })),
        ] {
            shop.app.call(&customer, method, path, "key", Some(&body)).await.expect_problem(403, ADDRESS);
        }
        shop.app.spend(&customer, 4, "some").await.expect(200);
        let last = shop.app.spend(&customer, 1, "last").await.expect(200);
        assert!(text(&last["warning"]).contains("Confirm the e-mail address first. Add billing"), "{last}");
        let empty = shop.app.spend(&customer, 1, "more").await;
        empty.expect_problem(402, "insufficient_credits");
        assert!(text(&empty.body["detail"]).ends_with("Confirm the e-mail address first. Add billing to continue."));
        let hold = shop.app.call(&customer, "POST", "/api/v1/holds", "hold", Some(&json!({ "units": 1 }))).await;
        hold.expect_problem(402, "insufficient_credits");
        assert_eq!(number(&shop.app, "SELECT COUNT(*) FROM operations", []).await, 0);

        let link = welcome_link(&shop.app, &customer).await;
        post(&shop.app, &link, &[("action", "confirm"), ("keep_keys", "yes")]).await;
        wait::until("the card is there", || async {
            (shop.attach(&customer, "pm_card_visa", "card").await.status == 201).then_some(())
        })
        .await;
        shop.app.verify().await;
        shop.close().await;
    }

    async fn a_payment_method_that_came_from_elsewhere_is_not_charged_either(backend: Backend) {
        let shop = Shop::open_with(backend, asks).await;
        let customer = sign_up(&shop.app, "ada@example.com").await;
        let link = welcome_link(&shop.app, &customer).await;
        post(&shop.app, &link, &[("action", "confirm"), ("keep_keys", "yes")]).await;
        wait::until("the card is there", || async {
            (shop.attach(&customer, "pm_card_visa", "card").await.status == 201).then_some(())
        })
        .await;
        let balance = shop.app.balance(&customer).await;
        shop.app.spend(&customer, balance, "all").await.expect(200);
        sql(&shop.app, "UPDATE customers SET address_state = 'pending', address_confirmed_at_ms = NULL").await;
        let charged = "SELECT COUNT(*) FROM operations WHERE kind = 'usage_charge'";
        shop.app.spend(&customer, 1, "more").await.expect_problem(402, "insufficient_credits");
        assert_eq!(number(&shop.app, charged, []).await, 0);
        // As it was: nobody attaches a card before confirming, so `verify` would name this customer.
        let back = "UPDATE customers SET address_state = 'link', address_confirmed_at_ms = created_at_ms";
        sql(&shop.app, back).await;
        shop.close().await;
    }

    async fn an_address_that_is_not_confirmed_gets_no_other_mail(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.com").await;
        welcome_link(&app, &customer).await;
        app.spend(&customer, 5, "all").await.expect(200);
        hasten(&app, &customer, "followup_day_1").await;
        for template in ["low_credit", "followup_day_1"] {
            let cancelled = mail_in_state(&app, &customer, template, "cancelled").await;
            assert_eq!(cancelled["mail"]["last_error"], "the address is not confirmed");
        }
        let welcome = mail_in_state(&app, &customer, "welcome", "stored").await;
        assert!(text(&welcome["text"]).contains("Hello,\n"), "a stranger may have given the name: {welcome}");
        app.stop().await;
    }
}
