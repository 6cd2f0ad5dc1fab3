//! The sweep over automatic top-ups: begins those that are due.
//!
//! Nodes sweep independently. A top-up that two of them find due is begun once. What cannot be begun is found again by
//! a later sweep. A sweep looks at a bounded number of customers whose top-ups are on, one row and one account each,
//! and of those with few credits at the end of the ledger, so its cost does not grow with their number; where there are
//! more, each is looked at by every second sweep, or third.

use crate::deadline::{ANSWER_MAX, within};
use crate::dispatch::Dispatcher;
use bursar_engine::Result;
use bursar_engine::clock::Clock;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::store::top_up::{top_up_due, top_up_page_end};
use bursar_engine::usecase::top_up;
use std::time::Duration;

/// How often due top-ups are looked for.
pub(super) const TOP_UPS_EVERY: Duration = Duration::from_secs(3);
/// Number of customers looked at by one statement.
const PAGE: u64 = 1_000;
/// A sweep ends after this many pages. The next one begins with the customers after them.
const PAGES_MAX: usize = 10;

/// Begins due top-ups, from the customer at which the sweep before stopped, if it did not reach the end. Returns where
/// it stopped.
pub(super) async fn begin_due(
    db: &Db,
    clock: &Clock,
    dispatcher: &Dispatcher,
    mut first: Option<CustomerId>,
) -> Option<CustomerId> {
    for _ in 0..PAGES_MAX {
        match begin_page(db, clock, dispatcher, first.as_ref()).await {
            // The next page begins with the last customer of this one, which does no harm.
            Ok(Some(last)) => first = Some(last),
            Ok(None) => return None,
            Err(error) => {
                tracing::debug!(error = %error.chain(), "due top-ups could not be looked for");
                return first;
            }
        }
    }
    first
}

/// Begins the due top-ups of one page. Returns the page's last customer if there may be more.
async fn begin_page(
    db: &Db,
    clock: &Clock,
    dispatcher: &Dispatcher,
    first: Option<&CustomerId>,
) -> Result<Option<CustomerId>> {
    let last = within(ANSWER_MAX, top_up_page_end(db.read(), first, PAGE)).await?;
    for due in within(ANSWER_MAX, top_up_due(db.read(), first, last.as_ref(), clock.now_ms())).await? {
        match within(ANSWER_MAX, top_up::begin(db, &due, clock.now_ms())).await {
            Ok(wakes) => dispatcher.announce(wakes),
            Err(error) => {
                tracing::warn!(customer.id = %due.customer_id, error = %error.chain(), "a top-up could not be begun; a later sweep tries again");
            }
        }
    }
    Ok(last)
}
