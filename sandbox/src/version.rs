//! The versions of Stripe's API.

use std::fmt;

/// Stripe's API versions since 2020-08-27, oldest first. Up to 2024-06-20 each has breaking changes. Since then each
/// name has, and the monthly releases under one name only add. Source: Stripe, "Changelog", and the versions that its
/// client libraries pin.
pub const KNOWN: [&str; 33] = [
    "2020-08-27",
    "2022-08-01",
    "2022-11-15",
    "2023-08-16",
    "2023-10-16",
    "2024-04-10",
    "2024-06-20",
    "2024-09-30.acacia",
    "2024-10-28.acacia",
    "2024-11-20.acacia",
    "2024-12-18.acacia",
    "2025-01-27.acacia",
    "2025-02-24.acacia",
    "2025-03-31.basil",
    "2025-04-30.basil",
    "2025-05-28.basil",
    "2025-06-30.basil",
    "2025-07-30.basil",
    "2025-08-27.basil",
    "2025-09-30.clover",
    "2025-10-29.clover",
    "2025-11-17.clover",
    "2025-12-15.clover",
    "2026-01-28.clover",
    "2026-02-25.clover",
    "2026-03-25.dahlia",
    "2026-04-22.dahlia",
    "2026-05-27.dahlia",
    "2026-06-24.dahlia",
    "2026-07-29.dahlia",
    "2026-08-26.dahlia",
    "2026-09-30.endive",
    NEWEST,
];

/// The version in which the sandbox stores objects.
pub const NEWEST: &str = "2026-10-28.endive";

/// The name of public previews. A preview contains the release of the same day.
const PREVIEW: &str = "preview";
/// Length of a date such as `2025-03-31`.
const DATE_LEN: usize = 10;

/// One of the [`KNOWN`] versions, such as `2025-03-31.basil`. Later versions are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(usize);

impl Version {
    /// 2022-08-01.
    pub const V2022_08_01: Self = Self(1);
    /// 2022-11-15.
    pub const V2022_11_15: Self = Self(2);
    /// 2024-04-10.
    pub const V2024_04_10: Self = Self(5);
    /// 2025-03-31.basil.
    pub const BASIL: Self = Self(13);
    /// 2025-09-30.clover.
    pub const CLOVER: Self = Self(19);
    /// 2025-12-15.clover.
    pub const CLOVER_2025_12_15: Self = Self(22);
    /// 2026-03-25.dahlia.
    pub const DAHLIA: Self = Self(25);

    /// Parses a version's name. `None` if it is unknown.
    pub fn parse(text: &str) -> Option<Self> {
        let release = KNOWN.iter().position(|known| *known == text);
        let preview = || {
            let date = text.strip_suffix(PREVIEW)?.strip_suffix('.')?;
            KNOWN.iter().position(|known| known.len() > DATE_LEN && known[..DATE_LEN] == *date)
        };
        release.or_else(preview).map(Self)
    }

    /// The newest version.
    pub fn newest() -> Self {
        Self(KNOWN.len() - 1)
    }

    /// All versions, oldest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..KNOWN.len()).map(Self)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        KNOWN[self.0]
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
    fn versions_are_listed_in_the_order_of_their_dates() {
        assert!(KNOWN.is_sorted());
        let parse = |text| Version::parse(text).unwrap();
        assert!(parse("2020-08-27") < parse("2024-06-20"));
        assert!(parse("2025-02-24.acacia") < parse("2025-03-31.basil"));
        assert!(parse("2026-05-27.dahlia") < Version::newest());
    }

    #[test]
    fn every_version_parses_from_its_name() {
        for version in Version::all() {
            assert_eq!(Version::parse(&version.to_string()), Some(version));
        }
        assert_eq!(Version::newest().as_str(), NEWEST);
    }

    #[test]
    fn constants_are_named_after_their_versions() {
        let named = [
            (Version::V2022_08_01, "2022-08-01"),
            (Version::V2022_11_15, "2022-11-15"),
            (Version::V2024_04_10, "2024-04-10"),
            (Version::BASIL, "2025-03-31.basil"),
            (Version::CLOVER, "2025-09-30.clover"),
            (Version::CLOVER_2025_12_15, "2025-12-15.clover"),
            (Version::DAHLIA, "2026-03-25.dahlia"),
        ];
        for (version, name) in named {
            assert_eq!(version.as_str(), name);
        }
    }

    #[test]
    fn a_preview_is_parsed_as_the_release_of_its_day() {
        assert_eq!(Version::parse("2026-08-26.preview"), Version::parse("2026-08-26.dahlia"));
        assert_eq!(Version::parse("2026-08-27.preview"), None);
        assert_eq!(Version::parse("2022-11-15.preview"), None, "versions before the first name have no previews");
    }

    #[test]
    fn invalid_versions_are_not_parsed() {
        for text in
            ["", "newest", "2025-03-31", "2025-03-31 basil", "2019-12-03", "2027-01-27.fig", ".preview", "é.preview"]
        {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
