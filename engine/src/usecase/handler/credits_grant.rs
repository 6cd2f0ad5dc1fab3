//! Grants a part of a paid invoice's credits when its time has come: a month of a year, or credits that end apart from
//! the invoice's others.

use super::stripe::clawback::{money_of_invoice, review_event};
use super::{Claimed, Deps, Failure, args};
use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::domain::effect::Verdict;
use crate::domain::job::Outcome;
use crate::domain::sale::grant::PartArgs;
use crate::domain::webhook::EventKind;
use crate::error::Result;
use crate::ids::CustomerId;

/// Wait between checks whether a dispute about all of the money is decided.
const DISPUTE_WAIT_MS: i64 = 24 * 60 * 60 * 1_000;

/// Grants the part that the job names, unless all of the invoice's money is gone by now. If some of it is, the part is
/// granted whole and an event is made, after which its share goes.
pub(super) async fn run(deps: &Deps, claimed: &Claimed, now_ms: TimeMs) -> Result<Verdict> {
    let part: PartArgs = args(claimed)?;
    let money = match money_of_invoice(deps, &part.invoice).await {
        Ok(money) => money,
        Err(Failure::Engine(error)) => return Err(error),
        Err(Failure::Stripe(error)) => return Ok(Outcome::Retry { reason: error.to_string() }.into()),
    };
    if let Some(money) = money.as_ref().filter(|money| money.gone >= money.total && money.total > MoneyMinor::ZERO) {
        return Ok(match money.refunded >= money.total {
            true => Outcome::Cancel { reason: format!("the money of {} was given back", part.invoice) },
            // A dispute may still be won.
            false => Outcome::Snooze { until_ms: now_ms + DISPUTE_WAIT_MS },
        }
        .into());
    }
    let ledger = Some((CustomerId::trusted(part.customer.clone()), part.grant().command(&part.invoice)));
    let reviewed = money.and_then(|money| money.reviewed);
    let review = reviewed.map(|object| {
        // Of the charge's or the invoice's stream.
        review_event(deps, &format!("grant:{}", part.key), EventKind::ChargeRefunded, object, now_ms)
    });
    Ok(Verdict { outcome: Outcome::Done, ledger, effects: review.into_iter().collect() })
}
