//! Facts about the database server that a preflight judges. Only here and in `schema` do the two databases need
//! different SQL, because each describes itself in its own way.

use super::{get, query_all, query_one};
use crate::domain::preflight::database::{Connections, Privileges};
use crate::error::{Error, Result};
use sea_orm::ConnectionTrait;

/// The version of Postgres, such as `15.14 (Debian 15.14-0+deb12u1)`.
pub async fn preflight_postgres_version(db: &impl ConnectionTrait) -> Result<String> {
    let row = query_one(db, "SELECT current_setting('server_version') AS version", []).await?;
    get(&row.ok_or_else(|| nothing("version"))?, "version")
}

/// The version of SQLite, which is a part of this program.
pub async fn preflight_sqlite_version(db: &impl ConnectionTrait) -> Result<String> {
    let row = query_one(db, "SELECT sqlite_version() AS version", []).await?;
    get(&row.ok_or_else(|| nothing("version"))?, "version")
}

/// What the user may do in the schema that unqualified names mean. Only for Postgres.
pub async fn preflight_privileges(db: &impl ConnectionTrait) -> Result<Privileges> {
    let sql = "SELECT current_user::text AS name, current_schema()::text AS schema, \
               COALESCE(has_schema_privilege(current_schema(), 'CREATE'), FALSE) AS may_create";
    let row = query_one(db, sql, []).await?.ok_or_else(|| nothing("user"))?;
    let mut found = Privileges {
        user: get(&row, "name")?,
        schema: get(&row, "schema")?,
        may_create: get(&row, "may_create")?,
        ..Privileges::default()
    };
    let sql = "SELECT c.relname::text AS name, pg_has_role(c.relowner, 'USAGE') AS is_owner, \
               has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') \
               AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE') AS is_usable \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') ORDER BY 1";
    for row in query_all(db, sql, []).await? {
        let name: String = get(&row, "name")?;
        if !get::<bool>(&row, "is_usable")? {
            found.unusable.push(name.clone());
        }
        if !get::<bool>(&row, "is_owner")? {
            found.not_owned.push(name);
        }
    }
    Ok(found)
}

/// How many connections there may be, and how many other programs have. Those of Bursar's own are not counted: a node
/// that is replaced gives its connections up. Only for Postgres.
pub async fn preflight_connections(db: &impl ConnectionTrait) -> Result<Connections> {
    // A limit of -1 is none. `reserved_connections` is of Postgres 16.
    let sql = "SELECT LEAST(CAST(current_setting('max_connections') AS BIGINT), \
                 (SELECT CAST(NULLIF(rolconnlimit, -1) AS BIGINT) FROM pg_roles WHERE rolname = current_user), \
                 (SELECT CAST(NULLIF(datconnlimit, -1) AS BIGINT) FROM pg_database \
                  WHERE datname = current_database())) AS max, \
               CAST(current_setting('superuser_reserved_connections') AS BIGINT) \
                 + CAST(COALESCE(current_setting('reserved_connections', TRUE), '0') AS BIGINT) AS reserved, \
               (SELECT COUNT(*) FROM pg_stat_activity WHERE datname IS NOT NULL AND pid <> pg_backend_pid() \
                AND application_name NOT LIKE 'bursar%') AS others";
    let row = query_one(db, sql, []).await?.ok_or_else(|| nothing("limit of connections"))?;
    Ok(Connections { max: get(&row, "max")?, reserved: get(&row, "reserved")?, others: get(&row, "others")? })
}

fn nothing(what: &str) -> Error {
    Error::Corrupt(format!("the database returned no {what}"))
}
