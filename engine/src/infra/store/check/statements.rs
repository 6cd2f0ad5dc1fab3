//! The checks. The same SQL runs on both databases: text is concatenated with `||`, sums are cast back to BIGINT
//! (Postgres makes them numeric), and JSON is matched in the compact form that the engine writes.

use super::Check;

const ENTRIES: &str = "ledger_entries";
const JOBS: &str = "jobs";
const EVENTS: &str = "events";
const ATTEMPTS: &str = "attempts";
const RUNNING: &str = "jobs WHERE state = 'running'";
/// serde writes no spaces, and escapes quotes inside JSON strings.
const PURCHASED: &str = "ledger_entries WHERE kind = 'grant' AND detail LIKE '%\"grant_kind\":\"purchased\"%' \
    AND detail NOT LIKE '%\"reason\":\"reinstated\"%'";

/// All checks that are one statement, by obligation.
pub const CHECKS: &[Check] = &[
    Check {
        obligation: 1,
        name: "entries are gapless and each balance follows from the one before",
        population: ENTRIES,
        offenders: "SELECT customer_id || ': entry ' || seq || ' (amount ' || amount || ', held by ' || held_delta \
            || ', after it ' || balance_after || ' and ' || held_after || ') does not follow from entry ' \
            || seq_before || ' (after it ' || balance_before || ' and ' || held_before || ')' AS what \
            FROM (SELECT customer_id, seq, amount, held_delta, balance_after, held_after, \
            LAG(seq, 1, CAST(0 AS BIGINT)) OVER w AS seq_before, \
            LAG(balance_after, 1, CAST(0 AS BIGINT)) OVER w AS balance_before, \
            LAG(held_after, 1, CAST(0 AS BIGINT)) OVER w AS held_before \
            FROM ledger_entries WINDOW w AS (PARTITION BY customer_id ORDER BY seq)) AS e \
            WHERE seq <> seq_before + 1 OR balance_after <> balance_before + amount \
            OR held_after <> held_before + held_delta",
    },
    Check {
        obligation: 1,
        name: "the times of a ledger never go back",
        population: ENTRIES,
        offenders: "SELECT customer_id || ': entry ' || seq || ' has time ' || created_at_ms \
            || ' and the one before it ' || created_before AS what FROM (SELECT customer_id, seq, created_at_ms, \
            LAG(created_at_ms) OVER (PARTITION BY customer_id ORDER BY seq) AS created_before \
            FROM ledger_entries) AS e WHERE created_at_ms < created_before",
    },
    Check {
        obligation: 1,
        name: "every entry changes only what its kind may change",
        population: ENTRIES,
        offenders: "SELECT customer_id || ': entry ' || seq || ' of kind ' || kind || ' has amount ' || amount \
            || ' and changes the held credits by ' || held_delta AS what FROM ledger_entries WHERE NOT (CASE kind \
            WHEN 'grant' THEN amount > 0 AND held_delta = 0 \
            WHEN 'hold' THEN amount = 0 AND held_delta > 0 \
            WHEN 'capture' THEN amount < 0 AND held_delta < 0 \
            WHEN 'release' THEN amount = 0 AND held_delta < 0 \
            WHEN 'terms' THEN amount = 0 AND held_delta = 0 \
            ELSE kind IN ('debit', 'adjust', 'claw_back', 'expire') AND amount < 0 AND held_delta = 0 END)",
    },
    Check {
        obligation: 1,
        name: "every account is the sum of its entries",
        population: "accounts",
        offenders: "SELECT a.customer_id || ': the account says balance ' || a.balance || ', held ' || a.held \
            || ', version ' || a.version || '; its entries say ' || COALESCE(e.balance, 0) || ', ' \
            || COALESCE(e.held, 0) || ', ' || COALESCE(e.last_seq, 0) AS what FROM accounts a LEFT JOIN \
            (SELECT customer_id, MAX(seq) AS last_seq, CAST(SUM(amount) AS BIGINT) AS balance, \
            CAST(SUM(held_delta) AS BIGINT) AS held FROM ledger_entries GROUP BY customer_id) AS e \
            ON e.customer_id = a.customer_id WHERE a.balance <> COALESCE(e.balance, 0) \
            OR a.held <> COALESCE(e.held, 0) OR a.version <> COALESCE(e.last_seq, 0)",
    },
    Check {
        obligation: 1,
        name: "every entry has an account",
        population: ENTRIES,
        offenders: "SELECT e.customer_id || ': entries but no account' AS what \
            FROM (SELECT DISTINCT customer_id FROM ledger_entries) AS e \
            LEFT JOIN accounts a ON a.customer_id = e.customer_id WHERE a.customer_id IS NULL",
    },
    Check {
        obligation: 2,
        name: "every event has exactly one job",
        population: EVENTS,
        offenders: "SELECT 'event ' || e.id || ' (' || e.external_id || ') has ' || COUNT(j.id) || ' jobs' AS what \
            FROM events e LEFT JOIN jobs j ON j.event_id = e.id GROUP BY e.id, e.external_id HAVING COUNT(j.id) <> 1",
    },
    Check {
        obligation: 2,
        name: "the event of every job is stored",
        population: "jobs WHERE event_id IS NOT NULL",
        offenders: "SELECT 'job ' || j.id || ' has event ' || j.event_id || ', which is not stored' AS what \
            FROM jobs j LEFT JOIN events e ON e.id = j.event_id WHERE j.event_id IS NOT NULL AND e.id IS NULL",
    },
    Check {
        obligation: 2,
        name: "every dead or cancelled job says why",
        population: "jobs WHERE state IN ('dead', 'cancelled')",
        offenders: "SELECT 'job ' || id || ' is ' || state || ' without a reason' AS what FROM jobs \
            WHERE state IN ('dead', 'cancelled') AND COALESCE(last_error, '') = ''",
    },
    Check {
        obligation: 2,
        name: "every job has a stream",
        population: JOBS,
        offenders: "SELECT 'job ' || j.id || ' is in stream ' || j.stream_key || ', which is not stored' AS what \
            FROM jobs j LEFT JOIN streams s ON s.key = j.stream_key WHERE s.key IS NULL",
    },
    Check {
        obligation: 2,
        name: "every job is in a known state",
        population: JOBS,
        offenders: "SELECT 'job ' || id || ' is in state ' || state AS what FROM jobs \
            WHERE state NOT IN ('available', 'running', 'succeeded', 'cancelled', 'dead')",
    },
    Check {
        // Only keys that the engine made, because customers' own keys can look like anything.
        obligation: 3,
        name: "no key of the engine's own has more than one entry",
        population: "ledger_entries WHERE source IN ('stripe', 'signup', 'marketplace')",
        offenders: "SELECT 'key ' || idempotency_key || ' has ' || COUNT(*) || ' entries, of ' || MIN(customer_id) \
            || ' to ' || MAX(customer_id) AS what FROM ledger_entries \
            WHERE (source = 'stripe' AND idempotency_key LIKE 'stripe:%') \
            OR (source = 'signup' AND idempotency_key LIKE 'signup:%') \
            OR (source = 'marketplace' AND idempotency_key LIKE 'marketplace:%') GROUP BY idempotency_key HAVING COUNT(*) > 1",
    },
    Check {
        // The later parts of an invoice's credits have keys of their own, made of the invoice's.
        obligation: 3,
        name: "no event of Stripe was granted twice",
        population: "ledger_entries WHERE source = 'stripe' AND kind = 'grant'",
        offenders: "SELECT 'Stripe''s ' || reference || ' made ' || COUNT(*) || ' grants, of ' || MIN(customer_id) \
            || ' to ' || MAX(customer_id) AS what FROM ledger_entries \
            WHERE source = 'stripe' AND kind = 'grant' AND reference IS NOT NULL \
            AND COALESCE(idempotency_key, '') NOT LIKE 'stripe:invoice:' || reference || ':%' \
            GROUP BY reference HAVING COUNT(*) > 1",
    },
    Check {
        obligation: 3,
        name: "nobody got signup credits twice",
        population: "ledger_entries WHERE source = 'signup'",
        offenders: "SELECT customer_id || ': ' || COUNT(*) || ' signup grants' AS what FROM ledger_entries \
            WHERE source = 'signup' AND kind = 'grant' GROUP BY customer_id HAVING COUNT(*) > 1",
    },
    Check {
        obligation: 3,
        name: "signup credits are recorded under their mailbox",
        population: "ledger_entries WHERE source = 'signup' AND kind = 'grant'",
        offenders: "SELECT e.customer_id || ': a signup grant without a recorded mailbox' AS what \
            FROM ledger_entries e LEFT JOIN free_credits f ON f.customer_id = e.customer_id \
            WHERE e.source = 'signup' AND e.kind = 'grant' AND f.customer_id IS NULL",
    },
    Check {
        obligation: 3,
        name: "no period of a marketplace purchase was granted twice",
        population: "ledger_entries WHERE source = 'marketplace' AND kind = 'grant'",
        offenders: "SELECT 'period ' || reference || ' made ' || COUNT(*) || ' grants, of ' || MIN(customer_id) \
            || ' to ' || MAX(customer_id) AS what FROM ledger_entries \
            WHERE source = 'marketplace' AND kind = 'grant' GROUP BY reference HAVING COUNT(*) > 1",
    },
    Check {
        obligation: 3,
        name: "marketplace credits are recorded at a purchase linked to the customer",
        population: "ledger_entries WHERE source = 'marketplace' AND kind = 'grant'",
        offenders: "SELECT e.customer_id || ': entry ' || e.seq || ' grants ' || COALESCE(e.reference, 'nothing') \
            || ', for which no purchase is recorded' AS what FROM ledger_entries e LEFT JOIN marketplace_accounts m \
            ON m.customer_id = e.customer_id AND m.covered_until_ms IS NOT NULL \
            AND e.reference LIKE 'github:' || m.github_account_id || ':%' \
            WHERE e.source = 'marketplace' AND e.kind = 'grant' AND m.github_account_id IS NULL",
    },
    Check {
        obligation: 3,
        name: "every linked marketplace purchase has its customer",
        population: "marketplace_accounts WHERE customer_id IS NOT NULL",
        offenders: "SELECT 'GitHub account ' || m.github_account_id || ' is linked to ' || m.customer_id \
            || ', which is not stored' AS what FROM marketplace_accounts m \
            LEFT JOIN customers c ON c.id = m.customer_id WHERE m.customer_id IS NOT NULL AND c.id IS NULL",
    },
    Check {
        obligation: 3,
        name: "no event is stored twice",
        population: EVENTS,
        offenders: "SELECT 'event ' || external_id || ' of ' || source || ' is stored ' || COUNT(*) || ' times' \
            AS what FROM events GROUP BY source, external_id HAVING COUNT(*) > 1",
    },
    Check {
        obligation: 4,
        name: "every purchased grant names its payment",
        population: PURCHASED,
        offenders: "SELECT customer_id || ': entry ' || seq || ' grants purchased credits without a reference' AS what \
            FROM ledger_entries WHERE kind = 'grant' AND detail LIKE '%\"grant_kind\":\"purchased\"%' \
            AND detail NOT LIKE '%\"reason\":\"reinstated\"%' AND COALESCE(reference, '') = ''",
    },
    Check {
        obligation: 4,
        name: "no payment bought two grants",
        population: PURCHASED,
        offenders: "SELECT 'payment ' || reference || ' bought ' || COUNT(*) || ' grants, of ' || MIN(customer_id) \
            || ' to ' || MAX(customer_id) AS what FROM ledger_entries \
            WHERE kind = 'grant' AND detail LIKE '%\"grant_kind\":\"purchased\"%' \
            AND detail NOT LIKE '%\"reason\":\"reinstated\"%' AND reference IS NOT NULL \
            GROUP BY reference HAVING COUNT(*) > 1",
    },
    Check {
        obligation: 4,
        name: "every charge that succeeded granted its credits",
        population: "operations WHERE kind IN {purchase_kinds} AND state = 'succeeded'",
        // A charge of nothing was paid with credits, under the key of its own request. A top-up of nothing was not
        // needed.
        offenders: "SELECT o.customer_id || ': operation ' || o.id || ' was charged as ' \
            || COALESCE(o.stripe_id, 'nothing') || ' and granted nothing' AS what \
            FROM operations o LEFT JOIN ledger_entries e ON e.customer_id = o.customer_id \
            AND e.idempotency_key = COALESCE('stripe:payment:' || o.stripe_id, o.idempotency_key) \
            WHERE o.kind IN {purchase_kinds} AND o.state = 'succeeded' AND e.seq IS NULL AND (o.kind <> 'auto_top_up' OR o.stripe_id IS NOT NULL)",
    },
    Check {
        obligation: 4,
        name: "every paid invoice granted its credits",
        population: "invoices WHERE brings_now",
        offenders: "SELECT i.customer_id || ': invoice ' || i.id || ' is paid and granted nothing' AS what \
            FROM invoices i LEFT JOIN ledger_entries e ON e.customer_id = i.customer_id \
            AND e.idempotency_key = 'stripe:invoice:' || i.id WHERE i.brings_now AND e.seq IS NULL",
    },
    Check {
        obligation: 4,
        name: "every invoice belongs to a customer",
        population: "invoices",
        offenders: "SELECT 'invoice ' || i.id || ' belongs to ' || i.customer_id || ', who is not there' AS what \
            FROM invoices i LEFT JOIN customers c ON c.id = i.customer_id WHERE c.id IS NULL",
    },
    Check {
        obligation: 4,
        name: "no operation was charged twice",
        population: "ledger_entries WHERE source = 'purchase' AND kind = 'grant'",
        offenders: "SELECT e.customer_id || ': payment ' || e.reference || ' belongs to no succeeded operation' AS what \
            FROM ledger_entries e LEFT JOIN operations o ON o.customer_id = e.customer_id \
            AND o.stripe_id = e.reference AND o.state = 'succeeded' \
            WHERE e.source = 'purchase' AND e.kind = 'grant' AND o.id IS NULL",
    },
    Check {
        // A dead job waits for a person, and one that support cancelled for the customer to ask again.
        obligation: 4,
        name: "every unfinished operation has a job",
        population: "operations WHERE state = 'processing'",
        offenders: "SELECT o.customer_id || ': operation ' || o.id || ' is under way and has no job' AS what \
            FROM operations o WHERE o.state = 'processing' AND o.stripe_id IS NULL AND NOT EXISTS \
            (SELECT 1 FROM jobs j WHERE j.unique_key = 'operation:' || o.id || ':' || o.round \
            AND j.state <> 'succeeded')",
    },
    Check {
        obligation: 5,
        name: "no customer command took the available credits below the floor",
        population: "ledger_entries WHERE kind IN ('debit', 'hold', 'adjust')",
        offenders: "SELECT e.customer_id || ': entry ' || e.seq || ' of kind ' || e.kind || ' left ' \
            || (e.balance_after - e.held_after) || ' available, below the floor of ' || a.floor AS what \
            FROM ledger_entries e JOIN accounts a ON a.customer_id = e.customer_id \
            WHERE e.kind IN ('debit', 'hold', 'adjust') AND e.balance_after - e.held_after < a.floor \
            AND e.detail NOT LIKE '%\"paid_by\":%' \
            AND NOT EXISTS (SELECT 1 FROM ledger_entries t WHERE t.customer_id = e.customer_id AND t.kind = 'terms' \
            AND t.detail NOT LIKE '%\"forgiven\":%')",
    },
    Check {
        // It may stand below the floor where credits were clawed back, but the purchase must not have added to that.
        obligation: 5,
        name: "what a purchase paid for left the available credits as they were, or more",
        population: "ledger_entries WHERE detail LIKE '%\"paid_by\":%'",
        offenders: "SELECT e.customer_id || ': entry ' || e.seq || ' of kind ' || e.kind || ' left ' \
            || (e.balance_after - e.held_after) || ' available, fewer than before its purchase' AS what \
            FROM ledger_entries e JOIN ledger_entries g ON g.customer_id = e.customer_id AND g.seq = e.seq - 1 \
            LEFT JOIN ledger_entries r ON r.customer_id = e.customer_id AND r.seq = e.seq - 2 \
            AND r.kind = 'release' AND r.source = g.source AND r.reference = g.reference \
            WHERE e.detail LIKE '%\"paid_by\":%' AND (g.kind <> 'grant' OR e.balance_after - e.held_after < \
            g.balance_after - g.amount - g.held_after - COALESCE(-r.held_delta, 0))",
    },
    Check {
        obligation: 5,
        name: "every hold is opened once and closed at most once, later",
        population: "ledger_entries WHERE kind = 'hold'",
        offenders: "SELECT customer_id || ': hold ' || hold_id || ' is opened by ' || opened || ' entries (last ' \
            || COALESCE(opened_at, 0) || ') and closed by ' || closed || ' (first ' || COALESCE(closed_at, 0) || ')' \
            AS what FROM (SELECT customer_id, hold_id, SUM(CASE WHEN kind = 'hold' THEN 1 ELSE 0 END) AS opened, \
            SUM(CASE WHEN kind = 'hold' THEN 0 ELSE 1 END) AS closed, MAX(CASE WHEN kind = 'hold' THEN seq END) \
            AS opened_at, MIN(CASE WHEN kind <> 'hold' THEN seq END) AS closed_at FROM ledger_entries \
            WHERE hold_id IS NOT NULL GROUP BY customer_id, hold_id) AS h \
            WHERE opened <> 1 OR closed > 1 OR closed_at < opened_at",
    },
    Check {
        obligation: 5,
        name: "no capture exceeds its hold, and the end of a hold frees all of it",
        population: "ledger_entries WHERE kind IN ('capture', 'release')",
        offenders: "SELECT c.customer_id || ': entry ' || c.seq || ' of kind ' || c.kind || ' takes ' || (-c.amount) \
            || ' and frees ' || (-c.held_delta) || ' of hold ' || c.hold_id || ', which reserved ' || h.held_delta \
            AS what FROM ledger_entries c JOIN ledger_entries h ON h.customer_id = c.customer_id \
            AND h.hold_id = c.hold_id AND h.kind = 'hold' WHERE c.kind IN ('capture', 'release') \
            AND (-c.amount > h.held_delta OR -c.held_delta <> h.held_delta)",
    },
    Check {
        obligation: 5,
        name: "holds, captures and releases name their hold, and nothing else does",
        population: ENTRIES,
        offenders: "SELECT customer_id || ': entry ' || seq || ' of kind ' || kind || ' names hold ' \
            || COALESCE(hold_id, 'none') AS what FROM ledger_entries \
            WHERE (kind IN ('hold', 'capture', 'release')) <> (hold_id IS NOT NULL)",
    },
    // Times of attempts are not compared: nodes have their own clocks, which may be set back, and a lease's time is
    // read before the transaction that takes it. Taking a lease raises the stream's epoch, and every result is
    // written under its lease's epoch. So the epochs are the order of work, and two results in one epoch would be
    // an overlap.
    Check {
        obligation: 6,
        name: "no two attempts share an epoch of their stream",
        population: ATTEMPTS,
        offenders: "SELECT 'stream ' || stream_key || ': epoch ' || epoch || ' has ' || COUNT(*) || ' results' AS what \
            FROM attempts GROUP BY stream_key, epoch HAVING COUNT(*) > 1",
    },
    Check {
        obligation: 6,
        name: "no attempt has an epoch above its stream's",
        population: ATTEMPTS,
        offenders: "SELECT 'stream ' || a.stream_key || ': an attempt has epoch ' || a.epoch \
            || ', the stream is at ' || COALESCE(CAST(s.epoch AS TEXT), 'none') AS what FROM attempts a \
            LEFT JOIN streams s ON s.key = a.stream_key WHERE s.key IS NULL OR a.epoch > s.epoch OR a.epoch < 1",
    },
    Check {
        obligation: 6,
        name: "every attempt belongs to a job of its stream",
        population: ATTEMPTS,
        offenders: "SELECT 'stream ' || a.stream_key || ': the attempt of epoch ' || a.epoch || ' belongs to job ' \
            || a.job_id || ', which is in stream ' || COALESCE(j.stream_key, 'none') AS what FROM attempts a \
            LEFT JOIN jobs j ON j.id = a.job_id WHERE j.id IS NULL OR j.stream_key <> a.stream_key",
    },
    Check {
        obligation: 6,
        name: "every attempt that a job used up has one result",
        population: JOBS,
        offenders: "SELECT 'job ' || j.id || ' has used up ' || j.attempt || ' attempts and has ' || COALESCE(a.n, 0) \
            || ' results' AS what FROM jobs j LEFT JOIN (SELECT job_id, COUNT(*) AS n FROM attempts \
            WHERE outcome <> 'snooze' GROUP BY job_id) AS a ON a.job_id = j.id WHERE j.attempt <> COALESCE(a.n, 0)",
    },
    Check {
        obligation: 6,
        name: "no two jobs have the same place in a stream",
        population: JOBS,
        offenders: "SELECT 'stream ' || stream_key || ': ' || COUNT(*) || ' jobs have place ' || seq AS what \
            FROM jobs GROUP BY stream_key, seq HAVING COUNT(*) > 1",
    },
    Check {
        obligation: 6,
        name: "no job has a place above its stream's last one",
        population: JOBS,
        offenders: "SELECT 'stream ' || s.key || ': job ' || j.id || ' has place ' || j.seq || ', the last given is ' \
            || s.last_seq AS what FROM jobs j JOIN streams s ON s.key = j.stream_key \
            WHERE j.seq > s.last_seq OR j.seq < 1",
    },
    Check {
        // A job that ended without an attempt (quarantined, ignored, cancelled while waiting) lets later ones pass,
        // so its first attempt may come late if it is requeued. The requeue, skip or cancellation leaves a replayed
        // item or an audit line about the job, which excludes it. Later requeues do not matter, because only first
        // attempts are compared.
        obligation: 6,
        name: "the jobs of a stream were first attempted in sequence",
        population: JOBS,
        offenders: "SELECT 'stream ' || stream_key || ': job ' || id || ' (place ' || seq \
            || ') was attempted in epoch ' || first_epoch || ' before an earlier one' AS what \
            FROM (SELECT j.id AS id, j.stream_key AS stream_key, j.seq AS seq, f.epoch AS first_epoch, MAX(CASE \
            WHEN r.job_id IS NOT NULL OR l.target IS NOT NULL THEN NULL WHEN f.epoch IS NOT NULL THEN f.epoch \
            WHEN j.state IN ('available', 'running') THEN 9223372036854775807 END) OVER (PARTITION BY j.stream_key \
            ORDER BY j.seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS earlier_epoch FROM jobs j \
            LEFT JOIN (SELECT job_id, MIN(epoch) AS epoch FROM attempts GROUP BY job_id) AS f ON f.job_id = j.id \
            LEFT JOIN (SELECT DISTINCT job_id FROM replay_items WHERE state = 'replayed') AS r ON r.job_id = j.id \
            LEFT JOIN (SELECT DISTINCT target FROM audit_log WHERE target LIKE 'job%') AS l ON l.target = j.id) AS o \
            WHERE first_epoch < earlier_epoch",
    },
    Check {
        obligation: 6,
        name: "no two jobs of a stream run at once",
        population: RUNNING,
        offenders: "SELECT 'stream ' || stream_key || ': ' || COUNT(*) || ' jobs run at once, ' || MIN(id) || ' to ' \
            || MAX(id) AS what FROM jobs WHERE state = 'running' GROUP BY stream_key HAVING COUNT(*) > 1",
    },
    Check {
        obligation: 6,
        name: "every running job runs under a lease",
        population: RUNNING,
        offenders: "SELECT 'job ' || j.id || ' runs without a lease on its stream ' || j.stream_key AS what \
            FROM jobs j LEFT JOIN streams s ON s.key = j.stream_key WHERE j.state = 'running' AND s.owner IS NULL",
    },
    Check {
        obligation: 8,
        name: "no invoice brought credits to two customers",
        population: "ledger_entries WHERE kind = 'grant' AND source = 'stripe'",
        offenders: "SELECT 'invoice ' || reference || ' brought credits to ' || COUNT(DISTINCT customer_id) \
            || ' customers, ' || MIN(customer_id) || ' to ' || MAX(customer_id) AS what FROM ledger_entries \
            WHERE kind = 'grant' AND source = 'stripe' AND reference IS NOT NULL \
            GROUP BY reference HAVING COUNT(DISTINCT customer_id) > 1",
    },
    // No address becomes unconfirmed again, so this holds whenever the operation was requested.
    Check {
        obligation: 9,
        name: "nobody adds a card or buys before its address is confirmed",
        population: "customers",
        offenders: "SELECT c.id || ': its address is not confirmed, and it has requested ' || COUNT(*) || ' operations, ' \
            || MIN(o.id) || ' to ' || MAX(o.id) AS what FROM customers c JOIN operations o ON o.customer_id = c.id \
            WHERE c.address_state = 'pending' AND o.kind NOT IN \
            ('payment_method_detach', 'subscription_cancel', 'payment_refund', 'duplicate_payment') GROUP BY c.id",
    },
    // That each charge granted its credits is proved with obligation 4.
    Check {
        obligation: 9,
        name: "no payment paid for two operations",
        population: "operations WHERE state = 'succeeded' AND stripe_id LIKE 'pi%'",
        offenders: "SELECT 'payment ' || stripe_id || ' paid for ' || COUNT(*) || ' operations, ' || MIN(id) || ' to ' \
            || MAX(id) AS what FROM operations WHERE state = 'succeeded' AND stripe_id LIKE 'pi%' \
            GROUP BY stripe_id HAVING COUNT(*) > 1",
    },
    Check {
        obligation: 12,
        name: "every row of the audit log is sealed or waits for it",
        population: "audit_log",
        offenders: "SELECT 'row ' || a.id || ' (' || a.action || ') is neither sealed nor waits for it' AS what \
            FROM audit_log a LEFT JOIN audit_seals s ON s.audit_id = a.id \
            LEFT JOIN audit_unsealed u ON u.audit_id = a.id WHERE s.audit_id IS NULL AND u.audit_id IS NULL \
            UNION ALL SELECT 'row ' || u.audit_id || ' waits to be sealed and was removed' AS what \
            FROM audit_unsealed u LEFT JOIN audit_log a ON a.id = u.audit_id WHERE a.id IS NULL",
    },
];
