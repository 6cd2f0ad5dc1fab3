//! The real program's commands about the catalogue.

use super::{Program, Ran, run};
use crate::node::program;
use bursar_tests::chaos::node::Launch;
use bursar_tests::{Backend, TestApp, with_app};
use serde_json::Value;
use std::collections::BTreeMap;

/// Runs a command in a folder with this catalogue, or without one, and with these variables only.
async fn run_with(catalogue: &str, variables: &[(&str, &str)], words: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    if !catalogue.is_empty() {
        std::fs::write(folder.path().join("bursar.catalogue.toml"), catalogue).unwrap();
    }
    let environment: BTreeMap<_, _> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    run(&Launch { program: program(), environment, folder: folder.path().to_path_buf() }, words).await
}

#[tokio::test]
async fn the_catalogue_is_checked_shown_and_exported_without_a_server() {
    let checked = run_with("", &[], &["catalogue", "check"]).await;
    assert_eq!(checked.out, "the built-in catalogue is valid: 3 plans, 1 price\n", "{checked:?}");
    let exported = run_with("", &[], &["catalogue", "export", "--built-in"]).await;
    let changed = exported.out.replace("name = \"Pro\"", "name = \"Best\"");
    let checked = run_with(&changed, &[], &["catalogue", "check"]).await;
    assert_eq!(checked.out, "bursar.catalogue.toml is valid: 3 plans, 1 price\n", "{checked:?}");
    for file in [&[][..], &["--file"], &["--file", "bursar.catalogue.toml"]] {
        let shown = run_with(&changed, &[], &[&["catalogue", "show"][..], file].concat()).await;
        assert!(shown.out.starts_with("bursar.catalogue.toml, which need not be what is in force\n"), "{shown:?}");
        assert!(shown.out.contains("Best"), "{shown:?}");
        assert_eq!(shown.err.contains("no server was asked"), file.is_empty(), "{shown:?}");
        let exported = run_with(&changed, &[], &[&["catalogue", "export"][..], file].concat()).await;
        assert!(exported.out.contains("name = \"Best\"") && exported.err.contains("need not be"), "{exported:?}");
    }
    let shown = run_with(&changed, &[], &["catalogue", "show", "--json"]).await;
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!((&shown["plans"][2]["name"], &shown["source"]["kind"]), (&"Best".into(), &"file".into()));
    // A server on Postgres needs secrets; these commands do not.
    let variables = [("DATABASE_URL", "postgres://db/bursar")];
    assert_eq!(run_with("", &variables, &["catalogue", "check"]).await.code, Some(0));
}

#[tokio::test]
async fn every_problem_of_the_catalogue_is_printed() {
    let wrong = "currency = \"dollars\"\nentry = \"trial\"\ncolour = 1\n[plans.trial]\nname = \"Trial\"\n";
    for words in [&["catalogue", "check"][..], &["catalogue", "check", "bursar.catalogue.toml"], &["config", "check"]] {
        let ran = run_with(wrong, &[], words).await;
        assert!(ran.code == Some(1) && ran.out.is_empty(), "{ran:?}");
        for place in ["bursar.catalogue.toml, line 1: currency must be", "bursar.catalogue.toml, line 3: colour is not"]
        {
            assert!(ran.err.contains(place), "{place}: {ran:?}");
        }
    }
    let ran = run_with(wrong, &[], &["catalogue", "check", "--json"]).await;
    let printed: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &printed["valid"]), (Some(1), &Value::from(false)), "{ran:?}");
    assert_eq!(printed["problems"].as_array().unwrap().len(), 2, "{ran:?}");
}

#[tokio::test]
async fn what_is_no_catalogue_is_refused_with_its_reason() {
    let (name, zzz) =
        ("currency = \"usd\"\nentry = \"trial\"\n\0", "currency = \"zzz\"\nentry = \"a\"\n[plans.a]\nname = \"A\"\n");
    let refusals = [
        (name, "bursar.catalogue.toml", "this is not TOML: "),
        (zzz, "bursar.catalogue.toml", "line 1: currency must name a currency that Stripe charges"),
        ("", "/dev/zero", "the catalogue /dev/zero cannot be read: it is no regular file"),
    ];
    for (text, file, reason) in refusals {
        let ran = run_with(text, &[], &["catalogue", "check", file]).await;
        assert!(ran.code == Some(1) && ran.err.contains(reason), "{reason}: {ran:?}");
        assert!(!ran.err.trim_end().ends_with(':'), "it says why: {ran:?}");
    }
}

#[tokio::test]
async fn a_pack_above_every_spend_cap_is_a_warning_of_a_valid_catalogue() {
    let built_in = run_with("", &[], &["catalogue", "export", "--built-in"]).await.out;
    let pack = "\n[packs.hundred]\nname = \"100 fixes\"\ncredits = 100\namount = 200000\ncurrency = \"usd\"\n";
    let with_pack = format!("{built_in}{pack}");
    let ran = run_with(&with_pack, &[], &["catalogue", "check"]).await;
    let (first, rest) = ran.out.split_once('\n').unwrap();
    assert_eq!((ran.code, first), (Some(0), "bursar.catalogue.toml is valid: 3 plans, 1 price, 1 pack"), "{ran:?}");
    assert!(rest.starts_with("warning: bursar.catalogue.toml, line ") && rest.contains("spend_cap_month"), "{ran:?}");
    let ran = run_with(&with_pack, &[], &["catalogue", "check", "bursar.catalogue.toml", "--json"]).await;
    let printed: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&printed["valid"], printed["warnings"].as_array().map(Vec::len)), (&Value::from(true), Some(1)));
}

#[tokio::test]
async fn whoever_still_sets_a_price_by_variable_is_told_where_it_is_now() {
    let variables = [("BURSAR_CREDITS__SIGNUP", "5"), ("BURSAR_STRIPE__PRO_PRICE_ID", "price_1")];
    let ran = run_with("", &variables, &["config", "check"]).await;
    let mut said: Vec<&str> = ran.err.trim_start_matches("error: ").lines().collect();
    said.sort_unstable();
    assert_eq!(
        said,
        [
            "BURSAR_CREDITS__SIGNUP has moved to the catalogue: signup_credits under [plans.trial] (see \
             docs/catalogue.md)",
            "BURSAR_STRIPE__PRO_PRICE_ID has moved to the catalogue: stripe under [prices.pro_monthly] (see \
             docs/catalogue.md)",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_planned_and_applied_and_its_versions_are_kept() {
    let app = TestApp::start(Backend::Embedded).await;
    let program = Program::of(&app.config, &app.base);
    let file = program.launch.folder.join("next.toml");
    let first = program.well(&["catalogue", "export", "--version", "1"]).await;
    let next = first.replace("amount = 59900", "amount = 69900");
    std::fs::write(&file, &next).unwrap();

    let planned = program.well(&["catalogue", "plan", "next.toml"]).await;
    for part in ["Changes of version 1", "$699.00", "0 subscribers keep the old amount", "no Stripe key"] {
        assert!(planned.contains(part), "{part}: {planned}");
    }
    let words = ["catalogue", "apply", "next.toml", "--reason", "ticket 4711", "--idempotency-key", "ticket-4711"];
    for is_repeated in [false, true] {
        let ran = run(&program.launch, &words).await;
        assert!(ran.code == Some(0) && ran.out.contains("Version 2 is in force."), "{ran:?}");
        assert_eq!(ran.err.contains("was applied before"), is_repeated, "{ran:?}");
    }
    assert_eq!(program.well(&["catalogue", "export", "--version", "2"]).await, next);
    let shown = program.well(&["catalogue", "show"]).await;
    assert!(shown.starts_with("Version 2, in force at ") && shown.contains("$699.00"), "{shown}");
    assert_eq!(program.well(&["catalogue", "export"]).await, next);
    let local = program.well(&["catalogue", "show", "--file"]).await;
    assert!(local.starts_with("the built-in catalogue, ") && local.contains("$599.00"), "{local}");
    // Without a server, the database says what is in force; a server that is named must answer.
    let alone =
        run(&program.with(&[("BURSAR_URL", ""), ("BURSAR_LISTEN", "127.0.0.1:1")]), &["catalogue", "show"]).await;
    let heading = "Version 2, in force in the configured database\n";
    assert!(alone.out.starts_with(heading) && alone.out.contains("$699.00"), "{alone:?}");
    let named = run(&program.with(&[("BURSAR_URL", "http://127.0.0.1:1")]), &["catalogue", "show"]).await;
    assert!(named.code == Some(1) && named.out.is_empty(), "{named:?}");
    let versions = program.json(&["catalogue", "versions"]).await;
    assert_eq!((&versions["data"][0]["version"], &versions["data"][0]["reason"]), (&2.into(), &"ticket 4711".into()));

    let customer = app.onboard().await;
    let gone = next.replace("trial", "start");
    std::fs::write(&file, &gone).unwrap();
    let ran = run(&program.launch, &["catalogue", "apply", "next.toml", "--reason", "none", "--json"]).await;
    let refused: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(ran.code == Some(1) && ran.err.contains("is refused"), "{}: {ran:?}", customer.id);
    assert!(refused["refusals"][0]["reason"].as_str().is_some_and(|why| why.contains("trial")), "{ran:?}");

    std::fs::write(&file, "currency = \"usd\"\n").unwrap();
    let ran = run(&program.launch, &["catalogue", "apply", "next.toml", "--reason", "none"]).await;
    assert!(ran.code == Some(1) && ran.err.contains("entry is missing"), "{ran:?}");
    assert_eq!(program.json(&["catalogue", "versions"]).await["data"].as_array().map(Vec::len), Some(2));
    app.stop().await;
}

with_app! {
    async fn prices_at_stripe_are_listed_and_decided_on(app: &TestApp) {
        let program = Program::of(&app.config, &app.base);
        let decide = |decision: &[&str]| {
            let words = ["catalogue", "decide", "price_1", "--reason", "ticket 4711"];
            [&words[..], decision].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let run_decide = async |decision: &[&str]| {
            let words = decide(decision);
            run(&program.launch, &words.iter().map(String::as_str).collect::<Vec<_>>()).await
        };
        let ran = run_decide(&["--ours", "pro_monthly"]).await;
        assert!(ran.code == Some(0) && ran.out.contains("operator"), "{ran:?}");
        assert!(ran.err.contains("bursar replays create --error price_unknown"), "{ran:?}");
        let listed = program.both(&["catalogue", "prices", "--decision", "ours"]).await;
        assert_eq!((&listed["data"][0]["id"], &listed["data"][0]["price"]), (&"price_1".into(), &"pro_monthly".into()));
        for decision in [&["--not-ours"][..], &["--undecided"], &["--ours", "pro_monthly"]] {
            assert_eq!(run_decide(decision).await.code, Some(0), "{decision:?}");
        }
        let unknown = run_decide(&["--ours", "gone"]).await;
        assert!(unknown.code == Some(1) && unknown.err.contains("catalogue_price_unknown"), "{unknown:?}");
        for wrong in [&[][..], &["--ours"], &["--not-ours", "--undecided"]] {
            assert_eq!(run_decide(wrong).await.code, Some(2), "{wrong:?}");
        }
    }
}
