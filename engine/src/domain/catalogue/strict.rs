//! Rules that a catalogue must keep when it is applied, and that earlier releases did not know.
//!
//! They are no rules of [`check`](super::check::check), because a version that was applied by an earlier release may
//! break them and must stay readable.

use super::Catalogue;
use super::check::{Breach, is_name_at_stripe};
use super::currency::Currency;
use crate::stripe_id::{STRIPE_ID_LEN_MAX, is_stripe_id};

/// The currencies that Stripe charges cards in. Source: Stripe, "Supported currencies", presentment currencies, with
/// those of three digits. Which of them an account may use is Stripe's to say.
const CHARGED: &str = "\
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf clp \
    cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr \
    ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mru \
    mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd \
    scr sek sgd shp sle sos srd std svc szl thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf \
    xcd xcg xof xpf yer zar zmw";

/// Everything that breaks these rules.
pub fn breaches(catalogue: &Catalogue) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for price in &catalogue.prices {
        // Of the others `check` tells.
        let is_odd = |id: &str| is_name_at_stripe(id, STRIPE_ID_LEN_MAX) && !is_stripe_id(id);
        for (at, id) in price.stripe.iter().enumerate().filter(|(_, id)| is_odd(id)) {
            let list = format!("prices.{}.stripe", price.key);
            let message = format!(
                "{list} has \"{}\", which cannot be an id at Stripe: an id has letters, digits and \
                 underscores, such as price_1MoBy5LkdIwHu7ix",
                id.escape_debug()
            );
            breaches.push(Breach { paths: vec![format!("{list}.{at}")], message });
        }
    }
    breaches.extend(currencies(catalogue).into_iter().filter(|(_, code)| !is_charged(code)).map(|(path, code)| {
        Breach {
            message: format!("{path} must name a currency that Stripe charges, such as usd: {code} is none"),
            paths: vec![path],
        }
    }));
    breaches
}

/// Whether Stripe charges a currency.
fn is_charged(currency: &Currency) -> bool {
    CHARGED.split_ascii_whitespace().any(|code| code == currency.as_str())
}

/// Every currency with its place.
fn currencies(catalogue: &Catalogue) -> Vec<(String, &Currency)> {
    let mut all = vec![("currency".to_owned(), &catalogue.currency)];
    for plan in &catalogue.plans {
        let path = |currency: &Currency| format!("plans.{}.unit_price.{currency}", plan.key);
        all.extend(plan.unit_prices.keys().map(|currency| (path(currency), currency)));
    }
    all.extend(catalogue.prices.iter().map(|price| (format!("prices.{}.currency", price.key), &price.currency)));
    all.extend(catalogue.packs.iter().map(|pack| (format!("packs.{}.currency", pack.key), &pack.currency)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(change: impl FnOnce(&mut Catalogue)) -> Vec<(String, String)> {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        change(&mut catalogue);
        breaches(&catalogue).into_iter().map(|breach| (breach.paths[0].clone(), breach.message)).collect()
    }

    #[test]
    fn what_cannot_be_an_id_at_stripe_is_no_id_of_a_price() {
        let ids = |ids: &[&str]| {
            let ids = ids.iter().map(|id| (*id).to_owned()).collect();
            messages(|catalogue| catalogue.prices[0].stripe = ids)
        };
        assert_eq!(ids(&["price_1MoBy5LkdIwHu7ix", "gold-plan.2019", "Gold plan: 2019+tax"]), []);
        for id in ["../balance", "x/../price_1", "price_1?a=b", "price_1#a", "price*1", "..", "%2e%2e", "prïce"] {
            let found = ids(&["price_1", id]);
            let [(path, message)] = &found[..] else { panic!("{id}: {found:?}") };
            assert_eq!(path, "prices.pro_monthly.stripe.1");
            assert!(message.contains(&format!("\"{id}\", which cannot be an id at Stripe")), "{message}");
        }
    }

    #[test]
    fn a_currency_that_stripe_does_not_charge_is_named_with_its_place() {
        let zzz = Currency::parse("zzz").expect("three letters");
        let found = messages(|catalogue| {
            catalogue.currency = zzz.clone();
            catalogue.plans[0].unit_prices.insert(zzz.clone(), crate::amount::MoneyMinor(100));
            catalogue.prices[0].currency = zzz.clone();
        });
        let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["currency", "plans.trial.unit_price.zzz", "prices.pro_monthly.currency"]);
        assert!(found.iter().all(|(_, message)| message.ends_with("zzz is none")), "{found:?}");
        for code in ["usd", "jpy", "kwd", "isk", "eur"] {
            assert!(is_charged(&Currency::parse(code).expect("a currency")), "{code}");
        }
    }
}
