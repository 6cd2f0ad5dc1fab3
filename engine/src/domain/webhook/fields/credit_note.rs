//! Credit notes.

use super::{id, money, rows, saturating_sum, short_text};
use crate::amount::MoneyMinor;
use serde_json::Value;

/// The fields of a credit note that the rules use. Amounts are minor units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreditNoteFields {
    /// Its id.
    pub id: Option<String>,
    /// The invoice that it is about.
    pub invoice_id: Option<String>,
    /// Whether it was voided, so that it counts no longer.
    pub is_void: bool,
    /// What it gave back of money that was paid: by refunds, onto the customer's balance, outside of Stripe.
    pub post_payment: MoneyMinor,
    /// The part of it that refunds of charges gave back.
    pub refunded: MoneyMinor,
}

impl CreditNoteFields {
    /// Reads a credit note in any API version.
    pub fn read(object: &Value) -> Self {
        // `post_payment_amount` is new in 2025-05-28.basil; before, all of the note was paid or nothing of it.
        let whole = money(&object["amount"]).filter(|_| object["type"] == "post_payment");
        let post_payment = money(&object["post_payment_amount"]).or(whole).unwrap_or_default();
        let is_of_charge = |row: &&Value| row["type"] != "payment_record_refund";
        let refunds = rows(&object["refunds"]).iter().filter(is_of_charge);
        let mut refunded = saturating_sum(refunds.filter_map(|row| money(&row["amount_refunded"])));
        if id(&object["refund"]).is_some() {
            // Until 2025-03-31.basil there was one refund, whose amount is what nothing else accounts for. What went
            // onto the balance is not told here, so it counts as refunded.
            let elsewhere = money(&object["out_of_band_amount"]).unwrap_or_default();
            refunded = MoneyMinor(post_payment.0.saturating_sub(elsewhere.0));
        }
        Self {
            id: id(&object["id"]),
            invoice_id: id(&object["invoice"]),
            is_void: short_text(&object["status"]).as_deref() == Some("void"),
            post_payment,
            refunded,
        }
    }

    /// What it gave back otherwise than by refunds of charges, which the charges themselves tell.
    pub fn gone_beside_refunds(&self) -> MoneyMinor {
        if self.is_void { MoneyMinor::ZERO } else { self.given_beside_refunds() }
    }

    /// The same, also if it was voided and took that back.
    pub fn given_beside_refunds(&self) -> MoneyMinor {
        MoneyMinor(self.post_payment.0.saturating_sub(self.refunded.0)).max(MoneyMinor::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn gone(object: Value) -> i64 {
        CreditNoteFields::read(&object).gone_beside_refunds().0
    }

    #[test]
    fn what_a_note_gives_back_counts_unless_a_refund_of_a_charge_gives_it_back() {
        let note = |refunds: Value| json!({"status": "issued", "post_payment_amount": 500, "refunds": refunds});
        let refund = |kind: Value| json!([{"type": kind, "refund": "re_1", "amount_refunded": 200}]);
        assert_eq!(gone(note(json!([]))), 500);
        assert_eq!(gone(note(refund(json!("refund")))), 300);
        assert_eq!(gone(note(refund(Value::Null))), 300);
        // A refund that was made elsewhere and recorded at Stripe changes no charge.
        assert_eq!(gone(note(refund(json!("payment_record_refund")))), 500);
        let more = json!([{"refund": "re_1", "amount_refunded": 900}]);
        assert_eq!(gone(note(more)), 0);
        let endless =
            json!([{"refund": "re_1", "amount_refunded": i64::MAX}, {"refund": "re_2", "amount_refunded": 1}]);
        assert_eq!(gone(note(endless)), 0);
    }

    #[test]
    fn a_void_note_and_one_that_made_an_open_invoice_cheaper_give_nothing_back() {
        assert_eq!(gone(json!({"status": "void", "post_payment_amount": 500, "refunds": []})), 0);
        assert_eq!(gone(json!({"status": "issued", "pre_payment_amount": 500, "post_payment_amount": 0})), 0);
        assert_eq!(gone(json!({"status": "issued", "type": "pre_payment", "amount": 500})), 0);
        assert_eq!(gone(Value::Null), 0);
    }

    #[test]
    fn what_a_void_note_had_given_is_known() {
        let note = json!({"status": "void", "post_payment_amount": 500, "refunds": [{"amount_refunded": 200}]});
        let note = CreditNoteFields::read(&note);
        assert_eq!((note.given_beside_refunds().0, note.gone_beside_refunds().0), (300, 0));
    }

    #[test]
    fn a_note_of_an_older_version_is_read_as_well() {
        let old = |refund: Value, elsewhere: Value| {
            json!({"status": "issued", "type": "post_payment", "amount": 500, "refund": refund,
                   "out_of_band_amount": elsewhere})
        };
        assert_eq!(gone(old(Value::Null, Value::Null)), 500);
        assert_eq!(gone(old(json!("re_1"), Value::Null)), 0);
        assert_eq!(gone(old(json!("re_1"), json!(100))), 100);
        assert_eq!(gone(old(Value::Null, json!(500))), 500);
    }
}
