//! The prices that are known, and what a line or an item sells by them.

use super::judge::{Offer, differs, judge, known_differs, tagged};
use super::known_price::{DecidedBy, Decision, KnownPrice};
use super::terms::{EarlierTerms, SoldTerms};
use crate::amount::MoneyMinor;
use crate::domain::catalogue::{Catalogue, Price};
use crate::domain::webhook::fields::{
    self, InvoiceFields, Item, Line, Metadata, OPERATION_METADATA_KEY, SubscriptionFields, tagged_plan, tagged_price,
};
use crate::key::{PlanKey, PriceKey};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// The catalogue with the known prices of some objects.
#[derive(Debug, Clone)]
pub struct PriceBook {
    catalogue: Arc<Catalogue>,
    known: Arc<HashMap<String, KnownPrice>>,
    earlier: Arc<EarlierTerms>,
    /// What the prices at Stripe cost that ever sold something of ours, if that has to be known.
    offers: Arc<Vec<KnownOffer>>,
}

/// What prices at Stripe cost that sell, or sold, a price of a catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownOffer {
    /// The catalogue's price, of which there may be no more.
    pub key: PriceKey,
    /// What one costs.
    pub amount: MoneyMinor,
    /// The currency.
    pub currency: String,
    /// How long a period is.
    pub every: String,
}

impl KnownOffer {
    fn offer(&self) -> Offer<'_> {
        Offer { amount: Some(self.amount), currency: Some(&self.currency), every: Some(&self.every) }
    }
}

/// What a line or an item sells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sold {
    /// This price of the catalogue, on the terms that count for it.
    Ours(Box<Price>),
    /// Other business.
    NotOurs,
    /// The object names no price.
    Unnamed,
    /// It may be ours, and a person must decide; why, in words.
    Undecided(String),
}

/// What a line or an item says of what it sells, beside its price.
struct Tags<'a> {
    /// Its own metadata, and that of its subscription.
    metadata: [&'a Metadata; 2],
    /// What its invoice or its subscription has.
    beside: Beside<'a>,
}

/// What there is beside a line or an item, and itself.
enum Beside<'a> {
    /// Beside an item: those that its subscription has at the same time.
    Items(&'a [Item]),
    /// Beside a line that bills a period: all of its invoice.
    Periods(&'a [Line]),
    /// Beside this line, which settles a change within a period: all of its invoice.
    Change(&'a Line, &'a [Line]),
}

impl<'a> Tags<'a> {
    fn of_line(line: &'a Line, lines: &'a [Line], of_subscription: &'a Metadata) -> Self {
        let beside = if line.bills_period() { Beside::Periods(lines) } else { Beside::Change(line, lines) };
        Self { metadata: [&line.metadata, of_subscription], beside }
    }

    fn of_item(item: &'a Item, items: &'a [Item], of_subscription: &'a Metadata) -> Self {
        Self { metadata: [&item.metadata, of_subscription], beside: Beside::Items(items) }
    }

    /// Whether we wrote them, when we made the subscription.
    fn are_ours(&self) -> bool {
        self.metadata.iter().any(|metadata| metadata.contains_key(OPERATION_METADATA_KEY))
    }

    /// Whether they name a price of the catalogue or its plan.
    fn name(&self, key: &PriceKey, plan: Option<&PlanKey>) -> bool {
        let plan = plan.map(PlanKey::as_str);
        let names = |metadata: &Metadata| {
            tagged_price(metadata) == Some(key.as_str()) || (plan.is_some() && tagged_plan(metadata) == plan)
        };
        self.metadata.iter().any(|metadata| names(metadata))
    }

    /// Whether they are of an item or a period, and not of a change within one.
    fn are_of_period(&self) -> bool {
        !matches!(self.beside, Beside::Change(..))
    }

    /// Whether another price than this one, of those that the subscription has, that the invoice bills periods of, or
    /// that the same change charges, does.
    fn any_beside(&self, price: &fields::Price, does: impl Fn(&fields::Price) -> bool) -> bool {
        let does = |other: &fields::Price| other.ids != price.ids && does(other);
        match self.beside {
            Beside::Items(items) => items.iter().any(|item| does(&item.price)),
            Beside::Periods(lines) => lines.iter().any(|line| line.bills_period() && does(&line.price)),
            Beside::Change(own, lines) => {
                let is_of_it = |line: &Line| line.charges_time() && line.period_start_ms == own.period_start_ms;
                lines.iter().any(|line| is_of_it(line) && does(&line.price))
            }
        }
    }

    /// Whether a price may be what such a price was before: that of an item or a period may, and what a change charges if
    /// it credits such a price for the same time.
    fn may_replace(&self, is_such: impl Fn(&fields::Price) -> bool) -> bool {
        self.are_of_period() || self.credited().any(is_such)
    }

    /// The prices that the same change credits for the time that it charges; none beside an item or a period.
    fn credited(&self) -> impl Iterator<Item = &'a fields::Price> {
        let (own, lines) = match self.beside {
            Beside::Change(own, lines) if own.charges_time() => (Some(own), lines),
            _ => (None, &[][..]),
        };
        let time = |line: &Line| (line.period_start_ms, line.period_end_ms);
        let is_left = move |line: &Line, own: &Line| {
            line.credits_time() && time(line) == time(own) && line.price.ids != own.price.ids
        };
        lines.iter().filter(move |line| own.is_some_and(|own| is_left(line, own))).map(|line| &line.price)
    }
}

impl PriceBook {
    /// Creates a book.
    pub fn new(catalogue: Arc<Catalogue>, known: impl IntoIterator<Item = KnownPrice>) -> Self {
        let known: HashMap<_, _> = known.into_iter().map(|price| (price.id.clone(), price)).collect();
        Self { catalogue, known: Arc::new(known), earlier: Arc::default(), offers: Arc::default() }
    }

    /// The same prices with another catalogue.
    pub fn with_catalogue(&self, catalogue: Arc<Catalogue>) -> Self {
        Self { catalogue, ..self.clone() }
    }

    /// The catalogue.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// Adds what was learned of prices.
    pub fn add(&mut self, known: impl IntoIterator<Item = KnownPrice>) {
        let mut known = known.into_iter().peekable();
        // What others share is copied only if there is something to add.
        if known.peek().is_some() {
            Arc::make_mut(&mut self.known).extend(known.map(|price| (price.id.clone(), price)));
        }
    }

    /// Adds what all prices cost that ever sold something of ours: with that, what took the place of one of them is found
    /// whatever the catalogue says by now.
    pub fn add_offers(&mut self, offers: Vec<KnownOffer>) {
        self.offers = Arc::new(offers);
    }

    /// What is known of the terms of earlier times, to add to it.
    pub fn earlier_mut(&mut self) -> &mut EarlierTerms {
        Arc::make_mut(&mut self.earlier)
    }

    /// What is known of a price.
    pub fn known(&self, price: &fields::Price) -> Option<&KnownPrice> {
        price.ids.iter().find_map(|id| self.known.get(id))
    }

    /// Whether nothing is known of a price but what the object at hand says.
    pub fn lacks(&self, price: &fields::Price) -> bool {
        !price.ids.is_empty() && self.known(price).is_none()
    }

    /// What a line of an invoice sells, on the terms that count for the invoice.
    pub fn line_of(&self, invoice: &InvoiceFields, line: &Line) -> Sold {
        match self.line(line, &invoice.lines, &invoice.subscription_metadata) {
            Sold::Ours(price) => {
                let kept = self.known(&line.price).and_then(|known| known.terms.as_ref());
                Sold::Ours(Box::new(self.earlier.apply(*price, invoice, line, kept)))
            }
            other => other,
        }
    }

    /// What a line sold when its invoice was decided, unless a person has decided since what its price sells.
    pub fn decided_then(&self, invoice: &InvoiceFields, line: &Line) -> Option<Price> {
        let is_by_person = self.known(&line.price).is_some_and(|known| known.decided_by == DecidedBy::Operator);
        self.earlier.decided(invoice, line).filter(|_| !is_by_person).cloned()
    }

    /// Whether a price is ours only for what carries a tag of ours.
    pub fn needs_tag(&self, price: &fields::Price) -> bool {
        self.known(price).is_some_and(KnownPrice::is_tag_needed)
    }

    /// Whether some known price is ours only for what carries a tag of ours.
    pub fn has_tagged(&self) -> bool {
        self.known.values().any(KnownPrice::is_tag_needed)
    }

    /// The terms of all prices of ours that an invoice names, each once.
    pub fn terms_of(&self, invoice: &InvoiceFields) -> Vec<SoldTerms> {
        let mut all: Vec<SoldTerms> = Vec::new();
        for line in invoice.lines.iter().filter(|line| line.bills_period() || line.prorates()) {
            let Sold::Ours(price) = self.line_of(invoice, line) else { continue };
            let terms = SoldTerms { ids: line.price.ids.clone(), price: *price };
            if !all.contains(&terms) {
                all.push(terms);
            }
        }
        all
    }

    /// What a line of an invoice sells, on the terms of now. `lines` are all of the invoice.
    pub fn line(&self, line: &Line, lines: &[Line], of_subscription: &Metadata) -> Sold {
        self.sold(&line.price, &Tags::of_line(line, lines, of_subscription), offer_of(line))
    }

    /// What an item of a subscription sells. `items` are all that it has at the same time.
    pub fn item(&self, item: &Item, items: &[Item], of_subscription: &Metadata) -> Sold {
        self.sold(&item.price, &Tags::of_item(item, items, of_subscription), Offer::of(&item.price))
    }

    /// What only the tags of a line, or of its subscription, say that it sells.
    pub fn line_by_tag(&self, line: &Line, lines: &[Line], of_subscription: &Metadata) -> Option<Price> {
        self.by_tag_alone(&line.price, &Tags::of_line(line, lines, of_subscription), offer_of(line))
    }

    /// What only the tags of an item, or of its subscription, say that it sells.
    pub fn item_by_tag(&self, item: &Item, items: &[Item], of_subscription: &Metadata) -> Option<Price> {
        self.by_tag_alone(&item.price, &Tags::of_item(item, items, of_subscription), Offer::of(&item.price))
    }

    /// The price at Stripe of the item that sells a subscription's plan, the best of several.
    pub fn stripe_price_of(&self, said: &SubscriptionFields) -> Option<String> {
        let ours = said.items.iter().filter_map(|item| match self.item(item, &said.items, &said.metadata) {
            Sold::Ours(price) => Some((item, price.plan.clone())),
            Sold::NotOurs | Sold::Unnamed | Sold::Undecided(_) => None,
        });
        let best =
            ours.reduce(|one, other| if *self.catalogue.better(&one.1, &other.1) == one.1 { one } else { other });
        best.and_then(|(item, _)| item.price.ids.first().cloned())
    }

    /// What a price sells that is decided by its id: by a person, because it was sold as ours, or by the catalogue. It
    /// is ours only if it can sell that at all: an earlier release may have decided it without asking.
    ///
    /// What was sold by a tag is decided only for what has such a tag, whatever the amount: so who was sold something
    /// keeps it when the catalogue has another amount. Without tags the price is judged by itself.
    fn decided(&self, price: &fields::Price, tags: Option<&Tags<'_>>) -> Option<Sold> {
        let stored = self.known(price);
        let id = price.ids.first().map_or("(without id)", String::as_str);
        let ours = |sold: &Price| {
            let why = stored.and_then(|known| known_differs(known, sold)).or_else(|| differs(price, sold));
            Some(match why {
                Some(why) => Sold::Undecided(format!("price {id} cannot sell {}: {why}", sold.key)),
                None => Sold::Ours(Box::new(sold.clone())),
            })
        };
        let is_tagged = |known: &KnownPrice| tags.is_some_and(|tags| self.is_sold_with(known, price, tags));
        let known = stored.filter(|known| known.is_final() || is_tagged(known));
        if let Some(terms) = known.and_then(|known| known.terms.as_ref()) {
            return ours(terms);
        }
        if known.is_some_and(|known| known.decision == Decision::NotOurs) {
            return Some(Sold::NotOurs);
        }
        if let Some(named) = price.ids.iter().find_map(|id| self.catalogue.price_of_stripe_id(id)) {
            return ours(named);
        }
        let (id, key) = known.and_then(|known| Some((&known.id, known.decision.price()?)))?;
        match self.catalogue.price(key) {
            Some(price) => ours(price),
            None => Some(Sold::Undecided(format!("price {id} was sold as {key}, which the catalogue has no longer"))),
        }
    }

    /// Whether these tags say that a price sells what it was sold as with a tag.
    fn is_sold_with(&self, known: &KnownPrice, price: &fields::Price, tags: &Tags<'_>) -> bool {
        let Some((_, plan)) = self.sold_as_named(known, tags).filter(|_| self.are_of(tags, price)) else {
            return false;
        };
        let sells_it = |other: &fields::Price| plan.is_some_and(|plan| sells(&self.by_itself(other), plan));
        // A change is settled as what it changes was sold.
        let is_add_on = || tags.are_of_period() && tags.any_beside(price, sells_it);
        !is_add_on()
    }

    /// What a price was sold as with a tag, and its plan, if these tags name that.
    fn sold_as_named<'a>(
        &'a self,
        known: &'a KnownPrice,
        tags: &Tags<'_>,
    ) -> Option<(&'a PriceKey, Option<&'a PlanKey>)> {
        let key = known.decision.price().filter(|_| known.is_tag_needed())?;
        let plan = known.terms.as_ref().or_else(|| self.catalogue.price(key)).map(|terms| &terms.plan);
        tags.name(key, plan).then_some((key, plan))
    }

    /// Whether tags may be meant for a price. What we sell by is ours by itself, so those of a subscription that we made
    /// say nothing of another price, which somebody put there. They may if nothing but its id is known.
    fn are_of(&self, tags: &Tags<'_>, price: &fields::Price) -> bool {
        let is_seen = price.is_whole || self.known(price).is_some_and(|known| !known.is_bare());
        !(is_seen && tags.are_ours())
    }

    /// What is known of the price by its id counts first, then the tags of the line and of its subscription, then what
    /// else is known of the price.
    fn sold(&self, price: &fields::Price, tags: &Tags<'_>, offer: Offer<'_>) -> Sold {
        if let Some(sold) = self.decided(price, Some(tags)) {
            return sold;
        }
        match self.by_tag(price, tags, offer).map_or_else(|| self.by_itself(price), |sold| Sold::Ours(Box::new(sold))) {
            Sold::NotOurs => self.moved(price, tags).map_or(Sold::NotOurs, Sold::Undecided),
            sold => sold,
        }
    }

    /// Whether what a line sells must be compared with all that was ever sold: see [`PriceBook::add_offers`].
    pub fn line_may_have_moved(&self, line: &Line, lines: &[Line], of_subscription: &Metadata) -> bool {
        let is_open = || self.line(line, lines, of_subscription) == Sold::NotOurs;
        self.may_have_moved(&line.price, &Tags::of_line(line, lines, of_subscription)) && is_open()
    }

    /// As [`PriceBook::line_may_have_moved`], of an item.
    pub fn item_may_have_moved(&self, item: &Item, items: &[Item], of_subscription: &Metadata) -> bool {
        let is_open = || self.item(item, items, of_subscription) == Sold::NotOurs;
        self.may_have_moved(&item.price, &Tags::of_item(item, items, of_subscription)) && is_open()
    }

    /// Whether a price may have taken the place of what a subscription that we made was sold at: nobody has decided about
    /// it, and nothing beside it is ours. What a change charges may if it credits what is ours.
    fn may_have_moved(&self, price: &fields::Price, tags: &Tags<'_>) -> bool {
        let is_ours = |other: &fields::Price| self.is_ours(other, tags);
        let is_open = || self.known(price).is_none_or(|known| !known.is_final());
        tags.are_ours() && is_open() && tags.may_replace(is_ours) && !tags.any_beside(price, is_ours)
    }

    /// Why a price may have taken the place of what a subscription that we made was sold at: it was sold as that before,
    /// or costs for the same time what a price of ours costs or did. What is billed for another time than what the tags
    /// name is an add-on.
    fn moved(&self, price: &fields::Price, tags: &Tags<'_>) -> Option<String> {
        if !self.may_have_moved(price, tags) {
            return None;
        }
        let said = &self.seen(price);
        let named: Vec<&Price> = tags.metadata.iter().filter_map(|it| tagged(it, &self.catalogue)).flatten().collect();
        let is_as_long = |every: &str| named.is_empty() || named.iter().any(|sold| sold.every.is_as_long_as(every));
        let may_be = || !price.is_metered && said.every.as_deref().is_none_or(is_as_long);
        let of_row = self.known(price).and_then(|known| self.sold_as_named(known, tags)).map(|(key, _)| key);
        let is_same_offer = |sold: &&Price| Offer::of(said).is_of(sold) && differs(said, sold).is_none();
        let present = || self.catalogue.prices.iter().filter(|_| may_be()).find(is_same_offer).map(|sold| &sold.key);
        // What it was sold at may cost something else by now.
        let is_former = |offer: &&KnownOffer| Offer::of(said).is_as(offer.offer());
        let former = || self.offers.iter().filter(|_| may_be()).find(is_former).map(|offer| &offer.key);
        let key = of_row.or_else(present).or_else(|| self.credited_alike(said, tags)).or_else(former)?;
        let id = price.ids.first().map_or("(without id)", String::as_str);
        Some(format!(
            "we made the subscription, and price {id}, which it has now and of which nothing says what it sells, may have \
             been sold as {key}"
        ))
    }

    /// What a change credits that is ours and costs the same for the same time as the price that it charges.
    fn credited_alike(&self, said: &fields::Price, tags: &Tags<'_>) -> Option<&PriceKey> {
        let mut credited = tags.credited().filter(|other| self.is_ours(other, tags)).filter_map(|it| self.known(it));
        credited.find(|it| Offer::of(said).is_as(Offer::of_known(it))).and_then(|it| it.decision.price())
    }

    /// Whether a price is ours beside these tags, by itself or as it was sold before.
    fn is_ours(&self, price: &fields::Price, tags: &Tags<'_>) -> bool {
        let decided = self.decided(price, Some(tags));
        matches!(decided.unwrap_or_else(|| self.by_itself(price)), Sold::Ours(_))
    }

    /// What was seen of a price: all that the object says, else what was stored of it.
    fn seen<'a>(&self, price: &'a fields::Price) -> Cow<'a, fields::Price> {
        match self.known(price).filter(|_| !price.is_whole) {
            Some(known) => Cow::Owned(known.said()),
            None => Cow::Borrowed(price),
        }
    }

    fn by_tag_alone(&self, price: &fields::Price, tags: &Tags<'_>, offer: Offer<'_>) -> Option<Price> {
        let is_told = || self.decided(price, Some(tags)).is_some() || matches!(self.by_itself(price), Sold::Ours(_));
        self.by_tag(price, tags, offer).filter(|_| !is_told())
    }

    /// What tags say that a period sells, at an amount of the catalogue: the same subscription may bill other things
    /// beside the plan. If another price of it sells that plan without this tag, or as it was sold before, the tag means
    /// that one, and this is an add-on. They say it as well of what a change charges in place of what is ours, of which
    /// the whole price tells the amount.
    fn by_tag(&self, price: &fields::Price, tags: &Tags<'_>, offer: Offer<'_>) -> Option<Price> {
        if !self.are_of(tags, price) || !tags.may_replace(|other| self.is_ours(other, tags)) {
            return None;
        }
        let seen = self.seen(price);
        let offer = if tags.are_of_period() { offer } else { Offer::of(&seen) };
        let known = self.known(price);
        let can_sell = |sold: &&Price| {
            let is_known_as_another = || known.is_some_and(|known| known_differs(known, sold).is_some());
            offer.is_of(sold) && differs(price, sold).is_none() && !is_known_as_another()
        };
        let mut named = tags.metadata.iter().filter_map(|metadata| tagged(metadata, &self.catalogue)).flatten();
        let sold = named.find(can_sell)?;
        let sells_it = |other: &fields::Price| {
            let decided = self.decided(other, Some(tags));
            sells(&decided.unwrap_or_else(|| self.by_itself(other)), &sold.plan)
        };
        (!tags.any_beside(price, sells_it)).then(|| sold.clone())
    }

    /// What a price sells by itself, whatever has it: by its id, else judged by the present catalogue.
    fn by_itself(&self, price: &fields::Price) -> Sold {
        if let Some(sold) = self.decided(price, None) {
            return sold;
        }
        if price.ids.is_empty() && !price.is_whole {
            return Sold::Unnamed;
        }
        let known = self.known(price);
        // It is not final, and the catalogue may have changed since.
        let anew = known.map(|known| judge(&known.said(), &self.catalogue, &[], known.decided_at_ms));
        let judged = match (anew.filter(|anew| matches!(anew.decision, Decision::Ours(_))), known) {
            (Some(anew), _) => anew,
            (None, Some(known)) if known.is_tag_needed() => self.without_tag(known, price),
            (None, Some(known)) => known.clone(),
            (None, None) => judge(price, &self.catalogue, &[], 0),
        };
        let is_seen = price.is_whole || known.is_some_and(|known| !(known.is_tag_needed() && known.is_bare()));
        match judged.decision {
            Decision::Ours(key) => match self.catalogue.price(&key) {
                Some(price) => Sold::Ours(Box::new(price.clone())),
                None => Sold::NotOurs,
            },
            Decision::NotOurs if is_seen => Sold::NotOurs,
            Decision::NotOurs => Sold::Undecided(format!(
                "nothing is known of price {0}, because Stripe could not be asked; if it is ours, name it in the \
                 catalogue: stripe = [\"{0}\"] under its price",
                judged.id
            )),
            Decision::Undecided => {
                Sold::Undecided(format!("price {}: {}", judged.id, judged.reason.unwrap_or_default()))
            }
        }
    }

    /// What is known of a price that is ours only with a tag, for what has none: what the object says of it, else what
    /// was unclear when Stripe was asked.
    fn without_tag(&self, known: &KnownPrice, price: &fields::Price) -> KnownPrice {
        let judged = judge(price, &self.catalogue, &[], known.decided_at_ms);
        match &known.reason {
            Some(reason) if judged.decision == Decision::NotOurs => {
                KnownPrice { decision: Decision::Undecided, reason: Some(reason.clone()), ..judged }
            }
            _ => judged,
        }
    }
}

/// Whether what is sold gives a plan.
fn sells(sold: &Sold, plan: &PlanKey) -> bool {
    matches!(sold, Sold::Ours(price) if price.plan == *plan)
}

fn offer_of(line: &Line) -> Offer<'_> {
    Offer { amount: line.unit_amount(), currency: line.currency.as_deref(), every: None }
}

#[cfg(test)]
mod tests;
