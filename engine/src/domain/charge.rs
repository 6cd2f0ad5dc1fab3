//! Whether a customer is charged for credits, and how much.
//!
//! | module | what is in it |
//! |---|---|
//! | [`cap`] | how much may be charged a day and a month |
//! | [`decline`] | how long a declined card is left alone |
//! | [`payer`] | what pays for a subscription |
//! | [`record`] | what is kept of each charge, so that both rules can count |
//! | [`top_up`] | when credits are bought automatically |

pub mod cap;
pub mod decline;
pub mod payer;
pub mod record;
pub mod top_up;

use crate::amount::{AMOUNT_MINOR_MAX, Credits, MoneyMinor, UNITS_MAX};
use crate::clock::{TimeMs, rfc3339};
use crate::config::CreditsConfig;
use crate::count::counted;
use crate::domain::catalogue::currency::money;
use crate::domain::catalogue::{Catalogue, Pack};
use crate::domain::confirmation::{UNCONFIRMED, UNCONFIRMED_DETAIL};
use crate::domain::customer::Customer;
use crate::domain::ledger::HOLDS_OPEN_MAX;
use crate::domain::operation::{Charge, Problem, Request, TopUpTerms};
use crate::domain::payment_method::PaymentMethod;
use crate::domain::pricing;
use cap::{OverCap, PerSpan, SpendCaps};
use decline::{PastCharge, Pause, pause};
use top_up::TopUpStanding;

/// The most purchases of one customer that wait for their turn or are under way. Another one is refused.
pub const PURCHASES_WAITING_MAX: i64 = 50;

/// What is known of a customer when a charge is decided.
#[derive(Debug, Clone)]
pub struct PaymentStanding {
    /// The customer.
    pub customer: Customer,
    /// The payment method that is charged, with consent.
    pub method: Option<PaymentMethod>,
    /// Credits that are available; negative for a debt.
    pub available: Credits,
    /// Credits that can be spent, down to the account's floor.
    pub spendable: Credits,
    /// Whether support has suspended it.
    pub is_suspended: bool,
    /// Number of open holds.
    pub holds_open: usize,
    /// What ended charges of the same card came to, the latest first.
    pub past: Vec<PastCharge>,
    /// What the customer was charged in the present day and month in the purchase's currency, and may be by charges
    /// under way.
    pub charged: PerSpan<MoneyMinor>,
    /// The caps that apply, in that currency.
    pub caps: SpendCaps,
    /// What decides about an automatic top-up, if it is about one.
    pub top_up: Option<TopUpStanding>,
}

impl PaymentStanding {
    /// The payment method that is charged. Whoever has not confirmed its address is charged to none, wherever the
    /// payment method came from.
    fn charged_method(&self) -> Result<&PaymentMethod, NotCharged> {
        if !self.customer.confirmation.is_confirmed() {
            return Err(NotCharged::Unconfirmed);
        }
        self.method.as_ref().filter(|_| self.customer.has_payment_method).ok_or(NotCharged::NoPaymentMethod)
    }
}

/// What is decided about a purchase that may go ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// The customer's credits suffice, or nothing is wanted any more: nothing is charged.
    Covered,
    /// The charge, while this many of the customer's credits are reserved.
    Charge(Box<Charge>, Credits),
}

/// Why a customer is not charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotCharged {
    /// Support has suspended it.
    Suspended,
    /// Its address is not confirmed.
    Unconfirmed,
    /// It has no payment method that may be charged.
    NoPaymentMethod,
    /// It owes credits: a purchase would pay the debt and not the work.
    CreditsOwed(Credits),
    /// It owes no credits.
    NothingOwed,
    /// The pack is not offered any more.
    PackGone,
    /// Its plan has no price for single units.
    NotSold,
    /// The units cost more than one charge may be.
    TooMuch,
    /// It has too many open holds for another one.
    TooManyHolds,
    /// The card was declined lately, or too often.
    Declined(Pause),
    /// A spend cap forbids the charge of this amount.
    OverCap(OverCap, MoneyMinor, String),
    /// The customer's cap for automatic top-ups forbids the charge of this amount.
    OverTopUpCap(OverCap, MoneyMinor, String),
    /// Not even the smallest automatic top-up that could be begun keeps to a cap, for this reason.
    TopUpExceedsCap(Box<NotCharged>),
}

/// What is bought.
struct Bought {
    credits: Credits,
    amount_minor: MoneyMinor,
    currency: String,
    description: String,
    reserve: Credits,
    lifetime_days: Option<u32>,
}

/// Decides a purchase: only the missing credits are bought, in steps of the plan, and what the customer has is reserved
/// for the same purpose.
///
/// # Errors
/// Why nothing is charged; nothing changes then.
pub fn decide(
    request: &Request,
    standing: &PaymentStanding,
    config: &CreditsConfig,
    catalogue: &Catalogue,
    now_ms: TimeMs,
) -> Result<Decided, NotCharged> {
    if standing.is_suspended {
        // Nobody is told that a top-up was not made, and the next one begins when the suspension ends.
        return if matches!(request, Request::AutoTopUp(_)) {
            Ok(Decided::Covered)
        } else {
            Err(NotCharged::Suspended)
        };
    }
    let wanted_units = request.wanted_units();
    if wanted_units.is_some_and(|units| standing.spendable >= units) {
        return Ok(Decided::Covered);
    }
    if matches!(request, Request::AutoTopUp(top_up) if !top_up::is_wanted(top_up, standing)) {
        return Ok(Decided::Covered);
    }
    let method = standing.charged_method()?;
    let bought = match (request, wanted_units) {
        (_, Some(units)) => beyond_balance(units, standing, config, catalogue)?,
        (Request::PackPurchase(purchase), _) => whole_packs(&purchase.pack, purchase.pack.credits)?,
        (Request::DebtPayment(_), _) if standing.available >= Credits::ZERO => return Err(NotCharged::NothingOwed),
        (Request::DebtPayment(_), _) => {
            missing_units(Credits::ZERO - standing.available, &standing.customer, config, catalogue)?
        }
        (Request::AutoTopUp(top_up), _) => top_up::bought(&top_up.terms, standing, config, catalogue)?,
        _ => return Err(NotCharged::NotSold),
    };
    // After the charge, the hold is opened in any case.
    if matches!(request, Request::HoldCharge(_)) && standing.holds_open >= HOLDS_OPEN_MAX {
        return Err(NotCharged::TooManyHolds);
    }
    if let Some(pause) = pause(&standing.past, now_ms) {
        return Err(NotCharged::Declined(pause));
    }
    let terms = match request {
        Request::AutoTopUp(top_up) => Some(&top_up.terms),
        _ => None,
    };
    if let Some(refused) = forbidding_cap(terms, standing, &bought, now_ms) {
        return Err(refused);
    }
    let charge = Charge {
        credits: bought.credits,
        amount_minor: bought.amount_minor,
        currency: bought.currency,
        payment_method_id: method.id.clone(),
        card: method.card(),
        description: bought.description,
        reserved: None,
        lifetime_days: bought.lifetime_days,
    };
    Ok(Decided::Charge(Box::new(charge), bought.reserve))
}

/// The cap that forbids a charge, of a top-up on some terms if it is one, if one does. One that can never allow it
/// comes first: waiting for another one would not help.
fn forbidding_cap(
    terms: Option<&TopUpTerms>,
    standing: &PaymentStanding,
    bought: &Bought,
    now_ms: TimeMs,
) -> Option<NotCharged> {
    let amount = bought.amount_minor;
    let spend = standing.caps.exceeded_by(amount, standing.charged, now_ms);
    let top_up = terms.and_then(|terms| top_up::exceeded_cap(terms, standing, amount, now_ms));
    let mut caps: Vec<(OverCap, bool)> =
        spend.map(|over| (over, false)).chain(top_up.map(|over| (over, true))).collect();
    caps.sort_by_key(|(over, _)| !over.forbids_always(amount));
    let (over, is_for_top_ups) = caps.into_iter().next()?;
    let currency = bought.currency.clone();
    Some(if is_for_top_ups {
        NotCharged::OverTopUpCap(over, amount, currency)
    } else {
        NotCharged::OverCap(over, amount, currency)
    })
}

/// The credits that units lack, while those that the customer has are reserved.
fn beyond_balance(
    units: Credits,
    standing: &PaymentStanding,
    config: &CreditsConfig,
    catalogue: &Catalogue,
) -> Result<Bought, NotCharged> {
    if standing.spendable < Credits::ZERO {
        return Err(NotCharged::CreditsOwed(standing.available));
    }
    let missing = missing_units(units - standing.spendable, &standing.customer, config, catalogue)?;
    Ok(Bought { reserve: standing.spendable, ..missing })
}

/// This many credits at the plan's unit price, in steps.
fn missing_units(
    missing: Credits,
    customer: &Customer,
    config: &CreditsConfig,
    catalogue: &Catalogue,
) -> Result<Bought, NotCharged> {
    let price = pricing::next_price_minor(customer, catalogue).ok_or(NotCharged::NotSold)?;
    let step = catalogue.unit_step(&customer.plan);
    let credits = Credits(times(missing, step).saturating_mul(step.0));
    let amount_minor = chargeable(credits, price.checked_mul(credits))?;
    let currency = catalogue.currency.to_string();
    let description = counted(credits.0, &format!("{} credit", config.unit));
    Ok(Bought { credits, amount_minor, currency, description, reserve: Credits::ZERO, lifetime_days: None })
}

/// A pack, as often as this many credits need. A customer that owes credits may buy it, too: it pays the debt first.
fn whole_packs(pack: &Pack, missing: Credits) -> Result<Bought, NotCharged> {
    let packs = times(missing, pack.credits);
    let credits = Credits(packs.saturating_mul(pack.credits.0));
    let amount_minor = chargeable(credits, pack.amount.checked_mul(Credits(packs)))?;
    let description = if packs == 1 { pack.name.clone() } else { format!("{packs} × {}", pack.name) };
    let (currency, lifetime_days) = (pack.currency.to_string(), pack.lifetime_days);
    Ok(Bought { credits, amount_minor, currency, description, reserve: Credits::ZERO, lifetime_days })
}

/// How often a step fits into credits, rounded up.
fn times(credits: Credits, step: Credits) -> i64 {
    credits.0 / step.0 + i64::from(credits.0 % step.0 > 0)
}

/// The amount, if Stripe takes it at once.
fn chargeable(credits: Credits, amount: Option<MoneyMinor>) -> Result<MoneyMinor, NotCharged> {
    let amount = amount.filter(|amount| (MoneyMinor(1)..=AMOUNT_MINOR_MAX).contains(amount));
    amount.filter(|_| credits <= UNITS_MAX).ok_or(NotCharged::TooMuch)
}

impl NotCharged {
    /// Whether a cap forbids the charge, however little else is charged.
    fn is_never_allowed(&self) -> bool {
        match self {
            Self::OverCap(over, amount, _) | Self::OverTopUpCap(over, amount, _) => over.forbids_always(*amount),
            _ => false,
        }
    }

    /// The refusal as its customer sees it.
    pub fn problem(&self, customer: &Customer, config: &CreditsConfig, catalogue: &Catalogue) -> Problem {
        match self {
            Self::Suspended => Problem::new("customer_suspended", "The customer is suspended. Contact support."),
            Self::Unconfirmed => Problem::new(UNCONFIRMED, UNCONFIRMED_DETAIL),
            Self::NoPaymentMethod => Problem::new("payment_method_gone", "Add a payment method that may be charged."),
            Self::CreditsOwed(available) => Problem::new("credits_owed", pricing::credits_owed(*available)),
            Self::NothingOwed => Problem::new("nothing_owed", "The account owes no credits."),
            Self::PackGone => Problem::new("pack_not_offered", "There is no such pack to buy."),
            Self::NotSold => {
                let detail = pricing::no_unit_price(&customer.plan, config, catalogue);
                Problem::new("plan_without_unit_price", detail)
            }
            Self::TooMuch => Problem::new(
                "charge_too_large",
                "These units cost more than the maximum of one charge. Send several requests with fewer units.",
            ),
            Self::TooManyHolds => Problem::new(
                "too_many_open",
                format!("An account may have {HOLDS_OPEN_MAX} open holds. Capture or release some."),
            ),
            Self::Declined(pause) => declined(*pause),
            Self::OverCap(over, amount, currency) => {
                let raise = if over.is_own { "raise your own cap" } else { "ask support to raise the cap" };
                let advice = CapAdvice { raise, buy_less: "Buy less at once, if that is possible" };
                over_cap("spend_cap_reached", "spend cap", over, (*amount, currency), &advice)
            }
            Self::OverTopUpCap(over, amount, currency) => {
                let raise = "raise the cap of your automatic top-up";
                let advice = CapAdvice { raise, buy_less: "Lower the target of your automatic top-up" };
                over_cap("top_up_cap_reached", "top-up cap", over, (*amount, currency), &advice)
            }
            Self::TopUpExceedsCap(why) => {
                let why = why.problem(customer, config, catalogue).message;
                Problem::new("top_up_exceeds_cap", format!("No top-up could be bought on these terms. {why}"))
            }
        }
    }
}

/// What a customer may do about a cap, in words that also stand in a mail.
struct CapAdvice {
    /// So that the cap allows the charge.
    raise: &'static str,
    /// So that the charge keeps to the cap.
    buy_less: &'static str,
}

fn declined(pause: Pause) -> Problem {
    let (when, retry_at_ms) = match pause {
        Pause::Until(at_ms) => (format!("Add another card, or try again from {}.", rfc3339(at_ms)), Some(at_ms)),
        Pause::NewCard => ("Add another card: this one is not charged again.".to_owned(), None),
    };
    Problem { retry_at_ms, ..Problem::new("card_paused", format!("The card was declined before. {when}")) }
}

/// Waiting is no advice, and there is no time to retry at, where the amount alone exceeds the cap.
fn over_cap(
    code: &str,
    what: &str,
    over: &OverCap,
    (amount, currency): (MoneyMinor, &str),
    advice: &CapAdvice,
) -> Problem {
    let money = |amount: MoneyMinor| money(amount, currency);
    let (of, cap, span) = (money(amount), money(over.cap), over.span.as_str());
    if over.forbids_always(amount) {
        let message = format!(
            "A charge of {of} is more than the whole {what} of {cap} a {span}, so this cap never allows it. {}, or {}.",
            advice.buy_less, advice.raise
        );
        return Problem::new(code, message);
    }
    let message = format!(
        "A charge of {of} exceeds the {what} of {cap} a {span}, of which {} is left. Wait until {}, or {}.",
        money(over.left),
        rfc3339(over.until_ms),
        advice.raise
    );
    Problem { retry_at_ms: Some(over.until_ms), ..Problem::new(code, message) }
}

#[cfg(test)]
mod tests;
