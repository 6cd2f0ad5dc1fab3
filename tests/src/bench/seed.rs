//! Customers for a benchmark, made by SQL alone but with exactly the rows that onboarding would leave, so that
//! `bursar verify` holds on a benchmarked database, too.

use super::plan::Scenario;
use anyhow::Result;
use bursar_engine::domain::api_key::secret_hash;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::{Db, DbOptions};
use bursar_engine::migrations::{Migrator, MigratorTrait};
use sea_orm::ConnectionTrait;

/// Credits of each customer: more than a benchmark spends.
pub const CREDITS: i64 = 1_000_000;
/// API keys inserted by one statement.
const KEYS_AT_ONCE: usize = 1_000;

/// The id of customer number `n`.
pub fn customer_id(n: u64) -> CustomerId {
    CustomerId::trusted(format!("cst_{n:026}"))
}

/// The Stripe customer of customer number `n`.
pub fn stripe_customer_id(n: u64) -> String {
    format!("cus_bench{n}")
}

/// The API key of customer number `n`.
pub fn api_key(n: u64) -> String {
    format!("bsk_bench_{n}")
}

/// Connects to a scenario's database. Unless it is seeded, migrates it and creates `scenario.customers` customers,
/// the first `with_keys` of them with API keys.
pub async fn open(scenario: &Scenario, connections_max: u32, with_keys: u64) -> Result<Db> {
    let options = DbOptions { connections_max, ..DbOptions::new(scenario.database_url.as_str()) };
    let db = Db::connect(&options).await?;
    if !scenario.is_seeded {
        seed(&db, scenario.customers, with_keys).await?;
    }
    Ok(db)
}

async fn seed(db: &Db, customers: u64, with_keys: u64) -> Result<()> {
    Migrator::up(db.write(), None).await?;
    let (numbers, id) = if db.is_postgres() {
        (format!("(SELECT n FROM generate_series(0, {customers} - 1) AS n) AS s"), "'cst_' || lpad(n::text, 26, '0')")
    } else {
        (
            format!(
                "(WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n + 1 < {customers}) \
                 SELECT n FROM s) AS s"
            ),
            "'cst_' || printf('%026d', n)",
        )
    };
    let open = format!(r#"{{"grants":[{{"seq":1,"kind":"promotional","remaining":{CREDITS}}}]}}"#);
    let detail = r#"{"grant_kind":"promotional"}"#;
    let mut statements = vec![
        format!(
            "INSERT INTO customers (id, email, email_normalized, name, source, plan, stripe_customer_id, \
             has_payment_method, created_at_ms, updated_at_ms) SELECT {id}, 'c' || n || '@example.com', \
             'c' || n || '@example.com', 'Bench', 'direct', 'trial', 'cus_bench' || n, FALSE, 0, 0 FROM {numbers}"
        ),
        format!(
            "INSERT INTO accounts (customer_id, balance, held, version, floor, open, updated_at_ms) \
             SELECT {id}, {CREDITS}, 0, 1, 0, '{open}', 0 FROM {numbers}"
        ),
        format!(
            "INSERT INTO ledger_entries (customer_id, seq, kind, amount, held_delta, balance_after, held_after, source, \
             idempotency_key, detail, created_at_ms) SELECT {id}, 1, 'grant', {CREDITS}, 0, {CREDITS}, 0, 'signup', \
             'signup:' || {id}, '{detail}', 0 FROM {numbers}"
        ),
    ];
    statements.push(format!(
        "INSERT INTO free_credits (mailbox, customer_id, given_at_ms) \
         SELECT 'c' || n || '@example.com', {id}, 0 FROM {numbers}"
    ));
    let keys: Vec<u64> = (0..with_keys.min(customers)).collect();
    for numbers in keys.chunks(KEYS_AT_ONCE) {
        let row = |n: &u64| {
            format!("('key_{n:026}', '{}', 'bench', '{}', 'bsk_', 0)", customer_id(*n), secret_hash(&api_key(*n)))
        };
        let rows = numbers.iter().map(row).collect::<Vec<_>>().join(", ");
        statements
            .push(format!("INSERT INTO api_keys (id, customer_id, name, hash, hint, created_at_ms) VALUES {rows}"));
    }
    let tx = db.begin().await?;
    for statement in &statements {
        tx.execute_unprepared(statement).await?;
    }
    tx.commit().await?;
    let tidy: &[&str] = if db.is_postgres() { &["VACUUM ANALYZE", "CHECKPOINT"] } else { &["ANALYZE"] };
    for statement in tidy {
        db.write().execute_unprepared(statement).await?;
    }
    Ok(())
}
