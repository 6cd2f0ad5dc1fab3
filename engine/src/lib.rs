//! Bursar's engine: domain rules, use cases, SQL, broker. It knows neither HTTP nor actors.
//!
//! Three wings over a small ground. What a file imports is in its own wing or below, and no two files import each
//! other unless one is the other's folder.
//!
//! | module | what is in it |
//! |---|---|
//! | [`usecase`] | what happens: one file a deed |
//! | [`infra`] | the outside: database, broker, Stripe, SMTP |
//! | [`domain`] | what is true: nouns and rules, pure |
//! | [`error`], [`ids`], [`clock`], [`config`], [`metric`], [`plan`], [`name`], [`amount`] | the ground: what everything needs |

pub mod amount;
pub mod clock;
pub mod config;
pub mod domain;
pub mod error;
pub mod ids;
pub mod infra;
pub mod metric;
pub mod name;
pub mod plan;
pub mod usecase;

pub use bursar_migrations as migrations;
pub use error::{Error, Result};
