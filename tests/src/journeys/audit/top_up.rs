//! Checks that automatic top-ups bought what they should, and nothing beyond their own cap.

use super::{Subject, number, text};
use crate::chaos::caller::Caller;
use crate::journeys::customer::{Customer, TopUpTerms};
use anyhow::Result;
use bursar_engine::clock::parse_rfc3339;
use serde_json::Value;

/// What decides whether a top-up is due.
struct Standing {
    setting: Value,
    available: i64,
    is_suspended: bool,
}

/// Returns the customers that have fewer credits than the threshold of their automatic top-up, although it is on and
/// nothing forbids it.
///
/// # Errors
/// If the application does not answer.
pub async fn overdue_top_ups(caller: &Caller, customers: &[Customer], now_ms: i64) -> Result<Vec<String>> {
    let mut overdue = Vec::new();
    for customer in customers {
        let Some(me) = customer.identity().filter(|_| customer.limits().has_top_ups()) else { continue };
        let detail = caller.get_as_staff(&format!("/admin/v1/customers/{}", me.id), &[]).await?;
        let standing = Standing {
            setting: customer.get(&me, "/api/v1/credits/auto-top-up").await,
            available: number(&detail["credits"], "available"),
            is_suspended: detail["suspended"] == true,
        };
        if standing.is_overdue(now_ms) {
            let (available, setting) = (standing.available, &standing.setting);
            overdue
                .push(format!("{}: {available} credits are available, and a top-up is due: {setting}", customer.name));
        }
    }
    Ok(overdue)
}

impl Standing {
    fn is_overdue(&self, now_ms: i64) -> bool {
        let waits = parse_rfc3339(text(&self.setting, "waits_until")).is_some_and(|until_ms| until_ms > now_ms);
        let is_on = matches!(text(&self.setting, "state"), "on" | "waiting") && !waits;
        // Nothing is bought back that was taken, until the customer spends again, and nothing while a purchase waits.
        let is_kept = matches!(text(&self.setting["problem"], "code"), "credits_taken" | "purchase_waits");
        is_on && !is_kept && !self.is_suspended && self.available < number(&self.setting, "threshold")
    }
}

/// Returns what contradicts the terms that may have been set, of which `None` is nothing.
pub(super) fn differences(subject: &Subject, may_be_set: &[Option<TopUpTerms>]) -> Vec<String> {
    let shown = &subject.top_up;
    let is_shown = |terms: &Option<TopUpTerms>| match terms {
        None => shown["threshold"].is_null(),
        Some(terms) => {
            shown["threshold"] == terms.threshold
                && shown["target"] == terms.target
                && shown["pack"].as_str() == terms.pack
                && shown["month_cap_minor"].as_i64() == terms.month_cap
                && terms.is_on == (shown["state"] != "off")
        }
    };
    if may_be_set.iter().any(is_shown) {
        return Vec::new();
    }
    vec![format!("the top-up is {shown}, and {may_be_set:?} was set")]
}
