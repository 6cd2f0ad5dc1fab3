//! The plans of customers.

use serde::{Deserialize, Serialize};

/// A customer's plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// Free credits only.
    Trial,
    /// Pays for each unit once its credits are spent.
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
