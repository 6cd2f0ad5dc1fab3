//! Bursar's engine: domain rules, use cases, SQL, broker. It knows neither HTTP nor actors.
//!
//! | module | what is in it |
//! |---|---|
//! | [`ledger`] | the credit ledger's rules, pure |
//! | [`job`], [`effect`] | jobs, streams, outcomes and what commits with them, pure |
//! | [`webhook`] | Stripe's signatures, event shapes and rules, pure |
//! | [`github`], [`marketplace`] | GitHub's signatures and events, what a purchase on its Marketplace means |
//! | [`customer`], [`api_key`], [`subscription`], [`payment_method`], [`operation`], [`pricing`], [`charge`] | the nouns |
//! | [`email`], [`disposable`], [`rate_limit`] | who may sign up, and how often |
//! | [`token_bucket`] | how fast something may go on, in one process |
//! | [`stripe`] | the calls to Stripe |
//! | [`mail`] | mail to customers |
//! | [`summary`] | what a customer has, spent and was charged, with warnings in plain words |
//! | [`onboard`], [`operate`], [`intake`], [`work`], [`handler`], [`replay`], [`reconcile`], [`timekeeping`], [`verify`] | use cases |
//! | [`store`] | all SQL |
//! | [`schema`] | whether the database has this release's schema |
//! | [`broker`] | RabbitMQ |
//! | [`config`], [`clock`], [`ids`], [`error`], [`metric`], [`seal`] | what everything needs |

pub mod api_key;
pub mod broker;
pub mod charge;
pub mod clock;
pub mod config;
pub mod customer;
pub mod disposable;
pub mod effect;
pub mod email;
pub mod error;
pub mod github;
pub mod handler;
pub mod ids;
pub mod intake;
pub mod job;
pub mod ledger;
pub mod mail;
pub mod marketplace;
pub mod metric;
pub mod onboard;
pub mod operate;
pub mod operation;
pub mod payment_method;
pub mod pricing;
pub mod rate_limit;
pub mod reconcile;
pub mod replay;
pub mod schema;
pub mod seal;
pub mod store;
pub mod stripe;
pub mod subscription;
pub mod summary;
pub mod timekeeping;
pub mod token_bucket;
pub mod verify;
pub mod webhook;
pub mod work;

pub use bursar_migrations as migrations;
pub use error::{Error, Result};
