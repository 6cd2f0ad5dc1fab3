//! What happens: each use case reads, decides by the rules of [`domain`](crate::domain) and commits through
//! [`infra`](crate::infra). It owns its transaction.
//!
//! | module | what is in it |
//! |---|---|
//! | [`onboard`] | a customer signs up |
//! | [`confirmation`] | the owner of its address takes a customer over |
//! | [`intake`] | events are stored with their jobs |
//! | [`work`] | a node claims jobs, and returns them |
//! | [`handler`] | a job runs, one handler for each kind |
//! | [`operation`], [`charge`] | a customer requests an operation at Stripe, and is charged for credits or not |
//! | [`spend_cap`] | a customer or support sets how much may be charged |
//! | [`api_key`] | a customer's keys are created, rotated, revoked |
//! | [`admin_token`] | an admin token is made or revoked |
//! | [`summary`] | a customer reads its usage summary |
//! | [`replay`], [`reconcile`], [`job`], [`stream`], [`stripe_link`], [`mail`], [`marketplace`], [`price`], [`payment`], [`refund`], [`customer_email`] | support acts, or a schedule |
//! | [`version`] | another version of the catalogue is planned and applied |
//! | [`verify`], [`schema`], [`catalogue`] | the database is checked |
//! | [`preflight`] | everything around a server is looked at before it starts |
//! | [`audit`], [`log_filter`] | the audit log is sealed; staff changes what a node logs |
//! | [`timekeeping`], [`rate_limit`] | the shared clock, the shared limits |

pub mod admin_token;
pub mod api_key;
pub mod audit;
pub mod catalogue;
pub mod charge;
pub mod confirmation;
pub mod customer_email;
pub mod handler;
pub mod intake;
pub mod job;
pub mod log_filter;
pub mod mail;
pub mod marketplace;
pub mod onboard;
pub mod operation;
pub mod payment;
pub mod preflight;
pub mod price;
pub mod rate_limit;
pub mod reconcile;
pub mod refund;
pub mod replay;
pub mod schema;
pub mod spend_cap;
pub mod stream;
pub mod stripe_link;
pub mod summary;
pub mod timekeeping;
pub mod top_up;
pub mod verify;
pub mod version;
pub mod work;
