//! E-mail addresses: which are valid, and which are equal.
//!
//! Equality has two meanings, for two uses.
//!
//! - **Whether two signups are one customer** depends on [`Email::normalized`]: lower case, the domain in its ASCII
//!   form. Nothing else is folded: `ada+ci@example.com` and `ada@example.com` may be two customers with two
//!   readers.
//! - **Whether free credits were given before**, and how much mail a mailbox may be sent, depends on
//!   [`Email::mailbox`]: without tags and whatever else its provider ignores (`mailbox.rs`). Folding more is
//!   safe here: a customer mistaken for another can still sign up, only without free credits.

mod mailbox;

use crate::error::{Error, Result};
use crate::name::normalize_domain;
use email_address::{EmailAddress, Options};

/// The longest address, in bytes (RFC 5321 section 4.5.3.1.3: a path of 256 with its two brackets).
pub const EMAIL_LEN_MAX: usize = 254;

/// A valid e-mail address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// As given, trimmed.
    pub given: String,
    /// The form that must be unique: lower case, the domain in ASCII (IDNA).
    pub normalized: String,
}

impl Email {
    /// Checks the syntax: RFC 5321 and 5322 without comments, quotes, literals or display names, ASCII before the
    /// `@` (few mail servers accept more, RFC 6531), at least two labels after it.
    ///
    /// # Errors
    /// `invalid_email`.
    pub fn parse(text: &str) -> Result<Self> {
        let given = text.trim();
        let invalid = |why: &str| Error::invalid("invalid_email", format!("the e-mail address is not valid: {why}"));
        let options = Options::default().with_required_tld().without_display_text().without_domain_literal();
        let address = EmailAddress::parse_with_options(given, options).map_err(|error| invalid(&error.to_string()))?;
        let (local, domain) = (address.local_part(), address.domain());
        if !local.is_ascii() || local.starts_with('"') {
            return Err(invalid("before the @ only plain ASCII characters are allowed"));
        }
        let domain = normalize_domain(domain).ok_or_else(|| invalid("its domain is invalid"))?;
        let normalized = format!("{}@{domain}", local.to_ascii_lowercase());
        if normalized.len() > EMAIL_LEN_MAX || given.len() > EMAIL_LEN_MAX {
            return Err(invalid("it is too long"));
        }
        Ok(Self { given: given.to_owned(), normalized })
    }

    /// The domain, in lower case and ASCII.
    pub fn domain(&self) -> &str {
        self.parts().1
    }

    /// The address to send mail to: as given, but with the domain in ASCII, which every mail server accepts
    /// (Unicode needs SMTPUTF8, RFC 6531).
    pub fn deliverable(&self) -> String {
        let local = self.given.rsplit_once('@').map_or(self.parts().0, |(local, _)| local);
        format!("{local}@{}", self.domain())
    }

    /// The mailbox behind the address, as far as an outsider can tell; each gets free credits once.
    pub fn mailbox(&self) -> String {
        let (local, domain) = self.parts();
        mailbox::mailbox(local, domain)
    }

    fn parts(&self) -> (&str, &str) {
        self.normalized.rsplit_once('@').expect("a checked address has an @")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email(text: &str) -> Email {
        Email::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn addresses_that_differ_only_in_case_are_the_same() {
        let (one, two) = (email(" Ada@Example.com "), email("ada@example.com"));
        assert_eq!(one.normalized, two.normalized);
        assert_eq!(one.given, "Ada@Example.com");
    }

    #[test]
    fn a_domain_is_the_same_in_unicode_and_in_ascii() {
        for text in
            ["ada@bücher.example", "ada@BÜCHER.example", "ada@xn--bcher-kva.example", "ADA@XN--BCHER-KVA.example"]
        {
            assert_eq!(email(text).normalized, "ada@xn--bcher-kva.example", "{text}");
        }
    }

    #[test]
    fn mail_goes_to_the_name_as_given_at_the_domain_in_ascii() {
        for (given, taken) in [
            ("Ada@bücher.example", "Ada@xn--bcher-kva.example"),
            ("ada+CI@xn--bcher-kva.example", "ada+CI@xn--bcher-kva.example"),
            ("ada@example.com", "ada@example.com"),
        ] {
            let deliverable = email(given).deliverable();
            assert_eq!(deliverable, taken);
            assert!(deliverable.is_ascii() && deliverable.parse::<lettre::Address>().is_ok(), "{given}");
        }
    }

    #[test]
    fn tags_and_dots_make_other_customers_but_not_other_mailboxes() {
        let (plain, tagged) = (email("ada.l@example.com"), email("Ada.L+ci+2@example.com"));
        assert_ne!(plain.normalized, tagged.normalized);
        assert_eq!(tagged.mailbox(), "ada.l@example.com");
        assert_eq!(plain.mailbox(), tagged.mailbox());
        let gmail = email("adal@gmail.com");
        for text in ["Ada.L@gmail.com", "a.d.a.l+x@googlemail.com"] {
            assert_ne!(email(text).normalized, gmail.normalized);
            assert_eq!(email(text).mailbox(), gmail.mailbox(), "{text}");
        }
        assert_ne!(email("adal@example.com").mailbox(), plain.mailbox(), "dots matter elsewhere");
        assert_eq!(email("+ada@example.com").mailbox(), "+ada@example.com");
    }

    #[test]
    fn text_that_is_no_address_is_refused() {
        let long = format!("{}@{}.com", "a".repeat(64), ["b".repeat(60).as_str(); 4].join("."));
        for text in [
            "",
            "ada",
            "ada@",
            "@example.com",
            "ada@example",
            "Ada <ada@example.com>",
            "a b@example.com",
            "\"ada\"@example.com",
            "ada@[127.0.0.1]",
            "ada@127.0.0.1",
            "ada@example.com.",
            "ada@.example.com",
            "ada@exam_ple.com",
            "ada@-example.com",
            "ada..l@example.com",
            "ädä@example.com",
            "ada@example..com",
            "ada@xn--a.com",
            &long,
        ] {
            assert!(Email::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn usual_addresses_are_taken() {
        for text in ["a@b.co", "ada.lovelace+ci@mail.example.co.uk", "o'neil@example.ie", "x_y-z@a1.example.museum"] {
            assert_eq!(email(text).normalized, text);
            assert_eq!(email(text).domain(), text.split_once('@').map(|(_, domain)| domain).unwrap_or_default());
        }
    }
}
