//! Who controls an address controls its customer: links, keys, and what waits for them.

mod browser;
mod keys;
mod limits;
mod money;
mod staff;
mod vouching;

use crate::database::{number, tables_with};
use crate::mail::{mail_in_state, mails, text};
use crate::scene::{sql, with_backend};
use crate::snapshot::assert_body;
use bursar_engine::config::{Config, ConfirmationMode};
use bursar_engine::domain::api_key::secret_hash;
use bursar_tests::answer::Answer;
use bursar_tests::unique::unique;
use bursar_tests::{Backend, TestApp, TestCustomer, wait};
use futures_util::future::join_all;
use serde_json::{Value, json};

const CONFIRM: &str = "/api/v1/customer/confirmation";

/// Asks for confirmation, although mail is only stored, where a test reads it.
fn asks(config: &mut Config) {
    config.onboarding.confirmation = ConfirmationMode::Required;
}

async fn sign_up(app: &TestApp, email: &str) -> TestCustomer {
    let body = json!({ "email": email, "name": "Ada" });
    let made = app.request("POST", "/api/v1/customers/onboard", &[], Some(&body)).await.expect(201);
    TestCustomer { id: text(&made["customer"]["id"]).to_owned(), api_key: text(&made["api_key"]).to_owned() }
}

/// The path and query of the link in a text.
fn link_in(text: &str) -> String {
    let at = text.find("/confirm?token=").unwrap_or_else(|| panic!("no link in {text}"));
    text[at..].split_whitespace().next().unwrap().to_owned()
}

/// The link in the welcome.
async fn welcome_link(app: &TestApp, customer: &TestCustomer) -> String {
    link_in(text(&mail_in_state(app, customer, "welcome", "stored").await["text"]))
}

/// The link in the latest mail that was asked for.
async fn asked_link(app: &TestApp, customer: &TestCustomer) -> String {
    link_in(text(&mail_in_state(app, customer, "confirm_address", "stored").await["text"]))
}

/// A page with its status and headers.
struct Page {
    status: u16,
    html: String,
    headers: reqwest::header::HeaderMap,
}

impl Page {
    async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, html: response.text().await.unwrap(), headers }
    }

    /// The API key that it shows.
    fn key(&self) -> Option<String> {
        let (_, rest) = self.html.split_once("<code>bsk_")?;
        Some(format!("bsk_{}", rest.split('<').next()?))
    }
}

async fn open(app: &TestApp, link: &str) -> Page {
    Page::read(app.client.get(format!("{}{link}", app.base)).send().await.unwrap()).await
}

/// Posts the form of a link's page, with these fields besides the token.
async fn post(app: &TestApp, link: &str, fields: &[(&str, &str)]) -> Page {
    let token = link.split_once('=').unwrap().1;
    let fields: Vec<_> = [("token", token)].iter().chain(fields).copied().collect();
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = app.client.post(format!("{}/confirm", app.base)).body(form);
    let request = request.header("Content-Type", "application/x-www-form-urlencoded");
    Page::read(request.send().await.unwrap()).await
}

async fn confirm(app: &TestApp, link: &str) -> Page {
    post(app, link, &[("action", "confirm")]).await
}

async fn works(app: &TestApp, api_key: &str) -> bool {
    app.request("GET", "/api/v1/customer", &[("x-api-key", api_key)], None).await.status == 200
}

/// Whether the customer's address is confirmed, as the customer sees it.
async fn is_confirmed(app: &TestApp, api_key: &str) -> bool {
    let me = app.request("GET", "/api/v1/customer", &[("x-api-key", api_key)], None).await.expect(200);
    me["email_confirmed"].as_bool().unwrap()
}

async fn ask(app: &TestApp, customer: &TestCustomer, key: &str) -> Answer {
    app.call(customer, "POST", CONFIRM, key, None).await
}

async fn expire_links(app: &TestApp) {
    // Not long ago, or the retention would delete them.
    sql(app, "UPDATE confirmation_links SET expires_at_ms = created_at_ms").await;
}

with_backend! {
    async fn the_link_confirms_the_address_ends_older_keys_and_shows_a_new_one(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.com").await;
        assert!(!is_confirmed(&app, &customer.api_key).await);
        let second = app.call(&customer, "POST", "/api/v1/api-keys", "k", Some(&json!({ "name": "ci" }))).await;
        let second = text(&second.expect(201)["key"]).to_owned();
        let link = welcome_link(&app, &customer).await;

        let page = open(&app, &link).await;
        assert_eq!(page.status, 200);
        assert!(page.html.contains("ada@example.com") && page.html.contains("<form method=\"post\""), "{}", page.html);
        let done = confirm(&app, &link).await;
        assert_eq!(done.status, 200, "{}", done.html);
        assert!(done.html.contains("is confirmed") && done.html.contains("The 2 keys"), "{}", done.html);
        let new_key = done.key().unwrap();
        assert!(works(&app, &new_key).await && is_confirmed(&app, &new_key).await);
        assert!(!works(&app, &customer.api_key).await && !works(&app, &second).await);
        assert_eq!(tables_with(&app, &new_key[4..]).await, Vec::<String>::new(), "the key is nowhere in the database");

        let again = confirm(&app, &link).await;
        assert!(again.status == 410 && again.key().is_none(), "{}", again.html);
        assert_eq!(open(&app, &link).await.status, 410);
        assert!(works(&app, &new_key).await);
        app.verify().await;
        app.stop().await;
    }

    async fn the_owner_may_keep_the_keys_and_have_another_one(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        for (fields, has_key) in [
            (&[("action", "confirm"), ("keep_keys", "yes")][..], false),
            (&[("action", "confirm"), ("keep_keys", "yes"), ("new_key", "yes")], true),
        ] {
            let customer = sign_up(&app, &format!("{}@example.com", unique())).await;
            let done = post(&app, &welcome_link(&app, &customer).await, fields).await;
            assert_eq!((done.status, done.key().is_some()), (200, has_key), "{}", done.html);
            assert!(is_confirmed(&app, &customer.api_key).await, "the key works");
            if let Some(key) = done.key() {
                assert!(works(&app, &key).await);
            }
        }
        app.stop().await;
    }

    async fn looking_at_a_link_changes_nothing(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.com").await;
        let link = welcome_link(&app, &customer).await;
        for method in [reqwest::Method::GET, reqwest::Method::HEAD, reqwest::Method::GET] {
            let answer = app.client.request(method, format!("{}{link}", app.base)).send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }
        for method in ["PUT", "DELETE", "OPTIONS"] {
            let method = method.parse::<reqwest::Method>().unwrap();
            let answer = app.client.request(method, format!("{}{link}", app.base)).send().await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()), (405, "GET, HEAD, POST"));
        }
        assert!(!is_confirmed(&app, &customer.api_key).await);
        assert_eq!(number(&app, "SELECT COUNT(*) FROM confirmation_links WHERE used_at_ms IS NOT NULL", []).await, 0);
        assert_eq!(confirm(&app, &link).await.status, 200, "it is still good");
        app.stop().await;
    }

    async fn the_page_is_not_stored_framed_named_or_scripted(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.com").await;
        let link = welcome_link(&app, &customer).await;
        let unknown = format!("/confirm?token=cfm_{}", "a".repeat(52));
        for page in [open(&app, &link).await, confirm(&app, &link).await, open(&app, &link).await, open(&app, &unknown).await]
        {
            let header = |name: &str| page.headers[name].to_str().unwrap().to_owned();
            assert_eq!(header("cache-control"), "no-store");
            assert_eq!(header("referrer-policy"), "no-referrer");
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert_eq!(header("x-frame-options"), "DENY");
            assert_eq!(header("content-type"), "text/html; charset=utf-8");
            let policy = header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
            assert!(policy.contains("form-action 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
            assert!(!policy.contains("unsafe") && !page.html.contains("<script"), "{policy}");
        }
        app.stop().await;
    }

    async fn what_is_no_link_is_a_page_that_says_so(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let unknown = format!("/confirm?token=cfm_{}", "a".repeat(52));
        let twice = format!("{unknown}&token=cfm_{}", "b".repeat(52));
        for link in ["/confirm?token=", "/confirm", "/confirm?token=cfm_x", "/confirm?token=%00", &unknown, &twice] {
            let page = open(&app, link).await;
            // A NUL in a URL is refused before any route.
            let expected = if link.contains("%00") { 400 } else { 404 };
            assert_eq!(page.status, expected, "{link}: {}", page.html);
        }
        assert_eq!(confirm(&app, &unknown).await.status, 404);
        assert_eq!(post(&app, &unknown, &[("action", "other")]).await.status, 404);
        let json = app.client.post(format!("{}/confirm", app.base)).json(&json!({ "token": "cfm_x" })).send().await;
        assert_eq!(json.unwrap().status(), 404);
        let huge = "x".repeat(5_000);
        assert_eq!(post(&app, &unknown, &[("action", &huge)]).await.status, 404);
        app.stop().await;
    }

    async fn an_expired_link_gets_a_new_one_mailed_to_the_same_address(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.com").await;
        let link = welcome_link(&app, &customer).await;
        expire_links(&app).await;
        let page = open(&app, &link).await;
        assert!(page.status == 410 && page.html.contains("has expired"), "{}", page.html);
        let refused = confirm(&app, &link).await;
        assert!(refused.status == 410 && refused.key().is_none(), "{}", refused.html);
        for _ in 0..3 {
            let sent = post(&app, &link, &[("action", "send")]).await;
            assert!(sent.status == 200 && sent.html.contains("on its way to ada@example.com"), "{}", sent.html);
        }
        let new = asked_link(&app, &customer).await;
        let asked = mails(&app, &customer).await.into_iter().filter(|mail| mail["template"] == "confirm_address");
        assert_eq!(asked.count(), 1, "one a day, however often the button is pressed");
        assert_eq!(post(&app, &new, &[("action", "send")]).await.status, 410, "it is good: nothing to send");
        let done = confirm(&app, &new).await;
        assert!(done.status == 200 && is_confirmed(&app, &done.key().unwrap()).await);
        app.stop().await;
    }

    async fn a_link_of_another_address_is_good_for_nothing(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.com").await;
        let link = welcome_link(&app, &customer).await;
        sql(&app, "UPDATE customers SET email = 'eve@example.com', email_normalized = 'eve@example.com'").await;
        let page = confirm(&app, &link).await;
        assert!(page.status == 410 && page.html.contains("another address") && !page.html.contains("<form"), "{}", page.html);
        assert_eq!(post(&app, &link, &[("action", "send")]).await.status, 410);
        assert!(!is_confirmed(&app, &customer.api_key).await);
        app.stop().await;
    }

    async fn of_two_uses_at_once_one_takes_the_customer_over(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.com").await;
        let link = welcome_link(&app, &customer).await;
        let pages = join_all((0..8).map(|_| confirm(&app, &link))).await;
        let (done, gone): (Vec<_>, Vec<_>) = pages.iter().partition(|page| page.status == 200);
        assert_eq!((done.len(), gone.len()), (1, 7));
        assert!(gone.iter().all(|page| page.status == 410 && page.key().is_none()));
        let valid = "SELECT COUNT(*) FROM api_keys WHERE revoked_at_ms IS NULL";
        assert_eq!(number(&app, valid, []).await, 1);
        assert!(works(&app, &done[0].key().unwrap()).await);
        app.verify().await;
        app.stop().await;
    }

    async fn any_link_uses_up_all_others_of_its_customer(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.com").await;
        let welcome = welcome_link(&app, &customer).await;
        let sent = ask(&app, &customer, "one").await.expect(202);
        assert_body!(sent, @r#"
        {
          "email": "ada@example.com",
          "good_for_s": 259200
        }
        "#);
        let asked = asked_link(&app, &customer).await;
        assert_eq!(confirm(&app, &asked).await.status, 200);
        assert_eq!(confirm(&app, &welcome).await.status, 410);
        app.stop().await;
    }

    async fn without_the_question_nobody_waits_and_the_welcome_has_no_link(backend: Backend) {
        let app = TestApp::start(backend).await;
        let customer = sign_up(&app, "ada@example.com").await;
        assert!(is_confirmed(&app, &customer.api_key).await);
        let welcome = mail_in_state(&app, &customer, "welcome", "stored").await;
        assert!(!text(&welcome["text"]).contains("/confirm"), "{welcome}");
        assert_eq!(number(&app, "SELECT COUNT(*) FROM confirmation_links", []).await, 0);
        ask(&app, &customer, "one").await.expect_problem(409, "address_confirmed");
        app.stop().await;
    }

    async fn a_token_is_stored_only_as_a_hash_and_sealed_until_its_mail_is_made(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.com").await;
        let link = welcome_link(&app, &customer).await;
        let token = link.split_once('=').unwrap().1;
        assert_eq!(tables_with(&app, &secret_hash(token)).await, ["confirmation_links"]);
        assert_eq!(tables_with(&app, "sealed_token").await, Vec::<String>::new());
        // Only the mail that nobody was sent holds it: there it is the only copy.
        assert_eq!(tables_with(&app, token).await, ["mails"]);
        app.stop().await;
    }
}
