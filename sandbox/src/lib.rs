//! A stateful stand-in for Stripe, for laptops and tests. **No real money moves.**
//!
//! It knows nothing of the rest of the workspace, only Stripe's API: whoever talks to Stripe can talk to
//! it instead. [`Sandbox::start`] runs one inside another process, the command `bursar-sandbox` by itself.
//!
//! | module | what is in it |
//! |---|---|
//! | `objects/` | Stripe's kinds of objects, one file each: what calls do to them |
//! | `billing`, `payment`, `lifecycle` | what invoices, payments and time have in common |
//! | `card`, `calendar`, `form`, `page`, `expand`, `idempotency` | rules without a state of their own |
//! | `world`, `store`, `journal` | the state, its rollback, its file |
//! | `policy`, `rules` | settings: what goes wrong with deliveries, what follows a failed payment |
//! | `call`, `routes`, `handler`, `parameters` | a call from its bytes to its answer |
//! | `deliver/` | webhooks: planned in the state, sent by a courier |
//! | `version`, `render`, `older` | objects in the shapes of older API versions |
//! | `control`, `fault`, `html` | what Stripe would never let anybody do, and pages for people |
//! | `app`, `http`, `cut`, `sandbox` | the running whole |
//!
//! The state changes only in functions that neither wait nor read the time. Objects are kept in one
//! shape, the newest; fields whose name begins with `_` are the sandbox's own and never leave it.

mod app;
mod billing;
mod blank;
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
mod lifecycle;
mod log;
mod objects;
mod older;
mod options;
mod page;
mod parameters;
mod payment;
mod policy;
mod record;
pub mod render;
mod routes;
mod rules;
mod sandbox;
mod store;
pub mod version;
mod world;

pub use control::Money;
pub use error::Error;
pub use fault::{Fault, FaultRule};
pub use log::LoggedCall;
pub use objects::webhook_endpoint::NewEndpoint;
pub use options::Options;
pub use policy::Policy;
pub use rules::{AfterRetries, Rules};
pub use sandbox::Sandbox;
