//! The plans of customers, computed anew from everything stored that gives one.

use super::lock_clause;
use crate::clock::TimeMs;
use crate::domain::catalogue::Catalogue;
use crate::domain::catalogue::read::read;
use crate::domain::subscription::Subscription;
use crate::error::Result;
use crate::ids::CustomerId;
use crate::infra::store::catalogue::catalogue_version_with_plan;
use crate::infra::store::marketplace::marketplace_plan_find_many;
use crate::infra::store::subscription::{self, subscription_find_many};
use crate::infra::store::{Kind, Rows, get, query_all, query_by, query_one};
use crate::key::PlanKey;
use sea_orm::ConnectionTrait;
use std::collections::HashMap;

/// A change of a customer's plan: [`Effect::PlanSet`](crate::domain::effect::Effect::PlanSet).
#[derive(Debug, Clone, Copy)]
pub struct PlanChange<'a> {
    /// The customer.
    pub customer_id: &'a CustomerId,
    /// The plan that follows from what the handler knew.
    pub plan: &'a PlanKey,
    /// A plan that the customer paid for and that the change may have taken away.
    pub has_left: Option<&'a PlanKey>,
    /// The catalogue that the handler decided by.
    pub catalogue: &'a Catalogue,
}

impl PlanChange<'_> {
    /// Whether a customer on this plan stays on it without another look.
    fn is_there(&self, present: &PlanKey) -> bool {
        self.has_left.is_none() && self.plan == present
    }

    /// The plans that these rows give the customer; there may be those of others among them.
    fn given_by(&self, subscriptions: &[Subscription], purchases: &[(CustomerId, PlanKey)]) -> Vec<PlanKey> {
        // The Marketplace may list a plan that a customer has without buying it, such as the entry plan. It gives none:
        // else it would take a better plan away.
        let is_bought = |plan: &&PlanKey| self.catalogue.plan(plan).is_some_and(|plan| plan.followed_by.is_some());
        let purchased = purchases.iter().filter(|(customer_id, _)| customer_id == self.customer_id);
        let purchased = purchased.map(|(_, plan)| plan).filter(is_bought);
        let subscribed = subscriptions.iter().filter(|row| row.customer_id == *self.customer_id);
        subscribed.filter_map(Subscription::gives_plan).chain(purchased).cloned().collect()
    }
}

/// Moves customers to the plans that follow from what is stored now, each once.
pub async fn customer_set_plan_many(
    db: &impl ConnectionTrait,
    changes: &[PlanChange<'_>],
    now_ms: TimeMs,
) -> Result<()> {
    // Whoever changes what gives a plan locks the customer here, after having written it and until the commit. So the
    // lock waits for a concurrent change, and the statements after it see that. Customers already on their plan, which
    // are most, take part in nothing but the lock.
    let sql = format!(
        "SELECT c.id AS id, c.plan AS plan FROM {{rows}} JOIN customers c ON c.id = {{r.sought}} ORDER BY c.id{}",
        lock_clause(db, "c")
    );
    let ids: Vec<String> = changes.iter().map(|change| change.customer_id.to_string()).collect();
    let mut present = HashMap::new();
    for row in query_by(db, &sql, &ids).await? {
        present.insert(get::<String>(&row, "id")?, PlanKey::trusted(&get::<String>(&row, "plan")?));
    }
    let known = changes.iter().filter_map(|change| Some((change, present.get(change.customer_id.as_str())?)));
    let open: Vec<(&PlanChange<'_>, &PlanKey)> = known.filter(|(change, present)| !change.is_there(present)).collect();
    let ids: Vec<String> = open.iter().map(|(change, _)| change.customer_id.to_string()).collect();
    let subscriptions = subscription_find_many(db, subscription::By::Customer, &ids).await?;
    let purchases = marketplace_plan_find_many(db, &ids).await?;
    let mut rows = Rows::new(&[("id", Kind::Text), ("plan", Kind::Text), ("now_ms", Kind::Int)]);
    for (change, present) in open {
        let given = change.given_by(&subscriptions, &purchases);
        let plan = match change.catalogue.plan(present) {
            None if given.is_empty() => follower_of_lost(db, change.catalogue, present).await?,
            _ => change.catalogue.plan_now(present, &given, change.has_left),
        };
        if plan != *present {
            rows.push([change.customer_id.as_str().into(), plan.as_str().into(), now_ms.into()]);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE customers SET plan = r.plan, updated_at_ms = r.now_ms FROM {rows} WHERE customers.id = {r.id}";
    db.execute_raw(rows.statement(db.get_database_backend(), sql)).await?;
    Ok(())
}

/// The plan that follows one that the catalogue has no longer, by the latest version that had it.
async fn follower_of_lost(db: &impl ConnectionTrait, catalogue: &Catalogue, lost: &PlanKey) -> Result<PlanKey> {
    let version = catalogue_version_with_plan(db, lost).await?;
    let former = version.and_then(|version| read(&version.catalogue).ok());
    Ok(former.map_or_else(|| catalogue.entry.clone(), |former| catalogue.follower_of_lost(lost, &former)))
}

/// Every plan that a customer has. It reads one entry of the index for each plan.
pub async fn customer_plan_list(db: &impl ConnectionTrait) -> Result<Vec<PlanKey>> {
    let sql = "WITH RECURSIVE plans (plan) AS (SELECT MIN(plan) FROM customers UNION ALL \
               SELECT (SELECT MIN(c.plan) FROM customers c WHERE c.plan > plans.plan) FROM plans \
               WHERE plans.plan IS NOT NULL) SELECT plan FROM plans WHERE plan IS NOT NULL ORDER BY plan";
    let rows = query_all(db, sql, []).await?;
    rows.iter().map(|row| Ok(PlanKey::trusted(&get::<String>(row, "plan")?))).collect()
}

/// The first customers on a plan, by their ids.
pub async fn customer_list_on_plan(db: &impl ConnectionTrait, plan: &PlanKey, limit: u64) -> Result<Vec<CustomerId>> {
    let sql = "SELECT id FROM customers WHERE plan = $1 ORDER BY id LIMIT $2";
    let rows = query_all(db, sql, [plan.as_str().into(), limit.cast_signed().into()]).await?;
    rows.iter().map(|row| Ok(CustomerId::trusted(get(row, "id")?))).collect()
}

/// The number of customers on a plan.
pub async fn customer_count_on_plan(db: &impl ConnectionTrait, plan: &PlanKey) -> Result<i64> {
    let sql = "SELECT COUNT(*) AS n FROM customers WHERE plan = $1";
    let row = query_one(db, sql, [plan.as_str().into()]).await?;
    row.map_or(Ok(0), |row| get(&row, "n"))
}
