//! What was set about a customer's charges, and when: spend caps and automatic top-ups.
//!
//! A setting comes into force at some time between its request and its answer, and one without a clear answer perhaps
//! never. So of a moment, or of a span of time, it is known which settings may have been in force.

use crate::chaos::caller::DefiniteAnswer;

/// Who set a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapSide {
    /// The customer.
    Own,
    /// Support, in place of the plan's.
    Support,
}

/// The terms of automatic top-ups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopUpTerms {
    /// Whether they are on.
    pub is_on: bool,
    /// Below this number of available credits, some are bought.
    pub threshold: i64,
    /// So many that at least this number is available.
    pub target: i64,
    /// The pack that is bought.
    pub pack: Option<&'static str>,
    /// The most that they may cost in a month, in minor units.
    pub month_cap: Option<i64>,
}

/// A setting, with the time in which it came into force.
#[derive(Debug, Clone, Copy)]
struct Setting<T> {
    value: T,
    asked_ms: i64,
    answered_ms: i64,
    /// Whether it is in force for sure once it was answered.
    is_certain: bool,
}

/// What was set about a customer's charges.
#[derive(Debug, Default)]
pub struct Limits {
    own: Vec<Setting<Caps>>,
    support: Vec<Setting<Caps>>,
    top_ups: Vec<Setting<TopUpTerms>>,
}

/// Caps of a day and of a month, in minor units; `None` for no cap.
pub type Caps = (Option<i64>, Option<i64>);

impl Limits {
    /// Records spend caps that were asked for and answered at these times.
    pub fn add_caps(&mut self, side: CapSide, caps: Caps, times: (i64, i64), answer: Option<&DefiniteAnswer>) {
        let settings = match side {
            CapSide::Own => &mut self.own,
            CapSide::Support => &mut self.support,
        };
        settings.extend(setting(caps, times, answer));
    }

    /// Records terms of automatic top-ups that were asked for and answered at these times.
    pub fn add_top_up(&mut self, terms: TopUpTerms, times: (i64, i64), answer: Option<&DefiniteAnswer>) {
        self.top_ups.extend(setting(terms, times, answer));
    }

    /// Whether automatic top-ups may ever have been set.
    pub fn has_top_ups(&self) -> bool {
        !self.top_ups.is_empty()
    }

    /// The spend caps of one side that may have been in force at a time from `from_ms` to `until_ms`.
    pub fn caps_between(&self, side: CapSide, from_ms: i64, until_ms: i64) -> Vec<Caps> {
        let settings = match side {
            CapSide::Own => &self.own,
            CapSide::Support => &self.support,
        };
        let caps = between(settings, from_ms, until_ms);
        caps.into_iter().map(|caps| caps.unwrap_or((None, None))).collect()
    }

    /// The terms of automatic top-ups that may have been in force at a time from `from_ms` to `until_ms`; `None` is
    /// nothing.
    pub fn top_ups_between(&self, from_ms: i64, until_ms: i64) -> Vec<Option<TopUpTerms>> {
        between(&self.top_ups, from_ms, until_ms)
    }
}

/// The setting of a request; `None` if it was refused for sure.
fn setting<T>(value: T, (asked_ms, answered_ms): (i64, i64), answer: Option<&DefiniteAnswer>) -> Option<Setting<T>> {
    let is_certain = answer.is_some_and(DefiniteAnswer::is_success);
    let is_possible = answer.is_none_or(|answer| answer.is_success() || answer.in_doubt);
    is_possible.then_some(Setting { value, asked_ms, answered_ms, is_certain })
}

/// The settings that may have been in force at a time: those asked for before its end, unless another one that was
/// asked for after their answer was in force at its beginning. `None`, the beginning, if none was in force for sure.
fn between<T: Copy>(settings: &[Setting<T>], from_ms: i64, until_ms: i64) -> Vec<Option<T>> {
    let is_in_force = |setting: &Setting<T>| setting.is_certain && setting.answered_ms <= from_ms;
    let is_replaced = |old: &Setting<T>| settings.iter().any(|new| is_in_force(new) && new.asked_ms > old.answered_ms);
    let may_be = settings.iter().filter(|setting| setting.asked_ms <= until_ms && !is_replaced(setting));
    let nothing = (!settings.iter().any(is_in_force)).then_some(None);
    may_be.map(|setting| Some(setting.value)).chain(nothing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn answer(status: u16, in_doubt: bool) -> DefiniteAnswer {
        DefiniteAnswer { status, body: Value::Null, in_doubt }
    }

    /// The monthly caps of the customer that may have been in force.
    fn months(limits: &Limits, from_ms: i64, until_ms: i64) -> Vec<Option<i64>> {
        limits.caps_between(CapSide::Own, from_ms, until_ms).into_iter().map(|caps| caps.1).collect()
    }

    #[test]
    fn a_setting_may_be_in_force_from_its_request_until_another_one_is_answered() {
        let mut limits = Limits::default();
        limits.add_caps(CapSide::Own, (None, Some(1)), (10, 20), Some(&answer(200, false)));
        limits.add_caps(CapSide::Own, (None, Some(2)), (30, 40), Some(&answer(200, true)));
        assert_eq!(months(&limits, 0, 9), [None]);
        assert_eq!(months(&limits, 5, 15), [Some(1), None]);
        assert_eq!(months(&limits, 20, 29), [Some(1)]);
        assert_eq!(months(&limits, 25, 35), [Some(1), Some(2)]);
        assert_eq!(months(&limits, 40, 99), [Some(2)]);
    }

    #[test]
    fn a_refused_setting_is_never_in_force_and_one_in_doubt_perhaps() {
        let mut limits = Limits::default();
        limits.add_caps(CapSide::Own, (None, Some(1)), (10, 20), Some(&answer(400, false)));
        assert_eq!(months(&limits, 20, 99), [None]);
        limits.add_caps(CapSide::Own, (None, Some(2)), (30, 40), Some(&answer(400, true)));
        limits.add_caps(CapSide::Own, (None, Some(3)), (50, 60), None);
        assert_eq!(months(&limits, 70, 99), [Some(2), Some(3), None]);
    }

    #[test]
    fn settings_that_were_asked_for_at_once_may_both_be_in_force() {
        let mut limits = Limits::default();
        limits.add_caps(CapSide::Own, (None, Some(1)), (10, 25), Some(&answer(200, false)));
        limits.add_caps(CapSide::Own, (None, Some(2)), (15, 20), Some(&answer(200, false)));
        assert_eq!(months(&limits, 30, 99), [Some(1), Some(2)]);
    }
}
