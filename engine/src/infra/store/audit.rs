//! Rows of `audit_log`, and their seals: `audit_seals`, and `audit_unsealed`, where a trigger notes new rows.

use super::{ID_LAG_MAX_MS, Kind, Rows, containing, get, query_all, query_by, query_one};
use crate::clock::TimeMs;
use crate::domain::audit::chain::{Head, SealedRow};
use crate::domain::audit::{Audit, AuditRow};
use crate::error::Result;
use crate::ids::AuditId;
use sea_orm::{ConnectionTrait, QueryResult, Value};

fn read(row: &QueryResult) -> Result<AuditRow> {
    Ok(AuditRow {
        id: get(row, "id")?,
        actor: get(row, "actor")?,
        action: get(row, "action")?,
        target: get(row, "target")?,
        details: get(row, "details")?,
        at_ms: get(row, "at_ms")?,
    })
}

/// Appends a line.
pub async fn audit_append(db: &impl ConnectionTrait, audit: &Audit, now_ms: TimeMs) -> Result<()> {
    audit_append_many(db, std::slice::from_ref(audit), now_ms).await
}

/// Appends lines in one statement.
pub async fn audit_append_many(db: &impl ConnectionTrait, lines: &[Audit], now_ms: TimeMs) -> Result<()> {
    let mut rows = Rows::new(&[
        ("id", Kind::Text),
        ("actor", Kind::Text),
        ("action", Kind::Text),
        ("target", Kind::Text),
        ("details", Kind::Text),
        ("at_ms", Kind::Int),
    ]);
    for line in lines {
        rows.push([
            AuditId::new().as_str().into(),
            line.actor.as_str().into(),
            line.action.into(),
            line.target.as_str().into(),
            line.details.as_str().into(),
            now_ms.into(),
        ]);
    }
    let columns = "id, actor, action, target, details, at_ms";
    let sql = format!("INSERT INTO audit_log ({columns}) SELECT {columns} FROM {{rows}}");
    db.execute_raw(rows.statement(db.get_database_backend(), &sql)).await?;
    Ok(())
}

/// A search for lines. Empty fields match everything.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// On this target.
    pub target: Option<String>,
    /// Written at or after this.
    pub from_ms: Option<TimeMs>,
    /// Text that the details contain, such as the reason.
    pub details: Option<String>,
}

/// A page of one target's lines or of all, latest first, before this one.
pub async fn audit_page(
    db: &impl ConnectionTrait,
    target: Option<&str>,
    before: Option<&str>,
    limit: u64,
) -> Result<Vec<AuditRow>> {
    let filter = AuditFilter { target: target.map(str::to_owned), ..AuditFilter::default() };
    audit_list(db, &filter, before, limit).await
}

/// The lines that a filter selects, latest first, before this one.
pub async fn audit_list(
    db: &impl ConnectionTrait,
    filter: &AuditFilter,
    before: Option<&str>,
    limit: u64,
) -> Result<Vec<AuditRow>> {
    let mut clause = "($1 = '' OR target = $1) AND ($2 = '' OR id < $2)".to_owned();
    let mut values: Vec<Value> =
        vec![filter.target.as_deref().unwrap_or_default().into(), before.unwrap_or_default().into()];
    if let Some(from) = filter.from_ms {
        values.push(from.into());
        values.push(AuditId::before(from.saturating_sub(ID_LAG_MAX_MS)).into());
        let at = values.len();
        clause.push_str(&format!(" AND at_ms >= ${} AND id >= ${at}", at - 1));
    }
    if let Some(details) = &filter.details {
        values.push(containing(details).into());
        clause.push_str(&format!(" AND details LIKE ${} ESCAPE '\\'", values.len()));
    }
    values.push(limit.cast_signed().into());
    let sql = format!(
        "SELECT id, actor, action, target, details, at_ms FROM audit_log WHERE {clause} ORDER BY id DESC LIMIT ${}",
        values.len()
    );
    query_all(db, &sql, values).await?.iter().map(read).collect()
}

/// Rows that wait to be sealed, oldest first. Rows noted again after they were sealed are left out.
pub async fn audit_unsealed_list(db: &impl ConnectionTrait, limit: u64) -> Result<Vec<AuditRow>> {
    // The limit inside makes the planner begin with the notes, which are few, and not with the log.
    let sql = "SELECT a.id AS id, a.actor AS actor, a.action AS action, a.target AS target, a.details AS details, \
               a.at_ms AS at_ms FROM (SELECT u.audit_id AS audit_id FROM audit_unsealed u \
               WHERE NOT EXISTS (SELECT 1 FROM audit_seals s WHERE s.audit_id = u.audit_id) \
               ORDER BY u.audit_id LIMIT $1) AS w JOIN audit_log a ON a.id = w.audit_id ORDER BY a.id";
    query_all(db, sql, [limit.cast_signed().into()]).await?.iter().map(read).collect()
}

/// Rows that wait to be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsealed {
    /// How many, counted up to [`UNSEALED_COUNT_MAX`].
    pub rows: i64,
    /// When the oldest was written; `None` if none waits.
    pub oldest_at_ms: Option<TimeMs>,
}

/// How far the rows that wait to be sealed are counted. Few wait unless nothing seals.
pub const UNSEALED_COUNT_MAX: i64 = 10_000;

/// Counts the rows that wait to be sealed. Rows noted again after they were sealed do not wait.
pub async fn audit_unsealed_count(db: &impl ConnectionTrait) -> Result<Unsealed> {
    let sql = "SELECT COUNT(*) AS waiting, MIN(u.audit_id) AS oldest FROM (SELECT n.audit_id AS audit_id \
               FROM audit_unsealed n WHERE NOT EXISTS (SELECT 1 FROM audit_seals s WHERE s.audit_id = n.audit_id) \
               ORDER BY n.audit_id LIMIT $1) AS u";
    let Some(row) = query_one(db, sql, [UNSEALED_COUNT_MAX.into()]).await? else {
        return Ok(Unsealed { rows: 0, oldest_at_ms: None });
    };
    let oldest: Option<String> = get(&row, "oldest")?;
    let oldest = match oldest {
        Some(id) => query_one(db, "SELECT at_ms FROM audit_log WHERE id = $1", [id.into()]).await?,
        None => None,
    };
    let oldest_at_ms = oldest.map(|row| get(&row, "at_ms")).transpose()?;
    Ok(Unsealed { rows: get(&row, "waiting")?, oldest_at_ms })
}

/// Stores seals, and removes the notes of their rows. False if another node has sealed meanwhile: then the transaction
/// must be rolled back.
pub async fn audit_seal_insert_many(db: &impl ConnectionTrait, sealed: &[SealedRow]) -> Result<bool> {
    let mut rows = Rows::new(&[
        ("seal", Kind::SomeInt),
        ("audit_id", Kind::SomeText),
        ("hash", Kind::SomeText),
        ("sealed_at_ms", Kind::SomeInt),
    ]);
    for next in sealed {
        rows.push([next.seal.into(), next.row.id.as_str().into(), next.hash.as_str().into(), next.sealed_at_ms.into()]);
    }
    let sql = "INSERT INTO audit_seals (seal, audit_id, hash, sealed_at_ms) \
               SELECT seal, audit_id, hash, sealed_at_ms FROM {rows} WHERE true ON CONFLICT DO NOTHING";
    let inserted = db.execute_raw(rows.statement(db.get_database_backend(), sql)).await?.rows_affected();
    if inserted != sealed.len() as u64 {
        return Ok(false);
    }
    let ids: Vec<String> = sealed.iter().map(|next| next.row.id.clone()).collect();
    query_by(db, "DELETE FROM audit_unsealed WHERE audit_id IN (SELECT sought FROM {rows}) RETURNING audit_id", &ids)
        .await?;
    Ok(true)
}

/// The last seal; [`Head::empty`] if there is none.
pub async fn audit_head(db: &impl ConnectionTrait) -> Result<Head> {
    let row = query_one(db, "SELECT seal, hash FROM audit_seals ORDER BY seal DESC LIMIT 1", []).await?;
    row.map_or(Ok(Head::empty()), |row| Ok(Head { seal: get(&row, "seal")?, hash: get(&row, "hash")? }))
}

/// The hash of a seal.
pub async fn audit_seal_hash(db: &impl ConnectionTrait, seal: i64) -> Result<Option<String>> {
    let row = query_one(db, "SELECT hash FROM audit_seals WHERE seal = $1", [seal.into()]).await?;
    row.map(|row| get(&row, "hash")).transpose()
}

/// Sealed rows after the cursor, in the order of their seals, up to and including `upto`.
pub async fn audit_sealed_list(db: &impl ConnectionTrait, after: i64, upto: i64, limit: u64) -> Result<Vec<SealedRow>> {
    let sql = "SELECT s.seal AS seal, s.hash AS hash, s.sealed_at_ms AS sealed_at_ms, s.audit_id AS id, \
               COALESCE(a.actor, '') AS actor, COALESCE(a.action, 'removed') AS action, \
               COALESCE(a.target, '') AS target, COALESCE(a.details, '') AS details, \
               COALESCE(a.at_ms, CAST(0 AS BIGINT)) AS at_ms \
               FROM audit_seals s LEFT JOIN audit_log a ON a.id = s.audit_id \
               WHERE s.seal > $1 AND s.seal <= $2 ORDER BY s.seal LIMIT $3";
    let rows = query_all(db, sql, [after.into(), upto.into(), limit.cast_signed().into()]).await?;
    let sealed = |row: &QueryResult| {
        let (seal, sealed_at_ms) = (get(row, "seal")?, get(row, "sealed_at_ms")?);
        Ok(SealedRow { seal, sealed_at_ms, row: read(row)?, hash: get(row, "hash")? })
    };
    rows.iter().map(sealed).collect()
}
