//! Stripe's kinds of objects, one file each, and the calls to them.

mod address;
pub(crate) mod balance;
pub(crate) mod charge;
pub(crate) mod checkout;
pub(crate) mod coupon;
pub(crate) mod credit_note;
pub(crate) mod customer;
pub(crate) mod dispute;
pub(crate) mod event;
pub(crate) mod invoice;
pub(crate) mod invoice_item;
pub(crate) mod invoice_payment;
pub(crate) mod payment_intent;
pub(crate) mod payment_method;
pub(crate) mod portal;
pub(crate) mod price;
pub(crate) mod refund;
pub(crate) mod schedule;
pub(crate) mod setup_intent;
pub(crate) mod source;
pub(crate) mod subscription;
pub(crate) mod test_clock;
pub(crate) mod webhook_endpoint;
