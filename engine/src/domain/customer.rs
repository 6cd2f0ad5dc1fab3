//! Customers: who they are.

use crate::clock::TimeMs;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use serde::{Deserialize, Serialize};

/// The longest name, in characters.
pub const NAME_LEN_MAX: usize = 200;

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

/// Where a customer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Signed up by itself.
    Direct,
    /// Bought on a marketplace.
    Marketplace,
    /// Invited before the launch.
    EarlyAccess,
}

impl Source {
    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Marketplace => "marketplace",
            Self::EarlyAccess => "early_access",
        }
    }
}

/// One of the company's customers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    /// Its identifier.
    pub id: CustomerId,
    /// Its address as it was given.
    pub email: String,
    /// Its name.
    pub name: String,
    /// Where it came from.
    pub source: String,
    /// Its plan.
    pub plan: Plan,
    /// Its customer object at Stripe, once there is one.
    pub stripe_customer_id: Option<String>,
    /// The Stripe customer, deleted since, by which an event found it; else empty.
    pub former_stripe_ids: Vec<String>,
    /// Whether it can be charged.
    pub has_payment_method: bool,
    /// When it was onboarded.
    pub created_at_ms: TimeMs,
}

/// Checks a name: not blank, not too long, no control characters.
pub fn check_name(name: &str) -> Result<String> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_LEN_MAX || name.chars().any(char::is_control) {
        return Err(Error::invalid(
            "invalid_name",
            format!("the name must have 1 to {NAME_LEN_MAX} printable characters"),
        ));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_long_and_control_names_are_refused() {
        assert!(check_name("  ").is_err());
        assert!(check_name(&"x".repeat(NAME_LEN_MAX + 1)).is_err());
        assert!(check_name("a\u{0}b").is_err());
        assert_eq!(check_name(" Ada ").expect("valid"), "Ada");
    }
}
