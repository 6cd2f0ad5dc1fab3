//! The log against a model that remembers every use.

use super::super::EXCHANGES;
use super::*;
use proptest::collection::vec;
use proptest::{prop_assert, prop_assert_eq, proptest};

const HOUR_MS: i64 = 3_600_000;
/// A time of the year 2026.
const START_MS: i64 = 1_795_000_000_000;

fn granted(taken: Taken) -> Option<u32> {
    match taken {
        Taken::Share { units, .. } => Some(units),
        Taken::Denied { .. } => None,
    }
}

/// The most units within any window that begins with a use.
fn most_in_a_window(uses: &[(TimeMs, u32)], window_ms: i64) -> u32 {
    let within = |from_ms: TimeMs| {
        uses.iter().filter(|(at_ms, _)| (from_ms..from_ms + window_ms).contains(at_ms)).map(|(_, units)| units).sum()
    };
    uses.iter().map(|(at_ms, _)| within(*at_ms)).max().unwrap_or(0)
}

#[test]
fn five_hundred_an_hour_pass_and_the_next_one_when_the_first_is_an_hour_ago() {
    let mut log = SlidingLog::default();
    for n in 0..500 {
        assert!(granted(log.take(EXCHANGES, Asked::now(1), START_MS + n * 7_000)).is_some(), "{n}");
    }
    let now_ms = START_MS + 499 * 7_000;
    let Taken::Denied { retry_after_ms, left } = log.take(EXCHANGES, Asked::now(1), now_ms) else { panic!() };
    assert_eq!((retry_after_ms, left.units), (HOUR_MS - 499 * 7_000, 0));
    assert_eq!(left.full_after_ms, HOUR_MS);
    assert_eq!(granted(log.take(EXCHANGES, Asked::now(1), START_MS + HOUR_MS - 1)), None);
    assert_eq!(granted(log.take(EXCHANGES, Asked::now(1), START_MS + HOUR_MS)), Some(1));
    assert_eq!(granted(log.take(EXCHANGES, Asked::now(1), START_MS + HOUR_MS)), None);
}

#[test]
fn a_full_log_of_exchanges_takes_little_more_than_a_kilobyte() {
    let mut log = SlidingLog::default();
    for n in 0..500 {
        log.take(EXCHANGES, Asked::now(1), START_MS + n * 7_199);
    }
    assert!(log.encode().len() < 1_200, "{}", log.encode().len());
}

#[test]
fn a_log_of_a_large_limit_has_a_bounded_size() {
    let quota = Quota { units: 1_000_000, window_ms: 60_000 };
    let mut log = SlidingLog::default();
    for n in 0..20_000 {
        log.take(quota, Asked { needed: 3, wanted: 3, hold_ms: 6_000 }, START_MS + 5 * n);
    }
    assert!(log.counted.len() <= 600 && log.encode().len() < 3_000, "{} {}", log.counted.len(), log.encode().len());
}

#[test]
fn a_share_leaves_three_quarters_of_what_is_free_to_others() {
    let mut log = SlidingLog::default();
    let eager = Asked { needed: 1, wanted: u32::MAX, hold_ms: 1_000 };
    assert_eq!(granted(log.take(EXCHANGES, eager, START_MS)), Some(125));
    assert_eq!(granted(log.take(EXCHANGES, eager, START_MS)), Some(93));
    let last: Vec<_> = std::iter::from_fn(|| granted(log.take(EXCHANGES, eager, START_MS))).collect();
    assert_eq!(last.last(), Some(&1));
    assert_eq!(125 + 93 + last.iter().sum::<u32>(), 500);
}

#[test]
fn what_a_share_did_not_use_is_free_again_and_the_rest_counts_from_its_last_use() {
    let (quota, mut log) = (Quota { units: 10, window_ms: 1_000 }, SlidingLog::default());
    let Taken::Share { units, until_ms, .. } =
        log.take(quota, Asked { needed: 10, wanted: 10, hold_ms: 100 }, START_MS)
    else {
        panic!()
    };
    assert_eq!((units, until_ms), (10, START_MS + 100));
    assert_eq!(granted(log.take(quota, Asked::now(1), START_MS + 50)), None);
    log.settle(quota, Settlement { until_ms, units, used: 4, last_used_ms: START_MS + 20 });
    assert_eq!(log.look(quota, START_MS + 50).units, 6);
    assert_eq!(log.look(quota, START_MS + 1_019).units, 6);
    assert_eq!(log.look(quota, START_MS + 1_020).units, 10);
    // The share is gone: nothing more is freed.
    log.take(quota, Asked::now(3), START_MS + 1_020);
    log.settle(quota, Settlement { until_ms, units, used: 0, last_used_ms: 0 });
    assert_eq!(log.look(quota, START_MS + 1_020).units, 7);
}

#[test]
fn more_than_the_limit_takes_all_of_it() {
    let (quota, mut log) = (Quota { units: 5, window_ms: 1_000 }, SlidingLog::default());
    assert_eq!(granted(log.take(quota, Asked::now(9), START_MS)), Some(5));
    assert_eq!(granted(log.take(quota, Asked::now(9), START_MS + 999)), None);
    assert_eq!(granted(log.take(quota, Asked::now(9), START_MS + 1_000)), Some(5));
}

#[test]
fn a_clock_that_was_set_back_by_much_starves_nobody() {
    let (quota, mut log) = (Quota { units: 2, window_ms: 1_000 }, SlidingLog::default());
    log.take(quota, Asked::now(2), START_MS + HOUR_MS);
    assert_eq!(granted(log.take(quota, Asked::now(1), START_MS)), None, "what was just taken counts");
    assert_eq!(granted(log.take(quota, Asked::now(1), START_MS + 1_000)), Some(1));
    // By little: the log's clock waits.
    assert_eq!(granted(log.take(quota, Asked::now(1), START_MS + 500)), Some(1));
    assert_eq!(granted(log.take(quota, Asked::now(1), START_MS + 1_999)), None);
    assert_eq!(granted(log.take(quota, Asked::now(1), START_MS + 2_000)), Some(1));
}

proptest! {
    #[test]
    fn without_shares_it_admits_what_the_model_admits(
        units in 1_u32..20, window_ms in 1_i64..500,
        tries in vec((0_i64..60, 1_u32..5), 1..200),
    ) {
        let quota = Quota { units, window_ms };
        let (mut log, mut model, mut now_ms) = (SlidingLog::default(), Vec::<(TimeMs, u32)>::new(), START_MS);
        for (wait_ms, asked) in tries {
            now_ms += wait_ms;
            let needed = asked.min(units);
            let within = model.iter().filter(|(at_ms, _)| *at_ms > now_ms - window_ms);
            let fits = within.map(|(_, units)| units).sum::<u32>() + needed <= units;
            let before = log.clone();
            let taken = log.take(quota, Asked::now(asked), now_ms);
            prop_assert_eq!(granted(taken), fits.then_some(needed));
            if let Taken::Denied { retry_after_ms, .. } = taken {
                let at = |ms| granted(before.clone().take(quota, Asked::now(asked), now_ms + ms));
                prop_assert_eq!((at(retry_after_ms - 1), at(retry_after_ms)), (None, Some(needed)));
            }
            if fits {
                model.push((now_ms, needed));
            }
            log = SlidingLog::decode(&log.encode()).unwrap();
        }
    }

    #[test]
    fn shares_of_three_nodes_are_never_over_and_never_starved(
        units in 1_u32..3_000, window_ms in 50_i64..2_000, hold_ms in 0_i64..200,
        tries in vec((0_i64..30, 0_usize..3, 1_u32..50, 0_u32..3), 1..200),
    ) {
        let quota = Quota { units, window_ms };
        let (mut log, mut now_ms, mut uses) = (SlidingLog::default(), START_MS, Vec::new());
        let mut shares: [Option<Settlement>; 3] = [None; 3];
        for (wait_ms, node, wanted, what) in tries {
            now_ms += wait_ms;
            let used_up = |share: &Settlement| share.used == share.units || share.until_ms < now_ms;
            if (what == 0 || shares[node].as_ref().is_some_and(used_up))
                && let Some(share) = shares[node].take()
            {
                log.settle(quota, share);
            }
            if shares[node].is_none() {
                match log.take(quota, Asked { needed: 1, wanted, hold_ms }, now_ms) {
                    Taken::Share { units, until_ms, .. } => {
                        shares[node] = Some(Settlement { until_ms, units, used: 0, last_used_ms: now_ms });
                    }
                    Taken::Denied { .. } => {
                        // What counts was used within a window, a hold and two roundings, or is a share of some node.
                        let since_ms = now_ms - window_ms - hold_ms - 2 * quota.step_ms();
                        let used = uses.iter().filter(|(at_ms, _)| *at_ms >= since_ms).map(|(_, units)| units);
                        let idle = shares.iter().flatten().map(|share| share.units - share.used);
                        prop_assert!(used.sum::<u32>() + idle.sum::<u32>() >= units);
                    }
                }
            }
            if let Some(share) = &mut shares[node] {
                let using = if what == 2 { share.units - share.used } else { 1 };
                share.used += using;
                share.last_used_ms = now_ms;
                uses.push((now_ms, using));
            }
            prop_assert!(log.counted.is_sorted_by_key(|counted| counted.at_ms));
        }
        prop_assert!(most_in_a_window(&uses, window_ms) <= units);
    }

    #[test]
    fn what_is_given_back_is_free_and_no_more(
        units in 1_u32..50, taken in vec((0_i64..50, 1_u32..10), 1..40), back in 0_u32..60,
    ) {
        let quota = Quota { units, window_ms: 1_000 };
        let (mut log, mut now_ms) = (SlidingLog::default(), START_MS);
        for (wait_ms, units) in taken {
            now_ms += wait_ms;
            log.take(quota, Asked::now(units), now_ms);
        }
        let before = log.look(quota, now_ms).units;
        log.give_back(back);
        prop_assert_eq!(log.look(quota, now_ms).units, (before + back).min(units));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(proptest::num::u8::ANY, 0..60), now_ms in proptest::num::i64::ANY) {
        if let Ok(mut log) = SlidingLog::decode(&bytes) {
            log.take(EXCHANGES, Asked::now(1), now_ms);
            log.encode();
        }
    }
}
