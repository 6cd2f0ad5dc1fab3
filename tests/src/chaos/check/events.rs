//! Checks that each event has the expected state, or is dead for an expected reason.

use super::READS_MAX;
use crate::chaos::caller::Caller;
use crate::chaos::record::{Discrepancy, Event, Expected, Known};
use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// How many events had each outcome.
#[derive(Debug, Clone, Default, Serialize)]
pub struct EventOutcomes {
    /// Processed, including those that needed no action.
    pub processed: u64,
    /// Dead, by the code that their last error begins with.
    pub dead: BTreeMap<String, u64>,
}

/// Reads every event that was sent, and looks for others.
pub async fn compare_all(caller: &Caller, known: &Known) -> Result<(Vec<Discrepancy>, EventOutcomes)> {
    let reads = stream::iter(known.events.iter().map(|event| async move {
        let detail = caller.get_as_staff(&format!("/admin/v1/events/{}", event.external_id), &[]).await?;
        anyhow::Ok((event, detail))
    }));
    let found: Vec<(&Event, Value)> = reads.buffered(READS_MAX).try_collect().await?;
    let mut outcomes = EventOutcomes::default();
    let mut discrepancies = Vec::new();
    for (event, detail) in &found {
        let view = &detail["event"];
        match view["state"].as_str() {
            Some("processed") => outcomes.processed += 1,
            Some("dead") => {
                let reason = reason_code(view["last_error"].as_str().unwrap_or_default());
                *outcomes.dead.entry(reason).or_default() += 1;
            }
            _ => {}
        }
        discrepancies.extend(compare(event, detail));
    }
    let sent: HashSet<&str> = known.events.iter().map(|event| event.external_id.as_str()).collect();
    for event in caller.list_as_staff("/admin/v1/events", &[]).await? {
        if !event["external_id"].as_str().is_some_and(|id| sent.contains(id)) {
            discrepancies.push(Discrepancy::doubled(format!("this event was never sent: {event}")));
        }
    }
    Ok((discrepancies, outcomes))
}

/// Returns what is wrong with one event; `detail` is null if it was not found.
pub fn compare(event: &Event, detail: &Value) -> Vec<Discrepancy> {
    let name = format!("event {} ({})", event.external_id, event.what);
    let view = &detail["event"];
    let mut discrepancies = Vec::new();
    if event.expected == Expected::Absent {
        if !detail.is_null() {
            discrepancies.push(Discrepancy::doubled(format!("{name} was forged and accepted: {view}")));
        }
        return discrepancies;
    }
    if event.unanswered > 0 {
        let text = format!("{name}: {} deliveries never had a definite answer", event.unanswered);
        discrepancies.push(Discrepancy::wrong(text));
    }
    if event.acknowledged == 0 {
        return discrepancies;
    }
    if detail.is_null() {
        discrepancies.push(Discrepancy::lost(format!("{name} was answered with 2xx and cannot be found")));
        return discrepancies;
    }
    let state = view["state"].as_str().unwrap_or_default();
    let last_error = view["last_error"].as_str().unwrap_or_default();
    match event.expected {
        Expected::Processed if state == "processed" => {}
        Expected::Dead(reasons) if state == "dead" && reasons.iter().any(|reason| last_error.contains(reason)) => {}
        expected => {
            let text = format!(
                "{name} should be {expected:?} and is {state}; {}; {view}; attempts: {}",
                detail["why"], detail["attempts"]
            );
            discrepancies.push(if state == "dead" { Discrepancy::lost(text) } else { Discrepancy::wrong(text) });
        }
    }
    if event.fresh > 1 {
        discrepancies.push(Discrepancy::doubled(format!("{name} was called new {} times", event.fresh)));
    }
    let counted = view["deliveries"].as_i64().and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
    if counted < event.acknowledged {
        let text = format!("{name} was delivered {} times, of which {counted} are counted", event.acknowledged);
        discrepancies.push(Discrepancy::wrong(text));
    }
    discrepancies
}

/// The stable code at the beginning of a reason, without the prefix about attempts.
fn reason_code(reason: &str) -> String {
    let own = match reason.strip_prefix("gave up after ") {
        Some(rest) => rest.split_once(": ").map_or(rest, |(_, own)| own),
        None => reason,
    };
    own.split(':').next().unwrap_or(own).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::record::Kind;
    use serde_json::json;

    fn event(expected: Expected) -> Event {
        let (external_id, what) = ("evt_1".to_owned(), "invoice.paid".to_owned());
        Event { external_id, what, expected, acknowledged: 3, fresh: 1, unanswered: 0 }
    }

    fn found(state: &str, last_error: &str) -> Value {
        json!({ "event": { "state": state, "last_error": last_error, "deliveries": 3 } })
    }

    #[test]
    fn an_event_in_its_expected_state_has_no_discrepancies() {
        assert!(compare(&event(Expected::Processed), &found("processed", "")).is_empty());
        let dead = found("dead", "gave up after 8 attempts: customer_unknown: no customer");
        assert!(compare(&event(Expected::Dead(&["customer_unknown"])), &dead).is_empty());
        assert!(compare(&event(Expected::Absent), &Value::Null).is_empty());
    }

    #[test]
    fn a_missing_acknowledged_event_is_lost() {
        let found = compare(&event(Expected::Processed), &Value::Null);
        assert_eq!(found.iter().map(|found| found.kind).collect::<Vec<_>>(), [Kind::Lost]);
    }

    #[test]
    fn an_event_dead_for_an_unexpected_reason_is_lost() {
        let dead = found("dead", "gave up after 8 attempts: the database is unavailable");
        assert_eq!(compare(&event(Expected::Processed), &dead)[0].kind, Kind::Lost);
        assert_eq!(compare(&event(Expected::Dead(&["unreadable"])), &dead)[0].kind, Kind::Lost);
        assert_eq!(compare(&event(Expected::Processed), &found("waiting", ""))[0].kind, Kind::Wrong);
    }

    #[test]
    fn an_accepted_forgery_and_an_event_that_was_new_twice_are_detected() {
        assert_eq!(compare(&event(Expected::Absent), &found("processed", ""))[0].kind, Kind::Doubled);
        let twice = Event { fresh: 2, ..event(Expected::Processed) };
        assert_eq!(compare(&twice, &found("processed", ""))[0].kind, Kind::Doubled);
    }

    #[test]
    fn reasons_are_counted_by_their_code() {
        assert_eq!(reason_code("gave up after 8 attempts: customer_unknown: no customer for x"), "customer_unknown");
        assert_eq!(reason_code("unreadable: not JSON"), "unreadable");
    }
}
