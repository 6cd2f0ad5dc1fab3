//! The server that the journeys run on, and the options for it.

use super::mask::Mask;
use std::time::Duration;

/// The domain of customers' email addresses by default. It receives no mail.
pub const EMAIL_DOMAIN: &str = "bursar-e2e.example.com";

/// A server, and the credentials to reach it and to act as Stripe and GitHub.
pub struct Target {
    /// Its address.
    pub url: String,
    /// The admin token.
    pub admin_token: Option<String>,
    /// The secret of Stripe's webhook.
    pub stripe_webhook_secret: Option<String>,
    /// The secret of GitHub's webhook.
    pub github_secret: Option<String>,
    /// The address of the server's Stripe sandbox.
    pub sandbox_url: Option<String>,
    /// The token of the sandbox's control API.
    pub sandbox_token: Option<String>,
    /// Only what is safe in production: no charges and no staff requests.
    pub only_safe_steps: bool,
    /// Domain of the customers' email addresses.
    pub email_domain: Option<String>,
    /// Name of the GitHub Marketplace plan that is Pro.
    pub marketplace_plan: String,
    /// The credits and prices that the server is configured with.
    pub numbers: Numbers,
    /// Time limit for a request, and for waiting for its effects.
    pub timeout: Duration,
}

impl Target {
    /// A server at this address, without options.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
            admin_token: None,
            stripe_webhook_secret: None,
            github_secret: None,
            sandbox_url: None,
            sandbox_token: None,
            only_safe_steps: false,
            email_domain: None,
            marketplace_plan: "Pro".to_owned(),
            numbers: Numbers::default(),
            timeout: Duration::from_secs(60),
        }
    }

    /// The secrets to mask in reports.
    pub fn mask(&self) -> Mask {
        let mask = Mask::default();
        let secrets = [&self.admin_token, &self.stripe_webhook_secret, &self.github_secret, &self.sandbox_token];
        secrets.into_iter().flatten().for_each(|secret| mask.add(secret));
        // The user name and password in front of the host.
        let login = self.url.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
        if let Some((login, _)) = login {
            mask.add(login);
        }
        mask
    }
}

/// Credits and prices that the server is configured with; the defaults are the server's.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "What the server is configured with")]
pub struct Numbers {
    /// Credits on signup.
    #[arg(long, default_value_t = 5, value_name = "CREDITS")]
    pub signup_credits: i64,
    /// Credits for the first payment method.
    #[arg(long, default_value_t = 5, value_name = "CREDITS")]
    pub bonus_credits: i64,
    /// Credits of a paid month of Pro.
    #[arg(long, default_value_t = 60, value_name = "CREDITS")]
    pub pro_credits: i64,
    /// Price of one unit on pay as you go, in minor units.
    #[arg(long, default_value_t = 2_900, value_name = "MINOR")]
    pub unit_price_minor: i64,
    /// Price of one unit on Pro beyond its credits, in minor units.
    #[arg(long, default_value_t = 1_500, value_name = "MINOR")]
    pub pro_unit_price_minor: i64,
    /// Price of a month of Pro, in minor units.
    #[arg(long, default_value_t = 59_900, value_name = "MINOR")]
    pub pro_price_minor: i64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            signup_credits: 5,
            bonus_credits: 5,
            pro_credits: 60,
            unit_price_minor: 2_900,
            pro_unit_price_minor: 1_500,
            pro_price_minor: 59_900,
        }
    }
}

/// Which Stripe a server uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StripeMode {
    /// The sandbox inside the server.
    Sandbox,
    /// A test key: Stripe's test mode, or a separate sandbox.
    Test,
    /// Real money.
    Live,
    /// None: nobody is charged.
    NotConfigured,
    /// Unknown, because the server's health is not readable.
    Unknown,
}

impl StripeMode {
    /// Parses the kind in the server's health.
    pub fn read(kind: &str) -> Self {
        match kind {
            "sandbox" => Self::Sandbox,
            "test" => Self::Test,
            "live" => Self::Live,
            "not configured" => Self::NotConfigured,
            _ => Self::Unknown,
        }
    }

    /// Its name in the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Test => "test mode",
            Self::Live => "LIVE MODE",
            Self::NotConfigured => "not configured",
            Self::Unknown => "unknown",
        }
    }

    /// Why test cards cannot be charged; `None` if they can.
    pub fn why_not_charge(self) -> Option<&'static str> {
        match self {
            Self::Sandbox | Self::Test => None,
            Self::Live => Some("Stripe is in live mode"),
            Self::NotConfigured => Some("the server has no Stripe"),
            Self::Unknown => Some("GET /health is not readable, so it is not known whether Stripe is live"),
        }
    }
}
