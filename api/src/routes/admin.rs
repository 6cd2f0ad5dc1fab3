//! Routes for support staff. Every change is in the audit log under the name of its token, and every route has its row
//! in [`scope`](crate::scope).

pub(super) mod account;
pub(super) mod admin_token;
pub(super) mod api_key;
pub(super) mod audit;
pub(crate) mod catalogue;
pub(super) mod confirmation;
pub(super) mod customer;
pub(super) mod customer_email;
pub(super) mod event;
pub(super) mod failure_group;
pub(super) mod job;
mod job_body;
pub(crate) mod log_filter;
pub(super) mod mail;
pub(super) mod marketplace;
pub(super) mod payment;
pub(super) mod price;
pub(crate) mod reason;
pub(super) mod reconciliation;
pub(super) mod replay;
pub(super) mod report;
pub(super) mod spend_cap;
pub(super) mod stream;
pub(super) mod stripe_link;
pub(super) mod timeline;
pub(super) mod top_up;
