//! The contents of a `marketplace_purchase` event. Parsing is lenient: only facts that the rules need are required.

use super::parse_body;
use crate::clock::{TimeMs, parse_day, parse_rfc3339};
use crate::domain::webhook::fields::clean;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest text to keep, in characters.
const TEXT_LEN_MAX: usize = 255;

/// The change to a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It began.
    Purchased,
    /// Another plan, number of units or billing cycle is in force.
    Changed,
    /// It has ended.
    Cancelled,
    /// Another plan will be in force from the effective date.
    PendingChange,
    /// The pending change was withdrawn.
    PendingChangeCancelled,
}

impl Action {
    const ALL: [Self; 5] =
        [Self::Purchased, Self::Changed, Self::Cancelled, Self::PendingChange, Self::PendingChangeCancelled];

    /// The name as GitHub spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Purchased => "purchased",
            Self::Changed => "changed",
            Self::Cancelled => "cancelled",
            Self::PendingChange => "pending_change",
            Self::PendingChangeCancelled => "pending_change_cancelled",
        }
    }

    /// The type under which its events are stored: GitHub's event and action.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Purchased => "marketplace_purchase.purchased",
            Self::Changed => "marketplace_purchase.changed",
            Self::Cancelled => "marketplace_purchase.cancelled",
            Self::PendingChange => "marketplace_purchase.pending_change",
            Self::PendingChangeCancelled => "marketplace_purchase.pending_change_cancelled",
        }
    }

    /// Parses the type of a stored event; `None` if events of this type are not processed.
    pub fn of_event_type(event_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.event_type() == event_type)
    }

    /// Reads GitHub's name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }
}

/// The contents of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// The change.
    pub action: Action,
    /// When the change takes effect.
    pub effective_ms: TimeMs,
    /// GitHub's id of the buying account, a user's or an organisation's.
    pub account_id: i64,
    /// The account's name at GitHub, which may change.
    pub login: String,
    /// `User` or `Organization`.
    pub account_type: String,
    /// An organisation's billing address; GitHub gives none for a user.
    pub email: Option<String>,
    /// GitHub's id of the listing's plan.
    pub plan_id: i64,
    /// The plan's name in the listing.
    pub plan_name: String,
    /// GitHub's id of the plan before a change, if the event gives it.
    pub previous_plan_id: Option<i64>,
    /// `monthly` or `yearly`; none for a free plan.
    pub billing_cycle: Option<String>,
    /// Units bought, of a plan that is sold by the unit.
    pub unit_count: i64,
    /// Whether it is on a free trial, so that nothing is paid yet.
    pub on_free_trial: bool,
    /// When the free trial ends.
    pub free_trial_ends_ms: Option<TimeMs>,
    /// The next billing date, when the next period begins and is paid.
    pub next_billing_ms: Option<TimeMs>,
}

/// The action of an event, in GitHub's spelling.
pub fn read_action(event: &Value) -> Option<String> {
    text(&event["action"])
}

/// GitHub's id of an event's account.
pub fn account_id(event: &Value) -> Option<i64> {
    event["marketplace_purchase"]["account"]["id"].as_i64().filter(|id| *id > 0)
}

/// Parses an event.
///
/// # Errors
/// A reason that begins with a stable word: `unreadable` or `shape_incomplete`.
pub fn read_purchase(body: &[u8]) -> Result<Purchase, String> {
    let event = parse_body(body).map_err(|reason| format!("unreadable: {reason}"))?;
    let missing = |what: &str| format!("shape_incomplete: the event carries no readable {what}");
    let action = event["action"].as_str().and_then(Action::parse).ok_or_else(|| missing("action"))?;
    let said = &event["marketplace_purchase"];
    let (account, plan) = (&said["account"], &said["plan"]);
    Ok(Purchase {
        action,
        effective_ms: time_ms(&event["effective_date"]).ok_or_else(|| missing("effective_date"))?,
        account_id: account_id(&event).ok_or_else(|| missing("marketplace_purchase.account.id"))?,
        login: text(&account["login"]).ok_or_else(|| missing("marketplace_purchase.account.login"))?,
        account_type: text(&account["type"]).unwrap_or_else(|| "User".to_owned()),
        email: text(&account["organization_billing_email"]),
        plan_id: plan["id"].as_i64().ok_or_else(|| missing("marketplace_purchase.plan.id"))?,
        plan_name: text(&plan["name"]).ok_or_else(|| missing("marketplace_purchase.plan.name"))?,
        previous_plan_id: event["previous_marketplace_purchase"]["plan"]["id"].as_i64(),
        billing_cycle: text(&said["billing_cycle"]),
        unit_count: said["unit_count"].as_i64().unwrap_or(1).max(0),
        on_free_trial: said["on_free_trial"].as_bool().unwrap_or(false),
        free_trial_ends_ms: time_ms(&said["free_trial_ends_on"]),
        next_billing_ms: time_ms(&said["next_billing_date"]),
    })
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(|text| clean(text.trim(), TEXT_LEN_MAX)).filter(|text| !text.is_empty())
}

/// GitHub's times are RFC 3339, or a date alone.
fn time_ms(value: &Value) -> Option<TimeMs> {
    let text = value.as_str()?.trim();
    parse_rfc3339(text).or_else(|| parse_day(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::rfc3339;
    use serde_json::json;

    fn event() -> Value {
        json!({
            "action": "purchased",
            "effective_date": "2026-10-25T00:00:00+00:00",
            "sender": { "login": "ada", "id": 7, "type": "User" },
            "marketplace_purchase": {
                "account": {
                    "type": "Organization", "id": 4, "node_id": "x", "login": "acme",
                    "organization_billing_email": "billing@example.com",
                },
                "billing_cycle": "monthly",
                "unit_count": 1,
                "on_free_trial": false,
                "free_trial_ends_on": null,
                "next_billing_date": "2026-11-05T00:00:00+00:00",
                "plan": { "id": 435, "name": "Pro", "price_model": "FLAT_RATE", "unit_name": null, "bullets": [] },
            },
        })
    }

    fn read(event: &Value) -> Result<Purchase, String> {
        read_purchase(event.to_string().as_bytes())
    }

    #[test]
    fn a_purchase_is_read() {
        let read = read(&event()).expect("readable");
        assert_eq!((read.action, read.account_id, read.login.as_str()), (Action::Purchased, 4, "acme"));
        assert_eq!((read.plan_id, read.plan_name.as_str(), read.unit_count), (435, "Pro", 1));
        assert_eq!(rfc3339(read.effective_ms), "2026-10-25T00:00:00.000Z");
        assert_eq!(read.next_billing_ms.map(rfc3339).as_deref(), Some("2026-11-05T00:00:00.000Z"));
        assert_eq!(read.email.as_deref(), Some("billing@example.com"));
    }

    #[test]
    fn a_person_on_a_free_plan_has_no_address_cycle_or_next_date() {
        let mut event = event();
        for field in ["billing_cycle", "next_billing_date", "unit_count"] {
            event["marketplace_purchase"][field] = Value::Null;
        }
        event["marketplace_purchase"]["account"] = json!({ "type": "User", "id": 4, "login": "ada" });
        let read = read(&event).expect("readable");
        assert_eq!((read.email, read.billing_cycle, read.next_billing_ms, read.unit_count), (None, None, None, 1));
    }

    #[test]
    fn a_change_names_the_plan_before_it() {
        let mut event = event();
        assert_eq!(read(&event).expect("readable").previous_plan_id, None);
        event["previous_marketplace_purchase"] = json!({ "plan": { "id": 434, "name": "Free" } });
        assert_eq!(read(&event).expect("readable").previous_plan_id, Some(434));
    }

    #[test]
    fn what_no_rule_can_do_without_is_named() {
        for path in
            ["/action", "/effective_date", "/marketplace_purchase/account/id", "/marketplace_purchase/plan/name"]
        {
            let mut event = event();
            *event.pointer_mut(path).expect("it is there") = json!([]);
            let reason = read(&event).expect_err("incomplete");
            assert!(reason.starts_with("shape_incomplete: "), "{reason}");
            assert!(reason.ends_with(&path[1..].replace('/', ".")), "{reason}");
        }
        assert!(read_purchase(b"{").expect_err("no JSON").starts_with("unreadable: "));
    }

    proptest::proptest! {
        #[test]
        fn no_value_in_any_place_panics(at in 0_usize..12, number: i64, text in ".{0,40}", is_text: bool) {
            let paths = [
                "/action", "/effective_date", "/marketplace_purchase", "/marketplace_purchase/account",
                "/marketplace_purchase/account/id", "/marketplace_purchase/account/login",
                "/marketplace_purchase/unit_count", "/marketplace_purchase/on_free_trial",
                "/marketplace_purchase/next_billing_date", "/marketplace_purchase/plan",
                "/marketplace_purchase/plan/id", "/marketplace_purchase/plan/name",
            ];
            let mut event = event();
            *event.pointer_mut(paths[at]).expect("it is there") = if is_text { json!(text) } else { json!(number) };
            let _ = read(&event);
        }
    }
}
