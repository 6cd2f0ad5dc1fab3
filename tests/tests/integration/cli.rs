//! The real program's commands: output and exit codes.

mod catalogue;
mod config;
mod support;

use crate::node::{environment, program};
use crate::scene::{invoice_paid, stream_of, stripe_customer, with_backend};
use bursar_engine::config::Config;
use bursar_engine::domain::webhook::WANTED;
use bursar_engine::infra::store::{Db, DbOptions};
use bursar_tests::chaos::node::Launch;
use bursar_tests::{TestApp, TestCustomer, stripe, with_app};
use sea_orm::ConnectionTrait;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Stdio;
use tempfile::TempDir;

const EVENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/invoice.paid.json");

#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The program with the settings of an application, in its own folder.
pub(crate) struct Program {
    pub(crate) launch: Launch,
    _folder: TempDir,
}

impl Program {
    pub(crate) fn of(config: &Config, url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut environment = environment(config);
        environment.insert("BURSAR_URL".to_owned(), url.to_owned());
        let launch = Launch { program: program(), environment, folder: folder.path().to_path_buf() };
        Self { launch, _folder: folder }
    }

    /// The same program with changed variables.
    pub(crate) fn with(&self, changed: &[(&str, &str)]) -> Launch {
        let changed = changed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let environment: BTreeMap<_, _> = self.launch.environment.clone().into_iter().chain(changed).collect();
        Launch { environment, ..self.launch.clone() }
    }

    /// Runs a command that succeeds; returns its output, which is empty only if it says "Nothing found."
    pub(crate) async fn well(&self, words: &[&str]) -> String {
        let ran = run(&self.launch, words).await;
        assert_eq!(ran.code, Some(0), "{words:?}: {ran:?}");
        assert!(!ran.out.trim().is_empty() || ran.err.contains("Nothing found."), "{words:?}: {ran:?}");
        ran.out
    }

    /// Runs a command that succeeds and prints only JSON; returns it.
    pub(crate) async fn json(&self, words: &[&str]) -> Value {
        let out = self.well(&[words, &["--json"]].concat()).await;
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{words:?}: {error} in {out}"))
    }

    /// Runs a read-only command both ways; returns the JSON.
    pub(crate) async fn both(&self, words: &[&str]) -> Value {
        self.well(words).await;
        self.json(words).await
    }
}

pub(crate) async fn run(launch: &Launch, words: &[&str]) -> Ran {
    let mut command = launch.command(words);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A customer with a processed payment; returns the event and its stream as well.
pub(crate) async fn with_payment(app: &TestApp) -> (TestCustomer, Value, String) {
    let (customer, stripe_customer) = (app.onboard().await, stripe_customer());
    let event = invoice_paid(&stripe_customer, Some(&customer));
    app.deliver(&event).await.expect(200);
    app.event_in_state(stripe::id(&event), "processed").await;
    (customer, event, stream_of(&stripe_customer))
}

with_app! {
    async fn commands_about_customers_print_tables_or_json(app: &TestApp) {
        let (customer, ..) = with_payment(app).await;
        let (program, id) = (Program::of(&app.config, &app.base), customer.id.as_str());
        let listed = program.both(&["customers", "list", "--search", id]).await;
        assert_eq!(listed["data"][0]["id"], id);
        let shown = program.both(&["customers", "show", id]).await;
        assert_eq!((&shown["customer"]["id"], &shown["credits"]["balance"]), (&id.into(), &65.into()));
        for words in ["timeline", "usage", "balance", "transactions", "keys"] {
            program.both(&["customers", words, id]).await;
        }
        assert!(program.well(&["customers", "transactions", id, "--csv"]).await.lines().count() > 2);
        let adjust = ["customers", "adjust", id, "--amount", "-3", "--reason", "test", "--idempotency-key", "once"];
        assert_eq!(program.both(&adjust).await["credit_balance"], 62);
        assert_eq!(app.balance(&customer).await, 62, "one key, one adjustment");
        program.json(&["customers", "new-key", id, "--reason", "all are lost"]).await;
        program.both(&["mail", "list", "--customer", id]).await;
        program.both(&["mail", "preview", "welcome"]).await;
        program.both(&["marketplace", "list"]).await;
    }

    async fn commands_about_events_jobs_and_streams_print_tables_or_json(app: &TestApp) {
        let (_, event, stream) = with_payment(app).await;
        let (program, id) = (Program::of(&app.config, &app.base), stripe::id(&event));
        let listed = program.both(&["events", "list", "--state", "processed"]).await;
        assert_eq!(listed["data"].as_array().unwrap().len(), 1);
        program.both(&["events", "show", id]).await;
        let jobs = program.both(&["jobs", "list", "--kind", "stripe.event"]).await;
        program.both(&["jobs", "show", jobs["data"][0]["id"].as_str().unwrap()]).await;
        program.json(&["events", "replay", id, "--reason", "test"]).await;
        app.event_in_state(id, "processed").await;
        let waiting = program.both(&["jobs", "list", "--kind", "mail.send", "--state", "scheduled"]).await;
        let waiting = waiting["data"][0]["id"].as_str().unwrap();
        program.json(&["jobs", "cancel", waiting, "--reason", "test"]).await;

        program.json(&["streams", "pause", &stream, "--reason", "ticket 4711"]).await;
        let paused = program.both(&["streams", "list", "--paused"]).await;
        assert_eq!(paused["data"][0]["key"], stream.as_str());
        assert_eq!(program.json(&["streams", "list", "--since", "1h"]).await["data"], paused["data"]);
        program.both(&["streams", "show", &stream]).await;
        program.json(&["streams", "resume", &stream]).await;
        let lines = program.both(&["audit", "list", "--target", &stream]).await;
        let acts: Vec<_> = lines["data"].as_array().unwrap().iter().map(|line| &line["action"]).collect();
        assert_eq!(acts, ["stream.resume", "stream.pause"]);
        assert!(program.well(&["audit", "list"]).await.contains("stream.pause"));
        program.both(&["stripe", "reconciliations", "list", "--since", "1h"]).await;
    }

    async fn an_admin_token_is_made_used_listed_and_revoked_by_command(app: &TestApp) {
        let program = Program::of(&app.config, &app.base);
        let create = ["token", "create", "--name", "ada@example.com", "--scopes", "read,replay", "--reason", "test"];
        let made = program.json(&create).await;
        let (id, raw) = (made["admin_token"]["id"].as_str().unwrap(), made["token"].as_str().unwrap());
        assert!(made["admin_token"]["expires_at"].is_string(), "it expires unless somebody says otherwise: {made}");
        let shown = program.well(&[&create[..], &["--no-expiry"]].concat()).await;
        assert!(shown.contains("bat_") && shown.contains("read, replay"), "{shown}");

        let hers = program.with(&[("BURSAR_ADMIN_TOKEN", raw)]);
        assert_eq!(run(&hers, &["customers", "list"]).await.code, Some(0));
        let refused = run(&hers, &["token", "list"]).await;
        assert!(refused.code == Some(1) && refused.err.contains("the scope admin"), "{refused:?}");

        let listed = program.both(&["token", "list"]).await;
        assert_eq!(listed["data"].as_array().unwrap().len(), 2);
        assert!(!listed.to_string().contains(raw));
        assert_eq!(program.json(&["token", "revoke", id, "--reason", "test"]).await["state"], "revoked");
        let refused = run(&hers, &["customers", "list"]).await;
        assert!(refused.code == Some(1) && refused.err.contains("invalid_token"), "{refused:?}");
        for wrong in [["--scopes", "root"], ["--expires-in", "soon"]] {
            let words = ["token", "create", "--name", "x", "--reason", "x", "--scopes", "read"];
            let wrong = run(&program.launch, &[&words[..], &wrong].concat()).await;
            assert_eq!(wrong.code, Some(2), "{wrong:?}");
        }
    }

    async fn commands_create_start_and_watch_a_replay(app: &TestApp) {
        with_payment(app).await;
        let program = Program::of(&app.config, &app.base);
        let filter = ["--state", "succeeded", "--kind", "stripe.event", "--reason", "test"];
        let made = program.json(&[&["replays", "create"], &filter[..]].concat()).await;
        let id = made["replay"]["id"].as_str().unwrap();
        assert_eq!(made["replay"]["total"], 1);
        program.json(&["replays", "start", id]).await;
        assert_eq!(program.both(&["replays", "watch", id]).await["replay"]["state"], "done");
        program.both(&["replays", "list"]).await;
        let shown = program.both(&["replays", "show", id, "--items"]).await;
        assert_eq!(shown["items"]["data"].as_array().unwrap().len(), 1);
    }

    async fn an_event_sent_by_command_is_accepted_unless_it_was_altered(app: &TestApp) {
        let program = Program::of(&app.config, &app.base);
        let sent = program.json(&["stripe", "send", EVENT]).await;
        assert_eq!(sent["answers"][0]["status"], 200, "{sent}");
        let changed = run(&program.launch, &["stripe", "send", EVENT, "--tamper"]).await;
        assert!(changed.code == Some(1) && changed.out.contains("signature_mismatch"), "{changed:?}");
    }

    async fn commands_that_need_no_server_print_what_they_find(app: &TestApp) {
        let program = Program::of(&app.config, "http://127.0.0.1:1");
        let migrations = program.both(&["migrate", "status"]).await;
        assert!(migrations.as_array().unwrap().iter().all(|row| row["state"] == "applied"), "{migrations}");
        let verified = program.both(&["verify"]).await;
        assert!(verified["checks"].as_array().unwrap().iter().all(|check| check["violations_total"] == 0));
        assert!(program.well(&["completions", "bash"]).await.contains("bursar"));
        assert_eq!(program.json(&["openapi"]).await["info"]["title"], "Bursar");
        program.well(&["config", "check"]).await;
        let checked = run(&program.launch, &["config", "check"]).await;
        for warning in ["warning: no Stripe key is set", "warning: no SMTP server is set"] {
            assert_eq!(checked.err.contains(warning), app.app.db.is_postgres(), "{checked:?}");
        }
        let events = program.json(&["stripe", "events"]).await;
        assert_eq!(events.as_array().unwrap().len(), WANTED.len());
        assert_eq!(program.well(&["stripe", "events"]).await.lines().collect::<Vec<_>>(), WANTED);
        for (name, said) in [
            ("BURSAR_LISTN", "BURSAR_LISTN is not a setting: did you mean BURSAR_LISTEN?"),
            ("BURSAR_IMAGE", "BURSAR_IMAGE is not a setting: unset it"),
            ("BURSAR_FLAGS__ALL", "BURSAR_FLAGS__ALL is not a setting: unset it"),
        ] {
            for command in [&["config", "check"][..], &["serve"], &["migrate", "status"]] {
                let refused = run(&program.with(&[(name, "127.0.0.1:9000")]), command).await;
                assert!(refused.code == Some(1) && refused.err.contains(said), "{refused:?}");
            }
        }
        let wrong = program.with(&[
            ("BURSAR_LEDGER__COMMANDS_MAX", "0"),
            ("BURSAR_CREDITS__WARN_AT", "-1"),
            ("BURSAR_HTTP__REQUESTS_MAX", "many"),
            ("BURSAR_DATABASE_URL", "postgres://db/bursar"),
            ("BURSAR_LOG", "bursar=loud"),
        ]);
        let wrong = run(&wrong, &["config", "check"]).await;
        assert_eq!((wrong.code, wrong.err.trim_end().lines().count()), (Some(1), 5), "{wrong:?}");
        for name in ["ledger.commands_max", "credits.warn_at", "requests_max", "did you mean DATABASE_URL?", "BURSAR_LOG"] {
            assert!(wrong.err.to_lowercase().contains(&name.to_lowercase()), "{wrong:?}");
        }
    }

    async fn a_client_command_reads_the_configuration_file(app: &TestApp) {
        let program = Program::of(&app.config, &app.base);
        let mut launch = program.launch.clone();
        for name in ["BURSAR_URL", "BURSAR_ADMIN_TOKEN", "BURSAR_DATA_DIR", "STRIPE_WEBHOOK_SECRET"] {
            launch.environment.remove(name);
        }
        let missing = run(&launch, &["customers", "list"]).await;
        assert_eq!(missing.code, Some(1), "{missing:?}");
        assert!(missing.err.contains("BURSAR_DATA_DIR"), "{missing:?}");
        assert!(missing.err.contains("./bursar-data/secrets.json does not exist"), "{missing:?}");

        let secrets = serde_json::json!({
            "admin_token": app.config.admin_token,
            "webhook_secret": app.config.webhook_secrets()[0],
        });
        let data = launch.folder.join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("secrets.json"), secrets.to_string()).unwrap();
        let listen = app.base.trim_start_matches("http://");
        let file = format!("listen = '{listen}'\ndata_dir = '{}'\n", data.display());
        std::fs::write(launch.folder.join("other.toml"), &file).unwrap();
        for words in [&["customers", "list"][..], &["stripe", "send", EVENT]] {
            let ran = run(&launch, &[words, &["--config", "other.toml"]].concat()).await;
            assert_eq!(ran.code, Some(0), "{words:?}: {ran:?}");
        }
        std::fs::rename(launch.folder.join("other.toml"), launch.folder.join("bursar.toml")).unwrap();
        let ran = run(&launch, &["customers", "list"]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }

    async fn a_failed_command_prints_the_reason_and_sets_the_exit_code(app: &TestApp) {
        let program = Program::of(&app.config, &app.base);
        let nobody = run(&program.launch, &["customers", "show", "cst_00000000000000000000000000"]).await;
        assert!(nobody.code == Some(1) && nobody.out.is_empty() && nobody.err.contains("not_found"), "{nobody:?}");
        let stranger = program.with(&[("BURSAR_ADMIN_TOKEN", "bat_of_somebody_else_0123456789abcdef")]);
        let stranger = run(&stranger, &["events", "list"]).await;
        assert!(stranger.code == Some(1) && stranger.out.is_empty(), "{stranger:?}");
        let misused = run(&program.launch, &["streams", "pause", "stripe:cus_1"]).await;
        assert!(misused.code == Some(2) && misused.err.contains("--reason"), "{misused:?}");
    }
}

with_backend! {
    async fn verify_names_the_tampered_row_of_a_ledger(backend: Backend) {
        let app = TestApp::start(backend).await;
        let customer = app.onboard().await;
        app.spend(&customer, 1, "unit").await.expect(200);
        let (config, _folder) = app.halt().await;
        let program = Program::of(&config, "http://127.0.0.1:1");
        program.well(&["verify"]).await;
        let options = DbOptions { connections_max: 1, ..DbOptions::new(config.database_url()) };
        let db = Db::connect(&options).await.unwrap();
        // Anybody who can do this can also disable the trigger.
        let unguarded = if db.is_postgres() {
            "DROP TRIGGER ledger_entries_append_only ON ledger_entries"
        } else {
            "DROP TRIGGER ledger_entries_no_update"
        };
        db.write().execute_unprepared(unguarded).await.unwrap();
        let tampered = "UPDATE ledger_entries SET balance_after = balance_after + 1 WHERE seq = 2";
        db.write().execute_unprepared(tampered).await.unwrap();
        db.close().await;

        let found = run(&program.launch, &["verify"]).await;
        assert_eq!(found.code, Some(1), "{found:?}");
        let row = format!("{}: entry 2 (amount -1", customer.id);
        assert!(found.out.contains(&row) && found.out.contains("NOT everything holds"), "{found:?}");
        let found = run(&program.launch, &["verify", "--json"]).await;
        assert_eq!(found.code, Some(1), "{found:?}");
        let report: Value = serde_json::from_str(&found.out).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let violations: Vec<_> = checks.iter().flat_map(|check| check["violations"].as_array().unwrap()).collect();
        assert!(violations.iter().any(|violation| violation.as_str().unwrap().starts_with(&row)), "{violations:?}");
    }
}
