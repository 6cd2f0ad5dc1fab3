//! Plans which event is delivered where and when. `deliver/courier.rs` sends.

pub(crate) mod courier;
pub(crate) mod sign;

use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::objects::event::matches;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashSet;

/// Maximum number of deliveries that wait or have failed. Further ones fail at once and can be redelivered.
pub(crate) const WAITING_MAX: usize = 100_000;
/// The kind of the store's entries for deliveries.
const KIND: &str = "_delivery";

/// One delivery of one event to one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    object: String,
    pub(crate) event: String,
    pub(crate) endpoint: String,
    pub(crate) state: DeliveryState,
    pub(crate) tries: usize,
    /// Number of sends that remain. More than one if the policy makes duplicates.
    pub(crate) copies: u32,
    /// The earliest real time to send it.
    pub(crate) not_before_ms: i64,
    /// The earliest sandbox time to send it.
    pub(crate) due_s: i64,
    /// Whether it is a redelivery, which does not count in the event's `pending_webhooks`.
    pub(crate) is_ordered: bool,
}

/// The state of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeliveryState {
    Waiting,
    Delivered,
    Failed,
}

impl StripeAccount {
    /// Plans the deliveries of a new event and returns their number.
    pub(crate) fn plan_deliveries(&mut self, event: &Value) -> Result<usize, ApiError> {
        let endpoints = self.endpoints_for(event);
        for endpoint in &endpoints {
            self.plan_delivery(event.id(), endpoint, false)?;
        }
        let is_thin = event.text("object") == "v2.core.event";
        if !is_thin && (self.policy.thin_twins || self.has_thin_endpoint()) {
            // The deliveries of the thin event do not keep this event pending.
            self.emit_thin(event.id())?;
        }
        Ok(endpoints.len())
    }

    /// The endpoints that are subscribed to an event.
    fn endpoints_for(&self, event: &Value) -> Vec<String> {
        let is_thin = event.text("object") == "v2.core.event";
        let kind = if is_thin { event.text("_twin") } else { event.text("type") };
        let wanted = |endpoint: &&Value| {
            let mut patterns = endpoint["enabled_events"].as_array().into_iter().flatten().filter_map(Value::as_str);
            (is_thin == endpoint.is("_is_thin") || (is_thin && self.policy.thin_twins))
                && patterns.any(|pattern| matches(pattern, kind))
        };
        self.store.of_kind("webhook_endpoint").filter(wanted).map(|row| row.id().to_owned()).collect()
    }

    fn has_thin_endpoint(&self) -> bool {
        self.store.of_kind("webhook_endpoint").any(|endpoint| endpoint.is("_is_thin"))
    }

    fn plan_delivery(&mut self, event: &str, endpoint: &str, is_ordered: bool) -> Result<(), ApiError> {
        let policy = self.policy.clone();
        let is_dropped =
            !is_ordered && policy.drop_probability > 0.0 && self.rng.random_bool(policy.drop_probability.min(1.0));
        let is_full = self.store.count(KIND) >= WAITING_MAX;
        let delay = if policy.delay_max_ms > policy.delay_min_ms {
            self.rng.random_range(policy.delay_min_ms..=policy.delay_max_ms)
        } else {
            policy.delay_min_ms
        };
        let copies = if policy.duplicates_max > 1 { self.rng.random_range(1..=policy.duplicates_max) } else { 1 };
        let delivery = Delivery {
            id: self.new_id("_dlv"),
            object: KIND.to_owned(),
            event: event.to_owned(),
            endpoint: endpoint.to_owned(),
            state: if is_dropped || is_full { DeliveryState::Failed } else { DeliveryState::Waiting },
            tries: 0,
            copies,
            not_before_ms: self.real_ms.saturating_add_unsigned(delay),
            due_s: self.sandbox_s(),
            is_ordered,
        };
        self.keep_delivery(&delivery)
    }

    /// Plans another delivery of an event to all subscribed endpoints. Returns their number.
    pub(crate) fn redeliver(&mut self, event: &str) -> Result<usize, ApiError> {
        let found = self.get(event).filter(|value| matches!(value.text("object"), "event" | "v2.core.event")).cloned();
        let event = found.ok_or_else(|| ApiError::no_such("event", event, None))?;
        let open = self.deliveries_of(event.id());
        let mut count = 0;
        for mut delivery in open.into_iter().filter(|delivery| delivery.state != DeliveryState::Delivered) {
            delivery.state = DeliveryState::Waiting;
            delivery.tries = 0;
            (delivery.due_s, delivery.not_before_ms) = (self.sandbox_s(), self.real_ms);
            self.keep_delivery(&delivery)?;
            count += 1;
        }
        if count > 0 {
            return Ok(count);
        }
        let endpoints = self.endpoints_for(&event);
        for endpoint in &endpoints {
            self.plan_delivery(event.id(), endpoint, true)?;
        }
        Ok(endpoints.len())
    }

    /// Plans another delivery of all events that some endpoint did not accept. Returns the number of deliveries.
    pub(crate) fn redeliver_all(&mut self) -> Result<usize, ApiError> {
        let open: Vec<String> = self
            .store
            .of_kind(KIND)
            .filter(|row| row.text("state") != "delivered")
            .map(|row| row.text("event").to_owned())
            .collect();
        let mut seen = HashSet::new();
        let mut count = 0;
        for event in open.into_iter().filter(|event| seen.insert(event.clone())) {
            count += self.redeliver(&event)?;
        }
        Ok(count)
    }

    /// Number of waiting deliveries.
    pub(crate) fn waiting(&self) -> usize {
        self.store.of_kind(KIND).filter(|row| row.text("state") == "waiting").count()
    }

    /// The deliveries that may be sent now, in the order of planning.
    pub(crate) fn due_deliveries(&self, max: usize, in_flight: &HashSet<String>) -> Vec<Delivery> {
        if self.policy.is_paused {
            return Vec::new();
        }
        let due = self.store.of_kind(KIND).filter(|row| {
            row.text("state") == "waiting"
                && row.int("not_before_ms") <= self.real_ms
                && row.int("due_s") <= self.now_s
                && !in_flight.contains(row.id())
        });
        due.take(max).filter_map(read).collect()
    }

    /// Records the result of an attempt. `retry_after_s` has the delays before each retry, in sandbox seconds.
    pub(crate) fn record_delivery(
        &mut self,
        id: &str,
        is_accepted: bool,
        retry_after_s: &[i64],
    ) -> Result<(), ApiError> {
        let Some(mut delivery) = self.get(id).and_then(read) else { return Ok(()) };
        if delivery.state != DeliveryState::Waiting {
            return Ok(());
        }
        delivery.tries += 1;
        if is_accepted {
            delivery.copies = delivery.copies.saturating_sub(1);
            if delivery.copies == 0 {
                delivery.state = DeliveryState::Delivered;
            }
        } else {
            match retry_after_s.get(delivery.tries - 1) {
                Some(after_s) => delivery.due_s = self.now_s + after_s,
                None => delivery.state = DeliveryState::Failed,
            }
        }
        let is_done = delivery.state == DeliveryState::Delivered;
        self.keep_delivery(&delivery)?;
        if is_done {
            self.count_pending(&delivery.event);
            // A finished delivery is deleted: the event's counter suffices.
            self.store.remove(id);
        }
        Ok(())
    }

    fn count_pending(&mut self, event: &str) {
        let open = self.deliveries_of(event);
        let open = open.iter().filter(|delivery| delivery.state != DeliveryState::Delivered && !delivery.is_ordered);
        let pending = open.count();
        if self.get(event).is_some_and(|event| event.text("object") == "event") {
            self.change(event, json!({ "pending_webhooks": pending }));
        }
    }

    /// Deletes the deliveries of an event.
    pub(crate) fn forget_deliveries(&mut self, event: &str) {
        for delivery in self.deliveries_of(event) {
            self.store.remove(&delivery.id);
        }
    }

    /// Whether a delivery of an event waits.
    pub(crate) fn is_to_be_delivered(&self, event: &str) -> bool {
        self.deliveries_of(event).iter().any(|delivery| delivery.state == DeliveryState::Waiting)
    }

    fn deliveries_of(&self, event: &str) -> Vec<Delivery> {
        // In the store's index, a delivery's event takes the place of a customer.
        self.store.of_customer(KIND, event).filter_map(read).collect()
    }

    fn keep_delivery(&mut self, delivery: &Delivery) -> Result<(), ApiError> {
        let mut value =
            serde_json::to_value(delivery).map_err(|_| ApiError::api(500, "The SANDBOX cannot keep a delivery."))?;
        value["_customer"] = delivery.event.as_str().into();
        self.store.put(&delivery.id, value);
        Ok(())
    }
}

fn read(row: &Value) -> Option<Delivery> {
    serde_json::from_value(row.clone()).ok()
}
