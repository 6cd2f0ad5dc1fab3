//! The number of SQL statements of a signup, counted by a proxy.

use crate::database_proxy::DatabaseProxy;
use bursar_engine::domain::catalogue::Catalogue;
use bursar_engine::domain::customer::Source;
use bursar_engine::infra::store::{Db, DbOptions};
use bursar_engine::usecase::onboard::{self, AddressRule, Signup};
use bursar_tests::unique::unique;
use bursar_tests::{Backend, TestApp};

/// Statements of a signup, including BEGIN, COMMIT and the rate limits.
const STATEMENTS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signup_takes_fewer_than_twenty_statements() {
    let app = TestApp::start(Backend::Production).await;
    let proxy = DatabaseProxy::start(&app.config.database_url).await;
    let options = DbOptions { connections_max: 1, ..DbOptions::new(proxy.url.as_str()) };
    let db = Db::connect(&options).await.unwrap();
    let mut config = app.config.onboarding.clone();
    config.per_ip_per_minute = 10;
    config.per_mailbox_per_day = 3;
    let sign_up = async || {
        let (email, before) = (format!("{}@example.com", unique()), proxy.statements());
        let (name, source, now_ms) = ("Ada", Source::Direct, app.app.clock.now_ms());
        let from = "203.0.113.7".parse().unwrap();
        onboard::gate::admit(&db, &config, &email, from, now_ms).await.unwrap();
        let catalogue = Catalogue::built_in();
        let signup = Signup {
            email: &email,
            name,
            source,
            plan: catalogue.entry_plan(),
            marketplace_link: None,
            address: AddressRule::Assumed,
            per_mailbox_per_day: config.per_mailbox_per_day,
        };
        onboard::onboard(&db, app.app.seal(), signup, now_ms).await.unwrap();
        proxy.statements() - before
    };
    sign_up().await;
    assert_eq!(sign_up().await, STATEMENTS);
    db.close().await;
    app.verify().await;
    app.stop().await;
}
