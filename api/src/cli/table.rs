//! Tables without borders that fit the terminal.
//!
//! One rule for all tables: every column is shown, and no identifier is broken. A table that cannot fit is shown as one
//! block of names and values for each row.

use super::view;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Width, presets};
use serde_json::Value;

/// Spaces between two columns.
const GAP: u16 = 2;
/// The least width of a wrapped column.
const WRAPPED_MIN: u16 = 10;
/// Maximum number of lines of one row; with longer rows, blocks are easier to read.
const ROW_LINES_MAX: usize = 5;
/// Maximum number of characters of one cell.
const CELL_LEN_MAX: usize = 4_000;

/// A column: the key of its values, and how it adapts to a narrow terminal. Its title is the key in upper case.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    key: &'static str,
    is_wrapped: bool,
    is_number: bool,
}

impl Column {
    /// A column that is never wrapped: identifiers, states.
    pub const fn fixed(key: &'static str) -> Self {
        Self { key, is_wrapped: false, is_number: false }
    }

    /// A column of numbers: never wrapped, aligned on the right.
    pub const fn number(key: &'static str) -> Self {
        Self { is_number: true, ..Self::fixed(key) }
    }

    /// A column that is wrapped between words if necessary.
    pub const fn wrapped(key: &'static str) -> Self {
        Self { is_wrapped: true, ..Self::fixed(key) }
    }

    /// Its name in a block.
    fn name(&self) -> String {
        self.key.replace('_', " ")
    }

    fn title(&self) -> String {
        self.name().to_uppercase()
    }

    /// The least width at which no word of the title is broken.
    fn title_min(&self) -> u16 {
        widest_word(&self.name())
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

    /// Renders the table, or one block for each row if the table cannot fit. Without a width every row is one line,
    /// however long.
    pub fn render(&self, width: Option<u16>) -> String {
        let natural = self.natural_widths();
        let Some(width) = width else { return self.draw(&natural) };
        match self.fit_columns(&natural, width) {
            Some(widths) => self.draw(&widths),
            None => self.blocks(width),
        }
    }

    /// The widths at which nothing is wrapped.
    fn natural_widths(&self) -> Vec<u16> {
        let width = |(at, column): (usize, &Column)| self.cells_max(at, width_of).max(width_of(&column.title()));
        self.columns.iter().enumerate().map(width).collect()
    }

    /// The widths of the columns in a table that fits, if there can be one without a row of too many lines.
    fn fit_columns(&self, natural: &[u16], width: u16) -> Option<Vec<u16>> {
        let room = usize::from(width).checked_sub(usize::from(GAP) * self.columns.len().saturating_sub(1))?;
        let sum = |widths: &[u16]| widths.iter().copied().map(usize::from).sum::<usize>();
        if sum(natural) <= room {
            return Some(natural.to_vec());
        }
        let mut widths = self.least_widths(natural);
        for _ in 0..room.checked_sub(sum(&widths))? {
            let narrowed = (0..widths.len()).filter(|at| self.columns[*at].is_wrapped && widths[*at] < natural[*at]);
            match narrowed.min_by_key(|at| widths[*at]) {
                Some(at) => widths[at] += 1,
                None => break,
            }
        }
        let lines = |row: &Vec<String>| row.iter().zip(&widths).map(|(cell, width)| wrap(cell, *width).len()).max();
        (self.rows.iter().filter_map(lines).max() <= Some(ROW_LINES_MAX)).then_some(widths)
    }

    /// The least widths: columns that are never wrapped need the width of their cells, the others that of their longest
    /// word; titles may wrap.
    fn least_widths(&self, natural: &[u16]) -> Vec<u16> {
        let least = |(at, column): (usize, &Column)| {
            let cells = if column.is_wrapped {
                self.cells_max(at, widest_word).max(WRAPPED_MIN)
            } else {
                self.cells_max(at, width_of)
            };
            natural[at].min(cells.max(column.title_min()))
        };
        self.columns.iter().enumerate().map(least).collect()
    }

    fn cells_max(&self, at: usize, measure: impl Fn(&str) -> u16) -> u16 {
        self.rows.iter().map(|row| measure(&row[at])).max().unwrap_or(0)
    }

    fn draw(&self, widths: &[u16]) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        let wrapped = |(text, width): (&str, &u16)| wrap(text, *width).join("\n");
        let titles: Vec<String> = self.columns.iter().map(Column::title).collect();
        table.set_header(titles.iter().map(String::as_str).zip(widths).map(wrapped));
        for row in &self.rows {
            table.add_row(row.iter().map(String::as_str).zip(widths).map(wrapped));
        }
        for (at, width) in widths.iter().enumerate() {
            let gap = if at + 1 == widths.len() { 0 } else { GAP };
            if let Some(column) = table.column_mut(at) {
                column.set_padding((0, gap));
                column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width.saturating_add(gap))));
                if self.columns[at].is_number {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        table.trim_fmt()
    }

    /// Renders each row as names and values, with an empty line between two rows.
    fn blocks(&self, width: u16) -> String {
        let block = |row: &Vec<String>| {
            let mut listing = Listing::default();
            for (column, cell) in self.columns.iter().zip(row) {
                listing.line(&column.name(), cell.as_str());
            }
            listing.render(Some(width))
        };
        self.rows.iter().map(block).collect::<Vec<_>>().join("\n\n")
    }
}

/// Names and values, one pair per line. Long values wrap between words within their column.
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
        let rest = width.map_or(u16::MAX, |width| width.saturating_sub(names).max(WRAPPED_MIN));
        let mut lines = Vec::new();
        for (name, value) in &self.lines {
            let pad = usize::from(names.saturating_sub(width_of(name)));
            let mut start = format!("{name}{}", " ".repeat(pad));
            for part in wrap(value, rest) {
                lines.push(format!("{start}{part}").trim_end().to_owned());
                start = " ".repeat(usize::from(names));
            }
        }
        lines.join("\n")
    }
}

/// Splits a text into lines of at most this width, between words. A longer word has a line of its own: an identifier
/// must stay whole to be searched for and copied.
fn wrap(text: &str, width: u16) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        let mut used = 0_u16;
        for (at, word) in paragraph.split(' ').enumerate() {
            let wide = width_of(word);
            if at > 0 && used.saturating_add(1).saturating_add(wide) > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            } else if at > 0 {
                line.push(' ');
                used = used.saturating_add(1);
            }
            line.push_str(word);
            used = used.saturating_add(wide);
        }
        lines.push(line);
    }
    lines
}

fn widest_word(text: &str) -> u16 {
    width_of(&text.replace(' ', "\n"))
}

/// The width of the widest line of a text.
fn width_of(text: &str) -> u16 {
    if text.is_ascii() {
        let widest = text.lines().map(str::len).max().unwrap_or(0);
        return u16::try_from(widest).unwrap_or(u16::MAX);
    }
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
        Column::wrapped("last_error"),
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
        for width in [60, 70, 80, 100, 120, 200] {
            let text = table().render(Some(width));
            assert!(widest(&text) <= usize::from(width), "{width}:\n{text}");
            for word in ["evt_06cvq3n8r5h7t2k4m6p8s0v1x3", "customer.subscription.updated"] {
                assert!(text.contains(word), "{width}:\n{text}");
            }
        }
    }

    #[test]
    fn a_table_that_cannot_fit_is_shown_as_blocks_with_every_column() {
        let mut table = table();
        table.row(["evt_2", "invoice.paid", "60", "-", "2026-03-02 10:20:30Z"]);
        let first = "id             evt_06cvq3n8r5h7t2k4m6p8s0v1x3
type           customer.subscription.updated
balance after  -5
last error     the gateway answered 500 and then it went on for a
               long time
received at    2026-03-01 10:20:30Z";
        let second = "id             evt_2
type           invoice.paid
balance after  60
last error     -
received at    2026-03-02 10:20:30Z";
        assert_eq!(table.render(Some(66)), format!("{first}\n\n{second}"));
    }

    #[test]
    fn a_reason_is_wrapped_and_never_cut() {
        let reason =
            "the price price_1QxYzAbCdEfGhIjKlMnOpQrS is unknown and a person must decide what it sells ".repeat(4);
        for width in [60, 80, 120] {
            let mut table = Table::new(&[Column::fixed("state"), Column::wrapped("reason")]);
            table.row(["dead", &reason]);
            let text = table.render(Some(width));
            let words: Vec<&str> = text.split_whitespace().filter(|word| reason.contains(*word)).collect();
            assert!(words.join(" ").ends_with(reason.trim()), "{width}:\n{text}");
        }
    }

    #[test]
    fn an_identifier_wider_than_its_room_is_not_broken() {
        let id = "cs_test_a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8s9t0u1v2w3x4y5z6";
        let text = Listing::of(&json!({ "session": format!("see {id} now") }), &[]).render(Some(40));
        assert_eq!(text, format!("session  see\n         {id}\n         now"));
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
