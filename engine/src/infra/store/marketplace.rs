//! Rows of `marketplace_accounts`. [`marketplace_put`] writes GitHub's facts, the other functions write link and
//! token: they never overwrite each other.

use super::{execute, from_json, get, query_all, query_by, query_one, to_json};
use crate::clock::TimeMs;
use crate::domain::github::Action;
use crate::domain::marketplace::earlier::{self, OwedSpan};
use crate::domain::marketplace::{ListingPlan, MarketplaceAccount, PurchaseState};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::key::PlanKey;
use sea_orm::{ConnectionTrait, QueryResult};

const COLUMNS: &str = "github_account_id, login, account_type, email, state, plan_id, plan_name, plan, billing_cycle, \
                       unit_count, on_free_trial, free_trial_ends_ms, next_billing_ms, effective_ms, last_action, \
                       pending, news, owed, covered_until_ms, customer_id, linked_at_ms, created_at_ms, updated_at_ms";

fn read(row: &QueryResult) -> Result<MarketplaceAccount> {
    let unknown = |what: &str, text: &str| Error::Corrupt(format!("marketplace {what} {text}"));
    let (state, action): (String, String) = (get(row, "state")?, get(row, "last_action")?);
    let plan = get::<Option<String>>(row, "plan")?.map(|key| PlanKey::trusted(&key));
    let mut account = MarketplaceAccount {
        github_account_id: get(row, "github_account_id")?,
        login: get(row, "login")?,
        account_type: get(row, "account_type")?,
        email: get(row, "email")?,
        state: PurchaseState::parse(&state).ok_or_else(|| unknown("state", &state))?,
        plan: ListingPlan { id: get(row, "plan_id")?, name: get(row, "plan_name")?, plan },
        billing_cycle: get(row, "billing_cycle")?,
        unit_count: get(row, "unit_count")?,
        on_free_trial: get(row, "on_free_trial")?,
        free_trial_ends_ms: get(row, "free_trial_ends_ms")?,
        next_billing_ms: get(row, "next_billing_ms")?,
        effective_ms: get(row, "effective_ms")?,
        last_action: Action::parse(&action).ok_or_else(|| unknown("action", &action))?,
        pending: get::<Option<String>>(row, "pending")?.map(|text| from_json(&text)).transpose()?,
        news: from_json(&get::<String>(row, "news")?)?,
        granted_until_ms: get(row, "covered_until_ms")?,
        customer_id: get::<Option<String>>(row, "customer_id")?.map(CustomerId::trusted),
        linked_at_ms: get(row, "linked_at_ms")?,
        created_at_ms: get(row, "created_at_ms")?,
        updated_at_ms: get(row, "updated_at_ms")?,
    };
    let owed: Vec<OwedSpan> = from_json(&get::<String>(row, "owed")?)?;
    earlier::restore_news(&mut account, &owed);
    Ok(account)
}

/// Writes an account, except its link.
pub async fn marketplace_put(db: &impl ConnectionTrait, account: &MarketplaceAccount) -> Result<()> {
    let pending = account.pending.as_ref().map(to_json).transpose()?;
    // For builds before `m0019`, with `period_from_ms`.
    let owed = earlier::owed_spans(account);
    execute(
        db,
        "INSERT INTO marketplace_accounts (github_account_id, login, account_type, email, state, plan_id, plan_name, \
         plan, billing_cycle, unit_count, on_free_trial, free_trial_ends_ms, next_billing_ms, effective_ms, \
         last_action, pending, period_from_ms, covered_until_ms, created_at_ms, updated_at_ms, owed, news) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22) \
         ON CONFLICT (github_account_id) DO UPDATE SET login = excluded.login, account_type = excluded.account_type, \
         email = excluded.email, state = excluded.state, plan_id = excluded.plan_id, plan_name = excluded.plan_name, \
         plan = excluded.plan, billing_cycle = excluded.billing_cycle, unit_count = excluded.unit_count, \
         on_free_trial = excluded.on_free_trial, free_trial_ends_ms = excluded.free_trial_ends_ms, \
         next_billing_ms = excluded.next_billing_ms, effective_ms = excluded.effective_ms, \
         last_action = excluded.last_action, pending = excluded.pending, period_from_ms = excluded.period_from_ms, \
         covered_until_ms = excluded.covered_until_ms, updated_at_ms = excluded.updated_at_ms, \
         owed = excluded.owed, news = excluded.news",
        [
            account.github_account_id.into(),
            account.login.as_str().into(),
            account.account_type.as_str().into(),
            account.email.clone().into(),
            account.state.as_str().into(),
            account.plan.id.into(),
            account.plan.name.as_str().into(),
            account.plan.plan.clone().map(String::from).into(),
            account.billing_cycle.clone().into(),
            account.unit_count.into(),
            account.on_free_trial.into(),
            account.free_trial_ends_ms.into(),
            account.next_billing_ms.into(),
            account.effective_ms.into(),
            account.last_action.as_str().into(),
            pending.into(),
            owed.first().map(|span| span.from_ms).into(),
            account.granted_until_ms.into(),
            account.created_at_ms.into(),
            account.updated_at_ms.into(),
            to_json(&owed)?.into(),
            to_json(&account.news)?.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Finds an account.
pub async fn marketplace_find(db: &impl ConnectionTrait, github_account_id: i64) -> Result<Option<MarketplaceAccount>> {
    let sql = format!("SELECT {COLUMNS} FROM marketplace_accounts WHERE github_account_id = $1");
    query_one(db, &sql, [github_account_id.into()]).await?.map(|row| read(&row)).transpose()
}

/// Finds the account linked to a customer.
pub async fn marketplace_find_by_customer(
    db: &impl ConnectionTrait,
    customer_id: &CustomerId,
) -> Result<Option<MarketplaceAccount>> {
    let sql = format!("SELECT {COLUMNS} FROM marketplace_accounts WHERE customer_id = $1");
    query_one(db, &sql, [customer_id.as_str().into()]).await?.map(|row| read(&row)).transpose()
}

/// The plans of the purchases in force that are linked to these customers.
pub async fn marketplace_plan_find_many(
    db: &impl ConnectionTrait,
    customers: &[String],
) -> Result<Vec<(CustomerId, PlanKey)>> {
    let sql = format!(
        "SELECT m.customer_id AS customer_id, m.plan AS plan \
         FROM {{rows}} JOIN marketplace_accounts m ON m.customer_id = {{r.sought}} \
         WHERE m.state = '{}' AND m.plan IS NOT NULL",
        PurchaseState::Purchased.as_str()
    );
    let read = |row: &QueryResult| {
        Ok((CustomerId::trusted(get(row, "customer_id")?), PlanKey::trusted(&get::<String>(row, "plan")?)))
    };
    query_by(db, &sql, customers).await?.iter().map(read).collect()
}

/// A search for accounts. Empty fields match everything.
#[derive(Debug, Clone, Default)]
pub struct MarketplaceFilter {
    /// The state of the purchase.
    pub state: Option<PurchaseState>,
    /// Whether it is linked to a customer.
    pub is_linked: Option<bool>,
    /// Part of the account's name at GitHub.
    pub login: Option<String>,
}

/// Accounts by their id at GitHub, after the cursor.
pub async fn marketplace_list(
    db: &impl ConnectionTrait,
    filter: &MarketplaceFilter,
    after: i64,
    limit: u64,
) -> Result<Vec<MarketplaceAccount>> {
    let linked = match filter.is_linked {
        None => "",
        Some(true) => " AND customer_id IS NOT NULL",
        Some(false) => " AND customer_id IS NULL",
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM marketplace_accounts WHERE github_account_id > $1 AND ($2 = '' OR state = $2) \
         AND ($3 = '' OR LOWER(login) LIKE $3 ESCAPE '\\'){linked} ORDER BY github_account_id LIMIT $4"
    );
    let login = filter.login.as_deref().unwrap_or_default().to_lowercase();
    let login = login.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    let pattern = if login.is_empty() { login } else { format!("%{login}%") };
    let state = filter.state.map_or("", PurchaseState::as_str);
    let values = [after.into(), state.into(), pattern.into(), limit.cast_signed().into()];
    query_all(db, &sql, values).await?.iter().map(read).collect()
}

/// Sets the hash of the account's link token, replacing an earlier one. False if the account is linked.
pub async fn marketplace_set_token(
    db: &impl ConnectionTrait,
    github_account_id: i64,
    hash: &str,
    expires_ms: TimeMs,
) -> Result<bool> {
    let sql = "UPDATE marketplace_accounts SET link_token_hash = $2, link_token_expires_ms = $3 \
               WHERE github_account_id = $1 AND customer_id IS NULL";
    Ok(execute(db, sql, [github_account_id.into(), hash.into(), expires_ms.into()]).await? == 1)
}

/// Finds the account of a link token, valid or expired.
pub async fn marketplace_find_by_token(db: &impl ConnectionTrait, hash: &str) -> Result<Option<i64>> {
    let sql = "SELECT github_account_id FROM marketplace_accounts WHERE link_token_hash = $1";
    query_one(db, sql, [hash.into()]).await?.map(|row| get(&row, "github_account_id")).transpose()
}

/// The result of using a link token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenUse {
    /// The account with this id is now linked, and the token is used up.
    Linked(i64),
    /// The token has expired.
    Expired,
    /// The token does not exist, or was used up.
    Unknown,
}

/// Uses up a link token and links its account to the customer.
pub async fn marketplace_use_token(
    db: &impl ConnectionTrait,
    hash: &str,
    customer_id: &CustomerId,
    now_ms: TimeMs,
) -> Result<TokenUse> {
    let sql = "UPDATE marketplace_accounts SET customer_id = $2, linked_at_ms = $3, updated_at_ms = $3, \
               link_token_hash = NULL, link_token_expires_ms = NULL \
               WHERE link_token_hash = $1 AND link_token_expires_ms > $3 AND customer_id IS NULL \
               RETURNING github_account_id";
    if let Some(row) = query_one(db, sql, [hash.into(), customer_id.as_str().into(), now_ms.into()]).await? {
        return Ok(TokenUse::Linked(get(&row, "github_account_id")?));
    }
    let is_known = marketplace_find_by_token(db, hash).await?.is_some();
    Ok(if is_known { TokenUse::Expired } else { TokenUse::Unknown })
}

/// Links an account to a customer. False if it is already linked.
pub async fn marketplace_link(
    db: &impl ConnectionTrait,
    github_account_id: i64,
    customer_id: &CustomerId,
    now_ms: TimeMs,
) -> Result<bool> {
    let sql = "UPDATE marketplace_accounts SET customer_id = $2, linked_at_ms = $3, updated_at_ms = $3, \
               link_token_hash = NULL, link_token_expires_ms = NULL \
               WHERE github_account_id = $1 AND customer_id IS NULL";
    Ok(execute(db, sql, [github_account_id.into(), customer_id.as_str().into(), now_ms.into()]).await? == 1)
}
