//! Preflight: Stripe.

use super::Finding;
use crate::config::key_is_live;
use crate::count::counted;
use serde_json::Value;
use std::collections::BTreeSet;

/// Whether Stripe accepts the key.
pub const KEY: &str = "stripe.key";
/// The key's mode.
pub const MODE: &str = "stripe.mode";
/// What the key may read.
pub const PERMISSIONS: &str = "stripe.permissions";
/// The webhook endpoint.
pub const WEBHOOK: &str = "stripe.webhook";
/// The events that it sends.
pub const EVENTS: &str = "stripe.events";
/// The API version of its events.
pub const API_VERSION: &str = "stripe.api_version";
/// The prices of the catalogue.
pub const PRICES: &str = "stripe.prices";
/// Stripe's clock.
pub const CLOCK: &str = "stripe.clock";

/// The path on which the server receives Stripe's events.
pub const WEBHOOK_PATH: &str = "/webhooks/stripe";
/// The oldest API version whose events are read. Source: the shapes in `domain/webhook/fields`.
const VERSION_MIN: &str = "2020-08-27";
/// Length of a version's date, such as `2025-03-31`.
const DATE_LEN: usize = 10;

/// What Bursar reads at Stripe, or has Stripe put into other answers: a restricted key needs to read each of them. Source:
/// the calls in `infra/stripe`.
pub const READS: [&str; 17] = [
    "charges",
    "checkout/sessions",
    "coupons",
    "credit_notes",
    "customers",
    "disputes",
    "events",
    "invoice_payments",
    "invoiceitems",
    "invoices",
    "payment_intents",
    "payment_methods",
    "prices",
    "products",
    "refunds",
    "subscription_schedules",
    "subscriptions",
];

/// What Bursar makes and changes at Stripe. Whether a restricted key may is not asked: Stripe does not promise that it
/// looks at the permission before it carries out a call.
pub const WRITES: [&str; 9] = [
    "customers",
    "invoices",
    "payment_intents",
    "payment_methods",
    "prices",
    "products",
    "refunds",
    "subscription_schedules",
    "subscriptions",
];

/// How Stripe answered a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It answered.
    Granted,
    /// The key is not valid, or no longer.
    NoKey,
    /// The key lacks the permission.
    Denied,
    /// Something else.
    Other(u16),
}

impl Access {
    /// Reads the status of an answer. Source: Stripe, "Errors".
    pub fn of(status: u16) -> Self {
        match status {
            // What is wrong with a question is told to whoever may ask it.
            200..=299 | 400 | 404 => Self::Granted,
            401 => Self::NoKey,
            403 => Self::Denied,
            other => Self::Other(other),
        }
    }
}

/// How Stripe answered whether the key may read objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The kind, one of [`READS`].
    pub kind: &'static str,
    /// The answer.
    pub access: Access,
    /// The permission that the key lacks, such as `rak_charge_read`, if Stripe names one.
    pub permission: Option<String>,
}

impl Read {
    /// Reads the status and the message of an answer.
    pub fn new(kind: &'static str, status: u16, message: &str) -> Self {
        let access = Access::of(status);
        let permission = named_permission(message).filter(|_| access == Access::Denied).map(str::to_owned);
        Self { kind, access, permission }
    }
}

/// The permission that a message of Stripe names: "Having the 'rak_charge_read' permission would allow this request".
fn named_permission(message: &str) -> Option<&str> {
    let start = message.find("rak_")?;
    let is_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    message[start..].split(|c| !is_of_name(c)).next()
}

/// Whether a key may do only what it is permitted.
fn is_restricted(key: &str) -> bool {
    key.starts_with("rk_")
}

/// Judges whether Stripe accepts the key.
pub fn judge_key(key: &str, access: Access) -> Finding {
    let kind = if is_restricted(key) { "restricted key" } else { "secret key" };
    match access {
        // A restricted key need not be allowed what was asked.
        Access::Granted | Access::Denied => Finding::ok(KEY, format!("Stripe accepts the {kind}")),
        Access::NoKey => Finding::fail(
            KEY,
            format!("Stripe does not accept the {kind}: it is wrong, expired or revoked"),
            "copy a valid key from Stripe's dashboard into STRIPE_SECRET_KEY",
        ),
        Access::Other(status) => {
            let message = format!("Stripe answers {status}: whether it accepts the {kind} is not known");
            Finding::fail(KEY, message, "try again later, and see https://status.stripe.com")
        }
    }
}

/// Judges the key's mode against the mode whose events are processed. `livemode` is what an object of Stripe says.
pub fn judge_mode(key: &str, is_live_configured: bool, livemode: Option<bool>) -> Finding {
    let mode = |is_live| if is_live { "live mode" } else { "test mode" };
    let configured = mode(is_live_configured);
    let remedy = "use the key, the webhook secret and stripe.livemode (BURSAR_STRIPE__LIVEMODE) of one mode";
    match key_is_live(key) {
        None => Finding::fail(MODE, "the key is neither of live mode nor of test mode", remedy),
        Some(is_live) if is_live != is_live_configured => {
            let message = format!("the key is {}'s, and the events processed are {configured}'s", mode(is_live));
            Finding::fail(MODE, message, remedy)
        }
        Some(is_live) => match livemode {
            Some(said) if said != is_live => {
                Finding::fail(MODE, format!("the key is {configured}'s, and Stripe answers in {}", mode(said)), remedy)
            }
            _ => Finding::ok(MODE, format!("{configured}{}", if is_live { "" } else { ": no real money moves" })),
        },
    }
}

/// Judges what the key may read, and says of a restricted one what was not asked.
pub fn judge_permissions(key: &str, reads: &[Read]) -> Vec<Finding> {
    let named = |is_it: &dyn Fn(Access) -> bool| -> Vec<String> {
        let shown = |read: &Read| match &read.permission {
            Some(permission) => format!("{} ({permission})", read.kind),
            None => read.kind.to_owned(),
        };
        reads.iter().filter(|read| is_it(read.access)).map(shown).collect()
    };
    let denied = named(&|access| access == Access::Denied);
    let unclear = named(&|access| matches!(access, Access::Other(_)));
    let mut findings = Vec::new();
    if !denied.is_empty() {
        let message = format!("the key may not read {}", denied.join(", "));
        findings.push(Finding::fail(
            PERMISSIONS,
            message,
            "give the restricted key these permissions in Stripe's dashboard",
        ));
    }
    if !unclear.is_empty() {
        let message = format!("Stripe did not answer whether the key may read {}", unclear.join(", "));
        findings.push(Finding::warn(PERMISSIONS, message, "run the preflight again"));
    }
    if findings.is_empty() {
        let kinds = counted(i64::try_from(reads.len()).unwrap_or(i64::MAX), "kind");
        findings.push(Finding::ok(PERMISSIONS, format!("the key may read all {kinds} of objects")));
    }
    if is_restricted(key) {
        let message = format!(
            "whether the restricted key may write {} is not asked: compare it with docs/operations.md",
            WRITES.join(", ")
        );
        findings.push(Finding::skipped(PERMISSIONS, message));
    }
    findings
}

/// A webhook endpoint as Stripe has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub url: String,
    /// Whether it is switched on.
    pub is_enabled: bool,
    /// The types of events that it sends; `*` is all of them.
    pub events: Vec<String>,
    /// The API version of its events; that of the account if `None`.
    pub api_version: Option<String>,
}

impl Endpoint {
    /// Reads a webhook endpoint.
    pub fn read(object: &Value) -> Self {
        let text = |name: &str| object[name].as_str().map(str::to_owned);
        let events = object["enabled_events"].as_array().into_iter().flatten();
        Self {
            url: text("url").unwrap_or_default(),
            is_enabled: object["status"] != "disabled",
            events: events.filter_map(Value::as_str).map(str::to_owned).collect(),
            api_version: text("api_version"),
        }
    }

    /// Whether it sends to this server: to its address, or if that is not known to a path like its.
    fn is_ours(&self, public_url: Option<&str>) -> bool {
        match public_url {
            Some(base) => {
                let wanted = format!("{}{WEBHOOK_PATH}", base.trim_end_matches('/'));
                self.url.trim_end_matches('/').eq_ignore_ascii_case(&wanted)
            }
            None => self.url.trim_end_matches('/').ends_with(WEBHOOK_PATH),
        }
    }
}

/// Judges the webhook endpoints: one must send to this server, exactly the `wanted` events, in a version that is read.
/// `account_version` is the version of an endpoint without one, `calls_version` that of Bursar's own calls.
pub fn judge_endpoints(
    endpoints: &[Endpoint],
    public_url: Option<&str>,
    wanted: &[&str],
    account_version: Option<&str>,
    calls_version: &str,
) -> Vec<Finding> {
    let ours: Vec<&Endpoint> = endpoints.iter().filter(|endpoint| endpoint.is_ours(public_url)).collect();
    if ours.is_empty() {
        let url =
            public_url.map_or_else(|| "https://<this server>".to_owned(), |base| base.trim_end_matches('/').to_owned());
        let message = format!("Stripe has no webhook endpoint at {url}{WEBHOOK_PATH}: no payment would be noticed");
        let remedy = format!("`bursar stripe events --endpoint {url}{WEBHOOK_PATH}` prints the command that makes it");
        let skipped = |name| Finding::skipped(name, "there is no webhook endpoint");
        return vec![Finding::fail(WEBHOOK, message, remedy), skipped(EVENTS), skipped(API_VERSION)];
    }
    let mut findings = Vec::new();
    match ours.iter().find(|endpoint| !endpoint.is_enabled) {
        Some(disabled) => findings.push(Finding::fail(
            WEBHOOK,
            format!("the webhook endpoint {} is disabled", disabled.url),
            "enable it in Stripe's dashboard: Stripe disables an endpoint that does not answer for days",
        )),
        None => {
            let urls: Vec<&str> = ours.iter().map(|endpoint| endpoint.url.as_str()).collect();
            findings.push(Finding::ok(WEBHOOK, format!("Stripe sends to {}", urls.join(", "))));
        }
    }
    findings.extend(ours.iter().flat_map(|endpoint| judge_events(endpoint, wanted)));
    findings.extend(ours.iter().map(|endpoint| judge_api_version(endpoint, account_version, calls_version)));
    findings
}

fn judge_events(endpoint: &Endpoint, wanted: &[&str]) -> Vec<Finding> {
    let url = &endpoint.url;
    let sent: BTreeSet<&str> = endpoint.events.iter().map(String::as_str).collect();
    let edit = "edit the endpoint in Stripe's dashboard: `bursar stripe events` prints the list";
    if sent.contains("*") {
        let message = format!("{url} is sent all events, not only the {} that are processed", wanted.len());
        return vec![Finding::warn(EVENTS, message, edit)];
    }
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| !sent.contains(name)).collect();
    let extra: Vec<&str> = sent.iter().copied().filter(|name| !wanted.contains(name)).collect();
    let mut findings = Vec::new();
    if !missing.is_empty() {
        let message = format!("{url} is not sent {}", missing.join(", "));
        findings.push(Finding::fail(EVENTS, message, edit));
    }
    if !extra.is_empty() {
        let message = format!("{url} is sent {}, which is stored and has no effect", extra.join(", "));
        findings.push(Finding::warn(EVENTS, message, edit));
    }
    if findings.is_empty() {
        findings
            .push(Finding::ok(EVENTS, format!("{url} is sent exactly the {} events that are processed", wanted.len())));
    }
    findings
}

fn judge_api_version(endpoint: &Endpoint, account_version: Option<&str>, calls_version: &str) -> Finding {
    let url = &endpoint.url;
    let Some(version) = endpoint.api_version.as_deref().or(account_version) else {
        let message = format!("the API version of the events for {url} is not known");
        return Finding::warn(API_VERSION, message, "set one at the endpoint in Stripe's dashboard");
    };
    let message = format!("events for {url} have API version {version}");
    let remedy = format!("make the endpoint anew with version {calls_version}, which Bursar's own calls use");
    let date = version.get(..DATE_LEN).unwrap_or(version);
    let release = |version: &str| version.split_once('.').map(|(_, name)| name.to_owned());
    // Versions of one name only add.
    let is_later =
        date > calls_version.get(..DATE_LEN).unwrap_or_default() && release(version) != release(calls_version);
    if date < VERSION_MIN {
        Finding::fail(API_VERSION, format!("{message}, older than {VERSION_MIN}, the oldest that is read"), remedy)
    } else if is_later {
        Finding::warn(API_VERSION, format!("{message}, later than {calls_version}"), remedy)
    } else {
        Finding::ok(API_VERSION, message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    const WANTED: [&str; 2] = ["charge.refunded", "invoice.paid"];
    const CALLS: &str = "2026-09-30.endive";

    fn endpoint(events: &[&str]) -> Endpoint {
        Endpoint {
            url: "https://pay.example.com/webhooks/stripe".to_owned(),
            is_enabled: true,
            events: events.iter().map(|name| (*name).to_owned()).collect(),
            api_version: None,
        }
    }

    fn judge(endpoints: &[Endpoint], public_url: Option<&str>) -> Vec<(&'static str, State)> {
        let findings = judge_endpoints(endpoints, public_url, &WANTED, Some("2025-03-31.basil"), CALLS);
        findings.iter().map(|finding| (finding.name, finding.state)).collect()
    }

    #[test]
    fn a_revoked_key_fails_and_a_restricted_one_may_lack_what_was_asked() {
        let state = |status| judge_key("rk_live_x", Access::of(status)).state;
        assert_eq!([state(200), state(403), state(401), state(503)], [State::Ok, State::Ok, State::Fail, State::Fail]);
    }

    #[test]
    fn the_key_must_be_of_the_mode_whose_events_are_processed() {
        let state = |key, is_live, said| judge_mode(key, is_live, said).state;
        assert_eq!(state("sk_live_x", true, Some(true)), State::Ok);
        assert_eq!(state("sk_test_x", false, None), State::Ok);
        assert_eq!(state("sk_test_x", true, Some(false)), State::Fail);
        assert_eq!(state("rk_live_x", false, None), State::Fail);
        assert_eq!(state("sk_live_x", true, Some(false)), State::Fail);
        assert_eq!(state("pk_live_x", true, None), State::Fail);
    }

    #[test]
    fn every_read_that_a_key_lacks_is_named_in_one_line_with_its_permission() {
        let message = "The provided key 'rk_live_x' does not have the required permissions for this endpoint. Having \
                       the 'rak_charge_read' permission would allow this request to continue.";
        let reads = [Read::new("invoices", 403, ""), Read::new("prices", 200, ""), Read::new("refunds", 403, message)];
        let findings = judge_permissions("sk_live_x", &reads);
        let said = &findings[0].message;
        assert!(findings.len() == 1 && said.ends_with("invoices, refunds (rak_charge_read)"), "{findings:?}");
        let findings = judge_permissions("sk_live_x", &[Read::new("invoices", 500, "")]);
        assert_eq!(findings[0].state, State::Warn);
        assert_eq!(judge_permissions("sk_live_x", &reads[1..2])[0].state, State::Ok);
    }

    #[test]
    fn what_a_restricted_key_may_write_is_said_to_be_unknown_and_fails_nothing() {
        let states = |key: &str| -> Vec<State> {
            judge_permissions(key, &[Read::new("prices", 200, "")]).iter().map(|finding| finding.state).collect()
        };
        assert_eq!(states("rk_live_x"), [State::Ok, State::Skipped]);
        assert_eq!(states("sk_live_x"), [State::Ok]);
        assert!(WRITES.iter().all(|kind| READS.contains(kind)), "who may write may read");
    }

    #[test]
    fn only_a_permission_is_taken_from_a_message() {
        assert_eq!(named_permission("Having the 'rak_plan_read' permission"), Some("rak_plan_read"));
        assert_eq!(named_permission("the key lacks rak_dispute_read"), Some("rak_dispute_read"));
        assert_eq!(named_permission("the provided key 'rk_live_x' has no permission"), None);
    }

    #[test]
    fn exactly_the_wanted_events_must_be_sent() {
        let states = |events: &[&str]| -> Vec<State> {
            let all = judge(&[endpoint(events)], None).into_iter();
            all.filter(|(name, _)| *name == EVENTS).map(|(_, state)| state).collect()
        };
        assert_eq!(states(&["invoice.paid", "charge.refunded"]), [State::Ok]);
        assert_eq!(states(&["invoice.paid"]), [State::Fail]);
        assert_eq!(states(&["invoice.paid", "charge.refunded", "payout.paid"]), [State::Warn]);
        assert_eq!(states(&["invoice.paid", "payout.paid"]), [State::Fail, State::Warn]);
        assert_eq!(states(&["*"]), [State::Warn]);
    }

    #[test]
    fn the_endpoint_must_be_at_this_servers_address_and_enabled() {
        let good = endpoint(&WANTED);
        let of = |url| judge(std::slice::from_ref(&good), url)[0];
        for url in [None, Some("https://pay.example.com"), Some("https://PAY.example.com/")] {
            assert_eq!(of(url), (WEBHOOK, State::Ok), "{url:?}");
        }
        assert_eq!(of(Some("https://other.example.com")), (WEBHOOK, State::Fail));
        let disabled = Endpoint { is_enabled: false, ..good.clone() };
        assert_eq!(judge(&[disabled], None)[0], (WEBHOOK, State::Fail));
        let elsewhere = Endpoint { url: "https://pay.example.com/hooks".to_owned(), ..good };
        let none = judge(&[elsewhere], None);
        assert_eq!(none, [(WEBHOOK, State::Fail), (EVENTS, State::Skipped), (API_VERSION, State::Skipped)]);
    }

    #[test]
    fn versions_that_are_not_read_fail_and_later_ones_are_warned_of() {
        let state = |version: Option<&str>, account: Option<&str>| {
            let endpoint = Endpoint { api_version: version.map(str::to_owned), ..endpoint(&WANTED) };
            judge_api_version(&endpoint, account, CALLS).state
        };
        assert_eq!(state(Some("2019-12-03"), None), State::Fail);
        assert_eq!(state(None, Some("2019-12-03")), State::Fail);
        assert_eq!(state(Some("2024-06-20"), Some("2019-12-03")), State::Ok);
        assert_eq!(state(Some("2026-10-28.endive"), None), State::Ok, "releases of one name only add");
        assert_eq!(state(Some("2027-03-31.fig"), None), State::Warn);
        assert_eq!(state(None, None), State::Warn);
    }

    #[test]
    fn an_endpoint_is_read_as_stripe_shows_it() {
        let object = serde_json::json!({
            "url": "https://h/webhooks/stripe", "status": "disabled", "api_version": null, "enabled_events": ["*"],
        });
        let read = Endpoint::read(&object);
        assert_eq!((read.is_enabled, read.events.as_slice(), read.api_version), (false, &["*".to_owned()][..], None));
    }
}
