//! Plans: what a customer can be on.

use serde::{Deserialize, Serialize};

/// Which plan a customer is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// Free credits, nothing to pay with.
    Trial,
    /// Pays one by one once its credits are gone.
    PayAsYouGo,
    /// Pays monthly.
    Pro,
}

impl Plan {
    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trial => "trial",
            Self::PayAsYouGo => "pay_as_you_go",
            Self::Pro => "pro",
        }
    }

    /// Reads a stored name.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "trial" => Self::Trial,
            "pay_as_you_go" => Self::PayAsYouGo,
            "pro" => Self::Pro,
            _ => return None,
        })
    }
}
