//! What happens: each use case asks, decides by the rules of `domain` and commits through `infra`. It owns its
//! transaction.

pub mod api_key;
pub mod handler;
pub mod intake;
pub mod marketplace;
pub mod onboard;
pub mod operation;
pub mod rate_limit;
pub mod reconcile;
pub mod replay;
pub mod schema;
pub mod summary;
pub mod timekeeping;
pub mod verify;
pub mod work;
