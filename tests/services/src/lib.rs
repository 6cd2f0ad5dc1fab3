//! Private Postgres clusters, RabbitMQ nodes, SMTP servers and browsers for tests, chaos runs and benchmarks.
//!
//! All servers run in a directory that the caller names, on free ports, and listen on the loopback address only.
//! Servers that were already running are never touched. The calls block; an async caller wraps them in its runtime's
//! blocking pool.
//!
//! A server always ends with its owner: dropping the value stops it, and a small guard process ends it if the owner
//! dies without dropping it (a signal, an aborting panic, a test runner's time limit).
//!
//! ```no_run
//! # fn main() -> Result<(), bursar_services::Error> {
//! let scratch = bursar_services::ScratchDir::new("example")?;
//! let (mut postgres, mut rabbitmq) = bursar_services::start_both(scratch.path())?;
//! let url = postgres.create_database("ledger")?;
//! rabbitmq.kill()?;
//! rabbitmq.start_again()?;
//! postgres.restart()?;
//! # let _ = url;
//! # Ok(())
//! # }
//! ```

mod amqp;
mod chromium;
mod error;
mod exim;
mod find;
mod guard;
mod pgwire;
mod postgres;
mod process;
mod rabbitmq;
mod scratch;

pub use chromium::Chromium;
pub use error::Error;
pub use exim::{Exim, SMTP_PASSWORD, SMTP_USER};
pub use postgres::Postgres;
pub use rabbitmq::RabbitMq;
pub use scratch::ScratchDir;

use std::path::Path;

/// Starts both servers concurrently, in `dir/postgres` and `dir/rabbitmq`.
///
/// # Errors
/// The first failure of either; the other server is stopped again.
pub fn start_both(dir: &Path) -> Result<(Postgres, RabbitMq), Error> {
    std::thread::scope(|scope| {
        let postgres = scope.spawn(|| Postgres::start(&dir.join("postgres")));
        let rabbitmq = RabbitMq::start(&dir.join("rabbitmq"));
        let postgres = postgres.join().expect("starting postgres does not panic");
        Ok((postgres?, rabbitmq?))
    })
}
