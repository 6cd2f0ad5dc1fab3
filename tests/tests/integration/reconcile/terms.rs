//! Reconciliation of invoices that are older than the catalogue in force: they count on the terms of their time.

use super::*;
use crate::scene::{now_ms, sql};
use bursar_engine::amount::Credits;
use bursar_engine::domain::catalogue::write::write;
use bursar_engine::domain::catalogue::{Catalogue, CatalogueVersion};
use bursar_engine::infra::store::catalogue::catalogue_version_insert;
use bursar_tests::catalogue_with;

const DAY_S: i64 = 24 * 60 * 60;

impl Shop {
    /// Puts another version of the catalogue into force, which brings this many credits for a month of Pro.
    async fn sell_pro_with(&self, credits: i64) {
        let shared = &self.app.app.config.catalogue;
        let mut catalogue = Catalogue::clone(&shared.now());
        catalogue.prices[0].credits = Credits(credits);
        let version = CatalogueVersion {
            version: shared.version() + 1,
            catalogue: write(&catalogue),
            applied_by: "admin:test".to_owned(),
            reason: "a test".to_owned(),
            applied_at_ms: now_ms(),
        };
        assert!(catalogue_version_insert(self.app.app.db.write(), &version).await.expect("a version"));
        wait::until("the node has the version", || async { (shared.version() == version.version).then_some(()) }).await;
    }

    /// Makes an invoice look as if it was made yesterday.
    fn age_invoice(&self, invoice: &Value) {
        self.stripe.set(stripe::id(invoice), &json!({ "created": now_ms() / 1_000 - DAY_S }));
    }
}

with_backend! {
    async fn a_lost_invoice_brings_what_the_catalogue_of_its_time_says(backend: Backend) {
        let shop = Shop::open(backend).await;
        let (customer, renewal) = shop.renewed().await;
        shop.age_invoice(&renewal);
        shop.sell_pro_with(80).await;
        shop.reconcile_finds(&[("invoice_not_granted", 1, 1)]).await;
        shop.balance_becomes(&customer, 120).await;
        shop.reconcile_finds(&[]).await;
        shop.close().await;
    }

    async fn an_invoice_that_brought_nothing_brings_nothing_by_a_later_catalogue(backend: Backend) {
        // One whose terms were kept, and one of a release that kept none.
        for keeps_terms in [true, false] {
            let selling_none = |catalogue: &mut Catalogue| catalogue.prices[0].credits = Credits::ZERO;
            let shop = Shop::open_with(backend, |config| config.catalogue = catalogue_with(selling_none)).await;
            let customer = shop.without_credits("pm_card_visa").await;
            shop.app.call(&customer, "POST", "/api/v1/subscription", "pro", Some(&json!({}))).await.expect(201);
            let invoice = shop.stripe.all("invoice").remove(0);
            if !keeps_terms {
                sql(&shop.app, "UPDATE invoices SET terms = NULL").await;
                shop.age_invoice(&invoice);
            }
            shop.sell_pro_with(70).await;
            shop.reconcile_finds(&[]).await;
            let invoice = shop.stripe.all("invoice").remove(0);
            shop.deliver_event("invoice.paid", &invoice).await;
            assert_eq!(shop.app.balance(&customer).await, 0, "keeps_terms: {keeps_terms}");
            // What is billed from now on brings the new credits.
            let mut renewal = invoice.clone();
            (renewal["id"], renewal["created"]) = (json!(format!("in_{}", unique())), json!(now_ms() / 1_000 + 1));
            renewal["billing_reason"] = "subscription_cycle".into();
            shop.stripe.put(&renewal);
            shop.deliver_event("invoice.paid", &renewal).await;
            assert_eq!(shop.app.balance(&customer).await, 70);
            shop.close().await;
        }
    }
}
