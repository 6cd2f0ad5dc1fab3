//! How many credits go when their money goes: refunds and disputes.

use crate::domain::ledger::{Command, Entry, GrantKind, Op};
use std::cmp::Ordering;

/// The credits that should be gone when `gone` of the money that was `paid` for them is: rounded down, so that a part
/// of a credit's price takes no credit.
pub fn credits_gone(granted: i64, gone: i64, paid: i64) -> i64 {
    if paid <= 0 {
        return 0;
    }
    let share = i128::from(granted.max(0)) * i128::from(gone.clamp(0, paid)) / i128::from(paid);
    i64::try_from(share).unwrap_or(granted)
}

/// The command that brings what was clawed back of a grant to `target`; `None` if it is there. It needs no key: it
/// says where to be, and the charge's stream lets only one at a time say so.
pub fn command_towards(grant: &Entry, clawed_back: i64, target: i64, charge_id: &str) -> Option<Command> {
    let kind = grant.detail.grant_kind.unwrap_or(GrantKind::Purchased);
    let (op, source) = match target.cmp(&clawed_back) {
        Ordering::Greater => (Op::ClawBack { grant: grant.seq, granted: grant.amount, total: target }, "stripe"),
        Ordering::Less => (Op::Reinstate { grant: grant.seq, kind, total: target }, "reinstatement"),
        Ordering::Equal => return None,
    };
    let mut command = Command::internal(op, source, String::new()).with_reference(charge_id);
    command.idempotency_key = None;
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_part_of_a_credits_price_takes_no_credit_and_the_whole_takes_all() {
        assert_eq!(credits_gone(1, 1_000, 2_900), 0);
        assert_eq!(credits_gone(1, 2_900, 2_900), 1);
        assert_eq!(credits_gone(60, 10_000, 59_900), 10);
        assert_eq!(credits_gone(60, 59_900, 59_900), 60);
    }

    #[test]
    fn never_more_credits_go_than_were_granted_whatever_is_refunded_and_disputed_together() {
        assert_eq!(credits_gone(60, 2 * 59_900, 59_900), 60);
        assert_eq!(credits_gone(60, -5, 59_900), 0);
        assert_eq!(credits_gone(60, 5, 0), 0);
    }

    proptest! {
        #[test]
        fn credits_go_in_proportion_rounded_down_and_never_beyond_the_grant(
            granted in 0..=i64::MAX, gone: i64, paid in 1..=i64::MAX, more in 0..=i64::MAX,
        ) {
            let credits = credits_gone(granted, gone, paid);
            prop_assert!((0..=granted).contains(&credits));
            let share = |credits: i64| i128::from(credits) * i128::from(paid);
            let of_money = i128::from(granted) * i128::from(gone.clamp(0, paid));
            prop_assert!(share(credits) <= of_money && of_money < share(credits) + i128::from(paid));
            prop_assert!(credits_gone(granted, gone.saturating_add(more), paid) >= credits);
        }
    }
}
