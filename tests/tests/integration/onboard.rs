//! Signup.

mod limit;
mod signup_limits;
mod statements;

use crate::database::{number, tables_with};
use crate::snapshot::assert_body;
use bursar_engine::domain::api_key::secret_hash;
use bursar_engine::infra::store::audit::audit_page;
use bursar_tests::answer::Answer;
use bursar_tests::app::ADMIN_TOKEN;
use bursar_tests::unique::unique;
use bursar_tests::{TestApp, TestCustomer, with_app};
use futures_util::future::join_all;
use serde_json::{Value, json};

const CUSTOMERS: &str = "SELECT COUNT(*) FROM customers";

async fn sign_up(app: &TestApp, body: &Value) -> Answer {
    app.request("POST", "/api/v1/customers/onboard", &[], Some(body)).await
}

fn person(email: &str) -> Value {
    json!({ "email": email, "name": "Ada Lovelace", "source": "direct" })
}

with_app! {
    async fn signing_up_gives_a_key_five_credits_and_the_trial(app: &TestApp) {
        let made = sign_up(app, &person("ada@example.com")).await.expect(201);
        assert_body!(made, @r#"
        {
          "api_key": "bsk_…",
          "customer": {
            "created_at": "[time]",
            "credit_balance": 5,
            "email": "ada@example.com",
            "email_confirmed": true,
            "has_payment_method": false,
            "id": "cst_…",
            "name": "Ada Lovelace",
            "plan": "trial",
            "source": "direct",
            "stripe_customer_id": null
          }
        }
        "#);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let customer = TestCustomer { id: text(&made["customer"]["id"]), api_key: text(&made["api_key"]) };
        let me = app.call(&customer, "GET", "/api/v1/customer", "", None).await.expect(200);
        assert_eq!(me, made["customer"]);
        app.spend(&customer, 5, "all").await.expect(200);
        app.verify().await;
    }

    async fn fields_are_trimmed_and_the_source_defaults_to_direct(app: &TestApp) {
        let name = "é".repeat(200);
        let body = json!({ "email": " Grace@Example.com ", "name": format!(" {name} ") });
        let made = sign_up(app, &body).await.expect(201);
        assert_eq!(made["customer"]["email"], "Grace@Example.com");
        assert_eq!(made["customer"]["name"], name);
        assert_eq!(made["customer"]["source"], "direct");
    }

    async fn an_address_in_another_case_is_the_same_customer(app: &TestApp) {
        sign_up(app, &person("Ada@Example.com")).await.expect(201);
        for same in ["ada@example.com", "ADA@EXAMPLE.COM", " Ada@Example.com"] {
            let answer = sign_up(app, &person(same)).await;
            answer.expect_problem(409, "customer_exists");
            assert_body!(answer.body, @r#"
            {
              "code": "customer_exists",
              "detail": "a customer with this e-mail address already exists",
              "status": 409,
              "title": "Conflict",
              "type": "about:blank"
            }
            "#);
        }
        assert_eq!(number(app, CUSTOMERS, []).await, 1);
        assert_eq!(number(app, "SELECT COUNT(*) FROM api_keys", []).await, 1);
        assert_eq!(number(app, "SELECT COUNT(*) FROM ledger_entries", []).await, 1);
    }

    async fn a_domain_in_unicode_and_in_ascii_is_the_same_customer(app: &TestApp) {
        let made = sign_up(app, &person("ada@Bücher.example")).await.expect(201);
        assert_eq!(made["customer"]["email"], "ada@Bücher.example");
        sign_up(app, &person("ada@xn--bcher-kva.example")).await.expect_problem(409, "customer_exists");
    }

    async fn another_tag_of_a_mailbox_is_another_customer_without_free_credits(app: &TestApp) {
        let first = sign_up(app, &person("ada.l@gmail.com")).await.expect(201);
        assert_eq!(first["customer"]["credit_balance"], 5);
        for same in ["ada.l+ci@gmail.com", "adal@gmail.com", "a.d.a.l+x@googlemail.com"] {
            let made = sign_up(app, &person(same)).await.expect(201);
            assert_eq!(made["customer"]["credit_balance"], 0, "{same}");
        }
        for other in ["ada.m@gmail.com", "ada.l@example.com"] {
            let made = sign_up(app, &person(other)).await.expect(201);
            assert_eq!(made["customer"]["credit_balance"], 5, "{other}");
        }
        app.verify().await;
    }

    async fn twenty_tags_of_a_mailbox_at_once_get_the_free_credits_once(app: &TestApp) {
        let bodies: Vec<Value> = (0..20).map(|n| person(&format!("ada+{n}@example.com"))).collect();
        let answers = join_all(bodies.iter().map(|body| sign_up(app, body))).await;
        let balances = answers.into_iter().map(|answer| answer.expect(201)["customer"]["credit_balance"].as_i64());
        assert_eq!(balances.map(Option::unwrap).sum::<i64>(), 5);
        app.verify().await;
    }

    async fn signup_audits_the_customer_and_its_key(app: &TestApp) {
        let body = json!({ "email": "ada@example.com", "name": "Ada", "source": "early_access", "email_verified": true });
        let token = [("Authorization", format!("Bearer {ADMIN_TOKEN}"))];
        let headers = token.each_ref().map(|(name, value)| (*name, value.as_str()));
        let made = app.request("POST", "/api/v1/customers/onboard", &headers, Some(&body)).await.expect(201);
        let id = made["customer"]["id"].as_str().unwrap();
        let lines = audit_page(app.app.db.read(), Some(id), None, 10).await.unwrap();
        let mut seen: Vec<(&str, Value)> =
            lines.iter().map(|line| (line.action.as_str(), serde_json::from_str(&line.details).unwrap())).collect();
        seen.sort_unstable_by_key(|(action, _)| *action);
        assert!(lines.iter().all(|line| line.actor == format!("customer:{id}")));
        assert_eq!(seen.iter().map(|(action, _)| *action).collect::<Vec<_>>(), ["api_key.create", "customer.onboard"]);
        assert_eq!(seen[0].1["name"], "default");
        let expected = json!({
            "source": "early_access", "free_credits": 5, "address": "vouched", "vouched_by": "admin:bootstrap",
        });
        assert_eq!(seen[1].1, expected);
        let shown = app.admin("GET", &format!("/admin/v1/customers/{id}"), None).await.expect(200);
        assert_eq!(shown["customer"]["source"], "early_access");
    }

    async fn a_wrong_admin_token_is_never_taken_for_none(app: &TestApp) {
        let body = person("ada@example.com");
        for wrong in ["Bearer bat_0", "bearer\tbat_0", "Bearer", "bat_0"] {
            let headers = [("Authorization", wrong)];
            let refused = app.request("POST", "/api/v1/customers/onboard", &headers, Some(&body)).await;
            refused.expect_problem(401, "invalid_token");
        }
        let headers = [("Authorization", "Basic YTpi")];
        app.request("POST", "/api/v1/customers/onboard", &headers, Some(&body)).await.expect(201);
    }

    async fn twenty_signups_at_once_with_one_address_make_one_customer(app: &TestApp) {
        let body = person("ada@example.com");
        let answers = join_all((0..20).map(|_| sign_up(app, &body))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            answer.expect_problem(409, "customer_exists");
        }
        assert_eq!(number(app, CUSTOMERS, []).await, 1);
        assert_eq!(number(app, "SELECT COUNT(*) FROM accounts", []).await, 1);
        app.verify().await;
    }

    async fn an_invalid_signup_is_refused_and_creates_no_customer(app: &TestApp) {
        let good = "ada@example.com";
        let emails = [
            "", " ", "ada", "ada@", "@example.com", "ada@example", "Ada <ada@example.com>", "a b@example.com",
            "ada@example.com, eve@example.com", "ada@exa mple.com",
        ];
        let mut refused: Vec<(Value, &str)> = emails.iter().map(|email| (person(email), "invalid_email")).collect();
        refused.push((person(&format!("{}@example.com", "a".repeat(300))), "invalid_email"));
        for name in ["", "  ", "a\nb", &"x".repeat(201)] {
            refused.push((json!({ "email": good, "name": name }), "invalid_name"));
        }
        for body in [
            json!({ "email": good, "name": "Ada", "source": "stolen" }),
            json!({ "email": good, "name": "Ada", "source": "Direct" }),
            json!({ "email": good, "name": "Ada", "plan": "pro" }),
            json!({ "email": good, "name": "Ada", "credit_balance": 1_000 }),
            json!({ "email": good }),
            json!({ "name": "Ada" }),
            json!({ "email": null, "name": "Ada" }),
            json!({ "email": 7, "name": "Ada" }),
            json!({ "email": [good], "name": "Ada" }),
            json!({ "email": "ada\u{0}@example.com", "name": "Ada" }),
            json!({ "email": good, "name": "a\u{0}b" }),
            json!([]),
            json!("ada@example.com"),
            json!(null),
        ] {
            refused.push((body, "invalid_body"));
        }
        for (body, code) in refused {
            let answer = sign_up(app, &body).await;
            assert_eq!((answer.status, answer.code()), (400, code), "{body} was answered {}", answer.body);
            assert_eq!(answer.content_type, "application/problem+json");
        }
        assert_eq!(number(app, CUSTOMERS, []).await, 0);
        assert_eq!(number(app, "SELECT COUNT(*) FROM audit_log", []).await, 0);
    }

    async fn a_raw_key_is_nowhere_in_the_database_nor_on_the_disk(app: &TestApp) {
        let customer = app.onboard().await;
        let second = app.call(&customer, "POST", "/api/v1/api-keys", &unique(), Some(&json!({ "name": "ci" }))).await;
        let second = second.expect(201)["key"].as_str().unwrap().to_owned();
        for key in [&customer.api_key, &second] {
            // The search works: it finds the stored hash of a key.
            assert_eq!(tables_with(app, &secret_hash(key)).await, ["api_keys"]);
            assert_eq!(tables_with(app, key).await, Vec::<String>::new());
            assert_eq!(tables_with(app, &key[12..]).await, Vec::<String>::new(), "a key without its first characters");
            for file in std::fs::read_dir(&app.config.data_dir).unwrap() {
                let path = file.unwrap().path();
                let bytes = std::fs::read(&path).unwrap();
                let is_in = bytes.windows(key.len()).any(|window| window == key.as_bytes());
                assert!(!is_in, "the raw key is in {}", path.display());
            }
        }
    }
}
