//! The grants that a payment bought, with what has become of their credits.

use crate::clock::TimeMs;
use crate::domain::clawback::{Lot, bought_of_each};
use crate::domain::customer::Customer;
use crate::domain::ledger::{Account, Entry};
use crate::error::Result;
use crate::infra::store::payment as payments;
use crate::usecase::handler::Deps;

/// What has become of these grants, in their order, and the grants that returned credits of each.
pub(super) async fn lots(
    deps: &Deps,
    customer: &Customer,
    account: &Account,
    grants: &[Entry],
    now_ms: TimeMs,
) -> Result<Vec<(Lot, Vec<i64>)>> {
    let db = deps.db.read();
    let seqs: Vec<i64> = grants.iter().map(|grant| grant.seq).collect();
    let moved = payments::entry_list_of_grants(db, &customer.id, &seqs).await?;
    let settled = account.settled(now_ms);
    let mut expired = payments::entry_expired_of(db, &customer.id, &seqs).await?;
    let mut lots = Vec::new();
    for (grant, granted) in grants.iter().zip(bought_of_each(grants)) {
        let of_it = || moved.iter().filter(|entry| entry.detail.grant == Some(grant.seq));
        // Credits that came back are in grants of their own.
        let gone = expired.remove(&grant.seq).unwrap_or_default();
        let (stored, remaining) = (account.remaining_of(&gone.grants), settled.remaining_of(&gone.grants));
        let mut kept = std::iter::once(grant).chain(of_it()).filter_map(|entry| entry.detail.unspent);
        let lot = Lot {
            granted,
            clawed_back: account.clawed_back(grant.seq),
            unspent_gone: kept.next_back(),
            // Some may have ended that no entry takes away yet.
            expired: gone.credits + stored - remaining,
            remaining,
        };
        lots.push((lot, gone.grants));
    }
    Ok(lots)
}
