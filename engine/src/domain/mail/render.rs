//! Renders a mail: template and parameters to subject, text and HTML.
//!
//! The templates are in `engine/templates/mail`, one text and one HTML file each; the first line of the text is the
//! subject. The engine escapes values in HTML.

use super::{MailSubject, Template};
use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::config::{Config, CreditsConfig};
use crate::count::counted;
use crate::domain::address::Confirmation;
use crate::domain::catalogue::currency::money;
use crate::domain::catalogue::{Catalogue, Price};
use crate::domain::confirmation::TOKEN_PREFIX;
use crate::domain::customer::Customer;
use crate::domain::pricing::{Funds, UnitSale, warning};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::key::PlanKey;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use std::sync::LazyLock;

/// The path of the page that confirms an address.
pub const CONFIRM_PATH: &str = "/confirm";

/// Prefix of the subject's line.
const SUBJECT: &str = "Subject: ";

/// A mail's contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The subject, one line.
    pub subject: String,
    /// For mail programs that show plain text.
    pub text: String,
    /// For all others.
    pub html: String,
}

/// Settings that appear in mails.
#[derive(Debug, Clone)]
pub struct Branding {
    /// The product's name.
    pub product: String,
    /// The customer's billing page; empty for none.
    pub billing_url: String,
    /// The unit's name, and when credits are low.
    pub credits: CreditsConfig,
    /// Whether no real money moves.
    pub is_sandbox: bool,
    /// Where customers reach the server; links begin with it.
    pub public_url: String,
    /// How long a link is good, in words: `3 days`.
    pub link_ttl: String,
}

impl Branding {
    /// Takes them from the configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            product: config.mail.product_name.clone(),
            billing_url: config.mail.billing_url.clone(),
            credits: config.credits.clone(),
            is_sandbox: config.is_sandbox(),
            public_url: config.public_url(),
            link_ttl: duration(config.onboarding.confirmation_link_ttl_s),
        }
    }

    /// The link that confirms an address.
    fn confirm_url(&self, token: &str) -> String {
        format!("{}{CONFIRM_PATH}?token={token}", self.public_url)
    }
}

/// A duration in the largest unit that measures it: `3 days`, `36 hours`, `90 minutes`.
fn duration(seconds: i64) -> String {
    const UNITS: [(i64, &str); 3] = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let whole = UNITS.iter().find(|(unit, _)| seconds % unit == 0);
    let (unit, name) = *whole.unwrap_or(&(60, "minute"));
    counted(seconds / unit, name)
}

/// The parameters of one mail.
#[derive(Debug, Clone)]
pub struct Params {
    /// The recipient.
    pub customer: Customer,
    /// Its credits.
    pub balance: Credits,
    /// What its credits may go down to: less than zero for a customer with a credit limit.
    pub floor: Credits,
    /// The token of the link to send.
    pub token: Option<String>,
    /// The facts to report.
    pub about: MailSubject,
}

impl Params {
    /// The parameters of a preview: the sample, but with the signup credits in mails before the first use.
    pub fn preview(template: Template, catalogue: &Catalogue) -> Self {
        let sample = Self::sample(catalogue);
        let balance = match template {
            Template::Welcome | Template::FollowupDay1 => catalogue.entry_plan().signup_credits,
            _ => sample.balance,
        };
        Self { balance, ..sample }
    }

    /// An invented customer and its facts.
    pub fn sample(catalogue: &Catalogue) -> Self {
        let price = catalogue.offered().next();
        Self {
            customer: Customer {
                id: CustomerId::trusted("cst_06bv1k2m8x0q3d5r7t9w1y3z5b".to_owned()),
                email: "ada@example.com".to_owned(),
                name: "Ada Lovelace".to_owned(),
                source: "direct".to_owned(),
                plan: catalogue.entry.clone(),
                stripe_customer_id: None,
                former_stripe_ids: Vec::new(),
                credits_from_ms: None,
                has_payment_method: false,
                confirmation: Confirmation::ASSUMED,
                created_at_ms: 0,
            },
            balance: Credits(1),
            floor: Credits::ZERO,
            token: Some(format!("{TOKEN_PREFIX}0123456789abcdefghijklmnopqrstuv0123456789abcdefghij")),
            about: MailSubject {
                subscription: Some("sub_1".to_owned()),
                purchase: None,
                amount_minor: price.map(|price| price.amount),
                currency: price.map(|price| price.currency.to_string()),
                reason: Some("Your card was declined.".to_owned()),
                problem: None,
                url: Some("https://invoice.stripe.com/i/acct_1/test_1".to_owned()),
            },
        }
    }
}

/// The variables of the templates.
#[derive(Serialize)]
struct Context<'a> {
    sandbox: bool,
    product: &'a str,
    billing_url: &'a str,
    unit: &'a str,
    units: &'a str,
    name: &'a str,
    balance: Credits,
    /// A number with its unit: `1 fix`, `5 fixes`.
    balance_words: String,
    has_payment_method: bool,
    bonus: Credits,
    bonus_words: String,
    /// What units cost on the customer's plan; none if the plan has no such price.
    sale: Option<UnitSale>,
    /// The same on the plan that follows when the subscription ends.
    sale_after: Option<UnitSale>,
    offers: Vec<Offer<'a>>,
    /// Number of ways to pay: by unit, and each offer.
    ways: usize,
    warning: String,
    /// The link that confirms the address; empty for none.
    confirm_url: String,
    link_ttl: &'a str,
    is_confirmed: bool,
    email: &'a str,
    purchase: &'a str,
    until: String,
    amount: String,
    reason: &'a str,
    problem: &'a str,
    url: &'a str,
}

/// A price that can be bought.
#[derive(Serialize)]
struct Offer<'a> {
    /// The name of its plan.
    name: &'a str,
    credits: Credits,
    credits_words: String,
    /// Its period: `month`, `2 weeks`.
    every: String,
    amount: String,
    per_seat: bool,
    /// What units cost on its plan; none if the plan has no such price.
    sale: Option<UnitSale>,
}

/// Renders a mail.
///
/// # Errors
/// `Corrupt` if a template is invalid; tests render each.
pub fn render(template: Template, params: &Params, branding: &Branding, catalogue: &Catalogue) -> Result<Rendered> {
    let units = branding.credits.units();
    let context = context(params, branding, catalogue, &units);
    let file = |ending: &str| -> Result<String> {
        let name = format!("{}.{ending}", template.as_str());
        let rendered = TEMPLATES.get_template(&name).and_then(|template| template.render(Serde(&context)));
        rendered.map_err(|error| Error::Corrupt(format!("the template {name}: {error:#}")))
    };
    let (text, html) = (file("txt")?, file("html")?);
    let (subject, text) = text.split_once('\n').unwrap_or((&text, ""));
    let subject = subject.trim_start_matches(SUBJECT).trim().to_owned();
    Ok(Rendered { subject, text: format!("{}\n", text.trim()), html: format!("{}\n", html.trim()) })
}

fn context<'a>(params: &'a Params, branding: &'a Branding, catalogue: &'a Catalogue, units: &'a str) -> Context<'a> {
    let (credits, about, plan) = (&branding.credits, &params.about, &params.customer.plan);
    let counted = |n: Credits| format!("{n} {}", if n == Credits(1) { credits.unit.as_str() } else { units });
    let currency = catalogue.currency.as_str();
    let sale = |plan: &PlanKey| UnitSale::of(plan, credits, catalogue);
    let after = catalogue.plan(plan).and_then(|plan| plan.followed_by.as_ref()).unwrap_or(plan);
    let offer = |price: &'a Price| Offer {
        name: catalogue.plan_name(&price.plan),
        credits: price.credits,
        credits_words: counted(price.credits),
        every: price.every.to_string(),
        amount: money(price.amount, price.currency.as_str()),
        per_seat: price.per_seat,
        sale: sale(&price.plan),
    };
    let offers: Vec<Offer<'a>> = offered(catalogue).map(offer).collect();
    let bonus = catalogue.entry_plan().payment_method_credits;
    let funds = Funds { available: params.balance, floor: params.floor };
    let amount = about.amount_minor.map(|minor| money(minor, about.currency.as_deref().unwrap_or(currency)));
    Context {
        sandbox: branding.is_sandbox,
        product: &branding.product,
        billing_url: &branding.billing_url,
        unit: &credits.unit,
        units,
        name: &params.customer.name,
        balance: params.balance,
        balance_words: counted(params.balance),
        has_payment_method: params.customer.has_payment_method,
        bonus,
        bonus_words: counted(bonus),
        ways: offers.len() + usize::from(sale(plan).is_some()),
        sale: sale(plan),
        sale_after: sale(after),
        offers,
        warning: warning(&params.customer, funds, credits, catalogue).unwrap_or_default(),
        confirm_url: params.token.as_deref().map(|token| branding.confirm_url(token)).unwrap_or_default(),
        link_ttl: &branding.link_ttl,
        is_confirmed: params.customer.confirmation.is_confirmed(),
        email: &params.customer.email,
        purchase: about.purchase.as_ref().map(|purchase| purchase.what.as_str()).unwrap_or_default(),
        until: about.purchase.as_ref().and_then(|purchase| purchase.until_ms).map(format_moment).unwrap_or_default(),
        amount: amount.unwrap_or_default(),
        reason: about.reason.as_deref().unwrap_or_default(),
        problem: about.problem.as_deref().unwrap_or_default(),
        // It becomes a link, so it must be a web page.
        url: about.url.as_deref().filter(|url| url.starts_with("https://")).unwrap_or_default(),
    }
}

/// The prices that can be bought; of a plan with prices in the catalogue's currency, only those.
fn offered(catalogue: &Catalogue) -> impl Iterator<Item = &Price> {
    let is_in_currency = move |price: &Price| price.currency == catalogue.currency;
    let has_such = move |price: &Price| catalogue.offered().any(|one| one.plan == price.plan && is_in_currency(one));
    catalogue.offered().filter(move |price| is_in_currency(price) || !has_such(price))
}

/// Formats a time for people: `26 November 2026, 19:58 UTC`.
fn format_moment(at_ms: TimeMs) -> String {
    let at = chrono::DateTime::from_timestamp_millis(at_ms).unwrap_or_default();
    at.format("%-d %B %Y, %H:%M UTC").to_string()
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$((concat!($name), include_str!(concat!("../../../templates/mail/", $name)))),*]
    };
}

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the delimiters are the usual ones"));
    for (name, text) in files![
        "layout.txt",
        "layout.html",
        "welcome.txt",
        "welcome.html",
        "confirm_address.txt",
        "confirm_address.html",
        "followup_day_1.txt",
        "followup_day_1.html",
        "followup_day_3.txt",
        "followup_day_3.html",
        "followup_day_5.txt",
        "followup_day_5.html",
        "followup_day_7.txt",
        "followup_day_7.html",
        "followup_day_14.txt",
        "followup_day_14.html",
        "low_credit.txt",
        "low_credit.html",
        "payment_failed.txt",
        "payment_failed.html",
        "action_required.txt",
        "action_required.html",
        "auto_top_up_stopped.txt",
        "auto_top_up_stopped.html",
        "subscription_ended.txt",
        "subscription_ended.html",
    ] {
        environment
            .add_template(name, text)
            .expect("the files do not change once they are compiled in, and tests render each");
    }
    environment
});
