//! Refunds by support that failed at Stripe after they were made: their operations end as failed, too.
//!
//! The event of each failure carries the refund, which stays failed, so no present state is asked for. If it comes before
//! the operation is known to have succeeded, it changes nothing: the review that commits with that success asks Stripe
//! what became of the charge's refunds.

use crate::domain::effect::Effect;
use crate::domain::refund::FailedRefund;
use crate::domain::webhook::{Envelope, fields};
use crate::infra::store::operation as operations;
use crate::infra::stripe::found;
use crate::usecase::handler::stripe::EventContext;
use crate::usecase::handler::{Failure, operation};

/// Ends the operations of refunds that an event about this charge shows to have failed.
pub(super) async fn end_failed_refunds(about: &EventContext<'_>, charge: Option<&str>) -> Result<Vec<Effect>, Failure> {
    let failed = failed_refunds(about, charge).await?;
    let ids: Vec<String> = failed.iter().map(|refund| refund.id.clone()).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let made = operations::operation_list_of_refunds(about.deps.db.read(), &ids).await?;
    let mut effects = Vec::new();
    for before in &made {
        if let Some(after) = failed.iter().find_map(|refund| before.after_failed_refund(refund, about.now_ms)) {
            operation::count(before, &after);
            effects.push(Effect::operation(after));
        }
    }
    Ok(effects)
}

/// The refund that the event is about, or those of the charge if the event is one of ours: of that one nobody tells.
async fn failed_refunds(about: &EventContext<'_>, charge: Option<&str>) -> Result<Vec<FailedRefund>, Failure> {
    if about.object["object"] == "refund" {
        return Ok(FailedRefund::read(about.object).into_iter().collect());
    }
    let is_review = about.event.envelope.as_ref().is_ok_and(Envelope::is_made_here);
    let Some(charge) = charge.filter(|_| is_review) else { return Ok(Vec::new()) };
    let refunds = found(about.deps.stripe.refund_list(charge).await)?;
    let rows = refunds.as_ref().map_or(&[][..], fields::rows);
    Ok(rows.iter().filter_map(FailedRefund::read).collect())
}
