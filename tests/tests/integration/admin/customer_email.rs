//! Staff corrects a customer's address, and revokes a key that got into wrong hands.

use super::*;
use crate::cli::Program;

async fn correct(app: &TestApp, customer: &str, email: &str) -> Answer {
    let body = json!({ "email": email, "reason": "ticket 4711" });
    app.admin("POST", &format!("/admin/v1/customers/{customer}/email"), Some(&body)).await
}

async fn status(app: &TestApp, customer: &TestCustomer) -> u16 {
    app.call(customer, "GET", "/api/v1/credits", "", None).await.status
}

with_app! {
    async fn a_corrected_address_is_recorded_and_the_keys_stay(app: &TestApp) {
        let customer = app.onboard().await;
        let before = app.call(&customer, "GET", "/api/v1/customer", "", None).await.expect(200)["email"].clone();
        let email = format!("Right.{}@example.com", unique());
        for _ in 0..2 {
            let done = correct(app, &customer.id, &email).await.expect(200);
            assert_eq!(done["customer"]["email"], email, "repeating it changes nothing");
        }
        assert_eq!(app.call(&customer, "GET", "/api/v1/customer", "", None).await.expect(200)["email"], email);

        let lines = data(app, &format!("/admin/v1/audit?target={}", customer.id)).await;
        let lines: Vec<_> = lines.iter().filter(|line| line["action"] == "customer.email").collect();
        assert_eq!(lines.len(), 1);
        let details = &lines[0]["details"];
        assert_eq!([&details["from"], &details["to"], &details["reason"]], [&before, &json!(email), &json!("ticket 4711")]);
        // The address can be found, and the old one is free.
        let found = data(app, &format!("/admin/v1/customers?search={}", email.to_lowercase())).await;
        assert_eq!(found[0]["id"], customer.id);
        let body = json!({ "email": before, "name": "Test", "source": "direct" });
        app.request("POST", "/api/v1/customers/onboard", &[], Some(&body)).await.expect(201);
        app.verify().await;
    }

    async fn an_address_that_somebody_vouched_for_is_not_corrected(app: &TestApp) {
        let body = json!({ "email": format!("{}@example.com", unique()), "name": "Ada", "email_verified": true });
        let bearer = format!("Bearer {}", bursar_tests::app::ADMIN_TOKEN);
        let made = app.request("POST", "/api/v1/customers/onboard", &[("Authorization", &bearer)], Some(&body)).await;
        let id = made.expect(201)["customer"]["id"].as_str().unwrap().to_owned();
        let email = format!("{}@example.com", unique());
        correct(app, &id, &email).await.expect_problem(409, "address_confirmed");
        assert_eq!(audit_lines(app, "customer.email").await, 0);
    }

    async fn an_address_that_is_taken_or_none_is_refused_and_changes_nothing(app: &TestApp) {
        let (customer, other) = (app.onboard().await, app.onboard().await);
        let taken = app.call(&other, "GET", "/api/v1/customer", "", None).await.expect(200)["email"].clone();
        let taken = taken.as_str().unwrap();
        for email in [taken, &taken.to_uppercase()] {
            correct(app, &customer.id, email).await.expect_problem(409, "customer_exists");
        }
        correct(app, &customer.id, "ada").await.expect_problem(400, "invalid_email");
        for nobody in ["cst_00000000000000000000000000", "nonsense"] {
            correct(app, nobody, "ada@example.com").await.expect_problem(404, "not_found");
        }
        assert_eq!(status(app, &customer).await, 200);
        assert_eq!(audit_lines(app, "customer.email").await, 0);
    }

    async fn staff_revokes_a_key_even_if_it_is_the_last(app: &TestApp) {
        let customer = app.onboard().await;
        let keys = format!("/admin/v1/customers/{}/api-keys", customer.id);
        let id = data(app, &keys).await[0]["id"].as_str().unwrap().to_owned();
        assert_eq!(status(app, &customer).await, 200);
        let other = app.onboard().await;
        let of_other = format!("/admin/v1/customers/{}/api-keys/{id}/revoke", other.id);
        let body = json!({ "reason": "leaked" });
        app.admin("POST", &of_other, Some(&body)).await.expect_problem(404, "not_found");
        let revoked = app.admin("POST", &format!("{keys}/{id}/revoke"), Some(&body)).await.expect(200);
        assert!(revoked["id"] == id.as_str() && revoked["revoked_at"].is_string(), "{revoked}");
        assert_eq!([status(app, &customer).await, status(app, &other).await], [401, 200]);
        app.admin("POST", &format!("{keys}/{id}/revoke"), Some(&body)).await.expect_problem(404, "not_found");
        let lines = data(app, &format!("/admin/v1/audit?target={}", customer.id)).await;
        assert_eq!([&lines[0]["action"], &lines[0]["actor"]], ["api_key.revoke", "admin:bootstrap"]);
        let details = json!({ "api_key": id, "name": "default", "reason": "leaked", "was_last": true });
        assert_eq!(lines[0]["details"], details);
    }

    async fn both_are_commands(app: &TestApp) {
        let customer = app.onboard().await;
        let (program, email) = (Program::of(&app.config, &app.base), format!("{}@example.com", unique()));
        let words = ["customers", "correct-email", &customer.id, &email, "--reason", "test"];
        assert_eq!(program.json(&words).await["customer"]["email"], email);
        assert!(program.well(&words).await.contains(&email));
        let key = data(app, &format!("/admin/v1/customers/{}/api-keys", customer.id)).await[0]["id"].clone();
        let words = ["customers", "revoke-key", &customer.id, key.as_str().unwrap(), "--reason", "test"];
        assert!(program.well(&words).await.contains("default"));
        assert_eq!(status(app, &customer).await, 401);
    }
}
