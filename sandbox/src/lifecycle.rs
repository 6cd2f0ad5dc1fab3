//! Changes over time: trials end, subscriptions renew, drafts are finalized, payments are retried, unpaid new
//! subscriptions expire.

mod transition;

use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::idempotency;
use crate::objects::subscription::{is_over, period_end};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How long a new subscription waits for its first payment. Source: Stripe, "How subscriptions work".
pub(crate) const INCOMPLETE_EXPIRES_S: i64 = 23 * 3_600;
/// How long before the end of a trial `customer.subscription.trial_will_end` is sent. Source: Stripe, "Using trial
/// periods".
pub(crate) const TRIAL_WARNING_S: i64 = 3 * 86_400;
/// Maximum number of transitions in one advance of the clock. The rest run in the next advance.
const TRANSITIONS_MAX: usize = 100_000;

/// What time alone does to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transition {
    WarnOfTrialEnd,
    EndTrial,
    Renew,
    End,
    Expire,
    ResumeCollection,
    Finalize,
    Retry,
}

/// The next transition of an object and its time, from the object's fields.
pub(crate) fn next_transition(object: &Value) -> Option<(i64, Transition)> {
    match object.text("object") {
        "subscription" => subscription_transition(object),
        "invoice" => invoice_transition(object),
        _ => None,
    }
}

fn subscription_transition(subscription: &Value) -> Option<(i64, Transition)> {
    if is_over(subscription) {
        return None;
    }
    let mut transitions: Vec<(i64, Transition)> = Vec::new();
    match subscription.text("status") {
        "incomplete" => transitions.push((subscription.int("created") + INCOMPLETE_EXPIRES_S, Transition::Expire)),
        "trialing" => {
            let end = subscription.int("trial_end");
            if !subscription.is("_is_warned") {
                transitions.push((end - TRIAL_WARNING_S, Transition::WarnOfTrialEnd));
            }
            transitions.push((end, Transition::EndTrial));
        }
        "paused" => {}
        _ => transitions.push((period_end(subscription), Transition::Renew)),
    }
    if let Some(at) = subscription.opt_int("cancel_at") {
        transitions.push((at, Transition::End));
    }
    if let Some(at) = subscription["pause_collection"].opt_int("resumes_at") {
        transitions.push((at, Transition::ResumeCollection));
    }
    // At the same time, an end precedes a renewal.
    transitions.into_iter().min_by_key(|(at, transition)| (*at, *transition != Transition::End))
}

fn invoice_transition(invoice: &Value) -> Option<(i64, Transition)> {
    match invoice.text("status") {
        "draft" => Some((invoice.opt_int("automatically_finalizes_at")?, Transition::Finalize)),
        "open" => Some((invoice.opt_int("next_payment_attempt")?, Transition::Retry)),
        _ => None,
    }
}

impl StripeAccount {
    /// Carries out what is due until `until_s`, in order, each at its own time, however long the way is. Returns the
    /// number of transitions, at most [`TRANSITIONS_MAX`]. What has a test clock is left to it.
    pub(crate) fn run_due(&mut self, until_s: i64) -> Result<usize, ApiError> {
        self.arrival_s = Some(until_s);
        let done = self.run_transitions(until_s, None);
        self.arrival_s = None;
        let done = done?;
        self.now_s = until_s;
        idempotency::prune(self);
        self.prune_events();
        Ok(done)
    }

    /// The transitions of what has this test clock, or none.
    pub(crate) fn run_transitions(&mut self, until_s: i64, test_clock: Option<&str>) -> Result<usize, ApiError> {
        let kinds = ["subscription", "invoice"];
        let objects = kinds.into_iter().flat_map(|kind| self.store.of_kind(kind));
        let mut heap: BinaryHeap<Reverse<(i64, String)>> = objects
            .filter_map(|object| Some(Reverse((next_transition(object)?.0, object.id().to_owned()))))
            .filter(|Reverse((at, id))| *at <= until_s && self.copy(id).opt("test_clock") == test_clock)
            .collect();
        let from_s = self.now_s;
        let mut done = 0;
        while done < TRANSITIONS_MAX
            && let Some(Reverse((at, id))) = heap.pop()
        {
            let Some((due_at, transition)) = self.get(&id).and_then(next_transition) else { continue };
            if due_at > at {
                heap.push(Reverse((due_at, id)));
                continue;
            }
            if due_at > until_s {
                continue;
            }
            self.now_s = due_at.max(from_s.min(until_s));
            self.apply_transition(&id, transition)?;
            done += 1;
            let invoice = self.copy(&id).text("latest_invoice").to_owned();
            let subscription = self.copy(&id).text("_subscription").to_owned();
            for id in [id, invoice, subscription] {
                if let Some((at, _)) = self.get(&id).and_then(next_transition).filter(|(at, _)| *at <= until_s) {
                    heap.push(Reverse((at, id)));
                }
            }
        }
        Ok(done)
    }

    /// Schedules the next attempt to pay an invoice, if the rules have one.
    pub(crate) fn plan_retry(&mut self, id: &str) -> Result<(), ApiError> {
        let invoice = self.copy(id);
        let is_first_of_subscription = invoice.text("billing_reason") == "subscription_create";
        let is_planned = invoice.opt_int("next_payment_attempt").is_some();
        if is_first_of_subscription || is_planned || invoice.text("collection_method") == "send_invoice" {
            return Ok(());
        }
        if invoice.text("billing_reason") == "manual" && !invoice.is("auto_advance") {
            return Ok(());
        }
        let used = usize::try_from(invoice.int("_retries")).unwrap_or_default();
        let next = self.rules.retry_after_days.get(used).map(|days| self.now_s + days * 86_400);
        self.change(id, json!({ "next_payment_attempt": next }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(fields: Value) -> Value {
        let mut subscription = json!({
            "object": "subscription", "status": "active", "created": 1_000,
            "items": { "data": [{ "current_period_end": 5_000 }] },
        });
        crate::template::overlay(&mut subscription, fields);
        subscription
    }

    #[test]
    fn an_incomplete_subscription_expires_after_23_hours() {
        let transition = next_transition(&subscription(json!({ "status": "incomplete" })));
        assert_eq!(transition, Some((1_000 + 23 * 3_600, Transition::Expire)));
    }

    #[test]
    fn a_subscription_that_ends_with_its_period_does_not_renew() {
        assert_eq!(next_transition(&subscription(json!({ "cancel_at": 5_000 }))), Some((5_000, Transition::End)));
        assert_eq!(next_transition(&subscription(json!({ "cancel_at": 6_000 }))), Some((5_000, Transition::Renew)));
    }

    #[test]
    fn the_end_of_a_trial_is_announced_once_three_days_before() {
        let end = 2_000_000;
        let trial = json!({ "status": "trialing", "trial_end": end });
        assert_eq!(next_transition(&subscription(trial)), Some((end - TRIAL_WARNING_S, Transition::WarnOfTrialEnd)));
        let warned = json!({ "status": "trialing", "trial_end": end, "_is_warned": true });
        assert_eq!(next_transition(&subscription(warned)), Some((end, Transition::EndTrial)));
    }

    #[test]
    fn an_ended_subscription_has_nothing_due() {
        for status in ["canceled", "incomplete_expired"] {
            assert_eq!(next_transition(&subscription(json!({ "status": status, "cancel_at": 1 }))), None);
        }
    }
}
