//! What happens to bought credits when their money is given back, by the choice of whoever gives it back.
//!
//! The choice is written into the refund's metadata at Stripe. So the credits follow from what Stripe says, whichever
//! event comes first, twice or late, and a comparison with Stripe decides the same.

use crate::amount::MoneyMinor;
use crate::domain::catalogue::currency::money;
use crate::domain::webhook::fields::{self, metadata_of};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The key under which a refund's metadata says what happens to the credits.
pub const CREDITS_METADATA_KEY: &str = "bursar_credits";

/// The longest reason of a failed refund that is kept, in characters.
const REASON_LEN_MAX: usize = 100;

/// What happens to the credits that the money bought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreditsChoice {
    /// Their share goes as far as it is not spent: nobody gets into debt.
    #[default]
    Unspent,
    /// Their share goes, spent or not: the customer may owe credits afterwards. So it is with refunds that were made at
    /// Stripe without a choice.
    All,
    /// The customer keeps them.
    None,
}

impl CreditsChoice {
    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspent => "unspent",
            Self::All => "all",
            Self::None => "none",
        }
    }

    /// The choice that a refund at Stripe carries.
    pub fn of_refund(refund: &Value) -> Self {
        match metadata_of(refund).get(CREDITS_METADATA_KEY).map(String::as_str) {
            Some("unspent") => Self::Unspent,
            Some("none") => Self::None,
            _ => Self::All,
        }
    }
}

/// Money of a payment that is gone: refunded, returned by credit notes, or taken by disputes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gone {
    /// All of it.
    pub all: MoneyMinor,
    /// The part whose credits the customer keeps.
    pub keeps: MoneyMinor,
    /// The part whose credits go only as far as they are unspent.
    pub unspent: MoneyMinor,
}

impl Gone {
    /// The part whose credits do not simply stay.
    pub fn counting(&self) -> MoneyMinor {
        self.all - self.keeps.clamp(MoneyMinor::ZERO, self.all.max(MoneyMinor::ZERO))
    }

    /// The part whose credits go even if they are spent.
    pub fn certain(&self) -> MoneyMinor {
        let counts = self.counting();
        counts - self.unspent.clamp(MoneyMinor::ZERO, counts.max(MoneyMinor::ZERO))
    }

    /// Adds money that is gone.
    pub fn add(&mut self, amount: MoneyMinor, choice: CreditsChoice) {
        self.all += amount;
        self.mark(amount, choice);
    }

    /// Notes the choices of refunds whose money is counted already. A refund that failed gave nothing back.
    pub fn mark_refunds(&mut self, refunds: &[Value]) {
        for refund in refunds.iter().filter(|refund| !has_failed(refund)) {
            self.mark(MoneyMinor(refund["amount"].as_i64().unwrap_or(0)), CreditsChoice::of_refund(refund));
        }
    }

    fn mark(&mut self, amount: MoneyMinor, choice: CreditsChoice) {
        match choice {
            CreditsChoice::All => {}
            CreditsChoice::None => self.keeps += amount,
            CreditsChoice::Unspent => self.unspent += amount,
        }
    }
}

/// What Stripe's rounding leaves, at most, of a payment that is credited as a whole, in minor units.
const ROUNDED: MoneyMinor = MoneyMinor(1);

/// What is known of a payment's money before more of it is given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MoneyBefore {
    /// What is left of the charge.
    pub left: MoneyMinor,
    /// The whole price.
    pub paid: MoneyMinor,
    /// What refunds gave back of it.
    pub refunded: MoneyMinor,
    /// What was credited of it: by later invoices of the subscription for time that was left, and by credit notes that
    /// refunded no charge; `None` if that is not known.
    pub credited: Option<MoneyMinor>,
}

impl MoneyBefore {
    /// The most that may be given back without giving anything twice; `None` if that is not known.
    pub fn refundable(&self) -> Option<MoneyMinor> {
        let credited = self.credited?;
        let rest = match credited {
            // The charge alone decides.
            MoneyMinor::ZERO => self.left,
            _ if credited >= self.paid - ROUNDED => MoneyMinor::ZERO,
            _ => self.paid - self.refunded - credited,
        };
        Some(self.left.min(rest).max(MoneyMinor::ZERO))
    }

    /// How much is given back without giving anything twice: what is asked for, else the most.
    ///
    /// # Errors
    /// `refund_credited` if what is asked for is more than that, or nothing is left; `refund_unclear` if it is not
    /// known what was credited.
    pub fn amount(&self, asked: Option<MoneyMinor>, currency: &str) -> Result<MoneyMinor, RefundRefusal> {
        let (Some(most), Some(credited)) = (self.refundable(), self.credited) else {
            let message = "the subscription has more invoices than are looked at, so what they have credited of this \
                           money is not known: look at them at Stripe, and name the amount with beyond_credited";
            return Err(RefundRefusal { code: "refund_unclear", message: message.to_owned() });
        };
        let amount = asked.unwrap_or(most);
        // If nothing was credited, the charge alone decides, and Stripe refuses more than is left of it.
        if credited > MoneyMinor::ZERO && (amount > most || most == MoneyMinor::ZERO) {
            let (credited, most) = (money(credited, currency), money(most, currency));
            let message = format!(
                "{credited} of this money were credited at Stripe, when the subscription was changed or ended or by a \
                 credit note, so {most} are left to be given back: whoever wants to give more says so with \
                 beyond_credited and the amount"
            );
            return Err(RefundRefusal { code: "refund_credited", message });
        }
        Ok(amount)
    }
}

/// Why money is not given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRefusal {
    /// A stable code.
    pub code: &'static str,
    /// In words, for support.
    pub message: String,
}

/// A refund that gave nothing back: the bank returned the money, or it was cancelled before. It stays so. Source:
/// Stripe, "The Refund object".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRefund {
    /// Its id.
    pub id: String,
    /// Stripe's `failure_reason`: `expired_or_canceled_card`, `lost_or_stolen_card` …
    pub reason: Option<String>,
}

impl FailedRefund {
    /// Reads a refund in any API version; `None` if it has not failed, as far as this copy says.
    pub fn read(refund: &Value) -> Option<Self> {
        let reason = refund["failure_reason"].as_str().map(|text| fields::clean(text, REASON_LEN_MAX));
        Some(Self {
            id: fields::id(&refund["id"]).filter(|_| has_failed(refund))?,
            reason: reason.filter(|reason| !reason.is_empty()),
        })
    }
}

/// Whether a refund at Stripe has given nothing back and never will.
pub fn has_failed(refund: &Value) -> bool {
    matches!(refund["status"].as_str(), Some("failed" | "canceled"))
}

/// Whether a refund at Stripe was made by this operation.
pub fn is_of_operation(refund: &Value, operation_id: &str) -> bool {
    metadata_of(refund).get(fields::OPERATION_METADATA_KEY).is_some_and(|id| id == operation_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PAID: MoneyMinor = MoneyMinor(59_900);

    fn gone(amount: i64, choice: CreditsChoice) -> Gone {
        let mut gone = Gone::default();
        gone.add(MoneyMinor(amount), choice);
        gone
    }

    #[test]
    fn what_was_credited_or_given_back_is_not_given_back_once_more() {
        let refundable = |left: i64, refunded: i64, credited: Option<i64>| {
            let (left, refunded) = (MoneyMinor(left), MoneyMinor(refunded));
            let money = MoneyBefore { left, paid: PAID, refunded, credited: credited.map(MoneyMinor) };
            money.refundable().map(|amount| amount.0)
        };
        assert_eq!(refundable(59_900, 0, Some(0)), Some(59_900));
        assert_eq!(refundable(59_900, 0, Some(40_000)), Some(19_900));
        assert_eq!(refundable(39_900, 20_000, Some(40_000)), Some(0));
        assert_eq!(refundable(49_900, 10_000, Some(40_000)), Some(9_900));
        assert_eq!(refundable(10_000, 0, Some(40_000)), Some(10_000), "the rest was paid from a balance");
        assert_eq!(refundable(59_900, 0, Some(99_900)), Some(0));
        assert_eq!(refundable(59_900, 0, Some(59_899)), Some(0), "all of it, but for rounding");
        assert_eq!(refundable(59_900, 0, Some(59_898)), Some(2));
        assert_eq!(refundable(59_900, 19_899, Some(40_000)), Some(1));
        assert_eq!(refundable(59_900, 0, None), None);
    }

    #[test]
    fn more_than_was_not_credited_is_refused_and_so_is_what_nobody_knows() {
        let amount = |credited: Option<i64>, asked: Option<i64>| {
            let (left, credited) = (PAID, credited.map(MoneyMinor));
            let money = MoneyBefore { left, paid: PAID, refunded: MoneyMinor::ZERO, credited };
            money.amount(asked.map(MoneyMinor), "usd").map(|amount| amount.0).map_err(|refusal| refusal.code)
        };
        assert_eq!(amount(Some(0), None), Ok(59_900));
        assert_eq!(amount(Some(0), Some(60_000)), Ok(60_000), "Stripe decides");
        assert_eq!((amount(Some(40_000), None), amount(Some(40_000), Some(19_900))), (Ok(19_900), Ok(19_900)));
        assert_eq!(amount(Some(40_000), Some(19_901)), Err("refund_credited"));
        for credited in [59_900, 59_899] {
            assert_eq!([None, Some(1)].map(|asked| amount(Some(credited), asked)), [Err("refund_credited"); 2]);
        }
        assert_eq!(amount(None, Some(1)), Err("refund_unclear"));
    }

    #[test]
    fn each_refund_counts_by_its_own_choice() {
        let parts = |gone: Gone| (gone.counting().0, gone.certain().0);
        assert_eq!(parts(gone(100, CreditsChoice::All)), (100, 100));
        assert_eq!(parts(gone(100, CreditsChoice::Unspent)), (100, 0));
        assert_eq!(parts(gone(100, CreditsChoice::None)), (0, 0));
        let mut all = gone(100, CreditsChoice::None);
        all.add(MoneyMinor(20), CreditsChoice::All);
        all.add(MoneyMinor(3), CreditsChoice::Unspent);
        assert_eq!(parts(all), (23, 20));
    }

    #[test]
    fn a_refund_has_failed_if_the_bank_returned_it_or_it_was_cancelled() {
        let refund = |status: Value, reason: Value| {
            FailedRefund::read(&json!({ "id": "re_1", "object": "refund", "status": status, "failure_reason": reason }))
        };
        for status in [json!("pending"), json!("succeeded"), json!("requires_action"), Value::Null] {
            assert_eq!(refund(status.clone(), Value::Null), None, "{status}");
        }
        let failed =
            |reason: Option<&str>| Some(FailedRefund { id: "re_1".to_owned(), reason: reason.map(str::to_owned) });
        assert_eq!(refund(json!("failed"), json!("lost_or_stolen_card")), failed(Some("lost_or_stolen_card")));
        assert_eq!(refund(json!("canceled"), Value::Null), failed(None));
        assert_eq!(refund(json!("failed"), json!("\u{7}")), failed(None));
        assert_eq!(FailedRefund::read(&json!({ "status": "failed" })), None, "it has no id");
    }

    #[test]
    fn the_choice_is_read_from_the_refunds_metadata_and_failed_ones_do_not_count() {
        let refund = |status: &str, choice: &str| json!({ "status": status, "amount": 100, "metadata": { "bursar_credits": choice } });
        let mut all = Gone { all: MoneyMinor(300), ..Gone::default() };
        all.mark_refunds(&[refund("succeeded", "none"), refund("failed", "none"), refund("pending", "unspent")]);
        all.mark_refunds(&[json!({ "status": "succeeded", "amount": 100 })]);
        assert_eq!(all, Gone { all: MoneyMinor(300), keeps: MoneyMinor(100), unspent: MoneyMinor(100) });
    }
}
