//! The engine's error type.

mod refusal;

pub use refusal::Refusal;

use sea_orm::DbErr;
use std::sync::Arc;

/// A result of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the engine. The `Display` of the first group may be shown to a caller; that of the second may not:
/// it is logged once and answered with a general sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger's rules refuse the command.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The input is wrong. The code is stable and documented.
    #[error("{message}")]
    Invalid {
        /// Stable code.
        code: &'static str,
        /// What is wrong, for the caller.
        message: String,
    },
    /// The object does not exist, or is not the caller's.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The present state does not allow the request.
    #[error("{message}")]
    Conflict {
        /// Stable code.
        code: &'static str,
        /// What is in the way, for the caller.
        message: String,
    },
    /// The request is valid but not accepted. The code is stable and documented.
    #[error("{message}")]
    NotAccepted {
        /// Stable code.
        code: &'static str,
        /// Why not, for the caller.
        message: String,
    },
    /// The caller's credentials are no longer good. The code is stable and documented.
    #[error("{message}")]
    Unauthorized {
        /// Stable code.
        code: &'static str,
        /// What is wrong with them, for the caller.
        message: String,
    },
    /// The caller may not do this, or not yet. The code is stable and documented.
    #[error("{message}")]
    Forbidden {
        /// Stable code.
        code: &'static str,
        /// What to do, for the caller.
        message: String,
    },
    /// The operator has switched the feature off. The code is stable and documented.
    #[error("{message}")]
    SwitchedOff {
        /// Stable code.
        code: &'static str,
        /// The feature that is off, for the caller.
        message: &'static str,
    },
    /// The request exceeds a rate limit.
    #[error("the rate limit is reached")]
    RateLimited {
        /// Time until the next request is allowed.
        retry_after_ms: i64,
    },
    /// One customer has too much waiting. The code is stable and documented.
    #[error("{message}")]
    TooMany {
        /// Stable code.
        code: &'static str,
        /// What is waiting, for the caller.
        message: String,
    },
    /// A limit on waiting work is reached; try again shortly.
    #[error("too much work is waiting for {0}")]
    Busy(&'static str),
    /// No answer in time. The work may have been done.
    #[error("no answer from {0} in time")]
    Timeout(&'static str),

    /// The database cannot be reached, or refused for a temporary reason.
    #[error("the database is unavailable")]
    DatabaseUnavailable(#[source] DbErr),
    /// A temporary failure that many callers share; it was logged where it happened.
    #[error("{0} is unavailable")]
    Unavailable(&'static str),
    /// The object cannot be used now, such as a row that another transaction keeps locked. Other objects may work.
    /// Nothing was done, and the failure was logged where it happened.
    #[error("{0} cannot be used just now")]
    Stuck(&'static str),
    /// Any other failure of the database.
    #[error("the database failed")]
    Database(#[source] DbErr),
    /// The broker failed.
    #[error("the broker failed")]
    Broker(#[from] lapin::Error),
    /// Stored data cannot be read.
    #[error("stored data is corrupt: {0}")]
    Corrupt(String),
    /// The configuration is wrong; one message per problem.
    #[error("{}", .0.join("\n"))]
    Config(Vec<String>),
    /// An operation of the operating system failed.
    #[error("{what}")]
    Io {
        /// The operation.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// An [`Error::Invalid`].
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { code, message: message.into() }
    }

    /// An [`Error::Conflict`].
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::Conflict { code, message: message.into() }
    }

    /// The stable code of an error that the caller must handle, if it has one.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Invalid { code, .. }
            | Self::Conflict { code, .. }
            | Self::NotAccepted { code, .. }
            | Self::Unauthorized { code, .. }
            | Self::Forbidden { code, .. }
            | Self::TooMany { code, .. }
            | Self::SwitchedOff { code, .. } => Some(code),
            Self::RateLimited { .. } => Some("rate_limited"),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without any change.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Busy(_)
                | Self::TooMany { .. }
                | Self::RateLimited { .. }
                | Self::Timeout(_)
                | Self::DatabaseUnavailable(_)
                | Self::Unavailable(_)
                | Self::Stuck(_)
                | Self::Broker(_)
        )
    }

    /// Whether the cause is neither the caller nor temporary.
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Database(_) | Self::Corrupt(_) | Self::Config(_) | Self::Io { .. } | Self::Broker(_))
    }

    /// The error with all its causes in one line, for the log and for attempt records.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let next = error.to_string();
            if !text.ends_with(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            cause = error.source();
        }
        text
    }
}

/// A batch's failure, for each of its callers.
impl From<Arc<Error>> for Error {
    fn from(shared: Arc<Error>) -> Self {
        match Arc::try_unwrap(shared) {
            Ok(error) => error,
            Err(shared) if shared.is_retryable() && shared.is_item_fault() => Self::Stuck("a row of the database"),
            Err(shared) if shared.is_retryable() => Self::Unavailable("the database"),
            Err(shared) => Self::Corrupt(shared.chain()),
        }
    }
}
