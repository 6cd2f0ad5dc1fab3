//! What support sees and does: show, timeline, a new link, a confirmation by hand.

use super::*;
use crate::scene::{admin_get, admin_post};

async fn shown(app: &TestApp, customer: &TestCustomer) -> Value {
    let shown = admin_get(app, &format!("/admin/v1/customers/{}", customer.id)).await;
    json!([shown["email_confirmation"], shown["email_confirmed_at"].is_string(), shown["customer"]["email_confirmed"]])
}

with_backend! {
    async fn support_sees_whether_and_when_an_address_was_confirmed(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.com").await;
        assert_eq!(shown(&app, &customer).await, json!(["pending", false, false]));
        confirm(&app, &welcome_link(&app, &customer).await).await;
        assert_eq!(shown(&app, &customer).await, json!(["link", true, true]));
        let timeline = admin_get(&app, &format!("/admin/v1/customers/{}/timeline", customer.id)).await;
        let rows = timeline["data"].as_array().unwrap();
        let confirmed = rows.iter().find(|row| row["what"] == "audit.customer.confirm").unwrap();
        assert_eq!(confirmed["details"]["actor"], format!("mailbox:{}", customer.id));
        let details = &confirmed["details"]["details"];
        assert_eq!([&details["by"], &details["first"], &details["keys_ended"]], [&json!("link"), &json!(true), &json!(1)]);
        assert!(rows.iter().any(|row| row["what"] == "audit.api_key.revoke"), "{timeline}");
        app.stop().await;
    }

    async fn support_sends_a_link_also_to_a_customer_that_has_lost_its_keys(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.com").await;
        let done = confirm(&app, &welcome_link(&app, &customer).await).await;
        let path = format!("/admin/v1/customers/{}/confirmation-link", customer.id);
        admin_post(&app, &path, " ").await.expect_problem(400, "invalid_reason");
        let sent = admin_post(&app, &path, "all keys lost, ticket 4711").await.expect(200);
        assert_eq!([&sent["email"], &sent["email_confirmation"]], ["ada@example.com", "link"]);
        let link = asked_link(&app, &customer).await;
        let page = open(&app, &link).await;
        assert!(page.html.contains("Get a new API key") && !page.html.contains("Confirm my address"), "{}", page.html);
        let again = post(&app, &link, &[("action", "confirm"), ("keep_keys", "yes"), ("new_key", "yes")]).await;
        assert!(works(&app, &again.key().unwrap()).await && works(&app, &done.key().unwrap()).await);
        let timeline = admin_get(&app, &format!("/admin/v1/customers/{}/timeline", customer.id)).await;
        let rows = timeline["data"].as_array().unwrap();
        let sent = rows.iter().find(|row| row["what"] == "audit.customer.send_link").unwrap();
        assert_eq!(sent["details"]["actor"], "admin:bootstrap");
        for path in ["confirmation-link", "confirm"] {
            let path = format!("/admin/v1/customers/cst_0123456789abcdefghijklmnop/{path}");
            admin_post(&app, &path, "nobody").await.expect_problem(404, "not_found");
        }
        app.stop().await;
    }

    async fn support_confirms_an_address_by_hand_once(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.com").await;
        let path = format!("/admin/v1/customers/{}/confirm", customer.id);
        let confirmed = admin_post(&app, &path, "seen on the phone, ticket 4711").await.expect(200);
        assert_eq!(confirmed["email_confirmation"], "staff");
        assert_eq!(shown(&app, &customer).await, json!(["staff", true, true]));
        assert!(works(&app, &customer.api_key).await, "keys stay as they are");
        admin_post(&app, &path, "again").await.expect_problem(409, "address_confirmed");
        app.stop().await;
    }

    async fn a_corrected_address_gets_a_link_of_its_own_and_the_old_link_is_good_for_nothing(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.con").await;
        let wrong = welcome_link(&app, &customer).await;
        let path = format!("/admin/v1/customers/{}/email", customer.id);
        let body = json!({ "email": "ada@example.com", "reason": "ticket 4711" });
        app.admin("POST", &path, Some(&body)).await.expect(200);
        let right = asked_link(&app, &customer).await;
        confirm(&app, &wrong).await;
        assert_eq!(shown(&app, &customer).await, json!(["pending", false, false]));
        confirm(&app, &right).await;
        assert_eq!(shown(&app, &customer).await, json!(["link", true, true]));
        let body = json!({ "email": "bob@example.com", "reason": "ticket 4711" });
        app.admin("POST", &path, Some(&body)).await.expect_problem(409, "address_confirmed");
        app.stop().await;
    }

    async fn a_mail_with_a_link_cannot_be_repeated(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.com").await;
        let welcome = mail_in_state(&app, &customer, "welcome", "stored").await;
        let path = format!("/admin/v1/mails/{}/resend", text(&welcome["mail"]["id"]));
        admin_post(&app, &path, "lost").await.expect_problem(409, "mail_holds_link");
        app.stop().await;
    }

    async fn a_customer_from_before_counts_as_confirmed(backend: Backend) {
        use bursar::database::connect;
        use bursar_engine::migrations::{Migrator, MigratorTrait};

        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.com").await;
        let (config, folder) = app.halt().await;
        let db = connect(&config).await.unwrap();
        let migrations = Migrator::migrations();
        let before = migrations.iter().position(|one| one.name() == "m0036_confirmation").unwrap();
        let steps = u32::try_from(migrations.len() - before).unwrap();
        Migrator::down(db.write(), Some(steps)).await.unwrap();
        Migrator::up(db.write(), None).await.unwrap();
        db.close().await;
        let app = TestApp::start_on(config, folder).await;
        assert_eq!(shown(&app, &customer).await, json!(["assumed", false, true]));
        app.verify().await;
        app.stop().await;
    }
}
