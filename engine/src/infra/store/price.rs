//! Rows of `prices`: the prices at Stripe that were seen, and what each sells.

use super::{Kind, Rows, execute, from_json, get, query_all, query_by, to_json};
use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::domain::catalogue::Price;
use crate::domain::sale::book::KnownOffer;
use crate::domain::sale::known_price::{DecidedBy, Decision, KnownPrice};
use crate::error::{Error, Result};
use crate::key::PriceKey;
use sea_orm::{ConnectionTrait, DbBackend, QueryResult};
use std::collections::BTreeMap;

const COLUMNS: &str = "id, product_id, lookup_key, metadata, amount, currency, every, catalogue_price, decision, \
                       decided_by, reason, terms, first_seen_ms, decided_at_ms";
/// Maximum number of prices read for some products; of more, only the first seen are. A system that makes a price for
/// each sale may have thousands.
const PRICES_OF_PRODUCTS_MAX: u32 = 1_000;

fn read(row: &QueryResult) -> Result<KnownPrice> {
    let (decision, decided_by): (String, String) = (get(row, "decision")?, get(row, "decided_by")?);
    let price = get::<Option<String>>(row, "catalogue_price")?.map(|key| PriceKey::trusted(&key));
    let corrupt = |what: &str, text: &str| Error::Corrupt(format!("{what} {text} of a price"));
    Ok(KnownPrice {
        id: get(row, "id")?,
        product_id: get(row, "product_id")?,
        lookup_key: get(row, "lookup_key")?,
        metadata: from_json(&get::<String>(row, "metadata")?)?,
        amount: get::<Option<i64>>(row, "amount")?.map(MoneyMinor),
        currency: get(row, "currency")?,
        every: get(row, "every")?,
        decision: Decision::parse(&decision, price).ok_or_else(|| corrupt("decision", &decision))?,
        decided_by: DecidedBy::parse(&decided_by).ok_or_else(|| corrupt("decided_by", &decided_by))?,
        reason: get(row, "reason")?,
        terms: get::<Option<String>>(row, "terms")?.map(|text| from_json(&text)).transpose()?,
        first_seen_ms: get(row, "first_seen_ms")?,
        decided_at_ms: get(row, "decided_at_ms")?,
    })
}

/// The columns of the table with this alias, under their own names.
fn columns_of(alias: &str) -> String {
    COLUMNS.split(", ").map(|column| format!("{alias}.{column} AS {column}")).collect::<Vec<_>>().join(", ")
}

/// Finds many prices by their ids at Stripe; missing ones are left out.
pub async fn price_find_many(db: &impl ConnectionTrait, ids: &[String]) -> Result<Vec<KnownPrice>> {
    let sql = format!("SELECT {} FROM {{rows}} JOIN prices p ON p.id = {{r.sought}}", columns_of("p"));
    query_by(db, &sql, ids).await?.iter().map(read).collect()
}

/// The prices of these products that are ours, in the order in which they were first seen.
pub async fn price_of_products(db: &impl ConnectionTrait, products: &[String]) -> Result<Vec<KnownPrice>> {
    let sql = format!(
        "SELECT {} FROM {{rows}} JOIN prices p ON p.product_id = {{r.sought}} WHERE p.catalogue_price IS NOT NULL \
         ORDER BY p.first_seen_ms, p.id LIMIT {PRICES_OF_PRODUCTS_MAX}",
        columns_of("p")
    );
    query_by(db, &sql, products).await?.iter().map(read).collect()
}

/// What all prices cost that sell, or sold, something of ours, in the order of the catalogue's prices.
pub async fn price_offers(db: &impl ConnectionTrait) -> Result<Vec<KnownOffer>> {
    let sql = "SELECT DISTINCT catalogue_price, amount, currency, every FROM prices WHERE catalogue_price IS NOT NULL \
               AND amount IS NOT NULL AND currency IS NOT NULL AND every IS NOT NULL \
               ORDER BY catalogue_price, amount, currency, every";
    let offer = |row: &QueryResult| {
        let (key, amount): (String, i64) = (get(row, "catalogue_price")?, get(row, "amount")?);
        let (key, amount) = (PriceKey::trusted(&key), MoneyMinor(amount));
        Ok(KnownOffer { key, amount, currency: get(row, "currency")?, every: get(row, "every")? })
    };
    query_all(db, sql, []).await?.iter().map(offer).collect()
}

/// Prices by their ids, after the cursor; with a decision (`ours`, `not_ours` or `undecided`), only those.
pub async fn price_list(
    db: &impl ConnectionTrait,
    after: Option<&str>,
    decision: Option<&str>,
    limit: u64,
) -> Result<Vec<KnownPrice>> {
    let sql = format!("SELECT {COLUMNS} FROM prices WHERE id > $1 AND ($2 = '' OR decision = $2) ORDER BY id LIMIT $3");
    let values = [after.unwrap_or_default().into(), decision.unwrap_or_default().into(), limit.cast_signed().into()];
    query_all(db, &sql, values).await?.iter().map(read).collect()
}

/// Writes prices; of several with one id, the last. What Stripe says of a price is replaced, and when it was first seen
/// stays. An operator's decision stays, with its reason and terms, unless the new one is a later operator's. Terms stay
/// as long as the price of the catalogue does, unless there are new ones.
pub async fn price_put_many(db: &impl ConnectionTrait, prices: &[KnownPrice]) -> Result<()> {
    // In the order of their ids, in which every transaction locks rows.
    let prices: BTreeMap<&str, &KnownPrice> = prices.iter().map(|price| (price.id.as_str(), price)).collect();
    if prices.is_empty() {
        return Ok(());
    }
    let mut rows = Rows::new(&[
        ("id", Kind::Text),
        ("product_id", Kind::Text),
        ("lookup_key", Kind::Text),
        ("metadata", Kind::Text),
        ("amount", Kind::Int),
        ("currency", Kind::Text),
        ("every", Kind::Text),
        ("catalogue_price", Kind::Text),
        ("decision", Kind::Text),
        ("decided_by", Kind::Text),
        ("reason", Kind::Text),
        ("terms", Kind::Text),
        ("first_seen_ms", Kind::Int),
        ("decided_at_ms", Kind::Int),
    ]);
    for price in prices.into_values() {
        rows.push([
            price.id.as_str().into(),
            price.product_id.clone().into(),
            price.lookup_key.clone().into(),
            to_json(&price.metadata)?.into(),
            price.amount.map(|amount| amount.0).into(),
            price.currency.clone().into(),
            price.every.clone().into(),
            price.decision.price().map(|key| key.as_str().to_owned()).into(),
            price.decision.as_str().into(),
            price.decided_by.as_str().into(),
            price.reason.clone().into(),
            price.terms.as_ref().map(to_json).transpose()?.into(),
            price.first_seen_ms.into(),
            price.decided_at_ms.into(),
        ]);
    }
    db.execute_raw(rows.statement(db.get_database_backend(), &put_statement())).await?;
    Ok(())
}

/// The statement of [`price_put_many`].
fn put_statement() -> String {
    let operator = DecidedBy::Operator.as_str();
    let sold = DecidedBy::Sold.as_str();
    // What was sold as ours stays ours, whatever a node with another catalogue makes of it, and what is ours for
    // everybody needs no tag.
    let counts = format!(
        "CASE WHEN excluded.decided_by = '{operator}' THEN prices.decided_by <> '{operator}' \
         OR excluded.decided_at_ms >= prices.decided_at_ms ELSE prices.decided_by <> '{operator}' \
         AND (prices.decision <> 'ours' OR excluded.decision = 'ours' \
         AND (excluded.decided_by <> '{sold}' OR prices.decided_by = '{sold}')) END"
    );
    // An object that names only the price's id says nothing of the rest.
    let is_bare = "excluded.product_id IS NULL AND excluded.lookup_key IS NULL AND excluded.amount IS NULL";
    let said = ["product_id", "lookup_key", "metadata", "amount", "currency", "every"]
        .map(|column| format!("{column} = CASE WHEN {is_bare} THEN prices.{column} ELSE excluded.{column} END"));
    let decided = ["catalogue_price", "decision", "decided_by", "reason", "decided_at_ms"]
        .map(|column| format!("{column} = CASE WHEN {counts} THEN excluded.{column} ELSE prices.{column} END"));
    format!(
        "INSERT INTO prices ({COLUMNS}) SELECT {COLUMNS} FROM {{rows}} WHERE true ON CONFLICT (id) DO UPDATE SET \
         {}, {}, terms = CASE WHEN NOT ({counts}) THEN prices.terms \
         WHEN excluded.terms IS NOT NULL THEN excluded.terms \
         WHEN excluded.catalogue_price = prices.catalogue_price THEN prices.terms END",
        said.join(", "),
        decided.join(", ")
    )
}

/// Stores an operator's decision with its reason. `Undecided` takes a decision back, so that the rules decide again.
/// False if the price is unknown.
///
/// Terms stay if the price of the catalogue does; else the present terms of the new one count.
pub async fn price_decide(
    db: &impl ConnectionTrait,
    id: &str,
    decision: &Decision,
    reason: &str,
    now_ms: TimeMs,
) -> Result<bool> {
    let decided_by = match decision {
        Decision::Ours(_) | Decision::NotOurs => DecidedBy::Operator,
        Decision::Undecided => DecidedBy::Nothing,
    };
    let sql = "UPDATE prices SET terms = CASE WHEN catalogue_price = $2 THEN terms END, catalogue_price = $2, \
               decision = $3, decided_by = $4, reason = $5, decided_at_ms = $6 WHERE id = $1";
    let values = [
        id.into(),
        decision.price().map(|key| key.as_str().to_owned()).into(),
        decision.as_str().into(),
        decided_by.as_str().into(),
        reason.into(),
        now_ms.into(),
    ];
    Ok(execute(db, sql, values).await? == 1)
}

/// Gives these terms to all prices at Stripe of a price that have none yet, except `present`.
pub async fn price_keep_terms(db: &impl ConnectionTrait, terms: &Price, present: Option<&str>) -> Result<()> {
    // Locked in the order of their ids, as by `price_put_many`.
    let lock = if db.get_database_backend() == DbBackend::Postgres { "FOR UPDATE" } else { "" };
    let sql = format!(
        "UPDATE prices SET terms = $1 WHERE id IN (SELECT id FROM prices WHERE catalogue_price = $2 AND id <> $3 \
         AND terms IS NULL ORDER BY id {lock})"
    );
    let values = [to_json(terms)?.into(), terms.key.as_str().into(), present.unwrap_or_default().into()];
    execute(db, &sql, values).await?;
    Ok(())
}

/// Lets the present terms of the catalogue count for a price that sells this price of it.
pub async fn price_drop_terms(db: &impl ConnectionTrait, id: &str, key: &PriceKey) -> Result<()> {
    let sql = "UPDATE prices SET terms = NULL WHERE id = $1 AND catalogue_price = $2 AND terms IS NOT NULL";
    execute(db, sql, [id.into(), key.as_str().into()]).await?;
    Ok(())
}
