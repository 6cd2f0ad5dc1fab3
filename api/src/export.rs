//! Exports: answers that are read from the database page by page and streamed, so that memory does not grow with them.

use crate::problem::ApiError;
use bursar_engine::Error;
use poem::Body;
use std::io;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

/// Rows of a page.
pub const PAGE_ROWS: u64 = 500;
/// Maximum number of pages that wait for the reader.
const PAGES_WAITING_MAX: usize = 1;
/// Maximum number of exports at once in this process.
const EXPORTS_MAX: usize = 16;
/// How long a reader may take for a page, in milliseconds, before the export is aborted.
const READER_WAIT_MS: u64 = 30_000;

static EXPORTS: Semaphore = Semaphore::const_new(EXPORTS_MAX);

/// What is exported, page by page.
pub trait Pages: Send + 'static {
    /// Reads the next page; `None` after the last one.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, Error>> + Send;

    /// What it is, for the log.
    fn name(&self) -> String;
}

/// The permission to export; as long as it lasts, it counts as one export.
pub struct Permit(SemaphorePermit<'static>);

impl Permit {
    /// Takes one.
    ///
    /// # Errors
    /// `busy` if too many exports are under way.
    pub fn take() -> Result<Self, ApiError> {
        Ok(Self(EXPORTS.try_acquire().map_err(|_| Error::Busy("exports"))?))
    }

    /// Streams all pages. A failure before the first page is answered as an error. A later one aborts the body, which
    /// HTTP clients notice.
    ///
    /// # Errors
    /// That of the first page.
    pub async fn stream(self, mut pages: impl Pages) -> Result<Body, ApiError> {
        let first = pages.next().await?.unwrap_or_default();
        let (sender, receiver) = mpsc::channel(PAGES_WAITING_MAX);
        tokio::spawn(send_pages(pages, first, sender, self.0));
        Ok(Body::from_bytes_stream(futures_util::stream::unfold(Some(receiver), next_bytes)))
    }
}

/// A message to the reader.
enum Page {
    Rows(Vec<u8>),
    End,
}

/// Sends pages until the reader is gone. Without [`Page::End`] the export was aborted.
async fn send_pages(
    mut pages: impl Pages,
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
        page = match pages.next().await {
            Ok(Some(rows)) => Page::Rows(rows),
            Ok(None) => Page::End,
            Err(error) => {
                tracing::error!(export = pages.name(), error = %error.chain(), "an export was aborted");
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

/// Puts an apostrophe before text that a spreadsheet would run as a formula. The full-width forms are those of East
/// Asian keyboards. Source: OWASP, "CSV Injection".
pub fn escape_formula(text: Option<&str>) -> String {
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

    #[test]
    fn formulas_are_escaped_and_other_text_is_not() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1"] {
            assert_eq!(escape_formula(Some(formula)), format!("'{formula}"));
        }
        for plain in ["deploy-1", "1+1", "a=b", ""] {
            assert_eq!(escape_formula(Some(plain)), plain);
        }
    }
}
