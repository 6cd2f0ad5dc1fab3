use super::*;
use crate::amount::MoneyMinor;
use crate::domain::sale::example::{catalogue, pro_price};
use crate::domain::webhook::fixtures::{SubscriptionDoc, TEAM_PRICE, Version, team};
use serde_json::json;

fn line(id: &str, unit: i64, quantity: i64) -> Line {
    Line {
        price: fields::Price { ids: vec![id.to_owned()], ..fields::Price::default() },
        amount: Some(MoneyMinor(unit * quantity)),
        quantity: Some(quantity),
        currency: Some("usd".to_owned()),
        ..Line::default()
    }
}

fn tags(key: &str, value: &str) -> Metadata {
    Metadata::from([(key.to_owned(), value.to_owned())])
}

fn key(sold: &Sold) -> Option<&PriceKey> {
    match sold {
        Sold::Ours(price) => Some(&price.key),
        Sold::NotOurs | Sold::Unnamed | Sold::Undecided(_) => None,
    }
}

fn known(id: &str, decision: Decision) -> KnownPrice {
    KnownPrice { id: id.to_owned(), decision, ..judge(&fields::Price::default(), &catalogue(), &[], 1) }
}

#[test]
fn a_book_copies_what_others_know_only_to_add_to_it() {
    let book = PriceBook::new(catalogue(), [known("price_1", Decision::NotOurs)]);
    let mut learning = book.clone();
    learning.add([]);
    assert!(Arc::ptr_eq(&book.known, &learning.known));
    learning.add([known("price_2", Decision::NotOurs)]);
    assert_eq!([&book, &learning].map(|book| book.lacks(&line("price_2", 1, 1).price)), [true, false]);
}

#[test]
fn a_price_once_known_as_ours_stays_ours_whatever_the_line_says() {
    let pro = PriceKey::trusted("pro_monthly");
    let book = PriceBook::new(catalogue(), [known("price_old", Decision::Ours(pro.clone()))]);
    assert_eq!(key(&book.line(&line("price_old", 49_900, 1), &[], &Metadata::new())), Some(&pro));
}

#[test]
fn a_price_keeps_the_terms_on_which_it_was_sold() {
    let old = Price { credits: crate::amount::Credits(40), ..pro_price() };
    let row = KnownPrice { terms: Some(old.clone()), ..known("price_old", Decision::Ours(old.key.clone())) };
    let book = PriceBook::new(catalogue(), [row]);
    assert_eq!(book.line(&line("price_old", 1, 1), &[], &Metadata::new()), Sold::Ours(Box::new(old)));
}

#[test]
fn an_id_that_the_catalogue_names_sells_nothing_with_periods_of_another_length() {
    let mut naming = Catalogue::clone(&catalogue());
    naming.prices[0].stripe = vec!["price_1".to_owned()];
    let naming = Arc::new(naming);
    let yearly = KnownPrice { every: Some("year".to_owned()), ..known("price_1", Decision::NotOurs) };
    let bare = line("price_1", 59_900, 1);
    assert!(key(&PriceBook::new(naming.clone(), []).line(&bare, &[], &Metadata::new())).is_some());
    let mut whole = bare.clone();
    whole.price.every = Some("year".to_owned());
    let of_known = PriceBook::new(naming.clone(), [yearly]).line(&bare, &[], &Metadata::new());
    for sold in [of_known, PriceBook::new(naming, []).line(&whole, &[], &Metadata::new())] {
        assert!(matches!(&sold, Sold::Undecided(why) if why.contains("paid each year")), "{sold:?}");
    }
}

#[test]
fn a_price_that_is_billed_more_often_than_what_it_was_decided_to_sell_waits_for_a_person() {
    let every = |every: &str| KnownPrice {
        every: Some(every.to_owned()),
        ..known("price_x", Decision::Ours(PriceKey::trusted("pro_monthly")))
    };
    let sold =
        |row: KnownPrice| PriceBook::new(catalogue(), [row]).line(&line("price_x", 59_900, 1), &[], &Metadata::new());
    assert!(key(&sold(every("month"))).is_some());
    let by_hand = KnownPrice { decided_by: crate::domain::sale::DecidedBy::Operator, ..every("week") };
    for row in [every("week"), by_hand, KnownPrice { terms: Some(pro_price()), ..every("week") }] {
        let sold = sold(row);
        assert!(matches!(&sold, Sold::Undecided(why) if why.contains("paid each week")), "{sold:?}");
    }
}

#[test]
fn a_price_that_was_ours_and_left_the_catalogue_is_never_taken_for_other_business() {
    let gone = known("price_old", Decision::Ours(PriceKey::trusted("gone")));
    let sold = PriceBook::new(catalogue(), [gone]).line(&line("price_old", 1, 1), &[], &Metadata::new());
    assert!(matches!(&sold, Sold::Undecided(why) if why.contains("sold as gone")), "{sold:?}");
}

/// A price that a subscription's tag made ours for 40 credits, before the catalogue had another amount.
fn tagged_row(id: &str) -> KnownPrice {
    let terms = Price { amount: MoneyMinor(49_900), credits: crate::amount::Credits(40), ..pro_price() };
    KnownPrice {
        decided_by: DecidedBy::Sold,
        amount: Some(terms.amount),
        terms: Some(terms),
        ..known(id, Decision::Ours(pro_price().key))
    }
}

fn made_by_us() -> Metadata {
    tags("bursar_price", "pro_monthly").into_iter().chain(tags(OPERATION_METADATA_KEY, "op_1")).collect()
}

#[test]
fn what_a_tag_made_ours_is_ours_for_what_has_such_a_tag_whatever_it_costs_by_now() {
    let book = PriceBook::new(catalogue(), [tagged_row("price_x")]);
    let line = line("price_x", 49_900, 1);
    let credit = Line { amount: Some(MoneyMinor(-12_345)), is_proration: true, ..line.clone() };
    for tags in [tags("bursar_price", "pro_monthly"), tags("bursar_plan", "pro"), tags("plan", "pro")] {
        for line in [&line, &credit] {
            let Sold::Ours(price) = book.line(line, &[], &tags) else { panic!("it was sold with {tags:?}") };
            assert_eq!(price.credits.0, 40, "on the terms of that time");
        }
        assert_eq!(book.line_by_tag(&line, &[], &tags), None, "it is known");
    }
    for tags in [Metadata::new(), tags("bursar_price", "team")] {
        for line in [&line, &credit] {
            assert_eq!(book.line(line, &[], &tags), Sold::NotOurs, "{tags:?}");
        }
    }
}

fn is_moved(sold: &Sold) -> bool {
    matches!(sold, Sold::Undecided(why) if why.contains("sold as pro_monthly") && why.contains("price_x"))
}

#[test]
fn what_took_the_place_of_what_we_sold_waits_for_a_person() {
    let (line, item) = (line("price_x", 49_900, 1), |price| Item { price, ..Item::default() });
    let cheap = item(fields::Price { amount: Some(MoneyMinor(49_900)), is_whole: true, ..line.price.clone() });
    let alike = item(fields::Price { amount: Some(MoneyMinor(59_900)), ..cheap.price.clone() });
    let sold = PriceBook::new(catalogue(), [tagged_row("price_x")]);
    assert!(is_moved(&sold.line(&line, &[], &made_by_us())), "it was sold as that, whatever it costs");
    let of_team = tags("bursar_price", "team").into_iter().chain(tags(OPERATION_METADATA_KEY, "op_1")).collect();
    assert_eq!(sold.line(&line, &[], &of_team), Sold::NotOurs, "it was sold as something else");
    let unseen = PriceBook::new(catalogue(), []);
    assert!(is_moved(&unseen.item(&alike, &[], &made_by_us())));
    assert_eq!(unseen.item(&cheap, &[], &made_by_us()), Sold::NotOurs);
    let yearly = item(fields::Price { every: Some("year".to_owned()), ..alike.price.clone() });
    assert_eq!(unseen.item(&yearly, &[], &made_by_us()), Sold::NotOurs);
    let seen = KnownPrice { amount: Some(MoneyMinor(59_900)), ..known("price_x", Decision::NotOurs) };
    assert!(is_moved(&PriceBook::new(catalogue(), [seen.clone()]).line(&line, &[], &made_by_us())), "by what is known");
    let by_hand = KnownPrice { decided_by: DecidedBy::Operator, ..seen.clone() };
    assert_eq!(PriceBook::new(catalogue(), [by_hand]).line(&line, &[], &made_by_us()), Sold::NotOurs, "decided");
    let proration = Line { is_proration: true, ..line };
    assert_eq!(PriceBook::new(catalogue(), [seen]).line(&proration, &[], &made_by_us()), Sold::NotOurs);
}

/// A line for the time from a day of the period on, credited if its amount is negative.
fn rest(id: &str, amount: i64, from_ms: i64) -> Line {
    let time = (Some(from_ms), Some(30));
    Line { is_proration: true, period_start_ms: time.0, period_end_ms: time.1, ..line(id, amount, 1) }
}

/// A book that knows the price of Pro, and `price_x` at this amount as nothing of ours.
fn beside_pro(amount: i64) -> PriceBook {
    let seen = KnownPrice { amount: Some(MoneyMinor(amount)), ..known("price_x", Decision::NotOurs) };
    PriceBook::new(catalogue(), [known("price_pro", Decision::Ours(pro_price().key)), seen])
}

#[test]
fn what_took_the_place_of_what_we_sold_within_a_period_waits_for_a_person() {
    let (left, charged) = (rest("price_pro", -400, 10), rest("price_x", 400, 10));
    let (book, made) = (beside_pro(59_900), made_by_us());
    let of_charge = |more: &[Line]| {
        let lines: Vec<Line> = [&charged].into_iter().chain(more).cloned().collect();
        book.line(&charged, &lines, &made)
    };
    assert!(is_moved(&of_charge(std::slice::from_ref(&left))));
    let back = [left.clone(), rest("price_x", -200, 20), rest("price_pro", 200, 20)];
    assert!(is_moved(&of_charge(&back)), "it was moved back later");
    for beside in [
        vec![],
        vec![rest("price_pro", -400, 9)],
        vec![rest("price_add_on", -400, 10)],
        vec![rest("price_x", -300, 10)],
        vec![left.clone(), rest("price_pro", 300, 10)],
        vec![left.clone(), Line { is_proration: false, ..rest("price_pro", 300, 10) }],
    ] {
        assert_eq!(of_charge(&beside), Sold::NotOurs, "{beside:?}");
    }
    let lines = [left.clone(), charged.clone()];
    assert!(key(&book.line(&left, &lines, &made)).is_some(), "what is left stays ours");
    assert_eq!(book.line(&charged, &lines, &Metadata::new()), Sold::NotOurs, "we did not make it");
    assert_eq!(beside_pro(49_900).line(&charged, &lines, &made), Sold::NotOurs, "it costs something else");
    for decision in [Decision::NotOurs, Decision::Ours(pro_price().key)] {
        let mut book = book.clone();
        book.add([KnownPrice { decided_by: DecidedBy::Operator, ..known("price_x", decision.clone()) }]);
        assert_eq!(key(&book.line(&charged, &lines, &made)), decision.price(), "a person said so");
    }
}

#[test]
fn what_costs_as_much_as_the_subscription_was_sold_at_waits_whatever_the_catalogue_says_by_now() {
    let at = |id: &str, amount: i64, every: &str, decision: Decision| KnownPrice {
        amount: Some(MoneyMinor(amount)),
        currency: Some("usd".to_owned()),
        every: Some(every.to_owned()),
        ..known(id, decision)
    };
    let (left, charged) = (rest("price_pro", -300, 10), rest("price_x", 300, 10));
    let lines = [left, charged.clone()];
    let sold = |amount: i64, every: &str| {
        let pro = at("price_pro", 49_900, "month", Decision::Ours(pro_price().key));
        let book = PriceBook::new(catalogue(), [pro, at("price_x", amount, every, Decision::NotOurs)]);
        book.line(&charged, &lines, &made_by_us())
    };
    assert!(is_moved(&sold(49_900, "month")) && is_moved(&sold(59_900, "month")));
    for other in [sold(49_800, "month"), sold(49_900, "year")] {
        assert_eq!(other, Sold::NotOurs);
    }
    let renewed = |amount: i64, every: &str, of_plan: bool| {
        let offer = |key: PriceKey, amount: i64, every: &str| KnownOffer {
            key,
            amount: MoneyMinor(amount),
            currency: "usd".to_owned(),
            every: every.to_owned(),
        };
        let mut book = PriceBook::new(catalogue(), []);
        let year = offer(PriceKey::trusted("gone_yearly"), 499_000, "year");
        book.add_offers(vec![year, offer(pro_price().key, 49_900, "month")]);
        let price = fields::Price { amount: Some(MoneyMinor(amount)), is_whole: true, ..line("price_x", 1, 1).price };
        let price = fields::Price { currency: Some("usd".to_owned()), every: Some(every.to_owned()), ..price };
        let made = if of_plan { made_by_us() } else { tags(OPERATION_METADATA_KEY, "op_1") };
        let metered = fields::Price { is_metered: true, ..price.clone() };
        assert_eq!(book.item(&Item { price: metered, ..Item::default() }, &[], &made), Sold::NotOurs);
        book.item(&Item { price, ..Item::default() }, &[], &made)
    };
    assert!(is_moved(&renewed(49_900, "month", true)), "without a proration");
    assert_eq!(renewed(49_800, "month", true), Sold::NotOurs);
    assert_eq!(renewed(499_000, "year", true), Sold::NotOurs, "an add-on that is paid each year");
    assert!(matches!(renewed(499_000, "year", false), Sold::Undecided(why) if why.contains("gone_yearly")));
}

#[test]
fn a_tag_that_somebody_wrote_means_what_takes_the_place_of_ours_within_a_period_too() {
    let (left, charged) = (rest("price_pro", -400, 10), rest("price_x", 400, 10));
    let (book, by_hand) = (beside_pro(59_900), tags("bursar_price", "pro_monthly"));
    let lines = [left.clone(), charged.clone()];
    assert!(key(&book.line(&charged, &lines, &by_hand)).is_some(), "as of the whole period that follows");
    assert!(book.line_by_tag(&charged, &lines, &by_hand).is_some());
    assert_eq!(book.line(&charged, &lines[1..], &by_hand), Sold::NotOurs, "it may be an add-on");
    let with_pro = [&lines[..], &[rest("price_pro", 300, 10)]].concat();
    assert_eq!(book.line(&charged, &with_pro, &by_hand), Sold::NotOurs, "it is an add-on");
    let alike = rest("price_x", 59_900, 10);
    let sold = beside_pro(99_900).line(&alike, &[left, alike.clone()], &by_hand);
    assert_eq!(sold, Sold::NotOurs, "what a rest costs tells nothing");
}

#[test]
fn what_a_tag_made_ours_is_judged_by_itself_for_everybody_else() {
    let tagged = tagged_row("price_x");
    let sold =
        |row: KnownPrice| PriceBook::new(catalogue(), [row]).line(&line("price_x", 49_900, 1), &[], &Metadata::new());
    let keyed = KnownPrice { lookup_key: Some("pro_monthly".to_owned()), terms: None, ..tagged.clone() };
    assert!(key(&sold(keyed)).is_some(), "its lookup key says so");
    let unclear = KnownPrice { reason: Some("its product is ours".to_owned()), ..tagged.clone() };
    assert!(matches!(sold(unclear), Sold::Undecided(why) if why.contains("its product is ours")));
    let bare = KnownPrice { amount: None, ..tagged };
    assert!(matches!(sold(bare), Sold::Undecided(why) if why.contains("nothing is known")));
}

#[test]
fn an_add_on_at_our_amount_is_other_business_and_nothing_is_learned_of_it() {
    let ours = known("price_pro", Decision::Ours(pro_price().key));
    let add_on = KnownPrice { amount: Some(MoneyMinor(59_900)), ..known("price_add_on", Decision::NotOurs) };
    let poisoned = KnownPrice { decided_by: DecidedBy::Sold, decision: ours.decision.clone(), ..add_on.clone() };
    let by_hand = tags("bursar_price", "pro_monthly");
    for row in [add_on.clone(), poisoned] {
        let book = PriceBook::new(catalogue(), [ours.clone(), row]);
        let lines = [line("price_pro", 59_900, 1), line("price_add_on", 59_900, 7)];
        for tags in [&made_by_us(), &by_hand] {
            assert!(key(&book.line(&lines[0], &lines, tags)).is_some());
            assert_eq!(book.line(&lines[1], &lines, tags), Sold::NotOurs, "the other line is what the tag names");
            assert_eq!(book.line_by_tag(&lines[1], &lines, tags), None);
        }
        let alone = std::slice::from_ref(&lines[1]);
        let moved = book.line(&lines[1], alone, &made_by_us());
        assert!(matches!(moved, Sold::Undecided(_)), "it took the place of what we sold");
        assert!(key(&book.line(&lines[1], alone, &by_hand)).is_some(), "somebody means by the tag what is there");
    }
    let book = PriceBook::new(catalogue(), [add_on]);
    let proration = Line { is_proration: true, ..line("price_add_on", 59_900, 1) };
    assert_eq!(book.line_by_tag(&proration, &[], &by_hand), None, "nothing beside it tells what the tag means");
    assert!(book.line_by_tag(&line("price_add_on", 59_900, 1), &[], &by_hand).is_some());
}

#[test]
fn a_further_item_is_an_add_on_of_what_was_sold_with_the_tag_before() {
    let item = |id: &str| {
        let price = fields::Price { amount: Some(MoneyMinor(59_900)), is_whole: true, ..line(id, 1, 1).price };
        Item { price, ..Item::default() }
    };
    let items = [item("price_x"), item("price_y")];
    let by_hand = tags("bursar_plan", "pro");
    let book = PriceBook::new(catalogue(), [tagged_row("price_x")]);
    assert!(key(&book.item(&items[0], &items, &by_hand)).is_some());
    assert_eq!(book.item(&items[1], &items, &by_hand), Sold::NotOurs);
    assert_eq!(book.item_by_tag(&items[1], &items, &by_hand), None);
    assert!(book.item_by_tag(&items[1], &items[1..], &by_hand).is_some());
}

#[test]
fn tags_of_a_subscription_that_we_made_count_while_nothing_but_the_id_is_known() {
    let book = PriceBook::new(catalogue(), []);
    assert!(key(&book.line(&line("price_pro", 59_900, 1), &[], &made_by_us())).is_some());
    let bare = KnownPrice { decided_by: DecidedBy::Sold, ..known("price_pro", Decision::Ours(pro_price().key)) };
    let book = PriceBook::new(catalogue(), [bare]);
    assert!(key(&book.line(&line("price_pro", 1, 1), &[], &made_by_us())).is_some());
}

#[test]
fn a_tag_does_not_count_for_a_price_with_other_periods() {
    let yearly = KnownPrice { every: Some("year".to_owned()), ..known("price_x", Decision::NotOurs) };
    let book = PriceBook::new(catalogue(), [yearly]);
    let tags = tags("bursar_price", "pro_monthly");
    assert_eq!(book.line(&line("price_x", 59_900, 1), &[], &tags), Sold::NotOurs);
}

#[test]
fn a_tag_of_the_subscription_counts_for_the_line_with_our_amount_and_for_no_other() {
    let book = PriceBook::new(catalogue(), [known("price_add_on", Decision::NotOurs)]);
    let tags = tags("bursar_price", "pro_monthly");
    assert!(key(&book.line(&line("price_x", 59_900, 2), &[], &tags)).is_some());
    assert_eq!(book.line(&line("price_add_on", 500, 1), &[], &tags), Sold::NotOurs);
}

#[test]
fn a_bare_id_of_which_nothing_is_known_waits_for_a_person_with_the_line_to_add() {
    let sold = PriceBook::new(catalogue(), []).line(&line("price_x", 1, 1), &[], &Metadata::new());
    assert!(matches!(&sold, Sold::Undecided(why) if why.contains("stripe = [\"price_x\"]")), "{sold:?}");
}

#[test]
fn what_was_not_ours_is_ours_once_the_catalogue_names_it() {
    let keyed = KnownPrice { lookup_key: Some("pro_monthly".to_owned()), ..known("price_x", Decision::NotOurs) };
    let book = PriceBook::new(catalogue(), [keyed.clone()]);
    assert!(key(&book.line(&line("price_x", 1, 1), &[], &Metadata::new())).is_some());
    let decided = KnownPrice { decided_by: crate::domain::sale::DecidedBy::Operator, ..keyed };
    let book = PriceBook::new(catalogue(), [decided]);
    for tags in [Metadata::new(), tags("bursar_price", "pro_monthly")] {
        assert_eq!(book.line(&line("price_x", 59_900, 1), &[], &tags), Sold::NotOurs, "a person said so");
    }
}

#[test]
fn what_a_price_sells_can_be_learned_only_of_one_that_has_an_id_and_is_not_known() {
    let book = PriceBook::new(catalogue(), [known("price_1", Decision::NotOurs)]);
    let with = |ids: &[&str]| fields::Price {
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        ..fields::Price::default()
    };
    assert!(book.lacks(&with(&["price_2"])));
    assert!(!book.lacks(&with(&["price_1"])) && !book.lacks(&with(&[])));
}

#[test]
fn the_price_at_stripe_of_several_is_that_of_the_best_plan() {
    let book = team();
    let (pro, team) = (SubscriptionDoc::default(), SubscriptionDoc::team(3));
    let (pro, team) = (pro.item(Version::Basil), team.item(Version::Basil));
    let mut object = SubscriptionDoc::default().render(Version::Basil);
    for items in [json!([pro, team]), json!([team, pro])] {
        object["items"]["data"] = items;
        assert_eq!(book.stripe_price_of(&SubscriptionFields::read(&object)).as_deref(), Some(TEAM_PRICE));
    }
    object["items"]["data"] = json!([]);
    assert_eq!(book.stripe_price_of(&SubscriptionFields::read(&object)), None);
}
