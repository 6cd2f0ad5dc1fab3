//! Commands made of bytes.

use bursar_engine::amount::{Credits, UNITS_MAX};
use bursar_engine::domain::ledger::{Account, Command, Entry, EntryKind, GrantKind, Op, PartGrant, Spend};
use bursar_engine::ids::HoldId;

/// The time before the first command.
const BEGINNING_MS: i64 = 1_700_000_000_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Maximum number of commands of one input.
const COMMANDS_MAX: usize = 300;
const KINDS: [GrantKind; 4] =
    [GrantKind::Promotional, GrantKind::Adjustment, GrantKind::Included, GrantKind::Purchased];

/// Reads commands from bytes, and remembers the grants and holds that were made, so that later ones can name them.
pub(super) struct Commands<'a> {
    bytes: std::slice::Iter<'a, u8>,
    count: usize,
    now_ms: i64,
    grants: Vec<Entry>,
    holds: Vec<HoldId>,
}

impl<'a> Commands<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { bytes: data.iter(), count: 0, now_ms: BEGINNING_MS, grants: Vec::new(), holds: Vec::new() }
    }

    /// The next command, with its moment. `None` at the end.
    pub(super) fn next(&mut self, account: &Account) -> Option<(Command, i64)> {
        self.count += 1;
        if self.count > COMMANDS_MAX {
            return None;
        }
        let op = self.byte()?;
        let wait_ms = self.wait_ms()?;
        self.now_ms += wait_ms;
        let op = self.op(op, account)?;
        let key = Some(format!("key:{}", self.count));
        let command =
            Command { source: "fuzz".to_owned(), idempotency_key: key, ..Command { op, ..Command::settle() } };
        Some((command, self.now_ms))
    }

    /// Remembers what a command made.
    pub(super) fn learn(&mut self, entries: &[Entry]) {
        for entry in entries {
            match entry.kind {
                EntryKind::Grant => self.grants.push(entry.clone()),
                EntryKind::Hold => self.holds.extend(entry.hold_id.clone()),
                _ => {}
            }
        }
    }

    fn op(&mut self, op: u8, account: &Account) -> Option<Op> {
        let reason = "because".to_owned();
        Some(match op % 18 {
            0 => Op::Grant { kind: self.kind()?, amount: self.amount()?, expires_at_ms: self.end()? },
            1 => Op::Debit { amount: self.amount()? },
            2 => {
                Op::Hold { id: self.new_hold(), amount: self.amount()?, expires_at_ms: self.end()?.unwrap_or(i64::MAX) }
            }
            3 => Op::Capture { id: self.hold()?, amount: self.amount_or_all()? },
            4 => Op::Release { id: self.hold()? },
            5 => Op::Adjust { amount: self.amount()?, reason, expires_at_ms: self.end()? },
            6 => Op::Reserve {
                id: self.new_hold(),
                amount: self.amount()?,
                expires_at_ms: self.now_ms.saturating_add(30 * DAY_MS),
            },
            7 => Op::Unreserve { id: self.hold()? },
            8 => self.purchase()?,
            9 => {
                let (total, unspent) = (self.part()?, self.part()?);
                let grant = self.grant()?;
                let unspent_before = account.clawed_back(grant.seq).min(unspent);
                let is_returned = |other: &&Entry| other.origin() == grant.seq && other.seq != grant.seq;
                let returned = self.grants.iter().filter(is_returned).map(|other| other.seq).collect();
                Op::ClawBack { grant: grant.seq, granted: grant.granted(), returned, total, unspent, unspent_before }
            }
            10 => Op::TakeBack { amount: self.amount()?, of: self.some_grants()? },
            11 => Op::Exchange {
                amount: self.amount()?,
                expires_at_ms: self.end()?,
                taken: self.amount()?,
                of: self.some_grants()?,
            },
            12 => {
                let (total, unspent, expires_at_ms) = (self.part()?, self.part()?, self.end()?);
                let (grant, other) = (self.grant()?, self.grant()?);
                let kind = other.detail.grant_kind.unwrap_or(GrantKind::Adjustment);
                let of = Some(other.origin()).filter(|of| *of != grant.seq);
                Op::Reinstate { grant: grant.seq, kind, total, unspent, of, expires_at_ms }
            }
            13 => Op::WriteOff { reason },
            14 => Op::SetLimit { limit: self.amount()?, reason },
            15 => Op::SetSuspended { suspended: self.byte()? % 2 == 1, reason },
            16 => {
                let (amount, withheld) = (self.amount()?, self.part()?);
                let unspent = self.part()?.min(withheld);
                Op::GrantPart(PartGrant { amount, withheld, unspent, expires_at_ms: self.end()? })
            }
            _ => Op::Settle,
        })
    }

    fn purchase(&mut self) -> Option<Op> {
        let (amount, expires_at_ms) = (self.amount()?, self.end()?);
        let flags = self.byte()?;
        let reserved = if flags & 1 == 1 { Some(self.hold()?) } else { None };
        let hold = (flags & 4 == 4).then(|| (self.new_hold(), self.now_ms.saturating_add(DAY_MS)));
        let spend = if flags & 2 == 2 { Some(self.spend(hold)?) } else { None };
        Some(Op::Purchase { amount, expires_at_ms, reserved, spend })
    }

    fn spend(&mut self, hold: Option<(HoldId, i64)>) -> Option<Box<Spend>> {
        Some(Box::new(Spend {
            amount: self.amount()?,
            hold,
            source: "usage".to_owned(),
            reference: None,
            idempotency_key: format!("spend:{}", self.count),
            request_hash: None,
            metadata: None,
        }))
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes.next().copied()
    }

    /// Milliseconds, hours or days; sometimes a clock that was set back.
    fn wait_ms(&mut self) -> Option<i64> {
        let byte = i64::from(self.byte()?);
        Some(match byte {
            0..200 => byte,
            200..220 => (byte - 199) * DAY_MS / 24,
            220..240 => (byte - 219) * 30 * DAY_MS,
            _ => 239 - byte,
        })
    }

    /// When credits or a hold expire: never, soon, late, in the past, at the ends of time.
    fn end(&mut self) -> Option<Option<i64>> {
        let byte = self.byte()?;
        Some(match byte {
            0..50 => None,
            50..200 => Some(self.now_ms + i64::from(byte) - 60),
            200..240 => Some(self.now_ms + (i64::from(byte) - 199) * 30 * DAY_MS),
            240..246 => Some(i64::MAX),
            246..250 => Some(i64::MAX - 1),
            250..253 => Some(0),
            _ => Some(i64::MIN),
        })
    }

    /// An amount that a caller may ask for.
    fn amount(&mut self) -> Option<Credits> {
        const LARGE: [Credits; 8] = [
            UNITS_MAX,
            Credits(UNITS_MAX.0 - 1),
            Credits(UNITS_MAX.0 + 1),
            Credits(-UNITS_MAX.0),
            Credits(500_000),
            Credits(10_000),
            Credits(i64::MAX),
            Credits(i64::MIN),
        ];
        let byte = self.byte()?;
        let small = Credits(i64::from(byte) - 16);
        Some(byte.checked_sub(248).and_then(|at| LARGE.get(usize::from(at))).copied().unwrap_or(small))
    }

    fn amount_or_all(&mut self) -> Option<Option<Credits>> {
        let amount = self.amount()?;
        Some(Some(amount).filter(|amount| *amount != Credits::ZERO))
    }

    /// A part of a grant, which the rules compute: never negative, never more than two commands grant.
    fn part(&mut self) -> Option<Credits> {
        self.amount().map(|amount| amount.clamp(Credits::ZERO, Credits(2 * UNITS_MAX.0)))
    }

    fn kind(&mut self) -> Option<GrantKind> {
        Some(KINDS[usize::from(self.byte()?) % KINDS.len()])
    }

    fn new_hold(&self) -> HoldId {
        HoldId::trusted(format!("hld_{}", self.count))
    }

    /// A hold that was made, open or not; else one that never was.
    fn hold(&mut self) -> Option<HoldId> {
        let pick = usize::from(self.byte()?);
        let hold = self.holds.get(pick % self.holds.len().max(1)).cloned();
        Some(hold.unwrap_or_else(|| HoldId::trusted("hld_unknown".to_owned())))
    }

    /// A grant that was made. The input ends where there is none.
    fn grant(&mut self) -> Option<Entry> {
        let pick = usize::from(self.byte()?);
        self.grants.get(pick % self.grants.len().max(1)).cloned()
    }

    /// Up to three grants, or nobody knows which.
    fn some_grants(&mut self) -> Option<Option<Vec<i64>>> {
        let count = self.byte()? % 5;
        if count == 4 {
            return Some(None);
        }
        let mut seqs = Vec::new();
        for _ in 0..count {
            seqs.push(self.grant()?.seq);
        }
        Some(Some(seqs))
    }
}
