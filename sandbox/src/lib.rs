//! A stateful substitute for Stripe, for development and tests. **No real money moves.**
//!
//! It depends on nothing else in the workspace. Any client of Stripe's API can use it instead. [`Sandbox::start`] runs
//! it inside another process, the command `bursar-sandbox` as one of its own.
//!
//! | module | contents |
//! |---|---|
//! | `objects/` | Stripe's kinds of objects, one file each, and the calls to them |
//! | `billing`, `payment`, `lifecycle` | invoices, payments, and changes over time |
//! | `card`, `calendar`, `form`, `page`, `expand`, `idempotency` | rules without state |
//! | `account`, `store`, `journal` | the account's state, its transactions, its file |
//! | `policy`, `rules` | settings: failures of deliveries, handling of failed payments |
//! | `call`, `routes`, `handler`, `parameters`, `permission` | a call from the request's bytes to the answer |
//! | `deliver/` | webhooks: planned in the state, sent by a courier |
//! | `version`, `render`, `legacy_fields` | objects in the formats of older API versions |
//! | `control`, `fault`, `html` | the control API, requested faults, pages for people |
//! | `app`, `http`, `cut`, `sandbox` | the running sandbox |
//!
//! Only synchronous functions that do not read the time change the state. Objects are stored in the newest format.
//! Fields whose names begin with `_` are internal and never sent.

mod account;
mod app;
mod billing;
mod calendar;
mod call;
mod card;
mod clock;
mod control;
mod cut;
mod deliver;
mod error;
mod expand;
mod fault;
mod field;
mod form;
mod handler;
mod html;
mod http;
mod idempotency;
mod ids;
mod journal;
mod legacy_fields;
mod lifecycle;
mod log;
mod objects;
mod options;
mod page;
mod parameters;
mod payment;
mod permission;
mod policy;
mod record;
pub mod render;
mod routes;
mod rules;
mod sandbox;
mod search;
mod store;
mod template;
pub mod version;

pub use control::{CONTROL_TOKEN_FILE, ControlToken, Money};
pub use error::Error;
pub use fault::{Fault, FaultRule};
pub use form::form_to_json;
pub use log::LoggedCall;
pub use objects::webhook_endpoint::NewEndpoint;
pub use options::Options;
pub use policy::Policy;
pub use rules::{AfterRetries, Rules};
pub use sandbox::Sandbox;
