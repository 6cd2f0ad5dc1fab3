//! All metrics: one list, from which their names, the help text and unit in `/metrics`, and the table of
//! docs/operations.md come. Labels have few, fixed values: never an id.

use metrics::Unit;
use std::fmt::Write;

/// What a metric measures and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

impl Kind {
    /// Its name in Prometheus' text format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The name of its constant.
    pub constant: &'static str,
    /// Its name in `/metrics`.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// What is counted, or in what it is measured.
    pub unit: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says, with a blank in front.
    help: &'static str,
    /// Whether it is read from the database, so that all nodes have the same value.
    pub is_shared: bool,
    /// Where the documents say more.
    see: Option<&'static str>,
}

impl Metric {
    /// What it says.
    pub fn help(&self) -> &'static str {
        self.help.trim()
    }

    /// What `/metrics` says of it.
    pub fn description(&self) -> String {
        let shared = if self.is_shared { "; the same on every node" } else { "" };
        format!("{}{shared} (unit: {})", self.help(), self.unit)
    }
}

macro_rules! metrics {
    ($(
        $(#[doc = $help:literal])+
        $constant:ident = $kind:ident $name:literal in $unit:literal
            $([$($label:ident),+])? $(; $shared:ident)? $(see $see:literal)?,
    )+) => {
        $(
            $(#[doc = $help])+
            pub const $constant: &str = $name;
        )+

        /// All of them.
        pub const METRICS: &[Metric] = &[$(
            Metric {
                constant: stringify!($constant),
                name: $name,
                kind: Kind::$kind,
                unit: $unit,
                labels: &[$($(stringify!($label)),+)?],
                help: concat!($($help),+),
                is_shared: metrics!(@is_given $($shared)?),
                see: metrics!(@maybe $($see)?),
            },
        )+];
    };
    (@is_given shared) => { true };
    (@is_given) => { false };
    (@maybe $see:literal) => { Some($see) };
    (@maybe) => { None };
}

metrics! {
    /// always 1; the labels say which build runs
    BUILD_INFO = Gauge "bursar_build_info" in "always 1" [version, revision],
    /// requests; `route` is the operation's id in the API document, or `other`
    HTTP_REQUESTS = Counter "bursar_http_requests_total" in "requests" [route, method, status],
    /// time to answer, until the head of the answer is ready
    HTTP_SECONDS = Histogram "bursar_http_request_duration_seconds" in "seconds" [route],
    /// requests under way when the latest one ended
    HTTP_IN_FLIGHT = Gauge "bursar_http_requests_in_flight" in "requests",
    /// open connections
    HTTP_CONNECTIONS = Gauge "bursar_http_connections" in "connections",
    /// connections that a limit closed: `peer` (too many of one address), `full` (made room for another), `head` (the
    /// head took too long)
    HTTP_CONNECTIONS_CLOSED = Counter "bursar_http_connections_closed_total" in "connections" [reason],
    /// lines of the access log that were dropped, because the standard error took them too slowly
    ACCESS_LOG_LOST = Counter "bursar_access_log_lost_lines_total" in "lines",
    /// requests that a limit denied
    RATE_LIMITED = Counter "bursar_rate_limited_total" in "requests" [limit] see "errors.md#limits",
    /// requests that passed uncounted because the database did not answer
    RATE_LIMIT_UNCHECKED = Counter "bursar_rate_limit_unchecked_total" in "requests" [limit],
    /// deliveries stored, copies included; types without a rule are `other`
    WEBHOOKS_RECEIVED = Counter "bursar_webhooks_received_total" in "deliveries" [source, type],
    /// deliveries of events that were stored before
    WEBHOOKS_DUPLICATE = Counter "bursar_webhooks_duplicate_total" in "deliveries" [source, type],
    /// deliveries with a wrong signature
    WEBHOOKS_REFUSED = Counter "bursar_webhooks_refused_total" in "deliveries" [source, code],
    /// ends of attempts: `done`, `retry`, `snooze`, `cancel`, `dead`
    JOB_ATTEMPTS = Counter "bursar_job_attempts_total" in "attempts" [kind, outcome],
    /// ends of attempts at events, by their type; also events that ended on arrival: `ignored` (no rule for the type)
    /// or `dead`
    EVENT_ATTEMPTS = Counter "bursar_event_attempts_total" in "attempts" [type, outcome],
    /// from claim to committed
    JOB_SECONDS = Histogram "bursar_job_duration_seconds" in "seconds" [kind],
    /// from due to claimed
    JOB_WAIT_SECONDS = Histogram "bursar_job_wait_seconds" in "seconds" [kind],
    /// results that came too late: another node had the lease, or its time was over
    JOB_FENCED = Counter "bursar_job_fenced_total" in "results",
    /// jobs that are `scheduled` (for later), `available` (due), `running`, `dead`; counted up to 10,000 for each kind
    /// and state, so 10,000 means "at least"
    QUEUE_JOBS = Gauge "bursar_queue_jobs" in "jobs" [kind, state]; shared,
    /// how long the oldest available job is overdue, including jobs behind a waiting head or in a paused stream
    QUEUE_AGE_SECONDS = Gauge "bursar_queue_oldest_age_seconds" in "seconds" [kind]; shared,
    /// paused streams
    STREAMS_PAUSED = Gauge "bursar_streams_paused" in "streams"; shared,
    /// customers signed up
    CUSTOMERS_ONBOARDED = Counter "bursar_customers_onboarded_total" in "customers" [source],
    /// attempts to sign up that were refused
    SIGNUPS_REFUSED = Counter "bursar_signups_refused_total" in "signups" [code],
    /// credits granted: by `signup`, `payment_method` (its bonus), `stripe` (a paid period), `purchase` (units charged
    /// one by one), `marketplace`, `support`, `reinstatement` (a refund or dispute that failed)
    CREDITS_GRANTED = Counter "bursar_credits_granted_total" in "credits" [source],
    /// credits spent: by `usage`, or by a `hold` that was captured
    CREDITS_SPENT = Counter "bursar_credits_spent_total" in "credits" [source],
    /// commands that the ledger's rules refused
    COMMANDS_REFUSED = Counter "bursar_ledger_commands_refused_total" in "commands" [reason],
    /// commands whose key had been used, answered from the ledger
    COMMANDS_REPLAYED = Counter "bursar_ledger_commands_replayed_total" in "commands",
    /// actors of customers and streams
    ACTORS_ALIVE = Gauge "bursar_actors_alive" in "actors" [actor],
    /// actors started
    ACTORS_SPAWNED = Counter "bursar_actors_spawned_total" in "actors" [actor],
    /// idle actors let go
    ACTORS_PASSIVATED = Counter "bursar_actors_passivated_total" in "actors" [actor],
    /// actors that failed and were restarted
    ACTORS_RESTARTED = Counter "bursar_actors_restarted_total" in "actors" [actor],
    /// items in one batch of `ledger`, `intake`, `claim`, `load`, `credential`
    BATCH_ITEMS = Histogram "bursar_batch_items" in "items" [batch],
    /// time to process one batch
    BATCH_SECONDS = Histogram "bursar_batch_duration_seconds" in "seconds" [batch],
    /// connections to the database in use; pools are `ledger`, `write` and `read`
    POOL_IN_USE = Gauge "bursar_db_pool_in_use" in "connections" [pool],
    /// the maximum of connections to the database
    POOL_MAX = Gauge "bursar_db_pool_max" in "connections" [pool],
    /// how far the machine's clock is ahead of the database's; 0 on SQLite
    CLOCK_OFFSET_SECONDS = Gauge "bursar_clock_offset_seconds" in "seconds",
    /// 1 if the broker is connected and accepts publications; missing without a broker
    BROKER_UP = Gauge "bursar_broker_up" in "1 or 0",
    /// 1 if the broker is connected but accepts no publications (memory or disk alarm)
    BROKER_BLOCKED = Gauge "bursar_broker_blocked" in "1 or 0",
    /// sessions with the broker that ended, failed attempts included
    BROKER_RECONNECTS = Counter "bursar_broker_reconnects_total" in "sessions",
    /// publications `confirmed` or `failed`
    BROKER_PUBLISHED = Counter "bursar_broker_published_total" in "messages" [outcome],
    /// calls to Stripe: `ok`, `declined`, `unknown` (Stripe may have carried it out) and other failures
    STRIPE_CALLS = Counter "bursar_stripe_calls_total" in "calls" [call, outcome],
    /// time of a call to Stripe with all its tries
    STRIPE_SECONDS = Histogram "bursar_stripe_call_duration_seconds" in "seconds" [call],
    /// how long a try waited for its turn under Stripe's rate limit
    STRIPE_WAIT_SECONDS = Histogram "bursar_stripe_rate_wait_seconds" in "seconds",
    /// 1 while Stripe is not called after several failures
    STRIPE_BREAKER_OPEN = Gauge "bursar_stripe_breaker_open" in "1 or 0",
    /// operations (a payment method, the subscription, units) that ended: `succeeded`, `failed`, `requires_action`
    OPERATIONS = Counter "bursar_operations_total" in "operations" [kind, state],
    /// money charged through operations
    MONEY_CHARGED = Counter "bursar_money_charged_minor_total" in "minor units of the currency" [currency],
    /// differences that the last comparison with Stripe found and left, for each class; must be 0
    STRIPE_DRIFT = Gauge "bursar_stripe_drift" in "differences" [class]; shared see "support.md#compare-with-stripe",
    /// all differences that the last comparison with Stripe found, repaired ones included: lost webhooks
    STRIPE_DRIFT_FOUND = Gauge "bursar_stripe_drift_found" in "differences" [class]; shared,
    /// comparisons with Stripe that ended: `done`, `failed`, `cancelled`
    RECONCILIATIONS = Counter "bursar_reconciliations_total" in "comparisons" [outcome],
    /// when the last complete comparison with Stripe ended, since 1970
    RECONCILIATION_AT_SECONDS = Gauge "bursar_reconciliation_last_success_timestamp_seconds" in "seconds"; shared,
    /// how long the last complete comparison with Stripe took
    RECONCILIATION_SECONDS = Gauge "bursar_reconciliation_last_duration_seconds" in "seconds"; shared,
    /// overdue jobs that the sweeper announced; with a broker, lost announcements
    SWEEPER_WOKEN = Counter "bursar_sweeper_woken_total" in "jobs",
    /// from the end of a hold or a grant to its line in the ledger, if the sweep wrote the line
    SETTLE_LATE_SECONDS = Histogram "bursar_settle_late_seconds" in "seconds",
    /// how long the first account to be settled is overdue; 0 if none is
    SETTLE_OVERDUE_SECONDS = Gauge "bursar_settle_overdue_seconds" in "seconds"; shared,
    /// failed tries to settle an account
    SETTLE_FAILED = Counter "bursar_settle_failed_total" in "tries" see "support.md#holds-and-credits-that-end",
    /// rows of the audit log that wait for their seal; counted up to 10,000
    AUDIT_UNSEALED = Gauge "bursar_audit_unsealed_rows" in "rows"; shared,
    /// how long the oldest row of the audit log has been waiting for its seal; 0 if none waits
    AUDIT_UNSEALED_AGE_SECONDS = Gauge "bursar_audit_unsealed_oldest_age_seconds" in "seconds"; shared,
}

/// The metric of this name in `/metrics`.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// Tells the process's recorder of all metrics, for the help text in `/metrics`.
pub fn describe() {
    for metric in METRICS {
        let unit = if metric.unit == Unit::Seconds.as_str() { Unit::Seconds } else { Unit::Count };
        let text = metric.description();
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, unit, text),
            Kind::Gauge => metrics::describe_gauge!(metric.name, unit, text),
            Kind::Histogram => metrics::describe_histogram!(metric.name, unit, text),
        }
    }
}

/// The table of docs/operations.md.
pub fn to_markdown() -> String {
    let mut table = "| metric | kind | unit | labels | meaning |\n|---|---|---|---|---|\n".to_owned();
    for metric in METRICS {
        let Metric { name, unit, .. } = metric;
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let shared = if metric.is_shared { "; *shared*" } else { "" };
        let see = metric.see.map(|place| format!(" ([more]({place}))")).unwrap_or_default();
        let (kind, labels, help) = (metric.kind.as_str(), labels.join(", "), metric.help());
        // Writing to a string does not fail.
        let _ = writeln!(table, "| `{name}` | {kind} | {unit} | {labels} | {help}{see}{shared} |");
    }
    table
}

#[cfg(test)]
mod tests;
