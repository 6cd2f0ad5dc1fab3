//! End-to-end journeys of customers, Stripe and GitHub, over HTTP only, against any server.
//!
//! Nothing here uses the engine; what is expected is what the documents promise. The same journeys run in the tests
//! against [`crate::TestApp`] and, by the command `e2e`, against a laptop, staging or, as a subset that moves no
//! money, production.
//!
//! | module | contents |
//! |---|---|
//! | [`target`] | the server, the options given to reach it, the credits and prices it is configured with |
//! | [`client`], [`answer`], [`mask`] | requests, expectations of answers, masking of secrets in reports |
//! | [`walk`] | a running journey and its steps |
//! | [`customer`], [`sender`], [`sandbox`] | what customers do, what Stripe and GitHub send, the sandbox's clock and money |
//! | [`signup`], [`pay_as_you_go`], [`pro`], [`marketplace`], [`webhooks`] | the five journeys |
//! | [`report`], [`junit`] | reports for people and for CI |
//! | [`local`] | a server started for a run without a URL |

pub mod answer;
pub mod client;
pub mod customer;
pub mod junit;
pub mod local;
pub mod marketplace;
pub mod mask;
pub mod pay_as_you_go;
pub mod pro;
pub mod report;
pub mod sandbox;
pub mod sender;
pub mod signup;
pub mod target;
pub mod walk;
pub mod webhooks;

use anyhow::{Context, Result, bail};
use client::Client;
use futures_util::StreamExt;
use report::{Outcome, Report};
use target::{StripeMode, Target};
use tokio::time::Instant;
use walk::{RunSettings, Walk};

/// A journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Journey {
    /// Signup, the first unit of work and the last free one.
    Signup,
    /// From trial to pay as you go: a card, and units charged one by one.
    PayAsYouGo,
    /// Pro: subscribe, use the month's credits up, renew, cancel.
    Pro,
    /// A purchase on GitHub Marketplace that becomes a customer.
    Marketplace,
    /// Stripe's events: payments that succeed and fail, subscriptions that begin and end.
    Webhooks,
}

impl Journey {
    /// All journeys in the order of the report.
    pub const ALL: [Self; 5] = [Self::Signup, Self::PayAsYouGo, Self::Pro, Self::Marketplace, Self::Webhooks];

    /// The name as written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signup => "signup",
            Self::PayAsYouGo => "pay-as-you-go",
            Self::Pro => "pro",
            Self::Marketplace => "marketplace",
            Self::Webhooks => "webhooks",
        }
    }
}

/// Called when a step of a journey begins.
pub type Observer<'a> = &'a dyn Fn(Journey, &str);

/// Runs journeys, up to `concurrent_max` of them concurrently.
///
/// # Errors
/// If the server does not answer, or takes real money although not `only_safe_steps` are asked for.
pub async fn run(
    target: Target,
    journeys: &[Journey],
    concurrent_max: usize,
    observer: Observer<'_>,
) -> Result<Report> {
    // Fails only if another provider is installed, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let began = Instant::now();
    let stripe = stripe_mode(&target).await?;
    if stripe == StripeMode::Live && !target.only_safe_steps {
        bail!("Stripe is in live mode there, and real cards would be charged: add --safe");
    }
    let settings = RunSettings::new(target, stripe);
    let walks = journeys.iter().map(|journey| run_journey(*journey, &settings, observer));
    let mut outcomes: Vec<Outcome> =
        futures_util::stream::iter(walks).buffer_unordered(concurrent_max.max(1)).collect().await;
    outcomes.sort_by_key(|outcome| outcome.journey);
    let url = settings.mask.hide(&settings.target.url);
    Ok(Report {
        url,
        run: settings.run,
        only_safe_steps: settings.target.only_safe_steps,
        stripe,
        outcomes,
        took: began.elapsed(),
    })
}

async fn run_journey(journey: Journey, settings: &RunSettings, observer: Observer<'_>) -> Outcome {
    let mut walk = Walk::new(journey, settings, observer);
    let result = match journey {
        Journey::Signup => signup::run(&mut walk).await,
        Journey::PayAsYouGo => pay_as_you_go::run(&mut walk).await,
        Journey::Pro => pro::run(&mut walk).await,
        Journey::Marketplace => marketplace::run(&mut walk).await,
        Journey::Webhooks => webhooks::run(&mut walk).await,
    };
    walk.end(result)
}

/// Reads from the server's health which Stripe it uses. Servers may hide that.
async fn stripe_mode(target: &Target) -> Result<StripeMode> {
    let client = Client::new(target);
    let answer = client.get("/health").await;
    let answer = answer.map_err(|failure| anyhow::anyhow!("{}", failure.got)).context("the server does not answer")?;
    let dependencies = answer.body["dependencies"].as_array().into_iter().flatten();
    let stripe = dependencies.into_iter().find(|dependency| dependency["name"] == "stripe");
    Ok(stripe.and_then(|stripe| stripe["kind"].as_str()).map_or(StripeMode::Unknown, StripeMode::read))
}
