//! The sealed audit log as JSON lines: one object for each row, in the order of the seals.
//!
//! A line has everything that the hash of its seal covers, so whoever has the file can recompute the chain.

use crate::app::App;
use crate::export::{PAGE_ROWS, Pages, Permit};
use crate::problem::ApiError;
use bursar_engine::Error;
use bursar_engine::clock::{TimeMs, rfc3339};
use bursar_engine::domain::audit::AuditRow;
use bursar_engine::domain::audit::chain::SealedRow;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::store::audit::{audit_head, audit_sealed_list};
use poem::Body;
use serde::{Deserialize, Serialize};

/// A line of the file. New fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The number of the seal.
    pub seal: i64,
    /// Its hash.
    pub hash: String,
    /// When the row was sealed, in milliseconds since 1970.
    pub sealed_at_ms: TimeMs,
    /// The row's identifier.
    pub id: String,
    /// When it happened, for people.
    pub at: String,
    /// When it happened, in milliseconds since 1970.
    pub at_ms: TimeMs,
    /// Who acted.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub target: String,
    /// More about it: JSON in a text, byte for byte as it is stored, because the hash covers it.
    pub details: String,
}

impl From<SealedRow> for Line {
    fn from(sealed: SealedRow) -> Self {
        let SealedRow { seal, sealed_at_ms, row, hash } = sealed;
        let AuditRow { id, actor, action, target, details, at_ms } = row;
        Self { seal, hash, sealed_at_ms, id, at: rfc3339(at_ms), at_ms, actor, action, target, details }
    }
}

impl From<Line> for SealedRow {
    fn from(line: Line) -> Self {
        let Line { seal, hash, sealed_at_ms, id, at: _, at_ms, actor, action, target, details } = line;
        Self { seal, sealed_at_ms, row: AuditRow { id, actor, action, target, details, at_ms }, hash }
    }
}

/// Streams the rows with seals after `after`, up to and including `upto` or else the last one at this moment.
///
/// # Errors
/// `busy`; the database's.
pub async fn export(app: &App, after: i64, upto: Option<i64>) -> Result<Body, ApiError> {
    let permit = Permit::take()?;
    let last = audit_head(app.db.read()).await?.seal;
    permit.stream(Lines { db: app.db.clone(), after, upto: upto.unwrap_or(last).min(last) }).await
}

struct Lines {
    db: Db,
    after: i64,
    upto: i64,
}

impl Pages for Lines {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let rows = audit_sealed_list(self.db.read(), self.after, self.upto, PAGE_ROWS).await?;
        let Some(last) = rows.last() else { return Ok(None) };
        self.after = last.seal;
        let mut bytes = Vec::new();
        for row in rows {
            let written = serde_json::to_writer(&mut bytes, &Line::from(row));
            written.map_err(|error| Error::Corrupt(format!("a line cannot be written: {error}")))?;
            bytes.push(b'\n');
        }
        Ok(Some(bytes))
    }

    fn name(&self) -> String {
        "audit log".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_engine::domain::audit::chain::Head;

    #[test]
    fn the_documented_line_has_the_hash_that_it_gives() {
        let line: Line = serde_json::from_str(include_str!("routes/admin/audit/example.jsonl")).expect("a line");
        assert_eq!(line.at, rfc3339(line.at_ms));
        assert_eq!(line.hash, crate::sample::HASH);
        Head::empty().follow(&line.into()).expect("the first row of a chain");
    }

    #[test]
    fn a_line_gives_back_the_row_that_the_hash_covers() {
        let details = "{\"reason\":\"ticket \\\"4711\\\"\\u001b\",\"amount\":1.0}".to_owned();
        let text = |text: &str| text.to_owned();
        let row = AuditRow {
            id: text("aud_1"),
            actor: text("admin:ada/adt_1"),
            action: text("customer.adjust"),
            target: text("ü\n"),
            details,
            at_ms: 7,
        };
        let sealed = Head::empty().seal(row, 9);
        let line = serde_json::to_string(&Line::from(sealed.clone())).expect("JSON");
        let read: Line = serde_json::from_str(&line).expect("a line");
        assert_eq!(SealedRow::from(read), sealed);
    }
}
