//! Routes for support staff. Every change is in the audit log.

pub(super) mod account;
pub(super) mod api_key;
pub(super) mod audit;
pub(crate) mod catalogue;
pub(super) mod customer;
pub(super) mod event;
pub(super) mod job;
mod job_body;
pub(super) mod mail;
pub(super) mod marketplace;
pub(super) mod payment;
pub(super) mod price;
mod reason;
pub(super) mod reconciliation;
pub(super) mod replay;
pub(super) mod report;
pub(super) mod spend_cap;
pub(super) mod stream;
pub(super) mod stripe_link;
pub(super) mod timeline;
pub(super) mod top_up;
