//! Names of all metrics, with their units. Labels have few, fixed values: never an id.

/// HTTP requests by `route`, `method` and `status`.
pub const HTTP_REQUESTS: &str = "bursar_http_requests_total";
/// Time to answer by `route`.
pub const HTTP_SECONDS: &str = "bursar_http_request_duration_seconds";
/// HTTP requests under way.
pub const HTTP_IN_FLIGHT: &str = "bursar_http_requests_in_flight";
/// HTTP connections that are open.
pub const HTTP_CONNECTIONS: &str = "bursar_http_connections";
/// Deliveries of webhooks by `source` and `type`.
pub const WEBHOOKS_RECEIVED: &str = "bursar_webhooks_received_total";
/// Deliveries of events that were stored before, by `source` and `type`.
pub const WEBHOOKS_DUPLICATE: &str = "bursar_webhooks_duplicate_total";
/// Deliveries refused, by `source` and `code`.
pub const WEBHOOKS_REFUSED: &str = "bursar_webhooks_refused_total";
/// Ends of attempts by `kind` and `outcome` (`done`, `retry`, `snooze`, `cancel`, `dead`).
pub const JOB_ATTEMPTS: &str = "bursar_job_attempts_total";
/// Ends of attempts at processing events, by `type` and `outcome`; and events that came to an end on arrival
/// (`ignored`: nothing is to be done for the type; `dead`: unreadable or of the other mode).
pub const EVENT_ATTEMPTS: &str = "bursar_event_attempts_total";
/// How long an attempt took, by `kind`.
pub const JOB_SECONDS: &str = "bursar_job_duration_seconds";
/// From when a job was due to when its work began, by `kind`.
pub const JOB_WAIT_SECONDS: &str = "bursar_job_wait_seconds";
/// Results that came too late: the lease was another's already.
pub const JOB_FENCED: &str = "bursar_job_fenced_total";
/// Jobs by `kind` and `state` (`scheduled`, `available`, `running`, `dead`); 10,000 means "at least".
pub const QUEUE_JOBS: &str = "bursar_queue_jobs";
/// Age of the job that is overdue longest, by `kind`.
pub const QUEUE_AGE_SECONDS: &str = "bursar_queue_oldest_age_seconds";
/// Streams that are paused.
pub const STREAMS_PAUSED: &str = "bursar_streams_paused";
/// Customers onboarded by `source`.
pub const CUSTOMERS_ONBOARDED: &str = "bursar_customers_onboarded_total";
/// Attempts to sign up that were refused, by `code`.
pub const SIGNUPS_REFUSED: &str = "bursar_signups_refused_total";
/// Credits granted by `source`.
pub const CREDITS_GRANTED: &str = "bursar_credits_granted_total";
/// Credits spent by `source`.
pub const CREDITS_SPENT: &str = "bursar_credits_spent_total";
/// Commands refused by `reason`.
pub const COMMANDS_REFUSED: &str = "bursar_ledger_commands_refused_total";
/// Commands answered from the ledger because their key was used before.
pub const COMMANDS_REPLAYED: &str = "bursar_ledger_commands_replayed_total";
/// Actors alive by `actor`.
pub const ACTORS_ALIVE: &str = "bursar_actors_alive";
/// Actors spawned by `actor`.
pub const ACTORS_SPAWNED: &str = "bursar_actors_spawned_total";
/// Idle actors let go by `actor`.
pub const ACTORS_PASSIVATED: &str = "bursar_actors_passivated_total";
/// Actors that failed and were restarted, by `actor`.
pub const ACTORS_RESTARTED: &str = "bursar_actors_restarted_total";
/// Items in one batch by `batch` (`ledger`, `intake`, `claim`, `load`, `credential`).
pub const BATCH_ITEMS: &str = "bursar_batch_items";
/// Time to work a batch off by `batch`.
pub const BATCH_SECONDS: &str = "bursar_batch_duration_seconds";
/// Connections to the database in use.
pub const POOL_IN_USE: &str = "bursar_db_pool_in_use";
/// Most connections to the database.
pub const POOL_MAX: &str = "bursar_db_pool_max";
/// How far the machine's clock is ahead of the database's, in seconds; 0 on SQLite.
pub const CLOCK_OFFSET_SECONDS: &str = "bursar_clock_offset_seconds";
/// 1 if the broker is connected and takes publications.
pub const BROKER_UP: &str = "bursar_broker_up";
/// 1 if the broker is connected but takes no publications (memory or disk alarm).
pub const BROKER_BLOCKED: &str = "bursar_broker_blocked";
/// New sessions with the broker.
pub const BROKER_RECONNECTS: &str = "bursar_broker_reconnects_total";
/// Publications by `outcome` (`confirmed`, `failed`).
pub const BROKER_PUBLISHED: &str = "bursar_broker_published_total";
/// Calls to Stripe by `call` and `outcome` (`ok`, `declined`, `unknown` …).
pub const STRIPE_CALLS: &str = "bursar_stripe_calls_total";
/// How long a call to Stripe took with all its tries, by `call`.
pub const STRIPE_SECONDS: &str = "bursar_stripe_call_duration_seconds";
/// How long a try waited for its turn under Stripe's rate limit.
pub const STRIPE_WAIT_SECONDS: &str = "bursar_stripe_rate_wait_seconds";
/// 1 while Stripe is left alone after several failures.
pub const STRIPE_BREAKER_OPEN: &str = "bursar_stripe_breaker_open";
/// Differences to Stripe that the last reconciliation found and did not repair, by `class`. Must be 0.
pub const STRIPE_DRIFT: &str = "bursar_stripe_drift";
/// All differences to Stripe that the last reconciliation found, repaired ones too, by `class`.
pub const STRIPE_DRIFT_FOUND: &str = "bursar_stripe_drift_found";
/// Reconciliations ended by `outcome` (`done`, `failed`, `cancelled`).
pub const RECONCILIATIONS: &str = "bursar_reconciliations_total";
/// How long the last reconciliation took that compared everything.
pub const RECONCILIATION_SECONDS: &str = "bursar_reconciliation_last_duration_seconds";
/// When it ended, in seconds since 1970.
pub const RECONCILIATION_AT_SECONDS: &str = "bursar_reconciliation_last_success_timestamp_seconds";
/// Operations ended by `kind` and `state` (`succeeded`, `failed`, `requires_action`).
pub const OPERATIONS: &str = "bursar_operations_total";
/// Money charged through operations, in minor units, by `currency`.
pub const MONEY_CHARGED: &str = "bursar_money_charged_minor_total";
/// Overdue jobs that the sweeper announced.
pub const SWEEPER_WOKEN: &str = "bursar_sweeper_woken_total";
/// From when a hold or a grant ended to when the sweep had its account settled.
pub const SETTLE_LATE_SECONDS: &str = "bursar_settle_late_seconds";
/// How long the account is overdue that is to be settled first; 0 if none is.
pub const SETTLE_OVERDUE_SECONDS: &str = "bursar_settle_overdue_seconds";
/// Failures of the sweep to have an account settled.
pub const SETTLE_FAILED: &str = "bursar_settle_failed_total";
