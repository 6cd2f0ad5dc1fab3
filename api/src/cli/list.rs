//! Paged lists.

use super::client::Client;
use super::error::Error;
use super::table::{Column, Table};
use super::{Session, output};
use clap::Args;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Maximum number of items in a page of the server.
const PAGE_MAX: u64 = 100;
/// Maximum number of pages that are fetched.
const PAGES_MAX: u64 = 10_000;

/// Paging options of a list.
#[derive(Debug, Clone, Args)]
pub struct Paging {
    /// Maximum number of items.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    /// All items.
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Start at this `next_cursor` of an earlier answer.
    #[arg(long)]
    pub cursor: Option<String>,
}

/// Options that narrow a list.
#[derive(Debug, Clone, Default, Args)]
pub struct Narrowing {
    /// From this time on: a span before now such as 90m, 24h or 7d, a day or a time.
    #[arg(long, value_name = "TIME", value_parser = super::since::parse)]
    pub since: Option<String>,
    /// Of this customer only, by its id or e-mail address.
    #[arg(long, value_name = "CUSTOMER")]
    pub customer: Option<String>,
    /// Only those whose reason contains this text.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// The parameters of a list's query; those without a value are left out.
pub type Query = Vec<(&'static str, Option<String>)>;

impl Narrowing {
    /// The parameters, with the name that the route has for the reason.
    ///
    /// # Errors
    /// No customer has the given address; or as [`Error`].
    pub async fn query(&self, session: &Session, reason: &'static str) -> anyhow::Result<Query> {
        let customer = session.customer_of(self.customer.as_deref()).await?;
        Ok(vec![("from", self.since.clone()), ("customer", customer), (reason, self.reason.clone())])
    }
}

/// A query as [`show`] takes it.
pub fn borrowed(query: &Query) -> Vec<(&str, Option<&str>)> {
    query.iter().map(|(name, value)| (*name, value.as_deref())).collect()
}

impl Paging {
    /// Asks for all items.
    pub fn unlimited() -> Self {
        Self { limit: 0, all: true, cursor: None }
    }
}

/// Items, and the cursor of the next ones.
#[derive(Debug, Clone)]
pub struct Page {
    /// The items.
    pub data: Vec<Value>,
    /// The cursor of the next items, if there are any.
    pub next_cursor: Option<String>,
}

impl Page {
    /// The items in the format of one answer of the server.
    pub fn to_json(&self) -> Value {
        json!({ "data": self.data, "next_cursor": self.next_cursor })
    }

    /// A table with one row for each item.
    pub fn to_table(&self, columns: &[Column]) -> Table {
        Table::of(columns, &self.data)
    }
}

/// Fetches as many pages as needed.
///
/// # Errors
/// See [`Error`].
pub async fn fetch(
    client: &Client,
    path: &str,
    query: &[(&str, Option<&str>)],
    paging: &Paging,
) -> Result<Page, Error> {
    let unreadable = |reason: &str| Error::Unreadable { url: client.base().to_owned(), reason: reason.to_owned() };
    let given = query.iter().filter_map(|(name, value)| value.map(|value| (*name, value.to_owned())));
    let given: Vec<(&str, String)> = given.collect();
    let mut page = Page { data: Vec::new(), next_cursor: paging.cursor.clone() };
    for _ in 0..PAGES_MAX {
        let wanted =
            if paging.all { PAGE_MAX } else { PAGE_MAX.min(paging.limit.saturating_sub(page.data.len() as u64)) };
        let mut query = given.clone();
        query.push(("limit", wanted.to_string()));
        query.extend(page.next_cursor.iter().map(|cursor| ("cursor", cursor.clone())));
        let mut answer = client.get(path, &query).await?;
        let Value::Array(data) = answer["data"].take() else {
            return Err(unreadable("the answer has no list"));
        };
        let next = answer["next_cursor"].as_str().filter(|cursor| !cursor.is_empty()).map(str::to_owned);
        if next.is_some() && next == page.next_cursor {
            return Err(unreadable("the list does not end"));
        }
        page.data.extend(data);
        page.next_cursor = next;
        if page.next_cursor.is_none() || (!paging.all && page.data.len() as u64 >= paging.limit) {
            return Ok(page);
        }
    }
    Err(unreadable("the list does not end"))
}

/// Fetches a list and prints it.
///
/// # Errors
/// See [`Error`]; or the output cannot be written.
pub async fn show(
    session: &Session,
    path: &str,
    query: &[(&str, Option<&str>)],
    paging: &Paging,
    columns: &[Column],
) -> anyhow::Result<ExitCode> {
    show_with(session, path, query, paging, columns, Value::clone).await
}

/// Fetches a list and prints it; in a table each item as `view` makes it.
///
/// # Errors
/// As [`show`].
pub async fn show_with(
    session: &Session,
    path: &str,
    query: &[(&str, Option<&str>)],
    paging: &Paging,
    columns: &[Column],
    view: fn(&Value) -> Value,
) -> anyhow::Result<ExitCode> {
    let mut page = fetch(&session.client, path, query, paging).await?;
    if session.json {
        return output::print_json(&page.to_json());
    }
    page.data.iter_mut().for_each(|item| *item = view(item));
    print(&page, &page.to_table(columns))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a page as a table, and notes if it is empty or more items follow.
///
/// # Errors
/// The output cannot be written.
pub fn print(page: &Page, table: &Table) -> anyhow::Result<()> {
    if page.data.is_empty() {
        output::note("Nothing found.");
        return Ok(());
    }
    output::print(&table.render(output::width()))?;
    if page.next_cursor.is_some() {
        output::note("There is more: --all, or a higher --limit.");
    }
    Ok(())
}
