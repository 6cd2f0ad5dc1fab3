//! What is not applied, and why.

use super::*;

with_backend! {
    async fn an_invalid_file_changes_nothing_and_names_every_problem_with_its_line(backend: Backend) {
        let shop = Shop::open(backend).await;
        let wrong = "currency = \"dollars\"\nentry = \"trial\"\ncolour = 1\n\n[plans.trial]\nname = \"Trial\"\n";
        let planned = json!({ "catalogue": wrong });
        for answer in [
            shop.app.admin("POST", "/admin/v1/catalogue/plan", Some(&planned)).await,
            ask_to_apply(&shop.app, wrong, 1).await,
        ] {
            answer.expect_problem(400, "invalid_catalogue");
            let detail = answer.body["detail"].as_str().expect("text");
            let starts: Vec<&str> = detail.lines().filter_map(|line| line.split(':').next()).collect();
            assert_eq!(starts, ["line 1", "line 3"], "{detail}");
        }
        assert_eq!(version(&shop.app).await, 1);
        shop.close().await;
    }

    async fn what_customers_have_is_not_taken_away(backend: Backend) {
        let shop = Shop::open(backend).await;
        shop.pro().await;
        let without = changed(|catalogue| {
            catalogue.plans.pop();
            catalogue.prices.clear();
        });
        let planned = plan(&shop.app, &without).await;
        let refused: Vec<_> = planned["refusals"].as_array().expect("a list").iter().map(|row| &row["key"]).collect();
        assert_eq!(refused, [&json!("pro"), &json!("pro_monthly")], "{planned}");
        let answer = ask_to_apply(&shop.app, &without, 1).await;
        answer.expect_problem(422, "catalogue_refused");
        assert_eq!(answer.body["detail"].as_str().map(|detail| detail.lines().count()), Some(2), "{}", answer.body);
        assert_eq!(version(&shop.app).await, 1);
        shop.close().await;
    }

    async fn a_price_that_costs_something_else_at_stripe_is_not_sold(backend: Backend) {
        let shop = Shop::open(backend).await;
        let id = stripe::id(&shop.keyed_price("pro_monthly").await).to_owned();
        let named = changed(|catalogue| {
            raise(catalogue);
            catalogue.prices[0].stripe = vec![id.clone()];
        });
        let planned = plan(&shop.app, &named).await;
        let reason = planned["refusals"][0]["reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with(&format!("{id} costs $599.00 each month at Stripe")), "{planned}");
        let asked = ask_to_apply(&shop.app, &named, 1).await.expect(202);
        let dead = job_in_state(&shop.app, &job_id(&asked), JobState::Dead).await;
        assert!(dead.last_error.is_some_and(|why| why.starts_with("catalogue_refused: ")));
        assert_eq!((version(&shop.app).await, shop.stripe.list("price").len()), (1, 1));
        shop.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalogue_of_256_kib_is_accepted_from_staff_only() {
    let shop = Shop::open(Backend::Embedded).await;
    let filled = |bytes: usize| {
        let text = write(&Catalogue::built_in());
        let comment = "#\n".repeat((bytes - text.len()) / 2);
        format!("{text}{comment}")
    };
    let planned = plan(&shop.app, &filled(256 * 1_024)).await;
    assert_eq!(planned["changes"], json!([]));
    let path = "/admin/v1/catalogue/plan";
    let larger = json!({ "catalogue": filled(300 * 1_024) });
    shop.app.admin("POST", path, Some(&larger)).await.expect_problem(400, "invalid_catalogue");
    let larger = json!({ "catalogue": filled(600 * 1_024) });
    shop.app.admin("POST", path, Some(&larger)).await.expect_problem(413, "body_too_large");
    let stranger = [("Authorization", "Bearer bat_unknown")];
    let body = json!({ "catalogue": filled(256 * 1_024) });
    shop.app.request("POST", path, &stranger, Some(&body)).await.expect_problem(401, "invalid_token");
    shop.close().await;
}
