//! Bursar's engine: domain rules, use cases, SQL, broker. It knows neither HTTP nor actors.
//!
//! Three wings over a small ground. A file imports only from its own wing or below, and no two files import each
//! other unless one is in the other's folder.
//!
//! | module | what is in it |
//! |---|---|
//! | [`usecase`] | what happens: one file for each use case |
//! | [`infra`] | the outside: database, broker, Stripe, SMTP |
//! | [`domain`] | what is true: nouns and rules, pure |
//! | [`error`], [`ids`], [`clock`], [`config`], [`metric`], [`key`], [`name`], [`count`], [`amount`], [`stripe_id`] | the ground: basics for all wings |

pub mod amount;
pub mod clock;
pub mod config;
pub mod count;
pub mod domain;
pub mod error;
pub mod ids;
pub mod infra;
pub mod key;
pub mod metric;
pub mod name;
pub mod stripe_id;
pub mod usecase;

pub use bursar_migrations as migrations;
pub use error::{Error, Result};
