//! Stripe's events: payments that succeed and fail, subscriptions that begin and end.
//!
//! The journey signs the events itself. Their subscription does not exist at Stripe; a server that asks Stripe
//! believes such an event. Every effect is visible to the customer, and events of one Stripe customer are processed
//! in order, so once an effect shows, all earlier events are done.
//!
//! Needs the secret of Stripe's webhook; with an admin token it reads the stored events, too. In production only the
//! refusal of unsigned events is safe to test.

mod events;

use super::answer::{Answer, Expected};
use super::customer::Customer;
use super::sender::{deliver_to_stripe, now_s, post_stripe, stripe_signature};
use super::target::StripeMode;
use super::walk::Walk;
use events::Subscription;
use serde_json::Value;

const SUBSCRIPTION: &str = "/api/v1/subscription";
/// Older than any server's tolerance.
const STALE_S: i64 = 86_400;

/// Runs the journey.
pub async fn run(walk: &mut Walk<'_>) -> Expected {
    let unique = walk.unique();
    let target = &walk.settings.target;
    let secret = match target.stripe_webhook_secret.as_deref() {
        _ if target.only_safe_steps => Err("makes a subscription: not with --safe"),
        _ if walk.settings.stripe == StripeMode::Unknown => Err("GET /health does not say whether Stripe is live"),
        None => Err("signs as Stripe: needs --stripe-webhook-secret"),
        Some(secret) => Ok(secret),
    };
    unsigned_events(walk, &unique, target.stripe_webhook_secret.as_deref()).await?;
    let secret = match secret {
        Ok(secret) => secret,
        Err(reason) => {
            walk.skip("a subscription begins", reason);
            return Ok(());
        }
    };
    let mut sent = SentEvents { secret, events: Vec::new() };
    let (customer, mut subscription) = prepare(walk, &unique).await?;
    subscription_starts(walk, &customer, &subscription, &mut sent).await?;
    renewal_fails_first(walk, &customer, &mut subscription, &mut sent).await?;
    subscription_ends(walk, &customer, &subscription, &mut sent).await?;
    seen_by_support(walk, &customer, &sent).await
}

/// The events delivered so far, and the secret to sign more.
struct SentEvents<'a> {
    secret: &'a str,
    events: Vec<(String, usize)>,
}

impl SentEvents<'_> {
    /// Delivers an event `times` times.
    async fn deliver(&mut self, walk: &Walk<'_>, event: &Value, times: usize) -> Expected {
        for n in 0..times {
            let taken = deliver_to_stripe(&walk.client, self.secret, event).await?;
            taken.has("/duplicate", n > 0)?;
        }
        self.events.push((event["id"].as_str().unwrap_or_default().to_owned(), times));
        Ok(())
    }
}

/// Unsigned events are refused and not stored.
async fn unsigned_events(walk: &mut Walk<'_>, unique: &str, secret: Option<&str>) -> Expected {
    walk.step("an event without Stripe's signature is refused");
    let client = walk.client.clone();
    let body = events::ignored_event(unique).to_string();
    post_stripe(&client, &body, None).await?.problem(400, "signature_missing")?;
    post_stripe(&client, &body, Some("nonsense")).await?.problem(400, "signature_malformed")?;
    let forged = stripe_signature("whsec_this-is-not-the-secret", &body, now_s());
    post_stripe(&client, &body, Some(&forged)).await?.problem(400, "signature_mismatch")?;

    let name = "an event that was altered, or signed a day ago, is refused";
    let Some(secret) = secret else {
        walk.skip(name, "signs as Stripe: needs --stripe-webhook-secret");
        return Ok(());
    };
    walk.step(name);
    let signature = stripe_signature(secret, &body, now_s());
    post_stripe(&client, &format!("{body} "), Some(&signature)).await?.problem(400, "signature_mismatch")?;
    let stale = stripe_signature(secret, &body, now_s() - STALE_S);
    post_stripe(&client, &body, Some(&stale)).await?.problem(400, "signature_stale")?;
    Ok(())
}

async fn prepare(walk: &mut Walk<'_>, unique: &str) -> Expected<(Customer, Subscription)> {
    walk.step("a customer signs up");
    let customer = walk.sign_up(None).await?;
    // If the customer has a Stripe customer, its events must name it.
    let stripe_customer = match walk.settings.stripe {
        StripeMode::NotConfigured => format!("cus_e2e{}", unique.replace('-', "")),
        _ => customer.stripe_customer().await?,
    };
    let subscription =
        Subscription::new(unique, &stripe_customer, &customer.id, walk.settings.target.numbers.pro_price_minor);
    Ok((customer, subscription))
}

/// The subscription is created, and its invoice paid, in several event types and deliveries.
async fn subscription_starts(
    walk: &mut Walk<'_>,
    customer: &Customer,
    subscription: &Subscription,
    sent: &mut SentEvents<'_>,
) -> Expected {
    let numbers = walk.settings.target.numbers;
    walk.step("subscription created: the customer is on Pro, without credits until it has paid");
    sent.deliver(walk, &subscription.changed("created", "active"), 1).await?;
    customer.wait_until_on("pro", numbers.signup_credits).await?;

    walk.step("invoice succeeded: the month's credits are granted");
    sent.deliver(walk, &subscription.paid("invoice.paid"), 3).await?;
    customer.wait_until_on("pro", numbers.signup_credits + numbers.pro_credits).await?;

    walk.step("the same payment in repeated events, and in other event types, grants nothing");
    sent.deliver(walk, &subscription.paid("invoice.payment_succeeded"), 2).await?;
    sent.deliver(walk, &subscription.payment("payment_intent.succeeded"), 2).await?;
    let mut ending = subscription.changed("updated", "active");
    ending["data"]["object"]["cancel_at_period_end"] = true.into();
    sent.deliver(walk, &ending, 1).await?;
    wait_for_field(walk, customer, "that it ends with the period", "/cancel_at_period_end", true.into()).await?;
    customer.was_granted("stripe", 1, numbers.pro_credits).await?;
    customer.has_credits(numbers.signup_credits + numbers.pro_credits).await
}

/// A renewal whose payment fails, and then succeeds.
async fn renewal_fails_first(
    walk: &mut Walk<'_>,
    customer: &Customer,
    subscription: &mut Subscription,
    sent: &mut SentEvents<'_>,
) -> Expected {
    let numbers = walk.settings.target.numbers;
    let before = numbers.signup_credits + numbers.pro_credits;
    walk.step("payment failed: the subscription is past due and says why, the credits stay");
    subscription.next_month();
    sent.deliver(walk, &subscription.payment("payment_intent.payment_failed"), 1).await?;
    let failure = subscription.failed();
    sent.deliver(walk, &failure, 2).await?;
    let late = wait_for_field(walk, customer, "that it is past due", "/status", "past_due".into()).await?;
    late.has("/plan", "pro")?.has("/credit_balance", before)?.contains_text("/past_due_reason", events::DECLINE)?;

    walk.step("payment succeeded after all: it is active again, with the month's credits");
    sent.deliver(walk, &subscription.paid("invoice.payment_succeeded"), 2).await?;
    customer.wait_until_on("pro", before + numbers.pro_credits).await?;
    wait_for_field(walk, customer, "that it is active", "/status", "active".into())
        .await?
        .has("/past_due_since", Value::Null)?;
    Ok(())
}

/// The subscription is cancelled; an older event arrives late.
async fn subscription_ends(
    walk: &mut Walk<'_>,
    customer: &Customer,
    subscription: &Subscription,
    sent: &mut SentEvents<'_>,
) -> Expected {
    let numbers = walk.settings.target.numbers;
    let all = numbers.signup_credits + 2 * numbers.pro_credits;
    walk.step("subscription cancelled: pay as you go, and the credits stay");
    sent.deliver(walk, &subscription.changed("deleted", "canceled"), 2).await?;
    customer.wait_until_on("pay_as_you_go", all).await?;
    wait_for_field(walk, customer, "that it has ended", "/status", "canceled".into()).await?.text("/ended_at")?;
    sent.deliver(walk, &subscription.changed("updated", "active"), 1).await
}

/// Support sees all events. The late one has not revived the subscription.
async fn seen_by_support(walk: &mut Walk<'_>, customer: &Customer, sent: &SentEvents<'_>) -> Expected {
    let name = "support sees every event processed once, however often it was delivered";
    let token = match walk.admin_token() {
        Ok(token) => token,
        Err(reason) => {
            walk.skip(name, reason);
            return Ok(());
        }
    };
    walk.step(name);
    for (id, times) in &sent.events {
        let path = format!("/admin/v1/events/{id}");
        let event = walk
            .client
            .until(&format!("event {id} is processed"), async || {
                let found = walk.admin(token, "GET", &path, None).await?.status(200)?;
                Ok((found.at("/event/state") == "processed").then_some(found))
            })
            .await?;
        event.has("/event/deliveries", *times)?;
    }
    let numbers = walk.settings.target.numbers;
    customer.wait_until_on("pay_as_you_go", numbers.signup_credits + 2 * numbers.pro_credits).await
}

/// Waits until a field of the customer's subscription has this value; returns the subscription.
async fn wait_for_field(
    walk: &Walk<'_>,
    customer: &Customer,
    what: &str,
    at: &str,
    expected: Value,
) -> Expected<Answer> {
    walk.client
        .until(&format!("the subscription shows {what}"), async || {
            let shown = customer.get(SUBSCRIPTION).await?;
            Ok((*shown.at(at) == expected).then_some(shown))
        })
        .await
}
