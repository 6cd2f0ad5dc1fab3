//! Preflight: Stripe.

use super::database::Connecting;
use super::{CONNECT_LIMIT, Surroundings, within_limit};
use crate::config::Config;
use crate::domain::catalogue::Catalogue;
use crate::domain::preflight::Finding;
use crate::domain::preflight::machine::judge_stripe_clock;
use crate::domain::preflight::price::judge_prices;
use crate::domain::preflight::stripe::{
    API_VERSION, Access, CLOCK, EVENTS, Endpoint, KEY, MODE, PERMISSIONS, PRICES, READS, Read, WEBHOOK,
    judge_endpoints, judge_key, judge_mode, judge_permissions,
};
use crate::domain::sale::at_stripe::{SeenPrice, StripePrices};
use crate::domain::webhook::WANTED;
use crate::domain::webhook::fields;
use crate::infra::store::catalogue::catalogue_version_latest;
use crate::infra::stripe::catalogue::LOOKUP_KEYS_MAX;
use crate::infra::stripe::probe::{Probe, Probed};
use crate::infra::stripe::{GatewayOptions, StripeError};
use crate::usecase::handler::catalogue::catalogue_of;
use futures_util::{StreamExt, stream};
use std::collections::BTreeSet;

/// Every name under which something about Stripe is found.
const NAMES: [&str; 8] = [KEY, MODE, PERMISSIONS, WEBHOOK, EVENTS, API_VERSION, PRICES, CLOCK];
/// Reads that are under way at once: few, so that other calls with the key are not delayed.
const READS_AT_ONCE: usize = 4;
/// A page that holds all webhook endpoints: Stripe allows 16.
const PAGE_LEN: &str = "100";

const NO_ANSWER: &str = "Stripe cannot be reached";
const NO_KEY: &str = "Stripe does not accept the key";

/// Looks at Stripe, if a key is configured.
pub(super) async fn check(of: &Surroundings, db: Connecting) -> Vec<Finding> {
    let config = of.config.clone();
    if !config.has_stripe() {
        let why = match config.wants_sandbox() {
            true => "no Stripe key is set: the sandbox stands in for Stripe",
            false => "no Stripe key is set (STRIPE_SECRET_KEY)",
        };
        return NAMES.map(|name| Finding::skipped(name, why)).to_vec();
    }
    let probe = match Probe::new(&GatewayOptions::from(&config), CONNECT_LIMIT) {
        Ok(probe) => probe,
        Err(error) => return vec![Finding::fail(KEY, error.to_string(), "see STRIPE_SECRET_KEY and STRIPE_API_BASE")],
    };
    let of_key = key(probe.clone(), of.clone());
    let of_endpoints = endpoints(probe.clone(), of.public_url.clone());
    let (key, permissions, endpoints, prices) = tokio::join!(
        within_limit(&[KEY, MODE, CLOCK], of_key),
        within_limit(&[PERMISSIONS], permissions(probe.clone(), config.stripe.secret_key.clone())),
        within_limit(&[WEBHOOK, EVENTS, API_VERSION], of_endpoints),
        within_limit(&[PRICES], prices(probe, config, db)),
    );
    [key, permissions, endpoints, prices].concat()
}

/// The key, its mode and Stripe's clock, from one answer.
async fn key(probe: Probe, of: Surroundings) -> Vec<Finding> {
    let (key, stripe) = (of.config.stripe.secret_key.trim(), &of.config.stripe);
    let answer = match probe.get("/balance", &[]).await {
        Ok(answer) => answer,
        Err(error) => {
            return vec![
                Finding::fail(
                    KEY,
                    format!("{NO_ANSWER}: {}", reason(&error)),
                    "check the network, and STRIPE_API_BASE",
                ),
                judge_mode(key, stripe.livemode, None),
                Finding::skipped(CLOCK, NO_ANSWER),
            ];
        }
    };
    let now_ms = of.clock.uncorrected_ms();
    let livemode = answer.body["livemode"].as_bool();
    let clock = match answer.date_s {
        Some(date_s) => judge_stripe_clock(CLOCK, now_ms, date_s, stripe.tolerance_s),
        None => Finding::skipped(CLOCK, "Stripe does not say its time"),
    };
    vec![judge_key(key, Access::of(answer.status)), judge_mode(key, stripe.livemode, livemode), clock]
}

async fn permissions(probe: Probe, key: String) -> Vec<Finding> {
    let asked = READS.map(|name| read(probe.clone(), name));
    let mut answers = stream::iter(asked).buffered(READS_AT_ONCE);
    let mut reads = Vec::new();
    for name in READS {
        match answers.next().await {
            Some(Ok(answer)) => reads.push(Read::new(name, answer.status, &answer.problem())),
            Some(Err(_)) | None => return vec![Finding::skipped(PERMISSIONS, NO_ANSWER)],
        }
    }
    if reads.iter().any(|read| read.access == Access::NoKey) {
        return vec![Finding::skipped(PERMISSIONS, NO_KEY)];
    }
    judge_permissions(key.trim(), &reads)
}

/// Reads one object of a kind.
async fn read(probe: Probe, kind: &'static str) -> Result<Probed, StripeError> {
    probe.get(&format!("/{kind}"), &[("limit", "1")]).await
}

async fn endpoints(probe: Probe, public_url: Option<String>) -> Vec<Finding> {
    let skipped = |why: &str| [WEBHOOK, EVENTS, API_VERSION].map(|name| Finding::skipped(name, why)).to_vec();
    let page = match probe.get("/webhook_endpoints", &[("limit", PAGE_LEN)]).await {
        Ok(page) => page,
        Err(_) => return skipped(NO_ANSWER),
    };
    match Access::of(page.status) {
        Access::Granted => {}
        Access::NoKey => return skipped(NO_KEY),
        Access::Denied => {
            let remedy =
                "let the restricted key read webhook endpoints, or compare them with `bursar stripe events` by hand";
            let found = Finding::warn(WEBHOOK, "the key may not read webhook endpoints", remedy);
            return vec![
                found,
                Finding::skipped(EVENTS, "they cannot be read"),
                Finding::skipped(API_VERSION, "it cannot be read"),
            ];
        }
        Access::Other(status) => {
            let found = Finding::warn(WEBHOOK, format!("Stripe answers {status}"), "run the preflight again");
            return vec![
                found,
                Finding::skipped(EVENTS, "they are not known"),
                Finding::skipped(API_VERSION, "it is not known"),
            ];
        }
    }
    let account_version = probe.get_in_account_version("/balance", &[]).await.ok().and_then(|answer| answer.version);
    let found: Vec<Endpoint> = fields::rows(&page.body).iter().map(Endpoint::read).collect();
    judge_endpoints(&found, public_url.as_deref(), WANTED, account_version.as_deref(), Probe::calls_version())
}

async fn prices(probe: Probe, config: Config, db: Connecting) -> Vec<Finding> {
    let in_force = in_force(db).await;
    let is_first_start = in_force.is_none();
    let catalogue = in_force.unwrap_or_else(|| Catalogue::clone(&config.catalogue.now()));
    match seen(&probe, &catalogue).await {
        Ok(seen) => judge_prices(&catalogue, &seen, is_first_start),
        Err(Unseen::NoAnswer) => vec![Finding::skipped(PRICES, NO_ANSWER)],
        Err(Unseen::NoKey) => vec![Finding::skipped(PRICES, NO_KEY)],
        Err(Unseen::Other(problem)) => {
            vec![Finding::warn(PRICES, format!("the prices cannot be read: {problem}"), "let the key read prices")]
        }
    }
}

/// The catalogue that the database has in force, if there is one that this release can read.
async fn in_force(db: Connecting) -> Option<Catalogue> {
    let db = db.await.ok().flatten()?;
    let version = catalogue_version_latest(db.read(), 0).await.ok().flatten()?;
    catalogue_of(&version).ok()
}

/// Why prices cannot be seen.
enum Unseen {
    NoAnswer,
    NoKey,
    Other(String),
}

/// The prices at Stripe that a catalogue names, archived ones included.
async fn seen(probe: &Probe, catalogue: &Catalogue) -> Result<StripePrices, Unseen> {
    let ids: BTreeSet<&str> =
        catalogue.prices.iter().filter_map(|price| price.stripe.first()).map(String::as_str).collect();
    let keys: BTreeSet<&str> = catalogue.prices.iter().map(|price| price.lookup_key.as_str()).collect();
    let keys: Vec<&str> = keys.into_iter().collect();
    let mut seen = StripePrices::default();
    for id in ids {
        let answer = probe.get(&format!("/prices/{id}"), &[]).await;
        let found = match &answer {
            Ok(answer) if answer.status == 200 => Some(SeenPrice::read(&answer.body)),
            Ok(answer) => granted(answer).map(|()| None)?,
            // An id of another form names nothing.
            Err(StripeError::NotFound { .. }) => None,
            Err(_) => return Err(Unseen::NoAnswer),
        };
        seen.by_id.insert(id.to_owned(), found);
    }
    for keys in keys.chunks(LOOKUP_KEYS_MAX) {
        let mut query: Vec<(&str, &str)> = keys.iter().map(|key| ("lookup_keys[]", *key)).collect();
        query.push(("limit", PAGE_LEN));
        let page = probe.get("/prices", &query).await.map_err(|_| Unseen::NoAnswer)?;
        granted(&page)?;
        for found in fields::rows(&page.body).iter().map(SeenPrice::read) {
            let Some(key) = found.said.lookup_key.clone() else { continue };
            let place = seen.by_lookup_key.entry(key).or_insert_with(|| found.clone());
            if found.is_active {
                *place = found;
            }
        }
    }
    Ok(seen)
}

fn granted(answer: &Probed) -> Result<(), Unseen> {
    match Access::of(answer.status) {
        Access::Granted => Ok(()),
        Access::NoKey => Err(Unseen::NoKey),
        Access::Denied | Access::Other(_) => Err(Unseen::Other(answer.problem())),
    }
}

fn reason(error: &StripeError) -> String {
    match error {
        StripeError::NotDone { reason } => reason.clone(),
        other => other.to_string(),
    }
}
