//! Commands that support uses when something failed: lists by customer and reason, failures, canaries, replays;
//! customers by their addresses; errors as JSON.

use super::{Program, run, with_payment};
use crate::scene::{invoice_paid, stream_of, stripe_customer};
use bursar_tests::{stripe, with_app};
use serde_json::{Value, json};

/// The error that a command prints as JSON.
fn error_of(err: &str) -> Value {
    let last = err.trim_end().lines().last().unwrap_or_default();
    serde_json::from_str::<Value>(last).unwrap_or_else(|error| panic!("{error} in {err}"))["error"].clone()
}

with_app! {
    async fn a_customer_may_be_given_by_its_address(app: &TestApp) {
        let (customer, event, _) = with_payment(app).await;
        let program = Program::of(&app.config, &app.base);
        let shown = program.both(&["customers", "show", &customer.id]).await;
        let address = shown["customer"]["email"].as_str().unwrap();
        assert_eq!(program.both(&["customers", "show", &address.to_uppercase()]).await, shown);
        for words in [
            &["customers", "transactions", address][..],
            &["customers", "timeline", address],
            &["payments", "list", "--customer", address],
            &["mail", "list", "--customer", address],
            &["audit", "list", "--customer", address],
            &["jobs", "list", "--customer", address, "--since", "24h"],
        ] {
            assert!(!program.both(words).await["data"].as_array().unwrap().is_empty(), "{words:?}");
        }
        let events = program.json(&["events", "list", "--customer", address]).await;
        assert_eq!(events["data"][0]["external_id"], stripe::id(&event));
        let adjust = ["customers", "adjust", address, "--amount", "1", "--reason", "test"];
        assert_eq!(program.json(&adjust).await["credit_balance"], 66);

        let nobody = run(&program.launch, &["customers", "show", "nobody@example.com"]).await;
        assert!(nobody.code == Some(1) && nobody.err.contains("no customer has the address"), "{nobody:?}");
        // Part of an address is not the address.
        let part = run(&program.launch, &["customers", "show", &address[1..]]).await;
        assert_eq!(part.code, Some(1), "{part:?}");
    }

    async fn errors_are_json_if_it_is_asked_for(app: &TestApp) {
        let program = Program::of(&app.config, &app.base);
        let missing = run(&program.launch, &["customers", "show", "cst_00000000000000000000000000", "--json"]).await;
        assert!(missing.code == Some(1) && missing.out.is_empty(), "{missing:?}");
        let error = error_of(&missing.err);
        assert_eq!((&error["code"], &error["status"]), (&json!("not_found"), &json!(404)), "{error}");
        assert!(error["detail"].is_string(), "{error}");

        let misused = run(&program.launch, &["--json", "streams", "pause", "stripe:cus_1"]).await;
        assert!(misused.code == Some(2) && misused.out.is_empty(), "{misused:?}");
        let error = error_of(&misused.err);
        assert!(error["code"] == "usage" && error["detail"].to_string().contains("--reason"), "{error}");

        let nowhere = program.with(&[("BURSAR_URL", "http://127.0.0.1:1")]);
        let silent = run(&nowhere, &["jobs", "list", "--json"]).await;
        let error = error_of(&silent.err);
        assert_eq!((&error["code"], &error["url"]), (&json!("no_server"), &json!("http://127.0.0.1:1")), "{error}");
        let silent = run(&nowhere, &["jobs", "list"]).await;
        assert!(silent.code == Some(1) && silent.err.contains("no server answers at http://127.0.0.1:1"), "{silent:?}");

        let wrong = program.with(&[("BURSAR_LISTN", "127.0.0.1:9000")]);
        let error = error_of(&run(&wrong, &["migrate", "status", "--json"]).await.err);
        assert!(error["code"] == "invalid_configuration" && error["problems"][0].is_string(), "{error}");
    }

    async fn a_group_of_failures_is_listed_and_replayed_and_the_exit_code_tells_that_it_died_again(app: &TestApp) {
        let program = Program::of(&app.config, &app.base);
        let nothing = program.well(&["failures", "list"]).await;
        assert!(nothing.contains("No job and no event is dead."), "{nothing}");
        for _ in 0..2 {
            let mut event = stripe::event("invoice.paid", &stripe::pro_invoice("cus_live", None));
            event["livemode"] = json!(true);
            app.deliver(&event).await.expect(200);
        }
        let groups = program.both(&["failures", "list"]).await;
        let group = &groups["data"][0];
        assert_eq!((&group["cause"], &group["count"]), (&json!("wrong_mode"), &json!(2)), "{groups}");
        assert_eq!(program.json(&["failures", "list", "--reason", "no such"]).await["data"], json!([]));

        let replay = ["failures", "replay", "wrong_mode", "--type", "invoice.paid", "--reason", "test"];
        let asked = run(&program.launch, &replay).await;
        assert!(asked.code == Some(2) && asked.err.contains("--yes"), "{asked:?}");
        let tried = program.json(&[&replay[..], &["--dry-run"]].concat()).await;
        assert_eq!((&tried["replay"]["total"], &tried["outcomes"]), (&json!(2), &Value::Null), "{tried}");
        let died = run(&program.launch, &[&replay[..], &["--yes"]].concat()).await;
        assert_eq!(died.code, Some(1), "{died:?}");
        assert!(died.out.contains("2 dead") && died.err.contains("2 jobs died again"), "{died:?}");
        let none = ["failures", "replay", "customer_unknown", "--reason", "test", "--yes"];
        assert!(program.well(&none).await.contains("Nothing matches."));
    }

    async fn a_canary_is_followed_to_the_end_of_its_attempt(app: &TestApp) {
        let (customer, _, stream) = with_payment(app).await;
        let program = Program::of(&app.config, &app.base);
        program.json(&["streams", "pause", &stream, "--reason", "test"]).await;
        let next = invoice_paid(stream.trim_start_matches("stripe:"), Some(&customer));
        app.deliver(&next).await.expect(200);
        let ran = program.json(&["streams", "canary", &stream, "--reason", "test"]).await;
        assert_eq!(ran["job"]["state"], "succeeded", "{ran}");
        let listed = program.json(&["streams", "list", "--paused"]).await;
        assert_eq!(listed["data"][0]["key"], stream.as_str());

        let stripe_customer = stripe_customer();
        let stream = stream_of(&stripe_customer);
        let dead = invoice_paid(&stripe_customer, None);
        app.deliver(&dead).await.expect(200);
        app.event_in_state(stripe::id(&dead), "dead").await;
        program.json(&["streams", "pause", &stream, "--reason", "test"]).await;
        app.deliver(&invoice_paid(&stripe_customer, None)).await.expect(200);
        let failed = run(&program.launch, &["streams", "canary", &stream, "--reason", "test"]).await;
        assert!(failed.code == Some(1) && failed.out.contains("customer_unknown"), "{failed:?}");
        assert!(failed.out.contains("Its stream is paused"), "{failed:?}");
    }
}
