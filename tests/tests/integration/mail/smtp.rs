//! Mail through a real SMTP server: delivered, retried, refused.

use super::{Value, job_id, mail_in_state, number, resend, tables_with, text};
use crate::private::Private;
use crate::scene::{admin_post, attempts, audited, job, with_backend};
use bursar_engine::config::Config;
use bursar_services::Exim;
use bursar_tests::unique::unique;
use bursar_tests::{TestApp, TestCustomer, wait};
use serde_json::json;

/// The settings of an application that sends through this server. It asks for confirmation, because it sends mail.
fn through(url: String) -> impl FnOnce(&mut Config) {
    move |config| {
        config.mail.smtp_url = url;
        config.mail.from = "Acme Fixes <billing@acme.example>".to_owned();
        config.mail.reply_to = "help@acme.example".to_owned();
        config.mail.product_name = "Acme Fixes".to_owned();
        config.mail.timeout_ms = 2_000;
        config.public_url = "https://billing.acme.example/".to_owned();
    }
}

/// The token of the link in a delivered mail.
fn token(mail: &str) -> String {
    let mail = mail.replace("=3D", "=");
    let (_, rest) = mail.split_once("https://billing.acme.example/confirm?token=").unwrap_or_else(|| panic!("{mail}"));
    rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

async fn url(server: &Private<Exim>) -> String {
    server.run(|exim| Ok(exim.url())).await
}

async fn sign_up(app: &TestApp, email: &str) -> TestCustomer {
    let body = json!({ "email": email, "name": "Ada <Lovelace>" });
    let made = app.request("POST", "/api/v1/customers/onboard", &[], Some(&body)).await.expect(201);
    TestCustomer { id: text(&made["customer"]["id"]).to_owned(), api_key: text(&made["api_key"]).to_owned() }
}

/// Waits for delivered mails and returns them, with the soft line breaks of quoted-printable removed.
async fn delivered(server: &Private<Exim>) -> Vec<String> {
    let found = wait::until("mail is delivered", || async {
        let found = server.run(|exim| exim.delivered()).await;
        (!found.is_empty()).then_some(found)
    })
    .await;
    found.into_iter().map(|mail| mail.replace("=\r\n", "").replace("=\n", "")).collect()
}

fn header<'a>(mail: &'a str, name: &str) -> &'a str {
    let line = mail.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {mail}"))
}

async fn mail_health(app: &TestApp) -> Value {
    let health = app.request("GET", "/health", &[], None).await.expect(200);
    let found = health["dependencies"].as_array().unwrap().iter().find(|one| one["name"] == "mail").cloned();
    let found = found.unwrap_or_default();
    assert_eq!(found["latency_ms"].is_number(), found["state"] == "up", "{health}");
    json!([health["status"], found["state"]])
}

/// Waits until a mail has failed this often; returns it.
async fn failed_times(app: &TestApp, customer: &TestCustomer, tries: i64) -> Value {
    wait::until(&format!("{tries} attempts failed"), || async {
        let found = mail_in_state(app, customer, "welcome", "queued").await;
        (found["mail"]["attempts"].as_i64().unwrap() >= tries).then_some(found)
    })
    .await
}

with_backend! {
    async fn the_welcome_arrives_with_a_link_that_confirms_and_is_kept_without_it(backend: Backend) {
        let server = Private::start(Exim::start).await;
        let app = TestApp::start_with(backend, through(url(&server).await)).await;
        assert_eq!(mail_health(&app).await, json!(["ok", "up"]));
        let customer = sign_up(&app, "Ada@Example.com").await;
        let kept = mail_in_state(&app, &customer, "welcome", "sent").await;
        let arrived = delivered(&server).await;
        assert_eq!(arrived.len(), 1);
        let mail = &arrived[0];
        assert_eq!(header(mail, "From"), "\"Acme Fixes\" <billing@acme.example>");
        assert_eq!(header(mail, "Reply-To"), "help@acme.example");
        assert!(header(mail, "To").eq_ignore_ascii_case("ada@example.com"), "{mail}");
        assert_eq!(header(mail, "Subject"), "[SANDBOX] Welcome to Acme Fixes");
        assert_eq!(header(mail, "Auto-Submitted"), "auto-generated");
        assert_eq!(header(mail, "Message-ID"), text(&kept["mail"]["message_id"]));
        assert!(header(mail, "Message-ID").ends_with("@acme.example>"));
        let token = token(mail);
        assert_eq!(mail.matches(&token).count(), 2, "in text and HTML: {mail}");
        assert!(!mail.contains("bsk_") && !mail.contains("Lovelace"), "no key, and nothing of a stranger's: {mail}");
        for part in ["text", "html"] {
            let kept = text(&kept[part]);
            assert!(kept.contains("token=cfm_…") && !kept.contains(&token), "{kept}");
        }
        let args = job(&app, &job_id(&kept)).await.args;
        assert!(!args.contains("sealed"), "{args}");
        assert_eq!(tables_with(&app, &token).await, Vec::<String>::new());
        let form = format!("token={token}&action=confirm&keep_keys=yes");
        let request = app.client.post(format!("{}/confirm", app.base)).body(form);
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        assert_eq!(request.send().await.unwrap().status(), 200);
        let me = app.call(&customer, "GET", "/api/v1/customer", "", None).await.expect(200);
        assert_eq!(me["email_confirmed"], true);
        app.verify().await;
        app.stop().await;
    }

    async fn mail_waits_for_a_server_that_is_down_and_is_delivered_once_when_it_is_up(backend: Backend) {
        let server = Private::start(Exim::start).await;
        let url = url(&server).await;
        server.run(Exim::stop).await;
        let app = TestApp::start_with(backend, through(url)).await;
        assert_eq!(mail_health(&app).await, json!(["degraded", "down"]));
        let customer = sign_up(&app, "ada@example.com").await;
        let waiting = failed_times(&app, &customer, 2).await;
        assert!(!text(&waiting["mail"]["last_error"]).is_empty());
        let sealed = job(&app, &job_id(&waiting)).await.args;
        assert!(sealed.contains("sealed_token") && !sealed.contains("cfm_"), "{sealed}");
        server.run(Exim::start_again).await;
        let sent = mail_in_state(&app, &customer, "welcome", "sent").await;
        let arrived = delivered(&server).await;
        assert_eq!(arrived.len(), 1);
        assert!(token(&arrived[0]).starts_with("cfm_"));
        assert_eq!(header(&arrived[0], "Message-ID"), text(&sent["mail"]["message_id"]));
        let outcomes: Vec<_> = attempts(&app, &job_id(&sent)).await.into_iter().map(|one| one.outcome).collect();
        let (last, tries) = outcomes.split_last().unwrap();
        assert_eq!(last, "done");
        assert!(tries.len() >= 2 && tries.iter().all(|outcome| outcome == "retry"), "{outcomes:?}");
        app.stop().await;
    }

    async fn a_link_sealed_under_another_secret_is_kept_until_the_secret_is_back(backend: Backend) {
        let server = Private::start(Exim::start).await;
        let url = url(&server).await;
        server.run(Exim::stop).await;
        let app = TestApp::start_with(backend, through(url)).await;
        let customer = sign_up(&app, "ada@example.com").await;
        failed_times(&app, &customer, 1).await;
        let (mut config, folder) = app.halt().await;
        let secret = std::mem::replace(&mut config.secret_key, "ff".repeat(32));
        server.run(Exim::start_again).await;
        let app = TestApp::start_on(config, folder).await;
        let dead = mail_in_state(&app, &customer, "welcome", "failed").await;
        assert!(text(&dead["mail"]["last_error"]).contains("BURSAR_SECRET_KEY"), "{dead}");
        let (mut config, folder) = app.halt().await;
        config.secret_key = secret;
        let app = TestApp::start_on(config, folder).await;
        admin_post(&app, &format!("/admin/v1/jobs/{}/replay", job_id(&dead)), "the secret is back").await.expect(200);
        mail_in_state(&app, &customer, "welcome", "sent").await;
        assert!(token(&delivered(&server).await[0]).starts_with("cfm_"));
        app.stop().await;
    }

    async fn a_permanently_refused_address_fails_at_once_with_the_servers_reason(backend: Backend) {
        let server = Private::start(Exim::start).await;
        let app = TestApp::start_with(backend, through(url(&server).await)).await;
        let customer = sign_up(&app, "unknown@example.com").await;
        let failed = mail_in_state(&app, &customer, "welcome", "failed").await;
        let reason = text(&failed["mail"]["last_error"]);
        assert!(reason.contains("550") && reason.contains("no such user here"), "{reason}");
        assert_eq!(failed["mail"]["attempts"], 1);
        // The link still has to be mailed, so support may retry; only the server decides.
        assert!(job(&app, &job_id(&failed)).await.args.contains("sealed_token"));
        resend(&app, &failed, "the mailbox was created").await.expect(200);
        wait::until("the mail was tried again", || async {
            (attempts(&app, &job_id(&failed)).await.len() == 2).then_some(())
        })
        .await;
        mail_in_state(&app, &customer, "welcome", "failed").await;
        assert_eq!(number(&app, "SELECT COUNT(*) FROM mails", []).await, 0);
        app.stop().await;
    }

    async fn a_failed_mail_is_retried_once_for_each_key(backend: Backend) {
        let server = Private::start(Exim::start).await;
        let app = TestApp::start_with(backend, through(url(&server).await)).await;
        let customer = sign_up(&app, "unknown@example.com").await;
        let failed = mail_in_state(&app, &customer, "welcome", "failed").await;
        let path = format!("/admin/v1/mails/{}/resend", text(&failed["mail"]["id"]));
        let bearer = format!("Bearer {}", bursar_tests::app::ADMIN_TOKEN);
        let key = unique();
        let headers = [("Authorization", bearer.as_str()), ("Idempotency-Key", key.as_str())];
        let body = json!({ "reason": "the mailbox was created" });
        app.request("POST", &path, &headers, Some(&body)).await.expect(200);
        let tries = || async { attempts(&app, &job_id(&failed)).await.len() };
        wait::until("the mail was tried again", || async { (tries().await == 2).then_some(()) }).await;
        mail_in_state(&app, &customer, "welcome", "failed").await;

        let same = app.request("POST", &path, &headers, Some(&body)).await.expect(200);
        assert_eq!(same["mail"]["state"], "failed", "it was not retried again: {same}");
        let other = app.request("POST", &path, &headers, Some(&json!({ "reason": "something else" }))).await;
        other.expect_problem(422, "idempotency_key_reused");
        assert_eq!(tries().await, 2);
        assert_eq!(audited(&app, text(&failed["mail"]["job_id"])).await, ["job.replay"]);
        // Another request is another attempt, and the link still has to be mailed.
        resend(&app, &failed, "now it is there").await.expect(200);
        wait::until("the mail was tried a third time", || async { (tries().await == 3).then_some(()) }).await;
        assert!(job(&app, &job_id(&failed)).await.args.contains("sealed_token"));
        app.stop().await;
    }

    async fn mail_to_a_domain_in_unicode_goes_to_its_ascii_form(backend: Backend) {
        let server = Private::start(Exim::start).await;
        let app = TestApp::start_with(backend, through(url(&server).await)).await;
        let customer = sign_up(&app, "Ada@bücher.example").await;
        let sent = mail_in_state(&app, &customer, "welcome", "sent").await;
        assert_eq!(sent["mail"]["recipient"], "Ada@bücher.example");
        assert_eq!(header(&delivered(&server).await[0], "To"), "Ada@xn--bcher-kva.example");
        app.stop().await;
    }

    async fn a_temporarily_refused_address_is_retried(backend: Backend) {
        let server = Private::start(Exim::start).await;
        let app = TestApp::start_with(backend, through(url(&server).await)).await;
        let customer = sign_up(&app, "busy@example.com").await;
        let waiting = failed_times(&app, &customer, 2).await;
        let reason = text(&waiting["mail"]["last_error"]);
        assert!(reason.contains("450") && reason.contains("come again"), "{reason}");
        app.stop().await;
    }

    async fn mail_is_sent_with_a_login_and_wrong_credentials_lose_none(backend: Backend) {
        let server = Private::start(Exim::start).await;
        let (right, wrong) = server.run(|exim| Ok((exim.url_with("s3cret%2Fpass%20word"), exim.url_with("no")))).await;
        let app = TestApp::start_with(backend, through(wrong)).await;
        let customer = sign_up(&app, "ada@example.com").await;
        let waiting = failed_times(&app, &customer, 2).await;
        assert!(text(&waiting["mail"]["last_error"]).contains("535"), "{waiting}");
        let (mut config, folder) = app.halt().await;
        config.mail.smtp_url = right;
        let app = TestApp::start_on(config, folder).await;
        mail_in_state(&app, &customer, "welcome", "sent").await;
        assert!(delivered(&server).await[0].contains("esmtpa"), "it logged in");
        app.stop().await;
    }
}
