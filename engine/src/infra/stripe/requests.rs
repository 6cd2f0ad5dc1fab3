//! The calls, one function each. Those that change something take the idempotency key.

use super::error::StripeError;
use super::gateway::{Answer, Gateway};
use crate::amount::MoneyMinor;
use crate::domain::webhook::shape::{CUSTOMER_METADATA_KEY, OPERATION_METADATA_KEY, ROUND_METADATA_KEY};
use serde_json::Value;
use std::collections::HashMap;
use stripe_billing::invoice::{ListInvoice, PayInvoice, RetrieveInvoice};
use stripe_billing::invoice_payment::{ListInvoicePayment, ListInvoicePaymentPayment, ListInvoicePaymentPaymentType};
use stripe_billing::subscription::{
    CancelSubscription, CreateSubscription, CreateSubscriptionItems, CreateSubscriptionPaymentBehavior,
    ListSubscription, ListSubscriptionStatus, ResumeSubscription, RetrieveSubscription, UpdateSubscription,
};
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};
use stripe_core::charge::{ListCharge, RetrieveCharge};
use stripe_core::customer::{
    CreateCustomer, ListCustomer, RetrieveCustomer, UpdateCustomer, UpdateCustomerInvoiceSettings,
};
use stripe_core::dispute::{ListDispute, RetrieveDispute};
use stripe_core::event::{ListEvent, RetrieveEvent};
use stripe_core::payment_intent::{
    CancelPaymentIntent, CreatePaymentIntent, CreatePaymentIntentAutomaticPaymentMethods,
    CreatePaymentIntentAutomaticPaymentMethodsAllowRedirects, CreatePaymentIntentOffSession, ListPaymentIntent,
    RetrievePaymentIntent,
};
use stripe_core::refund::ListRefund;
use stripe_payment::payment_method::{
    AttachPaymentMethod, DetachPaymentMethod, ListPaymentMethod, RetrievePaymentMethod,
};
use stripe_product::price::ListPrice;
use stripe_types::Currency;

/// Rows of one page; Stripe's limit.
pub const PAGE_LEN: i64 = 100;
/// Rows of one page of refunds or disputes: each may lead to several calls more.
pub const MONEY_BACK_PAGE_LEN: i64 = 20;

/// What is needed of an invoice: who paid it, and what asks the customer to act. Source: Stripe,
/// "Expanding responses": four levels at the most.
const INVOICE_EXPANDED: [&str; 3] = ["payments", "payments.data.payment.payment_intent", "confirmation_secret"];
/// The same of a subscription's latest invoice. Its PaymentIntent would be a fifth level: that one is
/// asked for by its id.
const LATEST_INVOICE_EXPANDED: [&str; 3] =
    ["latest_invoice", "latest_invoice.payments", "latest_invoice.confirmation_secret"];

/// The charge of each row of a list.
const CHARGE_EXPANDED: [&str; 1] = ["data.charge"];

type Call<T = Value> = Result<T, StripeError>;

/// A charge of the customer's saved payment method while it is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffSessionPayment<'a> {
    /// The amount.
    pub amount_minor: MoneyMinor,
    /// ISO currency, in lower case.
    pub currency: &'a str,
    /// The Stripe customer.
    pub stripe_customer_id: &'a str,
    /// The payment method.
    pub payment_method_id: &'a str,
    /// What it is for, as the customer sees it.
    pub description: &'a str,
    /// Our customer.
    pub customer_id: &'a str,
    /// The operation that asks.
    pub operation: Mark<'a>,
}

/// What an operation leaves at Stripe, so that what it made is found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark<'a> {
    /// The operation.
    pub operation_id: &'a str,
    /// Its round.
    pub round: i64,
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn metadata(customer_id: &str, mark: Option<Mark<'_>>) -> HashMap<String, String> {
    let mut metadata = HashMap::from([(CUSTOMER_METADATA_KEY.to_owned(), customer_id.to_owned())]);
    if let Some(Mark { operation_id, round }) = mark {
        metadata.insert(OPERATION_METADATA_KEY.to_owned(), operation_id.to_owned());
        metadata.insert(ROUND_METADATA_KEY.to_owned(), round.to_string());
    }
    metadata
}

fn currency(code: &str) -> Currency {
    // Never fails: what it does not know it sends as it is.
    code.parse().unwrap_or_default()
}

impl Gateway {
    async fn read(&self, call: &'static str, request: &impl StripeRequest) -> Call {
        Ok(self.get(call, request.build()).await?.body)
    }

    async fn write(&self, call: &'static str, request: &impl StripeRequest, key: &str) -> Call {
        Ok(self.change(call, request.build(), key).await?.body)
    }

    /// Makes the Stripe customer of one of ours.
    pub async fn customer_create(&self, customer_id: &str, email: &str, name: &str, key: &str) -> Call {
        let request = CreateCustomer::new().email(email).name(name).metadata(metadata(customer_id, None));
        self.write("customer_create", &request, key).await
    }

    /// One Stripe customer; a deleted one says `deleted`.
    pub async fn customer_retrieve(&self, id: &str) -> Call {
        self.read("customer_retrieve", &RetrieveCustomer::new(id)).await
    }

    /// A page of Stripe customers made up to a time, in seconds, latest first. Deleted ones are left out.
    pub async fn customer_list_page(&self, until_s: i64, after: Option<&str>) -> Call {
        let mut request = ListCustomer::new().created(between(None, Some(until_s))).limit(PAGE_LEN);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("customer_list_page", &request).await
    }

    /// Stripe customers with an address, at most [`PAGE_LEN`], latest first.
    pub async fn customer_list(&self, email: &str) -> Call {
        self.read("customer_list", &ListCustomer::new().email(email).limit(PAGE_LEN)).await
    }

    /// Which payment method invoices of the customer take.
    pub async fn customer_set_default(&self, id: &str, payment_method_id: &str, key: &str) -> Call {
        let settings = UpdateCustomerInvoiceSettings {
            default_payment_method: Some(payment_method_id.to_owned()),
            ..UpdateCustomerInvoiceSettings::new()
        };
        self.write("customer_set_default", &UpdateCustomer::new(id).invoice_settings(settings), key).await
    }

    /// One payment method.
    pub async fn payment_method_retrieve(&self, id: &str) -> Call {
        self.read("payment_method_retrieve", &RetrievePaymentMethod::new(id)).await
    }

    /// A customer's payment methods, at most [`PAGE_LEN`].
    pub async fn payment_method_list(&self, stripe_customer_id: &str) -> Call {
        let request = ListPaymentMethod::new().customer(stripe_customer_id).limit(PAGE_LEN);
        self.read("payment_method_list", &request).await
    }

    /// Gives a payment method to a customer.
    pub async fn payment_method_attach(&self, id: &str, stripe_customer_id: &str, key: &str) -> Call {
        let request = AttachPaymentMethod::new(id).customer(stripe_customer_id);
        self.write("payment_method_attach", &request, key).await
    }

    /// Takes a payment method away from its customer, for ever.
    pub async fn payment_method_detach(&self, id: &str, key: &str) -> Call {
        self.write("payment_method_detach", &DetachPaymentMethod::new(id), key).await
    }

    /// Charges a saved payment method while the customer is away.
    pub async fn payment_create(&self, payment: &OffSessionPayment<'_>, key: &str) -> Call<Answer> {
        let request = CreatePaymentIntent::new(payment.amount_minor.0, currency(payment.currency))
            .customer(payment.stripe_customer_id)
            .payment_method(payment.payment_method_id)
            .automatic_payment_methods(without_redirects())
            .description(payment.description)
            .metadata(metadata(payment.customer_id, Some(payment.operation)))
            .off_session(CreatePaymentIntentOffSession::Bool(true))
            .confirm(true);
        self.change("payment_create", request.build(), key).await
    }

    /// One PaymentIntent.
    pub async fn payment_retrieve(&self, id: &str) -> Call {
        self.read("payment_retrieve", &RetrievePaymentIntent::new(id)).await
    }

    /// A page of PaymentIntents made since a time, in seconds, latest first.
    pub async fn payment_list(&self, stripe_customer_id: Option<&str>, since_s: i64, after: Option<&str>) -> Call {
        let mut request = ListPaymentIntent::new().created(between(Some(since_s), None)).limit(PAGE_LEN);
        if let Some(id) = stripe_customer_id {
            request = request.customer(id);
        }
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("payment_list", &request).await
    }

    /// Cancels a PaymentIntent, so that nobody can pay it any more.
    pub async fn payment_cancel(&self, id: &str, key: &str) -> Call {
        self.write("payment_cancel", &CancelPaymentIntent::new(id), key).await
    }

    /// One charge.
    pub async fn charge_retrieve(&self, id: &str) -> Call {
        self.read("charge_retrieve", &RetrieveCharge::new(id)).await
    }

    /// A page of charges made between two times, in seconds, latest first.
    pub async fn charge_list(&self, since_s: i64, until_s: i64, after: Option<&str>) -> Call {
        let mut request = ListCharge::new().created(between(Some(since_s), Some(until_s))).limit(PAGE_LEN);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("charge_list", &request).await
    }

    /// The refunds of a charge, at most [`PAGE_LEN`].
    pub async fn refund_list(&self, charge_id: &str) -> Call {
        self.read("refund_list", &ListRefund::new().charge(charge_id).limit(PAGE_LEN)).await
    }

    /// A page of refunds of any charge made between two times, in seconds, latest first, each with its
    /// charge.
    pub async fn refund_list_page(&self, since_s: i64, until_s: i64, after: Option<&str>) -> Call {
        let mut request = ListRefund::new().created(between(Some(since_s), Some(until_s))).limit(MONEY_BACK_PAGE_LEN);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("refund_list_page", &request.expand(owned(&CHARGE_EXPANDED))).await
    }

    /// A page of disputes of any charge opened between two times, in seconds, latest first, each with
    /// its charge.
    pub async fn dispute_list_page(&self, since_s: i64, until_s: i64, after: Option<&str>) -> Call {
        let mut request = ListDispute::new().created(between(Some(since_s), Some(until_s))).limit(MONEY_BACK_PAGE_LEN);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("dispute_list_page", &request.expand(owned(&CHARGE_EXPANDED))).await
    }

    /// One dispute.
    pub async fn dispute_retrieve(&self, id: &str) -> Call {
        self.read("dispute_retrieve", &RetrieveDispute::new(id)).await
    }

    /// The disputes of a charge, at most [`PAGE_LEN`].
    pub async fn dispute_list(&self, charge_id: &str) -> Call {
        self.read("dispute_list", &ListDispute::new().charge(charge_id).limit(PAGE_LEN)).await
    }

    /// The active prices with a lookup key.
    pub async fn price_list(&self, lookup_key: &str) -> Call {
        let request = ListPrice::new().lookup_keys(owned(&[lookup_key])).active(true).limit(PAGE_LEN);
        self.read("price_list", &request).await
    }

    /// Subscribes a customer and tries the first payment at once, with what its invoices are paid
    /// with. If that fails the subscription is made nevertheless, as `incomplete`.
    pub async fn subscription_create(
        &self,
        stripe_customer_id: &str,
        price_id: &str,
        customer_id: &str,
        operation: Mark<'_>,
        key: &str,
    ) -> Call<Answer> {
        let items = CreateSubscriptionItems {
            price: Some(price_id.to_owned()),
            quantity: Some(1),
            ..CreateSubscriptionItems::new()
        };
        let request = CreateSubscription::new()
            .customer(stripe_customer_id)
            .items(vec![items])
            .payment_behavior(CreateSubscriptionPaymentBehavior::AllowIncomplete)
            .off_session(true)
            .metadata(metadata(customer_id, Some(operation)))
            .expand(owned(&LATEST_INVOICE_EXPANDED));
        self.change("subscription_create", request.build(), key).await
    }

    /// One subscription with its latest invoice.
    pub async fn subscription_retrieve(&self, id: &str) -> Call {
        let request = RetrieveSubscription::new(id).expand(owned(&LATEST_INVOICE_EXPANDED));
        self.read("subscription_retrieve", &request).await
    }

    /// A page of subscriptions of any status, latest first.
    pub async fn subscription_list(&self, stripe_customer_id: Option<&str>, after: Option<&str>) -> Call {
        let mut request = ListSubscription::new().status(ListSubscriptionStatus::All).limit(PAGE_LEN);
        if let Some(id) = stripe_customer_id {
            request = request.customer(id);
        }
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("subscription_list", &request).await
    }

    /// Lets a subscription end with its period, or takes that back.
    pub async fn subscription_set_end(&self, id: &str, ends_with_period: bool, key: &str) -> Call {
        let request =
            UpdateSubscription::new(id).cancel_at_period_end(ends_with_period).expand(owned(&LATEST_INVOICE_EXPANDED));
        self.write("subscription_set_end", &request, key).await
    }

    /// Takes back the moment at which a subscription was to end. Source: Stripe, "Update a
    /// subscription": an empty `cancel_at`, which async-stripe cannot say.
    pub async fn subscription_unset_end(&self, id: &str, key: &str) -> Call {
        let mut request = UpdateSubscription::new(id).expand(owned(&LATEST_INVOICE_EXPANDED)).build();
        let body = request.body.get_or_insert_default();
        body.push_str("&cancel_at=");
        Ok(self.change("subscription_unset_end", request, key).await?.body)
    }

    /// Resumes a paused subscription.
    pub async fn subscription_resume(&self, id: &str, key: &str) -> Call {
        let request = ResumeSubscription::new(id).expand(owned(&LATEST_INVOICE_EXPANDED));
        self.write("subscription_resume", &request, key).await
    }

    /// What a subscription is paid with, where it says so itself.
    pub async fn subscription_set_payment_method(&self, id: &str, payment_method_id: &str, key: &str) -> Call {
        let request = UpdateSubscription::new(id).default_payment_method(payment_method_id);
        self.write("subscription_set_payment_method", &request, key).await
    }

    /// Ends a subscription at once.
    pub async fn subscription_cancel(&self, id: &str, key: &str) -> Call {
        let request = CancelSubscription::new(id).expand(owned(&LATEST_INVOICE_EXPANDED));
        self.write("subscription_cancel", &request, key).await
    }

    /// One invoice with its payments.
    pub async fn invoice_retrieve(&self, id: &str) -> Call {
        self.read("invoice_retrieve", &RetrieveInvoice::new(id).expand(owned(&INVOICE_EXPANDED))).await
    }

    /// Tries to have an open invoice paid, with what the customer's invoices are paid with.
    pub async fn invoice_pay(&self, id: &str, key: &str) -> Call {
        self.write("invoice_pay", &PayInvoice::new(id), key).await
    }

    /// A page of a customer's invoices, latest first.
    pub async fn invoice_list(&self, stripe_customer_id: &str, limit: i64, after: Option<&str>) -> Call {
        let mut request = ListInvoice::new().customer(stripe_customer_id).limit(limit);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("invoice_list", &request).await
    }

    /// A page of everybody's invoices made between two times, in seconds, latest first.
    pub async fn invoice_list_page(&self, since_s: i64, until_s: i64, after: Option<&str>) -> Call {
        let mut request = ListInvoice::new().created(between(Some(since_s), Some(until_s))).limit(PAGE_LEN);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("invoice_list_page", &request).await
    }

    /// Which invoices a PaymentIntent paid.
    pub async fn invoice_payment_list(&self, payment_intent_id: &str) -> Call {
        let payment = ListInvoicePaymentPayment {
            payment_intent: Some(payment_intent_id.to_owned()),
            ..ListInvoicePaymentPayment::new(ListInvoicePaymentPaymentType::PaymentIntent)
        };
        self.read("invoice_payment_list", &ListInvoicePayment::new().payment(payment).limit(PAGE_LEN)).await
    }

    /// One event.
    pub async fn event_retrieve(&self, id: &str) -> Call {
        self.read("event_retrieve", &RetrieveEvent::new(id)).await
    }

    /// A page of events between two times, in seconds, latest first; only those that Stripe could not
    /// deliver, if asked.
    pub async fn event_list(&self, since_s: i64, until_s: i64, undelivered: bool, after: Option<&str>) -> Call {
        let mut request = ListEvent::new().created(between(Some(since_s), Some(until_s))).limit(PAGE_LEN);
        if undelivered {
            request = request.delivery_success(false);
        }
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("event_list", &request).await
    }

    /// The object that a thin event names by its address, such as `/v1/invoices/in_1`. Only
    /// addresses of the v1 API are asked.
    pub async fn related_retrieve(&self, url: &str) -> Call {
        let refused = || StripeError::NotFound { message: format!("no address of an object: {url}") };
        let path = url.strip_prefix("/v1").ok_or_else(refused)?;
        if !path.starts_with('/') || path.contains(['?', '#', '%', '\\']) || path.contains("..") {
            return Err(refused());
        }
        Ok(self.get("related_retrieve", RequestBuilder::new(StripeMethod::Get, path)).await?.body)
    }
}

/// Nobody is there to be sent to another page. Source: Stripe, "Create a PaymentIntent".
fn without_redirects() -> CreatePaymentIntentAutomaticPaymentMethods {
    CreatePaymentIntentAutomaticPaymentMethods {
        allow_redirects: Some(CreatePaymentIntentAutomaticPaymentMethodsAllowRedirects::Never),
        ..CreatePaymentIntentAutomaticPaymentMethods::new(true)
    }
}

/// Made from the one time to the other, both included.
fn between(since_s: Option<i64>, until_s: Option<i64>) -> stripe_types::RangeQueryTs {
    stripe_types::RangeQueryTs::Bounds(stripe_types::RangeBoundsTs { gte: since_s, lte: until_s, ..Default::default() })
}
