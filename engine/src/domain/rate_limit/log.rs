//! The sliding log: what was taken within the last window, for limits too large for one time each in text.
//!
//! A process may take a *share*: units that it uses within a short time without asking again. The log counts a share at
//! the end of that time, so each use is at or before the time that is counted, and at or after the time of the take.
//! From that alone follows the bound: in a window `[a, a + w)` let the share that was taken last be taken at `c`. All
//! other uses in the window are counted at `a` or later, and `a > c - w`, so the take at `c` counted them. A process
//! that says when it last used its share, and how much of it, moves it to that time, so that little is held too long.
//!
//! The log has a clock of its own that never goes back: a take is at the time of the one before, or later. Nodes share
//! the database's clock up to a round trip, so that is how exact a window is.

use super::Quota;
use crate::clock::TimeMs;
use crate::error::{Error, Result};

/// The most steps of a window. Limits of more units count in such steps, rounded up, so that a log has a bounded size:
/// a unit is held by up to a step too long. Others count in milliseconds.
pub const STEPS_MAX: u32 = 512;
/// A clock that was set back by more than this takes the log with it. By less, the log's clock waits.
const SET_BACK_MS: i64 = 60_000;
/// One part of what is free goes to a share beyond what is needed now, so that other nodes find the rest.
const SHARE_DIVISOR: u32 = 4;
/// The version of the form in which a log is stored.
const FORM: u8 = 1;

/// Units that count until a window after their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    at_ms: TimeMs,
    units: u32,
}

/// The log of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlidingLog {
    clock_ms: TimeMs,
    /// By time.
    counted: Vec<Counted>,
}

/// What is asked of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Units without which the asker is denied.
    pub needed: u32,
    /// Units that the asker expects to use within `hold_ms`.
    pub wanted: u32,
    /// For how long what is taken may be used, in milliseconds; 0: now.
    pub hold_ms: i64,
}

impl Asked {
    /// Units for now.
    pub fn now(units: u32) -> Self {
        Self { needed: units, wanted: units, hold_ms: 0 }
    }
}

/// The answer of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Units are taken.
    Share {
        /// How many: at least what was needed.
        units: u32,
        /// Until when they may be used; also the time at which the log counts them.
        until_ms: TimeMs,
        /// What is left.
        left: Left,
    },
    /// Nothing is taken.
    Denied {
        /// When what was needed is free if nobody else takes it, in milliseconds.
        retry_after_ms: i64,
        /// What is left.
        left: Left,
    },
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Units that are free.
    pub units: u32,
    /// When all units are free if nobody takes any, in milliseconds.
    pub full_after_ms: i64,
}

/// What became of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// The share's end, as the log said it.
    pub until_ms: TimeMs,
    /// Its units.
    pub units: u32,
    /// How many were used.
    pub used: u32,
    /// When the last one was used.
    pub last_used_ms: TimeMs,
}

impl SlidingLog {
    /// Takes units if there are enough. More than the whole limit counts as the whole limit.
    pub fn take(&mut self, quota: Quota, asked: Asked, now_ms: TimeMs) -> Taken {
        let now_ms = self.advance(quota, now_ms);
        let needed = asked.needed.clamp(1, quota.units.max(1));
        let free = quota.units.saturating_sub(self.sum());
        if needed > free {
            let retry_after_ms = self.freed_after_ms(quota, needed - free, now_ms);
            return Taken::Denied { retry_after_ms, left: self.left(quota, now_ms) };
        }
        let units = asked.wanted.min(free / SHARE_DIVISOR).max(needed);
        let until_ms = round_up(now_ms.saturating_add(asked.hold_ms.max(0)), quota);
        self.add(until_ms, units);
        Taken::Share { units, until_ms, left: self.left(quota, now_ms) }
    }

    /// What is left.
    pub fn look(&mut self, quota: Quota, now_ms: TimeMs) -> Left {
        let now_ms = self.advance(quota, now_ms);
        self.left(quota, now_ms)
    }

    /// Counts what was used of a share at the time of its last use, and frees the rest. Without such a share nothing
    /// changes: its window is over.
    pub fn settle(&mut self, quota: Quota, share: Settlement) {
        let Some(counted) = self.counted.iter_mut().find(|counted| counted.at_ms == share.until_ms) else { return };
        let moved = counted.units.min(share.units);
        counted.units -= moved;
        self.counted.retain(|counted| counted.units > 0);
        let used = share.used.min(moved);
        if used > 0 {
            self.add(round_up(share.last_used_ms, quota).min(share.until_ms), used);
        }
    }

    /// Frees units that were used before, the oldest first, so that nothing is free sooner than it would be if the
    /// units that are given back had never been taken.
    pub fn give_back(&mut self, mut units: u32) {
        for counted in &mut self.counted {
            let freed = counted.units.min(units);
            counted.units -= freed;
            units -= freed;
        }
        self.counted.retain(|counted| counted.units > 0);
    }

    /// When the log can be deleted.
    pub fn ends_at_ms(&self, quota: Quota) -> TimeMs {
        self.counted.last().map_or(self.clock_ms, |last| last.at_ms).saturating_add(quota.window_ms)
    }

    /// Moves the log's clock on, forgets what no longer counts, and returns the time.
    fn advance(&mut self, quota: Quota, now_ms: TimeMs) -> TimeMs {
        let ahead_ms = self.clock_ms.saturating_sub(now_ms);
        if ahead_ms > SET_BACK_MS {
            self.counted.iter_mut().for_each(|counted| counted.at_ms = counted.at_ms.saturating_sub(ahead_ms));
            self.clock_ms = now_ms;
        }
        self.clock_ms = self.clock_ms.max(now_ms);
        let over_ms = self.clock_ms.saturating_sub(quota.window_ms);
        self.counted.retain(|counted| counted.at_ms > over_ms);
        self.clock_ms
    }

    fn sum(&self) -> u32 {
        self.counted.iter().fold(0, |sum, counted| sum.saturating_add(counted.units))
    }

    fn left(&self, quota: Quota, now_ms: TimeMs) -> Left {
        let last =
            self.counted.last().map_or(0, |last| last.at_ms.saturating_add(quota.window_ms).saturating_sub(now_ms));
        Left { units: quota.units.saturating_sub(self.sum()), full_after_ms: last.max(0) }
    }

    /// After how long so many units no longer count.
    fn freed_after_ms(&self, quota: Quota, units: u32, now_ms: TimeMs) -> i64 {
        let mut freed = 0_u32;
        let last = self.counted.iter().find(|counted| {
            freed = freed.saturating_add(counted.units);
            freed >= units
        });
        last.map_or(quota.window_ms, |last| last.at_ms.saturating_add(quota.window_ms).saturating_sub(now_ms)).max(1)
    }

    fn add(&mut self, at_ms: TimeMs, units: u32) {
        let place = self.counted.partition_point(|counted| counted.at_ms < at_ms);
        match self.counted.get_mut(place) {
            Some(same) if same.at_ms == at_ms => same.units = same.units.saturating_add(units),
            _ => self.counted.insert(place, Counted { at_ms, units }),
        }
    }

    /// The form in which it is stored: times as differences, in as few bytes as each takes. 500 single units spread
    /// over an hour take about 1.1 KB.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORM];
        write_number(&mut bytes, self.clock_ms.max(0).unsigned_abs());
        let mut before_ms = 0;
        for counted in &self.counted {
            let at_ms = counted.at_ms.max(before_ms);
            let difference = (at_ms - before_ms).unsigned_abs();
            before_ms = at_ms;
            // Most are single units: the lowest bit says so.
            write_number(&mut bytes, difference << 1 | u64::from(counted.units != 1));
            if counted.units != 1 {
                write_number(&mut bytes, u64::from(counted.units));
            }
        }
        bytes
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if nobody here wrote it.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        read_log(bytes).ok_or_else(|| Error::Corrupt("a rate limit's log cannot be read".to_owned()))
    }
}

fn read_log(bytes: &[u8]) -> Option<SlidingLog> {
    let (form, mut rest) = bytes.split_first()?;
    if *form != FORM {
        return None;
    }
    let mut log = SlidingLog { clock_ms: i64::try_from(read_number(&mut rest)?).ok()?, counted: Vec::new() };
    let mut at_ms = 0_i64;
    while !rest.is_empty() {
        let number = read_number(&mut rest)?;
        at_ms = at_ms.checked_add(i64::try_from(number >> 1).ok()?)?;
        let units = if number & 1 == 0 { 1 } else { u32::try_from(read_number(&mut rest)?).ok()? };
        log.counted.push(Counted { at_ms, units });
    }
    Some(log)
}

/// Rounds a time up to a step of the limit.
fn round_up(at_ms: TimeMs, quota: Quota) -> TimeMs {
    let step_ms = quota.step_ms();
    at_ms.saturating_add((step_ms - at_ms.rem_euclid(step_ms)) % step_ms)
}

/// Writes seven bits a byte, the lowest first; the highest bit says that more follow (LEB128).
fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(first & 0x7f);
        if (part << shift) >> shift != part {
            return None;
        }
        number |= part << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests;
