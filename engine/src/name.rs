//! Valid names: of people and products, and of domains.

mod invisible;

use crate::error::{Error, Result};
use invisible::has_invisible;

/// The longest name, in characters.
pub const NAME_LEN_MAX: usize = 200;

/// Dots that browsers and mail programs take for one in a domain (UTS 46).
const DOTS: [char; 5] = ['.', '\u{2024}', '\u{3002}', '\u{FF0E}', '\u{FF61}'];

/// Checks a name: not blank, not too long, no control and no invisible characters.
///
/// # Errors
/// `invalid_name`.
pub fn check_name(name: &str) -> Result<String> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_LEN_MAX || has_invisible(name) {
        return Err(Error::invalid(
            "invalid_name",
            format!("the name must have 1 to {NAME_LEN_MAX} printable characters"),
        ));
    }
    Ok(name.to_owned())
}

/// Checks the name of a customer, which is mailed to its address: as [`check_name`], and without a web or e-mail
/// address, because a stranger may have given both.
///
/// # Errors
/// `invalid_name`.
pub fn check_customer_name(name: &str) -> Result<String> {
    let name = check_name(name)?;
    if has_address(&name) {
        return Err(Error::invalid(
            "invalid_name",
            "the name must not hold a web or e-mail address; put a space after a dot",
        ));
    }
    Ok(name)
}

/// Whether a mail program may turn a part of the text into a link: a scheme, or a dot that two letters or more follow
/// without a space. `J.R.R. Tolkien`, `S.p.A.` and `No.1` are no addresses.
fn has_address(text: &str) -> bool {
    let lower = text.to_lowercase();
    if lower.contains("://")
        || ["http:", "https:", "mailto:", "tel:", "javascript:"].iter().any(|it| lower.contains(it))
    {
        return true;
    }
    let chars: Vec<char> = lower.chars().collect();
    let is_letter = |at: usize| chars.get(at).is_some_and(|c| c.is_alphabetic());
    let begins_label = |at: usize| chars.get(at).is_some_and(|c| c.is_alphanumeric());
    (1..chars.len()).any(|at| {
        let is_dot = DOTS.contains(&chars[at]) && begins_label(at - 1);
        is_dot && is_letter(at + 1) && begins_label(at + 2)
    })
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
    fn blank_long_control_and_invisible_names_are_refused() {
        assert!(check_name("  ").is_err());
        assert!(check_name(&"x".repeat(NAME_LEN_MAX + 1)).is_err());
        for name in ["a\u{0}b", "Ada\u{200B}", "\u{202E}Ada", "\u{3164}"] {
            assert!(check_name(name).is_err(), "{}", name.escape_unicode());
        }
        assert_eq!(check_name(" Ada ").expect("valid"), "Ada");
    }

    #[test]
    fn a_customers_name_holds_no_address() {
        for name in [
            "Win at https://evil.example",
            "evil.com",
            "Ada www.evil.com",
            "call evil.com/now",
            "ada@evil.example",
            "Ada evil。com",
            "Ada evil．ru",
            "b2b.shop",
            "HTTP:evil",
            "mailto:ada",
            "bücher.рф",
            "see //x://y",
        ] {
            assert!(check_customer_name(name).is_err(), "{name}");
        }
        for name in [
            "Ada Lovelace",
            "J.R.R. Tolkien",
            "Dr. Ada King",
            "Acme Inc.",
            "Acme S.p.A.",
            "Fixes e.V.",
            "No.1 Fixes",
            "Version 2.0",
            "Ada: fixes",
            "A/B GmbH & Co. KG",
            "O'Neil",
            "Ada…",
            "@ada",
        ] {
            assert_eq!(check_customer_name(name).expect(name), name);
        }
        assert_eq!(check_name("Booking.com").expect("a product"), "Booking.com");
    }
}
