//! Rows of `events`: the inbox. An event's state is that of its job, so it is stored only once.

use super::{ID_LAG_MAX_MS, Kind, Rows, containing, get, query_all, query_one};
use crate::clock::TimeMs;
use crate::domain::job::{JobOwner, JobState, NewJob};
use crate::domain::webhook::StoredEvent;
use crate::domain::webhook::delivery::{Delivery, Fate};
use crate::error::{Error, Result};
use crate::ids::{EventId, JobId};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use std::collections::{HashMap, HashSet};

/// Stores the events of deliveries. Returns for each, in order, the job to insert in the same transaction; `None`
/// if the event was already stored.
pub async fn event_take_many(tx: &impl ConnectionTrait, deliveries: &[&Delivery]) -> Result<Vec<Option<NewJob>>> {
    // One statement must not write a row twice: copies within the batch become one row that counts them.
    let mut first: HashMap<(&str, &str), usize> = HashMap::new();
    let mut events: Vec<StoredEvent> = Vec::new();
    for delivery in deliveries {
        let key = (delivery.event.source.as_str(), delivery.event.external_id.as_str());
        match first.get(&key) {
            Some(at) => events[*at].deliveries += 1,
            None => {
                first.insert(key, events.len());
                events.push(delivery.event.clone());
            }
        }
    }
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let stored: HashSet<EventId> = event_insert_many(tx, &events).await?.into_iter().collect();
    Ok(deliveries.iter().map(|delivery| stored.contains(&delivery.event.id).then(|| new_job(delivery))).collect())
}

fn new_job(delivery: &Delivery) -> NewJob {
    if let Fate::Quarantine(reason) = &delivery.fate {
        let event = &delivery.event;
        tracing::warn!(event.id = %event.id, external_id = event.external_id, reason, "an event is dead on arrival");
    }
    delivery.job()
}

/// Inserts events; a duplicate only increases the count of deliveries. The list must contain each (source, external
/// id) once. Returns the ids of new events.
pub async fn event_insert_many(db: &impl ConnectionTrait, events: &[StoredEvent]) -> Result<Vec<EventId>> {
    let mut rows = Rows::new(&[
        ("id", Kind::Text),
        ("source", Kind::Text),
        ("external_id", Kind::Text),
        ("type", Kind::Text),
        ("payload", Kind::Bytes),
        ("stream_key", Kind::Text),
        ("deliveries", Kind::Int),
        ("received_at_ms", Kind::Int),
    ]);
    let mut sorted: Vec<&StoredEvent> = events.iter().collect();
    sorted.sort_by(|a, b| (&a.source, &a.external_id).cmp(&(&b.source, &b.external_id)));
    for event in sorted {
        rows.push([
            event.id.as_str().into(),
            event.source.as_str().into(),
            event.external_id.as_str().into(),
            event.event_type.as_str().into(),
            super::Cell::Bytes(event.payload.clone()),
            event.stream_key.as_str().into(),
            event.deliveries.into(),
            event.received_at_ms.into(),
        ]);
    }
    let columns = "id, source, external_id, type, payload, stream_key, deliveries, received_at_ms";
    let sql = format!(
        "INSERT INTO events ({columns}) SELECT {columns} FROM {{rows}} WHERE true \
         ON CONFLICT (source, external_id) DO UPDATE SET deliveries = events.deliveries + excluded.deliveries \
         RETURNING id"
    );
    let stored = db.query_all_raw(rows.statement(db.get_database_backend(), &sql)).await?;
    let mut new = Vec::new();
    for row in &stored {
        let id: String = get(row, "id")?;
        if events.iter().any(|event| event.id.as_str() == id) {
            new.push(EventId::trusted(id));
        }
    }
    Ok(new)
}

/// The signed bytes of an event, its type, and by which catalogue it is to be judged.
#[derive(Debug, Clone)]
pub struct EventBytes {
    /// Its identifier.
    pub id: EventId,
    /// Its type.
    pub event_type: String,
    /// The bytes.
    pub payload: Vec<u8>,
    /// The number of the newest version of the catalogue; 0 before the first.
    pub catalogue_version: i64,
}

/// The bytes of many events.
pub async fn event_bytes(db: &impl ConnectionTrait, ids: &[&EventId]) -> Result<Vec<EventBytes>> {
    let mut rows = Rows::new(&[("event", Kind::Text)]);
    for id in ids {
        rows.push([id.as_str().into()]);
    }
    let sql = "SELECT e.id AS id, e.type AS type, e.payload AS payload, \
               (SELECT COALESCE(MAX(v.version), 0) FROM catalogue_versions v) AS catalogue_version \
               FROM {rows} JOIN events e ON e.id = {r.event}";
    let found = db.query_all_raw(rows.statement(db.get_database_backend(), sql)).await?;
    let read = |row| {
        let id = EventId::trusted(get(row, "id")?);
        let catalogue_version = get(row, "catalogue_version")?;
        Ok(EventBytes { id, event_type: get(row, "type")?, payload: get(row, "payload")?, catalogue_version })
    };
    found.iter().map(read).collect()
}

/// An event with its state.
#[derive(Debug, Clone)]
pub struct EventView {
    /// Its identifier.
    pub id: EventId,
    /// Its sender.
    pub source: String,
    /// Its identifier at the sender.
    pub external_id: String,
    /// Its type.
    pub event_type: String,
    /// Its stream.
    pub stream_key: String,
    /// Number of deliveries.
    pub deliveries: i64,
    /// When it first arrived.
    pub received_at_ms: TimeMs,
    /// Its job.
    pub job_id: JobId,
    /// The job's state.
    pub state: JobState,
    /// Attempts used up.
    pub attempts: i64,
    /// Why the last attempt failed, or why nothing was done.
    pub last_error: Option<String>,
    /// When the job ended.
    pub processed_at_ms: Option<TimeMs>,
}

/// The columns of a view, from the events and their jobs.
macro_rules! view {
    () => {
        "SELECT e.id AS id, e.source AS source, e.external_id AS external_id, e.type AS type, \
    e.stream_key AS stream_key, e.deliveries AS deliveries, e.received_at_ms AS received_at_ms, j.id AS job_id, \
    j.state AS state, j.attempt AS attempt, j.last_error AS last_error, j.finished_at_ms AS finished_at_ms \
    FROM events e JOIN jobs j ON j.event_id = e.id"
    };
}

const VIEW: &str = view!();
const FIND: &str = concat!(view!(), " WHERE e.id = $1 OR e.external_id = $1 LIMIT 1");

fn read(row: &QueryResult) -> Result<EventView> {
    let state: String = get(row, "state")?;
    Ok(EventView {
        id: EventId::trusted(get(row, "id")?),
        source: get(row, "source")?,
        external_id: get(row, "external_id")?,
        event_type: get(row, "type")?,
        stream_key: get(row, "stream_key")?,
        deliveries: get(row, "deliveries")?,
        received_at_ms: get(row, "received_at_ms")?,
        job_id: JobId::trusted(get(row, "job_id")?),
        state: JobState::parse(&state).ok_or_else(|| Error::Corrupt(format!("job state {state}")))?,
        attempts: get(row, "attempt")?,
        last_error: get(row, "last_error")?,
        processed_at_ms: get(row, "finished_at_ms")?,
    })
}

/// Finds an event by its id or the sender's.
pub async fn event_find(db: &impl ConnectionTrait, id: &str) -> Result<Option<EventView>> {
    query_one(db, FIND, [id.into()]).await?.map(|row| read(&row)).transpose()
}

/// A search for events. Empty fields match everything.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// The sender: `stripe` or `github`.
    pub source: Option<String>,
    /// A state of the event's job, or `waiting` for events that are not done or dead.
    pub state: Option<String>,
    /// A type such as `invoice.paid`.
    pub event_type: Option<String>,
    /// A stream such as `stripe:cus_…`.
    pub stream: Option<String>,
    /// Whose.
    pub owner: Option<JobOwner>,
    /// Text that the last error contains.
    pub error: Option<String>,
    /// Received at or after this.
    pub received_from_ms: Option<TimeMs>,
}

/// Events newest first, before the cursor.
pub async fn event_list(
    db: &impl ConnectionTrait,
    filter: &EventFilter,
    before: &str,
    limit: u64,
) -> Result<Vec<EventView>> {
    let (sql, values) = list_statement(filter, before, limit);
    query_all(db, &sql, values).await?.iter().map(read).collect()
}

/// States are literals, because a partial index requires that: among millions of done events, the few that are dead
/// or waiting have an index of their own.
fn list_statement(filter: &EventFilter, before: &str, limit: u64) -> (String, Vec<Value>) {
    let mut id = "e.id";
    let mut clause = match filter.state.as_deref() {
        None => "1 = 1".to_owned(),
        // The time is always positive: the condition selects the index of due jobs.
        Some("waiting") => "j.state IN ('available', 'running') AND j.run_at_ms > 0".to_owned(),
        Some(state) => {
            id = "j.event_id";
            match JobState::parse(state) {
                Some(state) => format!("j.state = '{}'", state.as_str()),
                None => "1 = 0".to_owned(),
            }
        }
    };
    let mut values: Vec<Value> = Vec::new();
    let wanted = [
        ("e.type =", filter.event_type.as_deref()),
        ("e.stream_key =", filter.stream.as_deref()),
        ("e.source =", filter.source.as_deref()),
        ("{id} <", Some(before).filter(|before| !before.is_empty())),
    ];
    for (part, value) in wanted {
        if let Some(value) = value {
            values.push(value.into());
            clause.push_str(&format!(" AND {} ${}", part.replace("{id}", id), values.len()));
        }
    }
    if let Some(error) = &filter.error {
        values.push(containing(error).into());
        clause.push_str(&format!(" AND j.last_error LIKE ${} ESCAPE '\\'", values.len()));
    }
    if let Some(from) = filter.received_from_ms {
        values.push(from.into());
        values.push(EventId::before(from.saturating_sub(ID_LAG_MAX_MS)).into());
        let at = values.len();
        clause.push_str(&format!(" AND e.received_at_ms >= ${} AND {id} >= ${at}", at - 1));
    }
    if let Some(owner) = &filter.owner {
        clause.push_str(&format!(" AND j.id IN ({})", owner.jobs("id", &mut values)));
    }
    values.push(limit.cast_signed().into());
    (format!("{VIEW} WHERE {clause} ORDER BY {id} DESC LIMIT ${}", values.len()), values)
}

#[cfg(test)]
mod tests;
