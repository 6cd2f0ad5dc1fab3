//! What the rules decided of an invoice, completed by what is stored here: whoever decides an invoice, on whatever
//! occasion, ends here.

use super::{
    PaidInvoice, has_first_grant, parts_of_left, with_record, without_parts_of_granted, without_what_another_has,
};
use crate::clock::TimeMs;
use crate::domain::customer::Customer;
use crate::domain::effect::Verdict;
use crate::domain::sale::{Before, KnownPrice, PriceBook};
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields::{InvoiceFields, Line};
use crate::usecase::handler::stripe::clawback::{brings_credits, review_of_late_grant, reviews_of_left};
use crate::usecase::handler::{Deps, Failure};

/// How long after it was heard a payment may bring its credits without a review: a refund that waits for them gives up
/// after some hours, when its attempts are over.
const WAITED_FOR_MS: i64 = 60 * 60 * 1_000;

/// When that was heard which an invoice is decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::usecase::handler) enum Heard {
    /// At this time, from Stripe itself.
    At(TimeMs),
    /// Some time ago: it was tried before, or comes from a list of Stripe's.
    Before,
}

/// What an invoice was decided on.
pub(in crate::usecase::handler) struct Decided<'a> {
    /// What is said of it.
    pub kind: EventKind,
    /// The invoice; nothing follows from what any other object is read as.
    pub said: &'a InvoiceFields,
    /// Its customer, if it is known.
    pub customer: Option<&'a Customer>,
    /// The other invoices of its subscription.
    pub before: &'a Before,
    /// The prices.
    pub book: &'a PriceBook,
    /// For whom the invoice was stored as paid, if that was looked up.
    pub payer: Option<&'a PaidInvoice>,
    /// When the payment was heard of.
    pub heard: Heard,
    /// The present.
    pub now_ms: TimeMs,
}

/// The verdict of the rules with what is stored of the invoice, without credits that its money has brought already, and
/// with reviews of the payments whose credits may be others for it.
pub(in crate::usecase::handler) async fn complete(
    deps: &Deps,
    verdict: Verdict,
    decided: &Decided<'_>,
) -> Result<Verdict, Failure> {
    let Decided { kind, said, customer, before, book, payer, now_ms, .. } = *decided;
    let mut verdict = with_record(verdict, kind, said, customer, book, now_ms);
    verdict.effects.extend(reviews_of_left(deps, said, before, now_ms).await?);
    verdict.effects.extend(parts_of_left(deps, said, before, book).await?);
    let verdict = without_what_another_has(deps, verdict, payer).await?;
    let mut verdict = without_parts_of_granted(deps, verdict).await?;
    if let Some(id) = said.id.as_deref().filter(|_| brings_credits(&verdict) && comes_late(decided))
        && (decided.heard == Heard::Before || !has_first_grant(deps, &verdict).await?)
    {
        verdict.effects.extend(review_of_late_grant(deps, id, now_ms));
    }
    Ok(verdict)
}

/// Whether an invoice's credits come later than at once, so that some of its money may have been given back before
/// anybody could know that they would: it was paid some time before that was heard, or what it sells was decided since.
/// A short delay of our own makes no credits late: a refund that is heard of meanwhile waits for them.
fn comes_late(decided: &Decided<'_>) -> bool {
    let said = decided.said;
    let Heard::At(heard_ms) = decided.heard else { return true };
    let is_new = |known: &KnownPrice| known.decision.price().is_some() && known.decided_at_ms > heard_ms;
    let is_new = |line: &Line| decided.book.known(&line.price).is_some_and(is_new);
    let has_waited = decided.now_ms - heard_ms > WAITED_FOR_MS;
    has_waited
        || said.was_paid_before(heard_ms)
        || (said.was_paid_before(decided.now_ms) && said.lines.iter().any(is_new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::Catalogue;
    use crate::domain::sale::{Decision, judge};
    use crate::domain::webhook::fields;
    use crate::key::PriceKey;

    const PAID_MS: TimeMs = 1_000_000;
    const HOUR_MS: i64 = 60 * 60 * 1_000;

    fn is_late(heard: Heard, now_ms: TimeMs, decided_at_ms: TimeMs) -> bool {
        let catalogue = Catalogue::built_in();
        let price = fields::Price { ids: vec!["price_1".to_owned()], is_whole: true, ..fields::Price::default() };
        let decision = Decision::Ours(PriceKey::trusted("pro_monthly"));
        let known = KnownPrice { decision, ..judge::judge(&price, &catalogue, &[], decided_at_ms) };
        let said = InvoiceFields {
            paid_at_ms: Some(PAID_MS),
            lines: vec![Line { price, ..Line::default() }],
            ..InvoiceFields::default()
        };
        let (before, book) = (Before::NONE, &PriceBook::new(catalogue, [known]));
        let kind = EventKind::InvoicePaid;
        comes_late(&Decided { kind, said: &said, customer: None, before, book, payer: None, heard, now_ms })
    }

    #[test]
    fn credits_are_late_by_when_their_payment_was_heard_of() {
        let (at_once, later) = (PAID_MS + 1_000, PAID_MS + HOUR_MS);
        assert!(!is_late(Heard::At(at_once), at_once, 0));
        assert!(!is_late(Heard::At(at_once), later, 0), "it waited here");
        let much_later = at_once + WAITED_FOR_MS + 1;
        assert!(is_late(Heard::At(at_once), much_later, 0), "it waited here longer than a refund waits for it");
        assert!(is_late(Heard::At(later), later, 0), "it was delivered late");
        assert!(is_late(Heard::Before, at_once, 0), "it was tried before");
    }

    #[test]
    fn credits_are_late_if_their_price_was_decided_while_they_waited() {
        let (at_once, later) = (PAID_MS + 1_000, PAID_MS + HOUR_MS);
        assert!(is_late(Heard::At(at_once), later, later - 1));
        assert!(!is_late(Heard::At(at_once), at_once + 1, at_once + 1), "it is a price's first payment");
    }
}
