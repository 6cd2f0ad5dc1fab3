//! The sweep over automatic top-ups: begins those that are due.
//!
//! Nodes sweep independently. A top-up that two of them find due is begun once. What cannot be begun is found again by
//! the next sweep. The cost of a sweep is one row and one account for each customer whose top-ups are on.

use crate::deadline::{ANSWER_MAX, within};
use crate::dispatch::Dispatcher;
use bursar_engine::clock::Clock;
use bursar_engine::domain::charge::top_up::TopUpSetting;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::store::top_up::top_up_due;
use bursar_engine::usecase::top_up;
use std::time::Duration;

/// How often due top-ups are looked for.
pub(super) const TOP_UPS_EVERY: Duration = Duration::from_secs(3);
/// Maximum number of due top-ups read at once.
const PAGE_MAX: u64 = 200;
/// A sweep ends after this many pages. The next one begins with the customers after them.
const PAGES_MAX: usize = 10;

/// Begins due top-ups, after those of the sweep before if that did not reach the end. Returns where it stopped.
pub(super) async fn begin_due(
    db: &Db,
    clock: &Clock,
    dispatcher: &Dispatcher,
    mut after: Option<TopUpSetting>,
) -> Option<TopUpSetting> {
    for _ in 0..PAGES_MAX {
        let last = after.as_ref().map(|setting| &setting.customer_id);
        let page = within(ANSWER_MAX, top_up_due(db.read(), last, None, PAGE_MAX, clock.now_ms())).await;
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(error = %error.chain(), "due top-ups could not be looked for");
                return after;
            }
        };
        for due in &page {
            match within(ANSWER_MAX, top_up::begin(db, due, clock.now_ms())).await {
                Ok(wakes) => dispatcher.announce(wakes),
                Err(error) => {
                    tracing::warn!(customer.id = %due.customer_id, error = %error.chain(), "a top-up could not be begun; the next sweep tries again");
                }
            }
        }
        if (page.len() as u64) < PAGE_MAX {
            return None;
        }
        after = page.into_iter().last();
    }
    after
}
