//! Effects of many units in one transaction: applied by set, with the same result as one after another.

use crate::scene::{customer_id, now_ms};
use bursar_engine::amount::{Credits, MoneyMinor};
use bursar_engine::domain::catalogue::Catalogue;
use bursar_engine::domain::effect::Effect;
use bursar_engine::domain::job::{JobKind, NewJob};
use bursar_engine::domain::payment::Invoice;
use bursar_engine::domain::subscription::Subscription;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::commit::{Unit, UnitResult, commit_units};
use bursar_engine::infra::store::customer::customer_find;
use bursar_engine::infra::store::payment::{invoice_find, invoice_payer_find_many};
use bursar_engine::infra::store::subscription::subscription_list;
use bursar_engine::key::{PlanKey, PriceKey};
use bursar_tests::{TestApp, with_app};
use serde_json::json;

/// Commits units in one transaction; returns the ids of the jobs that each created.
pub(super) async fn commit(app: &TestApp, units: Vec<Vec<Effect>>) -> Vec<Vec<String>> {
    let units: Vec<Unit> = units.into_iter().map(|effects| Unit { effects, ..Unit::default() }).collect();
    let results = commit_units(&app.app.db, &units, "a-node", now_ms()).await.unwrap();
    let ids = |result: UnitResult| match result {
        UnitResult::Committed(wakes) => wakes.into_iter().map(|wake| wake.job_id.to_string()).collect(),
        other => panic!("{other:?}"),
    };
    results.into_iter().map(ids).collect()
}

fn subscription(customer: &CustomerId, id: &str, status: &str, ended_at_ms: Option<i64>) -> Effect {
    Effect::SubscriptionPut(Subscription {
        id: id.to_owned(),
        customer_id: customer.clone(),
        status: status.to_owned(),
        plan: Some(PlanKey::trusted("pro")),
        price: Some(PriceKey::trusted("pro_monthly")),
        quantity: 1,
        cancel_at_period_end: ended_at_ms.is_some(),
        current_period_end_ms: Some(7),
        past_due_since_ms: None,
        past_due_reason: None,
        paused_collection: None,
        unpaid_change: None,
        pending_change: None,
        ended_at_ms,
    })
}

/// What an event says of an invoice: that it was paid, or that its payment failed.
pub(super) fn invoice(customer: &CustomerId, id: &str, is_paid: bool) -> Effect {
    Effect::InvoicePut(Box::new(Invoice {
        id: id.to_owned(),
        customer_id: customer.clone(),
        subscription_id: None,
        is_paid,
        amount: Some(MoneyMinor(59_900)),
        currency: Some("usd".to_owned()),
        credits: Credits::ZERO,
        brings_now: false,
        terms: is_paid.then(Vec::new),
        failure: (!is_paid).then(|| "declined".to_owned()),
        failure_code: None,
        decline_code: None,
        refunded: MoneyMinor::ZERO,
        disputed: MoneyMinor::ZERO,
        kept: MoneyMinor::ZERO,
        created_at_ms: 7,
        updated_at_ms: 7,
    }))
}

/// Moves a customer to Pro, or off it to another plan.
fn plan(customer: &CustomerId, plan: &str) -> Effect {
    let has_left = (plan != "pro").then(|| PlanKey::trusted("pro"));
    let (customer_id, plan) = (customer.clone(), PlanKey::trusted(plan));
    Effect::PlanSet { customer_id, plan, has_left, catalogue: Catalogue::built_in() }
}

fn link(customer: &CustomerId, stripe_customer: &str) -> Effect {
    Effect::StripeLink { customer_id: customer.clone(), stripe_customer_id: stripe_customer.to_owned() }
}

fn unlink(customer: &CustomerId, stripe_customer: &str) -> Effect {
    Effect::StripeUnlink { customer_id: customer.clone(), stripe_customer_id: stripe_customer.to_owned() }
}

with_app! {
    async fn an_invoice_that_failed_under_another_customer_goes_over_to_whoever_paid_it(app: &TestApp) {
        let customers = [app.onboard().await, app.onboard().await, app.onboard().await];
        let [wrong, payer, late] = customers.each_ref().map(customer_id);
        let owner = async |id: &str| {
            let found = invoice_find(app.app.db.read(), id).await.unwrap().unwrap();
            (found.customer_id, found.is_paid)
        };
        commit(app, vec![vec![invoice(&wrong, "in_1", false)], vec![invoice(&wrong, "in_2", false)]]).await;
        commit(app, vec![vec![invoice(&payer, "in_2", false)]]).await;
        assert_eq!(owner("in_2").await, (wrong.clone(), false), "nobody has paid it");
        commit(app, vec![vec![invoice(&payer, "in_1", true)]]).await;
        assert_eq!(owner("in_1").await, (payer.clone(), true));
        commit(app, vec![vec![invoice(&wrong, "in_1", false)], vec![invoice(&late, "in_1", true)]]).await;
        assert_eq!(owner("in_1").await, (payer.clone(), true), "a paid one stays");
        let payers = invoice_payer_find_many(app.app.db.read(), &["in_1".to_owned(), "in_2".to_owned()]).await.unwrap();
        assert_eq!(payers.into_iter().collect::<Vec<_>>(), [("in_1".to_owned(), payer)]);
        app.verify().await;
    }

    async fn a_subscription_updated_after_its_end_in_one_transaction_stays_ended(app: &TestApp) {
        let customers = [app.onboard().await, app.onboard().await, app.onboard().await];
        let [ended, moved, other] = customers.each_ref().map(customer_id);
        commit(app, vec![
            vec![subscription(&ended, "sub_1", "active", None), plan(&ended, "pro")],
            vec![subscription(&moved, "sub_2", "active", None), plan(&moved, "pro")],
            vec![subscription(&ended, "sub_1", "canceled", Some(5)), plan(&ended, "pay_as_you_go")],
            vec![subscription(&ended, "sub_1", "active", None)],
            vec![subscription(&moved, "sub_2", "canceled", Some(5)), plan(&moved, "pay_as_you_go")],
            vec![subscription(&moved, "sub_3", "active", None), plan(&moved, "pro")],
            vec![plan(&other, "pay_as_you_go")],
        ])
        .await;
        let db = app.app.db.read();
        for (customer, expected) in [(&ended, "pay_as_you_go"), (&moved, "pro"), (&other, "pay_as_you_go")] {
            assert_eq!(customer_find(db, customer).await.unwrap().unwrap().plan.as_str(), expected);
        }
        let rows = subscription_list(db, &ended).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].status.as_str(), rows[0].ended_at_ms), ("canceled", Some(5)));
        // If one of two subscriptions ends, the customer stays on Pro.
        commit(app, vec![vec![
            subscription(&moved, "sub_4", "active", None),
            subscription(&moved, "sub_3", "canceled", Some(6)),
            plan(&moved, "pay_as_you_go"),
        ]])
        .await;
        assert_eq!(customer_find(db, &moved).await.unwrap().unwrap().plan.as_str(), "pro");
    }

    async fn links_to_stripe_follow_the_order_of_the_units(app: &TestApp) {
        let customers = [app.onboard().await, app.onboard().await];
        let [one, two] = customers.each_ref().map(customer_id);
        commit(app, vec![
            vec![link(&one, "cus_1"), link(&two, "cus_2")],
            vec![link(&one, "cus_3")],
            vec![unlink(&one, "cus_1"), link(&one, "cus_1"), link(&one, "cus_4")],
            vec![unlink(&two, "cus_other")],
        ])
        .await;
        let db = app.app.db.read();
        let linked = async |id: &CustomerId| customer_find(db, id).await.unwrap().unwrap().stripe_customer_id;
        // A linked customer keeps its Stripe customer, and an unlinked one does not get it back.
        assert_eq!(linked(&one).await.as_deref(), Some("cus_4"));
        assert_eq!(linked(&two).await.as_deref(), Some("cus_2"));
    }

    async fn each_unit_gets_the_ids_of_its_own_jobs(app: &TestApp) {
        let customer = app.onboard().await;
        let new = |key: &str| {
            let args = json!({ "customer": customer.id }).to_string();
            let mut job = NewJob::new(JobKind::AccountSettle, args, now_ms() + 3_600_000);
            job.unique_key = Some(key.to_owned());
            job.stream_key = Some("a stream of settlements".to_owned());
            job
        };
        let (first, second, again, third) = (new("first"), new("second"), new("first"), new("third"));
        let insert = |jobs: &[&NewJob]| jobs.iter().map(|job| Effect::JobInsert((*job).clone())).collect::<Vec<_>>();
        let made = commit(app, vec![insert(&[&first, &second]), insert(&[&again]), insert(&[&third]), vec![]]).await;
        let ids = |jobs: &[&NewJob]| jobs.iter().map(|job| job.id.to_string()).collect::<Vec<_>>();
        let mut of_first = made[0].clone();
        of_first.sort();
        assert_eq!(of_first, ids(&[&first, &second]));
        assert_eq!(made[1..], [ids(&[]), ids(&[&third]), ids(&[])]);
        let stream = crate::scene::jobs_of_stream(app, "a stream of settlements").await;
        let order: Vec<_> = stream.iter().map(|job| job.id.to_string()).collect();
        assert_eq!(order, ids(&[&first, &second, &third]));
        app.verify().await;
    }
}
