//! Paging of lists by cursors.

use crate::problem::ApiError;
use data_encoding::BASE64URL_NOPAD;
use poem_openapi::payload::Json;

/// The default number of rows of a page.
const LIMIT_DEFAULT: u64 = 50;
/// Maximum number of rows in a page.
const LIMIT_MAX: u64 = 100;
/// Longest cursor, in characters.
const CURSOR_LEN_MAX: usize = 1_024;

/// The page that a request asks for: at most `limit` rows after the row whose key the cursor contains.
#[derive(Debug)]
pub struct PageQuery<K = String> {
    /// The key of the last row of the previous page; `None` for the first page.
    pub cursor: Option<K>,
    limit: u64,
}

impl PageQuery {
    /// Parses the page parameters of a list whose keys are text.
    ///
    /// # Errors
    /// `invalid_limit` or `invalid_cursor`.
    pub fn parse(cursor: Option<String>, limit: Option<u64>) -> Result<Self, ApiError> {
        Self::parse_by(cursor, limit, |key| Some(key.to_owned()))
    }

    /// The key after which the page begins, empty for the first page.
    pub fn cursor_or_empty(&self) -> &str {
        self.cursor.as_deref().unwrap_or_default()
    }
}

impl PageQuery<i64> {
    /// Parses the page parameters of a list whose keys are numbers.
    ///
    /// # Errors
    /// As [`PageQuery::parse`].
    pub fn parse_numbered(cursor: Option<String>, limit: Option<u64>) -> Result<Self, ApiError> {
        Self::parse_by(cursor, limit, |key| key.parse().ok())
    }
}

impl<K> PageQuery<K> {
    /// Parses the page parameters of a list; `key` parses the key inside the cursor.
    ///
    /// # Errors
    /// As [`PageQuery::parse`].
    pub fn parse_by(
        cursor: Option<String>,
        limit: Option<u64>,
        key: impl FnOnce(&str) -> Option<K>,
    ) -> Result<Self, ApiError> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(ApiError::bad_request("invalid_limit", format!("limit must be from 1 to {LIMIT_MAX}.")));
        }
        let cursor = cursor.as_deref().map(decode_cursor).transpose()?;
        let cursor = cursor.map(|text| key(&text).ok_or_else(foreign_cursor)).transpose()?;
        Ok(Self { cursor, limit })
    }

    /// Maximum number of rows that the caller gets.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// One row more than the page has, to see whether another page follows.
    pub fn rows_to_query(&self) -> u64 {
        self.limit + 1
    }

    /// Removes the extra row. If there was one, returns the next page's cursor.
    pub fn next_cursor<R>(&self, rows: &mut Vec<R>, key: impl Fn(&R) -> String) -> Option<String> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        if rows.len() <= limit {
            return None;
        }
        rows.truncate(limit);
        rows.last().map(|row| encode_cursor(&key(row)))
    }

    /// Makes the answer from at most [`PageQuery::rows_to_query`] rows.
    pub fn answer<P: Page, R>(
        &self,
        mut rows: Vec<R>,
        key: impl Fn(&R) -> String,
        body: impl Fn(R) -> P::Row,
    ) -> Json<P> {
        let next_cursor = self.next_cursor(&mut rows, key);
        Json(P::new(rows.into_iter().map(body).collect(), next_cursor))
    }
}

/// Encodes the cursor after the row with this key. It is opaque to callers.
pub fn encode_cursor(key: &str) -> String {
    BASE64URL_NOPAD.encode(format!("v1:{key}").as_bytes())
}

fn decode_cursor(text: &str) -> Result<String, ApiError> {
    let invalid = || ApiError::bad_request("invalid_cursor", "cursor must be the next_cursor of an earlier response.");
    if text.len() > CURSOR_LEN_MAX {
        return Err(invalid());
    }
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| invalid())?;
    let key = String::from_utf8(bytes).map_err(|_| invalid())?;
    match key.strip_prefix("v1:") {
        Some(key) if !key.is_empty() && !key.contains('\0') => Ok(key.to_owned()),
        _ => Err(invalid()),
    }
}

/// The error for a cursor of another list.
pub fn foreign_cursor() -> ApiError {
    ApiError::bad_request("invalid_cursor", "cursor must be the next_cursor of an earlier response of this list.")
}

/// The body of an answer with one page of a list.
pub trait Page {
    /// A row as the caller sees it.
    type Row;

    /// Makes a page of these rows.
    fn new(data: Vec<Self::Row>, next_cursor: Option<String>) -> Self;
}

/// Defines the type of a page, with an example made of the row's example.
macro_rules! page {
    ($(#[$doc:meta])* $visibility:vis $name:ident of $row:ident) => {
        $(#[$doc])*
        #[derive(Debug, poem_openapi::Object)]
        #[oai(example)]
        $visibility struct $name {
            /// The rows.
            data: Vec<$row>,
            /// The cursor of the next page; null on the last page.
            next_cursor: Option<String>,
        }

        impl $crate::routes::page::Page for $name {
            type Row = $row;

            fn new(data: Vec<$row>, next_cursor: Option<String>) -> Self {
                Self { data, next_cursor }
            }
        }

        impl poem_openapi::types::Example for $name {
            fn example() -> Self {
                let next_cursor = Some($crate::sample::CURSOR.to_owned());
                Self { data: vec![<$row as poem_openapi::types::Example>::example()], next_cursor }
            }
        }
    };
}

pub(super) use page;
