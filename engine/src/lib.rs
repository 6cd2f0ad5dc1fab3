//! Bursar's engine: domain rules, use cases, SQL, broker. It knows neither HTTP nor actors.
//!
//! | module | what is in it |
//! |---|---|
//! | [`usecase`] | what happens |
//! | [`infra`] | the outside |
//! | [`domain`] | what is true |
//! | [`config`], [`clock`], [`ids`], [`error`], [`metric`] | the ground |

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
