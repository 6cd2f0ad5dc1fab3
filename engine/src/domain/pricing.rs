//! What the next units cost, and the warning once credits run low.

use crate::amount::{Credits, MoneyMinor};
use crate::config::CreditsConfig;
use crate::count::counted;
use crate::domain::catalogue::Catalogue;
use crate::domain::catalogue::currency::money;
use crate::domain::customer::Customer;
use crate::domain::ledger::Account;
use crate::key::PlanKey;
use serde::Serialize;

/// The advice to a customer who would be charged for units if it had a payment method.
const ADD_BILLING: &str = "Add billing to continue.";
/// What a customer does to be charged whose address is not confirmed.
pub const CONFIRM_FIRST: &str = "Confirm the e-mail address first. Add billing to continue.";

/// What a customer has to spend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Funds {
    /// Credits that are available; negative where some were spent on credit, or are owed.
    pub available: Credits,
    /// What available credits may go down to: zero, or less for a customer with a credit limit.
    pub floor: Credits,
}

impl Funds {
    /// Those of an account.
    pub fn of(account: &Account) -> Self {
        Self { available: account.available(), floor: account.floor }
    }

    /// Credits that can be spent; negative where credits are owed.
    pub fn spendable(self) -> Credits {
        self.available - self.floor
    }

    /// The part that is spent on credit.
    fn on_credit(self) -> Credits {
        self.spendable() - self.available.max(Credits::ZERO)
    }
}

/// What a customer without credits buys at once: one unit, or as many as its plan sells at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnitSale {
    /// In words, to follow "the next" or "each": `fix`, or `20 pages`.
    pub what: String,
    /// In words that stand alone: `one fix`, or `20 pages`.
    pub units: String,
    /// `costs` or `cost`.
    pub verb: &'static str,
    /// What they cost together: `$29.00`.
    pub amount: String,
    /// Whether it is one unit.
    pub is_single: bool,
}

impl UnitSale {
    /// What a plan sells; `None` without a unit price. All texts about the price of units are made of this.
    pub fn of(plan: &PlanKey, config: &CreditsConfig, catalogue: &Catalogue) -> Option<Self> {
        let step = catalogue.unit_step(plan);
        let amount = money(catalogue.unit_price(plan)?.checked_mul(step)?, catalogue.currency.as_str());
        Some(if step == Credits(1) {
            let (what, units) = (config.unit.clone(), format!("one {}", config.unit));
            Self { what, units, verb: "costs", amount, is_single: true }
        } else {
            let units = format!("{step} {}", config.units());
            Self { what: units.clone(), units, verb: "cost", amount, is_single: false }
        })
    }
}

/// The price of one unit beyond the customer's credits, in the catalogue's currency; `None` if it cannot be charged,
/// or its plan has no price for single units.
pub fn next_price_minor(customer: &Customer, catalogue: &Catalogue) -> Option<MoneyMinor> {
    if may_be_charged(customer) { catalogue.unit_price(&customer.plan) } else { None }
}

/// Whether a customer has a payment method, and an address that counts as its own.
fn may_be_charged(customer: &Customer) -> bool {
    customer.has_payment_method && customer.confirmation.is_confirmed()
}

/// What is charged next beyond the customer's credits, in words: `$29.00`, or `5.00 EUR for 20 pages`. `None` as for
/// [`next_price_minor`].
pub fn next_price(customer: &Customer, config: &CreditsConfig, catalogue: &Catalogue) -> Option<String> {
    let sale = UnitSale::of(&customer.plan, config, catalogue).filter(|_| may_be_charged(customer))?;
    Some(if sale.is_single { sale.amount } else { format!("{} for {}", sale.amount, sale.units) })
}

/// The warning once credits run low: how many are left, and what the next units cost.
pub fn warning(customer: &Customer, funds: Funds, config: &CreditsConfig, catalogue: &Catalogue) -> Option<String> {
    if funds.available > config.warn_at {
        return None;
    }
    if funds.spendable() < Credits::ZERO {
        return Some(credits_owed(funds.available));
    }
    let left = what_is_left(funds, config);
    let after = if funds.spendable() > Credits::ZERO { " after that" } else { "" };
    Some(match UnitSale::of(&customer.plan, config, catalogue) {
        None => format!("{left} {}", no_unit_price(&customer.plan, config, catalogue)),
        Some(_) if !customer.confirmation.is_confirmed() => format!("{left} {CONFIRM_FIRST}"),
        Some(UnitSale { what, verb, amount, .. }) if customer.has_payment_method => {
            format!("{left} The next {what}{after} {verb} {amount}.")
        }
        Some(_) if funds.on_credit() > Credits::ZERO => format!("{left} Add billing to continue{after}."),
        Some(_) => format!("{left} {ADD_BILLING}"),
    })
}

fn what_is_left(funds: Funds, config: &CreditsConfig) -> String {
    let credit = format!("{} credit", config.unit);
    let left = if funds.available > Credits::ZERO {
        format!("You have {} left.", counted(funds.available.0, &credit))
    } else {
        format!("You have no {credit}s left.")
    };
    match funds.on_credit() {
        _ if funds.floor == Credits::ZERO => left,
        Credits(..=0) => format!("{left} Your credit limit is reached."),
        more => format!("{left} You may spend {} on credit.", counted(more.0, &credit)),
    }
}

/// What helps a customer without a payment method whose credits are gone. A card alone helps only if its plan has a
/// price for single units.
pub fn how_to_continue(plan: &PlanKey, config: &CreditsConfig, catalogue: &Catalogue) -> String {
    match catalogue.unit_price(plan) {
        Some(_) => ADD_BILLING.to_owned(),
        None => no_unit_price(plan, config, catalogue),
    }
}

/// The message for a customer whose plan has no price for single units: packs are sold on every plan.
pub fn no_unit_price(plan: &PlanKey, config: &CreditsConfig, catalogue: &Catalogue) -> String {
    let pack = if catalogue.packs.iter().any(|pack| pack.offered) { "buy a pack of credits, or " } else { "" };
    let is_bought = catalogue.plan(plan).is_some_and(|plan| plan.followed_by.is_some());
    let wait = if is_bought { ", or wait for the credits of the next period" } else { "" };
    let (name, units) = (catalogue.plan_name(plan), config.units());
    format!("The plan {name} has no price for single {units}: {pack}choose another plan{wait}.")
}

/// The message for an account that owes credits. It names no cause: credits that were spent may have been taken back
/// with a refund, a dispute, a change of the subscription or by support, or the credit limit was lowered.
pub fn credits_owed(available: Credits) -> String {
    format!(
        "The account owes {}: more were spent or taken back than it had. Buy credits to pay them, or contact support.",
        counted((-available.min(Credits::ZERO)).0, "credit")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::{AddressState, Confirmation};
    use crate::domain::catalogue::Pack;
    use crate::domain::catalogue::currency::Currency;
    use crate::ids::CustomerId;
    use crate::key::PackKey;

    fn customer(plan: &str, has_payment_method: bool) -> Customer {
        Customer {
            id: CustomerId::new(),
            email: "ada@example.com".to_owned(),
            name: "Ada".to_owned(),
            source: "direct".to_owned(),
            plan: PlanKey::trusted(plan),
            stripe_customer_id: None,
            former_stripe_ids: Vec::new(),
            credits_from_ms: None,
            has_payment_method,
            confirmation: Confirmation::ASSUMED,
            created_at_ms: 0,
        }
    }

    /// What a customer without a credit limit has.
    fn left(available: i64) -> Funds {
        Funds { available: Credits(available), floor: Credits::ZERO }
    }

    fn warned(customer: &Customer, available: i64) -> Option<String> {
        warning(customer, left(available), &CreditsConfig::default(), &Catalogue::built_in())
    }

    #[test]
    fn a_trial_without_a_card_is_told_to_add_billing_and_one_with_a_card_the_price() {
        let text = warned(&customer("trial", false), 1).expect("a warning");
        assert_eq!(text, "You have 1 fix credit left. Add billing to continue.");
        let text = warned(&customer("trial", true), 1).expect("a warning");
        assert!(text.ends_with("costs $29.00."), "{text}");
        let text = warned(&customer("pro", true), 0).expect("a warning");
        assert!(text.ends_with("costs $15.00."), "{text}");
    }

    #[test]
    fn a_customer_whose_address_is_not_confirmed_is_told_to_confirm_it_and_no_price() {
        for has_payment_method in [false, true] {
            let mut customer = customer("trial", has_payment_method);
            customer.confirmation = Confirmation { state: AddressState::Pending, at_ms: None };
            let text = warned(&customer, 1).expect("a warning");
            assert_eq!(text, format!("You have 1 fix credit left. {CONFIRM_FIRST}"));
            assert_eq!(next_price_minor(&customer, &Catalogue::built_in()), None);
        }
    }

    #[test]
    fn a_plan_without_a_unit_price_sends_its_customer_to_another_plan_and_not_to_billing() {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        for plan in &mut catalogue.plans {
            plan.unit_prices.clear();
        }
        let config = CreditsConfig::default();
        let text = |plan: &str| {
            let customer = customer(plan, true);
            assert_eq!(next_price_minor(&customer, &catalogue), None);
            warning(&customer, left(0), &config, &catalogue).expect("a warning")
        };
        assert_eq!(
            text("trial"),
            "You have no fix credits left. The plan Trial has no price for single fixes: choose another plan."
        );
        assert_eq!(
            text("pro"),
            "You have no fix credits left. The plan Pro has no price for single fixes: choose another plan, or wait for \
             the credits of the next period."
        );
        assert!(text("gone").contains("The plan gone has no price"), "the catalogue has it no longer");
        let trial = customer("trial", false);
        assert_eq!(warning(&trial, left(0), &config, &catalogue), Some(text("trial")), "a card would not help");
        assert!(text("trial").ends_with(&how_to_continue(&trial.plan, &config, &catalogue)));
        assert_eq!(how_to_continue(&trial.plan, &config, &Catalogue::built_in()), ADD_BILLING);
    }

    #[test]
    fn a_customer_whose_plan_has_no_unit_price_is_told_of_packs_that_are_offered() {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        catalogue.plans[0].unit_prices.clear();
        catalogue.packs.push(Pack {
            key: PackKey::trusted("fifty"),
            name: "50 fixes".to_owned(),
            credits: Credits(50),
            amount: MoneyMinor(95_000),
            currency: catalogue.currency.clone(),
            lifetime_days: None,
            offered: true,
        });
        let text =
            |catalogue: &Catalogue| how_to_continue(&PlanKey::trusted("trial"), &CreditsConfig::default(), catalogue);
        assert_eq!(
            text(&catalogue),
            "The plan Trial has no price for single fixes: buy a pack of credits, or choose another plan."
        );
        catalogue.packs[0].offered = false;
        assert!(!text(&catalogue).contains("pack"));
    }

    #[test]
    fn the_price_is_in_the_catalogues_currency() {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        catalogue.currency = Currency::parse("jpy").expect("a currency");
        let customer = customer("trial", true);
        assert_eq!(next_price_minor(&customer, &catalogue), None, "the plan's price is in dollars");
        catalogue.plans[0].unit_prices.insert(catalogue.currency.clone(), MoneyMinor(4_500));
        let text = warning(&customer, left(0), &CreditsConfig::default(), &catalogue).expect("a warning");
        assert!(text.ends_with("costs 4500 JPY."), "{text}");
    }

    #[test]
    fn whoever_owes_credits_is_told_so_and_no_price_that_would_not_help() {
        let text = warned(&customer("pay_as_you_go", true), -3).expect("a warning");
        assert_eq!(
            text,
            "The account owes 3 credits: more were spent or taken back than it had. Buy credits to pay them, or contact \
             support."
        );
    }

    #[test]
    fn units_that_are_sold_in_steps_are_told_with_what_is_charged() {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        for plan in &mut catalogue.plans {
            plan.unit_step = Credits(20);
            plan.unit_prices.values_mut().for_each(|price| *price = MoneyMinor(25));
        }
        let (config, customer) = (CreditsConfig::default(), customer("pay_as_you_go", true));
        let text = |available: i64| warning(&customer, left(available), &config, &catalogue).expect("a warning");
        assert_eq!(text(0), "You have no fix credits left. The next 20 fixes cost $5.00.");
        assert_eq!(text(1), "You have 1 fix credit left. The next 20 fixes after that cost $5.00.");
        assert_eq!(next_price(&customer, &config, &catalogue).as_deref(), Some("$5.00 for 20 fixes"));
        let single = next_price(&customer, &config, &Catalogue::built_in());
        assert_eq!(single.as_deref(), Some("$29.00"));
    }

    #[test]
    fn within_a_credit_limit_the_warning_says_what_may_be_spent() {
        let text = |has_payment_method: bool, available: i64| {
            let funds = Funds { available: Credits(available), floor: Credits(-100) };
            let customer = customer("pay_as_you_go", has_payment_method);
            warning(&customer, funds, &CreditsConfig::default(), &Catalogue::built_in())
        };
        let expected = [
            (
                false,
                -50,
                "You have no fix credits left. You may spend 50 fix credits on credit. Add billing to continue \
                          after that.",
            ),
            (
                true,
                -99,
                "You have no fix credits left. You may spend 1 fix credit on credit. The next fix after that \
                         costs $29.00.",
            ),
            (
                true,
                1,
                "You have 1 fix credit left. You may spend 100 fix credits on credit. The next fix after that costs \
                       $29.00.",
            ),
            (true, -100, "You have no fix credits left. Your credit limit is reached. The next fix costs $29.00."),
            (false, -100, "You have no fix credits left. Your credit limit is reached. Add billing to continue."),
        ];
        for (has_payment_method, available, words) in expected {
            assert_eq!(text(has_payment_method, available).as_deref(), Some(words), "{available}");
        }
        assert!(text(true, -101).is_some_and(|words| words.starts_with("The account owes 101 credits")));
        assert_eq!(text(true, 2), None);
    }

    #[test]
    fn the_warning_says_how_many_are_left() {
        let config = CreditsConfig { warn_at: Credits(3), ..CreditsConfig::default() };
        let customer = customer("pay_as_you_go", true);
        let text = warning(&customer, left(3), &config, &Catalogue::built_in()).expect("a warning");
        assert!(text.starts_with("You have 3 fix credits left. The next fix after that costs"), "{text}");
    }

    #[test]
    fn with_credits_to_spare_there_is_no_warning() {
        assert_eq!(warned(&customer("trial", false), 2), None);
    }
}
