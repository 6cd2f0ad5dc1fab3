//! Rows of `reconciliations`, `reconciliation_findings` and `reconciliation_seen`.

use super::{
    Kind, Rows, account, customer, execute, from_json, get, operation, query_all, query_by, query_one, subscription,
};
use crate::clock::TimeMs;
use crate::domain::customer::Customer;
use crate::domain::ledger::Entry;
use crate::domain::operation::{Operation, PURCHASE_KINDS};
use crate::domain::reconcile::grants::StuckPart;
use crate::domain::reconcile::{Finding, Phase, Reconciliation, State, Step};
use crate::domain::subscription::Subscription;
use crate::error::{Error, Result};
use crate::ids::{CustomerId, JobId, ReconciliationId};
use sea_orm::{ConnectionTrait, QueryResult};
use std::collections::HashSet;

const COLUMNS: &str = "id, state, repair, full_pass, customer_id, since_ms, until_ms, whole, phase, cursor, counts, \
                       reason, job_id, requested_by, request_key, request_hash, created_at_ms, finished_at_ms";

fn read(row: &QueryResult) -> Result<Reconciliation> {
    let (state, phase): (String, String) = (get(row, "state")?, get(row, "phase")?);
    Ok(Reconciliation {
        id: ReconciliationId::trusted(get(row, "id")?),
        state: State::parse(&state).ok_or_else(|| Error::Corrupt(format!("state {state} of a reconciliation")))?,
        repair: get(row, "repair")?,
        is_full: get(row, "full_pass")?,
        only_customer: get::<Option<String>>(row, "customer_id")?.map(CustomerId::trusted),
        since_ms: get(row, "since_ms")?,
        until_ms: get(row, "until_ms")?,
        moves_next_start: get(row, "whole")?,
        phase: Phase::parse(&phase).ok_or_else(|| Error::Corrupt(format!("phase {phase} of a reconciliation")))?,
        cursor: get(row, "cursor")?,
        counts: from_json(&get::<String>(row, "counts")?)?,
        reason: get(row, "reason")?,
        job_id: JobId::trusted(get(row, "job_id")?),
        requested_by: get(row, "requested_by")?,
        request_key: get(row, "request_key")?,
        request_hash: get(row, "request_hash")?,
        created_at_ms: get(row, "created_at_ms")?,
        finished_at_ms: get(row, "finished_at_ms")?,
    })
}

/// Inserts a run. False if another one is under way or has the same key.
pub async fn reconciliation_insert(db: &impl ConnectionTrait, run: &Reconciliation) -> Result<bool> {
    let sql = format!(
        "INSERT INTO reconciliations ({COLUMNS}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18) \
         ON CONFLICT DO NOTHING"
    );
    let values = [
        run.id.as_str().into(),
        run.state.as_str().into(),
        run.repair.into(),
        run.is_full.into(),
        run.only_customer.as_ref().map(|id| id.as_str().to_owned()).into(),
        run.since_ms.into(),
        run.until_ms.into(),
        run.moves_next_start.into(),
        run.phase.as_str().into(),
        run.cursor.clone().into(),
        super::to_json(&run.counts)?.into(),
        run.reason.clone().into(),
        run.job_id.as_str().into(),
        run.requested_by.as_str().into(),
        run.request_key.as_str().into(),
        run.request_hash.as_str().into(),
        run.created_at_ms.into(),
        run.finished_at_ms.into(),
    ];
    Ok(execute(db, &sql, values).await? == 1)
}

/// Ends a run whose job is dead or was cancelled by support.
pub async fn reconciliation_abandon(db: &impl ConnectionTrait, now_ms: TimeMs) -> Result<()> {
    let sql = "UPDATE reconciliations SET state = 'failed', finished_at_ms = $1, \
               reason = COALESCE((SELECT j.last_error FROM jobs j WHERE j.id = job_id), 'its job is gone') \
               WHERE state = 'running' AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = job_id \
               AND j.state IN ('available', 'running'))";
    execute(db, sql, [now_ms.into()]).await?;
    Ok(())
}

/// Finds a run.
pub async fn reconciliation_find(db: &impl ConnectionTrait, id: &ReconciliationId) -> Result<Option<Reconciliation>> {
    let sql = format!("SELECT {COLUMNS} FROM reconciliations WHERE id = $1");
    query_one(db, &sql, [id.as_str().into()]).await?.map(|row| read(&row)).transpose()
}

/// Finds a run by its request's key.
pub async fn reconciliation_find_by_key(db: &impl ConnectionTrait, key: &str) -> Result<Option<Reconciliation>> {
    let sql = format!("SELECT {COLUMNS} FROM reconciliations WHERE request_key = $1");
    query_one(db, &sql, [key.into()]).await?.map(|row| read(&row)).transpose()
}

/// The latest completed run of all customers.
pub async fn reconciliation_last_done(db: &impl ConnectionTrait) -> Result<Option<Reconciliation>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM reconciliations WHERE state = 'done' AND customer_id IS NULL ORDER BY id DESC LIMIT 1"
    );
    query_one(db, &sql, []).await?.map(|row| read(&row)).transpose()
}

/// The latest completed run that repaired and left no gap: the next one begins there.
pub async fn reconciliation_last_whole(db: &impl ConnectionTrait) -> Result<Option<Reconciliation>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM reconciliations WHERE state = 'done' AND repair AND whole ORDER BY id DESC LIMIT 1"
    );
    query_one(db, &sql, []).await?.map(|row| read(&row)).transpose()
}

/// Runs newest first, before the cursor: those that were requested at or after a time.
pub async fn reconciliation_list(
    db: &impl ConnectionTrait,
    from_ms: Option<TimeMs>,
    before: &str,
    limit: u64,
) -> Result<Vec<Reconciliation>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM reconciliations WHERE ($1 = '' OR id < $1) AND created_at_ms >= $2 \
         ORDER BY id DESC LIMIT $3"
    );
    let values = [before.into(), from_ms.unwrap_or(TimeMs::MIN).into(), limit.cast_signed().into()];
    query_all(db, &sql, values).await?.iter().map(read).collect()
}

/// Writes a step of a run under way.
pub async fn reconciliation_step(db: &impl ConnectionTrait, step: &Step) -> Result<()> {
    let run = &step.run;
    let sql = "UPDATE reconciliations SET state = $2, phase = $3, cursor = $4, counts = $5, reason = $6, \
               finished_at_ms = $7 WHERE id = $1 AND state = 'running'";
    let values = [
        run.id.as_str().into(),
        run.state.as_str().into(),
        run.phase.as_str().into(),
        run.cursor.clone().into(),
        super::to_json(&run.counts)?.into(),
        run.reason.clone().into(),
        run.finished_at_ms.into(),
    ];
    if execute(db, sql, values).await? == 0 {
        return Ok(());
    }
    findings_insert(db, &run.id, &step.findings).await?;
    let mut rows = Rows::new(&[("run", Kind::Text), ("object", Kind::Text)]);
    for object in &step.seen {
        rows.push([run.id.as_str().into(), object.as_str().into()]);
    }
    if !rows.is_empty() {
        let sql = "INSERT INTO reconciliation_seen (reconciliation_id, object_id) SELECT run, object FROM {rows} \
                   WHERE true ON CONFLICT DO NOTHING";
        db.execute_raw(rows.statement(db.get_database_backend(), sql)).await?;
    }
    Ok(())
}

async fn findings_insert(db: &impl ConnectionTrait, run: &ReconciliationId, findings: &[Finding]) -> Result<()> {
    let mut rows = Rows::new(&[
        ("run", Kind::Text),
        ("n", Kind::Int),
        ("class", Kind::Text),
        ("object_id", Kind::Text),
        ("customer_id", Kind::Text),
        ("ours", Kind::Text),
        ("theirs", Kind::Text),
        ("repaired", Kind::Int),
    ]);
    for finding in findings {
        rows.push([
            run.as_str().into(),
            finding.n.into(),
            finding.class.as_str().into(),
            finding.object_id.as_str().into(),
            finding.customer_id.as_ref().map(|id| id.as_str().to_owned()).into(),
            finding.ours.as_str().into(),
            finding.theirs.as_str().into(),
            finding.is_repaired.into(),
        ]);
    }
    if rows.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO reconciliation_findings (reconciliation_id, n, class, object_id, customer_id, ours, theirs, \
               repaired) SELECT run, n, class, object_id, customer_id, ours, theirs, repaired = 1 FROM {rows} \
               WHERE true ON CONFLICT DO NOTHING";
    db.execute_raw(rows.statement(db.get_database_backend(), sql)).await?;
    Ok(())
}

/// The findings of a run after the cursor, lowest number first.
pub async fn reconciliation_findings(
    db: &impl ConnectionTrait,
    id: &ReconciliationId,
    after: i64,
    limit: u64,
) -> Result<Vec<Finding>> {
    let sql = "SELECT n, class, object_id, customer_id, ours, theirs, repaired FROM reconciliation_findings \
               WHERE reconciliation_id = $1 AND n > $2 ORDER BY n LIMIT $3";
    let rows = query_all(db, sql, [id.as_str().into(), after.into(), limit.cast_signed().into()]).await?;
    rows.iter()
        .map(|row| {
            Ok(Finding {
                n: get(row, "n")?,
                class: get(row, "class")?,
                object_id: get(row, "object_id")?,
                customer_id: get::<Option<String>>(row, "customer_id")?.map(CustomerId::trusted),
                ours: get(row, "ours")?,
                theirs: get(row, "theirs")?,
                is_repaired: get(row, "repaired")?,
            })
        })
        .collect()
}

/// Whether a recovered event of a run still waits to be processed, or the review that it made, according to its findings.
pub async fn reconciliation_waits(db: &impl ConnectionTrait, id: &ReconciliationId) -> Result<bool> {
    let sql = "SELECT j.id AS id FROM reconciliation_findings f JOIN events e \
               ON e.external_id IN (f.object_id, f.object_id || ':review', f.object_id || ':review:review') \
               JOIN jobs j ON j.event_id = e.id WHERE f.reconciliation_id = $1 AND f.class = 'event_missing' \
               AND f.repaired AND j.state IN ('available', 'running') LIMIT 1";
    Ok(query_one(db, sql, [id.as_str().into()]).await?.is_some())
}

/// The ones among these objects that a run has noted as seen.
pub async fn objects_seen(
    db: &impl ConnectionTrait,
    run: &ReconciliationId,
    objects: &[String],
) -> Result<HashSet<String>> {
    let mut rows = Rows::new(&[("run", Kind::Text), ("object", Kind::Text)]);
    for object in objects {
        rows.push([run.as_str().into(), object.as_str().into()]);
    }
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let sql = "SELECT s.object_id AS id FROM {rows} JOIN reconciliation_seen s \
               ON s.reconciliation_id = {r.run} AND s.object_id = {r.object}";
    let found = db.query_all_raw(rows.statement(db.get_database_backend(), sql)).await?;
    found.iter().map(|row| get(row, "id")).collect()
}

/// The known ones among these events of Stripe.
pub async fn events_known(db: &impl ConnectionTrait, source: &str, ids: &[String]) -> Result<HashSet<String>> {
    // The source is one of the engine's constants, never text from outside.
    let sql = format!(
        "SELECT e.external_id AS id FROM {{rows}} JOIN events e ON e.source = '{source}' AND e.external_id = {{r.sought}}"
    );
    query_by(db, &sql, ids).await?.iter().map(|row| get(row, "id")).collect()
}

/// The condition that restricts rows to the run's customer, whose id is the parameter with this number.
fn only(run: &Reconciliation, column: &str, n: usize) -> String {
    if run.only_customer.is_some() { format!("AND {column} = ${n}") } else { format!("AND ${n} = ''") }
}

/// The value of the parameter of [`only`].
fn only_value(run: &Reconciliation) -> sea_orm::Value {
    run.only_customer.as_ref().map_or("", CustomerId::as_str).into()
}

/// Customers created before a time whose Stripe customer a run did not list, or who have none, ordered by id.
pub async fn customers_unseen(
    db: &impl ConnectionTrait,
    run: &Reconciliation,
    after: &str,
    limit: u64,
) -> Result<Vec<Customer>> {
    let sql = format!(
        "SELECT {} FROM customers c WHERE c.id > $1 AND c.created_at_ms <= $2 AND NOT EXISTS \
         (SELECT 1 FROM reconciliation_seen s WHERE s.reconciliation_id = $3 \
         AND s.object_id = COALESCE(c.stripe_customer_id, c.id)) {} ORDER BY c.id LIMIT $4",
        customer::COLUMNS,
        only(run, "c.id", 5)
    );
    let limit = limit.cast_signed();
    let values = [after.into(), run.until_ms.into(), run.id.as_str().into(), limit.into(), only_value(run)];
    query_all(db, &sql, values).await?.iter().map(customer::read).collect()
}

/// Customers with several live subscriptions of ours.
const SEVERAL_LIVE: &str = "SELECT d.customer_id FROM subscriptions d WHERE d.ended_at_ms IS NULL AND d.plan IS NOT NULL \
                            AND d.status <> 'incomplete' GROUP BY d.customer_id HAVING COUNT(*) > 1";

/// Unended subscriptions that a run did not list, ordered by id. Unless it is a full pass or of one customer, only
/// those that changed within its window, whose period is over, that wait for an invoice, or beside which their customer
/// has another live one of ours, which is wrong however long it has been so.
pub async fn subscriptions_unseen(
    db: &impl ConnectionTrait,
    run: &Reconciliation,
    after: &str,
    limit: u64,
) -> Result<Vec<Subscription>> {
    let sql = format!(
        "SELECT {} FROM subscriptions u WHERE u.id > $1 AND u.ended_at_ms IS NULL AND u.updated_at_ms <= $2 \
         AND NOT EXISTS (SELECT 1 FROM reconciliation_seen s WHERE s.reconciliation_id = $3 AND s.object_id = u.id) \
         AND (u.updated_at_ms >= $6 OR u.current_period_end_ms <= $2 OR u.customer_id IN ({SEVERAL_LIVE}) \
         OR (u.unpaid_change IS NOT NULL AND u.unpaid_change NOT LIKE '%\"is_void\":true%')) {} \
         ORDER BY u.id LIMIT $4",
        subscription::COLUMNS,
        only(run, "u.customer_id", 5)
    );
    let (limit, since_ms) = (limit.cast_signed(), if run.is_full { 0 } else { run.since_ms });
    let values =
        [after.into(), run.until_ms.into(), run.id.as_str().into(), limit.into(), only_value(run), since_ms.into()];
    query_all(db, &sql, values).await?.iter().map(subscription::read).collect()
}

/// Charges for units that succeeded within a run's window but whose payment it did not list, ordered by id.
pub async fn payments_unseen(
    db: &impl ConnectionTrait,
    run: &Reconciliation,
    after: &str,
    limit: u64,
) -> Result<Vec<Operation>> {
    let sql = format!(
        "SELECT {} FROM operations o WHERE o.id > $1 AND o.kind IN {PURCHASE_KINDS} AND o.state = 'succeeded' \
         AND o.stripe_id IS NOT NULL AND o.updated_at_ms >= $2 AND o.updated_at_ms <= $3 AND NOT EXISTS \
         (SELECT 1 FROM reconciliation_seen s WHERE s.reconciliation_id = $4 AND s.object_id = o.stripe_id) \
         {} ORDER BY o.id LIMIT $5",
        operation::COLUMNS,
        only(run, "o.customer_id", 6)
    );
    let values = unseen_values(run, after, limit);
    query_all(db, &sql, values).await?.iter().map(operation::read).collect()
}

/// The values of the queries for what a run did not see, `$1` to `$6`.
fn unseen_values(run: &Reconciliation, after: &str, limit: u64) -> [sea_orm::Value; 6] {
    [
        after.into(),
        run.since_ms.into(),
        run.until_ms.into(),
        run.id.as_str().into(),
        limit.cast_signed().into(),
        only_value(run),
    ]
}

/// First grants for invoices that were made within a run's window and whose invoice it did not
/// list, ordered by the invoice's id.
pub async fn grants_unseen(
    db: &impl ConnectionTrait,
    run: &Reconciliation,
    after: &str,
    limit: u64,
) -> Result<Vec<(CustomerId, Entry)>> {
    let sql = format!(
        "SELECT {} FROM ledger_entries e WHERE e.kind = 'grant' AND e.source = 'stripe' AND e.created_at_ms >= $2 \
         AND e.created_at_ms <= $3 AND e.reference > $1 AND e.idempotency_key = 'stripe:invoice:' || e.reference \
         AND NOT EXISTS (SELECT 1 FROM reconciliation_seen s WHERE s.reconciliation_id = $4 \
         AND s.object_id = e.reference) {} ORDER BY e.reference LIMIT $5",
        account::ENTRY_COLUMNS,
        only(run, "e.customer_id", 6)
    );
    let values = unseen_values(run, after, limit);
    query_all(db, &sql, values).await?.iter().map(account::read_entry_of).collect()
}

/// Jobs that grant a part of an invoice's credits and are dead, or were due before a time; ordered by id.
pub async fn parts_stuck(
    db: &impl ConnectionTrait,
    run: &Reconciliation,
    before_ms: TimeMs,
    after: &str,
    limit: u64,
) -> Result<Vec<StuckPart>> {
    let sql = format!(
        "SELECT j.id, j.customer_id, j.args, j.state, j.run_at_ms, j.last_error FROM jobs j \
         WHERE j.kind = 'credits.grant' AND j.id > $1 AND (j.state = 'dead' \
         OR (j.state IN ('available', 'running') AND j.run_at_ms < $2)) {} ORDER BY j.id LIMIT $3",
        only(run, "j.customer_id", 4)
    );
    let values = [after.into(), before_ms.into(), limit.cast_signed().into(), only_value(run)];
    let rows = query_all(db, &sql, values).await?;
    rows.iter()
        .map(|row| {
            Ok(StuckPart {
                job_id: JobId::trusted(get(row, "id")?),
                customer_id: get::<Option<String>>(row, "customer_id")?.map(CustomerId::trusted),
                args: get(row, "args")?,
                is_dead: get::<String>(row, "state")? == "dead",
                run_at_ms: get(row, "run_at_ms")?,
                last_error: get(row, "last_error")?,
            })
        })
        .collect()
}

/// Deletes the listed objects of ended runs, up to `limit` rows, and runs that ended before a time, with their
/// findings. The latest completed run stays, because the gauges use it. Returns the number of listed objects.
pub async fn reconciliation_prune(db: &impl ConnectionTrait, before_ms: TimeMs, limit: u64) -> Result<u64> {
    let seen = "DELETE FROM reconciliation_seen WHERE (reconciliation_id, object_id) IN \
                (SELECT s.reconciliation_id, s.object_id FROM reconciliation_seen s WHERE NOT EXISTS \
                (SELECT 1 FROM reconciliations r WHERE r.id = s.reconciliation_id AND r.state = 'running') LIMIT $1)";
    let deleted = execute(db, seen, [limit.cast_signed().into()]).await?;
    for sql in [
        "DELETE FROM reconciliation_findings WHERE reconciliation_id IN (SELECT id FROM reconciliations \
         WHERE finished_at_ms < $1 AND id < (SELECT MAX(id) FROM reconciliations \
         WHERE state = 'done' AND customer_id IS NULL))",
        "DELETE FROM reconciliations WHERE finished_at_ms < $1 \
         AND id < (SELECT MAX(id) FROM reconciliations WHERE state = 'done' AND customer_id IS NULL)",
    ] {
        execute(db, sql, [before_ms.into()]).await?;
    }
    Ok(deleted)
}
