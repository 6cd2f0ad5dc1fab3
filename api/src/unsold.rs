//! Prices of the catalogue that Stripe did not have at the start: nobody can subscribe to them.

use bursar_engine::config::{Config, read_catalogue};
use bursar_engine::infra::store::Db;
use bursar_engine::infra::stripe::{Gateway, GatewayOptions};
use bursar_engine::key::PriceKey;
use bursar_engine::usecase::version::missing_at_stripe;
use std::path::Path;
use std::time::Duration;

/// How long the start waits for Stripe's answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Prices that Stripe did not have at the start.
#[derive(Debug, Default)]
pub(crate) struct UnsoldPrices {
    /// The version of the catalogue that offers them.
    version: i64,
    keys: Vec<PriceKey>,
    /// The catalogue's file, to apply, if it is what is in force.
    file: Option<String>,
}

impl UnsoldPrices {
    /// Asks Stripe, once. If it does not answer in time, nothing is known of such prices, and the log says so.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub(crate) async fn find(config: &Config, db: &Db) -> bursar_engine::Result<Self> {
        // A gateway of its own, so that no answer at the start counts as a failure of Stripe later.
        let stripe = Gateway::new(GatewayOptions::from(config))?;
        let (version, catalogue) = (config.catalogue.version(), config.catalogue.now());
        let asked = tokio::time::timeout(TIMEOUT, missing_at_stripe(db, &stripe, &catalogue)).await;
        let why = match asked {
            Ok(found) => match found? {
                Ok(keys) => return Ok(Self::told(config, version, keys)),
                Err(error) => error.to_string(),
            },
            Err(_) => "it did not answer in time".to_owned(),
        };
        tracing::info!(why, "Stripe could not be asked which prices of the catalogue it has");
        Ok(Self::default())
    }

    /// Tells the log of them.
    fn told(config: &Config, version: i64, keys: Vec<PriceKey>) -> Self {
        // A file with other prices would put these into force.
        let in_force = config.catalogue.now();
        let is_in_force = |path: &&Path| read_catalogue(path).is_ok_and(|(read, _)| read == *in_force);
        let file = config.catalogue_path.as_deref().filter(is_in_force).map(|path| path.display().to_string());
        let found = Self { version, keys, file };
        if let Some(warning) = found.warning(version) {
            tracing::warn!("{warning}");
        }
        found
    }

    /// A sentence about them while this version of the catalogue is in force. Applying a catalogue makes its prices, as
    /// another version.
    pub(crate) fn warning(&self, version: i64) -> Option<String> {
        if self.version != version || self.keys.is_empty() {
            return None;
        }
        let keys = self.keys.iter().map(PriceKey::as_str).collect::<Vec<_>>().join(", ");
        let file = self.file.as_deref().unwrap_or("FILE");
        let export = if self.file.is_some() { "" } else { " (`bursar catalogue export > FILE` writes it)" };
        Some(format!(
            "Stripe has no price for {keys} of the catalogue yet, so nobody can subscribe to it: `bursar catalogue plan \
             {file}` shows what would be made, and `bursar catalogue apply {file} --reason TEXT` makes it{export}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_that_stripe_lacks_are_told_until_another_version_is_in_force() {
        let found = UnsoldPrices {
            version: 1,
            keys: ["pro_monthly", "team_monthly"].map(PriceKey::trusted).to_vec(),
            file: Some("bursar.catalogue.toml".to_owned()),
        };
        let warning = found.warning(1).expect("a warning");
        for part in ["pro_monthly, team_monthly", "`bursar catalogue apply bursar.catalogue.toml --reason TEXT`"] {
            assert!(warning.contains(part), "{warning}");
        }
        assert_eq!(found.warning(2), None);
        assert_eq!(UnsoldPrices::default().warning(0), None);
        let without_file = UnsoldPrices { file: None, ..found };
        assert!(without_file.warning(1).is_some_and(|warning| warning.contains("catalogue export")));
    }
}
