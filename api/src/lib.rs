//! The `bursar` binary as a library: HTTP, command line, assembly of the application.
//!
//! | module | what is in it |
//! |---|---|
//! | [`sandbox`] | the sandbox that replaces Stripe if no key is set |
//! | [`app`] | the application: configuration, database, actors, credentials |
//! | [`database`] | connections to the configured database |
//! | [`data_folder`] | locks the data folder and restricts it to its owner |
//! | [`migrate`] | `bursar migrate`, and migrations at start |
//! | [`serve`] | start, drain, stop |
//! | [`endpoint`] | the whole HTTP endpoint: API, document, metrics, behind [`middleware`] |
//! | [`routes`] | the HTTP API, one file per resource |
//! | [`document`] | completes the OpenAPI document with error codes and examples |
//! | [`recorder`] | the metrics recorder |
//! | [`problem`] | HTTP errors: problem documents and their codes |
//! | [`middleware`] | limits, timeouts and metrics of every request |
//! | [`auth`] | API keys and the admin token |
//! | [`secrets`] | secrets that the first start generates |
//! | [`transaction_csv`] | a ledger as CSV, streamed |
//! | [`connection`] | the limit on connections, and their timeouts |
//! | `server` | the HTTP/1.1 server, with small buffers |
//! | `webhook_bodies` | the memory limit of webhook bodies being read |
//! | `query_names` | refuses query parameters that a route does not have |
//! | `unsold` | prices of the catalogue that Stripe does not have |
//! | `unread_answers` | the memory limit of answers that clients have not read |
//! | `stripe_reads` | how many requests of a customer may ask Stripe at a time |
//! | `write_limit` | rate limits on writes that cost no credits |
//! | [`client_ip`] | the client's IP address |
//! | `throttle` | limits how often an event is logged |
//! | `sample` | values that the document's examples share |
//! | [`cli`] | the command line |

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
mod query_names;
pub mod recorder;
pub mod routes;
mod sample;
pub mod sandbox;
pub mod secrets;
pub mod serve;
mod server;
mod stripe_reads;
mod throttle;
pub mod transaction_csv;
mod unread_answers;
mod unsold;
mod webhook_bodies;
mod write_limit;
