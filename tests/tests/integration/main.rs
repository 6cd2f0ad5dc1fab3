//! The one integration binary: the whole application over HTTP, on both pairs of backends.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod actor;
mod admin;
mod api_key;
mod broker;
mod cli;
mod commit;
mod database;
mod e2e;
mod health;
mod hold;
mod job;
mod journeys;
mod mail;
mod marketplace;
mod migration;
mod money;
mod node;
mod onboard;
mod outage;
mod overload;
mod private;
mod reconcile;
mod replay;
mod report;
mod sandbox;
mod scene;
mod settle;
mod smoke;
mod snapshot;
mod stream;
mod usage;
mod webhook;
