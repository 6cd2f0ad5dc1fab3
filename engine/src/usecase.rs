//! What happens: each use case asks, decides by the rules of [`domain`](crate::domain) and commits through
//! [`infra`](crate::infra). It owns its transaction.
//!
//! | module | what is in it |
//! |---|---|
//! | [`onboard`] | a customer signs up |
//! | [`intake`] | events are taken in |
//! | [`work`] | a node claims jobs, and gives them back |
//! | [`handler`] | a job runs: what each kind does |
//! | [`operation`] | a customer asks for what only Stripe can do |
//! | [`api_key`] | a customer's keys are made, rotated, revoked |
//! | [`summary`] | a customer looks at its figures |
//! | [`replay`], [`reconcile`], [`job`], [`stream`], [`mail`], [`marketplace`] | what support does, or a clock in its place |
//! | [`verify`], [`schema`] | whether the database is as it must be |
//! | [`timekeeping`], [`rate_limit`] | the shared clock, the shared limits |

pub mod api_key;
pub mod handler;
pub mod intake;
pub mod job;
pub mod mail;
pub mod marketplace;
pub mod onboard;
pub mod operation;
pub mod rate_limit;
pub mod reconcile;
pub mod replay;
pub mod schema;
pub mod stream;
pub mod summary;
pub mod timekeeping;
pub mod verify;
pub mod work;
