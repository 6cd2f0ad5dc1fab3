//! A corrected address at Stripe.

use super::*;
use crate::scene::{job_in_state, jobs_of_stream};
use bursar_engine::domain::job::JobState;
use bursar_tests::unique::unique;

with_shop! {
    async fn stripe_gets_a_corrected_address_in_place_of_the_wrong_one_only(shop: &Shop) {
        let customer = shop.app.onboard().await;
        let at_stripe = shop.stripe_customer(&customer).await;
        let correct = async |email: &str| {
            let body = json!({ "email": email, "reason": "test" });
            let path = format!("/admin/v1/customers/{}/email", customer.id);
            shop.app.admin("POST", &path, Some(&body)).await.expect(200);
            let last = jobs_of_stream(&shop.app, &format!("stripe.customer:{}", customer.id)).await.pop();
            job_in_state(&shop.app, &last.expect("a job").id, JobState::Succeeded).await;
            shop.stripe.object(&at_stripe)["email"].clone()
        };
        let right = format!("{}@example.com", unique());
        assert_eq!(correct(&right).await, right);
        shop.ask_stripe("POST", &format!("/v1/customers/{at_stripe}"), &[("email", "finance@example.com")]).await;
        let other = format!("{}@example.com", unique());
        assert_eq!(correct(&other).await, "finance@example.com", "somebody chose it");
    }
}
