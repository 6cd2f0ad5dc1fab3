//! Credits that come some time after their payment: some of its money may be gone by then.
//!
//! The event of a refund is done at once if nothing says that its payment brings credits: nobody has decided what the
//! price sells yet, or whose Stripe customer it is. The credits may come all the same, days later. So whatever brings
//! credits later than at once also has their payment reviewed, after the grant. It does not matter then which of both
//! was heard of first.

use super::credit_note::review_delivery;
use super::holder::holder_of_invoice;
use super::money::{Payment, money_of, reviewed};
use super::{bought_by, of_nobody, review_bought};
use crate::clock::TimeMs;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::ledger::Op;
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields::{self, InvoiceFields};
use crate::usecase::handler::invoice::{part_job, whole_invoice};
use crate::usecase::handler::stripe::{EventContext, done};
use crate::usecase::handler::{Deps, Failure};
use serde_json::Value;

/// The review of the payment of an invoice whose credits come late, once for each invoice. That costs no call to Stripe
/// here. Without a key of Stripe's nothing can be reviewed.
pub(in crate::usecase::handler) fn review_of_late_grant(deps: &Deps, id: &str, now_ms: TimeMs) -> Vec<Effect> {
    if !deps.stripe.is_configured() {
        return Vec::new();
    }
    after_waiting(deps, &format!("granted:{id}"), EventKind::ChargeRefunded, reviewed(None, id), now_ms)
}

/// Whether a verdict grants credits, now or later.
pub(in crate::usecase::handler) fn brings_credits(verdict: &Verdict) -> bool {
    let grants_now = |op: &Op| matches!(op, Op::Grant { .. } | Op::Exchange { .. });
    let now = verdict.ledger.as_ref().is_some_and(|(_, command)| grants_now(&command.op));
    now || verdict.effects.iter().any(|effect| part_job(effect).is_some())
}

/// A review with this id, for which nothing waits any more that failed in its stream before: the credits may be there
/// now.
fn after_waiting(deps: &Deps, id: &str, kind: EventKind, object: Value, now_ms: TimeMs) -> Vec<Effect> {
    let review = review_delivery(deps, id, kind, object, now_ms);
    let stream_key = review.event.stream_key.clone();
    vec![Effect::EventTake(Box::new(review)), Effect::StreamHasten { stream_key }]
}

/// Reviews an invoice. If a charge paid it and some money is gone, that is decided in the charge's stream, where its
/// refunds are. If no charge paid it, there is nothing to refund, and credit notes may give its money back.
pub(super) async fn review_invoice(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let Some(id) = fields::id(&about.object["id"]) else { return Ok(Outcome::Done.into()) };
    let Some(invoice) = whole_invoice(about.deps, &id).await? else { return Ok(Outcome::Done.into()) };
    let payment = Payment::of_invoice(&invoice);
    if !payment.charge_ids.is_empty() {
        match money_of(about.deps, &payment, None).await?.reviewed {
            None => return Ok(Outcome::Done.into()),
            Some(charge) if charge["object"] == "charge" => return Ok(hand_over(about, &id, charge)),
            // Stripe has none of its charges.
            Some(_) => {}
        }
    }
    let holder = match holder_of_invoice(about.deps, &id).await? {
        Some(holder) => Some(holder),
        None => about.owner(EventKind::InvoicePaid, &invoice).await?,
    };
    let Some(customer) = holder else {
        return Ok(of_nobody(&InvoiceFields::read(&invoice).metadata, &format!("invoice {id}")));
    };
    let bought = bought_by(about.deps, &customer, &id, &invoice, about.now_ms).await?;
    review_bought(about, &customer, &bought, &id, None).await
}

fn hand_over(about: &EventContext<'_>, invoice_id: &str, charge: Value) -> Verdict {
    let named = about.event.envelope.as_ref().map_or(invoice_id, |envelope| envelope.external_id.as_str());
    done(after_waiting(about.deps, &format!("{named}:review"), about.kind, charge, about.now_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Credits;
    use crate::domain::job::{JobKind, NewJob};
    use crate::domain::ledger::{Command, GrantKind};
    use crate::ids::CustomerId;

    #[test]
    fn credits_are_brought_by_a_grant_or_by_a_part_to_come_and_not_by_what_takes_some() {
        let with = |op: Op| Verdict {
            outcome: Outcome::Done,
            ledger: Some((CustomerId::new(), Command::internal(op, "stripe", "stripe:invoice:in_1".to_owned()))),
            effects: Vec::new(),
        };
        let grant = Op::Grant { kind: GrantKind::Included, amount: Credits(1), expires_at_ms: None };
        let exchange = Op::Exchange { amount: Credits(1), expires_at_ms: None, taken: Credits(2), of: None };
        assert!(brings_credits(&with(grant)) && brings_credits(&with(exchange)));
        assert!(!brings_credits(&with(Op::TakeBack { amount: Credits(1), of: None })));
        assert!(!brings_credits(&Outcome::Done.into()));
        let part = Effect::JobInsert(NewJob::new(JobKind::CreditsGrant, "{}".to_owned(), 1));
        assert!(brings_credits(&done(vec![part])));
    }
}
