//! Obligation 12: the audit log is what it was when it was sealed.

use super::CheckReport;
use crate::domain::audit::chain::Head;
use crate::error::Result;
use crate::infra::store::Db;
use crate::infra::store::audit::{audit_head, audit_seal_hash, audit_sealed_list};

pub(super) const NAME: &str = "each seal of the audit log covers its row and the seal before it";
/// Number of checks here.
pub(super) const CHECKS: usize = 1;
/// Seals in memory at once.
const SEALS_PAGE: u64 = 1_000;

/// Checks the chain from its first seal to its last. `known` is the head of an earlier export, which has to be part of
/// it. `progress` receives the seals done and their number.
pub(super) async fn run(db: &Db, known: Option<&Head>, progress: impl Fn(u64, u64)) -> Result<CheckReport> {
    let mut report = CheckReport::new(12, NAME);
    let last = audit_head(db.read()).await?.seal;
    let total = last.cast_unsigned();
    progress(0, total);
    if let Some(known) = known.filter(|known| **known != Head::empty()) {
        match audit_seal_hash(db.read(), known.seal).await? {
            Some(hash) if hash == known.hash => {}
            Some(hash) => report.add(format!("seal {} has the hash {hash} and not {}", known.seal, known.hash)),
            None => report.add(format!("seal {} is not there: the chain ends with seal {last}", known.seal)),
        }
    }
    let mut head = Head::empty();
    loop {
        let page = audit_sealed_list(db.read(), head.seal, last, SEALS_PAGE).await?;
        if page.is_empty() {
            progress(report.checked.max(total), report.checked.max(total));
            return Ok(report);
        }
        for next in &page {
            report.checked += 1;
            if let Err(problem) = head.follow(next) {
                report.add(problem);
            }
        }
        progress(report.checked, total.max(report.checked));
    }
}
