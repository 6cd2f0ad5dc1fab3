//! Dead jobs, to group them by cause.

use super::{get, query_all};
use crate::domain::failure_group::DeadJob;
use crate::domain::job::JobFilter;
use crate::error::Result;
use crate::ids::JobId;
use sea_orm::{ConnectionTrait, QueryResult, Value};

/// The dead jobs that fit a filter, whose state and cause are not looked at, the latest first, at most `limit`.
pub async fn dead_job_list(db: &impl ConnectionTrait, filter: &JobFilter, limit: u64) -> Result<Vec<DeadJob>> {
    let (sql, values) = statement(filter, limit);
    query_all(db, &sql, values).await?.iter().map(read).collect()
}

/// The jobs are chosen first, by the index of dead jobs, and then get the types of their events.
pub(super) fn statement(filter: &JobFilter, limit: u64) -> (String, Vec<Value>) {
    let (clause, mut values) = JobFilter { state: Some("dead".to_owned()), ..filter.clone() }.clause(0);
    values.push(limit.cast_signed().into());
    let sql = format!(
        "SELECT d.id AS id, d.kind AS kind, d.last_error AS last_error, d.died_at_ms AS died_at_ms, e.type AS type \
         FROM (SELECT j.id AS id, j.kind AS kind, j.last_error AS last_error, j.event_id AS event_id, \
         COALESCE(j.finished_at_ms, j.created_at_ms) AS died_at_ms FROM jobs j WHERE {clause} \
         ORDER BY j.id DESC LIMIT ${}) AS d LEFT JOIN events e ON e.id = d.event_id",
        values.len()
    );
    (sql, values)
}

fn read(row: &QueryResult) -> Result<DeadJob> {
    Ok(DeadJob {
        id: JobId::trusted(get(row, "id")?),
        kind: get(row, "kind")?,
        event_type: get(row, "type")?,
        last_error: get(row, "last_error")?,
        died_at_ms: get(row, "died_at_ms")?,
    })
}
