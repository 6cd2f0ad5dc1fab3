//! The phases of a run, and the classes of differences that they find.

/// What a run compares, in this order: lost events come first, because most of what the later phases
/// would find follows from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Events that Stripe could not deliver, as far back as it lists any.
    Undelivered,
    /// All events of the run's window.
    Events,
    /// Waits until the lost events that were taken in are processed.
    Settle,
    /// Stripe's customers.
    Customers,
    /// Our customers that were not among them.
    CustomersHere,
    /// Stripe's subscriptions.
    Subscriptions,
    /// Subscriptions here that were not among them.
    SubscriptionsHere,
    /// Invoices, for periods of Pro that brought no credits.
    Invoices,
    /// Charges, for operations that they paid.
    Payments,
    /// Payments here that were not among them.
    PaymentsHere,
    /// Refunds.
    Refunds,
    /// Disputes.
    Disputes,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 12] = [
        Self::Undelivered,
        Self::Events,
        Self::Settle,
        Self::Customers,
        Self::CustomersHere,
        Self::Subscriptions,
        Self::SubscriptionsHere,
        Self::Invoices,
        Self::Payments,
        Self::PaymentsHere,
        Self::Refunds,
        Self::Disputes,
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
            Self::Payments => "payments",
            Self::PaymentsHere => "payments_here",
            Self::Refunds => "refunds",
            Self::Disputes => "disputes",
        }
    }

    /// Reads a stored name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }

    /// The phase after it; none after the last.
    pub fn next(self) -> Option<Self> {
        Self::ALL.into_iter().skip_while(|phase| *phase != self).nth(1)
    }

    /// Its number, from 1.
    pub fn number(self) -> usize {
        Self::ALL.into_iter().take_while(|phase| *phase != self).count() + 1
    }
}

/// What differs. The names are stable: they are labels of a metric and stand in stored findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// An event that is processed here and never came.
    EventMissing,
    /// A Stripe customer that names one of ours, which has none.
    CustomerUnlinked,
    /// A customer here without a Stripe customer.
    CustomerMissing,
    /// A customer here whose Stripe customer was deleted.
    CustomerDeleted,
    /// A customer here whose Stripe customer never was, as far as Stripe says.
    CustomerGone,
    /// A Stripe customer that names a customer whom nobody knows here.
    CustomerUnknown,
    /// A Stripe customer that names one of ours, while the links say otherwise.
    CustomerMismatch,
    /// A subscription of which something else is known here.
    SubscriptionDiffers,
    /// A subscription to Pro, or one made by us, of a customer whom nobody knows here.
    SubscriptionUnknown,
    /// A subscription that the rules refuse.
    SubscriptionRefused,
    /// A subscription here that Stripe does not have.
    SubscriptionGone,
    /// A paid period of Pro that brought no credits.
    InvoiceNotGranted,
    /// A paid period of Pro of a customer whom nobody knows here.
    InvoiceUnknown,
    /// A paid invoice that the rules refuse.
    InvoiceRefused,
    /// A payment that Stripe has and whose credits are not here.
    PaymentUnsettled,
    /// A payment for an operation that nobody knows here.
    PaymentUnknown,
    /// A second payment for one operation.
    PaymentDuplicate,
    /// A payment of another amount than was asked for.
    PaymentMismatch,
    /// Credits here whose payment Stripe does not have.
    PaymentUnpaid,
    /// Money that went back, or came back, while the credits did not.
    RefundNotApplied,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 20] = [
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
        Self::InvoiceNotGranted,
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
            Self::InvoiceNotGranted => "invoice_not_granted",
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

    /// The phases that look for it.
    pub fn phases(self) -> &'static [Phase] {
        match self {
            Self::EventMissing => &[Phase::Undelivered, Phase::Events],
            Self::CustomerUnlinked | Self::CustomerUnknown | Self::CustomerMismatch => &[Phase::Customers],
            Self::CustomerMissing | Self::CustomerDeleted | Self::CustomerGone => {
                &[Phase::Customers, Phase::CustomersHere]
            }
            Self::SubscriptionDiffers | Self::SubscriptionUnknown | Self::SubscriptionRefused => {
                &[Phase::Subscriptions]
            }
            Self::SubscriptionGone => &[Phase::Subscriptions, Phase::SubscriptionsHere],
            Self::InvoiceNotGranted | Self::InvoiceUnknown | Self::InvoiceRefused => &[Phase::Invoices],
            Self::PaymentUnsettled | Self::PaymentUnknown | Self::PaymentDuplicate | Self::PaymentMismatch => {
                &[Phase::Payments]
            }
            Self::PaymentUnpaid => &[Phase::Payments, Phase::PaymentsHere],
            Self::RefundNotApplied => &[Phase::Refunds, Phase::Disputes],
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
