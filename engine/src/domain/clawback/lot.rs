//! The grants of one purchase, and how many credits of each should be gone once money of it is.
//!
//! Each grant loses its share by itself: of a year that is granted monthly, each month loses the same part of its
//! credits, those that came as well as those to come. So a part that comes later changes nothing of the earlier ones.
//! Shares are rounded so that together they are the share of all, and those of the grants that are there do not depend
//! on those that follow.

use super::{credits_gone, distribute};
use crate::amount::{Credits, MoneyMinor};
use crate::domain::ledger::Entry;
use crate::domain::refund::Gone;
use crate::domain::sale::SaleRecord;

/// A grant of credits that money bought, and what has become of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lot {
    /// Its credits that the money bought, with those that were withheld from it.
    pub granted: Credits,
    /// How many of them are clawed back or withheld.
    pub clawed_back: Credits,
    /// How many of those went only because they were unspent; `None` if they went before that was kept.
    pub unspent_gone: Option<Credits>,
    /// Credits of it that expired. Nobody can use them, so they count as gone.
    pub expired: Credits,
    /// Credits of it that are neither spent nor gone.
    pub remaining: Credits,
}

impl Lot {
    /// A grant of which money bought this many credits, of which nothing is gone, and of whose payment nothing was given
    /// back.
    pub fn untouched(granted: Credits) -> Self {
        Self { granted, ..Self::default() }
    }
}

/// The credits of a grant that its invoice's money bought, with those that were withheld: not those that were exchanged
/// for credits of a period that was left. Negative if more were exchanged than it has: those are of the grants after it.
pub fn bought_credits(grant: &Entry) -> Credits {
    let record = SaleRecord::read(grant.metadata.as_deref()).unwrap_or_default();
    grant.granted() - record.taken_apart()
}

/// The credits that the money of one purchase bought of each of its grants, in their order.
pub fn bought_of_each(grants: &[Entry]) -> Vec<Credits> {
    let mut upto = Credits::ZERO;
    let bought = |grant: &Entry| {
        let before = upto.max(Credits::ZERO);
        upto += bought_credits(grant);
        (upto - before).max(Credits::ZERO)
    };
    grants.iter().map(bought).collect()
}

/// How many credits of a lot should be clawed back in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LotTarget {
    /// All of them.
    pub total: Credits,
    /// How many more than now go only as far as they are unspent at the commit.
    pub unspent: Credits,
    /// How many of those that are clawed back already, and stay so, went only because they were unspent.
    pub unspent_before: Credits,
}

/// What should be clawed back of each lot, in the order in which they were granted. `taken` are credits of the purchase
/// that went otherwise, because its period was left: together no more goes than was granted. `available` is what the
/// customer has and no hold reserves.
///
/// What a refund takes only as far as it is unspent is taken when the refund is first seen, and kept with the lot. A
/// refund that takes its share in any case takes it beside that.
pub fn targets(lots: &[Lot], gone: &Gone, paid: MoneyMinor, taken: Credits, available: Credits) -> Vec<LotTarget> {
    let granted: Vec<Credits> = lots.iter().map(|lot| lot.granted).collect();
    let rooms: Vec<Credits> =
        distribute(taken, &granted).iter().zip(&granted).map(|(took, all)| *all - *took).collect();
    let at_most = within(shares(&granted, gone.counting(), paid), &rooms);
    let certain = within(shares(&granted, gone.certain(), paid), &rooms);
    let parts = lots.iter().zip(at_most).zip(certain);
    let parts: Vec<Part> =
        parts.map(|((lot, at_most), certain)| Part::new(lot, at_most, certain.min(at_most))).collect();
    // What goes in any case leaves that much less unspent, of whatever it is taken.
    let certain_more: Credits = parts.iter().map(|part| part.certain_more).sum();
    let mut left = (available - certain_more).max(Credits::ZERO);
    let target = |part: &Part| {
        let unspent = part.unspent_most.min(left);
        left -= unspent;
        let total = part.certain_before + part.certain_more + part.unspent_before + unspent;
        LotTarget { total, unspent, unspent_before: part.unspent_before }
    };
    parts.iter().map(target).collect()
}

/// What is withheld of a part that is granted now, after grants with this many [`bought_credits`]: all of its share,
/// and how much of that goes only because it is unspent.
pub fn withheld(before: Credits, part: Credits, gone: &Gone, paid: MoneyMinor) -> (Credits, Credits) {
    let share = |money: MoneyMinor| credits_gone(before + part, money, paid) - credits_gone(before, money, paid);
    let at_most = share(gone.counting());
    (at_most, at_most - share(gone.certain()).min(at_most))
}

/// The credits that still come of parts that follow grants with this many [`bought_credits`]: what is not withheld of
/// them. If all of the money is gone, only what was exchanged for credits of a period that was left comes.
pub fn to_come(before: Credits, parts: Credits, gone: &Gone, paid: MoneyMinor) -> Credits {
    parts - withheld(before, parts, gone, paid).0
}

/// The share of each lot.
fn shares(granted: &[Credits], gone: MoneyMinor, paid: MoneyMinor) -> Vec<Credits> {
    let (mut upto, mut before) = (Credits::ZERO, Credits::ZERO);
    let share = |lot: &Credits| {
        upto += *lot;
        let share = credits_gone(upto, gone, paid) - before;
        before += share;
        share
    };
    granted.iter().map(share).collect()
}

/// The shares, each at most what there is room for. What one has no room for is of the others, the latest first.
fn within(shares: Vec<Credits>, rooms: &[Credits]) -> Vec<Credits> {
    let mut over = shares.iter().zip(rooms).map(|(share, room)| (*share - *room).max(Credits::ZERO)).sum::<Credits>();
    let mut fitting: Vec<Credits> = shares.iter().zip(rooms).map(|(share, room)| (*share).min(*room)).collect();
    for (share, room) in fitting.iter_mut().zip(rooms).rev() {
        let more = over.min(*room - *share);
        *share += more;
        over -= more;
    }
    fitting
}

/// What should go of one lot, apart from what others leave for it.
struct Part {
    /// What went in any case, and stays gone.
    certain_before: Credits,
    /// What still has to go in any case.
    certain_more: Credits,
    /// What went because it was unspent, and stays gone.
    unspent_before: Credits,
    /// The most that still goes because it is unspent.
    unspent_most: Credits,
}

impl Part {
    /// Of a lot of which `certain` should go in any case, and `at_most` as far as it is unspent.
    fn new(lot: &Lot, at_most: Credits, certain: Credits) -> Self {
        let soft = at_most - certain;
        // What went before it was kept why counts as having gone in any case, as far as that much should.
        let of_old = || (lot.clawed_back - certain).max(Credits::ZERO).min(soft);
        let unspent_gone = lot.unspent_gone.unwrap_or_else(of_old);
        let certain_gone = lot.clawed_back - unspent_gone;
        // Credits that expired are gone already. They lessen what is still to be taken, and return nothing.
        let needed = (certain - certain_gone).max(Credits::ZERO);
        let by_expiry = lot.expired.min(needed);
        let certain_more = needed - by_expiry;
        let unspent_before = unspent_gone.min(soft);
        let needed = soft - unspent_before;
        let needed = needed - (lot.expired - by_expiry).min(needed);
        // What comes back comes first: whether it is unspent then is seen afterwards.
        let comes_back = certain_gone > certain;
        let room = if comes_back { Credits::ZERO } else { (lot.remaining - certain_more).max(Credits::ZERO) };
        Self { certain_before: certain_gone.min(certain), certain_more, unspent_before, unspent_most: needed.min(room) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ledger::{Account, Command, GrantKind, Op, decide};
    use crate::domain::refund::CreditsChoice;
    use proptest::prelude::*;

    const PAID: MoneyMinor = MoneyMinor(72_000);

    fn lot(granted: i64, remaining: i64) -> Lot {
        Lot {
            granted: Credits(granted),
            remaining: Credits(remaining),
            unspent_gone: Some(Credits::ZERO),
            ..Lot::default()
        }
    }

    fn gone(parts: &[(i64, CreditsChoice)]) -> Gone {
        let mut gone = Gone::default();
        for (percent, choice) in parts {
            gone.add(MoneyMinor(PAID.0 * percent / 100), *choice);
        }
        gone
    }

    /// Takes what should go of each lot, what it has not from the others, and returns the totals.
    fn take(lots: &mut [Lot], gone: &Gone, taken: i64) -> Vec<i64> {
        let available = lots.iter().map(|lot| lot.remaining).sum();
        let targets = targets(lots, gone, PAID, Credits(taken), available);
        for (n, target) in targets.iter().enumerate() {
            let mut goes = (target.total - lots[n].clawed_back).max(Credits::ZERO);
            (lots[n].clawed_back, lots[n].unspent_gone) = (target.total, Some(target.unspent_before + target.unspent));
            for from in std::iter::once(n).chain(0..lots.len()) {
                let burned = goes.min(lots[from].remaining);
                lots[from].remaining -= burned;
                goes -= burned;
            }
        }
        targets.iter().map(|target| target.total.0).collect()
    }

    #[test]
    fn what_was_exchanged_beyond_the_first_grant_was_not_bought_of_those_after_it() {
        let grant = |amount: i64, taken: i64| {
            let sold = SaleRecord { taken: Credits(taken), is_taken_apart: true, ..SaleRecord::default() };
            let metadata = (taken > 0).then(|| sold.to_metadata());
            let op = Op::Grant { kind: GrantKind::Included, amount: Credits(amount), expires_at_ms: None };
            let command = Command { metadata, ..Command::internal(op, "stripe", String::new()) };
            decide(&Account::default(), &command, 0).expect("it is granted").entries.remove(0)
        };
        for (taken, bought) in [(0, [10, 10, 10]), (4, [6, 10, 10]), (15, [0, 5, 10]), (40, [0, 0, 0])] {
            let grants = [grant(10, taken), grant(10, 0), grant(10, 0)];
            assert_eq!(bought_of_each(&grants), bought.map(Credits), "{taken} were exchanged");
            let before = grants[..2].iter().map(bought_credits).sum();
            let (withheld, _) = withheld(before, Credits(10), &gone(&[(100, CreditsChoice::All)]), PAID);
            assert_eq!(withheld, Credits(bought[2]), "{taken} were exchanged");
        }
    }

    #[test]
    fn each_month_of_a_year_loses_its_own_share() {
        let half = gone(&[(50, CreditsChoice::All)]);
        let mut lots = [lot(60, 0), lot(60, 60), lot(60, 20)];
        assert_eq!(take(&mut lots, &half, 0), [30, 30, 30]);
        assert_eq!(withheld(Credits(180), Credits(60), &half, PAID), (Credits(30), Credits::ZERO));
        let unspent = gone(&[(50, CreditsChoice::Unspent)]);
        assert_eq!(withheld(Credits(60), Credits(60), &unspent, PAID), (Credits(30), Credits(30)));
    }

    #[test]
    fn of_the_months_to_come_the_share_of_the_money_that_is_left_comes() {
        let choices = [CreditsChoice::All, CreditsChoice::Unspent, CreditsChoice::None];
        for (percent, left) in [(0, [660, 660, 660]), (50, [330, 330, 660]), (100, [0, 0, 660])] {
            let coming = choices.map(|choice| to_come(Credits(60), Credits(660), &gone(&[(percent, choice)]), PAID).0);
            assert_eq!(coming, left, "{percent} % are gone");
        }
        assert_eq!(to_come(Credits(60), Credits(660), &Gone::default(), MoneyMinor::ZERO), Credits(660));
    }

    #[test]
    fn what_expired_counts_as_gone() {
        let expired = |granted: i64, expired: i64| Lot { expired: Credits(expired), ..lot(granted, 0) };
        let all = gone(&[(100, CreditsChoice::All)]);
        assert_eq!(take(&mut [expired(60, 60)], &all, 0), [0]);
        assert_eq!(take(&mut [expired(60, 40)], &all, 0), [20], "the others were spent");
        let half = gone(&[(50, CreditsChoice::All)]);
        let mut year = [expired(60, 60), expired(60, 60), lot(60, 60)];
        assert_eq!(take(&mut year, &half, 0), [0, 0, 30]);
        // What went before the rest expired stays gone, and does not come back.
        let mut lots = [lot(60, 60)];
        assert_eq!(take(&mut lots, &half, 0), [30]);
        lots[0] = Lot { expired: Credits(30), remaining: Credits::ZERO, ..lots[0] };
        assert_eq!((take(&mut lots, &half, 0), take(&mut lots, &all, 0)), (vec![30], vec![30]));
        assert_eq!(take(&mut lots, &Gone::default(), 0), [0], "the refund failed");
    }

    #[test]
    fn what_is_unspent_is_decided_for_each_lot_and_once() {
        let half = gone(&[(50, CreditsChoice::Unspent)]);
        let mut year = [lot(60, 0)];
        assert_eq!(take(&mut year, &half, 0), [0], "it is spent");
        let mut year = [year[0], Lot { clawed_back: Credits(30), unspent_gone: Some(Credits(30)), ..lot(60, 30) }];
        assert_eq!(take(&mut year, &half, 0), [0, 30], "of the next month its share was withheld");
    }

    #[test]
    fn a_share_that_goes_in_any_case_goes_beside_what_was_unspent() {
        let half = gone(&[(50, CreditsChoice::Unspent)]);
        let more = gone(&[(50, CreditsChoice::Unspent), (20, CreditsChoice::All)]);
        let mut lots = [lot(60, 25)];
        assert_eq!((take(&mut lots, &half, 0), take(&mut lots, &more, 0)), (vec![25], vec![37]));
        assert_eq!(take(&mut lots, &half, 0), [25], "the second refund failed");
        assert_eq!(take(&mut lots, &Gone::default(), 0), [0]);
    }

    #[test]
    fn credits_that_went_before_it_was_kept_why_neither_come_back_nor_go_twice() {
        let half = gone(&[(50, CreditsChoice::Unspent)]);
        let old = Lot { clawed_back: Credits(25), unspent_gone: None, ..lot(60, 0) };
        assert_eq!(take(&mut [old], &half, 0), [25]);
        assert_eq!(take(&mut [old], &gone(&[(50, CreditsChoice::All)]), 0), [30]);
    }

    #[test]
    fn what_was_taken_otherwise_leaves_less_to_take_and_the_rest_is_of_other_lots() {
        let half = gone(&[(50, CreditsChoice::All)]);
        assert_eq!(take(&mut [lot(60, 60), lot(60, 0)], &half, 60), [60, 0]);
        assert_eq!(take(&mut [lot(60, 60), lot(60, 30)], &half, 30), [30, 30]);
        assert_eq!(take(&mut [lot(60, 0)], &gone(&[(100, CreditsChoice::All)]), 60), [0]);
    }

    fn choices() -> impl Strategy<Value = CreditsChoice> {
        prop_oneof![Just(CreditsChoice::All), Just(CreditsChoice::Unspent), Just(CreditsChoice::None)]
    }

    proptest! {
        #[test]
        fn shares_are_the_share_of_all_and_repeating_changes_nothing(
            sizes in proptest::collection::vec((1..100_i64, 0..100_i64, 0..100_i64), 1..12),
            parts in proptest::collection::vec((0..60_i64, choices()), 0..4),
        ) {
            let gone = gone(&parts);
            let mut lots: Vec<Lot> = sizes.iter().map(|(granted, remaining, expired)| {
                let remaining = *remaining.min(granted);
                Lot { expired: Credits((*expired).min(granted - remaining)), ..lot(*granted, remaining) }
            }).collect();
            let granted: Vec<Credits> = lots.iter().map(|lot| lot.granted).collect();
            let all: Credits = granted.iter().copied().sum();
            prop_assert_eq!(shares(&granted, gone.counting(), PAID).into_iter().sum::<Credits>(), credits_gone(all, gone.counting(), PAID));
            let first = take(&mut lots, &gone, 0);
            prop_assert!(first.iter().zip(&granted).all(|(total, granted)| (0..=granted.0).contains(total)));
            prop_assert_eq!(take(&mut lots, &gone, 0), first);
        }

        #[test]
        fn what_comes_is_the_sum_of_what_comes_of_each_part(
            first in 0..200_i64, parts in proptest::collection::vec(1..200_i64, 0..12),
            goes in proptest::collection::vec((0..60_i64, choices()), 0..4),
        ) {
            let (gone, all) = (gone(&goes), Credits(parts.iter().sum()));
            let (mut before, mut coming) = (Credits(first), Credits::ZERO);
            for part in parts {
                coming += Credits(part) - withheld(before, Credits(part), &gone, PAID).0;
                before += Credits(part);
            }
            prop_assert_eq!(to_come(Credits(first), all, &gone, PAID), coming);
        }

        #[test]
        fn what_goes_only_if_it_is_unspent_makes_no_debt(
            sizes in proptest::collection::vec((1..100_i64, 0..100_i64), 1..12), percent in 0..=100_i64,
        ) {
            let mut lots: Vec<Lot> = sizes.iter().map(|(granted, left)| lot(*granted, *left.min(granted))).collect();
            let left: i64 = lots.iter().map(|lot| lot.remaining.0).sum();
            let goes: i64 = take(&mut lots, &gone(&[(percent, CreditsChoice::Unspent)]), 0).iter().sum();
            prop_assert!(goes <= left);
        }
    }
}
