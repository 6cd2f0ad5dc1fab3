//! The model: a heap of single credits and a debt. It shares no code with the rules.

use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::ledger::{Account, Entry, EntryKind, GrantKind, Op, Spend};
use crate::error::Refusal;
use crate::ids::HoldId;

/// One credit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Credit {
    /// The grant that gave it, counted from 0.
    grant: usize,
    kind: GrantKind,
    /// When it expires.
    ends_at_ms: Option<TimeMs>,
}

/// A grant, with or without credits left.
#[derive(Debug, Clone, Default)]
struct Given {
    /// Number of its entry.
    seq: i64,
    amount: i64,
    clawed: i64,
    /// Of what was clawed back: owed, and written off.
    forgiven: i64,
}

/// The state of the model.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    floor: i64,
    credits: Vec<Credit>,
    /// One for each credit that is owed: the grant whose claw back made it, if one did.
    debt: Vec<Option<usize>>,
    holds: Vec<Held>,
    given: Vec<Given>,
}

/// An open hold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    id: HoldId,
    amount: i64,
    ends_at_ms: TimeMs,
    /// When it was opened, and how many grants there had been. A view does not tell.
    opened: (TimeMs, usize),
}

impl Held {
    /// Whether this credit was there when it was opened, and had not expired.
    fn saw(&self, credit: &Credit) -> bool {
        let (opened_ms, given) = self.opened;
        credit.grant < given && credit.ends_at_ms.is_none_or(|at| at > opened_ms)
    }
}

/// What is left of a grant.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    seq: i64,
    kind: GrantKind,
    ends_at_ms: Option<TimeMs>,
    credits: i64,
}

/// What the model and an account have in common.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    balance: i64,
    held: i64,
    /// In the order of burning.
    grants: Vec<Left>,
    holds: Vec<Held>,
}

fn free_before_paid(kind: GrantKind) -> u8 {
    match kind {
        GrantKind::Promotional => 0,
        GrantKind::Adjustment => 1,
        GrantKind::Included => 2,
        GrantKind::Purchased => 3,
    }
}

fn amount_is_valid(amount: i64) -> Result<(), Refusal> {
    if (1..=1_000_000).contains(&amount) { Ok(()) } else { Err(Refusal::InvalidAmount) }
}

impl Model {
    pub(super) fn new(floor: i64) -> Self {
        Self { floor, ..Self::default() }
    }

    pub(super) fn view(&self) -> View {
        let mut grants: Vec<Left> = Vec::new();
        for credit in &self.credits {
            let seq = self.given[credit.grant].seq;
            match grants.last_mut() {
                Some(last) if last.seq == seq => last.credits += 1,
                _ => grants.push(Left { seq, kind: credit.kind, ends_at_ms: credit.ends_at_ms, credits: 1 }),
            }
        }
        let balance = self.credits.len() as i64 - self.debt.len() as i64;
        let holds = self.holds.iter().map(|held| Held { opened: (0, 0), ..held.clone() }).collect();
        View { balance, held: self.held(), grants, holds }
    }

    pub(super) fn view_of(account: &Account) -> View {
        let grants = account.open.grants.iter();
        let grants =
            grants.map(|g| Left { seq: g.seq, kind: g.kind, ends_at_ms: g.expires_at_ms, credits: g.remaining.0 });
        let holds = account.open.holds.iter();
        let holds =
            holds.map(|h| Held { id: h.id.clone(), amount: h.amount.0, ends_at_ms: h.expires_at_ms, opened: (0, 0) });
        View { balance: account.balance.0, held: account.held.0, grants: grants.collect(), holds: holds.collect() }
    }

    /// Sets the number of the entry that made the last grant: the model does not count entries.
    pub(super) fn learn(&mut self, entries: &[Entry]) {
        let granted = entries.iter().rfind(|entry| entry.kind == EntryKind::Grant);
        if let (Some(entry), Some(given)) = (granted, self.given.last_mut()) {
            given.seq = entry.seq;
        }
    }

    /// Does all of it or nothing.
    pub(super) fn act(&mut self, op: &Op, now_ms: TimeMs) -> Result<(), Refusal> {
        let mut next = self.clone();
        next.settle(now_ms);
        match op {
            Op::Grant { kind, amount, expires_at_ms } => next.grant(*kind, amount.0, *expires_at_ms)?,
            Op::GrantPart(part) => next.grant(GrantKind::Included, part.amount.0, part.expires_at_ms)?,
            Op::Debit { amount } => next.debit(amount.0, now_ms)?,
            Op::Hold { id, amount, expires_at_ms } => {
                amount_is_valid(amount.0)?;
                if *expires_at_ms <= now_ms {
                    return Err(Refusal::HoldAlreadyOver);
                }
                next.spendable(amount.0)?;
                next.open_hold(id, amount.0, *expires_at_ms, now_ms);
            }
            Op::Capture { id, amount } => next.capture(id, amount.map(|amount| amount.0), now_ms)?,
            Op::Release { id } => {
                next.end_hold(id)?;
            }
            Op::Adjust { expires_at_ms: Some(at_ms), .. } if *at_ms <= now_ms => return Err(Refusal::GrantAlreadyOver),
            Op::Adjust { amount, expires_at_ms, .. } if amount.0 > 0 => {
                next.grant(GrantKind::Adjustment, amount.0, *expires_at_ms)?;
            }
            Op::Adjust { amount, .. } => next.debit(-amount.0, now_ms)?,
            Op::Reserve { id, amount, expires_at_ms } => {
                amount_is_valid(amount.0)?;
                next.spendable(amount.0)?;
                next.open_hold(id, amount.0, *expires_at_ms, now_ms);
            }
            Op::Unreserve { id } => {
                next.end_hold(id).map_err(|_| Refusal::NothingToDo)?;
            }
            Op::Purchase { amount, expires_at_ms, reserved, spend } => {
                let reservation = reserved.as_ref().and_then(|id| next.end_hold(id).ok());
                next.grant(GrantKind::Purchased, amount.0, *expires_at_ms)?;
                if let Some(spend) = spend {
                    next.spend(spend, amount.0, reservation.as_ref(), now_ms)?;
                }
            }
            Op::ClawBack { grant, returned, total, unspent, .. } => {
                next.claw_back(*grant, returned, total.0, unspent.0)?;
            }
            Op::TakeBack { amount, of } => next.take_back(amount.0, of.as_deref(), None)?,
            Op::Exchange { amount, expires_at_ms, taken, of } => {
                amount_is_valid(taken.0)?;
                next.grant(GrantKind::Included, amount.0, *expires_at_ms)?;
                let new = next.given.len() - 1;
                next.take_back(taken.0, of.as_deref(), Some(new))?;
            }
            Op::Reinstate { grant, kind, total, expires_at_ms, .. } => {
                let at = next.given.iter().position(|given| given.seq == *grant).unwrap();
                let back = next.given[at].clawed - total.0.max(0);
                if back <= 0 {
                    return Err(Refusal::NothingToDo);
                }
                let kept = next.given[at].forgiven.min(back);
                next.given[at].clawed -= back;
                next.given[at].forgiven -= kept;
                if back > kept {
                    next.grant_of(Some(at), *kind, back - kept, *expires_at_ms)?;
                }
            }
            Op::WriteOff { .. } => {
                let owed = next.debt.len() as i64;
                if owed <= 0 {
                    return Err(Refusal::NothingToDo);
                }
                for of in next.debt.iter().flatten() {
                    next.given[*of].forgiven += 1;
                }
                next.grant(GrantKind::Adjustment, owed, None)?;
            }
            // Histories have one floor, and are of accounts that nobody suspends.
            Op::SetLimit { .. } | Op::SetSuspended { .. } => return Err(Refusal::NothingToDo),
            Op::Settle if next.view() == self.view() => return Err(Refusal::NothingToDo),
            Op::Settle => {}
        }
        *self = next;
        Ok(())
    }

    fn held(&self) -> i64 {
        self.holds.iter().map(|hold| hold.amount).sum()
    }

    fn available(&self) -> i64 {
        self.credits.len() as i64 - self.debt.len() as i64 - self.held()
    }

    /// Removes expired holds, and then expired credits, one by one, as long as more are left than holds need. Each held
    /// credit rests on the first in the order of burning that its hold saw and that no older hold rests on; those stay.
    fn settle(&mut self, now_ms: TimeMs) {
        self.holds.retain(|hold| hold.ends_at_ms > now_ms);
        while self.available() > 0
            && let Some(at) = self.first_expired(now_ms)
        {
            self.credits.remove(at);
        }
    }

    /// The first expired credit on which no hold rests.
    fn first_expired(&self, now_ms: TimeMs) -> Option<usize> {
        let rested_on = self.rested_on();
        let has_expired = |credit: &Credit| credit.ends_at_ms.is_some_and(|at| at <= now_ms);
        (0..self.credits.len()).find(|at| !rested_on[*at] && has_expired(&self.credits[*at]))
    }

    /// Whether a hold rests on each credit.
    fn rested_on(&self) -> Vec<bool> {
        let mut left: Vec<i64> = self.holds.iter().map(|hold| hold.amount).collect();
        let mut rests = |credit: &Credit| {
            let found = (0..left.len()).find(|n| left[*n] > 0 && self.holds[*n].saw(credit));
            found.inspect(|n| left[*n] -= 1).is_some()
        };
        self.credits.iter().map(&mut rests).collect()
    }

    fn open_hold(&mut self, id: &HoldId, amount: i64, ends_at_ms: TimeMs, now_ms: TimeMs) {
        let opened = (now_ms, self.given.len());
        self.holds.push(Held { id: id.clone(), amount, ends_at_ms, opened });
    }

    fn grant(&mut self, kind: GrantKind, amount: i64, ends_at_ms: Option<TimeMs>) -> Result<(), Refusal> {
        self.grant_of(None, kind, amount, ends_at_ms)
    }

    /// Pays one credit that is owed: for this grant, else for the one whose credits are owed for the longest time.
    fn pay_one(&mut self, own: Option<usize>) {
        let is_own = |of: &Option<usize>| own.is_some() && *of == own;
        let at = self.debt.iter().position(is_own).or_else(|| self.debt.iter().position(Option::is_some));
        self.debt.remove(at.unwrap_or(0));
    }

    fn grant_of(
        &mut self,
        own: Option<usize>,
        kind: GrantKind,
        amount: i64,
        ends_at_ms: Option<TimeMs>,
    ) -> Result<(), Refusal> {
        amount_is_valid(amount)?;
        let grant = self.given.len();
        self.given.push(Given { amount, ..Given::default() });
        for _ in 0..amount {
            if !self.debt.is_empty() {
                self.pay_one(own);
            } else {
                self.credits.push(Credit { grant, kind, ends_at_ms });
            }
        }
        self.credits.sort_by_key(|credit| {
            (credit.ends_at_ms.is_none(), credit.ends_at_ms, free_before_paid(credit.kind), credit.grant)
        });
        Ok(())
    }

    fn spendable(&self, requested: i64) -> Result<(), Refusal> {
        if self.available() - requested < self.floor {
            let (requested, available) = (Credits(requested), Credits((self.available() - self.floor).max(0)));
            return Err(Refusal::InsufficientCredits { requested, available });
        }
        Ok(())
    }

    fn burn_one(&mut self) {
        self.burn_one_for(None);
    }

    /// Burns a credit, or makes a debt of one, for the claw back of a grant.
    fn burn_one_for(&mut self, grant: Option<usize>) {
        if self.credits.is_empty() {
            self.debt.push(grant);
        } else {
            self.credits.remove(0);
        }
    }

    /// Spends valid credits first, as long as there are any.
    fn debit(&mut self, amount: i64, now_ms: TimeMs) -> Result<(), Refusal> {
        amount_is_valid(amount)?;
        self.spendable(amount)?;
        (0..amount).for_each(|_| self.burn_valid(now_ms));
        Ok(())
    }

    fn burn_valid(&mut self, now_ms: TimeMs) {
        let running = |credit: &Credit| credit.ends_at_ms.is_none_or(|at| at > now_ms);
        match self.credits.iter().position(running) {
            Some(at) => drop(self.credits.remove(at)),
            None => self.burn_one(),
        }
    }

    /// Spends what was bought and reserved for it in any case, and otherwise only what there is.
    fn spend(&mut self, spend: &Spend, bought: i64, reservation: Option<&Held>, now_ms: TimeMs) -> Result<(), Refusal> {
        let released = reservation.map_or(0, |held| held.amount);
        let wanted = spend.amount.0;
        amount_is_valid(wanted)?;
        if bought + released < wanted && self.spendable(wanted).is_err() {
            return Ok(());
        }
        if let Some((id, ends_at_ms)) = &spend.hold {
            self.open_hold(id, wanted, *ends_at_ms, now_ms);
            return Ok(());
        }
        if let Some(held) = reservation {
            (0..released.min(wanted)).for_each(|_| self.burn_held(held, now_ms));
        }
        (released..wanted).for_each(|_| self.burn_valid(now_ms));
        Ok(())
    }

    fn end_hold(&mut self, id: &HoldId) -> Result<Held, Refusal> {
        let at = self.holds.iter().position(|hold| hold.id == *id);
        Ok(self.holds.remove(at.ok_or_else(|| Refusal::HoldNotFound(id.clone()))?))
    }

    /// Spends a credit for a hold: none that expired before it was opened, as long as there are others.
    fn burn_held(&mut self, held: &Held, now_ms: TimeMs) {
        let is_good = |credit: &Credit| held.saw(credit) || credit.ends_at_ms.is_none_or(|at| at > now_ms);
        match self.credits.iter().position(is_good) {
            Some(at) => drop(self.credits.remove(at)),
            None => self.burn_one(),
        }
    }

    fn capture(&mut self, id: &HoldId, amount: Option<i64>, now_ms: TimeMs) -> Result<(), Refusal> {
        let hold = self.end_hold(id)?;
        let held = hold.amount;
        let requested = amount.unwrap_or(held);
        amount_is_valid(requested)?;
        if requested > held {
            return Err(Refusal::CaptureExceedsHold { requested: Credits(requested), held: Credits(held) });
        }
        (0..requested).for_each(|_| self.burn_held(&hold, now_ms));
        Ok(())
    }

    /// Takes credits of these grants first, else of paid periods; then new ones, then those of paid periods.
    fn take_back(&mut self, amount: i64, of: Option<&[i64]>, new: Option<usize>) -> Result<(), Refusal> {
        amount_is_valid(amount)?;
        for _ in 0..amount {
            let find = |is_one: &dyn Fn(&Credit) -> bool| self.credits.iter().position(is_one);
            let is_paid = |credit: &Credit| credit.kind == GrantKind::Included;
            let is_named = |credit: &Credit| of.is_none_or(|of| of.contains(&self.given[credit.grant].seq));
            let is_old = |credit: &Credit| is_named(credit) && (of.is_some() || is_paid(credit));
            let old = find(&|credit| is_old(credit) && Some(credit.grant) != new);
            let new = find(&|credit| Some(credit.grant) == new);
            match old.or(new).or_else(|| find(&is_paid)) {
                Some(at) => drop(self.credits.remove(at)),
                None => self.burn_one(),
            }
        }
        Ok(())
    }

    fn claw_back(&mut self, seq: i64, returned: &[i64], total: i64, unspent: i64) -> Result<(), Refusal> {
        let grant = self.given.iter().position(|given| given.seq == seq).unwrap();
        let missing = total.min(self.given[grant].amount) - self.given[grant].clawed;
        let missing = missing.min((missing - unspent).max(self.available()));
        if missing <= 0 {
            return Err(Refusal::NothingToDo);
        }
        self.given[grant].clawed += missing;
        for _ in 0..missing {
            let own = self.credits.iter().position(|credit| credit.grant == grant);
            let is_returned = |credit: &Credit| returned.contains(&self.given[credit.grant].seq);
            match own.or_else(|| self.credits.iter().position(is_returned)) {
                Some(own) => drop(self.credits.remove(own)),
                None => self.burn_one_for(Some(grant)),
            }
        }
        Ok(())
    }
}
