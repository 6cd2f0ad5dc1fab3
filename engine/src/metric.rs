//! Names of all metrics, with their units. Labels have few, fixed values: never an id.

/// HTTP requests by `route`, `method` and `status`.
pub const HTTP_REQUESTS: &str = "bursar_http_requests_total";
/// Time to answer by `route`.
pub const HTTP_SECONDS: &str = "bursar_http_request_duration_seconds";
/// HTTP requests under way.
pub const HTTP_IN_FLIGHT: &str = "bursar_http_requests_in_flight";
/// Open HTTP connections.
pub const HTTP_CONNECTIONS: &str = "bursar_http_connections";
/// HTTP connections that a limit closed, by `reason`.
pub const HTTP_CONNECTIONS_CLOSED: &str = "bursar_http_connections_closed_total";
/// Requests that a limit denied, by `limit`.
pub const RATE_LIMITED: &str = "bursar_rate_limited_total";
/// Requests that a limit let pass uncounted because the database did not answer, by `limit`.
pub const RATE_LIMIT_UNCHECKED: &str = "bursar_rate_limit_unchecked_total";
/// Webhook deliveries by `source` and `type`.
pub const WEBHOOKS_RECEIVED: &str = "bursar_webhooks_received_total";
/// Deliveries of already stored events, by `source` and `type`.
pub const WEBHOOKS_DUPLICATE: &str = "bursar_webhooks_duplicate_total";
/// Refused deliveries, by `source` and `code`.
pub const WEBHOOKS_REFUSED: &str = "bursar_webhooks_refused_total";
/// Ends of attempts by `kind` and `outcome` (`done`, `retry`, `snooze`, `cancel`, `dead`).
pub const JOB_ATTEMPTS: &str = "bursar_job_attempts_total";
/// Ends of attempts at processing events, by `type` and `outcome`; and events that ended on arrival (`ignored`: a
/// type without a rule; `dead`: unreadable or of the other mode).
pub const EVENT_ATTEMPTS: &str = "bursar_event_attempts_total";
/// Duration of an attempt, by `kind`.
pub const JOB_SECONDS: &str = "bursar_job_duration_seconds";
/// Time between a job's due time and the start of its attempt, by `kind`.
pub const JOB_WAIT_SECONDS: &str = "bursar_job_wait_seconds";
/// Results that were rejected because the lease had been lost.
pub const JOB_FENCED: &str = "bursar_job_fenced_total";
/// Jobs by `kind` and `state` (`scheduled`, `available`, `running`, `dead`); 10,000 means "at least".
pub const QUEUE_JOBS: &str = "bursar_queue_jobs";
/// Time since the earliest due job became due, by `kind`.
pub const QUEUE_AGE_SECONDS: &str = "bursar_queue_oldest_age_seconds";
/// Paused streams.
pub const STREAMS_PAUSED: &str = "bursar_streams_paused";
/// Customers onboarded by `source`.
pub const CUSTOMERS_ONBOARDED: &str = "bursar_customers_onboarded_total";
/// Refused signups, by `code`.
pub const SIGNUPS_REFUSED: &str = "bursar_signups_refused_total";
/// Credits granted by `source`.
pub const CREDITS_GRANTED: &str = "bursar_credits_granted_total";
/// Credits spent by `source`.
pub const CREDITS_SPENT: &str = "bursar_credits_spent_total";
/// Commands refused by `reason`.
pub const COMMANDS_REFUSED: &str = "bursar_ledger_commands_refused_total";
/// Commands answered from the ledger because their key was already used.
pub const COMMANDS_REPLAYED: &str = "bursar_ledger_commands_replayed_total";
/// Actors alive by `actor`.
pub const ACTORS_ALIVE: &str = "bursar_actors_alive";
/// Actors spawned by `actor`.
pub const ACTORS_SPAWNED: &str = "bursar_actors_spawned_total";
/// Idle actors stopped, by `actor`.
pub const ACTORS_PASSIVATED: &str = "bursar_actors_passivated_total";
/// Actors that failed and were restarted, by `actor`.
pub const ACTORS_RESTARTED: &str = "bursar_actors_restarted_total";
/// Items in one batch by `batch` (`ledger`, `intake`, `claim`, `load`, `credential`).
pub const BATCH_ITEMS: &str = "bursar_batch_items";
/// Duration of a batch, by `batch`.
pub const BATCH_SECONDS: &str = "bursar_batch_duration_seconds";
/// Database connections in use.
pub const POOL_IN_USE: &str = "bursar_db_pool_in_use";
/// Maximum number of database connections.
pub const POOL_MAX: &str = "bursar_db_pool_max";
/// How far the machine's clock is ahead of the database's, in seconds; 0 on SQLite.
pub const CLOCK_OFFSET_SECONDS: &str = "bursar_clock_offset_seconds";
/// 1 if the broker is connected and accepts publications.
pub const BROKER_UP: &str = "bursar_broker_up";
/// 1 if the broker is connected but accepts no publications (memory or disk alarm).
pub const BROKER_BLOCKED: &str = "bursar_broker_blocked";
/// New sessions with the broker.
pub const BROKER_RECONNECTS: &str = "bursar_broker_reconnects_total";
/// Publications by `outcome` (`confirmed`, `failed`).
pub const BROKER_PUBLISHED: &str = "bursar_broker_published_total";
/// Calls to Stripe by `call` and `outcome` (`ok`, `declined`, `unknown` …).
pub const STRIPE_CALLS: &str = "bursar_stripe_calls_total";
/// Duration of a call to Stripe with all its tries, by `call`.
pub const STRIPE_SECONDS: &str = "bursar_stripe_call_duration_seconds";
/// How long a try waited for Stripe's rate limit.
pub const STRIPE_WAIT_SECONDS: &str = "bursar_stripe_rate_wait_seconds";
/// 1 while the circuit breaker for Stripe is open.
pub const STRIPE_BREAKER_OPEN: &str = "bursar_stripe_breaker_open";
/// Unrepaired differences to Stripe in the last reconciliation, by `class`. Must be 0.
pub const STRIPE_DRIFT: &str = "bursar_stripe_drift";
/// All differences to Stripe in the last reconciliation, including repaired ones, by `class`.
pub const STRIPE_DRIFT_FOUND: &str = "bursar_stripe_drift_found";
/// Reconciliations ended by `outcome` (`done`, `failed`, `cancelled`).
pub const RECONCILIATIONS: &str = "bursar_reconciliations_total";
/// Duration of the last complete reconciliation.
pub const RECONCILIATION_SECONDS: &str = "bursar_reconciliation_last_duration_seconds";
/// When it ended, in seconds since 1970.
pub const RECONCILIATION_AT_SECONDS: &str = "bursar_reconciliation_last_success_timestamp_seconds";
/// Operations ended by `kind` and `state` (`succeeded`, `failed`, `requires_action`).
pub const OPERATIONS: &str = "bursar_operations_total";
/// Money charged through operations, in minor units, by `currency`.
pub const MONEY_CHARGED: &str = "bursar_money_charged_minor_total";
/// Overdue jobs announced by the sweeper.
pub const SWEEPER_WOKEN: &str = "bursar_sweeper_woken_total";
/// Time between the expiry of a hold or grant and its settling by the sweep.
pub const SETTLE_LATE_SECONDS: &str = "bursar_settle_late_seconds";
/// How long the earliest due account has been waiting to be settled; 0 if none is.
pub const SETTLE_OVERDUE_SECONDS: &str = "bursar_settle_overdue_seconds";
/// Failures to settle an account in the sweep.
pub const SETTLE_FAILED: &str = "bursar_settle_failed_total";
