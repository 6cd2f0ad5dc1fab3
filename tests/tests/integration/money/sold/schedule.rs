//! When the credits of a price are granted, for how many seats, and when they expire.

use super::*;
use crate::database::{rows, texts};
use crate::reconcile::{found, reconcile};
use crate::scene::{customer_id, job_in_state, now_ms, resume_job, sql};
use bursar_engine::clock::parse_rfc3339;
use bursar_engine::domain::job::JobState;
use bursar_engine::domain::ledger::{Command, GrantKind, Op};
use bursar_engine::domain::sale::grant::grant_key;
use bursar_engine::ids::JobId;

const TOP_UP: &str = "/api/v1/credits/auto-top-up";
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// A twelfth of a year's credits.
const PART: i64 = 60;
/// The price of a year of Pro.
const YEAR: i64 = 599_000;

impl Shop {
    /// A shop that sells years of Pro, and a customer that has just bought one.
    async fn with_year(backend: Backend) -> (Self, TestCustomer) {
        let shop = Self::selling(backend, &[pro_yearly(GrantSchedule::Monthly)]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let made = shop.subscribe_to(&customer, "year", json!({ "price": "pro_yearly" })).await.expect(201);
        assert_eq!((&made["plan"], &made["credit_balance"]), (&json!("pro"), &json!(PART)));
        (shop, customer)
    }

    /// When the other parts of the year's credits will be granted.
    async fn parts(&self) -> Vec<i64> {
        let sql = "SELECT run_at_ms FROM jobs WHERE kind = 'credits.grant' AND state = 'available' ORDER BY run_at_ms";
        let found = rows(&self.app, sql, []).await;
        found.iter().map(|row| row.try_get_by_index(0).expect("a time")).collect()
    }

    /// Makes the job of the next part due and waits for its end.
    async fn next_part(&self, state: JobState) {
        let sql = "SELECT id FROM jobs WHERE kind = 'credits.grant' AND state = 'available' ORDER BY run_at_ms LIMIT 1";
        let job = texts(&self.app, sql).await.remove(0);
        resume_job(&self.app, &job).await;
        job_in_state(&self.app, &JobId::parse(&job).expect("an id"), state).await;
    }

    /// Waits until no event waits. What the sandbox would deliver is delivered by the tests here.
    async fn is_quiet(&self) {
        wait::until("no event waits", || async { events(&self.app, "state=waiting").await.is_empty().then_some(()) })
            .await;
    }

    /// The latest lines of the customer's ledger, the latest first.
    async fn entries(&self, customer: &TestCustomer) -> Vec<Value> {
        let page = self.app.call(customer, "GET", "/api/v1/credits/transactions", "", None).await.expect(200);
        page["data"].as_array().expect("transactions").clone()
    }

    /// The times at which the credits of the customer's invoices expire, the latest invoice first.
    async fn expiries(&self, customer: &TestCustomer) -> Vec<Option<i64>> {
        let entries = self.entries(customer).await;
        let of_invoices = entries.iter().filter(|entry| entry["source"] == "stripe");
        of_invoices.map(|entry| entry["expires_at"].as_str().and_then(parse_rfc3339)).collect()
    }
}

with_backend! {
    async fn a_year_brings_a_part_each_month_and_none_after_its_money_was_refunded(backend: Backend) {
        let (shop, customer) = Shop::with_year(backend).await;
        assert_eq!(shop.net_paid(&customer).await, YEAR);
        for event_type in ["invoice.paid", "invoice.payment_succeeded"] {
            shop.deliver_event(event_type, &shop.stripe.list("invoice")[0]).await;
        }
        assert_eq!(shop.app.balance(&customer).await, PART);
        let times = shop.parts().await;
        assert_eq!(times.len(), 11, "{times:?}");
        let is_a_month = |from_ms: i64, to_ms: i64| (28 * DAY_MS..=31 * DAY_MS).contains(&(to_ms - from_ms));
        assert!(times.windows(2).all(|pair| is_a_month(pair[0], pair[1])), "{times:?}");
        let after_ms = times[0] - now_ms();
        assert!((27 * DAY_MS..=31 * DAY_MS).contains(&after_ms), "the second month begins in {after_ms} ms");

        shop.next_part(JobState::Succeeded).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PART);
        let charge = stripe::id(&shop.stripe.list("charge")[0]).to_owned();
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, 0);
        for _ in 0..2 {
            shop.next_part(JobState::Cancelled).await;
        }
        assert_eq!(shop.app.balance(&customer).await, 0);
        shop.close().await;
    }

    async fn months_that_a_refund_withheld_come_once_it_has_failed(backend: Backend) {
        let (shop, customer) = Shop::with_year(backend).await;
        let charge = stripe::id(&shop.stripe.list("charge")[0]).to_owned();
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.announce_refund(&charge).await;
        shop.next_part(JobState::Cancelled).await;
        assert_eq!(shop.app.balance(&customer).await, 0);
        let refund = stripe::id(&shop.stripe.list("refund")[0]).to_owned();
        let failed = shop.stripe.fail_refund(&refund).expect("it fails");
        for _ in 0..2 {
            shop.deliver_event("refund.failed", &failed).await;
        }
        wait::until("the month has come", || async {
            (shop.app.balance(&customer).await == 2 * PART).then_some(())
        })
        .await;
        shop.next_part(JobState::Succeeded).await;
        assert_eq!(shop.app.balance(&customer).await, 3 * PART, "the next one comes in its time");
        shop.app.verify().await;
        shop.close().await;
    }

    async fn a_part_that_comes_after_a_refund_of_half_the_year_loses_its_half(backend: Backend) {
        let (shop, customer) = Shop::with_year(backend).await;
        let charge = stripe::id(&shop.stripe.list("charge")[0]).to_owned();
        shop.stripe.refund(&charge, Some(YEAR / 2)).expect("a refund");
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, PART / 2);
        for months in 2..=3 {
            shop.next_part(JobState::Succeeded).await;
            wait::until("half of it is gone", || async {
                let is_quiet = events(&shop.app, "state=waiting").await.is_empty();
                (is_quiet && shop.app.balance(&customer).await == months * PART / 2).then_some(())
            })
            .await;
        }
        shop.close().await;
    }

    async fn a_part_that_comes_reduced_after_a_refund_stops_no_top_up(backend: Backend) {
        let (shop, customer) = Shop::with_year(backend).await;
        let charge = stripe::id(&shop.stripe.list("charge")[0]).to_owned();
        shop.stripe.refund(&charge, Some(YEAR / 2)).expect("a refund");
        shop.announce_refund(&charge).await;
        let set = json!({ "enabled": true, "threshold": 2, "target": 5 });
        shop.app.call(&customer, "PUT", TOP_UP, "", Some(&set)).await.expect(200);
        let before = shop.entries(&customer).await.len();
        shop.next_part(JobState::Succeeded).await;
        shop.is_quiet().await;
        let entries = shop.entries(&customer).await;
        assert_eq!((entries.len(), &entries[0]["amount"]), (before + 1, &json!(PART / 2)), "one entry: {entries:#?}");
        let top_up = shop.app.call(&customer, "GET", TOP_UP, "", None).await.expect(200);
        assert_eq!(top_up["state"], "on", "{top_up}");
        // Money that is returned later takes its share, and stops them.
        shop.stripe.refund(&charge, Some(YEAR / 4)).expect("a refund");
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PART / 4);
        let top_up = shop.app.call(&customer, "GET", TOP_UP, "", None).await.expect(200);
        assert_eq!(top_up["problem"]["code"], "payment_returned", "{top_up}");
        shop.app.verify().await;
        shop.close().await;
    }

    async fn a_refund_of_what_is_unspent_counts_for_each_month_by_itself(backend: Backend) {
        let (shop, customer) = Shop::with_year(backend).await;
        shop.app.spend(&customer, PART, "spent").await.expect(200);
        let (invoice, charge) = (shop.stripe.list("invoice").remove(0), shop.stripe.list("charge").remove(0));
        let path = format!("/admin/v1/payments/{}/refund", stripe::id(&invoice));
        let body = json!({ "reason": "ticket 4711", "amount_minor": YEAR / 2 });
        shop.app.admin("POST", &path, Some(&body)).await.expect(200);
        shop.announce_refund(stripe::id(&charge)).await;
        assert_eq!(shop.app.balance(&customer).await, 0, "the first month was spent");
        for months in 1..=2 {
            shop.next_part(JobState::Succeeded).await;
            shop.is_quiet().await;
            assert_eq!(shop.app.balance(&customer).await, months * PART / 2);
        }
        // A refund at Stripe takes its share, besides.
        shop.stripe.refund(stripe::id(&charge), Some(YEAR / 5)).expect("a refund");
        shop.announce_refund(stripe::id(&charge)).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PART / 2 - 3 * PART / 5);
        shop.app.verify().await;
        shop.close().await;
    }

    async fn credits_that_expired_do_not_go_once_more_with_their_money(backend: Backend) {
        let shop = Shop::selling(backend, &[]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let price = stripe::id(&shop.pro_price().await).to_owned();
        shop.subscribe_at_stripe(&stripe_customer, &price, &[]).await;
        let invoice = shop.stripe.list("invoice").remove(0);
        // They came with an end, which is near.
        let ends_ms = shop.app.app.clock.now_ms() + 4_000;
        let op = Op::Grant { kind: GrantKind::Included, amount: Credits(PERIOD), expires_at_ms: Some(ends_ms) };
        let command = Command::internal(op, "stripe", grant_key(stripe::id(&invoice)));
        let command = command.with_reference(stripe::id(&invoice));
        shop.app.app.runtime.customers.apply(&customer_id(&customer), command).await.expect("a grant");
        shop.app.spend(&customer, 20, "some").await.expect(200);
        shop.deliver_event("invoice.paid", &invoice).await;
        wait::until("the others have ended", || async {
            (shop.entries(&customer).await[0]["kind"] == "expire").then_some(())
        })
        .await;
        shop.app.adjust(&customer, 30).await.expect(200);
        let charge = stripe::id(&shop.stripe.list("charge").remove(0)).to_owned();
        for (amount, left) in [(MONTH / 2, 30), (MONTH - MONTH / 2, 10)] {
            shop.stripe.refund(&charge, Some(amount)).expect("a refund");
            shop.announce_refund(&charge).await;
            assert_eq!(shop.app.balance(&customer).await, left, "40 expired, and 20 were spent");
        }
        shop.close().await;
    }

    async fn credits_that_expired_do_not_go_once_more_for_time_that_was_left(backend: Backend) {
        // Of 100 credits some were spent, and the others expired before the renewal settled the seats that were left.
        for (spent, left) in [(20, 40..=40), (90, 18..=22)] {
            let seats = priced("company_monthly", |price| {
                (price.amount, price.credits, price.per_seat) = (MoneyMinor(5_000), Credits(20), true);
            });
            let shop = Shop::selling(backend, &[seats]).await;
            let customer = shop.without_credits("pm_card_visa").await;
            let stripe_customer = shop.stripe_customer(&customer).await;
            let found = shop.ask_stripe("GET", "/v1/prices?lookup_keys[]=company_monthly", &[]).await;
            let five = [("items[0][quantity]", "5")];
            shop.subscribe_at_stripe(&stripe_customer, stripe::id(&found["data"][0]), &five).await;
            let invoice = shop.stripe.list("invoice").remove(0);
            let ends_ms = shop.app.app.clock.now_ms() + 4_000;
            let op = Op::Grant { kind: GrantKind::Included, amount: Credits(100), expires_at_ms: Some(ends_ms) };
            let command = Command::internal(op, "stripe", grant_key(stripe::id(&invoice)));
            let command = command.with_reference(stripe::id(&invoice));
            shop.app.app.runtime.customers.apply(&customer_id(&customer), command).await.expect("a grant");
            shop.app.spend(&customer, spent, "some").await.expect(200);
            shop.deliver_event("invoice.paid", &invoice).await;
            wait::until("the others have ended", || async {
                (shop.entries(&customer).await[0]["kind"] == "expire").then_some(())
            })
            .await;
            shop.stripe.advance(Duration::from_secs(15 * 24 * 60 * 60)).expect("time passes");
            let two = [("items[0][quantity]", "2"), ("proration_behavior", "create_prorations")];
            shop.change_item(&shop.subscription(), &two).await;
            shop.deliver_event("invoice.paid", &shop.next_month()).await;
            let balance = shop.app.balance(&customer).await;
            assert!(left.contains(&balance), "{spent} spent: {balance}");
            shop.app.verify().await;
            shop.close().await;
        }
    }

    async fn a_part_whose_job_is_dead_is_granted_by_the_next_reconciliation(backend: Backend) {
        let (shop, customer) = Shop::with_year(backend).await;
        sql(&shop.app, &format!("UPDATE jobs SET state = 'dead', last_error = 'it failed', finished_at_ms = {0}, \
            run_at_ms = {0} WHERE id = (SELECT id FROM jobs WHERE kind = 'credits.grant' ORDER BY run_at_ms LIMIT 1)",
            now_ms())).await;
        for (repair, repaired) in [(false, 0), (true, 1)] {
            let run = reconcile(&shop.app, repair).await;
            assert!(found(&run).contains(&("grant_overdue", 1, repaired)), "{run:#}");
        }
        wait::until("the part is granted", || async {
            (shop.app.balance(&customer).await == 2 * PART).then_some(())
        })
        .await;
        assert_eq!(shop.parts().await.len(), 10);
        let run = reconcile(&shop.app, true).await;
        assert!(found(&run).iter().all(|(class, ..)| *class != "grant_overdue"), "{run:#}");
        shop.close().await;
    }

    async fn a_price_by_seat_costs_and_brings_as_much_for_each_seat(backend: Backend) {
        let seats = priced("company_monthly", |price| {
            (price.amount, price.credits, price.per_seat) = (MoneyMinor(5_000), Credits(20), true);
        });
        let shop = Shop::selling(backend, &[seats]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        for (price, quantity) in [("pro_monthly", 2), ("company_monthly", 0), ("company_monthly", 100_001)] {
            let request = json!({ "price": price, "quantity": quantity });
            let refused = shop.subscribe_to(&customer, &format!("{price}-{quantity}"), request).await;
            refused.expect_problem(400, "invalid_quantity");
        }
        let request = json!({ "price": "company_monthly", "quantity": 3 });
        let made = shop.subscribe_to(&customer, "three", request).await.expect(201);
        assert_eq!((&made["quantity"], &made["credit_balance"]), (&json!(3), &json!(60)));
        assert_eq!(shop.net_paid(&customer).await, 15_000);

        shop.change_item(&shop.subscription(), &[("items[0][quantity]", "5"), ("proration_behavior", "none")]).await;
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        assert_eq!(shop.net_paid(&customer).await, 15_000 + 25_000);
        assert_eq!(shop.app.balance(&customer).await, 60 + 100);
        let shown = shop.app.call(&customer, "GET", SUBSCRIPTION, "", None).await.expect(200);
        assert_eq!(shown["quantity"], 5);
        // A refund of one seat's money takes one seat's credits.
        let charge = shop.stripe.list("charge").pop().expect("a charge");
        shop.stripe.refund(stripe::id(&charge), Some(5_000)).expect("a refund");
        shop.announce_refund(stripe::id(&charge)).await;
        assert_eq!(shop.app.balance(&customer).await, 60 + 80);
        shop.close().await;
    }

    async fn credits_that_reset_expire_soon_after_their_period_and_a_renewal_brings_new_ones(backend: Backend) {
        const GRACE_MS: i64 = 3 * 60 * 60 * 1_000;
        let shop = Shop::selling(backend, &[priced("pro_reset", |price| price.rollover = Rollover::Reset)]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe_to(&customer, "reset", json!({ "price": "pro_reset" })).await.expect(201);
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
        let ends = shop.stripe.list("invoice").into_iter().rev().map(|invoice| {
            let end_s = invoice["lines"]["data"][0]["period"]["end"].as_i64().expect("a time");
            Some(end_s * 1_000 + GRACE_MS)
        });
        assert_eq!(shop.expiries(&customer).await, ends.collect::<Vec<_>>());
        // Those of the other price stay.
        let other = shop.without_credits("pm_card_visa").await;
        shop.subscribe_to(&other, "keep", json!({ "price": "pro_monthly" })).await.expect(201);
        assert_eq!(shop.expiries(&other).await, [None]);
        shop.close().await;
    }
}

with_backend! {
    async fn a_part_waits_while_all_of_its_money_is_disputed_and_comes_when_it_is_won(backend: Backend) {
        let (shop, customer) = Shop::with_year(backend).await;
        let charge = stripe::id(&shop.stripe.list("charge")[0]).to_owned();
        let dispute = shop.stripe.open_dispute(&charge, None, "fraudulent").expect("a dispute");
        shop.deliver_event("charge.dispute.funds_withdrawn", &dispute).await;
        assert_eq!(shop.app.balance(&customer).await, 0);
        let sql = "SELECT id FROM jobs WHERE kind = 'credits.grant' AND state = 'available' ORDER BY run_at_ms LIMIT 1";
        let part = texts(&shop.app, sql).await.remove(0);
        let due = format!("SELECT id FROM jobs WHERE id = '{part}' AND run_at_ms > {}", now_ms() + DAY_MS / 2);
        resume_job(&shop.app, &part).await;
        wait::until("the part waits for a day", || async { texts(&shop.app, &due).await.pop() }).await;
        assert_eq!(shop.app.balance(&customer).await, 0);
        let won = shop.stripe.close_dispute(stripe::id(&dispute), true).expect("it is open");
        shop.deliver_event("charge.dispute.closed", &won).await;
        job_in_state(&shop.app, &JobId::parse(&part).expect("an id"), JobState::Succeeded).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PART);
        assert_eq!(shop.parts().await.len(), 10, "the others keep their time");
        shop.close().await;
    }

    async fn a_month_waits_while_the_change_that_leaves_it_is_not_paid(backend: Backend) {
        // A month that costs more than what is left of the year, so that the change has to be paid.
        let month = Price { amount: MoneyMinor(700_000), ..team_monthly() };
        let shop = Shop::selling(backend, &[pro_yearly(GrantSchedule::Monthly), month]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let price = async |key: &str| {
            let found = shop.ask_stripe("GET", &format!("/v1/prices?lookup_keys[]={key}"), &[]).await;
            stripe::id(&found["data"][0]).to_owned()
        };
        let pay_latest = async || {
            let latest = shop.subscription()["latest_invoice"].as_str().expect("an invoice").to_owned();
            assert_eq!(shop.stripe.object(&latest)["status"], "open");
            shop.ask_stripe("POST", &format!("/v1/invoices/{latest}/pay"), &[]).await;
            shop.deliver_event("invoice.paid", &shop.stripe.object(&latest)).await;
        };
        let by_invoice = [("collection_method", "send_invoice"), ("days_until_due", "30")];
        shop.subscribe_at_stripe(&stripe_customer, &price("pro_yearly").await, &by_invoice).await;
        pay_latest().await;
        assert_eq!(shop.app.balance(&customer).await, PART);

        let team = price("team_monthly").await;
        let change = [("items[0][price]", team.as_str()), ("billing_cycle_anchor", "now")];
        shop.change_item(&shop.subscription(), &change).await;
        let sql = "SELECT id FROM jobs WHERE kind = 'credits.grant' AND state = 'available' ORDER BY run_at_ms LIMIT 1";
        resume_job(&shop.app, &texts(&shop.app, sql).await.remove(0)).await;
        wait::until("the month waits for another day", || async {
            let times = shop.parts().await;
            (times.len() == 11 && times[0] > now_ms() + DAY_MS / 2).then_some(())
        })
        .await;
        assert_eq!(shop.app.balance(&customer).await, PART);
        pay_latest().await;
        let balance = shop.app.balance(&customer).await;
        shop.next_part(JobState::Cancelled).await;
        assert_eq!(shop.app.balance(&customer).await, balance, "the time that is left was credited");
        shop.close().await;
    }

    async fn a_month_that_waits_for_a_decision_about_a_price_comes_with_it(backend: Backend) {
        let (shop, customer) = Shop::with_year(backend).await;
        let found = shop.ask_stripe("GET", "/v1/prices?lookup_keys[]=pro_yearly", &[]).await;
        let product = found["data"][0]["product"].as_str().expect("a product");
        let year = ("recurring[interval]", "year");
        let form = [("unit_amount", "499000"), ("currency", "usd"), year, ("product", product)];
        let other = stripe::id(&shop.ask_stripe("POST", "/v1/prices", &form).await).to_owned();
        // It takes the place of ours within the year, and nobody knows yet what it sells.
        let change = [("items[0][price]", other.as_str()), ("proration_behavior", "always_invoice")];
        shop.stripe.advance(std::time::Duration::from_secs(7 * 24 * 60 * 60)).expect("time passes");
        shop.change_item(&shop.subscription(), &change).await;
        let sql = "SELECT id FROM jobs WHERE kind = 'credits.grant' AND state = 'available' ORDER BY run_at_ms LIMIT 1";
        let part = texts(&shop.app, sql).await.remove(0);
        resume_job(&shop.app, &part).await;
        wait::until("the month waits for another day", || async {
            let times = shop.parts().await;
            (times.len() == 11 && times[0] > now_ms() + DAY_MS / 2).then_some(())
        })
        .await;
        assert_eq!(shop.app.balance(&customer).await, PART);
        shop.decide(&other, json!({ "decision": "ours", "price": "pro_yearly" })).await;
        job_in_state(&shop.app, &JobId::parse(&part).expect("an id"), JobState::Succeeded).await;
        assert!(shop.app.balance(&customer).await > PART);
        let parts = shop.parts().await;
        assert!(parts.len() == 10 && parts[0] > now_ms() + DAY_MS, "the others keep their time: {parts:?}");
        shop.close().await;
    }

    async fn a_part_is_granted_once_although_stripe_could_not_be_asked_or_has_its_invoice_no_longer(backend: Backend) {
        let (shop, customer) = Shop::with_year(backend).await;
        shop.fail_next("GET", "/v1/invoices", Fault::RateLimit { retry_after_s: None });
        shop.next_part(JobState::Succeeded).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PART);
        let unknown = "UPDATE jobs SET args = REPLACE(args, '\"in_', '\"in_gone_') \
                       WHERE kind = 'credits.grant' AND state = 'available'";
        sql(&shop.app, unknown).await;
        shop.next_part(JobState::Succeeded).await;
        assert_eq!(shop.app.balance(&customer).await, 3 * PART);
        shop.close().await;
    }
}
