//! What customers ask for that only Stripe can do: asked for here, carried out by its handler.

pub mod request;
