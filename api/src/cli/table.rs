//! Tables without borders that fit the terminal.

use super::view;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Width, presets};
use serde_json::Value;

/// Spaces between two columns.
const GAP: u16 = 2;
/// The least width of a wrapped column.
const WRAPPED_MIN: u16 = 10;
/// Maximum number of lines of one row when the table has to fit.
const ROW_LINES_MAX: usize = 3;
/// Maximum number of characters of one cell.
const CELL_LEN_MAX: usize = 4_000;

/// A column: the key of its values, and how it adapts to a narrow terminal. Its title is the key in upper case.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    key: &'static str,
    is_wrapped: bool,
    is_number: bool,
    is_optional: bool,
}

impl Column {
    /// A column that is never wrapped: identifiers, states.
    pub const fn fixed(key: &'static str) -> Self {
        Self { key, is_wrapped: false, is_number: false, is_optional: false }
    }

    /// A column of numbers: never wrapped, aligned on the right.
    pub const fn number(key: &'static str) -> Self {
        Self { is_number: true, ..Self::fixed(key) }
    }

    /// A column that is wrapped if necessary, and truncated after three lines.
    pub const fn wrapped(key: &'static str) -> Self {
        Self { is_wrapped: true, ..Self::fixed(key) }
    }

    /// Makes the column optional: it is left out if the table is too wide, the last such column first.
    pub const fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }

    fn title(&self) -> String {
        self.key.to_uppercase().replace('_', " ")
    }

    /// The least width at which the title is not truncated.
    fn title_min(&self) -> u16 {
        self.key.split('_').map(width_of).max().unwrap_or(0)
    }
}

/// A table.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// A table with one row for each item; each column shows the value under its key.
    pub fn of(columns: &[Column], items: &[Value]) -> Self {
        let mut table = Self::new(columns);
        for item in items {
            table.row(columns.iter().map(|column| view::short(&item[column.key])));
        }
        table
    }

    /// Adds a row, one cell for each column.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) -> &mut Self {
        let mut row: Vec<String> = cells.into_iter().map(|cell| one_line(&cell.into())).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
        self
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Renders the table. Without a width every row is one line, however long.
    pub fn render(&self, width: Option<u16>) -> String {
        let natural = self.natural_widths();
        let Some(width) = width else {
            let all: Vec<(usize, u16)> = natural.iter().copied().enumerate().collect();
            return self.draw(&all, None);
        };
        self.draw(&self.fit_columns(&natural, width), Some(ROW_LINES_MAX))
    }

    /// The widths at which nothing is wrapped.
    fn natural_widths(&self) -> Vec<u16> {
        let mut table = comfy_table::Table::new();
        table.set_header(self.columns.iter().map(Column::title));
        table.add_rows(self.rows.iter().map(|row| row.iter()));
        table.column_max_content_widths()
    }

    /// Chooses the columns that fit, and their widths.
    fn fit_columns(&self, natural: &[u16], width: u16) -> Vec<(usize, u16)> {
        let width = usize::from(width);
        let mut visible: Vec<usize> = (0..self.columns.len()).collect();
        let room = |visible: &[usize]| width.saturating_sub(usize::from(GAP) * visible.len().saturating_sub(1));
        let sum = |visible: &[usize], widths: &[u16]| visible.iter().map(|at| usize::from(widths[*at])).sum::<usize>();
        if sum(&visible, natural) <= room(&visible) {
            return visible.into_iter().map(|at| (at, natural[at])).collect();
        }
        let mut widths = self.least_widths(natural);
        while sum(&visible, &widths) > room(&visible) {
            match visible.iter().rposition(|at| self.columns[*at].is_optional) {
                Some(place) => drop(visible.remove(place)),
                None => break,
            }
        }
        for _ in sum(&visible, &widths)..room(&visible) {
            let wrapped = visible.iter().copied().filter(|at| widths[*at] < natural[*at]);
            match wrapped.min_by_key(|at| widths[*at]) {
                Some(at) => widths[at] += 1,
                None => break,
            }
        }
        visible.into_iter().map(|at| (at, widths[at])).collect()
    }

    /// The least widths: columns that are never wrapped need the width of their cells, but their titles may wrap.
    fn least_widths(&self, natural: &[u16]) -> Vec<u16> {
        let least = |(at, column): (usize, &Column)| {
            let cells = || self.rows.iter().map(|row| width_of(&row[at])).max().unwrap_or(0);
            let wanted = if column.is_wrapped { WRAPPED_MIN } else { cells() };
            natural[at].min(wanted.max(column.title_min()))
        };
        self.columns.iter().enumerate().map(least).collect()
    }

    fn draw(&self, visible: &[(usize, u16)], lines_max: Option<usize>) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(visible.iter().map(|(at, _)| self.columns[*at].title()));
        for row in &self.rows {
            let mut cells = Row::from(visible.iter().map(|(at, _)| row[*at].as_str()));
            if let Some(lines_max) = lines_max {
                cells.max_height(lines_max);
            }
            table.add_row(cells);
        }
        for (place, (at, width)) in visible.iter().enumerate() {
            let gap = if place + 1 == visible.len() { 0 } else { GAP };
            if let Some(column) = table.column_mut(place) {
                column.set_padding((0, gap));
                column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width.saturating_add(gap))));
                if self.columns[*at].is_number {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        table.trim_fmt()
    }
}

/// Names and values, one pair per line. Long values wrap within their column.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    lines: Vec<(String, String)>,
}

impl Listing {
    /// Lists the fields of an object: first the given keys in order, then all others.
    pub fn of(object: &Value, keys: &[&str]) -> Self {
        let mut listing = Self::default();
        let present = keys.iter().copied().filter(|key| object.get(key).is_some());
        let others = object.as_object().into_iter().flat_map(|map| map.keys());
        for key in present.chain(others.map(String::as_str).filter(|key| !keys.contains(key))) {
            listing.line(&key.replace('_', " "), view::full(&object[key]));
        }
        listing
    }

    /// Adds a line.
    pub fn line(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.lines.push((name.to_owned(), super::output::sanitize(&value.into())));
        self
    }

    /// Renders the listing.
    pub fn render(&self, width: Option<u16>) -> String {
        let names = self.lines.iter().map(|(name, _)| width_of(name)).max().unwrap_or(0).saturating_add(GAP);
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.add_rows(self.lines.iter().map(|(name, value)| [name, value]));
        if let Some(column) = table.column_mut(0) {
            column.set_padding((0, GAP)).set_constraint(ColumnConstraint::Absolute(Width::Fixed(names)));
        }
        if let Some(column) = table.column_mut(1) {
            column.set_padding((0, 0));
            if let Some(width) = width {
                let rest = width.saturating_sub(names).max(WRAPPED_MIN);
                column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(rest)));
            }
        }
        table.trim_fmt()
    }
}

fn width_of(text: &str) -> u16 {
    let mut table = comfy_table::Table::new();
    table.add_row([text]);
    table.column_max_content_widths().first().copied().unwrap_or(0)
}

/// Makes the text of a cell one safe line of limited length.
fn one_line(text: &str) -> String {
    let text = super::output::sanitize(&text.replace(['\n', '\r', '\t'], " "));
    match text.char_indices().nth(CELL_LEN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: &[Column] = &[
        Column::fixed("id"),
        Column::wrapped("type"),
        Column::number("balance_after"),
        Column::wrapped("last_error").optional(),
        Column::wrapped("received_at"),
    ];

    fn table() -> Table {
        let item = json!({
            "id": "evt_06cvq3n8r5h7t2k4m6p8s0v1x3",
            "type": "customer.subscription.updated",
            "balance_after": -5,
            "last_error": "the gateway\nanswered 500 and then it went on for a long time",
            "received_at": "2026-03-01T10:20:30.456Z",
        });
        Table::of(COLUMNS, &[item])
    }

    fn widest(text: &str) -> usize {
        text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
    }

    #[test]
    fn without_a_width_each_row_is_one_full_line() {
        let text = table().render(None);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("answered 500 and then it went on for a long time"));
    }

    #[test]
    fn a_table_fits_its_width_and_never_wraps_identifiers() {
        for width in [70, 80, 100, 120, 200] {
            let text = table().render(Some(width));
            assert!(widest(&text) <= usize::from(width), "{width}:\n{text}");
            assert!(text.contains("evt_06cvq3n8r5h7t2k4m6p8s0v1x3"), "{width}:\n{text}");
        }
    }

    #[test]
    fn optional_columns_are_left_out_of_narrow_tables() {
        assert!(!table().render(Some(70)).contains("LAST"));
        assert!(table().render(Some(100)).contains("LAST"));
    }

    #[test]
    fn wide_characters_are_measured_as_they_are_shown() {
        let mut table = Table::new(&[Column::wrapped("name"), Column::fixed("plan")]);
        table.row(["山田太郎", "pro"]).row(["x", "trial"]);
        assert_eq!(table.render(Some(80)), "NAME      PLAN\n山田太郎  pro\nx         trial");
    }

    #[test]
    fn a_listing_shows_given_keys_first_and_wraps_within_the_column() {
        let listing =
            Listing::of(&json!({ "zeta": true, "alpha": "one two three four five six", "id": "x" }), &["id", "gone"]);
        let text = listing.render(Some(20));
        assert_eq!(text, "id     x\nalpha  one two three\n       four five six\nzeta   yes");
    }
}
