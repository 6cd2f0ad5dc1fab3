//! The conditions of a search for jobs.

use super::COLUMNS;
use crate::clock::TimeMs;
use crate::domain::job::{JobFilter, JobOwner};
use crate::ids::JobId;
use crate::infra::store::{ID_LAG_MAX_MS, containing, parameters};
use sea_orm::Value;

/// Spelled as in the partial indexes, which requires that.
const UNFINISHED: &str = "j.state IN ('available', 'running')";

impl JobFilter {
    /// The WHERE clause over `jobs j` and its values, which begin at parameter `$1`. It leaves the cause out, which is
    /// no column.
    pub(in crate::infra::store) fn clause(&self, now_ms: TimeMs) -> (String, Vec<Value>) {
        let mut parts = vec!["1 = 1".to_owned()];
        let mut values: Vec<Value> = Vec::new();
        if self.state.as_deref() == Some("dead") {
            // A literal, because the index of dead jobs requires that.
            parts.push("j.state = 'dead'".to_owned());
        }
        let mut add = |text: &str, value: Value| {
            values.push(value);
            parts.push(text.replace('?', &format!("${}", values.len())));
        };
        match self.state.as_deref() {
            Some("scheduled") => {
                add(&format!("{UNFINISHED} AND j.state = 'available' AND j.run_at_ms > ?"), now_ms.into())
            }
            Some("available") => {
                add(&format!("{UNFINISHED} AND j.state = 'available' AND j.run_at_ms <= ?"), now_ms.into())
            }
            // The time is always positive: the condition selects the index of due jobs.
            Some("running") => add(&format!("{UNFINISHED} AND j.state = 'running' AND j.run_at_ms > ?"), 0_i64.into()),
            None | Some("dead") => {}
            Some(state) => add("j.state = ?", state.into()),
        }
        if let Some(kind) = &self.kind {
            add("j.kind = ?", kind.as_str().into());
        }
        if let Some(stream) = &self.stream {
            add("j.stream_key = ?", stream.as_str().into());
        }
        if let Some(event_type) = &self.event_type {
            add("j.event_id IN (SELECT id FROM events WHERE type = ?)", event_type.as_str().into());
        }
        if let Some(error) = &self.error {
            add("j.last_error LIKE ? ESCAPE '\\'", containing(error).into());
        }
        if let Some(from) = self.created_from_ms {
            add("j.created_at_ms >= ?", from.into());
            add("j.id >= ?", JobId::before(from.saturating_sub(ID_LAG_MAX_MS)).into());
        }
        if let Some(to) = self.created_to_ms {
            add("j.created_at_ms < ?", to.into());
        }
        if let Some(owner) = &self.owner {
            parts.push(format!("j.id IN ({})", owner.jobs("id", &mut values)));
        }
        (parts.join(" AND "), values)
    }

    /// The statement for a page of these jobs, newest first, before a cursor.
    pub(in crate::infra::store) fn statement(&self, before: &str, limit: u64, now_ms: TimeMs) -> (String, Vec<Value>) {
        let (clause, mut values) = self.clause(now_ms);
        values.push(before.into());
        values.push(limit.cast_signed().into());
        let (cursor, limit) = (values.len() - 1, values.len());
        let sql = format!(
            "SELECT {COLUMNS} FROM jobs j WHERE {clause} AND (${cursor} = '' OR j.id < ${cursor}) \
             ORDER BY j.id DESC LIMIT ${limit}"
        );
        (sql, values)
    }
}

impl JobOwner {
    /// A query for a column of the customer's jobs: each half has an index.
    pub(in crate::infra::store) fn jobs(&self, column: &str, values: &mut Vec<Value>) -> String {
        let customer = parameters(values, [self.customer.as_str()]);
        let of_customer = format!("SELECT {column} FROM jobs WHERE customer_id = {customer}");
        if self.streams.is_empty() {
            return of_customer;
        }
        let streams = parameters(values, self.streams.iter().map(String::as_str));
        format!("{of_customer} UNION SELECT {column} FROM jobs WHERE stream_key IN ({streams})")
    }
}
