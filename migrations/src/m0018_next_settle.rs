//! Stores on each account when it must be settled next, with an index. One sweep finds the due accounts, so holds and
//! grants that expire need no jobs.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseBackend};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// Nodes of the previous release can keep running: they ignore the column and create jobs for their holds and
    /// grants, which nodes of either release carry out.
    ///
    /// On Postgres the first statement locks the accounts table until the commit. Nodes wait 2 s for a lock, so with
    /// millions of open holds or grants, requests that need an account fail meanwhile. To keep the lock short,
    /// `m0020_settle_jobs` deletes the waiting jobs.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let ends = Ends::of(manager);
        let fill = format!(
            "UPDATE accounts SET next_settle_at_ms = (SELECT MIN(at_ms) FROM ({}) AS ends) \
             WHERE open LIKE '%expires_at_ms%'",
            ends.of_account()
        );
        let up = [
            "ALTER TABLE accounts ADD COLUMN next_settle_at_ms BIGINT",
            &fill,
            "CREATE INDEX accounts_settle ON accounts (next_settle_at_ms, customer_id) \
             WHERE next_settle_at_ms IS NOT NULL",
        ];
        crate::run(manager, &up).await
    }

    /// Creates the jobs that the previous release expects for each open hold and each open grant that expires.
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let ends = Ends::of(manager);
        let (holds, grants) = (ends.jobs_of_holds(), ends.jobs_of_grants());
        let missing = "NOT EXISTS (SELECT 1 FROM jobs j WHERE j.unique_key = e.unique_key)";
        for jobs in [holds, grants] {
            let down = [
                // Jobs that ended too early or were cancelled must run again.
                format!(
                    "UPDATE jobs SET state = 'available', attempts_max = attempt + 20, last_error = NULL, \
                         finished_at_ms = NULL WHERE state IN ('succeeded', 'cancelled') \
                         AND unique_key IN (SELECT e.unique_key FROM ({jobs}) AS e)"
                ),
                format!(
                    "INSERT INTO streams (key, last_seq) SELECT 'job:' || e.id, 1 FROM ({jobs}) AS e WHERE {missing}"
                ),
                format!(
                    "INSERT INTO jobs (id, kind, args, stream_key, seq, state, attempts_max, run_at_ms, unique_key, \
                         customer_id, created_at_ms) SELECT e.id, 'account.settle', \
                         '{{\"customer\":\"' || e.customer_id || '\"}}', 'job:' || e.id, 1, 'available', 20, e.at_ms, \
                         e.unique_key, e.customer_id, e.made_at_ms FROM ({jobs}) AS e WHERE {missing}"
                ),
            ];
            for statement in &down {
                manager.get_connection().execute_unprepared(statement).await?;
            }
        }
        crate::run(manager, &["DROP INDEX accounts_settle", "ALTER TABLE accounts DROP COLUMN next_settle_at_ms"]).await
    }
}

/// SQL for the expiring holds and grants of accounts, in either database's dialect.
struct Ends {
    is_postgres: bool,
}

impl Ends {
    fn of(manager: &SchemaManager<'_>) -> Self {
        Self { is_postgres: manager.get_database_backend() == DatabaseBackend::Postgres }
    }

    /// A table `one` with a column `value`: the elements of one list in the JSON column `open`.
    fn list(&self, name: &str) -> String {
        if self.is_postgres {
            format!("jsonb_array_elements(COALESCE(CAST(open AS jsonb) -> '{name}', '[]')) AS one (value)")
        } else {
            format!("json_each(open, '$.{name}') AS one")
        }
    }

    /// The expiry times that matter to the account of the outer query: those of holds, and those of grants while some
    /// credits are not held.
    fn of_account(&self) -> String {
        let at = "CAST(one.value ->> 'expires_at_ms' AS BIGINT) AS at_ms";
        format!(
            "SELECT {at} FROM {} UNION ALL SELECT {at} FROM {} WHERE balance > held",
            self.list("holds"),
            self.list("grants")
        )
    }

    /// The previous release's jobs for open holds. A job's id is its hold's with another prefix.
    fn jobs_of_holds(&self) -> String {
        format!(
            "SELECT 'job_' || SUBSTR(one.value ->> 'id', 5) AS id, 'settle:' || (one.value ->> 'id') AS unique_key, \
             a.customer_id AS customer_id, CAST(one.value ->> 'expires_at_ms' AS BIGINT) AS at_ms, \
             a.updated_at_ms AS made_at_ms FROM accounts a, {}",
            self.list("holds")
        )
    }

    /// The previous release's jobs for open grants that expire. Their ids consist of the customer's and the grant's
    /// number in 8 digits.
    fn jobs_of_grants(&self) -> String {
        format!(
            "SELECT 'job_' || SUBSTR(a.customer_id, 5, 18) || \
             SUBSTR('00000000' || (one.value ->> 'seq'), LENGTH(one.value ->> 'seq') + 1) AS id, \
             'settle:' || a.customer_id || ':' || (one.value ->> 'seq') AS unique_key, \
             a.customer_id AS customer_id, CAST(one.value ->> 'expires_at_ms' AS BIGINT) AS at_ms, \
             a.updated_at_ms AS made_at_ms FROM accounts a, {} WHERE one.value ->> 'expires_at_ms' IS NOT NULL",
            self.list("grants")
        )
    }
}
