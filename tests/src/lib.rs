//! The test harness: starts the application as `main` does, on either pair of backends, and makes requests and events
//! for it.

pub mod answer;
pub mod app;
pub mod bench;
pub mod catalogue;
pub mod chaos;
mod contract;
pub mod e2e;
pub mod fake_stripe;
pub mod github;
pub mod journeys;
pub mod log;
pub mod stripe;
pub mod unique;
pub mod wait;

pub use app::{Backend, TestApp, TestCustomer};
pub use catalogue::catalogue_with;

/// Declares tests that run on both pairs of backends: `name::embedded` and `name::production`.
///
/// ```text
/// with_app! {
///     async fn a_claim(app: &TestApp) { … }
/// }
/// ```
#[macro_export]
macro_rules! with_app {
    ($($(#[$attribute:meta])* async fn $name:ident($app:ident: &TestApp) $body:block)*) => {
        $(
            $(#[$attribute])*
            mod $name {
                use super::*;

                async fn check($app: &$crate::TestApp) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn embedded() {
                    let app = $crate::TestApp::start($crate::Backend::Embedded).await;
                    check(&app).await;
                    app.stop().await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn production() {
                    let app = $crate::TestApp::start($crate::Backend::Production).await;
                    check(&app).await;
                    app.stop().await;
                }
            }
        )*
    };
}
