//! Valid names: of people and products, and of domains.

use crate::error::{Error, Result};

/// The longest name, in characters.
pub const NAME_LEN_MAX: usize = 200;

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

/// A domain in lower case and ASCII (UTS 46 and IDNA); `None` if it has not at least two labels.
pub fn normalize_domain(domain: &str) -> Option<String> {
    let ascii = idna::domain_to_ascii_strict(domain).ok()?;
    let is_name = ascii.contains('.') && !ascii.ends_with('.') && !ascii.starts_with('.');
    // The last label of an IPv4 address is a number, that of a domain never is (RFC 3696 section 2).
    let is_number = ascii.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    (is_name && !is_number).then_some(ascii)
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
