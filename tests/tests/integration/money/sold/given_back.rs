//! Changes of the subscription after money of its present period was given back, and the other way around: nothing is
//! given twice.

use super::*;

const CHANGE: &str = "/api/v1/subscription/change";
const PREVIEW: &str = "/api/v1/subscription/preview";
const TEN_DAYS: Duration = Duration::from_secs(10 * 24 * 60 * 60);
const TEAM: i64 = 199_900;

/// How money goes back.
#[derive(Debug, Clone, Copy)]
enum GoneBy {
    Refund(Option<i64>),
    OpenDispute,
    LostDispute,
}

impl Shop {
    /// A subscriber to this price, its Stripe customer, and the charge that paid for the period.
    async fn paying(&self, price: &str) -> (TestCustomer, String, String) {
        let customer = self.without_credits("pm_card_visa").await;
        let stripe_customer = self.stripe_customer(&customer).await;
        self.subscribe_to(&customer, "subscribe", json!({ "price": price })).await.expect(201);
        let is_own = |charge: &Value| charge["customer"] == stripe_customer.as_str();
        let charge = self.stripe.list("charge").into_iter().find(is_own).expect("a charge");
        (customer, stripe_customer, stripe::id(&charge).to_owned())
    }

    /// Takes the money of a charge back, and tells of it.
    async fn take_back(&self, charge: &str, gone_by: GoneBy) {
        if let GoneBy::Refund(amount) = gone_by {
            self.stripe.refund(charge, amount).expect("a refund");
            return self.announce_refund(charge).await;
        }
        let dispute = self.stripe.open_dispute(charge, None, "fraudulent").expect("a dispute");
        self.deliver_event("charge.dispute.created", &dispute).await;
        self.deliver_event("charge.dispute.funds_withdrawn", &dispute).await;
        if let GoneBy::LostDispute = gone_by {
            let lost = self.stripe.close_dispute(stripe::id(&dispute), false).expect("it is open");
            self.deliver_event("charge.dispute.closed", &lost).await;
        }
    }

    /// What Stripe owes a customer, in minor units.
    pub(super) async fn owed_by_stripe(&self, stripe_customer: &str) -> i64 {
        let found = self.ask_stripe("GET", &format!("/v1/customers/{stripe_customer}"), &[]).await;
        -found["balance"].as_i64().expect("a balance")
    }

    /// Asserts that a change at once is refused, and its preview, and that nothing happened at Stripe.
    async fn refuses_now(&self, customer: &TestCustomer, stripe_customer: &str, price: &str) {
        let calls = format!("POST /v1/subscriptions/{}", stripe::id(&self.subscription()));
        let before =
            (self.stripe.calls(&calls), self.net_paid(customer).await, self.owed_by_stripe(stripe_customer).await);
        let now = json!({ "price": price, "when": "now" });
        for path in [PREVIEW, CHANGE] {
            let refused = self.app.call(customer, "POST", path, "now", Some(&now)).await;
            refused.expect_problem(409, "period_refunded");
            assert!(refused.body["detail"].as_str().is_some_and(|it| it.contains("period_end")), "{}", refused.body);
        }
        let after =
            (self.stripe.calls(&calls), self.net_paid(customer).await, self.owed_by_stripe(stripe_customer).await);
        assert_eq!(after, before);
    }

    /// Asserts that a change from Team after a gift of $10.00 is refused while that and what would be credited are more
    /// than was paid, and is made later.
    async fn changes_once_gift_and_credit_are_within_the_cost(&self, customer: &TestCustomer, stripe_customer: &str) {
        self.refuses_now(customer, stripe_customer, "pro_monthly").await;
        self.stripe.advance(TEN_DAYS).expect("time passes");
        let now = json!({ "price": "pro_monthly", "when": "now" });
        self.app.call(customer, "POST", CHANGE, "later", Some(&now)).await.expect(200);
        let owed = self.owed_by_stripe(stripe_customer).await;
        assert!(owed > 0 && owed + MONTH + 1_000 <= TEAM, "{owed}");
    }
}

with_backend! {
    async fn a_change_now_credits_no_money_that_is_refunded_or_disputed(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        for gone_by in [GoneBy::Refund(None), GoneBy::Refund(Some(TEAM / 2)), GoneBy::OpenDispute, GoneBy::LostDispute] {
            let (customer, stripe_customer, charge) = shop.paying("team_monthly").await;
            shop.take_back(&charge, gone_by).await;
            shop.refuses_now(&customer, &stripe_customer, "pro_monthly").await;
            assert_eq!(shop.owed_by_stripe(&stripe_customer).await, 0, "{gone_by:?}");
            let at_end = json!({ "price": "pro_monthly", "when": "period_end" });
            let said = shop.app.call(&customer, "POST", PREVIEW, "", Some(&at_end)).await.expect(200);
            assert_eq!((&said["due_now_minor"], &said["credits_now"]), (&json!(0), &json!(0)), "{gone_by:?}");
            let changed = shop.app.call(&customer, "POST", CHANGE, "end", Some(&at_end)).await.expect(200);
            assert_eq!(changed["pending_change"]["price"], json!("pro_monthly"), "{gone_by:?}");
        }
        shop.close().await;
    }

    async fn a_change_now_finds_money_that_is_gone_although_no_event_came(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        for way in ["refund", "dispute", "credit note"] {
            let (customer, stripe_customer, charge) = shop.paying("team_monthly").await;
            match way {
                "refund" => {
                    shop.stripe.refund(&charge, Some(1)).expect("a refund");
                }
                "dispute" => {
                    shop.stripe.open_dispute(&charge, None, "fraudulent").expect("a dispute");
                }
                _ => {
                    let invoice = shop.subscription()["latest_invoice"].as_str().expect("an invoice").to_owned();
                    let form = [("invoice", invoice.as_str()), ("credit_amount", "100")];
                    shop.ask_stripe("POST", "/v1/credit_notes", &form).await;
                    assert_eq!(shop.owed_by_stripe(&stripe_customer).await, 100);
                }
            }
            shop.refuses_now(&customer, &stripe_customer, "pro_monthly").await;
        }
        shop.close().await;
    }

    async fn a_gift_at_stripe_is_no_obstacle_although_no_event_came(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let (customer, stripe_customer, charge) = shop.paying("team_monthly").await;
        let gift = [("charge", charge.as_str()), ("amount", "1000"), ("metadata[bursar_credits]", "none")];
        shop.ask_stripe("POST", "/v1/refunds", &gift).await;
        shop.changes_once_gift_and_credit_are_within_the_cost(&customer, &stripe_customer).await;
        shop.close().await;
    }

    async fn a_change_that_credits_no_time_asks_for_no_money(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let (customer, _, charge) = shop.paying("pro_monthly").await;
        let calls = || shop.stripe.calls(&format!("GET /v1/charges/{charge}"));
        let before = calls();
        let wanted = |when: &str| json!({ "price": "team_monthly", "when": when });
        shop.app.call(&customer, "POST", PREVIEW, "", Some(&wanted("period_end"))).await.expect(200);
        shop.app.call(&customer, "POST", CHANGE, "end", Some(&wanted("period_end"))).await.expect(200);
        assert_eq!(calls(), before);
        shop.close().await;
    }

    async fn a_change_to_a_dearer_price_does_not_use_money_that_was_given_back(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let (customer, stripe_customer, charge) = shop.paying("pro_monthly").await;
        shop.take_back(&charge, GoneBy::Refund(None)).await;
        shop.refuses_now(&customer, &stripe_customer, "team_monthly").await;
        // The next period is paid anew, and its time is credited as ever.
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        let now = json!({ "price": "team_monthly", "when": "now" });
        shop.app.call(&customer, "POST", CHANGE, "next-month", Some(&now)).await.expect(200);
        let paid = shop.net_paid(&customer).await;
        assert!((TEAM..TEAM + MONTH).contains(&paid), "the month was credited: {paid}");
        shop.close().await;
    }

    async fn a_change_now_is_possible_again_once_a_dispute_is_won(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let (customer, stripe_customer, charge) = shop.paying("pro_monthly").await;
        shop.take_back(&charge, GoneBy::OpenDispute).await;
        shop.refuses_now(&customer, &stripe_customer, "team_monthly").await;
        let dispute = stripe::id(&shop.stripe.list("dispute")[0]).to_owned();
        let won = shop.stripe.close_dispute(&dispute, true).expect("it is open");
        shop.deliver_event("charge.dispute.closed", &won).await;
        shop.deliver_event("charge.dispute.funds_reinstated", &won).await;
        let now = json!({ "price": "team_monthly", "when": "now" });
        shop.app.call(&customer, "POST", CHANGE, "now", Some(&now)).await.expect(200);
        shop.close().await;
    }

    async fn a_gift_and_what_a_change_credits_are_together_no_more_than_was_paid(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let (customer, stripe_customer, charge) = shop.paying("team_monthly").await;
        let path = format!("/admin/v1/payments/{}/refund", stripe::id(&shop.stripe.list("invoice")[0]));
        let gift = json!({ "reason": "goodwill, ticket 1", "credits": "none", "amount_minor": 1_000 });
        shop.app.admin("POST", &path, Some(&gift)).await.expect(200);
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, 250, "the credits stay");
        shop.changes_once_gift_and_credit_are_within_the_cost(&customer, &stripe_customer).await;
        shop.close().await;
    }

    async fn a_dispute_after_a_change_is_shown_with_what_the_change_credited(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let (customer, stripe_customer, charge) = shop.paying("team_monthly").await;
        let path = format!("/admin/v1/payments/{}", stripe::id(&shop.stripe.list("invoice")[0]));
        shop.stripe.advance(TEN_DAYS).expect("time passes");
        let now = json!({ "price": "pro_monthly", "when": "now" });
        shop.app.call(&customer, "POST", CHANGE, "down", Some(&now)).await.expect(200);
        let credited = MONTH + shop.owed_by_stripe(&stripe_customer).await;
        let step = format!("credited ${}.{:02} of this disputed money", credited / 100, credited % 100);
        let before = shop.app.admin("GET", &path, None).await.expect(200).to_string();
        assert!(!before.contains("disputed money"), "{before}");
        shop.take_back(&charge, GoneBy::LostDispute).await;
        let shown = shop.app.admin("GET", &path, None).await.expect(200);
        let last = shown["history"].as_array().and_then(|steps| steps.last()).expect("a step").to_string();
        assert!(last.contains(&step), "{step}: {shown:#}");
        shop.close().await;
    }

    async fn money_that_stripe_gives_back_after_a_change_is_shown_with_what_the_change_credited(backend: Backend) {
        for way in ["refund", "credit note"] {
            let shop = Shop::selling(backend, &[team_monthly()]).await;
            let (customer, stripe_customer, charge) = shop.paying("team_monthly").await;
            let invoice = shop.subscription()["latest_invoice"].as_str().expect("an invoice").to_owned();
            shop.stripe.advance(TEN_DAYS).expect("time passes");
            let now = json!({ "price": "pro_monthly", "when": "now" });
            shop.app.call(&customer, "POST", CHANGE, "down", Some(&now)).await.expect(200);
            let credited = MONTH + shop.owed_by_stripe(&stripe_customer).await;
            let path = format!("/admin/v1/payments/{invoice}");
            let before = shop.app.admin("GET", &path, None).await.expect(200).to_string();
            assert!(!before.contains("changes of the subscription credited"), "{way}: {before}");
            if way == "refund" {
                shop.take_back(&charge, GoneBy::Refund(None)).await;
            } else {
                let amount = TEAM.to_string();
                let form = [("invoice", invoice.as_str()), ("credit_amount", amount.as_str())];
                let note = shop.ask_stripe("POST", "/v1/credit_notes", &form).await;
                shop.announce("credit_note.created", &note).await;
            }
            let shown = shop.app.admin("GET", &path, None).await.expect(200);
            let last = shown["history"].as_array().and_then(|steps| steps.last()).expect("a step").to_string();
            let amount = format!("${}.{:02}", credited / 100, credited % 100);
            for part in [format!("credited {amount} of this money"), format!("{amount} more was given than was paid")] {
                assert!(last.contains(&part), "{way}: {part}: {shown:#}");
            }
            shop.close().await;
        }
    }
}
