use super::super::read::read;
use super::*;
use std::fmt::Write;

/// A valid catalogue with everything in it.
const WHOLE: &str = r#"currency = "usd"
entry = "trial"

[plans.trial]
name = "Trial"
signup_credits = 5
payment_method_credits = 5
unit_price = { usd = 2900, jpy = 4500 }

[plans.each]
name = "Pay as you go"
unit_price = { usd = 2900 }

[plans.pro]
name = "Pro"
followed_by = "each"

[plans.team]
name = "Team"
followed_by = "pro"

[prices.pro_monthly]
plan = "pro"
every = "month"
amount = 59900
currency = "usd"
credits = 60
rollover = "reset"
stripe = ["price_1", "price_2"]

[prices.team_yearly]
plan = "team"
every = "year"
amount = 990000
currency = "eur"
credits = 1200
grant = "monthly"
per_seat = true
lifetime_days = 400
offered = false
"#;

/// The only problem after a change of the catalogue.
fn problem(from: &str, to: &str) -> String {
    assert_eq!(WHOLE.matches(from).count(), 1, "{from}");
    let problems = read(&WHOLE.replace(from, to)).expect_err(to);
    assert_eq!(problems.len(), 1, "{to}: {problems:#?}");
    problems[0].to_string()
}

#[test]
fn each_rule_has_a_message_with_the_line_of_the_mistake() {
    assert!(read(WHOLE).is_ok());
    for (from, to, start) in [
        (
            "entry = \"trial\"",
            "entry = \"free\"",
            "line 2: entry must be the key of a plan, and there is no [plans.free]",
        ),
        ("name = \"Trial\"", "name = \" \"", "line 5: plans.trial.name must have 1 to 200 printable"),
        ("signup_credits = 5", "signup_credits = -1", "line 6: plans.trial.signup_credits must be from 0 to 1000000"),
        (
            "jpy = 4500",
            "jpy = 49",
            "line 8: plans.trial.unit_price.jpy must be from 50 to 99999999 minor units of jpy, the least and the most that \
             Stripe charges; for cheaper units, set plans.trial.unit_step",
        ),
        (
            "{ usd = 2900, jpy = 4500 }",
            "{ jpy = 4500 }",
            "line 8: plans.trial.unit_price must have a price in usd, the currency at the top",
        ),
        (
            "name = \"Trial\"",
            "name = \"Trial\"\nfollowed_by = \"each\"",
            "line 6: plans.trial.followed_by must be left out",
        ),
        ("name = \"Pro\"", "name = \"Pro\"\nsignup_credits = 1", "line 16: plans.pro.signup_credits must be left out"),
        (
            "followed_by = \"each\"",
            "followed_by = \"gone\"",
            "line 16: plans.pro.followed_by must be the key of another",
        ),
        (
            "followed_by = \"each\"",
            "followed_by = \"pro\"",
            "line 16: plans.pro.followed_by must be another plan than pro",
        ),
        (
            "plan = \"team\"",
            "plan = \"gone\"",
            "line 32: prices.team_yearly.plan must be the key of a plan, and there is no",
        ),
        ("plan = \"team\"", "plan = \"each\"", "line 32: prices.team_yearly.plan sells each, so [plans.each] must say"),
        (
            "plan = \"team\"",
            "plan = \"trial\"",
            "line 32: prices.team_yearly.plan must be another plan than trial, the entry",
        ),
        ("every = \"year\"", "every = \"4 years\"", "line 33: prices.team_yearly.every must be at most 3 years"),
        ("every = \"year\"", "every = \"month\"", "line 37: prices.team_yearly.grant must be \"whole\""),
        ("every = \"year\"", "every = \"8 weeks\"", "line 37: prices.team_yearly.grant must be \"whole\""),
        (
            "amount = 59900",
            "amount = 49",
            "line 25: prices.pro_monthly.amount must be from 50 to 99999999 minor units of usd",
        ),
        ("amount = 59900", "amount = 100000000", "line 25: prices.pro_monthly.amount must be from 50"),
        ("credits = 60", "credits = 1000001", "line 27: prices.pro_monthly.credits must be from 0 to 1000000"),
        (
            "credits = 1200",
            "credits = 11",
            "line 36: prices.team_yearly.credits must be at least 12, one for each month",
        ),
        (
            "lifetime_days = 400",
            "lifetime_days = 0",
            "line 39: prices.team_yearly.lifetime_days must be from 1 to 3650",
        ),
        ("lifetime_days = 400", "lifetime_days = 3651", "line 39: prices.team_yearly.lifetime_days must be from 1"),
        ("\"reset\"", "\"reset\"\nlifetime_days = 30", "line 28: prices.pro_monthly.rollover = \"reset\" contradicts"),
        ("\"reset\"", "\"reset\"\nlookup_key = \"\"", "line 29: prices.pro_monthly.lookup_key must have 1 to 200"),
        ("\"reset\"", "\"reset\"\nlookup_key = \"a\\tb\"", "line 29: prices.pro_monthly.lookup_key must have 1 to 200"),
        ("\"reset\"", "\"reset\"\nlookup_key = \"pro \"", "line 29: prices.pro_monthly.lookup_key must have 1 to 200"),
        (
            "\"reset\"",
            "\"reset\"\nlookup_key = \"team_yearly\"",
            "line 32: prices.team_yearly.lookup_key must differ from",
        ),
        ("\"price_2\"", "\"price_…\"", "line 29: prices.pro_monthly.stripe must have ids of 1 to 255"),
        (
            "\"price_2\"",
            "\n  \"price_1\"",
            "line 30: prices.pro_monthly.stripe has price_1, which prices.pro_monthly.stripe has",
        ),
        (
            "per_seat = true",
            "stripe = [\"price_2\"]",
            "line 38: prices.team_yearly.stripe has price_2, which prices.pro_monthly",
        ),
    ] {
        let said = problem(from, to);
        assert!(said.starts_with(start), "{start}\n{said}");
    }
}

#[test]
fn each_plan_of_a_circle_is_named() {
    let text = WHOLE.replace("followed_by = \"each\"", "followed_by = \"team\"");
    let problems: Vec<String> = read(&text).expect_err("a circle").iter().map(ToString::to_string).collect();
    let rule = "it must end at a plan that has no followed_by";
    assert_eq!(
        problems,
        [
            format!("line 16: plans.pro.followed_by leads in a circle, pro → team → pro: {rule}"),
            format!("line 20: plans.team.followed_by leads in a circle, team → pro → team: {rule}"),
        ]
    );
}

#[test]
fn a_catalogue_without_plans_says_so() {
    let problems = read("currency = \"usd\"\nentry = \"trial\"\n").expect_err("there is no plan");
    assert!(
        problems.iter().any(|problem| problem.message.starts_with("there must be at least one plan")),
        "{problems:?}"
    );
}

#[test]
fn too_many_prices_are_one_problem() {
    let mut text = WHOLE.to_owned();
    for n in 0..PRICES_MAX {
        write!(text, "\n[prices.p{n}]\nplan = 'pro'\nevery = 'month'\namount = 1\ncurrency = 'usd'\ncredits = 1\n")
            .expect("text");
    }
    let problems = read(&text).expect_err("too many");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].message, "there are 1002 prices, more than 1000");
}
