//! What happens to bought credits when their money is given back, by the choice of whoever gives it back.
//!
//! The choice is written into the refund's metadata at Stripe. So the credits follow from what Stripe says, whichever
//! event comes first, twice or late, and a comparison with Stripe decides the same.

use crate::amount::{Credits, MoneyMinor};
use crate::domain::clawback::credits_gone;
use crate::domain::webhook::fields::{self, metadata_of};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The key under which a refund's metadata says what happens to the credits.
pub const CREDITS_METADATA_KEY: &str = "bursar_credits";

/// What happens to the credits that the money bought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreditsChoice {
    /// Their share goes as far as it is not spent: nobody gets into debt.
    #[default]
    Unspent,
    /// Their share goes, spent or not: the customer may owe credits afterwards. So it is with refunds that were made at
    /// Stripe without a choice.
    All,
    /// The customer keeps them.
    None,
}

impl CreditsChoice {
    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspent => "unspent",
            Self::All => "all",
            Self::None => "none",
        }
    }

    /// The choice that a refund at Stripe carries.
    pub fn of_refund(refund: &Value) -> Self {
        match metadata_of(refund).get(CREDITS_METADATA_KEY).map(String::as_str) {
            Some("unspent") => Self::Unspent,
            Some("none") => Self::None,
            _ => Self::All,
        }
    }
}

/// Money of a payment that is gone: refunded, returned by credit notes, or taken by disputes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gone {
    /// All of it.
    pub all: MoneyMinor,
    /// The part whose credits the customer keeps.
    pub keeps: MoneyMinor,
    /// The part whose credits go only as far as they are unspent.
    pub unspent: MoneyMinor,
}

impl Gone {
    /// The part whose credits do not simply stay.
    pub fn counting(&self) -> MoneyMinor {
        self.all - self.keeps.clamp(MoneyMinor::ZERO, self.all.max(MoneyMinor::ZERO))
    }

    /// Adds money that is gone.
    pub fn add(&mut self, amount: MoneyMinor, choice: CreditsChoice) {
        self.all += amount;
        self.mark(amount, choice);
    }

    /// Notes the choices of refunds whose money is counted already. A refund that failed gave nothing back.
    pub fn mark_refunds(&mut self, refunds: &[Value]) {
        let has_happened = |refund: &&Value| !matches!(refund["status"].as_str(), Some("failed" | "canceled"));
        for refund in refunds.iter().filter(has_happened) {
            self.mark(MoneyMinor(refund["amount"].as_i64().unwrap_or(0)), CreditsChoice::of_refund(refund));
        }
    }

    fn mark(&mut self, amount: MoneyMinor, choice: CreditsChoice) {
        match choice {
            CreditsChoice::All => {}
            CreditsChoice::None => self.keeps += amount,
            CreditsChoice::Unspent => self.unspent += amount,
        }
    }
}

/// How many of the granted credits should be clawed back in all. `clawed_back` are so far, and `left` is what is unspent
/// of the grant now.
///
/// It never falls below what is clawed back only because the customer has spent more since: a repeated event returns
/// nothing.
pub fn credits_to_go(granted: Credits, gone: &Gone, paid: MoneyMinor, clawed_back: Credits, left: Credits) -> Credits {
    let certain = credits_certain_to_go(granted, gone, paid);
    let at_most = credits_gone(granted, gone.counting(), paid);
    certain.max(at_most.min(clawed_back + left.max(Credits::ZERO)))
}

/// How many of them go even if they are spent.
pub fn credits_certain_to_go(granted: Credits, gone: &Gone, paid: MoneyMinor) -> Credits {
    let counts = gone.counting();
    let soft = gone.unspent.clamp(MoneyMinor::ZERO, counts.max(MoneyMinor::ZERO));
    credits_gone(granted, counts - soft, paid)
}

/// How many of the credits that are still to come go with the money, once they come or because they do not: `going` of the
/// granted ones go now. At most, because whoever spends them at once keeps those that go only as far as they are unspent.
pub fn credits_to_go_later(
    granted: Credits,
    to_come: Credits,
    gone: &Gone,
    paid: MoneyMinor,
    going: Credits,
) -> Credits {
    if gone.counting() >= paid {
        // None of them is granted.
        return to_come;
    }
    let of_all = credits_gone(granted + to_come, gone.counting(), paid);
    (of_all - going).clamp(Credits::ZERO, to_come)
}

/// What is known of a payment's money before more of it is given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MoneyBefore {
    /// What is left of the charge.
    pub left: MoneyMinor,
    /// The whole price.
    pub paid: MoneyMinor,
    /// What was given back of it, by refunds and credit notes.
    pub refunded: MoneyMinor,
    /// What later invoices of the subscription have credited of it, for time that was left; `None` if that is not known.
    pub credited: Option<MoneyMinor>,
}

impl MoneyBefore {
    /// The most that may be given back without giving anything twice; `None` if that is not known.
    pub fn refundable(&self) -> Option<MoneyMinor> {
        let rest = self.paid - self.refunded - self.credited?;
        // Nothing was credited, so the charge alone decides.
        let rest = if self.credited == Some(MoneyMinor::ZERO) { self.left } else { rest };
        Some(self.left.min(rest).max(MoneyMinor::ZERO))
    }
}

/// Whether a refund at Stripe was made by this operation.
pub fn is_of_operation(refund: &Value, operation_id: &str) -> bool {
    metadata_of(refund).get(fields::OPERATION_METADATA_KEY).is_some_and(|id| id == operation_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const PAID: MoneyMinor = MoneyMinor(59_900);

    fn to_go(gone: Gone, clawed_back: i64, left: i64) -> i64 {
        credits_to_go(Credits(60), &gone, PAID, Credits(clawed_back), Credits(left)).0
    }

    fn gone(amount: i64, choice: CreditsChoice) -> Gone {
        let mut gone = Gone::default();
        gone.add(MoneyMinor(amount), choice);
        gone
    }

    #[test]
    fn what_was_credited_or_given_back_is_not_given_back_once_more() {
        let refundable = |left: i64, refunded: i64, credited: Option<i64>| {
            let (left, refunded) = (MoneyMinor(left), MoneyMinor(refunded));
            let money = MoneyBefore { left, paid: PAID, refunded, credited: credited.map(MoneyMinor) };
            money.refundable().map(|amount| amount.0)
        };
        assert_eq!(refundable(59_900, 0, Some(0)), Some(59_900));
        assert_eq!(refundable(59_900, 0, Some(40_000)), Some(19_900));
        assert_eq!(refundable(39_900, 20_000, Some(40_000)), Some(0));
        assert_eq!(refundable(49_900, 10_000, Some(40_000)), Some(9_900));
        assert_eq!(refundable(10_000, 0, Some(40_000)), Some(10_000), "the rest was paid from a balance");
        assert_eq!(refundable(59_900, 0, Some(99_900)), Some(0));
        assert_eq!(refundable(59_900, 0, None), None);
    }

    #[test]
    fn what_does_not_go_now_goes_with_the_credits_that_are_still_to_come() {
        let later = |amount: i64, choice, going: i64| {
            let (granted, to_come) = (Credits(10), Credits(50));
            credits_to_go_later(granted, to_come, &gone(amount, choice), PAID, Credits(going)).0
        };
        assert_eq!(later(29_950, CreditsChoice::Unspent, 0), 30, "nothing is unspent now");
        assert_eq!(later(29_950, CreditsChoice::Unspent, 5), 25);
        assert_eq!(later(59_900, CreditsChoice::All, 10), 50, "none comes");
        assert_eq!(later(59_900, CreditsChoice::None, 0), 0);
        assert_eq!(later(5_990, CreditsChoice::All, 10), 0, "more went already");
    }

    #[test]
    fn the_share_of_the_credits_goes_all_of_it_what_is_unspent_or_none() {
        assert_eq!(to_go(gone(29_950, CreditsChoice::All), 0, 0), 30);
        assert_eq!(to_go(gone(29_950, CreditsChoice::Unspent), 0, 60), 30);
        assert_eq!(to_go(gone(29_950, CreditsChoice::Unspent), 0, 7), 7);
        assert_eq!(to_go(gone(59_900, CreditsChoice::Unspent), 0, 0), 0);
        assert_eq!(to_go(gone(59_900, CreditsChoice::None), 0, 60), 0);
    }

    #[test]
    fn several_refunds_count_each_by_its_own_choice() {
        let mut all = gone(29_950, CreditsChoice::None);
        all.add(MoneyMinor(29_950), CreditsChoice::All);
        assert_eq!(to_go(all, 0, 0), 30);
        let mut all = gone(29_950, CreditsChoice::Unspent);
        all.add(MoneyMinor(5_990), CreditsChoice::All);
        assert_eq!((to_go(all, 0, 10), to_go(all, 10, 0)), (10, 10));
    }

    #[test]
    fn a_repeated_event_takes_no_more_and_returns_nothing_after_the_rest_was_spent() {
        let half = gone(29_950, CreditsChoice::Unspent);
        let first = to_go(half, 0, 40);
        assert_eq!((first, to_go(half, first, 10), to_go(half, first, 0)), (30, 30, 30));
        assert_eq!(to_go(Gone::default(), 30, 0), 0, "a refund that failed returns them");
    }

    #[test]
    fn the_choice_is_read_from_the_refunds_metadata_and_failed_ones_do_not_count() {
        let refund = |status: &str, choice: &str| json!({ "status": status, "amount": 100, "metadata": { "bursar_credits": choice } });
        let mut all = Gone { all: MoneyMinor(300), ..Gone::default() };
        all.mark_refunds(&[refund("succeeded", "none"), refund("failed", "none"), refund("pending", "unspent")]);
        all.mark_refunds(&[json!({ "status": "succeeded", "amount": 100 })]);
        assert_eq!(all, Gone { all: MoneyMinor(300), keeps: MoneyMinor(100), unspent: MoneyMinor(100) });
    }

    proptest! {
        #[test]
        fn never_more_goes_than_was_granted_and_unspent_refunds_alone_make_no_debt(
            granted in 0_i64..100_000, all in 0_i64..100_000, keeps in 0_i64..100_000, clawed in 0_i64..1_000, left in 0_i64..1_000,
        ) {
            let gone = Gone { all: MoneyMinor(all), keeps: MoneyMinor(keeps), unspent: MoneyMinor(all) };
            let target = credits_to_go(Credits(granted), &gone, PAID, Credits(clawed), Credits(left));
            prop_assert!((0..=granted).contains(&target.0));
            prop_assert!(target.0 <= clawed + left);
        }
    }
}
