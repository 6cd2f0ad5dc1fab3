//! How long a card that was declined is left alone.

use crate::clock::TimeMs;

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// The waits after the first, second and third decline in a row. After one more, only another card is charged.
const WAITS_MS: [i64; 3] = [HOUR_MS, 4 * HOUR_MS, 24 * HOUR_MS];

/// The most charges of a card that the rule looks at.
pub const PAST_CHARGES_MAX: usize = WAITS_MS.len() + 1;

/// A charge of a card that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastCharge {
    /// Whether the card was declined; it paid otherwise.
    pub was_declined: bool,
    /// What the card's network advised.
    pub advice_code: Option<String>,
    /// When it ended.
    pub ended_at_ms: TimeMs,
}

/// Why a card is not charged now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// It is charged again from this time on.
    Until(TimeMs),
    /// It is not charged again before it changes.
    NewCard,
}

/// The pause of a card, by its past charges with the latest first; `None` if it may be charged.
///
/// Each decline in a row makes the wait longer: one hour, four, a day; after the fourth the card has to change. The
/// network's advice goes first. Source: Stripe, "Card declines", `advice_code`: after `do_not_try_again` and
/// `confirm_card_data` another try with the same data fails.
pub fn pause(past: &[PastCharge], now_ms: TimeMs) -> Option<Pause> {
    let declines: Vec<&PastCharge> = past.iter().take_while(|charge| charge.was_declined).collect();
    let last = declines.first()?;
    let is_final =
        |charge: &&PastCharge| matches!(charge.advice_code.as_deref(), Some("do_not_try_again" | "confirm_card_data"));
    if declines.iter().any(is_final) {
        return Some(Pause::NewCard);
    }
    let Some(wait_ms) = WAITS_MS.get(declines.len() - 1) else { return Some(Pause::NewCard) };
    let until_ms = last.ended_at_ms + wait_ms;
    (now_ms < until_ms).then_some(Pause::Until(until_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_MS: TimeMs = 1_000_000;

    fn ended(was_declined: bool, advice: Option<&str>, ended_at_ms: TimeMs) -> PastCharge {
        PastCharge { was_declined, advice_code: advice.map(str::to_owned), ended_at_ms }
    }

    /// Charges of a card, the latest first: `d` a decline, `p` a payment. The latest ended at `AT_MS`.
    fn past(text: &str, advice: Option<&str>) -> Vec<PastCharge> {
        let charge = |(at, c): (i64, char)| ended(c == 'd', advice.filter(|_| c == 'd'), AT_MS - at);
        (0..).zip(text.chars()).map(charge).collect()
    }

    #[test]
    fn declines_slow_a_card_down_and_then_stop_it() {
        let until = |hours: i64| Some(Pause::Until(AT_MS + hours * HOUR_MS));
        for (text, advice, expected) in [
            ("", None, None),
            ("p", None, None),
            ("d", None, until(1)),
            ("dd", None, until(4)),
            ("ddd", None, until(24)),
            ("dddd", None, Some(Pause::NewCard)),
            ("pddd", None, None),
            ("dpdd", None, until(1)),
            ("d", Some("try_again_later"), until(1)),
            ("dd", Some("try_again_later"), until(4)),
            ("d", Some("do_not_try_again"), Some(Pause::NewCard)),
            ("d", Some("confirm_card_data"), Some(Pause::NewCard)),
            ("d", Some("advice_of_the_future"), until(1)),
            ("pd", Some("do_not_try_again"), None),
        ] {
            assert_eq!(pause(&past(text, advice), AT_MS), expected, "{text} {advice:?}");
        }
    }

    #[test]
    fn a_pause_ends_at_its_time_and_advice_does_not_run_out() {
        assert_eq!(pause(&past("d", None), AT_MS + HOUR_MS - 1), Some(Pause::Until(AT_MS + HOUR_MS)));
        assert_eq!(pause(&past("d", None), AT_MS + HOUR_MS), None);
        let year_ms = 365 * 24 * HOUR_MS;
        assert_eq!(pause(&past("d", Some("do_not_try_again")), AT_MS + year_ms), Some(Pause::NewCard));
        assert_eq!(pause(&past("dddd", None), AT_MS + year_ms), Some(Pause::NewCard));
    }

    #[test]
    fn the_advice_of_any_decline_in_a_row_counts() {
        let mixed = [ended(true, None, AT_MS), ended(true, Some("do_not_try_again"), AT_MS - HOUR_MS)];
        assert_eq!(pause(&mixed, AT_MS + 100 * HOUR_MS), Some(Pause::NewCard));
    }
}
