//! The calls, one function each. Those that make a change take an idempotency key.

use super::error::StripeError;
use super::gateway::{Answer, Gateway};
use crate::amount::MoneyMinor;
use crate::domain::webhook::fields::{
    CUSTOMER_METADATA_KEY, OPERATION_METADATA_KEY, PLAN_METADATA_KEY, PRICE_METADATA_KEY, ROUND_METADATA_KEY,
};
use crate::key::{PlanKey, PriceKey};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use stripe_billing::invoice::{ListInvoice, PayInvoice, RetrieveInvoice};
use stripe_billing::invoice_payment::{ListInvoicePayment, ListInvoicePaymentPayment, ListInvoicePaymentPaymentType};
use stripe_billing::subscription::{
    CancelSubscription, CreateSubscription, CreateSubscriptionItems, CreateSubscriptionPaymentBehavior,
    ListSubscription, ListSubscriptionStatus, ResumeSubscription, RetrieveSubscription, UpdateSubscription,
};
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};
use stripe_core::customer::{
    CreateCustomer, ListCustomer, RetrieveCustomer, UpdateCustomer, UpdateCustomerInvoiceSettings,
};
use stripe_core::event::{ListEvent, RetrieveEvent};
use stripe_core::payment_intent::{
    CancelPaymentIntent, CreatePaymentIntent, CreatePaymentIntentAutomaticPaymentMethods,
    CreatePaymentIntentAutomaticPaymentMethodsAllowRedirects, CreatePaymentIntentOffSession, ListPaymentIntent,
    RetrievePaymentIntent,
};
use stripe_payment::payment_method::{
    AttachPaymentMethod, DetachPaymentMethod, ListPaymentMethod, RetrievePaymentMethod,
};
use stripe_product::price::{ListPrice, RetrievePrice};
use stripe_types::Currency;

/// Objects in one page; Stripe's limit.
pub const PAGE_LEN: i64 = 100;

/// The parts of an invoice to expand: its payments, and the secret for confirming. Source: Stripe, "Expanding
/// responses": at most four levels.
const INVOICE_EXPANDED: [&str; 3] = ["payments", "payments.data.payment.payment_intent", "confirmation_secret"];
/// The same for a subscription's latest invoice, with its schedule. Its PaymentIntent would be a fifth level, so it is
/// fetched by id.
pub(super) const LATEST_INVOICE_EXPANDED: [&str; 4] =
    ["latest_invoice", "latest_invoice.payments", "latest_invoice.confirmation_secret", "schedule"];

pub(super) type Call<T = Value> = Result<T, StripeError>;

/// A charge of the customer's saved payment method without the customer.
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
    /// The description that the customer sees.
    pub description: &'a str,
    /// Bursar's customer.
    pub customer_id: &'a str,
    /// The operation that charges.
    pub operation: Mark<'a>,
}

/// Marks objects at Stripe with their operation, so that they can be found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark<'a> {
    /// The operation.
    pub operation_id: &'a str,
    /// Its round.
    pub round: i64,
}

/// What a subscription sells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribedItem<'a> {
    /// The price at Stripe.
    pub price_id: &'a str,
    /// The catalogue's price.
    pub price: &'a PriceKey,
    /// The catalogue's plan.
    pub plan: &'a PlanKey,
    /// How many.
    pub quantity: i64,
}

pub(super) fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

pub(super) fn metadata(customer_id: &str, mark: Option<Mark<'_>>) -> HashMap<String, String> {
    let mut metadata = HashMap::from([(CUSTOMER_METADATA_KEY.to_owned(), customer_id.to_owned())]);
    if let Some(Mark { operation_id, round }) = mark {
        metadata.insert(OPERATION_METADATA_KEY.to_owned(), operation_id.to_owned());
        metadata.insert(ROUND_METADATA_KEY.to_owned(), round.to_string());
    }
    metadata
}

fn currency(code: &str) -> Currency {
    // Never fails: unknown codes are sent unchanged.
    code.parse().unwrap_or_default()
}

impl Gateway {
    pub(super) async fn read(&self, call: &'static str, request: &impl StripeRequest) -> Call {
        Ok(self.get(call, request.build()).await?.body)
    }

    pub(super) async fn write(&self, call: &'static str, request: &impl StripeRequest, key: &str) -> Call {
        Ok(self.change(call, request.build(), key).await?.body)
    }

    /// Creates a customer's Stripe customer.
    pub async fn customer_create(&self, customer_id: &str, email: &str, name: &str, key: &str) -> Call {
        let request = CreateCustomer::new().email(email).name(name).metadata(metadata(customer_id, None));
        self.write("customer_create", &request, key).await
    }

    /// Retrieves a Stripe customer; a deleted one has `deleted`.
    pub async fn customer_retrieve(&self, id: &str) -> Call {
        self.read("customer_retrieve", &RetrieveCustomer::new(id)).await
    }

    /// Lists a page of Stripe customers created within a time, in seconds, latest first, without deleted ones.
    pub async fn customer_list_page(&self, since_s: Option<i64>, until_s: i64, after: Option<&str>) -> Call {
        let mut request = ListCustomer::new().created(created_between(since_s, Some(until_s))).limit(PAGE_LEN);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("customer_list_page", &request).await
    }

    /// Lists Stripe customers with an address, at most [`PAGE_LEN`], latest first.
    pub async fn customer_list(&self, email: &str) -> Call {
        self.read("customer_list", &ListCustomer::new().email(email).limit(PAGE_LEN)).await
    }

    /// Writes into a Stripe customer's metadata which customer it belongs to; `None` removes that.
    pub async fn customer_set_owner(&self, id: &str, customer_id: Option<&str>, key: &str) -> Call {
        // Stripe removes an entry whose value is empty. Source: Stripe, "Metadata".
        let metadata = metadata(customer_id.unwrap_or_default(), None);
        self.write("customer_set_owner", &UpdateCustomer::new(id).metadata(metadata), key).await
    }

    /// Sets a Stripe customer's address.
    pub async fn customer_set_email(&self, id: &str, email: &str, key: &str) -> Call {
        self.write("customer_set_email", &UpdateCustomer::new(id).email(email), key).await
    }

    /// Sets the payment method for the customer's invoices.
    pub async fn customer_set_default(&self, id: &str, payment_method_id: &str, key: &str) -> Call {
        let settings = UpdateCustomerInvoiceSettings {
            default_payment_method: Some(payment_method_id.to_owned()),
            ..UpdateCustomerInvoiceSettings::new()
        };
        self.write("customer_set_default", &UpdateCustomer::new(id).invoice_settings(settings), key).await
    }

    /// Retrieves a payment method.
    pub async fn payment_method_retrieve(&self, id: &str) -> Call {
        self.read("payment_method_retrieve", &RetrievePaymentMethod::new(id)).await
    }

    /// Lists a customer's payment methods, at most [`PAGE_LEN`].
    pub async fn payment_method_list(&self, stripe_customer_id: &str) -> Call {
        let request = ListPaymentMethod::new().customer(stripe_customer_id).limit(PAGE_LEN);
        self.read("payment_method_list", &request).await
    }

    /// Attaches a payment method to a customer.
    pub async fn payment_method_attach(&self, id: &str, stripe_customer_id: &str, key: &str) -> Call {
        let request = AttachPaymentMethod::new(id).customer(stripe_customer_id);
        self.write("payment_method_attach", &request, key).await
    }

    /// Detaches a payment method from its customer, permanently.
    pub async fn payment_method_detach(&self, id: &str, key: &str) -> Call {
        self.write("payment_method_detach", &DetachPaymentMethod::new(id), key).await
    }

    /// Charges a saved payment method without the customer.
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

    /// Retrieves a PaymentIntent.
    pub async fn payment_retrieve(&self, id: &str) -> Call {
        self.read("payment_retrieve", &RetrievePaymentIntent::new(id)).await
    }

    /// Lists a page of PaymentIntents created since a time, in seconds, latest first.
    pub async fn payment_list(&self, stripe_customer_id: Option<&str>, since_s: i64, after: Option<&str>) -> Call {
        let mut request = ListPaymentIntent::new().created(created_between(Some(since_s), None)).limit(PAGE_LEN);
        if let Some(id) = stripe_customer_id {
            request = request.customer(id);
        }
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("payment_list", &request).await
    }

    /// Cancels a PaymentIntent, so that it can no longer be paid.
    pub async fn payment_cancel(&self, id: &str, key: &str) -> Call {
        self.write("payment_cancel", &CancelPaymentIntent::new(id), key).await
    }

    /// Lists the active prices with a lookup key.
    pub async fn price_list(&self, lookup_key: &str) -> Call {
        let request = ListPrice::new().lookup_keys(owned(&[lookup_key])).active(true).limit(PAGE_LEN);
        self.read("price_list", &request).await
    }

    /// Retrieves a price.
    pub async fn price_retrieve(&self, id: &str) -> Call {
        self.read("price_retrieve", &RetrievePrice::new(id)).await
    }

    /// Lists the Checkout sessions that made a subscription; there is at most one.
    pub async fn checkout_session_list(&self, subscription_id: &str) -> Call {
        let request = RequestBuilder::new(StripeMethod::Get, "/checkout/sessions");
        let request = request.query(&BTreeMap::from([("subscription", subscription_id), ("limit", "1")]));
        Ok(self.get("checkout_session_list", request).await?.body)
    }

    /// Lists a page of an invoice's lines, at most [`PAGE_LEN`].
    pub async fn invoice_line_list(&self, id: &str, after: Option<&str>) -> Call {
        let limit = PAGE_LEN.to_string();
        let mut query = BTreeMap::from([("limit", limit.as_str())]);
        query.extend(after.map(|after| ("starting_after", after)));
        let request = RequestBuilder::new(StripeMethod::Get, format!("/invoices/{id}/lines")).query(&query);
        Ok(self.get("invoice_line_list", request).await?.body)
    }

    /// Creates a subscription and tries the first payment at once, with the payment method for invoices. If that
    /// fails, the subscription is still created, as `incomplete`.
    pub async fn subscription_create(
        &self,
        stripe_customer_id: &str,
        item: &SubscribedItem<'_>,
        customer_id: &str,
        operation: Mark<'_>,
        key: &str,
    ) -> Call<Answer> {
        let items = CreateSubscriptionItems {
            price: Some(item.price_id.to_owned()),
            quantity: Some(item.quantity.unsigned_abs()),
            ..CreateSubscriptionItems::new()
        };
        let mut metadata = metadata(customer_id, Some(operation));
        metadata.insert(PRICE_METADATA_KEY.to_owned(), item.price.to_string());
        metadata.insert(PLAN_METADATA_KEY.to_owned(), item.plan.to_string());
        let request = CreateSubscription::new()
            .customer(stripe_customer_id)
            .items(vec![items])
            .payment_behavior(CreateSubscriptionPaymentBehavior::AllowIncomplete)
            .off_session(true)
            .metadata(metadata)
            .expand(owned(&LATEST_INVOICE_EXPANDED));
        self.change("subscription_create", request.build(), key).await
    }

    /// Retrieves a subscription with its latest invoice.
    pub async fn subscription_retrieve(&self, id: &str) -> Call {
        let request = RetrieveSubscription::new(id).expand(owned(&LATEST_INVOICE_EXPANDED));
        self.read("subscription_retrieve", &request).await
    }

    /// Retrieves a subscription with its discounts and their coupons.
    pub async fn subscription_retrieve_discounts(&self, id: &str) -> Call {
        let expanded = ["discounts", "discounts.source.coupon"];
        self.read("subscription_retrieve", &RetrieveSubscription::new(id).expand(owned(&expanded))).await
    }

    /// Lists subscriptions of any status created since a time, in seconds, latest first.
    pub async fn subscription_list_page(&self, since_s: Option<i64>, after: Option<&str>) -> Call {
        let mut request = ListSubscription::new().status(ListSubscriptionStatus::All).limit(PAGE_LEN);
        if since_s.is_some() {
            request = request.created(created_between(since_s, None));
        }
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("subscription_list_page", &request).await
    }

    /// Lists a page of subscriptions in any status, latest first.
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

    /// Lists a page of subscriptions with a price that have not ended, latest first.
    pub async fn subscription_list_at_price(&self, price_id: &str, after: Option<&str>) -> Call {
        let mut request = ListSubscription::new().price(price_id).limit(PAGE_LEN);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("subscription_list", &request).await
    }

    /// Sets whether a subscription ends with its period.
    pub async fn subscription_set_end(&self, id: &str, ends_with_period: bool, key: &str) -> Call {
        let request =
            UpdateSubscription::new(id).cancel_at_period_end(ends_with_period).expand(owned(&LATEST_INVOICE_EXPANDED));
        self.write("subscription_set_end", &request, key).await
    }

    /// Removes the time at which a subscription would end. Source: Stripe, "Update a subscription": an empty
    /// `cancel_at`, which async-stripe does not support.
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

    /// Sets a subscription's own payment method.
    pub async fn subscription_set_payment_method(&self, id: &str, payment_method_id: &str, key: &str) -> Call {
        let request = UpdateSubscription::new(id).default_payment_method(payment_method_id);
        self.write("subscription_set_payment_method", &request, key).await
    }

    /// Cancels a subscription immediately.
    pub async fn subscription_cancel(&self, id: &str, key: &str) -> Call {
        let request = CancelSubscription::new(id).expand(owned(&LATEST_INVOICE_EXPANDED));
        self.write("subscription_cancel", &request, key).await
    }

    /// Retrieves an invoice with its payments.
    pub async fn invoice_retrieve(&self, id: &str) -> Call {
        self.read("invoice_retrieve", &RetrieveInvoice::new(id).expand(owned(&INVOICE_EXPANDED))).await
    }

    /// Tries to pay an open invoice with the payment method for invoices.
    pub async fn invoice_pay(&self, id: &str, key: &str) -> Call {
        self.write("invoice_pay", &PayInvoice::new(id), key).await
    }

    /// Lists a page of a customer's invoices, latest first.
    pub async fn invoice_list(&self, stripe_customer_id: &str, limit: i64, after: Option<&str>) -> Call {
        let mut request = ListInvoice::new().customer(stripe_customer_id).limit(limit);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("invoice_list", &request).await
    }

    /// Lists a page of a subscription's invoices, latest first.
    pub async fn invoice_list_of_subscription(&self, id: &str, after: Option<&str>) -> Call {
        let mut request = ListInvoice::new().subscription(id).limit(PAGE_LEN);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("invoice_list", &request).await
    }

    /// Lists a customer's items that wait for an invoice, at most [`PAGE_LEN`].
    pub async fn invoice_item_list_pending(&self, stripe_customer_id: &str) -> Call {
        let limit = PAGE_LEN.to_string();
        let query = [("customer", stripe_customer_id), ("pending", "true"), ("limit", limit.as_str())];
        let request = RequestBuilder::new(StripeMethod::Get, "/invoiceitems").query(&BTreeMap::from(query));
        Ok(self.get("invoice_item_list", request).await?.body)
    }

    /// Lists a page of all customers' invoices created between two times, in seconds, latest first.
    pub async fn invoice_list_page(&self, since_s: i64, until_s: i64, after: Option<&str>) -> Call {
        let mut request = ListInvoice::new().created(created_between(Some(since_s), Some(until_s))).limit(PAGE_LEN);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("invoice_list_page", &request).await
    }

    /// Lists the invoices that a PaymentIntent paid.
    pub async fn invoice_payment_list(&self, payment_intent_id: &str) -> Call {
        let payment = ListInvoicePaymentPayment {
            payment_intent: Some(payment_intent_id.to_owned()),
            ..ListInvoicePaymentPayment::new(ListInvoicePaymentPaymentType::PaymentIntent)
        };
        self.read("invoice_payment_list", &ListInvoicePayment::new().payment(payment).limit(PAGE_LEN)).await
    }

    /// Lists the credit notes of an invoice, at most [`PAGE_LEN`].
    pub async fn credit_note_list(&self, invoice_id: &str) -> Call {
        let limit = PAGE_LEN.to_string();
        let request = RequestBuilder::new(StripeMethod::Get, "/credit_notes");
        let request = request.query(&BTreeMap::from([("invoice", invoice_id), ("limit", limit.as_str())]));
        Ok(self.get("credit_note_list", request).await?.body)
    }

    /// Retrieves an event.
    pub async fn event_retrieve(&self, id: &str) -> Call {
        self.read("event_retrieve", &RetrieveEvent::new(id)).await
    }

    /// Lists a page of events between two times, in seconds, latest first; only undelivered ones if asked.
    pub async fn event_list(&self, since_s: i64, until_s: i64, undelivered: bool, after: Option<&str>) -> Call {
        let mut request = ListEvent::new().created(created_between(Some(since_s), Some(until_s))).limit(PAGE_LEN);
        if undelivered {
            request = request.delivery_success(false);
        }
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        self.read("event_list", &request).await
    }

    /// Retrieves the object that a thin event names by its path, such as `/v1/invoices/in_1`. Other paths than
    /// those of the v1 API are refused.
    pub async fn related_retrieve(&self, url: &str) -> Call {
        let refused = || StripeError::NotFound { message: format!("no address of an object: {url}") };
        let path = url.strip_prefix("/v1").ok_or_else(refused)?;
        Ok(self.get("related_retrieve", RequestBuilder::new(StripeMethod::Get, path)).await?.body)
    }
}

/// Forbids redirects, since no customer is present. Source: Stripe, "Create a PaymentIntent".
fn without_redirects() -> CreatePaymentIntentAutomaticPaymentMethods {
    CreatePaymentIntentAutomaticPaymentMethods {
        allow_redirects: Some(CreatePaymentIntentAutomaticPaymentMethodsAllowRedirects::Never),
        ..CreatePaymentIntentAutomaticPaymentMethods::new(true)
    }
}

/// The range between two times of creation, inclusive.
pub(super) fn created_between(since_s: Option<i64>, until_s: Option<i64>) -> stripe_types::RangeQueryTs {
    stripe_types::RangeQueryTs::Bounds(stripe_types::RangeBoundsTs { gte: since_s, lte: until_s, ..Default::default() })
}
