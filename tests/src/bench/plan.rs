//! Which scenarios there are.

use anyhow::Result;
use bursar_services::Postgres;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Customers of the scenarios with many.
const MANY: u64 = 10_000;

/// How something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// BEGIN; SELECT … FOR UPDATE; INSERT; UPDATE; COMMIT.
    RowLock,
    /// Customer actors and group commit, called in the process.
    Actors,
    /// The same through HTTP.
    Http,
    /// Webhooks from delivery to processed.
    Webhooks,
    /// Each of many customers once, for the memory that stays.
    Touch,
}

/// One thing to measure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scenario {
    /// Its name in the table.
    pub name: String,
    /// How it is done.
    pub way: Way,
    /// `postgres` or `sqlite`.
    pub database: String,
    /// Callers at once.
    pub callers: usize,
    /// Customers.
    pub customers: u64,
    /// How long debits are made.
    pub seconds: u64,
    /// How many webhooks are delivered.
    pub webhooks: u64,
    /// Where the database is; filled in by [`Services::prepare`].
    pub database_url: String,
    /// Where the broker is; empty for the in-process queue.
    pub amqp_url: String,
    /// A folder for the scenario's own files.
    pub folder: PathBuf,
}

/// The services that scenarios run on.
pub struct Services<'a> {
    /// Postgres.
    pub postgres: &'a Postgres,
    /// RabbitMQ.
    pub amqp_url: String,
    /// Where files go.
    pub folder: PathBuf,
}

impl Services<'_> {
    /// Gives a scenario a database of its own.
    pub fn prepare(&self, scenario: &mut Scenario) -> Result<()> {
        let name: String = scenario.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        scenario.folder = self.folder.join(&name);
        std::fs::create_dir_all(&scenario.folder)?;
        if scenario.database == "postgres" {
            scenario.database_url = self.postgres.create_database(&format!("bench_{name}").to_lowercase())?;
            if scenario.way == Way::Webhooks {
                scenario.amqp_url.clone_from(&self.amqp_url);
            }
        } else {
            scenario.database_url = format!("sqlite://{}", scenario.folder.join("bursar.db").display());
        }
        Ok(())
    }
}

/// All scenarios in the order in which they run.
pub fn plan(seconds: u64, webhooks: u64) -> Vec<Scenario> {
    let scenario = |way: Way, database: &str, callers: usize, customers: u64| {
        let what = match way {
            Way::RowLock => "row lock",
            Way::Actors => "actors",
            Way::Http => "http",
            Way::Webhooks => "webhooks",
            Way::Touch => "touch",
        };
        Scenario {
            name: format!("{what} {database} {callers}x{customers}"),
            way,
            database: database.to_owned(),
            callers,
            customers,
            seconds,
            webhooks,
            database_url: String::new(),
            amqp_url: String::new(),
            folder: PathBuf::new(),
        }
    };
    let mut all = vec![scenario(Way::RowLock, "postgres", 20, 1), scenario(Way::RowLock, "postgres", 20, MANY)];
    for customers in [1, MANY] {
        for callers in [1, 20, 256] {
            all.push(scenario(Way::Actors, "postgres", callers, customers));
        }
    }
    for customers in [1, MANY] {
        for callers in [1, 20, 256] {
            all.push(scenario(Way::Http, "postgres", callers, customers));
        }
    }
    all.push(scenario(Way::Webhooks, "postgres", 64, 2_000));
    for customers in [1, MANY] {
        for callers in [1, 20, 256] {
            all.push(scenario(Way::Actors, "sqlite", callers, customers));
        }
    }
    all.push(scenario(Way::Webhooks, "sqlite", 64, 2_000));
    all.push(scenario(Way::Touch, "postgres", 256, 100_000));
    all
}
