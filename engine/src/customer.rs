//! Customers: who they are, and how one is onboarded.

use crate::clock::TimeMs;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use email_address::{EmailAddress, Options};
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
    /// Whether it can be charged.
    pub has_payment_method: bool,
    /// When it was onboarded.
    pub created_at_ms: TimeMs,
}

/// A checked e-mail address: as given, and in the form that decides whether two are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// As it was given, without surrounding blanks.
    pub given: String,
    /// Lower case; what uniqueness goes by.
    pub normalized: String,
}

impl Email {
    /// Checks the syntax (RFC 5321 and 5322 without comments, literals or display names; the domain
    /// needs at least two labels).
    pub fn parse(text: &str) -> Result<Self> {
        let given = text.trim();
        let options = Options::default().with_required_tld().without_display_text().without_domain_literal();
        match EmailAddress::parse_with_options(given, options) {
            Ok(_) => Ok(Self { given: given.to_owned(), normalized: given.to_lowercase() }),
            Err(error) => Err(Error::invalid("invalid_email", format!("the e-mail address is not valid: {error}"))),
        }
    }
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
    fn addresses_that_differ_only_in_case_are_the_same() {
        let one = Email::parse(" Ada@Example.com ").expect("valid");
        let two = Email::parse("ada@example.com").expect("valid");
        assert_eq!(one.normalized, two.normalized);
        assert_eq!(one.given, "Ada@Example.com");
    }

    #[test]
    fn text_that_is_no_address_is_refused() {
        for text in ["", "ada", "ada@", "@example.com", "ada@example", "Ada <ada@example.com>", "a b@example.com"] {
            assert!(Email::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn blank_long_and_control_names_are_refused() {
        assert!(check_name("  ").is_err());
        assert!(check_name(&"x".repeat(NAME_LEN_MAX + 1)).is_err());
        assert!(check_name("a\u{0}b").is_err());
        assert_eq!(check_name(" Ada ").expect("valid"), "Ada");
    }
}
