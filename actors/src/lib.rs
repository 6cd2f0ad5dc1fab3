//! Bursar's actors: they run commands and jobs one at a time for each customer and stream, and recover from failures.
//! They know the engine, never HTTP.
//!
//! ```text
//! Root (permanent children restart with backoff; past the cap the process ends)
//! ├─ CustomerRouter → Customer(id)   serialises the credit commands of one customer
//! ├─ StreamRouter   → Stream(key)    runs the jobs of one stream, one at a time
//! ├─ Sweeper                         overdue jobs, accounts to settle, leases, gauges
//! ├─ Timekeeper                      compares the machine's clock with the database's
//! ├─ Scheduler                       recurring jobs
//! └─ Sealer                          chains new rows of the audit log
//! ```
//!
//! Between actors and database are batchers, which are queues, not actors: for group commit, event intake, claims of
//! work, loads of accounts, look-ups of API keys and shares of rate limits.
//!
//! Message types are private to this crate: every component is a handle with async methods. ractor's mailboxes are
//! unbounded, so permits limit every entrance.

mod batcher;
mod credential;
mod customer;
mod deadline;
mod dispatch;
mod guaranteed_reply;
mod intake;
mod ledger;
mod limiter;
mod root;
mod runtime;
mod scheduler;
mod sealer;
mod stream;
mod sweeper;
mod timekeeper;
mod waker;
mod workers;

pub use credential::Credentials;
pub use customer::{Applied, Customers, Request};
pub use dispatch::Dispatcher;
pub use intake::{Intake, Receipt};
pub use ledger::Ledger;
pub use limiter::{Decision, Limiter, Limiters, UsedUnits, WithoutDatabase};
pub use runtime::{Role, Runtime, RuntimeOptions};
