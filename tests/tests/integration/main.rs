//! The one integration binary: the whole application over HTTP, on both pairs of backends.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod actor;
mod admin;
mod api_key;
mod broker;
mod database;
mod health;
mod hold;
mod job;
mod journeys;
mod mail;
mod migration;
mod money;
mod onboard;
mod outage;
mod private;
mod reconcile;
mod replay;
mod report;
mod scene;
mod smoke;
mod snapshot;
mod stream;
mod usage;
mod webhook;
