//! Decides one command on one account at one moment.

use super::account::{Account, GRANTS_OPEN_MAX, HOLDS_OPEN_MAX, OpenHold};
use super::command::{Command, Op, PartGrant, Spend, TAKEN_SUFFIX};
use super::entry::{Burn, Detail, Entry, EntryKind, GrantKind};
use crate::amount::{Credits, UNITS_MAX};
use crate::clock::TimeMs;
use crate::count::counted;
use crate::error::Refusal;
use crate::ids::HoldId;

/// Entries to append and the resulting account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The resulting account.
    pub account: Account,
    /// Entries to append, in order: first those of expired holds and grants, last the command's own.
    pub entries: Vec<Entry>,
}

/// Decides a command. Expired holds and grants are settled first (see `expire`), so the result does not depend on when
/// a timer fires.
pub fn decide(account: &Account, command: &Command, now_ms: TimeMs) -> Result<Decision, Refusal> {
    let mut draft = Draft::new(account, now_ms);
    draft.settle();
    match &command.op {
        Op::Grant { kind, amount, expires_at_ms } => {
            draft.grant(command, *kind, *amount, *expires_at_ms, None)?;
        }
        Op::GrantPart(part) => draft.grant_part(command, part)?,
        Op::Debit { .. } | Op::Hold { .. } if draft.account.open.suspended => return Err(Refusal::Suspended),
        Op::Debit { amount } => {
            draft.debit(command, EntryKind::Debit, *amount, None)?;
        }
        Op::Hold { id, amount, expires_at_ms } => draft.hold(command, id, *amount, *expires_at_ms)?,
        Op::Capture { id, amount } => draft.capture(command, id, *amount)?,
        Op::Release { id } => draft.release(command, id)?,
        Op::Adjust { expires_at_ms: Some(at_ms), .. } if *at_ms <= now_ms => return Err(Refusal::GrantAlreadyOver),
        Op::Adjust { amount, reason, expires_at_ms } if *amount > Credits::ZERO => {
            draft.grant(command, GrantKind::Adjustment, *amount, *expires_at_ms, Some(reason.clone()))?;
        }
        Op::Adjust { amount, reason, .. } => {
            let amount = amount.0.checked_neg().map(Credits).ok_or(Refusal::InvalidAmount)?;
            draft.debit(command, EntryKind::Adjust, amount, Some(reason.clone()))?;
        }
        Op::WriteOff { reason } => draft.write_off(command, reason)?,
        Op::SetLimit { limit, reason } => draft.set_limit(command, *limit, reason)?,
        Op::SetSuspended { suspended, reason } => draft.set_suspended(command, *suspended, reason)?,
        Op::Reserve { id, amount, expires_at_ms } => draft.reserve(command, id, *amount, *expires_at_ms)?,
        Op::Unreserve { id } => draft.unreserve(command, id)?,
        Op::Purchase { amount, expires_at_ms, reserved, spend } => {
            draft.purchase(command, (*amount, *expires_at_ms), reserved.as_ref(), spend.as_deref())?;
        }
        Op::ClawBack { grant, granted, returned, total, unspent, unspent_before } => {
            draft.claw_back(command, (*grant, *granted, returned), *total, (*unspent, *unspent_before))?;
        }
        Op::TakeBack { amount, of } => draft.take_back(command, *amount, of.as_deref())?,
        Op::Exchange { amount, expires_at_ms, taken, of } => {
            draft.exchange(command, (*amount, *expires_at_ms), (*taken, of.as_deref()))?;
        }
        Op::Reinstate { grant, kind, total, unspent, of, expires_at_ms } => {
            draft.reinstate(command, (*grant, *kind, *of), (*total, *unspent), *expires_at_ms)?;
        }
        Op::Settle if draft.entries.is_empty() => return Err(Refusal::NothingToDo),
        Op::Settle => {}
    }
    Ok(Decision { account: draft.account, entries: draft.entries })
}

pub(super) struct Draft {
    pub(super) account: Account,
    entries: Vec<Entry>,
    pub(super) now_ms: TimeMs,
}

impl Draft {
    pub(super) fn new(account: &Account, now_ms: TimeMs) -> Self {
        Self { account: account.clone(), entries: Vec::new(), now_ms }
    }

    pub(super) fn push(
        &mut self,
        command: &Command,
        kind: EntryKind,
        change: (Credits, Credits),
        hold: Option<&HoldId>,
        mut detail: Detail,
    ) {
        let (amount, held_delta) = change;
        if kind == EntryKind::Grant && detail.forgiven.is_empty() {
            detail.pays = self.account.plan_payment(amount, detail.grant);
            detail.pays.retain(|paid| detail.grant != Some(paid.grant));
        }
        let entry = Entry {
            seq: self.account.version + 1,
            kind,
            amount,
            held_delta,
            balance_after: self.account.balance + amount,
            held_after: self.account.held + held_delta,
            source: command.source.clone(),
            reference: command.reference.clone(),
            idempotency_key: command.idempotency_key.clone(),
            request_hash: command.request_hash.clone(),
            metadata: command.metadata.clone(),
            hold_id: hold.cloned(),
            detail,
            // Clocks differ between nodes and may be set back; a ledger's times never go back.
            created_at_ms: self.now_ms.max(self.account.last_entry_at_ms),
        };
        self.account.apply(&entry);
        self.entries.push(entry);
    }

    fn grant(
        &mut self,
        command: &Command,
        kind: GrantKind,
        amount: Credits,
        expires_at_ms: Option<TimeMs>,
        reason: Option<String>,
    ) -> Result<(), Refusal> {
        let detail = Detail { expires_at_ms, reason, ..Detail::default() };
        self.grant_with(command, kind, amount, detail)
    }

    fn grant_with(
        &mut self,
        command: &Command,
        kind: GrantKind,
        amount: Credits,
        detail: Detail,
    ) -> Result<(), Refusal> {
        check_amount(amount)?;
        // A paid grant is made no matter how many grants are open.
        let is_paid = matches!(kind, GrantKind::Purchased | GrantKind::Included);
        if !is_paid && self.account.open.grants.len() >= GRANTS_OPEN_MAX {
            return Err(Refusal::TooManyOpen { what: "grants", max: GRANTS_OPEN_MAX });
        }
        let detail = Detail { grant_kind: Some(kind), ..detail };
        self.push(command, EntryKind::Grant, (amount, Credits::ZERO), None, detail);
        Ok(())
    }

    /// Grants a part of which some is withheld.
    fn grant_part(&mut self, command: &Command, part: &PartGrant) -> Result<(), Refusal> {
        let PartGrant { amount, withheld, unspent, expires_at_ms } = *part;
        let reason = format!("{} withheld: money of the period was returned", counted(withheld.0, "credit"));
        let (reason, unspent) = (Some(reason), Some(unspent));
        let detail = Detail { expires_at_ms, withheld, unspent, reason, ..Detail::default() };
        self.grant_with(command, GrantKind::Included, amount, detail)
    }

    /// Forgives the debt, and notes what of it came from which claw backs: those credits do not come back.
    fn write_off(&mut self, command: &Command, reason: &str) -> Result<(), Refusal> {
        let debt = Credits(self.account.balance.0.saturating_neg());
        if debt <= Credits::ZERO {
            return Err(Refusal::NothingToDo);
        }
        let (reason, forgiven) = (Some(reason.to_owned()), self.account.owed_of_grants());
        let detail = Detail { reason, forgiven, ..Detail::default() };
        self.grant_with(command, GrantKind::Adjustment, debt, detail)
    }

    fn check_available(&self, requested: Credits) -> Result<(), Refusal> {
        let spendable = self.account.available() - self.account.floor;
        if requested > spendable {
            return Err(Refusal::InsufficientCredits { requested, available: spendable.max(Credits::ZERO) });
        }
        Ok(())
    }

    /// Spends valid credits before expired ones. After settling, expired credits remain only under an open hold. A
    /// debit must not spend them: it would leave the hold to be paid from bought credits, so expired credits would
    /// have been worth something after all. A purchase is the case in question, because its debit follows its grant
    /// without settling.
    fn debit(
        &mut self,
        command: &Command,
        kind: EntryKind,
        amount: Credits,
        reason: Option<String>,
    ) -> Result<(), Refusal> {
        check_amount(amount)?;
        self.check_available(amount)?;
        let burned = self.account.plan_burn_starting_with(amount, |grant| !grant.has_expired(self.now_ms));
        self.push(command, kind, (-amount, Credits::ZERO), None, Detail { burned, reason, ..Detail::default() });
        Ok(())
    }

    fn hold(&mut self, command: &Command, id: &HoldId, amount: Credits, expires_at_ms: TimeMs) -> Result<(), Refusal> {
        check_amount(amount)?;
        if expires_at_ms <= self.now_ms {
            return Err(Refusal::HoldAlreadyOver);
        }
        self.check_available(amount)?;
        if self.account.open.holds.len() >= HOLDS_OPEN_MAX {
            return Err(Refusal::TooManyOpen { what: "holds", max: HOLDS_OPEN_MAX });
        }
        let detail = Detail { expires_at_ms: Some(expires_at_ms), ..Detail::default() };
        self.push(command, EntryKind::Hold, (Credits::ZERO, amount), Some(id), detail);
        Ok(())
    }

    fn open_hold(&self, id: &HoldId) -> Result<OpenHold, Refusal> {
        let open = self.account.open.holds.iter().find(|hold| hold.id == *id);
        open.cloned().ok_or_else(|| Refusal::HoldNotFound(id.clone()))
    }

    /// What a hold burns: in the usual order, and expired credits only if it may rest on them. Those of another hold
    /// come last.
    fn plan_burn_of_hold(&self, amount: Credits, hold: &OpenHold) -> Vec<Burn> {
        self.account.plan_burn_starting_with(amount, |grant| !grant.has_expired(self.now_ms) || hold.may_rest_on(grant))
    }

    fn capture(&mut self, command: &Command, id: &HoldId, amount: Option<Credits>) -> Result<(), Refusal> {
        let hold = self.open_hold(id)?;
        let held = hold.amount;
        let amount = amount.unwrap_or(held);
        check_amount(amount)?;
        if amount > held {
            return Err(Refusal::CaptureExceedsHold { requested: amount, held });
        }
        let burned = self.plan_burn_of_hold(amount, &hold);
        let detail = Detail { burned, ..Detail::default() };
        self.push(command, EntryKind::Capture, (-amount, -held), Some(id), detail);
        Ok(())
    }

    fn release(&mut self, command: &Command, id: &HoldId) -> Result<(), Refusal> {
        let held = self.open_hold(id)?.amount;
        self.push(command, EntryKind::Release, (Credits::ZERO, -held), Some(id), Detail::default());
        Ok(())
    }

    fn reserve(
        &mut self,
        command: &Command,
        id: &HoldId,
        amount: Credits,
        expires_at_ms: TimeMs,
    ) -> Result<(), Refusal> {
        check_amount(amount)?;
        self.check_available(amount)?;
        let detail = Detail { expires_at_ms: Some(expires_at_ms), ..Detail::default() };
        self.push(command, EntryKind::Hold, (Credits::ZERO, amount), Some(id), detail);
        Ok(())
    }

    fn unreserve(&mut self, command: &Command, id: &HoldId) -> Result<(), Refusal> {
        self.release(command, id).map_err(|_| Refusal::NothingToDo)
    }

    fn purchase(
        &mut self,
        command: &Command,
        (amount, expires_at_ms): (Credits, Option<TimeMs>),
        reserved: Option<&HoldId>,
        spend: Option<&Spend>,
    ) -> Result<(), Refusal> {
        let reservation = self.end_reservation(command, reserved);
        let released = reservation.as_ref().map_or(Credits::ZERO, |hold| hold.amount);
        self.grant(command, GrantKind::Purchased, amount, expires_at_ms, None)?;
        let paid_by = Some(self.account.version);
        let Some(spend) = spend else { return Ok(()) };
        check_amount(spend.amount)?;
        let is_covered = amount + released >= spend.amount;
        // The money was taken, so the credits are granted even if debt consumes them.
        if !is_covered && self.check_available(spend.amount).is_err() {
            return Ok(());
        }
        let entry = Command {
            op: Op::Debit { amount: spend.amount },
            source: spend.source.clone(),
            reference: spend.reference.clone(),
            idempotency_key: Some(spend.idempotency_key.clone()),
            request_hash: spend.request_hash.clone(),
            metadata: spend.metadata.clone(),
        };
        let detail = Detail { paid_by: paid_by.filter(|_| is_covered), ..Detail::default() };
        if let Some((id, ends_at_ms)) = &spend.hold {
            let detail = Detail { expires_at_ms: Some(*ends_at_ms), ..detail };
            self.push(&entry, EntryKind::Hold, (Credits::ZERO, spend.amount), Some(id), detail);
        } else {
            let burned = self.plan_burn_of_purchase(spend.amount, reservation.as_ref());
            self.push(&entry, EntryKind::Debit, (-spend.amount, Credits::ZERO), None, Detail { burned, ..detail });
        }
        Ok(())
    }

    /// Releases the reservation of a purchase if it is still open. Returns it.
    fn end_reservation(&mut self, command: &Command, reserved: Option<&HoldId>) -> Option<OpenHold> {
        let hold = self.open_hold(reserved?).ok()?;
        // The key belongs to the grant.
        let keyless = Command { idempotency_key: None, ..command.clone() };
        self.push(&keyless, EntryKind::Release, (Credits::ZERO, -hold.amount), Some(&hold.id), Detail::default());
        Some(hold)
    }

    /// The reserved part burns grants like a capture, even those that expired meanwhile; the rest burns valid ones
    /// first, like a debit.
    fn plan_burn_of_purchase(&self, amount: Credits, reservation: Option<&OpenHold>) -> Vec<Burn> {
        let of_reserved = reservation.map_or(Credits::ZERO, |hold| hold.amount).min(amount);
        let mut burned = reservation.map_or_else(Vec::new, |hold| self.plan_burn_of_hold(of_reserved, hold));
        let mut rest = self.account.clone();
        rest.burn(&burned);
        for burn in rest.plan_burn_starting_with(amount - of_reserved, |grant| !grant.has_expired(self.now_ms)) {
            match burned.iter_mut().find(|other| other.grant == burn.grant) {
                Some(same) => same.credits += burn.credits,
                None => burned.push(burn),
            }
        }
        burned
    }

    fn set_limit(&mut self, command: &Command, limit: Credits, reason: &str) -> Result<(), Refusal> {
        if !(Credits::ZERO..=UNITS_MAX).contains(&limit) {
            return Err(Refusal::InvalidAmount);
        }
        if self.account.floor == -limit {
            return Err(Refusal::NothingToDo);
        }
        self.set_terms(command, Detail { floor: Some(-limit), ..Detail::default() }, reason);
        Ok(())
    }

    fn set_suspended(&mut self, command: &Command, suspended: bool, reason: &str) -> Result<(), Refusal> {
        if self.account.open.suspended == suspended {
            return Err(Refusal::NothingToDo);
        }
        self.set_terms(command, Detail { suspended: Some(suspended), ..Detail::default() }, reason);
        Ok(())
    }

    fn set_terms(&mut self, command: &Command, terms: Detail, reason: &str) {
        let detail = Detail { reason: Some(reason.to_owned()), ..terms };
        self.push(command, EntryKind::Terms, (Credits::ZERO, Credits::ZERO), None, detail);
    }

    fn reinstate(
        &mut self,
        command: &Command,
        (grant, kind, of): (i64, GrantKind, Option<i64>),
        (total, unspent): (Credits, Credits),
        expires_at_ms: Option<TimeMs>,
    ) -> Result<(), Refusal> {
        let amount = self.account.clawed_back(grant) - total.max(Credits::ZERO);
        if amount <= Credits::ZERO {
            return Err(Refusal::NothingToDo);
        }
        // What was owed and written off was given back then.
        let forgiven = self.account.forgiven(grant).min(amount);
        if forgiven > Credits::ZERO {
            let (does, was) = if forgiven == Credits(1) { ("does", "it was") } else { ("do", "they were") };
            let credits = counted(forgiven.0, "credit");
            let reason = format!("{credits} {does} not come back: {was} owed, and the debt was written off");
            let forgiven = vec![Burn { grant, credits: forgiven }];
            // The key belongs to the grant.
            let keyless = Command { idempotency_key: None, ..command.clone() };
            let unspent = Some(unspent);
            self.set_terms(&keyless, Detail { grant: Some(grant), unspent, forgiven, ..Detail::default() }, &reason);
        }
        let amount = amount - forgiven;
        if amount == Credits::ZERO {
            return Ok(());
        }
        let detail = Detail {
            grant_kind: Some(kind),
            expires_at_ms,
            grant: Some(grant),
            of,
            unspent: Some(unspent),
            reason: Some("reinstated".to_owned()),
            ..Detail::default()
        };
        self.push(command, EntryKind::Grant, (amount, Credits::ZERO), None, detail);
        Ok(())
    }

    fn take_back(&mut self, command: &Command, amount: Credits, of: Option<&[i64]>) -> Result<(), Refusal> {
        check_amount(amount)?;
        let burned = self.plan_taking(amount, of, None);
        self.push(command, EntryKind::ClawBack, (-amount, Credits::ZERO), None, Detail { burned, ..Detail::default() });
        Ok(())
    }

    fn exchange(
        &mut self,
        command: &Command,
        (amount, expires_at_ms): (Credits, Option<TimeMs>),
        (taken, of): (Credits, Option<&[i64]>),
    ) -> Result<(), Refusal> {
        check_amount(taken)?;
        self.grant(command, GrantKind::Included, amount, expires_at_ms, None)?;
        let burned = self.plan_taking(taken, of, Some(self.account.version));
        let key = command.idempotency_key.as_ref().map(|key| format!("{key}{TAKEN_SUFFIX}"));
        // What was sold is kept with the grant.
        let own = Command { idempotency_key: key, metadata: None, ..command.clone() };
        self.push(&own, EntryKind::ClawBack, (-taken, Credits::ZERO), None, Detail { burned, ..Detail::default() });
        Ok(())
    }

    /// The grants that credits are taken back from: those of the time that was left (`of`), then the one that replaces
    /// it, then those of other paid periods, then all others. If nobody knows which are of that time, those of all
    /// other paid periods count as such.
    fn plan_taking(&self, amount: Credits, of: Option<&[i64]>, new: Option<i64>) -> Vec<Burn> {
        self.account.plan_burn_by(amount, |open| match open {
            open if of.is_some_and(|of| of.contains(&open.seq)) => 0,
            open if new == Some(open.seq) => 1,
            open if open.kind != GrantKind::Included => 3,
            _ if of.is_none() => 0,
            _ => 2,
        })
    }

    fn claw_back(
        &mut self,
        command: &Command,
        (grant, granted, returned): (i64, Credits, &[i64]),
        total: Credits,
        (unspent, unspent_before): (Credits, Credits),
    ) -> Result<(), Refusal> {
        let wanted = total.min(granted) - self.account.clawed_back(grant);
        let certain = wanted - unspent.max(Credits::ZERO);
        let amount = wanted.min(certain.max(self.account.available()));
        if amount <= Credits::ZERO {
            return Err(Refusal::NothingToDo);
        }
        let burned = self.account.plan_burn_by(amount, |open| match open.seq {
            seq if seq == grant => 0,
            seq if returned.contains(&seq) => 1,
            _ => 2,
        });
        let unspent = Some(unspent_before + (amount - certain.max(Credits::ZERO)).max(Credits::ZERO));
        let detail = Detail { burned, grant: Some(grant), unspent, ..Detail::default() };
        self.push(command, EntryKind::ClawBack, (-amount, Credits::ZERO), None, detail);
        Ok(())
    }
}

fn check_amount(amount: Credits) -> Result<(), Refusal> {
    if (Credits(1)..=UNITS_MAX).contains(&amount) { Ok(()) } else { Err(Refusal::InvalidAmount) }
}
