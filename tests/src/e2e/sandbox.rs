//! Controls a Stripe sandbox: its clock and its money.

use super::answer::{Expected, same};
use super::client::{Call, Client};
use serde_json::json;

/// The sandbox at the given address.
pub struct SandboxControl {
    client: Client,
    /// The `Authorization` header.
    bearer: String,
}

impl SandboxControl {
    /// Creates the control with this client and the sandbox's token.
    pub fn new(client: Client, token: &str) -> Self {
        Self { client, bearer: format!("Bearer {token}") }
    }

    /// Advances the clock; everything that becomes due happens.
    pub async fn advance(&self, seconds: i64) -> Expected {
        let call = Call::json(&json!({ "advance_s": seconds })).header("Authorization", &self.bearer);
        self.client.send("POST", "/sandbox/v1/clock", call).await?.status(200)?;
        Ok(())
    }

    /// Expects that a Stripe customer has paid this in all, in minor units.
    pub async fn has_paid(&self, stripe_customer: &str, minor: i64) -> Expected {
        let call = Call::default().header("Authorization", &self.bearer);
        let state = self.client.send("GET", "/sandbox/v1/state", call).await?.status(200)?;
        let captured = state.at(&format!("/money/{stripe_customer}/captured")).as_i64().unwrap_or(0);
        same(&format!("minor units that {stripe_customer} paid at Stripe"), &captured, &minor)
    }
}
