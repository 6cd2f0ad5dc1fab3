//! A customer's ledger as CSV (RFC 4180), streamed page by page, so that memory does not grow with it.
//!
//! A spreadsheet that opens the file could run text by callers or staff as a formula. So text that begins like a
//! formula gets an apostrophe in front. Numbers are not changed. Source: OWASP, "CSV Injection".

use crate::app::App;
use crate::problem::ApiError;
use bursar_engine::Error;
use bursar_engine::clock::{TimeMs, rfc3339};
use bursar_engine::domain::ledger::Entry;
use bursar_engine::ids::{CustomerId, transaction_id};
use bursar_engine::infra::store::{Db, account, summary};
use poem::Body;
use std::io;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

/// Rows of a page.
const PAGE_ROWS: u64 = 500;
/// Maximum number of pages that wait for the reader.
const PAGES_WAITING_MAX: usize = 1;
/// Maximum number of exports at once in this process.
const EXPORTS_MAX: usize = 16;
/// How long a reader may take for a page, in milliseconds, before the export is aborted.
const READER_WAIT_MS: u64 = 30_000;

static EXPORTS: Semaphore = Semaphore::const_new(EXPORTS_MAX);

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
    customer: CustomerId,
    after: i64,
    upto: i64,
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
    let permit = EXPORTS.try_acquire().map_err(|_| Error::Busy("exports"))?;
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
    let mut range = EntryRange { customer: customer.clone(), after, upto };
    let first = next_page(&db, &mut range, true).await?.unwrap_or_default();
    let (sender, receiver) = mpsc::channel(PAGES_WAITING_MAX);
    tokio::spawn(send_pages(db, range, first, sender, permit));
    Ok(Body::from_bytes_stream(futures_util::stream::unfold(Some(receiver), next_bytes)))
}

/// A message to the reader.
enum Page {
    Rows(Vec<u8>),
    End,
}

/// Sends pages until the reader is gone. Without [`Page::End`] the export was aborted.
async fn send_pages(
    db: Db,
    mut range: EntryRange,
    first: Vec<u8>,
    sender: mpsc::Sender<Page>,
    _permit: SemaphorePermit<'static>,
) {
    let mut page = Page::Rows(first);
    loop {
        let is_last = matches!(page, Page::End);
        let sent = sender.send_timeout(page, Duration::from_millis(READER_WAIT_MS)).await;
        if is_last || sent.is_err() {
            return;
        }
        page = match next_page(&db, &mut range, false).await {
            Ok(Some(rows)) => Page::Rows(rows),
            Ok(None) => Page::End,
            Err(error) => {
                tracing::error!(customer.id = %range.customer, error = %error.chain(), "an export was aborted");
                return;
            }
        };
    }
}

/// `None` once the export was aborted.
type Receiver = Option<mpsc::Receiver<Page>>;

async fn next_bytes(receiver: Receiver) -> Option<(io::Result<Vec<u8>>, Receiver)> {
    let mut receiver = receiver?;
    match receiver.recv().await {
        Some(Page::Rows(rows)) => Some((Ok(rows), Some(receiver))),
        Some(Page::End) => None,
        None => Some((Err(io::Error::other("the export was aborted")), None)),
    }
}

/// Reads the next rows as CSV. `None` at the end of the range.
async fn next_page(db: &Db, range: &mut EntryRange, with_header: bool) -> Result<Option<Vec<u8>>, Error> {
    let entries = account::entry_list_up(db.read(), &range.customer, range.after, range.upto, PAGE_ROWS).await?;
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

/// Puts an apostrophe before text that a spreadsheet would run. The full-width forms are those of East Asian keyboards.
fn escape_formula(text: Option<&str>) -> String {
    let text = text.unwrap_or_default();
    let is_prefix = |c: char| matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠');
    if text.trim_start().starts_with(is_prefix) || text.starts_with(['\t', '\r', '\n']) {
        return format!("'{text}");
    }
    text.to_owned()
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
    fn formulas_are_escaped_and_negative_numbers_are_not() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1"] {
            assert_eq!(escape_formula(Some(formula)), format!("'{formula}"));
        }
        for plain in ["deploy-1", "1+1", "a=b", ""] {
            assert_eq!(escape_formula(Some(plain)), plain);
        }
        let debit = Entry { amount: Credits(-3), ..entry("x") };
        assert!(text(&[debit], false).contains(",-3,"));
    }
}
