//! Credits that are away: clawed back of a grant and not returned since. When they come back, and when they end then.

use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::ledger::{Entry, EntryKind, GrantKind};

/// Credits that one claw back took from one grant, and that have not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away {
    /// Their number.
    credits: Credits,
    /// Their kind.
    kind: GrantKind,
    /// The grant that they are of, if it is another than the one whose payment took them.
    of: Option<i64>,
    /// Whether they had been spent before, and are a debt that nothing has paid.
    is_owed: bool,
    /// When they were taken.
    taken_at_ms: TimeMs,
    /// When their grant was made.
    granted_at_ms: TimeMs,
    /// When they would have ended.
    ended_at_ms: Option<TimeMs>,
}

impl Away {
    /// Credits that were taken from one grant (`from`) for the payment of a grant.
    fn new(credits: Credits, taken_at_ms: TimeMs, from: &Entry, grant: &Entry) -> Self {
        Self {
            credits,
            kind: from.detail.grant_kind.unwrap_or(GrantKind::Purchased),
            of: Some(from.origin()).filter(|origin| *origin != grant.seq),
            is_owed: false,
            taken_at_ms,
            granted_at_ms: from.created_at_ms,
            ended_at_ms: from.detail.expires_at_ms,
        }
    }

    /// Which come back before which: the lower ones first.
    fn turn(&self) -> u8 {
        match self {
            Self { is_owed: true, .. } => 0,
            Self { of: Some(_), .. } => 1,
            Self { of: None, .. } => 2,
        }
    }

    /// When the credits end if they come back now.
    ///
    /// That is when they would have ended anyway. If this time is past, they get the time that they lacked: from the
    /// moment when they were taken to their end, because nobody could use them meanwhile. If their grant was over
    /// before that moment, nothing was left of it, and other credits have made up for it since, whose entries may not say
    /// so because they are of an earlier release: they get the time of the whole grant.
    fn ends_at_ms(&self, now_ms: TimeMs) -> Option<TimeMs> {
        let ended_at_ms = self.ended_at_ms?;
        if ended_at_ms > now_ms {
            return Some(ended_at_ms);
        }
        let from_ms = if self.taken_at_ms < ended_at_ms { self.taken_at_ms } else { self.granted_at_ms };
        let lacked_ms = ended_at_ms.saturating_sub(from_ms);
        (lacked_ms > 0).then(|| now_ms.saturating_add(lacked_ms))
    }
}

/// The credits of a grant that are away, in the order in which they come back. Of those alike, what was taken first comes
/// first.
///
/// A claw back takes what is left of the grant, then credits of others, then it makes a debt. They come back in the
/// opposite order: whoever gets a part of the money back owes nobody anything before it has credits of its own, which
/// might go with another part of the money. Credits of others return as what they were: of their own grant, with its end.
/// Those that became a debt had been spent before, and return with the end of the grant, unless the debt was written off:
/// then they do not return. If credits of another grant paid the debt since, those return. Credits that were withheld from
/// the grant were never there, and come with its own.
///
/// `moved` are the entries that took credits of the grant back, paid the debt that this made, or returned credits, in
/// their order. `burned` are the entries of the other grants that the claw backs burned; one that is missing counts as
/// the grant itself.
pub fn away(grant: &Entry, moved: &[Entry], burned: &[Entry]) -> Vec<Away> {
    let mut away = vec![Away::new(grant.detail.withheld, grant.created_at_ms, grant, grant)];
    for entry in moved {
        let is_own = entry.detail.grant == Some(grant.seq);
        match entry.kind {
            EntryKind::ClawBack if is_own => away.extend(taken(grant, entry, burned)),
            EntryKind::Grant if is_own => {
                give_back(&mut away, entry.amount, |_| true);
            }
            EntryKind::Grant => {
                let paid = give_back(&mut away, entry.paid_for(grant.seq), |part| part.is_owed);
                away.push(Away::new(paid, entry.created_at_ms, entry, grant));
            }
            EntryKind::Terms if is_own => {
                let forgiven = entry.detail.forgiven.iter().map(|burn| burn.credits).sum();
                let owed = give_back(&mut away, forgiven, |part| part.is_owed);
                give_back(&mut away, forgiven - owed, |_| true);
            }
            _ => {}
        }
        away.retain(|part| part.credits > Credits::ZERO);
        away.sort_by_key(Away::turn);
    }
    away.retain(|part| part.credits > Credits::ZERO);
    away
}

/// What one claw back took.
fn taken(grant: &Entry, claw_back: &Entry, burned: &[Entry]) -> Vec<Away> {
    let part = |credits, from| Away::new(credits, claw_back.created_at_ms, from, grant);
    let burned_all: Credits = claw_back.detail.burned.iter().map(|burn| burn.credits).sum();
    let mut parts: Vec<Away> = claw_back
        .detail
        .burned
        .iter()
        .map(|burn| part(burn.credits, burned.iter().find(|entry| entry.seq == burn.grant).unwrap_or(grant)))
        .collect();
    parts.push(Away { is_owed: true, ..part(-claw_back.amount - burned_all, grant) });
    parts
}

/// Lessens parts that are away by so many credits, if they are of these. Returns by how many.
fn give_back(away: &mut [Away], credits: Credits, is_one: impl Fn(&Away) -> bool) -> Credits {
    let mut left = credits;
    for part in away.iter_mut().filter(|part| is_one(part)) {
        let returned = part.credits.min(left);
        part.credits -= returned;
        left -= returned;
    }
    credits - left
}

/// Credits that come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Back {
    /// Their number.
    pub credits: Credits,
    /// Their kind.
    pub kind: GrantKind,
    /// The grant that they are of, if it is another than the one whose payment took them.
    pub of: Option<i64>,
    /// When they end.
    pub ends_at_ms: Option<TimeMs>,
}

/// The credits that come back next, at most this many. Of a grant whose claw backs are not known, all come back as if
/// they had just been taken.
pub(super) fn next_back(grant: &Entry, away: &[Away], at_most: Credits, now_ms: TimeMs) -> Back {
    let unknown = [Away::new(at_most, now_ms, grant, grant)];
    let away = if away.is_empty() { &unknown[..] } else { away };
    let Away { kind, of, .. } = away[0];
    let ends_at_ms = away[0].ends_at_ms(now_ms);
    let alike = away.iter().take_while(|part| part.of == of && part.ends_at_ms(now_ms) == ends_at_ms);
    let credits: Credits = alike.map(|part| part.credits).sum();
    Back { credits: credits.min(at_most), kind, of, ends_at_ms }
}

#[cfg(test)]
mod tests;
