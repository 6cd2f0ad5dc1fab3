//! A customer's ledger as CSV (RFC 4180), streamed page by page, so that memory does not grow with it.
//!
//! A spreadsheet that opens the file could run text by callers or staff as a formula. So text that begins like a
//! formula gets an apostrophe in front. Numbers are not changed. Source: OWASP, "CSV Injection".

use crate::app::App;
use crate::export::{PAGE_ROWS, Pages, Permit, escape_formula};
use crate::problem::ApiError;
use bursar_engine::Error;
use bursar_engine::clock::{TimeMs, rfc3339};
use bursar_engine::domain::ledger::Entry;
use bursar_engine::ids::{CustomerId, transaction_id};
use bursar_engine::infra::store::{Db, account, summary};
use poem::Body;

/// The columns. New ones are only ever added at the end.
const COLUMNS: [&str; 15] = [
    "id",
    "created_at",
    "kind",
    "amount",
    "held_change",
    "balance_after",
    "held_after",
    "source",
    "reference",
    "hold_id",
    "grant_kind",
    "expires_at",
    "reason",
    "metadata",
    "burned",
];

/// A range of a ledger's entries, which never changes because entries are only appended.
struct EntryRange {
    db: Db,
    customer: CustomerId,
    after: i64,
    upto: i64,
    /// Whether the first page, which has the header, was read.
    is_begun: bool,
}

/// Streams the entries decided at or after `from_ms` and before `to_ms`, oldest first, as they are when the export
/// begins. A failure before the first page is answered as an error. A later one aborts the body, which HTTP clients
/// notice.
pub async fn export(
    app: &App,
    customer: &CustomerId,
    from_ms: Option<TimeMs>,
    to_ms: Option<TimeMs>,
) -> Result<Body, ApiError> {
    if let (Some(from_ms), Some(to_ms)) = (from_ms, to_ms)
        && from_ms > to_ms
    {
        return Err(ApiError::bad_request("invalid_time", "from must not be later than to."));
    }
    let permit = Permit::take()?;
    let db = app.db.clone();
    let last_seq_before = async |at_ms: TimeMs| {
        let standings = summary::standing_list(db.read(), customer, &[at_ms - 1]).await?;
        standings.first().map(|standing| standing.seq).ok_or(Error::NotFound("customer"))
    };
    let found = account::account_find(db.read(), customer).await?.ok_or(Error::NotFound("customer"))?;
    let after = match from_ms {
        Some(from_ms) => last_seq_before(from_ms).await?,
        None => 0,
    };
    let upto = match to_ms {
        Some(to_ms) => last_seq_before(to_ms).await?,
        None => found.version,
    };
    permit.stream(EntryRange { db, customer: customer.clone(), after, upto, is_begun: false }).await
}

impl Pages for EntryRange {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let is_begun = std::mem::replace(&mut self.is_begun, true);
        next_page(self, !is_begun).await
    }

    fn name(&self) -> String {
        format!("transactions of {}", self.customer)
    }
}

/// Reads the next rows as CSV. `None` at the end of the range.
async fn next_page(range: &mut EntryRange, with_header: bool) -> Result<Option<Vec<u8>>, Error> {
    let entries = account::entry_list_up(range.db.read(), &range.customer, range.after, range.upto, PAGE_ROWS).await?;
    if let Some(last) = entries.last() {
        range.after = last.seq;
    } else if !with_header {
        return Ok(None);
    }
    let bytes = encode(&range.customer, &entries, with_header);
    bytes.map(Some).map_err(|error| Error::Corrupt(format!("CSV cannot be written: {error}")))
}

fn encode(customer: &CustomerId, entries: &[Entry], with_header: bool) -> csv::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    if with_header {
        writer.write_record(COLUMNS)?;
    }
    for entry in entries {
        writer.write_record(row(customer, entry))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

fn row(customer: &CustomerId, entry: &Entry) -> [String; COLUMNS.len()] {
    let detail = &entry.detail;
    let burned = detail.burned.iter().map(|burn| format!("{}={}", transaction_id(customer, burn.grant), burn.credits));
    [
        transaction_id(customer, entry.seq),
        rfc3339(entry.created_at_ms),
        entry.kind.as_str().to_owned(),
        entry.amount.to_string(),
        entry.held_delta.to_string(),
        entry.balance_after.to_string(),
        entry.held_after.to_string(),
        entry.source.clone(),
        escape_formula(entry.reference.as_deref()),
        entry.hold_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        detail.grant_kind.map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        detail.expires_at_ms.map(rfc3339).unwrap_or_default(),
        escape_formula(detail.reason.as_deref()),
        escape_formula(entry.caller_metadata()),
        burned.collect::<Vec<_>>().join(" "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_engine::amount::Credits;
    use bursar_engine::domain::ledger::{Account, Command, GrantKind, Op, decide};

    fn entry(reference: &str) -> Entry {
        let op = Op::Grant { kind: GrantKind::Purchased, amount: Credits(5), expires_at_ms: Some(1_800_000_000_000) };
        let command = Command { op, reference: Some(reference.to_owned()), ..Command::settle() };
        let mut decision = decide(&Account::default(), &command, 1_796_000_000_000).expect("a grant");
        decision.entries.remove(0)
    }

    fn text(entries: &[Entry], with_header: bool) -> String {
        let customer = CustomerId::trusted("cst_1".to_owned());
        String::from_utf8(encode(&customer, entries, with_header).expect("CSV")).expect("UTF-8")
    }

    #[test]
    fn a_row_has_every_column_and_ends_as_rfc_4180_says() {
        let expected = "id,created_at,kind,amount,held_change,balance_after,held_after,source,reference,hold_id,\
                        grant_kind,expires_at,reason,metadata,burned\r\n\
                        txn_1_1,2026-11-30T00:53:20.000Z,grant,5,0,5,0,system,pi_1,,purchased,\
                        2027-01-15T08:00:00.000Z,,,\r\n";
        assert_eq!(text(&[entry("pi_1")], true), expected);
    }

    #[test]
    fn any_reference_survives_the_round_trip() {
        for reference in ["a,b", "say \"so\"", "two\r\nlines", "ünï", ";", "'"] {
            let csv = text(&[entry(reference)], true);
            let mut reader = csv::Reader::from_reader(csv.as_bytes());
            let row = reader.records().next().expect("a row").expect("CSV");
            assert_eq!(&row[8], reference);
        }
    }

    #[test]
    fn negative_numbers_are_not_escaped() {
        let debit = Entry { amount: Credits(-3), ..entry("x") };
        assert!(text(&[debit], false).contains(",-3,"));
    }
}
