//! The plan of a customer follows, at commit, from everything stored that gives one.

use super::effects::commit;
use crate::database::until_waiting;
use crate::scene::{customer_id, now_ms, sql};
use bursar_engine::domain::catalogue::{Catalogue, Plan};
use bursar_engine::domain::effect::Effect;
use bursar_engine::domain::subscription::Subscription;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::commit::{Unit, UnitResult, commit_units};
use bursar_engine::infra::store::customer::{PlanChange, customer_find, customer_set_plan_many};
use bursar_engine::infra::store::subscription::{subscription_list, subscription_put_many};
use bursar_engine::key::{PlanKey, PriceKey};
use bursar_tests::{Backend, TestApp, with_app};
use std::sync::Arc;

/// The built-in catalogue with a plan that is better than Pro.
fn with_team() -> Arc<Catalogue> {
    let mut catalogue = Catalogue::clone(&Catalogue::built_in());
    let pro = catalogue.plan(&PlanKey::trusted("pro")).cloned().unwrap();
    catalogue.plans.push(Plan { key: PlanKey::trusted("team"), name: "Team".to_owned(), ..pro });
    Arc::new(catalogue)
}

fn subscription(customer: &CustomerId, id: &str, plan: Option<&str>, ended_at_ms: Option<i64>) -> Subscription {
    Subscription {
        id: id.to_owned(),
        customer_id: customer.clone(),
        status: if ended_at_ms.is_some() { "canceled" } else { "active" }.to_owned(),
        plan: plan.map(PlanKey::trusted),
        price: plan.map(|plan| PriceKey::trusted(&format!("{plan}_monthly"))),
        quantity: 3,
        cancel_at_period_end: false,
        current_period_end_ms: Some(7),
        past_due_since_ms: None,
        past_due_reason: None,
        paused_collection: None,
        unpaid_change: None,
        pending_change: None,
        ended_at_ms,
    }
}

fn active(customer: &CustomerId, id: &str, plan: &str) -> Effect {
    Effect::SubscriptionPut(subscription(customer, id, Some(plan), None))
}

fn ended(customer: &CustomerId, id: &str, plan: &str) -> Effect {
    Effect::SubscriptionPut(subscription(customer, id, Some(plan), Some(5)))
}

/// A change of plan by a handler that knew this much.
fn plan_set(customer: &CustomerId, plan: &str, has_left: Option<&str>) -> Effect {
    let (plan, has_left) = (PlanKey::trusted(plan), has_left.map(PlanKey::trusted));
    Effect::PlanSet { customer_id: customer.clone(), plan, has_left, catalogue: with_team() }
}

async fn plan_of(app: &TestApp, customer: &CustomerId) -> String {
    customer_find(app.app.db.read(), customer).await.unwrap().unwrap().plan.to_string()
}

/// A customer with two subscriptions to Pro.
async fn with_two(app: &TestApp) -> CustomerId {
    let customer = customer_id(&app.onboard().await);
    let one = vec![active(&customer, "sub_1", "pro"), plan_set(&customer, "pro", None)];
    commit(app, vec![one, vec![active(&customer, "sub_2", "pro")]]).await;
    assert_eq!(plan_of(app, &customer).await, "pro");
    customer
}

/// Links a purchase on the Marketplace, or changes it.
async fn purchase(app: &TestApp, customer: &CustomerId, plan: &str, state: &str) {
    let insert = format!(
        "INSERT INTO marketplace_accounts (github_account_id, login, account_type, state, plan_id, plan_name, plan, \
         unit_count, on_free_trial, effective_ms, last_action, customer_id, created_at_ms, updated_at_ms) \
         VALUES (7, 'ada', 'User', '{state}', 1, 'Plan', '{plan}', 1, FALSE, 1, 'purchased', '{customer}', 1, 1) \
         ON CONFLICT (github_account_id) DO UPDATE SET state = excluded.state, plan = excluded.plan"
    );
    sql(app, &insert).await;
}

with_app! {
    async fn two_subscriptions_that_end_at_once_leave_the_plan_that_follows(app: &TestApp) {
        let customer = with_two(app).await;
        // Each handler still saw the other subscription.
        let end = |id: &str| vec![vec![ended(&customer, id, "pro"), plan_set(&customer, "pro", Some("pro"))]];
        tokio::join!(commit(app, end("sub_1")), commit(app, end("sub_2")));
        assert_eq!(plan_of(app, &customer).await, "pay_as_you_go");
    }

    async fn the_better_of_two_plans_counts_in_both_orders(app: &TestApp) {
        for plans in [["pro", "team"], ["team", "pro"]] {
            let customer = customer_id(&app.onboard().await);
            let id = |plan: &str| format!("sub_{plan}_{customer}");
            for plan in plans {
                // Each handler knew only its own subscription.
                commit(app, vec![vec![active(&customer, &id(plan), plan), plan_set(&customer, plan, None)]]).await;
            }
            assert_eq!(plan_of(app, &customer).await, "team", "{plans:?}");
            let end = vec![ended(&customer, &id("team"), "team"), plan_set(&customer, "pay_as_you_go", Some("team"))];
            commit(app, vec![end]).await;
            assert_eq!(plan_of(app, &customer).await, "pro", "{plans:?}");
        }
    }

    async fn a_subscription_to_a_lesser_plan_takes_the_better_one_away(app: &TestApp) {
        let customer = customer_id(&app.onboard().await);
        commit(app, vec![vec![active(&customer, "sub_1", "team"), plan_set(&customer, "team", None)]]).await;
        commit(app, vec![vec![active(&customer, "sub_1", "pro"), plan_set(&customer, "pro", Some("team"))]]).await;
        assert_eq!(plan_of(app, &customer).await, "pro");
    }

    async fn a_customer_who_paid_is_off_the_entry_plan_although_the_subscription_has_ended(app: &TestApp) {
        let customer = customer_id(&app.onboard().await);
        commit(app, vec![vec![ended(&customer, "sub_1", "pro"), plan_set(&customer, "pro", None)]]).await;
        assert_eq!(plan_of(app, &customer).await, "trial");
        commit(app, vec![vec![plan_set(&customer, "pay_as_you_go", Some("pro"))]]).await;
        assert_eq!(plan_of(app, &customer).await, "pay_as_you_go");
    }

    async fn a_purchase_on_the_marketplace_gives_its_plan_beside_a_subscription(app: &TestApp) {
        let customer = customer_id(&app.onboard().await);
        purchase(app, &customer, "pro", "purchased").await;
        commit(app, vec![vec![active(&customer, "sub_1", "team"), plan_set(&customer, "team", None)]]).await;
        assert_eq!(plan_of(app, &customer).await, "team");
        let end = vec![ended(&customer, "sub_1", "team"), plan_set(&customer, "pay_as_you_go", Some("team"))];
        commit(app, vec![end]).await;
        assert_eq!(plan_of(app, &customer).await, "pro");
        purchase(app, &customer, "pro", "cancelled").await;
        commit(app, vec![vec![plan_set(&customer, "pay_as_you_go", Some("pro"))]]).await;
        assert_eq!(plan_of(app, &customer).await, "pay_as_you_go");
    }

    async fn a_purchase_of_a_plan_that_is_not_bought_takes_no_better_plan_away(app: &TestApp) {
        let customer = customer_id(&app.onboard().await);
        commit(app, vec![vec![active(&customer, "sub_1", "pro"), plan_set(&customer, "pro", None)]]).await;
        purchase(app, &customer, "trial", "purchased").await;
        commit(app, vec![vec![plan_set(&customer, "trial", None)]]).await;
        assert_eq!(plan_of(app, &customer).await, "pro");
        let end = vec![ended(&customer, "sub_1", "pro"), plan_set(&customer, "pay_as_you_go", Some("pro"))];
        commit(app, vec![end, vec![plan_set(&customer, "trial", None)]]).await;
        assert_eq!(plan_of(app, &customer).await, "pay_as_you_go");
    }

    async fn a_subscription_is_read_as_it_was_written(app: &TestApp) {
        let customer = customer_id(&app.onboard().await);
        let ours = subscription(&customer, "sub_1", Some("pro"), None);
        let other = subscription(&customer, "sub_2", None, Some(5));
        commit(app, vec![vec![Effect::SubscriptionPut(ours.clone()), Effect::SubscriptionPut(other.clone())]]).await;
        assert_eq!(subscription_list(app.app.db.read(), &customer).await.unwrap(), [ours.clone(), other.clone()]);
        // It is no longer ours.
        let moved = Subscription { plan: None, price: None, quantity: 1, ..ours };
        commit(app, vec![vec![Effect::SubscriptionPut(moved.clone())]]).await;
        let mut rows = subscription_list(app.app.db.read(), &customer).await.unwrap();
        rows.sort_by(|one, other| one.id.cmp(&other.id));
        assert_eq!(rows, [moved, other]);
    }
}

// Production only: SQLite runs one writing transaction at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_plan_waits_for_the_end_of_another_subscription_and_sees_it() {
    let app = TestApp::start(Backend::Production).await;
    let customer = with_two(&app).await;
    let other = app.app.db.begin().await.unwrap();
    subscription_put_many(&other, &[&subscription(&customer, "sub_1", Some("pro"), Some(5))], now_ms()).await.unwrap();
    let (pro, catalogue) = (PlanKey::trusted("pro"), with_team());
    let change = PlanChange { customer_id: &customer, plan: &pro, has_left: Some(&pro), catalogue: &catalogue };
    customer_set_plan_many(&other, &[change], now_ms()).await.unwrap();
    let effects = vec![ended(&customer, "sub_2", "pro"), plan_set(&customer, "pro", Some("pro"))];
    let (db, unit) = (app.app.db.clone(), Unit { effects, ..Unit::default() });
    let commit = tokio::spawn(async move { commit_units(&db, &[unit], "a-node", now_ms()).await });
    until_waiting(&app, 1).await;
    assert_eq!(plan_of(&app, &customer).await, "pro");
    other.commit().await.unwrap();
    let results = commit.await.unwrap().unwrap();
    assert!(matches!(results[..], [UnitResult::Committed(_)]), "{results:?}");
    assert_eq!(plan_of(&app, &customer).await, "pay_as_you_go");
    app.stop().await;
}
