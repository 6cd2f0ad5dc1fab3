//! Admin tokens: scopes, the end of a token, its last use, the bootstrap token.

use super::*;
use crate::cli::{Program, run};
use crate::scene::{audited, with_backend};
use bursar::auth::find_voucher;
use bursar::scope::{ADMIN_PATH, scope_of};
use bursar_engine::domain::admin_token::Scope;
use bursar_tests::wait;
use poem::http::{HeaderMap, HeaderValue, header};

const NOBODY: &str = "cst_00000000000000000000000000";

/// A token under test.
struct Token {
    id: String,
    raw: String,
}

impl Token {
    /// Its name in the audit log.
    fn actor(&self, name: &str) -> String {
        format!("admin:{name}/{}", self.id)
    }
}

async fn create(app: &TestApp, key: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    app.request("POST", "/admin/v1/tokens", &[("Authorization", &bearer), ("Idempotency-Key", key)], Some(body)).await
}

/// Makes a token that does not expire.
async fn token(app: &TestApp, name: &str, scopes: &[&str]) -> Token {
    let body = json!({ "name": name, "scopes": scopes, "reason": "test" });
    let made = create(app, &unique(), &body).await.expect(201);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Token { id: text(&made["admin_token"]["id"]), raw: text(&made["token"]) }
}

async fn revoke(app: &TestApp, token: &Token) -> Answer {
    let path = format!("/admin/v1/tokens/{}/revoke", token.id);
    app.admin("POST", &path, Some(&json!({ "reason": "test" }))).await
}

/// Makes a request with a token; without an idempotency key, so that nothing which needs one happens.
async fn with(app: &TestApp, raw: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    app.request(method, path, &[("Authorization", &format!("Bearer {raw}"))], body).await
}

async fn listed(app: &TestApp, id: &str) -> Value {
    let all = data(app, "/admin/v1/tokens?limit=100").await;
    all.into_iter().find(|token| token["id"] == id).expect("the token is listed")
}

/// Waits until the last use of a token is recorded, and returns it.
async fn use_is_recorded(app: &TestApp, token: &Token) -> Value {
    wait::until("the use is recorded", || async {
        let used = listed(app, &token.id).await["last_used_at"].clone();
        used.is_string().then_some(used)
    })
    .await
}

with_app! {
    async fn every_route_admits_exactly_the_tokens_that_have_its_scope(app: &TestApp) {
        let mut tokens = Vec::new();
        for scope in Scope::ALL {
            tokens.push((scope, token(app, scope.as_str(), &[scope.as_str()]).await));
        }
        let document: Value = serde_json::from_str(&bursar::routes::openapi_document()).unwrap();
        let paths = document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with(ADMIN_PATH));
        let mut checked = 0;
        for (path, methods) in paths {
            let filled = path.replace("{id}", NOBODY).replace("{key}", "job:x").replace("{version}", "99");
            let filled = filled.replace("{github_account_id}", "1");
            for (method, operation) in methods.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                let needed = scope_of(id).unwrap_or_else(|| panic!("{id} has no row in api/src/scope.rs"));
                let named = format!("Needs an admin token with the scope `{needed}`.");
                assert!(operation["description"].as_str().unwrap().ends_with(&named), "{id}");
                let body = (method != "get").then(|| json!({}));
                for (held, token) in &tokens {
                    let answer = with(app, &token.raw, &method.to_uppercase(), &filled, body.as_ref()).await;
                    let is_refused = answer.code() == "insufficient_scope";
                    let is_allowed = *held == needed || *held == Scope::Admin;
                    assert_eq!(is_refused, !is_allowed, "{id} with {held}: {} {}", answer.status, answer.body);
                    assert_ne!(answer.status, 401, "{id} with {held}");
                    if is_refused {
                        let named = &answer.body["required_scope"];
                        assert_eq!((answer.status, named), (403, &json!(needed.as_str())), "{id} with {held}");
                    }
                    checked += 1;
                }
            }
        }
        assert_eq!(checked, bursar::scope::SCOPES.len() * Scope::ALL.len());
        // The router answers HEAD as GET.
        for (held, token) in &tokens {
            let request = app.client.head(format!("{}/admin/v1/customers", app.base)).bearer_auth(&token.raw);
            let status = request.send().await.unwrap().status().as_u16();
            let expected = if matches!(held, Scope::Read | Scope::Admin) { 200 } else { 403 };
            assert_eq!(status, expected, "{held}");
        }
    }

    async fn a_refusal_names_the_scope_that_is_needed(app: &TestApp) {
        let ada = token(app, "ada", &["adjust", "read"]).await;
        let refused = with(app, &ada.raw, "POST", &format!("/admin/v1/payments/{NOBODY}/refund"), Some(&json!({}))).await;
        assert_body!(refused.expect(403), @r#"
        {
          "code": "insufficient_scope",
          "detail": "This needs an admin token with the scope refund. This one has: read, adjust.",
          "required_scope": "refund",
          "status": 403,
          "title": "Forbidden",
          "type": "about:blank"
        }
        "#);
        with(app, &ada.raw, "GET", "/admin/v1/customers", None).await.expect(200);
    }

    async fn a_token_is_shown_once_and_kept_as_a_hash_only(app: &TestApp) {
        let body = json!({ "name": "ada@example.com", "scopes": ["replay", "read"], "expires_in_s": 60, "reason": "new" });
        let made = create(app, "key", &body).await.expect(201);
        let raw = made["token"].as_str().unwrap().to_owned();
        assert!(raw.starts_with("bat_") && raw.len() == 56, "{raw}");
        let record = &made["admin_token"];
        assert_eq!(record["scopes"], json!(["read", "replay"]));
        assert_eq!(record["hint"], raw[..12]);
        assert_eq!([&record["state"], &record["created_by"]], ["valid", "admin:bootstrap"]);
        let again = create(app, "key", &body).await.expect(201);
        assert_eq!((&again["token"], &again["admin_token"]), (&Value::Null, record));
        let other = json!({ "name": "bob", "scopes": ["read"], "reason": "new" });
        create(app, "key", &other).await.expect_problem(422, "idempotency_key_reused");
        assert_eq!(data(app, "/admin/v1/tokens").await.len(), 1);
        let stored = "SELECT COUNT(*) FROM admin_tokens WHERE hash LIKE $1 OR hint LIKE $1 OR name LIKE $1";
        assert_eq!(number(app, stored, [format!("%{}%", &raw[12..]).into()]).await, 0);
        let id = record["id"].as_str().unwrap();
        let lines = data(app, &format!("/admin/v1/audit?target={id}")).await;
        assert!(lines.len() == 1 && !lines[0].to_string().contains(&raw[12..]), "{lines:?}");
        assert_eq!(lines[0]["details"]["scopes"], json!(["read", "replay"]));
        with(app, &raw, "GET", "/admin/v1/customers", None).await.expect(200);
    }

    async fn a_token_without_a_plain_name_known_scopes_or_a_reason_is_refused(app: &TestApp) {
        let changed = |field: &str, value: Value| {
            let mut body = json!({ "name": "ada", "scopes": ["read"], "reason": "test" });
            body[field] = value;
            body
        };
        let cases = [
            (changed("name", json!("")), "invalid_name"),
            (changed("name", json!("bootstrap")), "invalid_name"),
            (changed("name", json!("ada/adt_1")), "invalid_name"),
            (changed("scopes", json!([])), "invalid_scopes"),
            (changed("scopes", json!(["root"])), "invalid_scopes"),
            (changed("scopes", json!("read")), "invalid_body"),
            (changed("expires_in_s", json!(0)), "invalid_expiry"),
            (changed("expires_in_s", json!(i64::MAX)), "invalid_expiry"),
            (changed("reason", json!(" ")), "invalid_reason"),
        ];
        for (body, code) in cases {
            create(app, &unique(), &body).await.expect_problem(400, code);
        }
        assert_eq!(data(app, "/admin/v1/tokens").await, Vec::<Value>::new());
    }

    async fn a_revoked_token_is_refused_at_once_and_stays_in_the_list(app: &TestApp) {
        let ada = token(app, "ada", &["read"]).await;
        with(app, &ada.raw, "GET", "/admin/v1/customers", None).await.expect(200);
        use_is_recorded(app, &ada).await;
        let revoked = revoke(app, &ada).await.expect(200);
        assert_eq!([&revoked["state"], &revoked["revoked_by"]], ["revoked", "admin:bootstrap"]);
        with(app, &ada.raw, "GET", "/admin/v1/customers", None).await.expect_problem(401, "invalid_token");
        assert_eq!(revoke(app, &ada).await.expect(200), revoked, "revoking again changes nothing");
        assert_eq!(audited(app, &ada.id).await, ["admin_token.create", "admin_token.revoke"]);
        assert_eq!(listed(app, &ada.id).await["state"], "revoked");
        let nobody = Token { id: "adt_00000000000000000000000000".to_owned(), raw: String::new() };
        revoke(app, &nobody).await.expect_problem(404, "not_found");
    }

    async fn an_expired_token_is_refused(app: &TestApp) {
        let body = json!({ "name": "ada", "scopes": ["read"], "expires_in_s": 1, "reason": "test" });
        let made = create(app, &unique(), &body).await.expect(201);
        let raw = made["token"].as_str().unwrap();
        let refused = wait::until("the token is refused", || async {
            let answer = with(app, raw, "GET", "/admin/v1/customers", None).await;
            (answer.status != 200).then_some(answer)
        })
        .await;
        refused.expect_problem(401, "invalid_token");
        assert_eq!(listed(app, made["admin_token"]["id"].as_str().unwrap()).await["state"], "expired");
    }

    async fn unknown_tokens_are_refused_and_do_not_shut_out_known_ones(app: &TestApp) {
        let ada = token(app, "ada", &["read"]).await;
        let customer = app.onboard().await;
        let longer = format!("{}0", ada.raw);
        let shorter = &ada.raw[..ada.raw.len() - 1];
        for raw in [&*longer, shorter, &ada.raw.to_uppercase(), &ada.id, &customer.api_key, "bat_", &"b".repeat(300)] {
            with(app, raw, "GET", "/admin/v1/customers", None).await.expect_problem(401, "invalid_token");
            with(app, &ada.raw, "GET", "/admin/v1/customers", None).await.expect(200);
        }
    }

    async fn the_last_use_is_recorded_and_not_on_every_request(app: &TestApp) {
        let ada = token(app, "ada", &["read"]).await;
        assert_eq!(listed(app, &ada.id).await["last_used_at"], Value::Null);
        with(app, &ada.raw, "GET", "/admin/v1/customers", None).await.expect(200);
        let used = use_is_recorded(app, &ada).await;
        for _ in 0..3 {
            with(app, &ada.raw, "GET", "/admin/v1/customers", None).await.expect(200);
        }
        assert_eq!(listed(app, &ada.id).await["last_used_at"], used, "once a minute is enough");
    }

    async fn every_deed_names_the_token_that_did_it(app: &TestApp) {
        let ada = token(app, "ada", &["adjust", "replay", "read", "admin"]).await;
        let actor = ada.actor("ada");
        let customer = app.onboard().await;
        let bearer = format!("Bearer {}", ada.raw);
        let post = async |path: &str, body: Value| {
            let key = unique();
            let headers = [("Authorization", bearer.as_str()), ("Idempotency-Key", key.as_str())];
            app.request("POST", path, &headers, Some(&body)).await
        };
        let of_customer = format!("/admin/v1/customers/{}", customer.id);
        post(&format!("{of_customer}/adjustments"), json!({ "amount": 3, "reason": "x" })).await.expect(200);
        post(&format!("{of_customer}/suspend"), json!({ "reason": "x" })).await.expect(200);
        post(&format!("{of_customer}/resume"), json!({ "reason": "x" })).await.expect(200);
        post(&format!("{of_customer}/api-keys"), json!({ "name": "new", "reason": "x" })).await.expect(201);
        post("/admin/v1/replays", json!({ "filter": {}, "dry_run": true, "reason": "x" })).await.expect(201);
        let bob = json!({ "name": "bob", "scopes": ["read"], "reason": "x" });
        let bob = post("/admin/v1/tokens", bob).await.expect(201);
        assert_eq!(bob["admin_token"]["created_by"], actor);

        let lines = data(app, "/admin/v1/audit?limit=100").await;
        let acts: Vec<&str> =
            lines.iter().filter(|line| line["actor"] == actor).map(|line| line["action"].as_str().unwrap()).collect();
        let expected = [
            "admin_token.create", "replay.create", "api_key.create", "customer.resume", "customer.suspend",
            "customer.adjust",
        ];
        assert_eq!(acts, expected);
        assert!(lines.iter().all(|line| line["actor"] != "admin:bootstrap" || line["target"] == ada.id), "{lines:#?}");
    }

    async fn a_backend_vouches_with_a_token_of_its_scope_only(app: &TestApp) {
        let (backend, reader) = (token(app, "backend", &["onboard"]).await, token(app, "reader", &["read"]).await);
        let headers = |text: &str| {
            HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(text).unwrap())])
        };
        let find = async |headers: HeaderMap| find_voucher(&app.app, &headers, Scope::Onboard).await;
        assert_eq!(find(HeaderMap::new()).await.unwrap(), None);
        let found = find(headers(&format!("Bearer {}", backend.raw))).await.unwrap().expect("somebody");
        assert_eq!(found.actor, backend.actor("backend"));
        assert!(find(headers(&format!("Bearer {ADMIN_TOKEN}"))).await.unwrap().is_some(), "admin includes all scopes");
        for wrong in [format!("Bearer {}", reader.raw), "Bearer bat_0".to_owned(), "Bearer".to_owned()] {
            assert!(find(headers(&wrong)).await.is_err(), "{wrong}");
        }
        assert_eq!(find(headers("Basic YTpi")).await.unwrap(), None, "a proxy's own credentials");
    }
}

with_backend! {
    async fn the_bootstrap_token_makes_the_first_and_can_be_switched_off(backend: Backend) {
        let app = TestApp::start(backend).await;
        let program = Program::of(&app.config, &app.base);
        let live = program.with(&[("BURSAR_STRIPE__LIVEMODE", "true")]);
        let checked = run(&live, &["config", "check"]).await;
        assert!(checked.code == Some(0) && !checked.err.contains("BURSAR_ADMIN__BOOTSTRAP"), "{checked:?}");
        let ada = token(&app, "ada", &["admin"]).await;
        let checked = run(&live, &["config", "check"]).await;
        assert!(checked.code == Some(0) && checked.err.contains("BURSAR_ADMIN__BOOTSTRAP"), "{checked:?}");
        let (mut config, folder) = app.halt().await;

        config.stripe.livemode = true;
        let app = TestApp::start_on(config, folder).await;
        let health = app.request("GET", "/health", &[], None).await.body;
        let warnings = health["warnings"].as_array().unwrap();
        assert!(warnings.iter().any(|text| text.as_str().unwrap().contains("BURSAR_ADMIN__BOOTSTRAP")), "{health}");
        let (mut config, folder) = app.halt().await;

        config.admin.bootstrap = false;
        let app = TestApp::start_on(config, folder).await;
        with(&app, ADMIN_TOKEN, "GET", "/admin/v1/tokens", None).await.expect_problem(401, "invalid_token");
        let all = with(&app, &ada.raw, "GET", "/admin/v1/tokens", None).await.expect(200);
        assert_eq!(all["data"][0]["id"], ada.id);
        let health = app.request("GET", "/health", &[], None).await.body;
        assert!(!health.to_string().contains("BURSAR_ADMIN__BOOTSTRAP"), "{health}");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_learns_of_new_and_of_revoked_tokens() {
    let one = TestApp::start_with(Backend::Production, |config| config.admin.token_cache_ms = 200).await;
    let two = TestApp::start_on(one.config.clone(), None).await;
    let ada = token(&one, "ada", &["read"]).await;
    let on_two = async |wanted: u16| {
        wait::until("the other node knows", || async {
            let status = with(&two, &ada.raw, "GET", "/admin/v1/customers", None).await.status;
            (status == wanted).then_some(())
        })
        .await;
    };
    on_two(200).await;
    revoke(&one, &ada).await.expect(200);
    with(&one, &ada.raw, "GET", "/admin/v1/customers", None).await.expect_problem(401, "invalid_token");
    on_two(401).await;
    two.stop().await;
    one.stop().await;
}
