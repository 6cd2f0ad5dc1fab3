//! Events: relevant ones that never arrived.

use super::{Class, Difference, Repair};
use crate::domain::webhook::{EventKind, fields};
use serde_json::Value;
use std::collections::HashSet;

/// Listed events that Bursar does not know. Types without a rule are skipped, because they would only be stored as
/// done.
pub fn compare(events: &[Value], known: &HashSet<String>) -> Vec<Difference> {
    let missing = |event: &Value| {
        let id = fields::id(&event["id"]).filter(|id| !known.contains(id))?;
        let kind = event["type"].as_str().and_then(EventKind::parse)?;
        let difference = Difference::new(Class::EventMissing, &id, "never came", kind.as_str());
        Some(difference.with_repair(Repair::StoreEvent(event.clone())))
    };
    events.iter().filter_map(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_has_a_rule_and_never_came_is_missing() {
        let events = [
            json!({ "id": "evt_1", "type": "invoice.paid" }),
            json!({ "id": "evt_2", "type": "invoice.paid" }),
            json!({ "id": "evt_3", "type": "product.created" }),
            json!({ "type": "invoice.paid" }),
        ];
        let found = compare(&events, &HashSet::from(["evt_1".to_owned()]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].object_id, "evt_2");
        assert_eq!(found[0].repair, Some(Repair::StoreEvent(events[1].clone())));
    }
}
