//! The one table of Stripe's event types that are processed.

/// Makes [`EventKind`] and [`WANTED`] from one table of variants and Stripe's names.
macro_rules! event_kinds {
    ($($variant:ident = $name:literal,)+) => {
        /// A type of event that is processed. Events of all other types are stored and have no effect.
        ///
        /// Source of the names: Stripe, "Types of events".
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum EventKind {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
        }

        /// Stripe's names of all kinds: the events that a webhook endpoint must be registered for.
        pub const WANTED: &[&str] = &[$($name,)+];

        impl EventKind {
            /// Every kind, in the order of [`WANTED`].
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Stripe's name, which is also stored.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

event_kinds! {
    InvoicePaid = "invoice.paid",
    InvoicePaymentSucceeded = "invoice.payment_succeeded",
    InvoicePaymentFailed = "invoice.payment_failed",
    SubscriptionCreated = "customer.subscription.created",
    SubscriptionUpdated = "customer.subscription.updated",
    SubscriptionDeleted = "customer.subscription.deleted",
    SubscriptionPaused = "customer.subscription.paused",
    SubscriptionResumed = "customer.subscription.resumed",
    SubscriptionTrialWillEnd = "customer.subscription.trial_will_end",
    InvoicePaymentActionRequired = "invoice.payment_action_required",
    InvoiceVoided = "invoice.voided",
    InvoicePaymentPaid = "invoice_payment.paid",
    CustomerCreated = "customer.created",
    CustomerUpdated = "customer.updated",
    CustomerDeleted = "customer.deleted",
    PaymentIntentSucceeded = "payment_intent.succeeded",
    PaymentIntentFailed = "payment_intent.payment_failed",
    PaymentIntentRequiresAction = "payment_intent.requires_action",
    PaymentMethodAttached = "payment_method.attached",
    PaymentMethodDetached = "payment_method.detached",
    PaymentMethodUpdated = "payment_method.automatically_updated",
    ChargeRefunded = "charge.refunded",
    ChargeRefundUpdated = "charge.refund.updated",
    RefundCreated = "refund.created",
    RefundUpdated = "refund.updated",
    RefundFailed = "refund.failed",
    DisputeCreated = "charge.dispute.created",
    DisputeUpdated = "charge.dispute.updated",
    DisputeClosed = "charge.dispute.closed",
    DisputeFundsWithdrawn = "charge.dispute.funds_withdrawn",
    DisputeFundsReinstated = "charge.dispute.funds_reinstated",
    CreditNoteCreated = "credit_note.created",
    CreditNoteUpdated = "credit_note.updated",
    CreditNoteVoided = "credit_note.voided",
    CheckoutCompleted = "checkout.session.completed",
}

impl EventKind {
    /// Parses Stripe's name; `None` if events of this type are not processed.
    pub fn parse(event_type: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == event_type)
    }

    /// Parses the type of a thin event, which is the ordinary event's behind `v1.`. Source: Stripe,
    /// "Event destinations".
    pub fn parse_thin(event_type: &str) -> Option<Self> {
        Self::parse(event_type.strip_prefix("v1.").unwrap_or(event_type))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_and_nothing_else_does() {
        for (kind, name) in EventKind::ALL.iter().zip(WANTED) {
            assert_eq!((kind.as_str(), EventKind::parse(name)), (*name, Some(*kind)));
            assert_eq!(EventKind::parse_thin(&format!("v1.{name}")), Some(*kind));
        }
        for other in ["", "invoice.paid ", "v1.invoice.paid", "invoice.created", "charge"] {
            assert_eq!(EventKind::parse(other), None, "{other}");
        }
    }
}
