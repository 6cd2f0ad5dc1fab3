//! Jobs that settle an account when nobody asks: what ran out of time is released and ended.

use crate::clock::TimeMs;
use crate::effect::Effect;
use crate::ids::{CustomerId, HoldId};
use crate::job::{JobKind, NewJob};
use crate::ledger::{Account, Entry, EntryKind};

/// The unique key of the job that settles an account at the end of a hold.
pub fn hold_settle_key(hold: &HoldId) -> String {
    format!("settle:{hold}")
}

/// The jobs that follow from new entries: one at the end of each hold and of each grant that has an end
/// and is still open.
/// Credits of a grant that has ended stay for as long as a hold needs them; once it does not, one more
/// job ends them at once. `account` is the account after the entries.
pub fn settle_jobs(customer: &CustomerId, account: &Account, entries: &[Entry], now_ms: TimeMs) -> Vec<Effect> {
    let ends = entries.iter().filter_map(|entry| {
        let at_ms = entry.detail.expires_at_ms?;
        let key = match entry.kind {
            EntryKind::Hold => {
                let hold = account.open.holds.iter().find(|hold| Some(&hold.id) == entry.hold_id.as_ref())?;
                hold_settle_key(&hold.id)
            }
            EntryKind::Grant => {
                let grant = account.open.grants.iter().find(|grant| grant.seq == entry.seq)?;
                format!("settle:{customer}:{}", grant.seq)
            }
            _ => return None,
        };
        Some(settle_job(customer, key, at_ms))
    });
    let overdue = account.has_ended_grant(now_ms);
    let at_once = overdue.then(|| settle_job(customer, format!("settle:{customer}:after:{}", account.version), now_ms));
    ends.chain(at_once).collect()
}

fn settle_job(customer: &CustomerId, unique_key: String, at_ms: TimeMs) -> Effect {
    let args = serde_json::json!({ "customer": customer.as_str() }).to_string();
    let mut job = NewJob::new(JobKind::AccountSettle, args, at_ms);
    job.unique_key = Some(unique_key);
    job.customer_id = Some(customer.clone());
    Effect::JobInsert(job)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Command, Decision, GrantKind, Op, decide};

    fn act(account: &mut Account, op: Op, now_ms: TimeMs) -> (Vec<Entry>, Vec<(Option<String>, TimeMs)>) {
        let command = Command { op, ..Command::settle() };
        let Decision { account: after, entries } = decide(account, &command, now_ms).expect("it is allowed");
        *account = after;
        let jobs = settle_jobs(&CustomerId::trusted("cst_1".to_owned()), account, &entries, now_ms);
        let told = jobs.into_iter().map(|effect| match effect {
            Effect::JobInsert(job) => (job.unique_key, job.run_at_ms),
            other => panic!("{other:?}"),
        });
        let told = told.collect();
        (entries, told)
    }

    fn grant(expires_at_ms: Option<TimeMs>) -> Op {
        Op::Grant { kind: GrantKind::Promotional, amount: 5, expires_at_ms }
    }

    #[test]
    fn a_hold_and_a_grant_with_an_end_are_settled_then_and_nothing_else_makes_a_job() {
        let mut account = Account::default();
        assert_eq!(act(&mut account, grant(None), 1).1, []);
        assert_eq!(act(&mut account, grant(Some(50)), 2).1, [(Some("settle:cst_1:2".to_owned()), 50)]);
        assert_eq!(act(&mut account, Op::Debit { amount: 1 }, 3).1, []);
        let id = HoldId::new();
        let hold = Op::Hold { id: id.clone(), amount: 2, expires_at_ms: 40 };
        assert_eq!(act(&mut account, hold, 4).1, [(Some(hold_settle_key(&id)), 40)]);
        assert_eq!(act(&mut account, Op::Release { id }, 5).1, []);
    }

    #[test]
    fn credits_that_ended_under_a_hold_are_ended_at_once_when_the_hold_is_closed() {
        let mut account = Account::default();
        act(&mut account, grant(Some(50)), 1);
        let id = HoldId::new();
        act(&mut account, Op::Hold { id: id.clone(), amount: 5, expires_at_ms: 90 }, 2);
        let (_, jobs) = act(&mut account, Op::Release { id }, 60);
        assert_eq!(jobs, [(Some("settle:cst_1:after:3".to_owned()), 60)]);
        let (entries, jobs) = act(&mut account, Op::Settle, 60);
        assert_eq!((entries[0].kind, entries[0].amount), (EntryKind::Expire, -5));
        assert_eq!(jobs, []);
    }
}
