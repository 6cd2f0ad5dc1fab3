//! The growth run: measures everyday work on a full database and on an empty one, one after the other for each
//! figure.

mod figure;
pub mod fill;
mod report;

pub use fill::Size;
pub use report::report;

use super::plan::{Length, Scenario, Workload};
use anyhow::Result;
use bursar_engine::infra::store::Db;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The servers and the folder that a run uses.
pub struct Environment {
    /// The URL of an existing database on a server that has room for two more.
    pub maintenance_url: String,
    /// A broker.
    pub amqp_url: String,
    /// A folder for the servers' files.
    pub folder: PathBuf,
    /// Part of the names of the run's databases and queues; no other run uses it.
    pub unique: String,
}

/// One measured quantity.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// `per second` or `ms`.
    pub unit: String,
    /// The value on the empty database.
    pub empty: f64,
    /// The value on the full database.
    pub full: f64,
    /// `full` divided by `empty`.
    pub ratio: f64,
}

/// The result of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Scheduled jobs in the full database before the measurements.
    pub jobs: i64,
    /// Ledger entries in it.
    pub entries: i64,
    /// Seconds it took to fill the database.
    pub filled_in_seconds: f64,
    /// The figures, in the order of measurement.
    pub figures: Vec<Figure>,
}

/// A database being measured.
struct MeasuredDatabase {
    scenario: Scenario,
    db: Db,
}

/// Fills a database, measures it and an empty one, and calls `progress` before each step.
///
/// # Errors
/// When a server does not start or an operation fails.
pub async fn run(environment: &Environment, size: Size, length: Length, progress: impl Fn(&str)) -> Result<Report> {
    progress("an empty database");
    let empty = MeasuredDatabase::create(environment, "empty", Size { jobs: 0, entries: 0, ..size }, length).await?;
    progress("a full database");
    let started = tokio::time::Instant::now();
    let full = MeasuredDatabase::create(environment, "full", size, length).await?;
    let filled_in_seconds = started.elapsed().as_secs_f64();
    let (jobs, entries) = fill::count(&full.db).await?;
    let mut figures = Vec::new();
    for measure in figure::Measure::ALL {
        progress(measure.name());
        let (before, after) = (measure.run(&empty).await?, measure.run(&full).await?);
        let measured = before.iter().zip(&after);
        figures.extend(measured.map(|((name, unit, empty), (_, _, full))| Figure {
            name: (*name).to_owned(),
            unit: (*unit).to_owned(),
            empty: *empty,
            full: *full,
            ratio: full / empty,
        }));
    }
    empty.db.close().await;
    full.db.close().await;
    Ok(Report { jobs, entries, filled_in_seconds, figures })
}

impl MeasuredDatabase {
    async fn create(environment: &Environment, name: &str, size: Size, length: Length) -> Result<Self> {
        let name = format!("growth_{name}_{}", environment.unique);
        let mut scenario = Scenario::new(Workload::Http, "postgres", 20, size.customers, length);
        scenario.database_url = crate::app::create_database(&environment.maintenance_url, &name).await;
        scenario.amqp_url.clone_from(&environment.amqp_url);
        scenario.folder = environment.folder.join(&name);
        std::fs::create_dir_all(&scenario.folder)?;
        let db = super::seed::open(&scenario, 4, size.customers).await?;
        fill::fill(&db, size).await?;
        scenario.is_seeded = true;
        Ok(Self { scenario, db })
    }
}
