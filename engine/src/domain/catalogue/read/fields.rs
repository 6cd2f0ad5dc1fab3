//! Reads the fields of tables, and remembers mistakes and where everything stands.

use super::Problem;
use std::collections::{BTreeMap, BTreeSet};
use std::iter::{once, successors};
use std::ops::Range;
use toml_edit::{Item, Key, TableLike};

/// Maximum number of characters of a name that a message repeats.
const NAME_LEN_MAX: usize = 60;

/// The form of a field's values.
pub(super) struct Form<T> {
    /// What a value must be.
    pub(super) name: &'static str,
    /// Reads a value; `None` if it has another form.
    pub(super) parse: fn(&Item) -> Option<T>,
}

/// The mistakes of a file, and the lines of its entries and fields. A path is made of the names from the root, such as
/// `plans.pro.name`.
pub(super) struct Reader {
    /// The byte at which each line starts.
    line_starts: Vec<usize>,
    lines: BTreeMap<String, usize>,
    unread: BTreeSet<String>,
    problems: Vec<Problem>,
}

/// The fields of one table.
pub(super) struct Fields<'r, 't> {
    reader: &'r mut Reader,
    table: &'t dyn TableLike,
    path: String,
}

impl Reader {
    /// A reader of this text.
    pub(super) fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            line_starts: once(0).chain(ends.map(|(at, _)| at + 1)).collect(),
            lines: BTreeMap::new(),
            unread: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    /// Opens a table at a path. Fields that are not `known` are problems.
    pub(super) fn open<'t>(
        &mut self,
        table: &'t dyn TableLike,
        path: &str,
        what: &str,
        known: &[&str],
    ) -> Fields<'_, 't> {
        for (name, _) in table.iter() {
            let field = join(path, name);
            self.place(&field, table.key(name).and_then(Key::span));
            if !known.contains(&name) {
                self.report(&field, format!("{field} is not a field: {what} has {}", known.join(", ")));
            }
        }
        Fields { reader: self, table, path: path.to_owned() }
    }

    /// Reports a mistake at a path.
    pub(super) fn report(&mut self, path: &str, message: String) {
        let problem = self.problem_at(path, message);
        self.problems.push(problem);
    }

    /// A problem with the line of a path.
    pub(super) fn problem_at(&self, path: &str, message: String) -> Problem {
        Problem { line: around(path).find_map(|path| self.lines.get(path)).copied(), message }
    }

    /// Reports a mistake because of which the value at a path is not known.
    pub(super) fn refuse(&mut self, path: &str, message: String) {
        self.report(path, message);
        self.unread.insert(path.to_owned());
    }

    /// Whether the value at a path is not known because of a mistake in it or around it.
    pub(super) fn is_unread(&self, path: &str) -> bool {
        around(path).any(|path| self.unread.contains(path))
    }

    /// The line of a byte, from 1.
    pub(super) fn line_at(&self, byte: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= byte)
    }

    /// The mistakes, by line.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        by_line(self.problems)
    }

    /// Remembers where something stands.
    fn place(&mut self, path: &str, span: Option<Range<usize>>) {
        let line = span.map(|span| self.line_at(span.start));
        self.lines.extend(line.map(|line| (path.to_owned(), line)));
    }
}

impl<'t> Fields<'_, 't> {
    /// Reads a field that must be there.
    pub(super) fn required<T>(&mut self, name: &str, form: &Form<T>) -> Option<T> {
        if !self.table.contains_key(name) {
            let path = join(&self.path, name);
            self.reader.refuse(&path, format!("{path} is missing: it must be {}", form.name));
        }
        self.optional(name, form)
    }

    /// Reads a field; `None` if it is not there.
    pub(super) fn optional<T>(&mut self, name: &str, form: &Form<T>) -> Option<T> {
        let value = (form.parse)(self.table.get(name)?);
        if value.is_none() {
            self.refuse(name, form.name);
        }
        value
    }

    /// Reads a table of tables, each with its key as it is shown.
    pub(super) fn tables(&mut self, name: &str) -> Vec<(String, &'t dyn TableLike)> {
        let mut tables = Vec::new();
        for (key, item) in self.items(name, "a table of tables, each with a key") {
            let path = format!("{}.{key}", join(&self.path, name));
            match item.as_table_like() {
                Some(table) => tables.push((key, table)),
                None => self.reader.refuse(&path, format!("{path} must be a table, such as [{path}]")),
            }
        }
        tables
    }

    /// Reads a table whose values have one form, each with its name as it is shown.
    pub(super) fn values<T>(&mut self, name: &str, expected: &str, form: &Form<T>) -> Vec<(String, T)> {
        let mut values = Vec::new();
        for (key, item) in self.items(name, expected) {
            let path = format!("{}.{key}", join(&self.path, name));
            match (form.parse)(item) {
                Some(value) => values.push((key, value)),
                None => self.reader.refuse(&path, format!("{path} must be {}", form.name)),
            }
        }
        values
    }

    /// Reads a list of texts. Each has its position, from 0, as the last part of its path.
    pub(super) fn texts(&mut self, name: &str, expected: &str) -> Vec<String> {
        let Some(item) = self.table.get(name) else { return Vec::new() };
        let Some(list) = item.as_array() else {
            self.refuse(name, expected);
            return Vec::new();
        };
        let path = join(&self.path, name);
        let mut texts = Vec::new();
        for (at, value) in list.iter().enumerate() {
            let place = format!("{path}.{at}");
            self.reader.place(&place, value.span());
            if value.as_str().is_none() {
                self.reader.refuse(&place, format!("{path} must be {expected}"));
            }
            texts.push(value.as_str().unwrap_or_default().to_owned());
        }
        texts
    }

    /// The items of a table under a name, with their keys as they are shown.
    fn items(&mut self, name: &str, expected: &str) -> Vec<(String, &'t Item)> {
        let table = self.table;
        let Some(item) = table.get(name) else { return Vec::new() };
        let Some(inner) = item.as_table_like() else {
            self.refuse(name, expected);
            return Vec::new();
        };
        let path = join(&self.path, name);
        for (key, _) in inner.iter() {
            self.reader.place(&join(&path, key), inner.key(key).and_then(Key::span));
        }
        inner.iter().map(|(key, item)| (shown(key), item)).collect()
    }

    fn refuse(&mut self, name: &str, expected: &str) {
        let path = join(&self.path, name);
        self.reader.refuse(&path, format!("{path} must be {expected}"));
    }
}

/// Problems in the order of their lines.
pub(super) fn by_line(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.line);
    problems
}

fn join(path: &str, name: &str) -> String {
    let name = shown(name);
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// A name as messages show it: in quotes and shortened, unless it is plain.
fn shown(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.len() <= NAME_LEN_MAX && name.chars().all(is_plain) {
        return name.to_owned();
    }
    let rest = if name.chars().count() > NAME_LEN_MAX { "…" } else { "" };
    format!("\"{}{rest}\"", name.chars().take(NAME_LEN_MAX).collect::<String>().escape_debug())
}

/// A path, and those of everything around it, from the inside out.
fn around(path: &str) -> impl Iterator<Item = &str> {
    successors(Some(path), |path| path.rsplit_once('.').map(|(outer, _)| outer))
}
