//! What is true: nouns and rules, as types and pure functions. No SQL, no network, no clock, nothing asynchronous.

pub mod api_key;
pub mod audit;
pub mod charge;
pub mod customer;
pub mod disposable;
pub mod effect;
pub mod email;
pub mod github;
pub mod job;
pub mod ledger;
pub mod mail;
pub mod marketplace;
pub mod operation;
pub mod payment_method;
pub mod pricing;
pub mod rate_limit;
pub mod reconcile;
pub mod replay;
pub mod schema;
pub mod subscription;
pub mod summary;
pub mod token_bucket;
pub mod webhook;
