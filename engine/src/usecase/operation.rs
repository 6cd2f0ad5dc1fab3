//! Operations at Stripe on behalf of customers: requested here, carried out by their handler.

pub mod request;
