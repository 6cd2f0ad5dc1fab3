//! The `bursar` binary as a library: HTTP, command line, assembly of the application.
//!
//! | module | what is in it |
//! |---|---|
//! | [`sandbox`] | the sandbox that replaces Stripe if no key is set |
//! | [`app`] | the application: configuration, database, actors, credentials |
//! | [`database`] | connections to the configured database |
//! | [`data_folder`] | locks the data folder and restricts it to its owner |
//! | [`migrate`] | `bursar migrate`, and migrations at start |
//! | [`preflight`] | `bursar preflight` |
//! | [`serve`] | start, drain, stop |
//! | [`endpoint`] | the whole HTTP endpoint: API, document, metrics, behind [`middleware`] |
//! | [`routes`] | the HTTP API, one file per resource |
//! | [`document`] | completes the OpenAPI document: error codes, examples, restrictions of fields, version 3.1 |
//! | [`recorder`] | the metrics recorder |
//! | [`problem`] | HTTP errors: problem documents and their codes |
//! | [`request_id`] | the identifier of a request, and who sent it |
//! | [`access_log`], [`logging`] | one line for each request; the format and the filter of the log |
//! | [`middleware`] | limits, timeouts and metrics of every request |
//! | [`auth`], [`admin_token`], [`scope`] | API keys and admin tokens; which scope each admin route needs |
//! | [`secrets`] | secrets that the first start generates |
//! | [`export`], [`transaction_csv`], [`audit_lines`] | streamed exports: a ledger as CSV, the audit log as JSON lines |
//! | `server` | the HTTP/1.1 server, with small buffers |
//! | `capacity` | how many connections there are, and requests of each kind |
//! | `places` | which connection makes room for another, and how many a peer has |
//! | `connection` | the timeouts of connections, and answers to unreadable requests |
//! | `exchange` | what a connection's bytes and its requests must know of each other |
//! | `body_memory` | the memory limit of bodies that are being read |
//! | `route_table` | methods and credentials of every route |
//! | `asset` | documents that are in memory, compressed, with entity tags |
//! | `pages` | the document and the page that shows it |
//! | `body_fields` | says which field of a refused body is wrong |
//! | `query_names` | refuses query parameters that a route does not have |
//! | `unsold` | prices of the catalogue that Stripe does not have |
//! | `unread_answers` | the memory limit of answers that clients have not read |
//! | `stripe_reads` | how many requests of a customer may ask Stripe at a time |
//! | `write_limit` | rate limits of API keys, and on what costs customers no credits |
//! | `limit_fields` | what answers say of rate limits |
//! | `confirm_page` | the page on which the owner of a mailbox confirms its address |
//! | [`client_ip`] | the client's IP address |
//! | `throttle` | limits how often an event is logged |
//! | `sample` | values that the document's examples share |
//! | [`cli`] | the command line |

pub mod access_log;
pub mod admin_token;
pub mod app;
mod asset;
pub mod audit_lines;
pub mod auth;
mod body_fields;
mod body_memory;
mod capacity;
pub mod cli;
pub mod client_ip;
mod confirm_page;
mod connection;
pub mod data_folder;
pub mod database;
pub mod document;
pub mod endpoint;
mod exchange;
pub mod export;
mod limit_fields;
pub mod logging;
pub mod middleware;
pub mod migrate;
mod pages;
mod places;
pub mod preflight;
pub mod problem;
mod query_names;
pub mod recorder;
pub mod request_id;
mod route_table;
pub mod routes;
mod sample;
pub mod sandbox;
pub mod scope;
pub mod secrets;
pub mod serve;
mod server;
mod stripe_reads;
mod throttle;
pub mod transaction_csv;
mod unread_answers;
mod unsold;
mod write_limit;
