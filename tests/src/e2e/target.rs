//! Which server the journeys are walked on, and what is given for that.

use super::mask::Mask;
use std::time::Duration;

/// The domain of the addresses that customers sign up with, if none is given. Nobody gets mail there.
pub const EMAIL_DOMAIN: &str = "bursar-e2e.example.com";

/// A server, and what is given to reach it and to play its partners.
pub struct Target {
    /// Where it is.
    pub url: String,
    /// What staff shows.
    pub admin_token: Option<String>,
    /// What Stripe signs with.
    pub stripe_webhook_secret: Option<String>,
    /// What GitHub signs with.
    pub github_secret: Option<String>,
    /// Where the server's Stripe sandbox is.
    pub sandbox_url: Option<String>,
    /// Only what is safe in production: nothing is charged, no act of staff.
    pub is_safe: bool,
    /// Domain of the addresses of throw-away customers.
    pub email_domain: Option<String>,
    /// The listing's plan on GitHub Marketplace that is Pro.
    pub marketplace_plan: String,
    /// What the server is configured with.
    pub numbers: Numbers,
    /// How long a request, and waiting for what follows from one, may take.
    pub timeout: Duration,
}

impl Target {
    /// A server at this address; nothing else is given.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
            admin_token: None,
            stripe_webhook_secret: None,
            github_secret: None,
            sandbox_url: None,
            is_safe: false,
            email_domain: None,
            marketplace_plan: "Pro".to_owned(),
            numbers: Numbers::default(),
            timeout: Duration::from_secs(60),
        }
    }

    /// Whatever must not be in a report.
    pub fn mask(&self) -> Mask {
        let mask = Mask::default();
        for secret in [&self.admin_token, &self.stripe_webhook_secret, &self.github_secret].into_iter().flatten() {
            mask.learn(secret);
        }
        // A password in front of the host.
        let login = self.url.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
        if let Some((login, _)) = login {
            mask.learn(login);
        }
        mask
    }
}

/// Credits and prices that the server is configured with; the default is the server's own.
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

/// What stands behind the server for Stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StripeMode {
    /// The sandbox inside the server.
    Sandbox,
    /// A test key: Stripe's test mode, or a sandbox of its own.
    Test,
    /// Real money.
    Live,
    /// Nothing: nobody is charged.
    NotConfigured,
    /// The server's health cannot be read, so there is no telling.
    Unknown,
}

impl StripeMode {
    /// Reads what the server's health says.
    pub fn read(kind: &str) -> Self {
        match kind {
            "sandbox" => Self::Sandbox,
            "test" => Self::Test,
            "live" => Self::Live,
            "not configured" => Self::NotConfigured,
            _ => Self::Unknown,
        }
    }

    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Test => "test mode",
            Self::Live => "LIVE MODE",
            Self::NotConfigured => "not configured",
            Self::Unknown => "unknown",
        }
    }

    /// Why nothing may be charged there; nothing if test cards can be.
    pub fn cannot_charge(self) -> Option<&'static str> {
        match self {
            Self::Sandbox | Self::Test => None,
            Self::Live => Some("Stripe is in live mode"),
            Self::NotConfigured => Some("the server has no Stripe"),
            Self::Unknown => Some("GET /health is not readable, so it is not known whether Stripe is live"),
        }
    }
}
