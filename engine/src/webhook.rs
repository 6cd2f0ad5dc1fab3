//! stub
#![allow(missing_docs)]
use crate::{clock::TimeMs, customer::Customer, ids::EventId, job::Verdict, subscription::Subscription};
use serde_json::Value;
#[derive(Debug, Clone)]
pub struct StoredEvent { pub id: EventId, pub source: String, pub external_id: String, pub event_type: String, pub payload: Vec<u8>, pub stream_key: String, pub deliveries: i64, pub received_at_ms: TimeMs }
#[derive(Debug, Clone)]
pub struct ProPrice { pub price_id: Option<String>, pub lookup_key: String }
pub struct Envelope { pub external_id: String, pub event_type: String, pub livemode: Option<bool>, pub is_thin: bool, pub object: Option<Value> }
pub struct Unreadable { pub reason: String }
pub fn envelope(_: &[u8]) -> Result<Envelope, Unreadable> { Err(Unreadable { reason: String::new() }) }
pub fn fallback_external_id(_: &[u8]) -> String { String::new() }
pub fn stream_key(_: &Envelope) -> String { String::new() }
pub const WANTED: &[&str] = &["invoice.paid"];
pub fn wanted(t: &str) -> bool { WANTED.contains(&t) }
pub struct Lookup { pub stripe_customer_id: Option<String>, pub bursar_customer_id: Option<String>, pub subscription_id: Option<String> }
pub fn lookup(_: &Value, _: &str) -> Lookup { Lookup { stripe_customer_id: None, bursar_customer_id: None, subscription_id: None } }
pub struct Facts<'a> { pub event_type: &'a str, pub object: &'a Value, pub customer: Option<Customer>, pub subscription: Option<Subscription>, pub subscriptions_of_customer: Vec<Subscription>, pub pro: &'a ProPrice, pub pro_credits: i64, pub now_ms: TimeMs }
pub fn decide(_: &Facts<'_>) -> Verdict { crate::job::Outcome::Done.into() }
