//! Credit notes that no event announced: what they gave back otherwise than by refunds takes its share of the credits.

use super::*;

/// The price of a month of Pro, and half of it.
const MONTH: i64 = 59_900;
const HALF: i64 = MONTH / 2;

impl Shop {
    /// A customer on Pro with the 60 credits of its first month; returns the invoice.
    async fn pro(&self) -> (TestCustomer, Value) {
        let customer = self.without_credits("pm_card_visa").await;
        self.app.call(&customer, "POST", "/api/v1/subscription", "pro", Some(&json!({}))).await.expect(201);
        let invoice = self.stripe.all("invoice").pop().expect("the first invoice");
        self.stripe.set(stripe::id(&invoice), &json!({ "total": MONTH }));
        self.balance_becomes(&customer, 60).await;
        (customer, invoice)
    }

    /// Makes a credit note of an invoice at Stripe that gave this much back, of it this much by refunds.
    fn credit(&self, invoice: &Value, amount: i64, by_refunds: &[(&str, i64)]) -> Value {
        let refund = |(id, amount): &(&str, i64)| json!({ "type": "refund", "refund": id, "amount_refunded": amount });
        let note = json!({
            "id": format!("cn_{}", unique()), "object": "credit_note", "status": "issued", "type": "post_payment",
            "customer": invoice["customer"], "invoice": invoice["id"], "currency": "usd", "amount": amount,
            "pre_payment_amount": 0, "post_payment_amount": amount,
            "refunds": by_refunds.iter().map(refund).collect::<Vec<_>>(),
        });
        self.stripe.put(&note);
        self.count_notes(invoice);
        note
    }

    /// Says in an invoice what its credit notes gave back, void ones apart.
    fn count_notes(&self, invoice: &Value) {
        let notes = self.stripe.all("credit_note");
        let own = notes.iter().filter(|note| note["invoice"] == invoice["id"] && note["status"] == "issued");
        let given: i64 = own.filter_map(|note| note["post_payment_amount"].as_i64()).sum();
        self.stripe.set(stripe::id(invoice), &json!({ "post_payment_credit_notes_amount": given }));
    }

    fn void(&self, invoice: &Value, note: &Value) {
        self.stripe.set(stripe::id(note), &json!({ "status": "void" }));
        self.count_notes(invoice);
    }

    fn charge_of_month(&self) -> String {
        stripe::id(&self.stripe.all("charge").pop().expect("a charge")).to_owned()
    }
}

with_shop! {
    async fn a_credit_note_without_a_webhook_takes_its_share_once(shop: &Shop) {
        let (customer, invoice) = shop.pro().await;
        shop.reconcile_finds(&[]).await;
        let note = shop.credit(&invoice, HALF, &[]);
        let run = shop.reconcile_finds(&[("refund_not_applied", 1, 1)]).await;
        shop.balance_becomes(&customer, 30).await;
        let path = format!("{RUNS}/{}/findings", run["id"].as_str().expect("an id"));
        let findings = shop.app.admin("GET", &path, None).await.expect(200);
        assert_eq!(findings["data"][0]["object_id"], invoice["id"], "{findings}");
        for _ in 0..2 {
            shop.reconcile_finds(&[]).await;
        }
        // Stripe tells of it after all.
        shop.deliver_event("credit_note.created", &note).await;
        shop.reconcile_finds(&[]).await;
        assert_eq!(shop.app.balance(&customer).await, 30);
    }

    async fn a_voided_credit_note_returns_its_share_once_and_one_that_took_none_nothing(shop: &Shop) {
        let (customer, invoice) = shop.pro().await;
        let note = shop.credit(&invoice, HALF, &[]);
        shop.reconcile_finds(&[("refund_not_applied", 1, 1)]).await;
        shop.balance_becomes(&customer, 30).await;
        shop.void(&invoice, &note);
        shop.reconcile_finds(&[("refund_not_applied", 1, 1)]).await;
        shop.balance_becomes(&customer, 60).await;
        let other = shop.credit(&invoice, HALF, &[]);
        shop.void(&invoice, &other);
        shop.reconcile_finds(&[]).await;
        assert_eq!(shop.app.balance(&customer).await, 60);
    }

    async fn several_credit_notes_of_an_invoice_are_one_difference(shop: &Shop) {
        let (customer, invoice) = shop.pro().await;
        for _ in 0..25 {
            shop.credit(&invoice, MONTH / 60, &[]);
        }
        shop.reconcile_finds(&[("refund_not_applied", 1, 1)]).await;
        shop.balance_becomes(&customer, 36).await;
        shop.reconcile_finds(&[]).await;
    }

    async fn a_credit_note_before_payment_or_by_a_refund_alone_is_no_difference_of_its_own(shop: &Shop) {
        let (customer, invoice) = shop.pro().await;
        let before = shop.credit(&invoice, HALF, &[]);
        let fields = json!({ "type": "pre_payment", "pre_payment_amount": HALF, "post_payment_amount": 0 });
        shop.stripe.set(stripe::id(&before), &fields);
        shop.count_notes(&invoice);
        shop.reconcile_finds(&[]).await;
        shop.stripe.refund(&shop.charge_of_month(), HALF);
        shop.credit(&invoice, HALF, &[(stripe::id(&shop.stripe.all("refund")[0]), HALF)]);
        shop.reconcile_finds(&[("refund_not_applied", 1, 1)]).await;
        shop.balance_becomes(&customer, 30).await;
        shop.reconcile_finds(&[]).await;
    }

    async fn a_credit_note_with_a_refund_beside_it_is_counted_once(shop: &Shop) {
        let (customer, invoice) = shop.pro().await;
        shop.stripe.refund(&shop.charge_of_month(), MONTH / 3);
        let refund = shop.stripe.all("refund").remove(0);
        shop.credit(&invoice, HALF, &[(stripe::id(&refund), MONTH / 3)]);
        shop.reconcile_finds(&[("refund_not_applied", 1, 1)]).await;
        shop.balance_becomes(&customer, 30).await;
        // The refund is known, and a further note is not.
        shop.credit(&invoice, HALF, &[]);
        shop.reconcile_finds(&[("refund_not_applied", 1, 1)]).await;
        shop.balance_becomes(&customer, 0).await;
        shop.reconcile_finds(&[]).await;
    }

    async fn a_lost_event_of_a_credit_note_that_stripe_lists_is_counted_once(shop: &Shop) {
        let (customer, invoice) = shop.pro().await;
        let note = shop.credit(&invoice, HALF, &[]);
        shop.stripe.add_listed_event(&stripe::event("credit_note.created", &note), true);
        shop.reconcile_finds(&[("event_missing", 1, 1)]).await;
        shop.balance_becomes(&customer, 30).await;
        shop.reconcile_finds(&[]).await;
    }

    async fn credit_notes_of_other_business_are_no_difference(shop: &Shop) {
        let (customer, invoice) = shop.pro().await;
        let mut other = invoice.clone();
        let price = json!({ "id": "price_else", "object": "price", "lookup_key": "else", "product": "prod_else" });
        let line = json!({ "id": "il_else", "amount": MONTH, "price": price, "period": { "start": 1, "end": 2 } });
        for payer in [invoice["customer"].clone(), json!("cus_else")] {
            (other["id"], other["customer"]) = (json!(format!("in_{}", unique())), payer);
            (other["lines"], other["parent"]) = (json!({ "object": "list", "data": [line] }), Value::Null);
            (other["payments"], other["total"]) = (json!({ "object": "list", "data": [] }), json!(MONTH));
            (other["status"], other["amount_paid"]) = (json!("paid"), json!(MONTH));
            shop.stripe.put(&other);
            shop.credit(&other, HALF, &[]);
        }
        shop.reconcile_finds(&[]).await;
        assert_eq!(shop.app.balance(&customer).await, 60);
    }

    async fn a_comparison_of_one_customer_finds_its_credit_notes_however_old_they_are(shop: &Shop) {
        let (customer, invoice) = shop.pro().await;
        shop.reconcile_finds(&[]).await;
        let note = shop.credit(&invoice, HALF, &[]);
        shop.stripe.set(stripe::id(&note), &json!({ "created": 1_600_000_000 }));
        shop.reconcile_finds(&[]).await;
        let body = json!({ "repair": true, "customer_id": customer.id });
        assert_eq!(found(&shop.reconcile_as(&body).await), [("refund_not_applied", 1, 1)]);
        shop.balance_becomes(&customer, 30).await;
        assert!(found(&shop.reconcile_as(&body).await).is_empty());
        assert!(found(&shop.reconcile_as(&json!({ "repair": true, "full": true })).await).is_empty());
        assert_eq!(shop.app.balance(&customer).await, 30);
    }
}
