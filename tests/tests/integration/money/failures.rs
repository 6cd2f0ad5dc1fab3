//! Failures of other systems with Stripe, and tests that they do not happen here. The number in a test's name is the
//! failure's.
//!
//! | | failure | file |
//! |---|---|---|
//! | 1 | two concurrent deliveries of one `invoice.paid` grant twice | `grant` |
//! | 2 | one payment announced by several events grants several times | `grant` |
//! | 3 | a late `updated (active)` after `deleted` revives Pro | `late` |
//! | 4 | a 200 before the event is stored loses it, and the redelivery is dropped as a duplicate | `intake` |
//! | 5 | a slow success that is retried under a new key charges twice | `slow` |
//! | 6 | the same key after a decline replays the decline for a new card | `decline` |
//! | 7 | fields that moved silently skip renewals | `renewal` |
//! | 8 | a 402 that requires authentication, handled as an error, orphans the PaymentIntent | `authentication` |
//! | 9 | two partial refunds claw back the cumulative amount twice | `refund` |
//! | 10 | a dispute opened and won, then a refund, claw back a wrong sum | `dispute` |
//! | 11 | prorations, zero-amount and manual invoices grant a month's credits | `renewal` |
//! | 12 | an unknown version, the wrong mode, a thin event or a rotated secret is answered 400 | `intake` |
//! | 13 | a raised price, whose lookup key has moved, ends the plan of whoever pays the old one | `sold` |
//! | 14 | a fully paid period under `subscription_update` brings nothing | `sold` |
//! | 15 | the invoice of an add-on brings a month of credits, because its subscription is known as Pro | `sold` |
//! | 16 | other business in the same account becomes dead letters at every renewal | `sold` |
//! | 17 | a Checkout that made its own Stripe customer takes the money and gives nothing | `sold` |
//! | 18 | a small refund of an invoice that the balance mostly paid takes all credits | `sold` |
//! | 19 | an invoice whose facts are missing is called done without credits | `sold` |
//! | 20 | a full refund of a used unit locks the customer out for ever | `buying` |
//! | 21 | parallel requests are charged and then refused | `buying` |
//! | 22 | one key charges a card, or tries a declining one, again and again within seconds | `buying` |
//! | 23 | a customer with a declining card fills all workers and makes everybody wait | `crowd` |
//! | 24 | a purchase on GitHub Marketplace on the day that the old one ends stays cancelled | `marketplace/same_day` |

use super::interceptor::Interception;
use super::*;
use crate::scene::{PERIOD, invoice_paid, with_backend};

mod authentication;
mod buying;
mod crowd;
mod decline;
mod dispute;
mod grant;
mod intake;
mod late;
mod refund;
mod renewal;
mod slow;
mod sold;

const PAY: &str = "/v1/payment_intents";

impl Shop {
    /// The last charge at Stripe that took money.
    fn last_charge(&self) -> String {
        let charges = self.stripe.list("charge");
        let paid = charges.iter().rev().find(|charge| charge["paid"] == true).expect("a charge");
        stripe::id(paid).to_owned()
    }

    /// Calls the sandbox's control API.
    pub(super) async fn control(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/sandbox/v1/{path}", self.stripe.url());
        let token = self.stripe.control_token().reveal();
        let answer =
            self.app.client.post(url).bearer_auth(token).json(&body).send().await.expect("the sandbox answers");
        let status = answer.status();
        let body: Value = answer.json().await.expect("JSON");
        assert!(status.is_success(), "{body}");
        body
    }

    /// Delivers all event types that announce the payment of an invoice.
    async fn deliver_payment_events(&self, invoice: &Value) {
        let payments = self.stripe.list("invoice_payment");
        let payment = payments.iter().find(|payment| payment["invoice"] == invoice["id"]);
        for event_type in ["invoice.paid", "invoice.payment_succeeded"] {
            self.deliver_event(event_type, invoice).await;
        }
        if let Some(payment) = payment {
            self.deliver_event("invoice_payment.paid", payment).await;
            let intent = payment["payment"]["payment_intent"].as_str().expect("a PaymentIntent");
            self.deliver_event("payment_intent.succeeded", &self.stripe.object(intent)).await;
        }
        self.deliver_event("customer.subscription.updated", &self.subscription()).await;
    }
}

fn take_away(object: &mut Value, names: &[&str]) {
    let fields = object.as_object_mut().expect("an object");
    names.iter().for_each(|name| drop(fields.remove(*name)));
}
