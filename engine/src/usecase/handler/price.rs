//! What is known of the prices that objects name, and of the terms on which invoices count; which price is not known
//! yet is asked at Stripe once and remembered.

use super::catalogue::history;
use super::{Deps, Failure};
use crate::clock::TimeMs;
use crate::domain::catalogue::Price;
use crate::domain::sale::{DecidedBy, Decision, KnownPrice, PriceBook, judge};
use crate::domain::webhook::fields::{self, InvoiceFields, Item, Line, Metadata, SubscriptionFields, has_our_tag};
use crate::error::Result;
use crate::infra::store::{payment, price as rows};
use crate::infra::stripe::StripeError;
use sea_orm::ConnectionTrait;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of prices that are asked for one object. Stripe allows twenty items on a subscription.
const ASKED_MAX: usize = 100;
/// How long a price that is not ours is taken for that before it is asked again: its lookup key may be set later.
const ASK_AGAIN_MS: i64 = 24 * 60 * 60 * 1_000;
/// How far Stripe's clock and the event of an invoice may be behind: for one that was made so long after the catalogue
/// came into force, no other can count.
const BEHIND_MS: i64 = 60 * 60 * 1_000;

/// What an object says of prices.
#[derive(Default)]
struct Said {
    subscription: Option<SubscriptionFields>,
    invoice: Option<InvoiceFields>,
}

/// What names a price that may sell something.
enum Named<'a> {
    Line(&'a Line, &'a InvoiceFields),
    /// With the items that its subscription has at the same time.
    Item(&'a Item, &'a [Item], &'a SubscriptionFields),
}

impl Said {
    fn read(object: &Value) -> Self {
        match object["object"].as_str() {
            Some("invoice") => Self { invoice: Some(InvoiceFields::read(object)), ..Self::default() },
            Some("subscription") => {
                let latest = Some(&object["latest_invoice"]).filter(|latest| latest.is_object());
                Self { subscription: Some(SubscriptionFields::read(object)), invoice: latest.map(InvoiceFields::read) }
            }
            _ => Self::default(),
        }
    }

    /// The prices that may sell something: those of a subscription's items and of its latest invoice, those of an
    /// invoice's lines that bill a period, even if a coupon leaves nothing of it, or settle a change within one for
    /// money.
    fn named(&self) -> Vec<Named<'_>> {
        let mut named = Vec::new();
        if let Some(said) = &self.subscription {
            let next = said.schedule.iter().filter_map(|schedule| schedule.next.as_ref()).map(|(_, items)| items);
            for items in std::iter::once(&said.items).chain(next) {
                named.extend(items.iter().map(|item| Named::Item(item, items, said)));
            }
        }
        if let Some(said) = &self.invoice {
            let sells = |line: &&Line| line.prorates() || line.bills_priced_period();
            named.extend(said.lines.iter().filter(sells).map(|line| Named::Line(line, said)));
        }
        named
    }
}

impl<'a> Named<'a> {
    fn price(&self) -> &'a fields::Price {
        match self {
            Self::Line(line, _) => &line.price,
            Self::Item(item, ..) => &item.price,
        }
    }

    /// What it sells only because of a tag.
    fn by_tag(&self, book: &PriceBook) -> Option<Price> {
        match self {
            Self::Line(line, said) => book.line_by_tag(line, &said.lines, &said.subscription_metadata),
            Self::Item(item, items, said) => book.item_by_tag(item, items, &said.metadata),
        }
    }

    /// Its own metadata, and that of its subscription.
    fn metadata(&self) -> [&'a Metadata; 2] {
        match self {
            Self::Line(line, said) => [&line.metadata, &said.subscription_metadata],
            Self::Item(item, _, said) => [&item.metadata, &said.metadata],
        }
    }

    /// Whether what names the price carries our own tag.
    fn is_tagged(&self) -> bool {
        self.metadata().into_iter().any(has_our_tag)
    }

    /// Whether it may have taken the place of what its subscription was sold at.
    fn may_have_moved(&self, book: &PriceBook) -> bool {
        match self {
            Self::Line(line, said) => book.line_may_have_moved(line, &said.lines, &said.subscription_metadata),
            Self::Item(item, items, said) => book.item_may_have_moved(item, items, &said.metadata),
        }
    }
}

/// What the database knows of the prices of some objects.
pub(super) async fn known_of<'a>(
    db: &impl ConnectionTrait,
    objects: impl IntoIterator<Item = &'a Value>,
) -> Result<Vec<KnownPrice>> {
    let mut ids = BTreeSet::new();
    for object in objects {
        let said = Said::read(object);
        ids.extend(said.named().iter().flat_map(|named| named.price().ids.iter().cloned()));
    }
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
    let said: Vec<Said> = objects.iter().map(Said::read).collect();
    let unknown = said.iter().flat_map(Said::named).map(|named| named.price()).filter(|price| book.lacks(price));
    let unloaded: BTreeSet<String> = unknown.flat_map(|price| price.ids.iter().cloned()).collect();
    if !unloaded.is_empty() {
        let unloaded: Vec<String> = unloaded.into_iter().collect();
        book.add(rows::price_find_many(deps.db.read(), &unloaded).await?);
    }
    for said in &said {
        learn_new(deps, &mut book, said, now_ms).await?;
    }
    if said.iter().flat_map(Said::named).any(|named| named.may_have_moved(&book)) {
        book.add_offers(rows::price_offers(deps.db.read()).await?);
    }
    add_earlier_terms(deps, &mut book, objects).await?;
    Ok(book)
}

/// Adds to a book, and stores, what is to be learned of the prices of an object beside what the database knows.
async fn learn_new(deps: &Deps, book: &mut PriceBook, said: &Said, now_ms: TimeMs) -> std::result::Result<(), Failure> {
    let mut learned: BTreeMap<String, KnownPrice> = BTreeMap::new();
    for named in said.named() {
        let Some(id) = named.price().ids.first().filter(|id| !learned.contains_key(*id)) else { continue };
        if learned.len() >= ASKED_MAX || !is_open(book, named.price(), now_ms) {
            continue;
        }
        let judged = ask(deps, book, &named, now_ms).await?;
        let known = book.known(named.price());
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
    let by_tag: Vec<KnownPrice> = said.named().iter().filter_map(|named| sold_by_tag(book, named, now_ms)).collect();
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
    named: &Named<'_>,
    now_ms: TimeMs,
) -> std::result::Result<Option<KnownPrice>, Failure> {
    let price = named.price();
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
            let is_tagged = named.is_tagged();
            let reason = is_tagged.then(|| "it is tagged as ours, and Stripe does not have it".to_owned());
            let decision = if is_tagged { Decision::Undecided } else { Decision::NotOurs };
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
fn sold_by_tag(book: &PriceBook, named: &Named<'_>, now_ms: TimeMs) -> Option<KnownPrice> {
    let price = Some(named.price()).filter(|price| named.is_tagged() && !price.ids.is_empty())?;
    let sold = named.by_tag(book)?;
    let seen = book.known(price).cloned();
    let seen = seen.unwrap_or_else(|| judge::judge(price, book.catalogue(), &[], now_ms));
    let decision = Decision::Ours(sold.key);
    Some(KnownPrice { decision, decided_by: DecidedBy::Sold, decided_at_ms: now_ms, ..seen })
}
