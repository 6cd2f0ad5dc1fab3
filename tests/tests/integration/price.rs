//! What is stored of the prices at Stripe.

use bursar_engine::amount::{Credits, MoneyMinor};
use bursar_engine::domain::catalogue::{Catalogue, Price};
use bursar_engine::domain::sale::known_price::{DecidedBy, Decision, KnownPrice};
use bursar_engine::infra::store::price::{
    price_decide, price_find_many, price_list, price_of_products, price_put_many,
};
use bursar_engine::key::PriceKey;
use bursar_tests::{TestApp, with_app};
use std::collections::BTreeMap;

fn pro() -> PriceKey {
    PriceKey::trusted("pro_monthly")
}

/// Terms that are not the catalogue's present ones.
fn earlier_terms() -> Price {
    let present = Catalogue::built_in().price(&pro()).cloned().unwrap();
    Price { amount: MoneyMinor(49_900), credits: Credits(40), lifetime_days: Some(90), ..present }
}

fn known(id: &str, decision: Decision, decided_by: DecidedBy) -> KnownPrice {
    KnownPrice {
        id: id.to_owned(),
        product_id: Some("prod_1".to_owned()),
        lookup_key: Some("it's \"quoted\"".to_owned()),
        metadata: BTreeMap::from([("plan".to_owned(), "préö \u{1F980}".to_owned())]),
        amount: Some(MoneyMinor(59_900)),
        currency: Some("usd".to_owned()),
        every: Some("month".to_owned()),
        decision,
        decided_by,
        reason: Some("because".to_owned()),
        terms: Some(earlier_terms()),
        first_seen_ms: 1,
        decided_at_ms: 2,
    }
}

/// A price of which nothing is known.
fn bare(id: &str) -> KnownPrice {
    KnownPrice {
        product_id: None,
        lookup_key: None,
        metadata: BTreeMap::new(),
        amount: None,
        currency: None,
        every: None,
        reason: None,
        terms: None,
        ..known(id, Decision::NotOurs, DecidedBy::Nothing)
    }
}

async fn put(app: &TestApp, prices: &[KnownPrice]) {
    price_put_many(app.app.db.write(), prices).await.unwrap();
}

async fn find(app: &TestApp, id: &str) -> KnownPrice {
    price_find_many(app.app.db.read(), &[id.to_owned()]).await.unwrap().remove(0)
}

async fn of_products(app: &TestApp, products: &[&str]) -> Vec<KnownPrice> {
    let products: Vec<String> = products.iter().map(|product| (*product).to_owned()).collect();
    price_of_products(app.app.db.read(), &products).await.unwrap()
}

fn ids(prices: &[KnownPrice]) -> Vec<&str> {
    prices.iter().map(|price| price.id.as_str()).collect()
}

with_app! {
    async fn a_price_is_read_as_it_was_written(app: &TestApp) {
        let mut prices = vec![bare("price_z")];
        for by in DecidedBy::ALL {
            for decision in [Decision::Ours(pro()), Decision::NotOurs, Decision::Undecided] {
                prices.push(known(&format!("price_{:02}", prices.len()), decision, by));
            }
        }
        put(app, &prices).await;
        put(app, &[]).await;
        let sought: Vec<String> = prices.iter().map(|price| price.id.clone()).chain(["price_x".to_owned()]).collect();
        let mut found = price_find_many(app.app.db.read(), &sought).await.unwrap();
        found.sort_by(|one, other| one.id.cmp(&other.id));
        prices.rotate_left(1);
        assert_eq!(found, prices);
    }

    async fn what_stripe_says_of_a_price_is_replaced_and_when_it_was_first_seen_stays(app: &TestApp) {
        let first = known("price_1", Decision::Undecided, DecidedBy::Product);
        put(app, std::slice::from_ref(&first)).await;
        let twice = known("price_1", Decision::Undecided, DecidedBy::Tag);
        let without_key = KnownPrice { lookup_key: None, first_seen_ms: 8, decided_at_ms: 9, ..twice.clone() };
        put(app, &[twice, without_key.clone()]).await;
        let now = KnownPrice { first_seen_ms: first.first_seen_ms, ..without_key };
        assert_eq!(find(app, "price_1").await, now);
        // An object that names only the id says nothing of the rest.
        let bare = bare("price_1");
        put(app, std::slice::from_ref(&bare)).await;
        let (decided_by, decision, decided_at_ms) = (bare.decided_by, bare.decision, bare.decided_at_ms);
        let expected = KnownPrice { decided_by, decision, decided_at_ms, reason: None, terms: None, ..now };
        assert_eq!(find(app, "price_1").await, expected);
    }

    async fn terms_stay_as_long_as_the_price_of_the_catalogue_does(app: &TestApp) {
        let ours = known("price_1", Decision::Ours(pro()), DecidedBy::Tag);
        put(app, std::slice::from_ref(&ours)).await;
        let without = KnownPrice { terms: None, ..ours.clone() };
        put(app, std::slice::from_ref(&without)).await;
        assert_eq!(find(app, "price_1").await, ours);
        put(app, &[KnownPrice { decision: Decision::Ours(PriceKey::trusted("team_monthly")), ..without }]).await;
        assert_eq!(find(app, "price_1").await.terms, None);
    }

    async fn what_is_ours_for_everybody_never_comes_to_need_a_tag(app: &TestApp) {
        let [tagged, keyed] = [DecidedBy::Sold, DecidedBy::LookupKey].map(|by| known("price_1", Decision::Ours(pro()), by));
        put(app, std::slice::from_ref(&tagged)).await;
        let later = KnownPrice { reason: Some("its product is ours".to_owned()), decided_at_ms: 9, ..tagged.clone() };
        put(app, std::slice::from_ref(&later)).await;
        assert_eq!(find(app, "price_1").await, later);
        put(app, std::slice::from_ref(&keyed)).await;
        put(app, &[later]).await;
        assert_eq!(find(app, "price_1").await, keyed);
    }

    async fn an_operators_decision_is_overruled_only_by_a_later_one(app: &TestApp) {
        let judged = KnownPrice { decided_at_ms: 90, ..known("price_1", Decision::Undecided, DecidedBy::Product) };
        let judged = KnownPrice { terms: None, amount: Some(MoneyMinor(1)), ..judged };
        put(app, std::slice::from_ref(&judged)).await;
        let decide = async |decision: Decision, at_ms: i64| {
            price_decide(app.app.db.write(), "price_1", &decision, "says Ada", at_ms).await.unwrap()
        };
        assert!(decide(Decision::Ours(pro()), 50).await);
        let decided = find(app, "price_1").await;
        assert_eq!((&decided.decision, decided.decided_by), (&Decision::Ours(pro()), DecidedBy::Operator));
        assert_eq!((decided.reason.as_deref(), decided.decided_at_ms), (Some("says Ada"), 50));

        let cheaper = KnownPrice { amount: Some(MoneyMinor(2)), ..judged };
        let stale = KnownPrice { decision: Decision::NotOurs, decided_at_ms: 40, ..decided.clone() };
        put(app, &[cheaper]).await;
        assert_eq!(find(app, "price_1").await, KnownPrice { amount: Some(MoneyMinor(2)), ..decided.clone() });
        put(app, &[stale]).await;
        assert_eq!(find(app, "price_1").await, decided);
        let with_terms = KnownPrice { terms: Some(earlier_terms()), ..decided };
        put(app, std::slice::from_ref(&with_terms)).await;
        assert_eq!(find(app, "price_1").await, with_terms);

        assert!(decide(Decision::Ours(pro()), 60).await);
        assert_eq!(find(app, "price_1").await.terms, Some(earlier_terms()));
        assert!(decide(Decision::NotOurs, 70).await);
        assert_eq!(find(app, "price_1").await.terms, None);
        // Taken back: the rules decide again.
        assert!(decide(Decision::Undecided, 80).await);
        assert_eq!(find(app, "price_1").await.decided_by, DecidedBy::Nothing);
        put(app, &[known("price_1", Decision::Ours(pro()), DecidedBy::Tag)]).await;
        assert_eq!(find(app, "price_1").await.decided_by, DecidedBy::Tag);
        let unknown = price_decide(app.app.db.write(), "price_2", &Decision::NotOurs, "says Ada", 1).await;
        assert!(!unknown.unwrap());
    }

    async fn prices_of_products_are_ours_in_the_order_in_which_they_were_seen(app: &TestApp) {
        let ours = |id: &str, product: &str, first_seen_ms: i64| KnownPrice {
            product_id: Some(product.to_owned()),
            first_seen_ms,
            ..known(id, Decision::Ours(pro()), DecidedBy::LookupKey)
        };
        let others = [
            known("price_4", Decision::NotOurs, DecidedBy::Nothing),
            known("price_5", Decision::Undecided, DecidedBy::Product),
            bare("price_6"),
        ];
        put(app, &[ours("price_1", "prod_1", 3), ours("price_2", "prod_2", 1), ours("price_3", "prod_1", 2)]).await;
        put(app, &others).await;
        assert_eq!(ids(&of_products(app, &["prod_1"]).await), ["price_3", "price_1"]);
        assert_eq!(ids(&of_products(app, &["prod_1", "prod_2"]).await), ["price_2", "price_3", "price_1"]);
        assert!(of_products(app, &["prod_3"]).await.is_empty() && of_products(app, &[]).await.is_empty());
    }

    async fn prices_are_listed_by_their_id_and_by_decision(app: &TestApp) {
        put(app, &[
            bare("price_3"),
            known("price_1", Decision::Ours(pro()), DecidedBy::Catalogue),
            known("price_2", Decision::Undecided, DecidedBy::Tag),
        ])
        .await;
        let list = async |after: Option<&str>, decision: Option<&str>, limit: u64| {
            price_list(app.app.db.read(), after, decision, limit).await.unwrap()
        };
        assert_eq!(ids(&list(None, None, 2).await), ["price_1", "price_2"]);
        assert_eq!(ids(&list(Some("price_2"), None, 2).await), ["price_3"]);
        for (decision, expected) in [("ours", "price_1"), ("undecided", "price_2"), ("not_ours", "price_3")] {
            assert_eq!(ids(&list(None, Some(decision), 9).await), [expected]);
        }
    }
}
