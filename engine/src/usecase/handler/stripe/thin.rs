//! Thin events: they carry no object. Source: Stripe, "Event destinations".
//!
//! The ordinary event that announces the same, its twin, is fetched and taken in like a delivery: in the stream of its
//! Stripe customer, and only once, even if Stripe delivers it too. Without a twin, the object is fetched and wrapped
//! into an event of our own.

use super::cannot_ask;
use crate::clock::TimeMs;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::webhook::Envelope;
use crate::domain::webhook::delivery::delivery;
use crate::domain::webhook::envelope::FULL_FORM_SUFFIX;
use crate::infra::stripe::{StripeError, found};
use crate::usecase::handler::Deps;
use serde_json::json;

pub(super) async fn run(deps: &Deps, envelope: &Envelope, now_ms: TimeMs) -> Verdict {
    match twin(deps, envelope, now_ms).await {
        Ok(effects) => Verdict { outcome: Outcome::Done, ledger: None, effects },
        Err(error) => cannot_ask(&error),
    }
}

async fn twin(deps: &Deps, envelope: &Envelope, now_ms: TimeMs) -> Result<Vec<Effect>, StripeError> {
    if let Some(id) = &envelope.snapshot_event
        && let Some(event) = found(deps.stripe.event_retrieve(id).await)?
    {
        let delivery = delivery(event.to_string().as_bytes(), deps.livemode, now_ms);
        return Ok(vec![Effect::EventTake(Box::new(delivery))]);
    }
    let (Some(url), Some(kind)) = (&envelope.related_object_url, envelope.kind) else { return Ok(Vec::new()) };
    let Some(object) = found(deps.stripe.related_retrieve(url).await)? else { return Ok(Vec::new()) };
    let event = json!({
        "id": format!("{}{FULL_FORM_SUFFIX}", envelope.external_id),
        "object": "event",
        "type": kind.as_str(),
        "livemode": envelope.livemode,
        "data": { "object": object },
    });
    let delivery = delivery(event.to_string().as_bytes(), deps.livemode, now_ms);
    Ok(vec![Effect::EventTake(Box::new(delivery))])
}
