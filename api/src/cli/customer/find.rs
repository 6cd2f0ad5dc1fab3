//! Finds the customer that a command is given by its e-mail address.

use crate::cli::client::admin_path;
use crate::cli::{PROGRAM, Session};

/// Customers that are read at most: those whose address or name contains the given address.
const FOUND_MAX: &str = "100";

impl Session {
    /// The id of a customer that is given by its id or its e-mail address. What is no address counts as an id.
    ///
    /// # Errors
    /// No customer has this address; or as [`Error`](crate::cli::error::Error).
    pub(in crate::cli) async fn customer_id(&self, given: &str) -> anyhow::Result<String> {
        let address = given.trim();
        if !address.contains('@') {
            return Ok(given.to_owned());
        }
        let query = [("search", address.to_owned()), ("limit", FOUND_MAX.to_owned())];
        let answer = self.client.get(&admin_path(&["customers"])?, &query).await?;
        let found = answer["data"].as_array().into_iter().flatten();
        let has_address =
            |field: &serde_json::Value| field.as_str().is_some_and(|own| own.to_lowercase() == address.to_lowercase());
        let id = found.filter(|customer| has_address(&customer["email"])).find_map(|customer| customer["id"].as_str());
        id.map(str::to_owned).ok_or_else(|| {
            anyhow::anyhow!(
                "no customer has the address {address}; {PROGRAM} customers list --search finds parts of addresses"
            )
        })
    }

    /// As [`Session::customer_id`], of an option.
    ///
    /// # Errors
    /// As [`Session::customer_id`].
    pub(in crate::cli) async fn customer_of(&self, given: Option<&str>) -> anyhow::Result<Option<String>> {
        match given {
            Some(given) => self.customer_id(given).await.map(Some),
            None => Ok(None),
        }
    }
}
