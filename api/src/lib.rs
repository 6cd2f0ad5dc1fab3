//! The `bursar` binary as a library: HTTP, command line, assembly of the application.
//!
//! | module | what is in it |
//! |---|---|
//! | [`sandbox`] | the stand-in for Stripe where no key is set |
//! | [`app`] | the application: configuration, database, actors, credentials |
//! | [`database`] | connections to the configured database |
//! | [`data_folder`] | one process at a time, and nobody but its owner |
//! | [`migrate`] | `bursar migrate`, and whether the schema is ours |
//! | [`serve`] | start, drain, stop |
//! | [`endpoint`] | the whole HTTP endpoint: API, document, metrics, behind [`middleware`] |
//! | [`routes`] | the HTTP API, one file a noun |
//! | [`document`] | completes the OpenAPI document: which operation answers which codes, examples |
//! | [`recorder`] | where metrics are counted |
//! | [`problem`] | how every error looks over HTTP |
//! | [`middleware`] | bounds, timeouts and metrics of every request |
//! | [`auth`] | API keys and admin tokens |
//! | [`transaction_csv`] | a ledger as CSV, streamed |
//! | [`connection`] | how many connections there may be, and for how long |
//! | `server` | HTTP/1.1 with small buffers, on those connections |
//! | `webhook_bodies` | the memory for webhooks that are being read |
//! | `answer_bytes` | the memory for answers that are not taken yet |
//! | `write_limit` | how much a customer may write for nothing |
//! | [`client_ip`] | where a request comes from |
//! | [`cli`] | the command line |

mod answer_bytes;
pub mod app;
pub mod auth;
pub mod cli;
pub mod client_ip;
pub mod connection;
pub mod data_folder;
pub mod database;
pub mod document;
pub mod endpoint;
pub mod middleware;
pub mod migrate;
pub mod problem;
pub mod recorder;
pub mod routes;
mod sample;
pub mod sandbox;
pub mod secrets;
pub mod serve;
mod server;
mod throttle;
pub mod transaction_csv;
mod webhook_bodies;
mod write_limit;
