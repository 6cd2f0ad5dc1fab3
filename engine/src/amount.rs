//! Amounts of credits and of money, and the largest of each.
//!
//! The two meet wherever something is bought or refunded, so each is a type of its own. Both are bare numbers in the
//! database and in JSON. Sums overflow as those of `i64` do.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

macro_rules! amount {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);
        }

        impl Add for $name {
            type Output = Self;

            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl Sub for $name {
            type Output = Self;

            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }

        impl Neg for $name {
            type Output = Self;

            fn neg(self) -> Self {
                Self(-self.0)
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                *self = *self - other;
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
                all.fold(Self::ZERO, Add::add)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

amount!(
    /// A number of credits; negative where credits are taken or owed. One unit of work costs one credit.
    Credits
);
amount!(
    /// An amount of money in minor units, such as cents. The currency is named beside it.
    MoneyMinor
);

impl MoneyMinor {
    /// The price of `credits` at this price each; `None` on overflow.
    pub fn checked_mul(self, credits: Credits) -> Option<Self> {
        self.0.checked_mul(credits.0).map(Self)
    }
}

/// The most credits that one command may move.
pub const UNITS_MAX: Credits = Credits(1_000_000);

/// The most that one charge may be. Source: Stripe, "Create a PaymentIntent": amounts have at most eight digits.
pub const AMOUNT_MINOR_MAX: MoneyMinor = MoneyMinor(99_999_999);

/// The highest spend cap. It leaves room for the sums that are compared with it.
pub const SPEND_CAP_MAX: MoneyMinor = MoneyMinor(1_000_000_000_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_a_bare_number_in_json_and_in_text() {
        assert_eq!(serde_json::to_string(&Credits(-5)).expect("plain data"), "-5");
        assert_eq!(serde_json::from_str::<MoneyMinor>("2900").expect("a number"), MoneyMinor(2_900));
        assert_eq!(format!("{:+}", Credits(5)), "+5");
    }

    #[test]
    fn a_price_that_overflows_is_none() {
        assert_eq!(MoneyMinor(2_900).checked_mul(Credits(2)), Some(MoneyMinor(5_800)));
        assert_eq!(MoneyMinor(2_900).checked_mul(Credits(i64::MAX)), None);
    }
}
