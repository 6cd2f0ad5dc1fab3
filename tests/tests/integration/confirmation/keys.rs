//! Keys that ended do not come back, even where another node still has them in its cache.

use super::*;

// Production only: SQLite serves one process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ended_key_in_another_nodes_cache_makes_rotates_and_revokes_none() {
    let change = |config: &mut Config| {
        asks(config);
        config.http.api_key_cache_ms = 3_600_000;
    };
    let one = TestApp::start_with(Backend::Production, change).await;
    let two = TestApp::start_on(one.config.clone(), None).await;
    let stranger = sign_up(&one, "ada@example.com").await;
    assert!(works(&two, &stranger.api_key).await, "the second node has it in its cache now");

    let done = confirm(&one, &welcome_link(&one, &stranger).await).await;
    let owner = TestCustomer { id: stranger.id.clone(), api_key: done.key().unwrap() };
    assert!(works(&two, &stranger.api_key).await, "the cache does not know yet");
    let keys = one.call(&owner, "GET", "/api/v1/api-keys", "", None).await.expect(200);
    let is_valid = |key: &&Value| key["revoked_at"].is_null();
    let own = keys["data"].as_array().unwrap().iter().find(is_valid).unwrap();
    let own = format!("/api/v1/api-keys/{}", text(&own["id"]));
    for (method, path, body) in [
        ("POST", "/api/v1/api-keys".to_owned(), Some(json!({ "name": "mine again" }))),
        ("POST", format!("{own}/rotate"), Some(json!({}))),
        ("DELETE", format!("{own}?force=true"), None),
    ] {
        let refused = two.call(&stranger, method, &path, "try", body.as_ref()).await;
        refused.expect_problem(401, "invalid_api_key");
    }
    assert!(works(&one, &owner.api_key).await);
    assert_eq!(number(&one, "SELECT COUNT(*) FROM api_keys", []).await, 2);
    two.stop().await;
    one.stop().await;
}

with_backend! {
    async fn keys_made_while_the_link_is_used_do_not_survive_it(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let stranger = sign_up(&app, "ada@example.com").await;
        let link = welcome_link(&app, &stranger).await;
        let makes = join_all((0..6).map(|n| {
            let (app, stranger) = (&app, &stranger);
            async move {
                let body = json!({ "name": "mine" });
                app.call(stranger, "POST", "/api/v1/api-keys", &format!("k{n}"), Some(&body)).await
            }
        }));
        let (made, done) = tokio::join!(makes, confirm(&app, &link));
        assert_eq!(done.status, 200, "{}", done.html);
        for answer in made.iter().filter(|answer| answer.status == 201) {
            assert!(!works(&app, text(&answer.body["key"])).await, "{}", answer.body);
        }
        let valid = "SELECT COUNT(*) FROM api_keys WHERE revoked_at_ms IS NULL";
        assert_eq!(number(&app, valid, []).await, 1);
        app.stop().await;
    }

    async fn where_all_keys_stay_and_there_is_no_room_nothing_changes(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.com").await;
        for n in 1..20 {
            let body = json!({ "name": "ci" });
            app.call(&customer, "POST", "/api/v1/api-keys", &format!("k{n}"), Some(&body)).await.expect(201);
        }
        let link = welcome_link(&app, &customer).await;
        let full = post(&app, &link, &[("action", "confirm"), ("keep_keys", "yes"), ("new_key", "yes")]).await;
        assert!(full.status == 409 && full.html.contains("20 keys"), "{}", full.html);
        assert!(!is_confirmed(&app, &customer.api_key).await);
        assert_eq!(confirm(&app, &link).await.status, 200, "the link is still good");
        app.stop().await;
    }
}
