//! Which shape of the API a reader expects.

use std::fmt;

/// The version whose shapes the sandbox keeps its objects in.
pub const NEWEST: &str = "2026-10-28.endive";

/// A version of Stripe's API, such as `2025-03-31.basil`. Versions are ordered by their date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    text: [u8; Self::LEN_MAX],
}

impl Version {
    /// The longest text of a version.
    pub const LEN_MAX: usize = 32;

    /// Reads the text of a version; `None` if it does not begin with a date.
    pub fn parse(text: &str) -> Option<Self> {
        let date = text.as_bytes().get(..10)?;
        let is_date = date.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        let suffix = &text[10..];
        let is_named = suffix.is_empty()
            || (suffix.starts_with('.')
                && suffix[1..].bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
        if !is_date || !is_named || text.len() > Self::LEN_MAX {
            return None;
        }
        let mut bytes = [0; Self::LEN_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self { text: bytes })
    }

    /// The newest version.
    pub fn newest() -> Self {
        Self::parse(NEWEST).expect("the newest version is a version")
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        let len = self.text.iter().position(|byte| *byte == 0).unwrap_or(Self::LEN_MAX);
        std::str::from_utf8(&self.text[..len]).expect("a version is ASCII")
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Default for Version {
    fn default() -> Self {
        Self::newest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_date() {
        let parse = |text| Version::parse(text).unwrap();
        assert!(parse("2020-08-27") < parse("2024-06-20"));
        assert!(parse("2025-02-24.acacia") < parse("2025-03-31.basil"));
        assert!(parse("2026-05-27.dahlia") < Version::newest());
    }

    #[test]
    fn what_is_no_version_is_not_read() {
        for text in ["", "newest", "2025-03-31 basil", "2025-3-31.basil", "2025-03-31.ba/sil"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
