//! Mail: created by signups and low credit, stored without SMTP, sent once.

mod smtp;

use crate::database::{number, tables_with};
use crate::scene::{
    admin_get, admin_post, attempts, audited, deliver_until, invoice_paid, job, now_ms, sql, stripe_customer,
};
use crate::snapshot::assert_body;
use bursar_engine::ids::JobId;
use bursar_engine::infra::store::job::job_hasten;
use bursar_tests::unique::unique;
use bursar_tests::{TestApp, TestCustomer, wait, with_app};
use serde_json::{Value, json};

/// A customer's mails, latest first.
pub(crate) async fn mails(app: &TestApp, customer: &TestCustomer) -> Vec<Value> {
    let page = admin_get(app, &format!("/admin/v1/customers/{}/emails", customer.id)).await;
    page["data"].as_array().unwrap().clone()
}

/// Waits until a customer's mail of this kind is in this state; returns it with its text.
pub(crate) async fn mail_in_state(app: &TestApp, customer: &TestCustomer, template: &str, state: &str) -> Value {
    let id = wait::until(&format!("the mail {template} is {state}"), || async {
        let found = mails(app, customer).await;
        let found = found.iter().find(|mail| mail["template"] == template && mail["state"] == state)?;
        Some(found["id"].as_str().unwrap().to_owned())
    })
    .await;
    admin_get(app, &format!("/admin/v1/mails/{id}")).await
}

/// Makes a scheduled mail due now.
pub(crate) async fn hasten(app: &TestApp, customer: &TestCustomer, template: &str) {
    let key = format!("mail:{template}:{}", customer.id);
    let wake = job_hasten(app.app.db.write(), &key, now_ms()).await.unwrap().unwrap();
    app.app.runtime.dispatcher.announce(vec![wake]);
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn job_id(mail: &Value) -> JobId {
    JobId::parse(text(&mail["mail"]["job_id"])).unwrap()
}

async fn resend(app: &TestApp, mail: &Value, reason: &str) -> bursar_tests::answer::Answer {
    admin_post(app, &format!("/admin/v1/mails/{}/resend", text(&mail["mail"]["id"])), reason).await
}

with_app! {
    async fn signup_creates_six_mails_and_stores_the_welcome_without_a_key(app: &TestApp) {
        let customer = app.onboard().await;
        let welcome = mail_in_state(app, &customer, "welcome", "stored").await;
        let mut seen = Vec::new();
        for mail in mails(app, &customer).await {
            let job = job(app, &JobId::parse(text(&mail["job_id"])).unwrap()).await;
            let days = (job.run_at_ms - job.created_at_ms) / (24 * 60 * 60 * 1_000);
            seen.push(format!("{days:2} {} {}", text(&mail["template"]), text(&mail["state"])));
        }
        seen.sort();
        assert_eq!(seen, [
            " 0 welcome stored",
            " 1 followup_day_1 queued",
            " 3 followup_day_3 queued",
            " 5 followup_day_5 queued",
            " 7 followup_day_7 queued",
            "14 followup_day_14 queued",
        ]);
        assert_eq!(welcome["mail"]["subject"], "[SANDBOX] Welcome to Bursar");
        for part in ["text", "html"] {
            let said = text(&welcome[part]);
            assert!(said.contains("SANDBOX") && said.contains("x-api-key"), "{said}");
            assert!(!said.contains("bsk_") && !said.contains(&customer.api_key[12..]), "{said}");
        }
        assert_body!(welcome["mail"], @r#"
        {
          "attempts": 1,
          "copy_of": null,
          "created_at": "[time]",
          "customer_id": "cst_…",
          "due_at": "[time]",
          "id": "mal_…",
          "job_id": "job_…",
          "last_error": null,
          "message_id": "<mal_…@localhost>",
          "recipient": "…@example.com",
          "sent_at": "[time]",
          "state": "stored",
          "subject": "[SANDBOX] Welcome to Bursar",
          "template": "welcome"
        }
        "#);
        app.verify().await;
    }

    async fn a_mail_that_was_sent_is_not_sent_again_by_its_job(app: &TestApp) {
        let customer = app.onboard().await;
        let welcome = mail_in_state(app, &customer, "welcome", "stored").await;
        let args = job(app, &job_id(&welcome)).await.args;
        assert_eq!(args, json!({ "template": "welcome", "customer": customer.id, "about": {} }).to_string());
        assert_eq!(tables_with(app, &customer.api_key[4..]).await, Vec::<String>::new());
        // Its job runs again and finds that the mail was sent.
        admin_post(app, &format!("/admin/v1/jobs/{}/replay", job_id(&welcome)), "again").await.expect(200);
        wait::until("the job ran twice", || async {
            (attempts(app, &job_id(&welcome)).await.len() == 2).then_some(())
        })
        .await;
        let after = mail_in_state(app, &customer, "welcome", "stored").await;
        assert_eq!((&after["text"], &after["mail"]["sent_at"]), (&welcome["text"], &welcome["mail"]["sent_at"]));
        assert_eq!(number(app, "SELECT COUNT(*) FROM mails", []).await, 1);
    }

    async fn a_due_follow_up_is_sent_and_an_irrelevant_one_is_cancelled(app: &TestApp) {
        let (new, user, pro) = (app.onboard().await, app.onboard().await, app.onboard().await);
        app.spend(&user, 1, "one").await.expect(200);
        deliver_until(app, &invoice_paid(&stripe_customer(), Some(&pro)), "processed").await;
        for customer in [&new, &user, &pro] {
            hasten(app, customer, "followup_day_1").await;
        }
        let sent = mail_in_state(app, &new, "followup_day_1", "stored").await;
        assert!(text(&sent["text"]).contains("credits for 5 fixes"), "{sent}");
        let reason = |mail: &Value| text(&mail["mail"]["last_error"]).to_owned();
        let used = mail_in_state(app, &user, "followup_day_1", "cancelled").await;
        assert_eq!(reason(&used), "the customer has spent a credit already");
        let left = mail_in_state(app, &pro, "followup_day_1", "cancelled").await;
        assert_eq!(reason(&left), "the customer has left the trial");
        assert_eq!(left["text"], Value::Null);
        app.verify().await;
    }

    async fn low_credit_is_mailed_once_for_each_refill(app: &TestApp) {
        let customer = app.onboard().await;
        app.spend(&customer, 3, "a").await.expect(200);
        app.spend(&customer, 1, "b").await.expect(200);
        let told = mail_in_state(app, &customer, "low_credit", "stored").await;
        assert!(text(&told["text"]).contains("You have 1 fix credit left. Add billing to continue."), "{told}");
        app.spend(&customer, 1, "c").await.expect(200);
        let low = || async {
            let all = mails(app, &customer).await;
            all.iter().filter(|mail| mail["template"] == "low_credit").count()
        };
        assert_eq!(low().await, 1);
        // New credits, used up at once, cause another mail.
        app.adjust(&customer, 10).await.expect(200);
        app.spend(&customer, 10, "d").await.expect(200);
        assert_eq!(low().await, 2);
        app.verify().await;
    }

    async fn a_stored_mail_is_resent_unchanged_once_for_each_key(app: &TestApp) {
        let customer = app.onboard().await;
        hasten(app, &customer, "followup_day_3").await;
        let first = mail_in_state(app, &customer, "followup_day_3", "stored").await;
        // Its text would be different now.
        app.adjust(&customer, 7).await.expect(200);
        let path = format!("/admin/v1/mails/{}/resend", text(&first["mail"]["id"]));
        let bearer = format!("Bearer {}", bursar_tests::app::ADMIN_TOKEN);
        let key = unique();
        let headers = [("Authorization", bearer.as_str()), ("Idempotency-Key", key.as_str())];
        let body = json!({ "reason": "it was lost" });
        let copy = app.request("POST", &path, &headers, Some(&body)).await.expect(200);
        let same = app.request("POST", &path, &headers, Some(&body)).await.expect(200);
        assert_eq!(copy["mail"]["id"], same["mail"]["id"]);
        let other = json!({ "reason": "something else" });
        let reused = app.request("POST", &path, &headers, Some(&other)).await;
        reused.expect_problem(422, "idempotency_key_reused");
        assert_ne!(copy["mail"]["id"], first["mail"]["id"]);
        assert_eq!(copy["mail"]["copy_of"], first["mail"]["id"]);
        let copy = wait::until("the copy is stored", || async {
            let found = admin_get(app, &format!("/admin/v1/mails/{}", text(&copy["mail"]["id"]))).await;
            (found["mail"]["state"] == "stored").then_some(found)
        })
        .await;
        assert_eq!((&copy["text"], &copy["html"]), (&first["text"], &first["html"]));
        assert_ne!(copy["mail"]["message_id"], first["mail"]["message_id"]);
        assert_eq!(audited(app, text(&first["mail"]["id"])).await, ["mail.resend"]);
        let no_key = app.request("POST", &path, &headers[..1], Some(&body)).await;
        no_key.expect_problem(400, "missing_idempotency_key");
    }

    async fn a_mail_that_was_never_sent_cannot_be_resent(app: &TestApp) {
        let customer = app.onboard().await;
        let welcome = mail_in_state(app, &customer, "welcome", "stored").await;
        let queued = mail_in_state(app, &customer, "followup_day_14", "queued").await;
        assert_eq!((&queued["text"], &queued["mail"]["subject"]), (&Value::Null, &Value::Null));
        resend(app, &queued, "now").await.expect_problem(409, "mail_not_sent");
        admin_post(app, &format!("/admin/v1/jobs/{}/cancel", job_id(&queued)), "not wanted").await.expect(200);
        let cancelled = mail_in_state(app, &customer, "followup_day_14", "cancelled").await;
        assert_eq!(cancelled["mail"]["last_error"], "cancelled by support: not wanted");
        resend(app, &cancelled, "now").await.expect_problem(409, "mail_not_sent");
        resend(app, &welcome, " ").await.expect_problem(400, "invalid_reason");
        assert_eq!(number(app, "SELECT COUNT(*) FROM mails", []).await, 1);
    }

    async fn a_key_that_a_release_before_would_have_mailed_is_deleted_and_not_mailed(app: &TestApp) {
        let customer = app.onboard().await;
        let key = format!("mail:followup_day_14:{}", customer.id);
        let old = r#"args = REPLACE(REPLACE(args, 'followup_day_14', 'welcome'), '"about"', '"sealed_key":"v1.x","about"')"#;
        sql(app, &format!("UPDATE jobs SET {old} WHERE unique_key = '{key}'")).await;
        hasten(app, &customer, "followup_day_14").await;
        wait::until("both are stored", || async {
            let found = mails(app, &customer).await;
            let stored = found.iter().filter(|mail| mail["template"] == "welcome" && mail["state"] == "stored");
            (stored.count() == 2).then_some(())
        })
        .await;
        assert_eq!(tables_with(app, "sealed_key").await, Vec::<String>::new());
        assert_eq!(number(app, "SELECT COUNT(*) FROM mails WHERE body_text LIKE '%bsk%'", []).await, 0);
    }

    async fn a_mail_whose_customer_original_or_link_is_gone_is_cancelled(app: &TestApp) {
        let customer = app.onboard().await;
        let welcome = mail_in_state(app, &customer, "welcome", "stored").await;
        let nobody = format!("args = REPLACE(args, '{}', 'cst_gone')", customer.id);
        let copy = r#"args = REPLACE(args, '"about"', '"copy_of":"mal_gone","about"')"#.to_owned();
        for (template, change, expected) in [
            ("followup_day_1", nobody, "there is no such customer"),
            ("followup_day_3", copy, "the mail that it repeats is not kept any more"),
        ] {
            sql(app, &format!("UPDATE jobs SET {change} WHERE unique_key = 'mail:{template}:{}'", customer.id)).await;
            hasten(app, &customer, template).await;
            let cancelled = mail_in_state(app, &customer, template, "cancelled").await;
            assert_eq!(cancelled["mail"]["last_error"], expected);
        }
        sql(app, "DELETE FROM mails").await;
        let had_link = r#"args = REPLACE(args, '"about"', '"has_link":true,"about"')"#;
        sql(app, &format!("UPDATE jobs SET {had_link} WHERE id = '{}'", job_id(&welcome))).await;
        admin_post(app, &format!("/admin/v1/jobs/{}/replay", job_id(&welcome)), "again").await.expect(200);
        let cancelled = mail_in_state(app, &customer, "welcome", "cancelled").await;
        assert_eq!(cancelled["mail"]["last_error"], "the link that it would tell is forgotten");
    }

    async fn mails_are_found_by_customer_and_state_page_by_page(app: &TestApp) {
        let (ada, eve) = (app.onboard().await, app.onboard().await);
        for customer in [&ada, &eve] {
            mail_in_state(app, customer, "welcome", "stored").await;
        }
        let count = |page: Value| page["data"].as_array().unwrap().len();
        for (query, found) in [
            ("", 12),
            ("?state=queued", 10),
            ("?state=stored", 2),
            ("?state=sent", 0),
            ("?state=failed", 0),
            ("?state=cancelled", 0),
            (&format!("?customer={}", ada.id), 6),
            (&format!("?customer={}&state=stored", ada.id), 1),
        ] {
            assert_eq!(count(admin_get(app, &format!("/admin/v1/mails{query}")).await), found, "{query}");
        }
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = admin_get(app, &format!("/admin/v1/mails?limit=5{cursor}")).await;
            ids.extend(page["data"].as_array().unwrap().iter().map(|mail| text(&mail["id"]).to_owned()));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(ids.len(), 12);
        assert!(ids.windows(2).all(|pair| pair[0] > pair[1]), "the latest first: {ids:?}");
        for (path, status, code) in [
            ("/admin/v1/mails/mal_unknown", 404, "not_found"),
            ("/admin/v1/mails/mal_0123456789abcdefghijklmnop", 404, "not_found"),
            ("/admin/v1/mails?customer=nobody", 404, "not_found"),
            ("/admin/v1/customers/cst_0123456789abcdefghijklmnop/emails", 404, "not_found"),
            ("/admin/v1/mails?limit=0", 400, "invalid_limit"),
            ("/admin/v1/mails?state=lost", 400, "invalid_parameter"),
            ("/admin/v1/mails?cursor=x", 400, "invalid_cursor"),
        ] {
            app.admin("GET", path, None).await.expect_problem(status, code);
        }
        let stranger = app.request("GET", "/admin/v1/mails", &[("x-api-key", &ada.api_key)], None).await;
        stranger.expect_problem(401, "missing_credentials");
    }
}
