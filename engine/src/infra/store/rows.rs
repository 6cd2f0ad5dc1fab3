//! Lists of rows as parameters of one statement.
//!
//! Postgres takes one array for each column (`unnest`), SQLite one JSON array (`json_each`). So the text of the
//! statement does not depend on the number of rows and is prepared once.

use sea_orm::sea_query::ArrayType;
use sea_orm::{DbBackend, Statement, Value};

/// Represents null in arrays for Postgres, which cannot contain nulls here; the table expression converts it back.
/// It contains control characters, so text from outside never equals it.
const NULL_TEXT: &str = "\u{1}null\u{1}";
/// The same for integers.
const NULL_INT: i64 = i64::MIN;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text or null.
    Text,
    /// Text without nulls, which is cheaper.
    SomeText,
    /// A 64-bit integer or null. Booleans are 0 and 1.
    Int,
    /// An integer without nulls.
    SomeInt,
    /// Bytes.
    Bytes,
}

/// One value.
#[derive(Debug, Clone)]
pub enum Cell {
    /// Text or null.
    Text(Option<String>),
    /// A 64-bit integer or null.
    Int(Option<i64>),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Cell {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<i64>> for Cell {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Cell {
    fn from(yes: bool) -> Self {
        Self::Int(Some(i64::from(yes)))
    }
}

/// The columns of a list, each with its type.
pub type Columns = &'static [(&'static str, Kind)];

/// Rows to pass to a statement.
pub struct Rows {
    columns: Columns,
    cells: Vec<Vec<Cell>>,
}

impl Rows {
    /// Creates an empty list with these columns.
    pub fn new(columns: Columns) -> Self {
        Self { columns, cells: columns.iter().map(|_| Vec::new()).collect() }
    }

    /// Adds a row; its cells are in the order of the columns.
    pub fn push<const N: usize>(&mut self, row: [Cell; N]) {
        debug_assert_eq!(N, self.columns.len());
        for (column, cell) in self.cells.iter_mut().zip(row) {
            column.push(cell);
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.cells.first().map_or(0, Vec::len)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The statement; `{rows}` in the text becomes the table expression `… AS r`. Any other `{…}` is the value by which
    /// a row of a table is looked up, as in `jobs.id = {r.id}`.
    ///
    /// On Postgres such a comparison makes the planner go through the list and look up row by row. With a plain `=`
    /// it compares every row of the table with every row of the list as soon as it believes the table to be empty, and
    /// it believes that for a minute or two when a table that was emptied and vacuumed fills again.
    pub fn statement(self, backend: DbBackend, sql: &str) -> Statement {
        match backend {
            DbBackend::Postgres => self.postgres(&mark_values(sql, "ANY(ARRAY[", "])")),
            _ => self.sqlite(&mark_values(sql, "", "")),
        }
    }

    fn postgres(self, sql: &str) -> Statement {
        postgres_statement(&postgres_text(sql, &[("{rows}", self.columns)]), [self])
    }

    fn postgres_values(self) -> impl Iterator<Item = Value> {
        self.columns.iter().zip(self.cells).map(|((_, kind), cells)| {
            let array_type = match kind {
                Kind::Text | Kind::SomeText => ArrayType::String,
                Kind::Int | Kind::SomeInt => ArrayType::BigInt,
                Kind::Bytes => ArrayType::Bytes,
            };
            let values = cells.into_iter().map(cell_value).collect();
            Value::Array(array_type, Some(Box::new(values)))
        })
    }

    fn sqlite(self, sql: &str) -> Statement {
        let picks: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, (name, kind))| match kind {
                Kind::Bytes => format!("unhex(value->>{at}) AS {name}"),
                _ => format!("value->>{at} AS {name}"),
            })
            .collect();
        let table = format!("(SELECT {} FROM json_each($1)) AS r", picks.join(","));
        let mut columns: Vec<_> = self.cells.into_iter().map(Vec::into_iter).collect();
        let mut rows = Vec::new();
        while let Some(first) = columns.first_mut().and_then(Iterator::next) {
            let rest = columns.iter_mut().skip(1).filter_map(Iterator::next);
            rows.push(serde_json::Value::Array(std::iter::once(first).chain(rest).map(cell_json).collect()));
        }
        let json = serde_json::Value::Array(rows).to_string();
        Statement::from_sql_and_values(DbBackend::Sqlite, sql.replace("{rows}", &table), [Value::from(json)])
    }
}

/// The text of a statement of Postgres over several lists of rows: each placeholder becomes the table expression `…
/// AS r` of rows with these columns.
pub fn postgres_text(sql: &str, lists: &[(&str, Columns)]) -> String {
    let (mut sql, mut offset) = (sql.to_owned(), 0);
    for (placeholder, columns) in lists {
        sql = sql.replace(placeholder, &postgres_table(columns, offset));
        offset += columns.len();
    }
    sql
}

/// A statement of Postgres over lists of rows, in the order of their columns in [`postgres_text`].
pub fn postgres_statement<const N: usize>(text: &str, lists: [Rows; N]) -> Statement {
    let values = lists.into_iter().flat_map(Rows::postgres_values);
    Statement::from_sql_and_values(DbBackend::Postgres, text, values)
}

/// The table expression of Postgres, with parameters after the first `offset`.
fn postgres_table(columns: Columns, offset: usize) -> String {
    let cast = |(at, (_, kind)): (usize, &(&str, Kind))| {
        let cast = match kind {
            Kind::Text | Kind::SomeText => "text",
            Kind::Int | Kind::SomeInt => "bigint",
            Kind::Bytes => "bytea",
        };
        format!("${}::{cast}[]", offset + at + 1)
    };
    let pick = |(name, kind): &(&str, Kind)| match kind {
        Kind::Text => format!("NULLIF({name}, E'\\x01null\\x01') AS {name}"),
        Kind::Int => format!("NULLIF({name}, '{NULL_INT}'::bigint) AS {name}"),
        Kind::SomeText | Kind::SomeInt | Kind::Bytes => (*name).to_owned(),
    };
    let casts: Vec<String> = columns.iter().enumerate().map(cast).collect();
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let picks: Vec<String> = columns.iter().map(pick).collect();
    format!("(SELECT {} FROM unnest({}) AS u({})) AS r", picks.join(","), casts.join(","), names.join(","))
}

/// Joins a table (with its alias) to a list `r` of which each row finds one. On Postgres it forces row by row
/// access, because a plan made and kept while the table was nearly empty would scan all of it. It does the same as
/// `{…}` in [`Rows::statement`] and costs the ledger, whose statements run most often, 3 to 5 % less.
pub fn seek(backend: DbBackend, table: &str, condition: &str) -> String {
    let alias = table.rsplit(' ').next().unwrap_or(table);
    match backend {
        DbBackend::Postgres => {
            format!("CROSS JOIN LATERAL (SELECT {alias}.* FROM {table} WHERE {condition} OFFSET 0) {alias}")
        }
        _ => format!("JOIN {table} ON {condition}"),
    }
}

/// Puts each `{…}` except `{rows}` between two other texts.
fn mark_values(sql: &str, before: &str, after: &str) -> String {
    let mut parts = sql.split('{');
    let mut marked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (value, rest) = part.split_once('}').unwrap_or((part, ""));
        let value = if value == "rows" { "{rows}".to_owned() } else { format!("{before}{value}{after}") };
        marked.extend([value.as_str(), rest]);
    }
    marked
}

fn cell_value(cell: Cell) -> Value {
    match cell {
        Cell::Text(text) => Value::from(text.unwrap_or_else(|| NULL_TEXT.to_owned())),
        Cell::Int(number) => Value::from(number.unwrap_or(NULL_INT)),
        Cell::Bytes(bytes) => Value::from(bytes),
    }
}

fn cell_json(cell: Cell) -> serde_json::Value {
    match cell {
        Cell::Text(text) => text.into(),
        Cell::Int(number) => number.into(),
        Cell::Bytes(bytes) => hex::encode(bytes).into(),
    }
}
