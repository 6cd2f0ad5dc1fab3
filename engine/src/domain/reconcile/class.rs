//! The phases of a run, and the classes of differences.

/// The phases of a run, in order. Lost events come first, because they cause most of the differences that later
/// phases would find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Events that Stripe could not deliver, as far back as it lists them.
    Undelivered,
    /// All events of the run's window.
    Events,
    /// Waits for the recovered events to be processed.
    Settle,
    /// Stripe's customers.
    Customers,
    /// Bursar's customers that Stripe did not list.
    CustomersHere,
    /// Stripe's subscriptions.
    Subscriptions,
    /// Bursar's subscriptions that Stripe did not list.
    SubscriptionsHere,
    /// Invoices, to find paid periods of a plan without credits.
    Invoices,
    /// Grants for invoices that Stripe did not list.
    GrantsHere,
    /// Parts of an invoice's credits that are still to be granted.
    GrantJobs,
    /// Charges, to find the operations that they paid.
    Payments,
    /// Bursar's payments that Stripe did not list.
    PaymentsHere,
    /// Refunds.
    Refunds,
    /// Disputes.
    Disputes,
    /// Credit notes that gave money back otherwise than by refunds.
    CreditNotes,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 15] = [
        Self::Undelivered,
        Self::Events,
        Self::Settle,
        Self::Customers,
        Self::CustomersHere,
        Self::Subscriptions,
        Self::SubscriptionsHere,
        Self::Invoices,
        Self::GrantsHere,
        Self::GrantJobs,
        Self::Payments,
        Self::PaymentsHere,
        Self::Refunds,
        Self::Disputes,
        Self::CreditNotes,
    ];

    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undelivered => "undelivered",
            Self::Events => "events",
            Self::Settle => "settle",
            Self::Customers => "customers",
            Self::CustomersHere => "customers_here",
            Self::Subscriptions => "subscriptions",
            Self::SubscriptionsHere => "subscriptions_here",
            Self::Invoices => "invoices",
            Self::GrantsHere => "grants_here",
            Self::GrantJobs => "grant_jobs",
            Self::Payments => "payments",
            Self::PaymentsHere => "payments_here",
            Self::Refunds => "refunds",
            Self::Disputes => "disputes",
            Self::CreditNotes => "credit_notes",
        }
    }

    /// Reads a stored name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }

    /// The next phase; `None` after the last.
    pub fn next(self) -> Option<Self> {
        Self::ALL.into_iter().skip_while(|phase| *phase != self).nth(1)
    }

    /// Whether it can compare a single customer. Events cannot be listed by customer, and the charges of one tell of
    /// its disputes.
    pub fn is_of_customer(self) -> bool {
        !matches!(self, Self::Undelivered | Self::Events | Self::Settle | Self::Customers | Self::Disputes)
    }

    /// Its number, from 1.
    pub fn number(self) -> usize {
        Self::ALL.into_iter().take_while(|phase| *phase != self).count() + 1
    }
}

/// The kind of a difference. The names are stable: they are metric labels and appear in stored findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A relevant event that never arrived.
    EventMissing,
    /// A Stripe customer that names a customer without a link.
    CustomerUnlinked,
    /// A customer here without a Stripe customer.
    CustomerMissing,
    /// A customer whose Stripe customer was deleted.
    CustomerDeleted,
    /// A customer whose Stripe customer never existed, according to Stripe.
    CustomerGone,
    /// A Stripe customer that names an unknown customer.
    CustomerUnknown,
    /// A Stripe customer that names a customer other than the links do.
    CustomerMismatch,
    /// A subscription with differing records.
    SubscriptionDiffers,
    /// A subscription to a plan of the catalogue, or one made by Bursar, of an unknown customer.
    SubscriptionUnknown,
    /// A subscription that the rules refuse.
    SubscriptionRefused,
    /// A subscription that Stripe does not have.
    SubscriptionGone,
    /// A subscription at a price that may be ours.
    SubscriptionPriceUnknown,
    /// One of several live subscriptions of a customer.
    SubscriptionDuplicate,
    /// A paid period of a plan without credits.
    InvoiceNotGranted,
    /// An invoice with credits for some of its paid periods, but not for all.
    InvoiceLineNotGranted,
    /// A paid invoice that credits time which nobody paid for.
    InvoiceCreditUnpaid,
    /// Credits whose invoice does not sell them.
    GrantWithoutLine,
    /// A part of an invoice's credits that was not granted when it was due.
    GrantOverdue,
    /// A paid invoice at a price that may be ours.
    InvoicePriceUnknown,
    /// A paid period of a plan of an unknown customer.
    InvoiceUnknown,
    /// A paid invoice that the rules refuse.
    InvoiceRefused,
    /// A payment at Stripe without credits.
    PaymentUnsettled,
    /// A payment for an unknown operation.
    PaymentUnknown,
    /// A second payment for one operation.
    PaymentDuplicate,
    /// A payment with another amount than requested.
    PaymentMismatch,
    /// Credits without a payment at Stripe.
    PaymentUnpaid,
    /// A refund, dispute, credit note or reversal that the credits, or support's refund, do not reflect.
    RefundNotApplied,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 27] = [
        Self::EventMissing,
        Self::CustomerUnlinked,
        Self::CustomerMissing,
        Self::CustomerDeleted,
        Self::CustomerGone,
        Self::CustomerUnknown,
        Self::CustomerMismatch,
        Self::SubscriptionDiffers,
        Self::SubscriptionUnknown,
        Self::SubscriptionRefused,
        Self::SubscriptionGone,
        Self::SubscriptionPriceUnknown,
        Self::SubscriptionDuplicate,
        Self::InvoiceNotGranted,
        Self::InvoiceLineNotGranted,
        Self::InvoiceCreditUnpaid,
        Self::GrantWithoutLine,
        Self::GrantOverdue,
        Self::InvoicePriceUnknown,
        Self::InvoiceUnknown,
        Self::InvoiceRefused,
        Self::PaymentUnsettled,
        Self::PaymentUnknown,
        Self::PaymentDuplicate,
        Self::PaymentMismatch,
        Self::PaymentUnpaid,
        Self::RefundNotApplied,
    ];

    /// The name as stored, shown and counted.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EventMissing => "event_missing",
            Self::CustomerUnlinked => "customer_unlinked",
            Self::CustomerMissing => "customer_missing",
            Self::CustomerDeleted => "customer_deleted",
            Self::CustomerGone => "customer_gone",
            Self::CustomerUnknown => "customer_unknown",
            Self::CustomerMismatch => "customer_mismatch",
            Self::SubscriptionDiffers => "subscription_differs",
            Self::SubscriptionUnknown => "subscription_unknown",
            Self::SubscriptionRefused => "subscription_refused",
            Self::SubscriptionGone => "subscription_gone",
            Self::SubscriptionPriceUnknown => "subscription_price_unknown",
            Self::SubscriptionDuplicate => "subscription_duplicate",
            Self::InvoiceNotGranted => "invoice_not_granted",
            Self::InvoiceLineNotGranted => "invoice_line_not_granted",
            Self::InvoiceCreditUnpaid => "invoice_credit_unpaid",
            Self::GrantWithoutLine => "grant_without_line",
            Self::GrantOverdue => "grant_overdue",
            Self::InvoicePriceUnknown => "invoice_price_unknown",
            Self::InvoiceUnknown => "invoice_unknown",
            Self::InvoiceRefused => "invoice_refused",
            Self::PaymentUnsettled => "payment_unsettled",
            Self::PaymentUnknown => "payment_unknown",
            Self::PaymentDuplicate => "payment_duplicate",
            Self::PaymentMismatch => "payment_mismatch",
            Self::PaymentUnpaid => "payment_unpaid",
            Self::RefundNotApplied => "refund_not_applied",
        }
    }

    /// The phases that can find it.
    pub fn phases(self) -> &'static [Phase] {
        match self {
            Self::EventMissing => &[Phase::Undelivered, Phase::Events],
            Self::CustomerUnlinked | Self::CustomerUnknown | Self::CustomerMismatch => &[Phase::Customers],
            Self::CustomerMissing | Self::CustomerDeleted | Self::CustomerGone => {
                &[Phase::Customers, Phase::CustomersHere]
            }
            Self::SubscriptionDiffers
            | Self::SubscriptionUnknown
            | Self::SubscriptionRefused
            | Self::SubscriptionPriceUnknown
            | Self::SubscriptionDuplicate
            | Self::SubscriptionGone => &[Phase::Subscriptions, Phase::SubscriptionsHere],
            Self::InvoiceNotGranted
            | Self::InvoiceLineNotGranted
            | Self::InvoiceCreditUnpaid
            | Self::InvoicePriceUnknown
            | Self::InvoiceUnknown
            | Self::InvoiceRefused => &[Phase::Invoices],
            Self::GrantWithoutLine => &[Phase::Invoices, Phase::GrantsHere],
            Self::GrantOverdue => &[Phase::GrantJobs],
            Self::PaymentUnsettled | Self::PaymentUnknown | Self::PaymentDuplicate | Self::PaymentMismatch => {
                &[Phase::Payments]
            }
            Self::PaymentUnpaid => &[Phase::Payments, Phase::PaymentsHere],
            Self::RefundNotApplied => &[Phase::Refunds, Phase::Disputes, Phase::CreditNotes],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_phases_follow_each_other_to_the_last() {
        let mut phase = Phase::ALL[0];
        for (at, expected) in Phase::ALL.into_iter().enumerate() {
            assert_eq!((phase, phase.number()), (expected, at + 1));
            assert_eq!(Phase::parse(phase.as_str()), Some(phase));
            phase = phase.next().unwrap_or(phase);
        }
        assert_eq!(phase.next(), None);
    }

    #[test]
    fn no_two_classes_share_a_name() {
        let names: BTreeSet<&str> = Class::ALL.into_iter().map(Class::as_str).collect();
        assert_eq!(names.len(), Class::ALL.len());
    }
}
