//! What happens: each use case asks, decides by the rules of `domain` and commits through `infra`. It owns its
//! transaction.

pub mod handler;
pub mod intake;
pub mod onboard;
pub mod operate;
pub mod replay;
pub mod timekeeping;
pub mod verify;
pub mod work;
