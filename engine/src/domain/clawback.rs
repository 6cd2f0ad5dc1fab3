//! Clawbacks: how many credits go when their money is refunded or disputed, and how they come back when it returns.

mod away;
mod lot;

pub use away::{Away, away};
pub use lot::{Lot, LotTarget, bought_credits, bought_of_each, targets, to_come, withheld};

use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::ledger::{Command, Entry, Op};
use away::{Back, next_back};
use std::cmp::Ordering;

/// The credits to take back once `gone` of the `paid` money is refunded or disputed. Rounded down: a part of a credit's
/// price takes no credit.
pub fn credits_gone(granted: Credits, gone: MoneyMinor, paid: MoneyMinor) -> Credits {
    if paid <= MoneyMinor::ZERO {
        return Credits::ZERO;
    }
    let gone = gone.clamp(MoneyMinor::ZERO, paid);
    let share = i128::from(granted.0.max(0)) * i128::from(gone.0) / i128::from(paid.0);
    i64::try_from(share).map_or(granted, Credits)
}

/// Distributes credits over the grants of one purchase, the latest first.
fn distribute(gone: Credits, granted: &[Credits]) -> Vec<Credits> {
    let mut left = gone.0.max(0);
    let mut targets: Vec<Credits> = granted
        .iter()
        .rev()
        .map(|granted| {
            let target = left.min(granted.0.max(0));
            left -= target;
            Credits(target)
        })
        .collect();
    targets.reverse();
    targets
}

/// A command that brings the clawed back credits of a grant to their target, or nearer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The command.
    pub command: Command,
    /// Whether the target is reached with it.
    pub is_last: bool,
}

/// The next step from the credits of the grant that are clawed back to their target; `None` if that many are. Credits
/// that come back with different ends, or of different grants, take one step each. `returned` are the grants that
/// returned credits of it; they are needed where credits go. `away` is needed where credits come back, see [`away()`].
///
/// The command needs no idempotency key, because it names a total, and the charge's stream runs one such command at a
/// time.
pub fn step_towards(
    grant: &Entry,
    clawed_back: Credits,
    target: &LotTarget,
    returned: &[i64],
    away: &[Away],
    charge_id: &str,
    now_ms: TimeMs,
) -> Option<Step> {
    let LotTarget { total: target, unspent, unspent_before } = *target;
    let (op, source, total) = match target.cmp(&clawed_back) {
        Ordering::Greater => {
            let (grant, granted, returned) = (grant.seq, grant.granted(), returned.to_vec());
            (Op::ClawBack { grant, granted, returned, total: target, unspent, unspent_before }, "stripe", target)
        }
        Ordering::Less => {
            let Back { credits, kind, of, ends_at_ms } = next_back(grant, away, clawed_back - target, now_ms);
            let (total, unspent, expires_at_ms) = (clawed_back - credits, unspent_before, ends_at_ms);
            let op = Op::Reinstate { grant: grant.seq, kind, total, unspent, of, expires_at_ms };
            (op, "reinstatement", total)
        }
        Ordering::Equal => return None,
    };
    let mut command = Command::internal(op, source, String::new()).with_reference(charge_id);
    command.idempotency_key = None;
    Some(Step { command, is_last: total == target })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gone_of(granted: i64, gone: i64, paid: i64) -> i64 {
        credits_gone(Credits(granted), MoneyMinor(gone), MoneyMinor(paid)).0
    }

    #[test]
    fn a_part_of_a_credits_price_takes_no_credit_and_the_whole_takes_all() {
        assert_eq!(gone_of(1, 1_000, 2_900), 0);
        assert_eq!(gone_of(1, 2_900, 2_900), 1);
        assert_eq!(gone_of(60, 10_000, 59_900), 10);
        assert_eq!(gone_of(60, 59_900, 59_900), 60);
    }

    #[test]
    fn never_more_credits_go_than_were_granted_whatever_is_refunded_and_disputed_together() {
        assert_eq!(gone_of(60, 2 * 59_900, 59_900), 60);
        assert_eq!(gone_of(60, -5, 59_900), 0);
        assert_eq!(gone_of(60, 5, 0), 0);
    }

    #[test]
    fn of_several_grants_the_latest_go_first_and_never_more_than_was_granted() {
        let of = |gone: i64| {
            distribute(Credits(gone), &[Credits(5), Credits(5), Credits(3)]).iter().map(|c| c.0).sum::<i64>()
        };
        assert_eq!(distribute(Credits(4), &[Credits(5), Credits(5), Credits(3)]), [Credits(0), Credits(1), Credits(3)]);
        assert_eq!((of(0), of(13), of(99), of(-1)), (0, 13, 13, 0));
    }

    proptest! {
        #[test]
        fn credits_go_in_proportion_rounded_down_and_never_beyond_the_grant(
            granted in 0..=i64::MAX, gone: i64, paid in 1..=i64::MAX, more in 0..=i64::MAX,
        ) {
            let credits = gone_of(granted, gone, paid);
            prop_assert!((0..=granted).contains(&credits));
            let share = |credits: i64| i128::from(credits) * i128::from(paid);
            let of_money = i128::from(granted) * i128::from(gone.clamp(0, paid));
            prop_assert!(share(credits) <= of_money && of_money < share(credits) + i128::from(paid));
            prop_assert!(gone_of(granted, gone.saturating_add(more), paid) >= credits);
        }
    }
}
