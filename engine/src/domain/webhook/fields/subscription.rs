//! Subscriptions and their items.

use super::price::Price;
use super::{Metadata, id, metadata_of, rows, short_text, stripe_customer_id, time_ms};
use crate::clock::TimeMs;
use serde_json::Value;

/// The fields of a Stripe subscription that the rules use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscriptionFields {
    /// Its id.
    pub id: Option<String>,
    /// Its Stripe customer.
    pub stripe_customer_id: Option<String>,
    /// Stripe's status.
    pub status: Option<String>,
    /// Its metadata.
    pub metadata: Metadata,
    /// Whether Stripe is to end it with the period.
    pub cancel_at_period_end: bool,
    /// When it is to end. Flexible billing schedules the end here and leaves
    /// `cancel_at_period_end` false.
    pub cancel_at_ms: Option<TimeMs>,
    /// When cancelling was asked for; not when it ended.
    pub canceled_at_ms: Option<TimeMs>,
    /// When it ended.
    pub ended_at_ms: Option<TimeMs>,
    /// When the period ends, as the subscription itself says (before 2025-03-31.basil).
    pub current_period_end_ms: Option<TimeMs>,
    /// Its latest invoice.
    pub latest_invoice_id: Option<String>,
    /// Its items, as far as the event carries them.
    pub items: Vec<Item>,
    /// Whether there are items that the event does not carry.
    pub has_more_items: bool,
    /// How its invoices are treated while collection is paused.
    pub pause_behavior: Option<String>,
    /// When collection resumes by itself.
    pub pause_resumes_at_ms: Option<TimeMs>,
    /// The schedule that manages it.
    pub schedule: Option<Schedule>,
}

/// The schedule of a subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Its id.
    pub id: String,
    /// Whether its phases are there: Stripe gives only the id unless it is asked for more.
    pub is_whole: bool,
    /// When the phase after the present one begins, and its items.
    pub next: Option<(TimeMs, Vec<Item>)>,
}

/// The fields of one of its items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Item {
    /// Its id.
    pub id: Option<String>,
    /// Its price.
    pub price: Price,
    /// Its own metadata.
    pub metadata: Metadata,
    /// How many of the price are subscribed to.
    pub quantity: Option<i64>,
    /// When its period ends (since 2025-03-31.basil).
    pub current_period_end_ms: Option<TimeMs>,
}

impl SubscriptionFields {
    /// Reads a subscription in any API version.
    pub fn read(object: &Value) -> Self {
        let mut items: Vec<Item> = rows(&object["items"]).iter().map(Item::read).collect();
        // Old versions repeat the price of a subscription's only item at its top.
        let own = Price::read(object);
        if items.is_empty() && own != Price::default() {
            items.push(Item { price: own, quantity: object["quantity"].as_i64(), ..Item::default() });
        }
        Self {
            id: id(&object["id"]),
            stripe_customer_id: stripe_customer_id(object),
            status: short_text(&object["status"]),
            metadata: metadata_of(object),
            cancel_at_period_end: object["cancel_at_period_end"] == true,
            cancel_at_ms: time_ms(&object["cancel_at"]),
            canceled_at_ms: time_ms(&object["canceled_at"]),
            ended_at_ms: time_ms(&object["ended_at"]),
            current_period_end_ms: time_ms(&object["current_period_end"]),
            latest_invoice_id: id(&object["latest_invoice"]),
            items,
            has_more_items: object["items"]["has_more"] == true,
            pause_behavior: short_text(&object["pause_collection"]["behavior"]),
            pause_resumes_at_ms: time_ms(&object["pause_collection"]["resumes_at"]),
            schedule: Schedule::read(&object["schedule"]),
        }
    }

    /// Whether all its items are there.
    pub fn has_all_items(&self) -> bool {
        !self.items.is_empty() && !self.has_more_items
    }

    /// When the period ends: as the subscription says, else as the item `ours` says, else the latest of its items.
    pub fn period_end_ms(&self, ours: Option<&Item>) -> Option<TimeMs> {
        self.current_period_end_ms
            .or_else(|| ours.and_then(|item| item.current_period_end_ms))
            .or_else(|| self.items.iter().filter_map(|item| item.current_period_end_ms).max())
    }

    /// Whether it is scheduled to end by the end of the period: `cancel_at_period_end`, or `cancel_at` within it.
    pub fn ends_with_period(&self, ours: Option<&Item>) -> bool {
        let scheduled = self.cancel_at_ms.is_some_and(|at| self.period_end_ms(ours).is_none_or(|end| at <= end));
        self.cancel_at_period_end || scheduled
    }
}

impl Schedule {
    fn read(place: &Value) -> Option<Self> {
        let id = id(place)?;
        let present_ends_ms = time_ms(&place["current_phase"]["end_date"]);
        let phases = place["phases"].as_array().into_iter().flatten();
        let starts = phases.filter_map(|phase| Some((time_ms(&phase["start_date"])?, phase)));
        // One that has ended or was released has no present phase.
        let next = starts
            .filter(|(at_ms, _)| present_ends_ms.is_some_and(|ends_ms| *at_ms >= ends_ms))
            .min_by_key(|next| next.0);
        let items = |phase: &Value| phase["items"].as_array().into_iter().flatten().map(Item::read).collect();
        Some(Self { id, is_whole: place.is_object(), next: next.map(|(at_ms, phase)| (at_ms, items(phase))) })
    }
}

impl Item {
    fn read(item: &Value) -> Self {
        Self {
            id: id(&item["id"]),
            price: Price::read(item),
            metadata: metadata_of(item),
            quantity: item["quantity"].as_i64(),
            current_period_end_ms: time_ms(&item["current_period_end"]),
        }
    }
}
