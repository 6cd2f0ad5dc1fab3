//! Automatic top-ups: credits that are bought by themselves when few are left.

use super::cap::{OverCap, Span};
use super::{Bought, NotCharged, PaymentStanding, forbidding_cap, missing_units, whole_packs};
use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::config::CreditsConfig;
use crate::domain::catalogue::Catalogue;
use crate::domain::operation::{AutoTopUp, Operation, Problem, Request, State, TopUpTerms};
use crate::ids::CustomerId;

/// The code of the problem that a payment was given back.
pub const PAYMENT_RETURNED: &str = "payment_returned";

/// The code of the problem that credits were taken and not spent.
pub const CREDITS_TAKEN: &str = "credits_taken";

/// The code of the problem that another purchase waits for its customer.
pub const PURCHASE_WAITS: &str = "purchase_waits";

/// The code of the problem that a declined card is left alone.
pub const CARD_PAUSED: &str = "card_paused";

/// A customer's automatic top-ups as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopUpSetting {
    /// The customer.
    pub customer_id: CustomerId,
    /// Grows with each change by the customer.
    pub version: i64,
    /// Whether credits are bought.
    pub is_on: bool,
    /// What is bought, and when.
    pub terms: TopUpTerms,
    /// Number of top-ups that were begun.
    pub begun: i64,
    /// Why it was turned off by itself, or waits.
    pub stopped: Option<Problem>,
    /// Until when nothing is bought, because a cap is reached or the card was declined.
    pub waits_until_ms: Option<TimeMs>,
}

impl TopUpSetting {
    /// The setting as of now: without a wait that is over, and without the problem that caused it. No top-up begins
    /// before that, so one that was paid leaves no problem either.
    #[must_use]
    pub fn as_of(self, now_ms: TimeMs) -> Self {
        if self.is_on && self.waits_until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
            return Self { stopped: None, waits_until_ms: None, ..self };
        }
        self
    }

    /// The setting with the problem that few credits are available and nothing is bought, because a purchase waits for
    /// the customer and keeps credits, or because the customer itself did not leave so few.
    #[must_use]
    pub fn with_reason_to_wait(self, available: Credits, is_called_for: bool, purchase_waits: bool) -> Self {
        if !self.is_on || self.stopped.is_some() || available >= self.terms.threshold {
            return self;
        }
        if purchase_waits {
            let message = "A purchase waits for the customer to authenticate it, and keeps credits meanwhile. The next \
                           top-up follows its end.";
            return Self { stopped: Some(Problem::new(PURCHASE_WAITS, message)), ..self };
        }
        if is_called_for {
            return self;
        }
        let message = "Credits expired or were taken back, and such credits are not bought again by themselves. The next \
                       top-up follows credits that are spent. Setting automatic top-up again buys at once.";
        Self { stopped: Some(Problem::new(CREDITS_TAKEN, message)), ..self }
    }
}

/// What decides about a top-up besides the customer's standing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopUpStanding {
    /// The present setting.
    pub setting: Option<TopUpSetting>,
    /// What top-ups of the present month have cost, and may still cost.
    pub charged: MoneyMinor,
    /// Whether the customer itself left few credits: see `is_wanted`. The rule stands in SQL, because the sweeper asks
    /// it of many customers at once.
    pub is_called_for: bool,
}

/// That further top-ups are not begun: one was not paid, or a payment was given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopUpHalt {
    /// The customer.
    pub customer_id: CustomerId,
    /// The version of the setting that it is about. A newer one stays as it is.
    pub version: i64,
    /// Why.
    pub problem: Problem,
    /// When a charge may succeed again: the cap that was reached starts anew, or the card is tried again. `None` turns
    /// automatic top-ups off.
    pub until_ms: Option<TimeMs>,
}

/// What closes the gap to the target in one charge.
pub(super) fn bought(
    terms: &TopUpTerms,
    standing: &PaymentStanding,
    config: &CreditsConfig,
    catalogue: &Catalogue,
) -> Result<Bought, NotCharged> {
    let missing = terms.target - standing.available;
    let Some(key) = &terms.pack else { return missing_units(missing, &standing.customer, config, catalogue) };
    let pack = catalogue.pack(key).filter(|pack| pack.offered).ok_or(NotCharged::PackGone)?;
    whole_packs(pack, missing)
}

/// Checks that an account without credits could be filled on these terms, and that no cap forbids even the smallest
/// top-up that could be begun: that of an account which lacks one credit to the threshold. What a cap forbids only of
/// larger ones, or only until it starts anew, is no reason to refuse them.
///
/// # Errors
/// Why it could not be charged.
pub fn check_terms(
    terms: &TopUpTerms,
    standing: &PaymentStanding,
    config: &CreditsConfig,
    catalogue: &Catalogue,
    now_ms: TimeMs,
) -> Result<(), NotCharged> {
    standing.charged_method()?;
    let with = |available: Credits| PaymentStanding { available, ..standing.clone() };
    bought(terms, &with(Credits::ZERO), config, catalogue)?;
    let smallest = bought(terms, &with(terms.threshold - Credits(1)), config, catalogue)?;
    match forbidding_cap(Some(terms), standing, &smallest, now_ms).filter(NotCharged::is_never_allowed) {
        Some(never) => Err(NotCharged::TopUpExceedsCap(Box::new(never))),
        None => Ok(()),
    }
}

/// The customer's own cap of top-ups in a month, if a charge of this amount would exceed it.
pub(super) fn exceeded_cap(
    terms: &TopUpTerms,
    standing: &PaymentStanding,
    amount: MoneyMinor,
    now_ms: TimeMs,
) -> Option<OverCap> {
    let cap = terms.cap_month?;
    let charged = standing.top_up.as_ref().map_or(MoneyMinor::ZERO, |top_up| top_up.charged);
    let left = (cap - charged).max(MoneyMinor::ZERO);
    let until_ms = Span::Month.around(now_ms).1;
    (amount > left).then_some(OverCap { span: Span::Month, cap, left, is_own: true, until_ms })
}

/// Whether a top-up is still wanted: its setting stands, few credits are available, and the customer itself left so
/// few. It did if it spent or reserved credits last, within its credit limit, or turned top-ups on after credits were
/// taken. What a change of plan, an expiry, a refund or support took is not bought back: nobody asked for that charge.
pub(super) fn is_wanted(request: &AutoTopUp, standing: &PaymentStanding) -> bool {
    let Some(top_up) = &standing.top_up else { return false };
    let stands = |setting: &TopUpSetting| setting.is_on && setting.version == request.version;
    let is_set = top_up.setting.as_ref().is_some_and(stands);
    is_set && top_up.is_called_for && standing.available < request.terms.threshold
}

/// What follows for the setting from the end of a top-up without a payment. A reached cap makes it wait, and so does a
/// card that is left alone for a while because it was declined for something else. Everything else turns it off, so
/// that nobody is charged again and again without knowing. So does a cap that the charge alone exceeds, and a card that
/// is not tried again, because waiting would not help.
pub fn halt(after: &Operation) -> Option<TopUpHalt> {
    let Request::AutoTopUp(top_up) = &after.request else { return None };
    let problem = after.problem.as_ref().filter(|_| after.state == State::Failed)?;
    let may_wait = matches!(problem.code.as_str(), "spend_cap_reached" | "top_up_cap_reached" | CARD_PAUSED);
    Some(TopUpHalt {
        customer_id: after.customer_id.clone(),
        version: top_up.version,
        problem: Problem { client_secret: None, ..problem.clone() },
        until_ms: problem.retry_at_ms.filter(|_| may_wait),
    })
}

/// What follows for the setting when credits of a payment are clawed back, because it was refunded or disputed: top-ups
/// are turned off. Fewer credits are left then, so the next one would charge again at once what has just been given
/// back. `None` if they are off.
pub fn halt_after_return(setting: &TopUpSetting) -> Option<TopUpHalt> {
    let message = "A payment was refunded or disputed, and the credits that it bought were taken back.";
    setting.is_on.then(|| TopUpHalt {
        customer_id: setting.customer_id.clone(),
        version: setting.version,
        problem: Problem::new(PAYMENT_RETURNED, message),
        until_ms: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::Pack;
    use crate::domain::charge::tests::standing;
    use crate::domain::charge::{Decided, decide};
    use crate::key::PackKey;

    fn terms(threshold: i64, target: i64) -> TopUpTerms {
        TopUpTerms { threshold: Credits(threshold), target: Credits(target), pack: None, cap_month: None }
    }

    /// The standing of a customer on Pro with these credits, whose setting has these terms.
    fn set(available: i64, terms: &TopUpTerms) -> (Request, PaymentStanding) {
        let mut standing = standing("pro", available);
        let setting = TopUpSetting {
            customer_id: standing.customer.id.clone(),
            version: 3,
            is_on: true,
            terms: terms.clone(),
            begun: 1,
            stopped: None,
            waits_until_ms: None,
        };
        standing.top_up =
            Some(TopUpStanding { setting: Some(setting), charged: MoneyMinor::ZERO, is_called_for: true });
        (Request::AutoTopUp(AutoTopUp { version: 3, terms: terms.clone(), charge: None }), standing)
    }

    fn decided(request: &Request, standing: &PaymentStanding, catalogue: &Catalogue) -> Result<Decided, NotCharged> {
        decide(request, standing, &CreditsConfig::default(), catalogue, 0)
    }

    fn bought(request: &Request, standing: &PaymentStanding, catalogue: &Catalogue) -> (i64, i64) {
        match decided(request, standing, catalogue).expect("it is decided") {
            Decided::Covered => (0, 0),
            Decided::Charge(charge, reserve) => {
                assert_eq!(reserve, Credits::ZERO);
                (charge.credits.0, charge.amount_minor.0)
            }
        }
    }

    #[test]
    fn one_charge_closes_the_gap_to_the_target_and_pays_a_debt() {
        let catalogue = Catalogue::built_in();
        for (available, expected) in
            [(10, (0, 0)), (9, (11, 11 * 1_500)), (0, (20, 20 * 1_500)), (-5, (25, 25 * 1_500))]
        {
            let (request, standing) = set(available, &terms(10, 20));
            assert_eq!(bought(&request, &standing, &catalogue), expected, "{available}");
        }
    }

    #[test]
    fn units_are_bought_in_steps_and_packs_whole() {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        catalogue.plans.iter_mut().for_each(|plan| plan.unit_step = Credits(10));
        let (request, standing) = set(1, &terms(5, 12));
        assert_eq!(bought(&request, &standing, &catalogue), (20, 20 * 1_500));
        let key = PackKey::trusted("five");
        let (request, standing) = set(1, &TopUpTerms { pack: Some(key.clone()), ..terms(5, 12) });
        assert_eq!(decided(&request, &standing, &catalogue), Err(NotCharged::PackGone));
        catalogue.packs.push(Pack {
            key,
            name: "5 fixes".to_owned(),
            credits: Credits(5),
            amount: MoneyMinor(6_000),
            currency: catalogue.currency.clone(),
            lifetime_days: Some(90),
            offered: true,
        });
        assert_eq!(bought(&request, &standing, &catalogue), (15, 18_000));
        catalogue.packs[0].offered = false;
        assert_eq!(decided(&request, &standing, &catalogue), Err(NotCharged::PackGone));
    }

    #[test]
    fn a_setting_that_was_changed_or_turned_off_meanwhile_buys_nothing() {
        let catalogue = Catalogue::built_in();
        let (request, standing) = set(0, &terms(10, 20));
        let with = |change: &dyn Fn(&mut TopUpSetting)| {
            let mut changed = standing.clone();
            change(changed.top_up.as_mut().and_then(|top_up| top_up.setting.as_mut()).expect("a setting"));
            bought(&request, &changed, &catalogue)
        };
        assert_eq!(with(&|setting| setting.is_on = false), (0, 0));
        assert_eq!(with(&|setting| setting.version = 4), (0, 0));
        assert_eq!(bought(&request, &PaymentStanding { top_up: None, ..standing.clone() }, &catalogue), (0, 0));
    }

    #[test]
    fn credits_that_the_customer_did_not_spend_are_not_bought_back() {
        let catalogue = Catalogue::built_in();
        for available in [1, 0, -38] {
            let (request, mut standing) = set(available, &terms(10, 20));
            standing.top_up.as_mut().expect("a setting").is_called_for = false;
            assert_eq!(bought(&request, &standing, &catalogue), (0, 0), "{available}");
        }
    }

    #[test]
    fn the_monthly_cap_of_top_ups_may_be_reached_and_not_exceeded() {
        let catalogue = Catalogue::built_in();
        let capped = TopUpTerms { cap_month: Some(MoneyMinor(40_000)), ..terms(10, 20) };
        let (request, mut standing) = set(0, &capped);
        let mut after = |charged: i64| {
            standing.top_up.as_mut().expect("a setting").charged = MoneyMinor(charged);
            decided(&request, &standing, &catalogue)
        };
        assert!(after(10_000).is_ok());
        let refused = after(10_001).expect_err("the cap is near");
        let problem = refused.problem(&standing.customer, &CreditsConfig::default(), &catalogue);
        assert_eq!((problem.code.as_str(), problem.retry_at_ms), ("top_up_cap_reached", Some(31 * 24 * 3_600_000)));
        assert!(problem.message.contains("$299.99 is left"), "{}", problem.message);
    }

    #[test]
    fn terms_that_no_top_up_could_keep_to_a_cap_by_are_refused() {
        let catalogue = Catalogue::built_in();
        let checked = |cap: i64, (threshold, target): (i64, i64), charged: i64| {
            let capped = TopUpTerms { cap_month: Some(MoneyMinor(cap)), ..terms(threshold, target) };
            let (_, mut standing) = set(0, &capped);
            standing.top_up.as_mut().expect("a setting").charged = MoneyMinor(charged);
            let refused = check_terms(&capped, &standing, &CreditsConfig::default(), &catalogue, 0).err();
            refused.map(|refused| refused.problem(&standing.customer, &CreditsConfig::default(), &catalogue))
        };
        // The account that lacks one credit to 10 buys 11.
        assert_eq!(checked(11 * 1_500, (10, 20), 0), None);
        assert_eq!(checked(11 * 1_500, (10, 20), 1), None, "the cap starts anew");
        let refused = checked(11 * 1_500 - 1, (10, 20), 0).expect("it never buys");
        assert_eq!((refused.code.as_str(), refused.retry_at_ms), ("top_up_exceeds_cap", None));
        assert!(refused.message.contains("$165.00") && refused.message.contains("top-up cap"), "{}", refused.message);
        // The spend cap of the plan, too.
        let refused = checked(100_000_000, (10, 900), 0).expect("it never buys");
        assert!(refused.message.contains("spend cap of $1000.00 a month"), "{}", refused.message);
    }

    #[test]
    fn a_cap_below_one_top_up_has_no_end_whatever_other_cap_is_reached() {
        let catalogue = Catalogue::built_in();
        let capped = TopUpTerms { cap_month: Some(MoneyMinor(29_999)), ..terms(10, 20) };
        let (request, mut standing) = set(0, &capped);
        standing.charged.month = MoneyMinor(100_000);
        let refused = decided(&request, &standing, &catalogue).expect_err("both caps forbid it");
        let problem = refused.problem(&standing.customer, &CreditsConfig::default(), &catalogue);
        assert_eq!((problem.code.as_str(), problem.retry_at_ms), ("top_up_cap_reached", None));
        assert!(problem.message.contains("Lower the target"), "{}", problem.message);
        let ended =
            Operation::new(&standing.customer.id, request, "k".to_owned(), "h".to_owned(), 1).failed(problem, 2);
        assert_eq!(halt(&ended).expect("a halt").until_ms, None, "it is turned off");
    }

    #[test]
    fn a_reached_cap_or_a_paused_card_makes_top_ups_wait_and_any_other_failure_turns_them_off() {
        let (request, standing) = set(0, &terms(10, 20));
        let open = Operation::new(&standing.customer.id, request, "top_up:3:0".to_owned(), "h".to_owned(), 1);
        let halted = |code: &str, retry_at_ms| {
            let problem = Problem { retry_at_ms, ..Problem::new(code, "why") };
            let halt = halt(&open.failed(problem, 2)).expect("a halt");
            (halt.version, halt.until_ms)
        };
        assert_eq!(halted("spend_cap_reached", Some(9)), (3, Some(9)));
        assert_eq!(halted("top_up_cap_reached", Some(9)), (3, Some(9)));
        assert_eq!(halted("card_paused", Some(9)), (3, Some(9)));
        assert_eq!(halted("card_paused", None), (3, None), "that card is not tried again");
        assert_eq!(halted("card_declined", None), (3, None));
        assert_eq!(halt(&open), None);
        assert_eq!(halt(&open.succeeded(None, 2)), None);
    }

    fn setting() -> TopUpSetting {
        let (_, standing) = set(0, &terms(10, 20));
        standing.top_up.and_then(|top_up| top_up.setting).expect("a setting")
    }

    #[test]
    fn a_payment_that_is_given_back_turns_top_ups_off_whether_they_wait_or_not() {
        for waits_until_ms in [None, Some(9)] {
            let halt = halt_after_return(&TopUpSetting { waits_until_ms, ..setting() }).expect("a halt");
            assert_eq!((halt.version, halt.until_ms, halt.problem.code.as_str()), (3, None, "payment_returned"));
        }
        assert_eq!(halt_after_return(&TopUpSetting { is_on: false, ..setting() }), None);
    }

    #[test]
    fn a_top_up_that_does_not_begin_although_few_credits_are_left_says_why() {
        let shown = |available: i64, is_called_for: bool, purchase_waits: bool| {
            let shown = setting().with_reason_to_wait(Credits(available), is_called_for, purchase_waits);
            shown.stopped.map(|problem| problem.code)
        };
        assert_eq!(shown(9, false, false).as_deref(), Some("credits_taken"));
        for is_called_for in [false, true] {
            assert_eq!(shown(9, is_called_for, true).as_deref(), Some("purchase_waits"));
        }
        assert_eq!([shown(10, false, true), shown(9, true, false)], [None, None]);
        let off = TopUpSetting { is_on: false, ..setting() };
        assert_eq!(off.clone().with_reason_to_wait(Credits(0), false, true), off);
    }

    #[test]
    fn a_wait_that_is_over_is_forgotten_with_its_problem_and_a_stop_is_not() {
        let stopped = Some(Problem::new("spend_cap_reached", "why"));
        let on = setting();
        let waiting = TopUpSetting { stopped, waits_until_ms: Some(9), ..on.clone() };
        assert_eq!(waiting.clone().as_of(8), waiting);
        assert_eq!(waiting.clone().as_of(9), on);
        let off = TopUpSetting { is_on: false, waits_until_ms: None, ..waiting };
        assert_eq!(off.clone().as_of(9), off);
        assert_eq!(on.clone().as_of(9), on);
    }
}
