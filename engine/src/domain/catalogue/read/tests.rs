use super::super::BUILT_IN;
use super::*;
use proptest::prelude::*;

fn problems(text: &str) -> Vec<String> {
    read(text).expect_err("there are mistakes").iter().map(ToString::to_string).collect()
}

#[test]
fn every_mistake_is_reported_with_its_line() {
    let text = r#"currency = "dollars"
colour = "red"

[plans.trial]
name = 7
signup_credits = "five"
unit_price = { usd = 29.00, dollars = 2900 }
unit_prices = 3

[plans.Pro]
followed_by = ["trial"]

[prices.pro]
plan = "pro"
every = "fortnight"
amount = 59900.0
currency = "us"
grant = "daily"
per_seat = "yes"
rollover = true
lifetime_days = -1
stripe = [
  "price_1",
  2,
]
offered = 0
"#;
    let starts = [
        "entry is missing: it must be the key of a plan in quotes, such as \"pro\"",
        "line 1: currency must be the three letters of an ISO 4217 code in quotes, such as \"usd\"",
        "line 2: colour is not a field: a catalogue has currency, entry, plans, prices",
        "line 5: plans.trial.name must be text in quotes",
        "line 6: plans.trial.signup_credits must be a whole number of credits, such as 60",
        "line 7: plans.trial.unit_price.usd must be a whole number of the currency's minor units",
        "line 7: plans.trial.unit_price.dollars must be named by the three letters of an ISO 4217 code",
        "line 8: plans.trial.unit_prices is not a field: a plan has name, ",
        "line 10: plans.Pro must have another key: a key has 1 to 40 lower-case letters, digits and underscores",
        "line 10: plans.Pro.name is missing: it must be text in quotes",
        "line 11: plans.Pro.followed_by must be the key of a plan in quotes",
        "line 13: prices.pro.credits is missing: it must be a whole number of credits",
        "line 14: prices.pro.plan must be the key of a plan, and there is no [plans.pro]",
        "line 15: prices.pro.every must be an interval in quotes, such as \"month\", \"2 weeks\" or \"year\"",
        "line 16: prices.pro.amount must be a whole number of the currency's minor units",
        "line 17: prices.pro.currency must be the three letters",
        "line 18: prices.pro.grant must be \"whole\" or \"monthly\"",
        "line 19: prices.pro.per_seat must be true or false",
        "line 20: prices.pro.rollover must be \"keep\" or \"reset\"",
        "line 21: prices.pro.lifetime_days must be a whole number of days, such as 90",
        "line 24: prices.pro.stripe must be a list of ids in quotes",
        "line 26: prices.pro.offered must be true or false",
    ];
    let problems = problems(text);
    assert_eq!(problems.len(), starts.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(starts) {
        assert!(problem.starts_with(start), "{start}\n{problem}");
    }
}

#[test]
fn what_cannot_be_read_causes_no_second_problem() {
    for (from, to) in [
        ("entry = \"trial\"", "entry = 1"),
        ("name = \"Pro\"", "name = 1"),
        ("followed_by = \"pay_as_you_go\"", "followed_by = 1"),
        ("[plans.pro]\nname = \"Pro\"\nunit_price = { usd = 1500 }\n", "[plans]\npro = 1\n[other]\n"),
        ("amount = 59900", "amount = \"many\""),
        ("currency = \"usd\"\ncredits", "currency = 1\ncredits"),
    ] {
        assert!(BUILT_IN.contains(from), "{from}");
        let problems = problems(&BUILT_IN.replace(from, to));
        let own = problems.iter().filter(|problem| !problem.contains("other is not a field")).count();
        assert_eq!(own, 1, "{to}: {problems:#?}");
    }
}

#[test]
fn tables_that_are_none_are_problems() {
    let text = "currency = 'usd'\nentry = 'trial'\nplans = 3\n[[prices]]\nplan = 'pro'\n";
    let expected = "must be a table of tables, each with a key";
    assert_eq!(problems(text), [format!("line 3: plans {expected}"), format!("line 4: prices {expected}")]);
}

#[test]
fn names_that_are_no_keys_are_shown_in_quotes_and_shortened() {
    let text =
        format!("currency = 'usd'\nentry = 'trial'\nplans.trial.name = 'T'\n\"a\\nb\" = 1\n{} = 2\n", "x".repeat(99));
    let problems = problems(&text);
    assert!(problems[0].starts_with("line 4: \"a\\nb\" is not a field"), "{problems:?}");
    assert!(problems[1].starts_with(&format!("line 5: \"{}…\" is not a field", "x".repeat(60))), "{problems:?}");
}

#[test]
fn a_name_that_is_empty_is_shown_in_quotes() {
    let found = problems("currency = 'usd'\nentry = 'trial'\nplans.trial.name = 'T'\n\"\" = 1\n");
    assert!(found[0].starts_with("line 4: \"\" is not a field"), "{found:?}");
}

#[test]
fn a_unit_price_given_twice_for_one_currency_is_a_problem() {
    let twice = BUILT_IN.replacen("unit_price = { usd = 2900 }", "unit_price = { usd = 2900, USD = 1900 }", 1);
    assert_ne!(twice, BUILT_IN);
    let found = problems(&twice);
    assert!(found[0].ends_with("unit_price.USD is given twice, in upper and lower case"), "{found:?}");
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn one_id_in_place_of_a_list_of_ids_is_a_problem() {
    let found = problems(&BUILT_IN.replace("credits = 60", "credits = 60\nstripe = \"price_1\""));
    assert!(found[0].contains("prices.pro_monthly.stripe must be a list of ids in quotes"), "{found:?}");
}

#[test]
fn a_mistake_in_the_syntax_is_placed() {
    for (text, line) in [
        ("currency = usd\n", 1),
        ("currency = 'usd'\nentry = 'trial\n", 2),
        ("[plans.trial]\nname = 'Trial'\n\n[plans.trial]\n", 4),
        ("[plans.trial]\namount = 99999999999999999999\n", 2),
        ("currency = 'usd'\n[plans", 2),
    ] {
        let problems = problems(text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(&format!("line {line}: this is not TOML: ")), "{text}: {problems:?}");
        assert_eq!(problems[0].lines().count(), 1, "{problems:?}");
    }
}

#[test]
fn a_character_that_no_text_has_is_named() {
    for text in ["currency = 'usd'\n\0", "\0", "name = 'a\u{1}b'\n"] {
        let problems = problems(text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        let (_, why) = problems[0].split_once("this is not TOML: ").expect("the syntax is wrong");
        assert!(!why.is_empty(), "{problems:?}");
    }
    assert_eq!(syntax_problem("a\0", " \n"), "this is not TOML: it has the character U+0000, which no text file has");
    assert_eq!(syntax_problem("a", ""), "this is not TOML: it has a mistake in its syntax");
}

#[test]
fn an_id_that_leads_elsewhere_is_a_problem_with_its_line_and_no_reason_to_lose_a_version_in_force() {
    let text = BUILT_IN.replace("credits = 60", "credits = 60\nstripe = [\"../balance\"]");
    let line = text.lines().position(|line| line.starts_with("stripe = ")).expect("the ids") + 1;
    let found = problems(&text);
    let start = format!("line {line}: prices.pro_monthly.stripe has \"../balance\", which cannot be an id at Stripe");
    assert!(found.len() == 1 && found[0].starts_with(&start), "{found:?}");
    assert_eq!(read_version(&text).map(|catalogue| catalogue.prices[0].stripe.len()), Ok(1));
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let text = format!("{BUILT_IN}\n#{}", "x".repeat(FILE_MAX_BYTES));
    assert_eq!(problems(&text), [format!("the catalogue has {} bytes, more than 262144", text.len())]);
}

#[test]
fn optional_fields_have_defaults_and_entries_keep_their_order() {
    let text = r#"
entry = "zero"
currency = "EUR"
plans.zero = { name = " Zero " }
plans.one = { name = "One", followed_by = "zero" }
plans.another = { name = "Another", followed_by = "one" }
[prices.one]
plan = "one"
every = "2 weeks"
amount = 50
currency = "eur"
credits = 0
[prices.another]
plan = "another"
every = "1 month"
amount = 50
currency = "usd"
credits = 1
"#;
    let catalogue = read(text).expect("valid");
    let keys: Vec<&str> = catalogue.plans.iter().map(|plan| plan.key.as_str()).collect();
    assert_eq!(keys, ["zero", "one", "another"]);
    let keys: Vec<&str> = catalogue.prices.iter().map(|price| price.key.as_str()).collect();
    assert_eq!(keys, ["one", "another"]);
    assert_eq!((catalogue.currency.as_str(), catalogue.entry_plan().name.as_str()), ("eur", "Zero"));
    let price = catalogue.price(&PriceKey::trusted("another")).expect("it was read");
    let expected = Price {
        key: PriceKey::trusted("another"),
        plan: PlanKey::trusted("another"),
        every: Interval::MONTH,
        amount: MoneyMinor(50),
        currency: Currency::parse("usd").expect("a currency"),
        credits: Credits(1),
        grant: GrantSchedule::Whole,
        per_seat: false,
        rollover: Rollover::Keep,
        lifetime_days: None,
        lookup_key: "another".to_owned(),
        stripe: Vec::new(),
        offered: true,
    };
    assert_eq!(price, &expected);
}

#[test]
fn every_example_of_the_guide_is_valid_and_every_field_is_described() {
    const GUIDE: &str = include_str!("../../../../../docs/catalogue.md");
    let examples = GUIDE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    for example in examples {
        let is_whole = example.contains("entry = ");
        let text = if is_whole { example.to_owned() } else { format!("{BUILT_IN}\n{example}") };
        let found = read_with_warnings(&text).map(|reading| reading.warnings);
        assert_eq!(found, Ok(Vec::new()), "{example}");
    }
    for field in CATALOGUE_FIELDS[..2].iter().chain(&PLAN_FIELDS).chain(&PRICE_FIELDS).chain(&PACK_FIELDS) {
        assert!(GUIDE.contains(&format!("\n| `{field}` | ")), "{field}");
    }
}

#[test]
fn an_amount_that_stripe_refuses_is_a_problem_with_its_line_and_no_reason_to_lose_a_version_in_force() {
    let text = BUILT_IN.replace("amount = 59900\ncurrency = \"usd\"", "amount = 59950\ncurrency = \"isk\"");
    let line = text.lines().position(|line| line == "amount = 59950").expect("the amount") + 1;
    let found = problems(&text);
    let start = format!("line {line}: prices.pro_monthly.amount must be divisible by 100: ");
    assert!(found.len() == 1 && found[0].starts_with(&start), "{found:?}");
    assert_eq!(read_version(&text).map(|catalogue| catalogue.prices[0].amount), Ok(MoneyMinor(59_950)));
    assert!(read_version("entry = 1").is_err());
}

#[test]
fn a_pack_above_every_cap_is_a_warning_with_its_line() {
    let pack = "\n[packs.hundred]\nname = \"100 fixes\"\ncredits = 100\namount = 200000\ncurrency = \"usd\"\n";
    let text = format!("{BUILT_IN}{pack}");
    let line = text.lines().position(|line| line == "amount = 200000").expect("the amount") + 1;
    let reading = read_with_warnings(&text).expect("it can be applied");
    let found: Vec<String> = reading.warnings.iter().map(ToString::to_string).collect();
    let start = format!("line {line}: packs.hundred.amount is $2000.00, and the spend caps of no plan");
    assert!(found.len() == 1 && found[0].starts_with(&start), "{found:?}");
    assert_eq!(reading.catalogue.packs.len(), 1);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(pieces in proptest::collection::vec(prop_oneof![
        Just("[plans.trial]\n".to_owned()),
        Just("[prices.pro]\n".to_owned()),
        Just("[[plans]]\n".to_owned()),
        Just("followed_by = \"trial\"\n".to_owned()),
        Just("every = \"4294967295 years\"\n".to_owned()),
        Just("amount = -9223372036854775808\n".to_owned()),
        Just("stripe = [\"\", 1]\n".to_owned()),
        "(plans|prices|entry|currency|name|credits|grant)(\\.[a-z]{1,3})? = (1|\"[a-z]{0,4}\"|true|\\{ usd = 1 \\})\n",
        ".{0,20}",
    ], 0..20)) {
        let _ = read(&pieces.concat());
    }
}
