//! `bursar migrate`: applies and reverts migrations. Reverting loses data, so it lists the loss, asks for the
//! database's name, and refuses while nodes are running.

use crate::cli::table::{Column, Table};
use crate::cli::{DownArgs, MigrateArgs, MigrateCommand, output, usage};
use crate::data_folder::lock_folder;
use crate::database::connect_command;
use anyhow::{Context, Result, bail};
use bursar_engine::config::Config;
use bursar_engine::count::counted;
use bursar_engine::domain::schema::Schema;
use bursar_engine::infra::store::schema::{
    NodeLeases, schema_columns, schema_count, schema_database, schema_leases, schema_sessions, schema_versions,
};
use bursar_engine::infra::store::{Db, NODE};
use bursar_engine::migrations::{Migrator, MigratorTrait};
use bursar_engine::usecase::schema;
use sea_orm::ConnectionTrait;
use std::collections::BTreeSet;
use std::fmt;
use std::process::ExitCode;

/// The key of the Postgres advisory lock for migrations: an arbitrary number that nothing else uses.
const MIGRATION_LOCK: i64 = 0x6275_7273_6172;

/// Runs the command, then prints the state of all migrations.
///
/// # Errors
/// The database cannot be used, a migration fails, or reverting is refused.
pub async fn run(config: &Config, json: bool, arguments: &MigrateArgs) -> Result<ExitCode> {
    let _lock = match arguments.command {
        MigrateCommand::Status => None,
        MigrateCommand::Up | MigrateCommand::Down(_) => Some(lock_folder(config)?),
    };
    let db = connect_command(config, "bursar migrate").await?;
    match &arguments.command {
        MigrateCommand::Up => up(&db).await?,
        MigrateCommand::Down(down) => revert(config, &db, down).await?,
        MigrateCommand::Status => {}
    }
    show(&db, json).await?;
    Ok(ExitCode::SUCCESS)
}

/// Applies pending migrations.
///
/// # Errors
/// The schema has migrations that this release does not know, or one fails.
pub async fn up(db: &Db) -> Result<()> {
    refuse_newer(db).await?;
    with_lock(db, async { Migrator::up(db.write(), None).await.context("the database could not be migrated") }).await
}

/// Refuses a schema with migrations that this release does not know.
async fn refuse_newer(db: &Db) -> Result<()> {
    match schema::schema(db).await? {
        schema @ (Schema::Ahead(_) | Schema::Foreign(_)) => bail!(schema.problem().unwrap_or_default()),
        Schema::Ours | Schema::Absent | Schema::Behind(_) => Ok(()),
    }
}

/// Reverts the latest migrations once the operator has confirmed the loss.
async fn revert(config: &Config, db: &Db, down: &DownArgs) -> Result<()> {
    refuse_newer(db).await?;
    refuse_while_nodes_run(db, down).await?;
    let applied = schema_versions(db.read()).await?.unwrap_or_default();
    check_steps(down.steps, applied.len())?;
    let loss = Loss::of(db, &applied, down.steps).await?;
    if loss.migrations.is_empty() {
        output::note("There is nothing to revert.");
        return Ok(());
    }
    let name = database_name(config, db).await?;
    output::note(&loss.to_string());
    let given = match &down.database {
        Some(given) => given.clone(),
        None if output::can_ask() => output::ask(&format!("Type the name of the database ({name}) to go on:"))?,
        None => return Err(usage(format!("give the name of the database to go on: --database {name}"))),
    };
    if given != name {
        return Err(usage(format!("the database is {name}, not '{given}': nothing was changed")));
    }
    with_lock(db, async {
        // A node may have started before the name was typed.
        refuse_while_nodes_run(db, down).await?;
        Migrator::down(db.write(), Some(down.steps)).await.context("the migrations could not be reverted")
    })
    .await
}

/// Refuses more steps than there are migrations, which would revert everything by mistake.
fn check_steps(steps: u32, applied: usize) -> Result<()> {
    if applied > 0 && usize::try_from(steps).is_ok_and(|steps| steps > applied) {
        let migrations = if applied == 1 { "1 migration is" } else { &format!("{applied} migrations are") };
        return Err(usage(format!("{migrations} applied, fewer than --steps {steps}: nothing was changed")));
    }
    Ok(())
}

/// The database's name: its name in Postgres, or the name of its file.
async fn database_name(config: &Config, db: &Db) -> Result<String> {
    match config.sqlite_file() {
        Some(file) => Ok(file.file_name().unwrap_or_default().to_string_lossy().into_owned()),
        None => Ok(schema_database(db.read()).await?),
    }
}

/// Refuses while nodes are running. On `SQLite` the folder's lock already ensures that none is.
async fn refuse_while_nodes_run(db: &Db, down: &DownArgs) -> Result<()> {
    if !db.is_postgres() || down.nodes_are_stopped {
        return Ok(());
    }
    let leases = schema_leases(db.read()).await?;
    let sessions = schema_sessions(db.read(), NODE).await?;
    match running_nodes(&leases, &sessions) {
        Some(refusal) => bail!(refusal),
        None => Ok(()),
    }
}

/// Makes the message that lists the running nodes. `None` if there are none.
fn running_nodes(leases: &[NodeLeases], sessions: &[String]) -> Option<String> {
    if leases.is_empty() && sessions.is_empty() {
        return None;
    }
    let mut lines = vec!["nodes are running on this database; nothing was changed".to_owned()];
    lines.extend(leases.iter().map(|node| {
        // Rounded up, so that waiting this long is enough.
        let end_in_s = node.end_in_ms / 1_000 + 1;
        match node.leases {
            1 => format!("  {} holds 1 lease, which ends in {end_in_s} s", node.node),
            leases => format!("  {} holds {leases} leases, the last of which ends in {end_in_s} s", node.node),
        }
    }));
    if !sessions.is_empty() {
        let mut places = sessions.to_vec();
        places.dedup();
        let noun = if sessions.len() == 1 { "connection of a node" } else { "connections of nodes" };
        lines.push(format!("  {} {noun}, from {}", sessions.len(), places.join(", ")));
    }
    lines.push(
        "Stop all nodes first. Leases of a dead node end by themselves. If you know that all nodes are stopped, skip \
         this check with --nodes-are-stopped."
            .to_owned(),
    );
    Some(lines.join("\n"))
}

/// The data that is lost when migrations are reverted.
struct Loss {
    migrations: Vec<String>,
    tables: Vec<(String, i64)>,
    columns: Vec<(String, i64)>,
}

impl Loss {
    /// Finds the loss by reverting the migrations in a transaction that is rolled back, so that no migration has to
    /// declare it.
    async fn of(db: &Db, applied: &[String], steps: u32) -> Result<Self> {
        let latest = applied.len().saturating_sub(steps.try_into().unwrap_or(usize::MAX));
        let migrations: Vec<String> = applied[latest..].iter().rev().cloned().collect();
        let mut loss = Self { migrations, tables: Vec::new(), columns: Vec::new() };
        if loss.migrations.is_empty() {
            return Ok(loss);
        }
        let before = schema_columns(db.read()).await?;
        let trial = db.begin().await?;
        Migrator::down(&trial, Some(steps)).await.context("the migrations cannot be reverted")?;
        let after = schema_columns(&trial).await?;
        trial.rollback().await?;
        let kept: BTreeSet<&str> = after.iter().map(|column| column.table.as_str()).collect();
        let gone: BTreeSet<&str> =
            before.iter().map(|column| column.table.as_str()).filter(|table| !kept.contains(table)).collect();
        for table in &gone {
            loss.tables.push(((*table).to_owned(), schema_count(db.read(), table, None).await?));
        }
        for column in before.iter().filter(|column| !after.contains(column) && !gone.contains(column.table.as_str())) {
            let filled = schema_count(db.read(), &column.table, Some(&column.column)).await?;
            loss.columns.push((format!("{}.{}", column.table, column.column), filled));
        }
        Ok(loss)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "This reverts {}.", self.migrations.join(", "))?;
        if self.tables.is_empty() && self.columns.is_empty() {
            return write!(f, " No table and no column is dropped.");
        }
        write!(f, " It drops these, which only a backup can restore:")?;
        for (table, rows) in &self.tables {
            write!(f, "\n  table {table} with {}", counted(*rows, "row"))?;
        }
        for (column, rows) in &self.columns {
            write!(f, "\n  column {column}, in use by {}", counted(*rows, "row"))?;
        }
        Ok(())
    }
}

async fn show(db: &Db, json: bool) -> Result<()> {
    let applied = schema_versions(db.read()).await?.unwrap_or_default();
    let known = schema::known();
    let unknown = applied.iter().filter(|name| !known.contains(name)).map(|name| (name.clone(), "unknown"));
    let rows: Vec<(String, &str)> = known
        .iter()
        .map(|name| (name.clone(), if applied.contains(name) { "applied" } else { "pending" }))
        .chain(unknown)
        .collect();
    if json {
        let rows: Vec<_> =
            rows.iter().map(|(name, state)| serde_json::json!({ "name": name, "state": state })).collect();
        output::print(&serde_json::to_string_pretty(&rows)?)?;
    } else {
        let mut table = Table::new(&[Column::fixed("migration"), Column::fixed("state")]);
        for (name, state) in rows {
            table.row([name, state.to_owned()]);
        }
        output::print(&table.render(output::width()))?;
    }
    Ok(())
}

/// Runs `work` under a lock, so that processes migrate one after another. On `SQLite` the folder's lock ensures that.
async fn with_lock(db: &Db, work: impl Future<Output = Result<()>>) -> Result<()> {
    if !db.is_postgres() {
        return work.await;
    }
    let lock = db.begin().await?;
    lock.execute_unprepared("SET LOCAL lock_timeout = 0").await?;
    // The transaction is idle during the work.
    lock.execute_unprepared("SET LOCAL idle_in_transaction_session_timeout = 0").await?;
    lock.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")).await?;
    work.await?;
    Ok(lock.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_node_is_listed_with_the_end_of_its_leases() {
        assert_eq!(running_nodes(&[], &[]), None);
        let leases = [NodeLeases { node: "api-1".to_owned(), leases: 3, end_in_ms: 28_400 }];
        let said = running_nodes(&leases, &["10.0.0.5".to_owned(), "10.0.0.5".to_owned()]).unwrap_or_default();
        assert!(said.contains("api-1 holds 3 leases, the last of which ends in 29 s"), "{said}");
        assert!(said.contains("2 connections of nodes, from 10.0.0.5\n"), "{said}");
        assert!(said.contains("--nodes-are-stopped"), "{said}");
        let lease = [NodeLeases { node: "api-1".to_owned(), leases: 1, end_in_ms: 900 }];
        let said = running_nodes(&lease, &["10.0.0.5".to_owned()]).unwrap_or_default();
        assert!(said.contains("api-1 holds 1 lease, which ends in 1 s"), "{said}");
        assert!(said.contains("1 connection of a node, from 10.0.0.5\n"), "{said}");
    }

    #[test]
    fn more_steps_than_migrations_are_refused() {
        for (steps, applied) in [(1, 0), (1, 1), (16, 17), (17, 17)] {
            assert!(check_steps(steps, applied).is_ok(), "{steps} of {applied}");
        }
        let said = |steps, applied| check_steps(steps, applied).map_err(|error| error.to_string()).unwrap_err();
        assert!(said(200, 17).contains("17 migrations are applied, fewer than --steps 200"));
        assert!(said(u32::MAX, 1).contains("1 migration is applied"));
    }
}
