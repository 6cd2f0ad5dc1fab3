//! Keys by which the catalogue's entries are named: in files, in the database, in JSON and in Stripe's metadata.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The longest key, in characters.
pub const KEY_LEN_MAX: usize = 40;

/// Whether a text may be a key: 1 to [`KEY_LEN_MAX`] lower-case letters, digits and underscores.
pub fn is_key(text: &str) -> bool {
    (1..=KEY_LEN_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses a key.
            pub fn parse(text: &str) -> Option<Self> {
                is_key(text).then(|| Self(text.into()))
            }

            /// Takes a text from our own database as a key.
            pub fn trusted(text: &str) -> Self {
                Self(text.into())
            }

            /// The key as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(key: $name) -> Self {
                key.0.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text).ok_or_else(|| {
                    format!("a key has 1 to {KEY_LEN_MAX} lower-case letters, digits and underscores")
                })
            }
        }
    };
}

key!(
    /// The key of a plan, such as `pro`.
    PlanKey
);
key!(
    /// The key of a pack, such as `hundred`.
    PackKey
);
key!(
    /// The key of a price, such as `pro_monthly`.
    PriceKey
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_lower_case_letters_digits_and_underscores_and_is_text_in_json() {
        for text in ["pro", "pay_as_you_go", "team2"] {
            let key = PlanKey::parse(text).expect("a key");
            assert_eq!(serde_json::to_string(&key).expect("plain data"), format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<PlanKey>(&format!("\"{text}\"")).expect("it reads back"), key);
        }
        let long = "x".repeat(KEY_LEN_MAX + 1);
        for text in ["", "Pro", "pay-as-you-go", "a b", "é", long.as_str()] {
            assert_eq!(PlanKey::parse(text), None, "{text}");
            assert!(serde_json::from_str::<PriceKey>(&format!("\"{text}\"")).is_err(), "{text}");
        }
    }
}
