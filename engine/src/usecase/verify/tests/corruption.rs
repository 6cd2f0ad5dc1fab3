//! Corruptions of a healthy database, each with the check that must find it.

use crate::usecase::verify::{audit, fold, plans, sales};

/// One corruption: the check that must find it, a part of its description, and its SQL.
pub(super) type Corruption = (&'static str, &'static str, &'static str);

/// Copies one row of a table with some columns changed.
macro_rules! copy_of {
    ($table:literal, $columns:literal, $changed:literal, $which:literal) => {
        concat!(
            "INSERT INTO ",
            $table,
            " (",
            $columns,
            ") SELECT ",
            $changed,
            " FROM ",
            $table,
            " WHERE ",
            $which,
            " LIMIT 1"
        )
    };
}

pub(super) const LEDGER_CORRUPTIONS: &[Corruption] = &[
    (
        "entries are gapless and each balance follows from the one before",
        "entry 4 (amount",
        "DELETE FROM ledger_entries WHERE seq = 3",
    ),
    (
        "entries are gapless and each balance follows from the one before",
        "does not follow from entry 2",
        "UPDATE ledger_entries SET balance_after = balance_after + 1 WHERE seq = 3",
    ),
    (
        "entries are gapless and each balance follows from the one before",
        "does not follow from entry 4",
        "UPDATE ledger_entries SET held_delta = held_delta + 1 WHERE seq = 5",
    ),
    (
        "the times of a ledger never go back",
        "entry 3 has time 1 and the one before it 200",
        "UPDATE ledger_entries SET created_at_ms = 1 WHERE seq = 3 AND amount = 10",
    ),
    (
        "every entry changes only what its kind may change",
        "of kind hold has amount -7",
        "UPDATE ledger_entries SET kind = 'hold' WHERE kind = 'debit'",
    ),
    (
        "every entry changes only what its kind may change",
        "of kind gift",
        "UPDATE ledger_entries SET kind = 'gift' WHERE kind = 'expire'",
    ),
    ("every account is the sum of its entries", "balance 6", "UPDATE accounts SET balance = 6 WHERE version = 1"),
    ("every account is the sum of its entries", "version 2", "UPDATE accounts SET version = 2 WHERE version = 1"),
    ("every account is the sum of its entries", "held 1", "UPDATE accounts SET held = 1 WHERE version = 1"),
    ("every entry has an account", "no account", "DELETE FROM accounts WHERE version = 1"),
    (fold::NAME, "0 open grants with 0 left instead of 1 with 5", "UPDATE accounts SET open = '{}' WHERE version = 1"),
    (fold::NAME, "its open items cannot be read", "UPDATE accounts SET open = '{\"grants\":1}' WHERE version = 1"),
    (fold::NAME, "0 open holds of 0 instead of 1 of 3", "UPDATE accounts SET open = json_remove(open, '$.holds')"),
    (fold::NAME, "clawed back [] instead of [(2, 10)]", "UPDATE accounts SET open = json_remove(open, '$.clawed')"),
    (
        fold::NAME,
        "its grants have 75 left and the balance is 68",
        "UPDATE ledger_entries SET detail = '{}' WHERE amount = -7",
    ),
    (fold::NAME, "entry 4 cannot be read", "UPDATE ledger_entries SET detail = 'x' WHERE amount = -7"),
    (fold::NAME, "its open holds reserve 0 and 6 is held", "UPDATE ledger_entries SET kind = 'release' WHERE seq = 5"),
    (fold::NAME, "there is no entry 2", "DELETE FROM ledger_entries WHERE seq = 2"),
    (fold::NAME, "there is no entry 2", "UPDATE accounts SET version = 1000000000000 WHERE version = 1"),
    (
        "no key of the engine's own has more than one entry",
        "key stripe:invoice:in_2 has 2 entries",
        "UPDATE ledger_entries SET idempotency_key = 'stripe:invoice:in_2' WHERE reference = 'in_3'",
    ),
    (
        "no event of Stripe was granted twice",
        "Stripe's in_2 made 2 grants",
        "UPDATE ledger_entries SET reference = 'in_2' WHERE reference = 'in_3'",
    ),
    (
        "nobody got signup credits twice",
        "2 signup grants",
        "UPDATE ledger_entries SET source = 'signup' WHERE reference = 'in_3'",
    ),
    (
        "signup credits are recorded under their mailbox",
        "a signup grant without a recorded mailbox",
        "DELETE FROM free_credits",
    ),
    (
        "no period of a marketplace purchase was granted twice",
        "period github:4:1970-01-01 made 2 grants",
        "UPDATE ledger_entries SET source = 'marketplace', reference = 'github:4:1970-01-01' WHERE reference = 'in_3'",
    ),
    (
        "marketplace credits are recorded at a purchase linked to the customer",
        "grants github:4:1970-01-01, for which no purchase is recorded",
        "UPDATE marketplace_accounts SET covered_until_ms = NULL",
    ),
    (
        "every linked marketplace purchase has its customer",
        "GitHub account 4 is linked to cst_gone",
        "UPDATE marketplace_accounts SET customer_id = 'cst_gone'",
    ),
    (
        "every purchased grant names its payment",
        "without a reference",
        "UPDATE ledger_entries SET reference = NULL WHERE reference = 'in_3'",
    ),
    (
        "every charge that succeeded granted its credits",
        "was charged as pi_9 and granted nothing",
        "UPDATE operations SET stripe_id = 'pi_9' WHERE stripe_id = 'pi_1'",
    ),
    (
        "every paid invoice granted its credits",
        "invoice in_9 is paid and granted nothing",
        "UPDATE invoices SET id = 'in_9' WHERE id = 'in_2'",
    ),
    (
        "every invoice belongs to a customer",
        "invoice in_2 belongs to cst_gone, who is not there",
        "UPDATE invoices SET customer_id = 'cst_gone' WHERE id = 'in_2'",
    ),
    (
        "no operation was charged twice",
        "payment pi_1 belongs to no succeeded operation",
        "UPDATE operations SET state = 'failed' WHERE stripe_id = 'pi_1'",
    ),
    (
        "every unfinished operation has a job",
        "is under way and has no job",
        "DELETE FROM jobs WHERE kind = 'operation.run'",
    ),
    (
        "no payment bought two grants",
        "payment in_4 bought 2 grants",
        "UPDATE ledger_entries SET reference = 'in_4', source = 'usage' WHERE reference = 'in_3'",
    ),
    (
        "no customer command took the available credits below the floor",
        "left -1 available, below the floor of 0",
        "UPDATE ledger_entries SET balance_after = held_after - 1 WHERE kind = 'adjust'",
    ),
    (
        // That a debt was forgiven changes no floor.
        "no customer command took the available credits below the floor",
        "left -1 available, below the floor of 0",
        "UPDATE ledger_entries SET balance_after = held_after - 1 WHERE kind = 'adjust'; \
         UPDATE ledger_entries SET kind = 'terms', detail = '{\"forgiven\":[{\"grant\":1,\"credits\":1}]}' \
         WHERE kind = 'release'",
    ),
    (
        "what a purchase paid for left the available credits as they were, or more",
        "available, fewer than before its purchase",
        "UPDATE ledger_entries SET balance_after = balance_after - 5 WHERE idempotency_key = 'api:1'",
    ),
    (
        "every hold is opened once and closed at most once, later",
        "closed by 2",
        "UPDATE ledger_entries SET hold_id = (SELECT hold_id FROM ledger_entries WHERE kind = 'capture') \
         WHERE kind = 'release'",
    ),
    (
        "every hold is opened once and closed at most once, later",
        "opened by 0",
        "DELETE FROM ledger_entries WHERE seq = 5",
    ),
    (
        "every hold is opened once and closed at most once, later",
        "opened by 1 entries (last 50)",
        "UPDATE ledger_entries SET seq = 50 WHERE seq = 5",
    ),
    (
        "no capture exceeds its hold, and the end of a hold frees all of it",
        "takes 7 and frees 6 of hold",
        "UPDATE ledger_entries SET amount = -7 WHERE kind = 'capture'",
    ),
    (
        "no capture exceeds its hold, and the end of a hold frees all of it",
        "takes 0 and frees 4 of hold",
        "UPDATE ledger_entries SET held_delta = -4 WHERE kind = 'release'",
    ),
    (
        fold::SETTLE_NAME,
        "its next settlement should be at 60000 but is stored as never",
        "UPDATE accounts SET next_settle_at_ms = NULL",
    ),
    (
        fold::SETTLE_NAME,
        "its next settlement should be at 60000 but is stored as at 60001",
        "UPDATE accounts SET next_settle_at_ms = next_settle_at_ms + 1",
    ),
    (
        fold::SETTLE_NAME,
        "its next settlement should be never but is stored as at 7",
        "UPDATE accounts SET next_settle_at_ms = 7 WHERE version = 1",
    ),
    (
        "holds, captures and releases name their hold, and nothing else does",
        "of kind release names hold none",
        "UPDATE ledger_entries SET hold_id = NULL WHERE kind = 'release'",
    ),
];

pub(super) const JOB_CORRUPTIONS: &[Corruption] = &[
    ("every event has exactly one job", "(evt_4) has 0 jobs", "DELETE FROM jobs WHERE state = 'available'"),
    (
        "every event has exactly one job",
        "has 2 jobs",
        "UPDATE jobs SET event_id = (SELECT id FROM events WHERE external_id = 'evt_1') WHERE state = 'running'",
    ),
    ("the event of every job is stored", "which is not stored", "DELETE FROM events WHERE external_id = 'evt_3'"),
    ("every dead or cancelled job says why", "is dead without", "UPDATE jobs SET last_error = NULL"),
    (
        "every dead or cancelled job says why",
        "is cancelled without",
        "UPDATE jobs SET state = 'cancelled' WHERE seq = 4",
    ),
    ("every job has a stream", "in stream stripe:cus_2", "DELETE FROM streams WHERE key = 'stripe:cus_2'"),
    ("every job is in a known state", "in state lost", "UPDATE jobs SET state = 'lost' WHERE seq = 4"),
    (
        "no event is stored twice",
        "event evt_1 of stripe is stored 2 times",
        "UPDATE events SET external_id = 'evt_1' WHERE external_id = 'evt_2'",
    ),
    (
        "no two attempts share an epoch of their stream",
        "epoch 1 has 2 results",
        "UPDATE attempts SET epoch = 1 WHERE epoch = 2 AND stream_key = 'stripe:cus_1'",
    ),
    (
        "no attempt has an epoch above its stream's",
        "an attempt has epoch 4, the stream is at 3",
        "UPDATE streams SET epoch = 3 WHERE key = 'stripe:cus_1'",
    ),
    (
        "no attempt has an epoch above its stream's",
        "the stream is at none",
        "DELETE FROM streams WHERE key = 'stripe:cus_1'",
    ),
    (
        "every attempt belongs to a job of its stream",
        "which is in stream none",
        "DELETE FROM jobs WHERE stream_key = 'stripe:cus_1'",
    ),
    (
        "every attempt belongs to a job of its stream",
        "which is in stream stripe:cus_2",
        "UPDATE attempts SET job_id = (SELECT id FROM jobs WHERE stream_key = 'stripe:cus_2') WHERE epoch = 4",
    ),
    (
        "every attempt that a job used up has one result",
        "has used up 2 attempts and has 3 results",
        copy_of!(
            "attempts",
            "stream_key, epoch, job_id, attempt, node, started_at_ms, finished_at_ms, outcome",
            "stream_key, 5, job_id, attempt, 'node-2', started_at_ms, finished_at_ms, outcome",
            "outcome = 'retry'"
        ),
    ),
    (
        "no two jobs have the same place in a stream",
        "stream stripe:cus_1: 2 jobs have place 1",
        "UPDATE jobs SET seq = 1 WHERE stream_key = 'stripe:cus_1' AND seq = 2",
    ),
    (
        "no job has a place above its stream's last one",
        "has place 5, the last given is 4",
        "UPDATE jobs SET seq = 5 WHERE seq = 4",
    ),
    (
        "the jobs of a stream were first attempted in sequence",
        "(place 3) was attempted in epoch 1 before",
        "UPDATE attempts SET epoch = 5 - epoch WHERE stream_key = 'stripe:cus_1'",
    ),
    (
        "the jobs of a stream were first attempted in sequence",
        "(place 3) was attempted in epoch 4 before",
        "UPDATE jobs SET state = 'available' WHERE seq = 2",
    ),
    (
        "the jobs of a stream were first attempted in sequence",
        "(place 2) was attempted in epoch 1 before",
        "UPDATE replay_items SET state = 'tried'",
    ),
    (
        "no two jobs of a stream run at once",
        "stream stripe:cus_1: 2 jobs run at once",
        "UPDATE jobs SET state = 'running' WHERE stream_key = 'stripe:cus_1' AND seq > 2",
    ),
    (
        "every running job runs under a lease",
        "without a lease on its stream stripe:cus_2",
        "UPDATE streams SET owner = NULL",
    ),
];

pub(super) const SALE_CORRUPTIONS: &[Corruption] = &[
    (
        sales::LINES_NAME,
        "of in_5: its lines bring 50 credits, and its grants have 60",
        "UPDATE ledger_entries SET metadata = REPLACE(metadata, '\"credits\":60', '\"credits\":50')",
    ),
    (
        sales::LINES_NAME,
        "its lines bring 60 credits, and its grants have 61",
        "UPDATE ledger_entries SET amount = 21 WHERE metadata LIKE '{\"sold\"%'",
    ),
    (
        sales::LINES_NAME,
        "month:1 has 21 credits, and the invoice brings 20",
        "UPDATE ledger_entries SET amount = 21 WHERE idempotency_key LIKE '%:month:1'",
    ),
    (
        sales::LINES_NAME,
        "month:9 has 20 credits, and the invoice brings 0",
        "UPDATE ledger_entries SET idempotency_key = 'stripe:invoice:in_5:month:9' \
         WHERE idempotency_key LIKE '%:month:1'",
    ),
    (
        sales::PARTS_NAME,
        "in_5:month:1 was due 1970-02-01T00:00:00.000Z, and its job is dead",
        "UPDATE ledger_entries SET idempotency_key = 'lost' WHERE idempotency_key LIKE '%:month:1'; \
         UPDATE jobs SET unique_key = 'grant:stripe:invoice:in_5:month:1' WHERE state = 'dead'",
    ),
    (
        sales::PARTS_NAME,
        "and there is no job",
        "UPDATE ledger_entries SET metadata = REPLACE(metadata, '4611686018427387903', \
         CAST((strftime('%s', 'now') - 2 * 86400) * 1000 AS TEXT))",
    ),
    (
        sales::KEPT_NAME,
        "no lines are kept with the credits of in_6",
        copy_of!(
            "ledger_entries",
            "customer_id, seq, kind, amount, held_delta, balance_after, held_after, source, reference, \
             idempotency_key, detail, created_at_ms",
            "customer_id, 9, kind, amount, held_delta, balance_after, held_after, source, 'in_6', \
             'stripe:invoice:in_6', detail, 999999999",
            "metadata LIKE '{\"sold\"%'"
        ),
    ),
    (
        plans::NAME,
        "its plan team is not in version 1 of the catalogue",
        "UPDATE customers SET plan = 'team' WHERE id = (SELECT MIN(id) FROM customers)",
    ),
    (
        "no invoice brought credits to two customers",
        "invoice in_5 brought credits to 2 customers",
        "UPDATE ledger_entries SET reference = 'in_5' WHERE reference = 'in_3'",
    ),
    (
        "nobody adds a card or buys before its address is confirmed",
        "its address is not confirmed, and it has requested",
        "UPDATE customers SET address_state = 'pending'",
    ),
    (
        "no payment paid for two operations",
        "payment pi_1 paid for 2 operations",
        "UPDATE operations SET state = 'succeeded', stripe_id = 'pi_1'",
    ),
];

pub(super) const AUDIT_CORRUPTIONS: &[Corruption] = &[
    (
        audit::NAME,
        "seal 2 of row aud_",
        "UPDATE audit_log SET actor = 'admin:somebody/else' WHERE id = \
        (SELECT audit_id FROM audit_seals WHERE seal = 2)",
    ),
    (
        audit::NAME,
        "seal 2 of row aud_",
        "UPDATE audit_log SET at_ms = at_ms - 1 WHERE id = \
        (SELECT audit_id FROM audit_seals WHERE seal = 2)",
    ),
    (
        audit::NAME,
        "(removed) has another hash",
        "DELETE FROM audit_log WHERE id = \
        (SELECT audit_id FROM audit_seals WHERE seal = 1)",
    ),
    (audit::NAME, "seal 1 of row aud_", "UPDATE audit_seals SET hash = '0' WHERE seal = 1"),
    (audit::NAME, "seal 3 follows seal 1", "DELETE FROM audit_seals WHERE seal = 2"),
    (
        "every row of the audit log is sealed or waits for it",
        "is neither sealed nor waits for it",
        "INSERT INTO audit_log (id, actor, action, target, details, at_ms) VALUES ('aud_x', 'a', 'b', 'c', '{}', 1)",
    ),
    (
        "every row of the audit log is sealed or waits for it",
        "row aud_x waits to be sealed and was removed",
        "INSERT INTO audit_unsealed (audit_id) VALUES ('aud_x')",
    ),
];
