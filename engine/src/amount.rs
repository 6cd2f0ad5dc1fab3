//! The largest amounts of credits and of money.

/// The most credits that one command may move.
pub const UNITS_MAX: i64 = 1_000_000;

/// The most that one charge may be, in minor units. Source: Stripe, "Create a PaymentIntent": amounts
/// have at most eight digits.
pub const AMOUNT_MINOR_MAX: i64 = 99_999_999;
