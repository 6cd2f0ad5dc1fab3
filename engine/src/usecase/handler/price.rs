//! What is known of the prices that objects name, and of the terms on which invoices count; which price is not known
//! yet is asked at Stripe once and remembered.

use super::catalogue::history;
use super::{Deps, Failure};
use crate::clock::TimeMs;
use crate::domain::catalogue::Price;
use crate::domain::sale::{DecidedBy, Decision, KnownPrice, PriceBook, judge};
use crate::domain::webhook::fields::{self, InvoiceFields, Line, SubscriptionFields, has_our_tag};
use crate::error::Result;
use crate::infra::store::{payment, price as rows};
use crate::infra::stripe::StripeError;
use sea_orm::ConnectionTrait;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Maximum number of prices that are asked for one object. Stripe allows twenty items on a subscription.
const ASKED_MAX: usize = 100;
/// How long a price that is not ours is taken for that before it is asked again: its lookup key may be set later.
const ASK_AGAIN_MS: i64 = 24 * 60 * 60 * 1_000;
/// How far Stripe's clock and the event of an invoice may be behind: for one that was made so long after the catalogue
/// came into force, no other can count.
const BEHIND_MS: i64 = 60 * 60 * 1_000;

/// A price that an object names, and whether what names it carries our own tag.
struct Named {
    price: fields::Price,
    /// What it sells only because of a tag.
    by_tag: Option<Price>,
    is_tagged: bool,
}

/// The prices that may sell something: those of an invoice's lines that bill a period, even if a coupon leaves nothing
/// of it, or settle a change within one for money, those of a subscription's items and of its latest invoice.
fn named(object: &Value, book: &PriceBook) -> Vec<Named> {
    match object["object"].as_str() {
        Some("invoice") => of_invoice(object, book),
        Some("subscription") => {
            let said = SubscriptionFields::read(object);
            let next = said.schedule.iter().filter_map(|schedule| schedule.next.as_ref()).map(|(_, items)| items);
            let all = std::iter::once(&said.items).chain(next);
            let items: Vec<Named> = all.flat_map(|items| of_items(items, &said, book)).collect();
            let latest = &object["latest_invoice"];
            items.into_iter().chain(if latest.is_object() { of_invoice(latest, book) } else { Vec::new() }).collect()
        }
        _ => Vec::new(),
    }
}

/// The prices of items that a subscription has at the same time.
fn of_items(items: &[fields::Item], said: &SubscriptionFields, book: &PriceBook) -> Vec<Named> {
    let named = items.iter().map(|item| Named {
        price: item.price.clone(),
        by_tag: book.item_by_tag(item, items, &said.metadata),
        is_tagged: has_our_tag(&item.metadata) || has_our_tag(&said.metadata),
    });
    named.collect()
}

fn of_invoice(object: &Value, book: &PriceBook) -> Vec<Named> {
    let said = InvoiceFields::read(object);
    let sells = |line: &&Line| line.prorates() || line.bills_priced_period();
    let lines = said.lines.iter().filter(sells);
    let named = lines.map(|line| Named {
        price: line.price.clone(),
        by_tag: book.line_by_tag(line, &said.lines, &said.subscription_metadata),
        is_tagged: has_our_tag(&line.metadata) || has_our_tag(&said.subscription_metadata),
    });
    named.collect()
}

/// What the database knows of the prices of some objects.
pub(super) async fn known_of<'a>(
    db: &impl ConnectionTrait,
    objects: impl IntoIterator<Item = &'a Value>,
) -> Result<Vec<KnownPrice>> {
    let book = PriceBook::new(crate::domain::catalogue::Catalogue::built_in(), []);
    let ids: HashSet<String> =
        objects.into_iter().flat_map(|object| named(object, &book)).flat_map(|named| named.price.ids).collect();
    let ids: Vec<String> = ids.into_iter().collect();
    if ids.is_empty() { Ok(Vec::new()) } else { rows::price_find_many(db, &ids).await }
}

/// Adds to a book what it lacks of the prices of an object, and of the terms of an invoice: from the database, else
/// from the object if that has the whole price, else from Stripe. What is learned is stored, because it is a fact
/// whatever becomes of the event: above all that a price was sold as ours, which later changes of the catalogue do not
/// undo. What only a tag makes ours is stored so, and counts for what carries such a tag.
///
/// A price that cannot be asked for because there is no API key stays unknown.
pub(super) async fn learn(
    deps: &Deps,
    book: &PriceBook,
    object: &Value,
    now_ms: TimeMs,
) -> std::result::Result<PriceBook, Failure> {
    learn_all(deps, book, std::slice::from_ref(object), now_ms).await
}

/// As [`learn`], of several objects. What the database knows is read for all of them at once.
pub(super) async fn learn_all(
    deps: &Deps,
    book: &PriceBook,
    objects: &[Value],
    now_ms: TimeMs,
) -> std::result::Result<PriceBook, Failure> {
    let mut book = book.clone();
    let all = objects.iter().flat_map(|object| named(object, &book));
    let unloaded: BTreeSet<String> =
        all.filter(|named| book.lacks(&named.price)).flat_map(|named| named.price.ids).collect();
    if !unloaded.is_empty() {
        let unloaded: Vec<String> = unloaded.into_iter().collect();
        book.add(rows::price_find_many(deps.db.read(), &unloaded).await?);
    }
    for object in objects {
        learn_new(deps, &mut book, object, now_ms).await?;
    }
    add_earlier_terms(deps, &mut book, objects).await?;
    Ok(book)
}

/// Adds to a book, and stores, what is to be learned of the prices of an object beside what the database knows.
async fn learn_new(
    deps: &Deps,
    book: &mut PriceBook,
    object: &Value,
    now_ms: TimeMs,
) -> std::result::Result<(), Failure> {
    let mut learned: BTreeMap<String, KnownPrice> = BTreeMap::new();
    for named in named(object, book) {
        let Some(id) = named.price.ids.first().filter(|id| !learned.contains_key(*id)) else { continue };
        if learned.len() >= ASKED_MAX || !is_open(book, &named.price, now_ms) {
            continue;
        }
        let judged = ask(deps, book, &named, now_ms).await?;
        let known = book.known(&named.price);
        let judged = judged.map(|judged| match known {
            Some(known) => known.after(judged),
            None => judged,
        });
        // Other business that is as it was is not written at every event.
        let is_news = |judged: &KnownPrice| {
            known.is_none_or(|known| !known.is_as(judged) || now_ms - known.decided_at_ms >= ASK_AGAIN_MS)
        };
        if let Some(judged) = judged.filter(is_news) {
            learned.insert(id.clone(), judged);
        }
    }
    book.add(learned.values().cloned());
    let by_tag: Vec<KnownPrice> =
        named(object, book).iter().filter_map(|named| sold_by_tag(book, named, now_ms)).collect();
    learned.extend(by_tag.into_iter().map(|sold| (sold.id.clone(), sold)));
    if !learned.is_empty() {
        let learned: Vec<KnownPrice> = learned.into_values().collect();
        if !deps.is_dry_run {
            rows::price_put_many(deps.db.write(), &learned).await?;
        }
        book.add(learned);
    }
    Ok(())
}

/// Adds what is known of the terms on which invoices, or the latest ones of subscriptions, count, if another catalogue
/// may have been in force when they were made or decided. What they were decided on counts as well where their prices
/// alone do not tell what they sold.
async fn add_earlier_terms(deps: &Deps, book: &mut PriceBook, objects: &[Value]) -> Result<()> {
    let invoices = objects.iter().map(invoice_of).filter(|invoice| invoice["object"] == "invoice");
    let is_of_another_catalogue = |invoice: &&Value| {
        let made_ms = fields::created_ms(invoice).map_or(TimeMs::MIN, |made_ms| made_ms.saturating_sub(BEHIND_MS));
        deps.catalogue.may_have_changed_since(made_ms)
    };
    let (earlier, others): (Vec<&Value>, Vec<&Value>) = invoices.partition(is_of_another_catalogue);
    if !earlier.is_empty() {
        book.earlier_mut().add_history(history(deps.db.read(), &deps.catalogue).await?);
    }
    let others = others.into_iter().filter(|_| book.has_tagged());
    let ids: Vec<String> = earlier.into_iter().chain(others).filter_map(|invoice| fields::id(&invoice["id"])).collect();
    for (id, terms) in payment::invoice_terms_of(deps.db.read(), &ids).await? {
        book.earlier_mut().add_decided(&id, terms);
    }
    Ok(())
}

fn invoice_of(object: &Value) -> &Value {
    if object["object"] == "subscription" { &object["latest_invoice"] } else { object }
}

/// Whether it is still to be decided what a price sells: it was never seen, an operator took a decision back, or it was
/// not ours and may be by now.
fn is_open(book: &PriceBook, price: &fields::Price, now_ms: TimeMs) -> bool {
    match book.known(price) {
        None => true,
        Some(known) if known.is_taken_back() => true,
        Some(known) if known.is_final() => false,
        Some(known) => price.is_whole || now_ms - known.decided_at_ms >= ASK_AGAIN_MS,
    }
}

/// What a price sells by what Stripe says of it; `None` if nothing can be learned.
async fn ask(
    deps: &Deps,
    book: &PriceBook,
    named: &Named,
    now_ms: TimeMs,
) -> std::result::Result<Option<KnownPrice>, Failure> {
    let price = &named.price;
    let is_named = price.ids.iter().any(|id| book.catalogue().price_of_stripe_id(id).is_some());
    let id = price.ids.first().map_or("", String::as_str);
    let whole = if price.is_whole {
        Ok(price.clone())
    } else {
        deps.stripe.price_retrieve(id).await.map(|object| fields::Price::read_object(&object))
    };
    let whole = match whole {
        Ok(whole) => whole,
        // The catalogue says what it sells.
        Err(_) if is_named => price.clone(),
        Err(StripeError::NotConfigured) => return Ok(None),
        Err(StripeError::NotFound { .. } | StripeError::Invalid { .. }) => {
            // What we sell is in this account.
            let known = judge::judge(price, book.catalogue(), &[], now_ms);
            let reason = named.is_tagged.then(|| "it is tagged as ours, and Stripe does not have it".to_owned());
            let decision = if named.is_tagged { Decision::Undecided } else { Decision::NotOurs };
            return Ok(Some(KnownPrice { decision, reason, ..known }));
        }
        Err(error) => return Err(error.into()),
    };
    let of_product = match &whole.product_id {
        Some(product) => rows::price_of_products(deps.db.read(), std::slice::from_ref(product)).await?,
        None => Vec::new(),
    };
    // What is ours only with a tag says nothing of its product.
    let of_product: Vec<KnownPrice> = of_product.into_iter().filter(|known| !known.is_tag_needed()).collect();
    Ok(Some(judge::judge(&whole, book.catalogue(), &of_product, now_ms)))
}

/// The price of something that only our own tag makes ours, as sold. What is unclear of it by itself is kept with it.
fn sold_by_tag(book: &PriceBook, named: &Named, now_ms: TimeMs) -> Option<KnownPrice> {
    let sold = named.by_tag.as_ref().filter(|_| named.is_tagged && !named.price.ids.is_empty())?;
    let seen = book.known(&named.price).cloned();
    let seen = seen.unwrap_or_else(|| judge::judge(&named.price, book.catalogue(), &[], now_ms));
    let decision = Decision::Ours(sold.key.clone());
    Some(KnownPrice { decision, decided_by: DecidedBy::Sold, decided_at_ms: now_ms, ..seen })
}
