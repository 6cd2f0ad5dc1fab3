//! Searches by a query. Source: Stripe, "Search", with its query language.
//!
//! Stripe's own index lags behind by up to a minute; here what was written is found at once.

use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::page;
use serde_json::{Value, json};

/// Maximum number of clauses of a query.
const CLAUSES_MAX: usize = 10;
/// Minimum length of the text of a substring match.
const SUBSTRING_MIN: usize = 3;

/// How the values of a field are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text, whatever its case, of which a part can be searched.
    Text,
    /// A number.
    Number,
}

/// The fields of an object that can be searched, besides its metadata.
pub(crate) type Searchable = &'static [(&'static str, Kind)];

/// One condition.
#[derive(Debug, PartialEq, Eq)]
struct Clause {
    is_negated: bool,
    field: Field,
    operator: char,
    /// `None` for `null`.
    value: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Field {
    Named(&'static str, Kind),
    Metadata(String),
}

/// All clauses of a query.
#[derive(Debug, PartialEq, Eq)]
struct Query {
    clauses: Vec<Clause>,
    /// Whether one that holds is enough.
    is_any: bool,
}

/// The requested page of the rows, which are given oldest first, that a query finds.
pub(crate) fn search<'a>(
    rows: impl DoubleEndedIterator<Item = &'a Value>,
    searchable: Searchable,
    form: &Form,
    url: &str,
) -> Result<Value, ApiError> {
    let query = Parser { rest: form.required("query")?, searchable }.query()?;
    let limit = page::limit(form)?;
    let found: Vec<&Value> = rows.rev().filter(|row| query.holds_for(row)).collect();
    // The cursor is the last row of the page before.
    let from = match form.text("page") {
        Some(after) => match found.iter().position(|row| row.id() == after) {
            Some(at) => at + 1,
            None => return Err(ApiError::invalid("parameter_invalid", Some("page"), "No such page.")),
        },
        None => 0,
    };
    let to = (from + limit).min(found.len());
    let has_more = to < found.len();
    let next_page = found[from..to].last().filter(|_| has_more).map(|row| row.id());
    Ok(json!({
        "object": "search_result", "url": url, "has_more": has_more, "next_page": next_page, "data": found[from..to],
    }))
}

impl Query {
    fn holds_for(&self, row: &Value) -> bool {
        let mut clauses = self.clauses.iter().map(|clause| clause.matches(row) != clause.is_negated);
        if self.is_any { clauses.any(|holds| holds) } else { clauses.all(|holds| holds) }
    }
}

impl Clause {
    fn matches(&self, row: &Value) -> bool {
        let (found, kind) = match &self.field {
            Field::Named(name, kind) => (&row[*name], *kind),
            Field::Metadata(key) => (&row["metadata"][key.as_str()], Kind::Text),
        };
        let Some(value) = &self.value else { return found.is_null() };
        if kind == Kind::Number {
            let (Some(found), Ok(value)) = (found.as_i64(), value.parse::<i64>()) else { return false };
            return match self.operator {
                '>' => found > value,
                '<' => found < value,
                _ => found == value,
            };
        }
        let Some(found) = found.as_str() else { return false };
        match (&self.field, self.operator) {
            (Field::Metadata(_), _) => found == value,
            (_, '~') => found.to_lowercase().contains(&value.to_lowercase()),
            _ => found.to_lowercase() == value.to_lowercase(),
        }
    }
}

/// What is left of a query.
struct Parser<'a> {
    rest: &'a str,
    searchable: Searchable,
}

impl Parser<'_> {
    fn query(mut self) -> Result<Query, ApiError> {
        let (mut clauses, mut joint) = (Vec::new(), None);
        loop {
            clauses.push(self.clause()?);
            if clauses.len() > CLAUSES_MAX {
                return Err(invalid("A query may have at most 10 clauses."));
            }
            self.rest = self.rest.trim_start();
            if self.rest.is_empty() {
                return Ok(Query { clauses, is_any: joint == Some(true) });
            }
            let is_any = self.eat_word("OR");
            let is_named = is_any || self.eat_word("AND");
            if joint.is_some_and(|before| before != is_any) {
                return Err(invalid("A query cannot have both AND and OR."));
            }
            joint = Some(is_any);
            if is_named && self.rest.trim().is_empty() {
                return Err(invalid("A clause is missing at the end."));
            }
        }
    }

    /// A keyword, whatever its case.
    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.rest.split_whitespace().next().is_some_and(|next| next.eq_ignore_ascii_case(word));
        if found {
            self.rest = &self.rest[word.len()..];
        }
        found
    }

    fn clause(&mut self) -> Result<Clause, ApiError> {
        self.rest = self.rest.trim_start();
        let negated = self.rest.strip_prefix('-');
        self.rest = negated.unwrap_or(self.rest);
        let field = self.field()?;
        let operator = self.rest.chars().next().filter(|sign| matches!(sign, ':' | '~' | '>' | '<'));
        let operator = operator.ok_or_else(|| invalid("A field is followed by one of : ~ > <"))?;
        self.rest = &self.rest[1..];
        let (value, is_quoted) = self.value()?;
        let is_number = matches!(field, Field::Named(_, Kind::Number));
        let is_allowed = match operator {
            '~' => matches!(field, Field::Named(_, Kind::Text)) && value.chars().count() >= SUBSTRING_MIN,
            '>' | '<' => is_number,
            _ => true,
        };
        let is_null = !is_quoted && value.eq_ignore_ascii_case("null");
        if !is_allowed || (is_null && operator != ':') {
            return Err(invalid(&format!("The operator {operator} cannot be used with this field and value.")));
        }
        if !is_null && is_number && value.parse::<i64>().is_err() {
            return Err(invalid("This field is a number."));
        }
        Ok(Clause { is_negated: negated.is_some(), field, operator, value: (!is_null).then_some(value) })
    }

    fn field(&mut self) -> Result<Field, ApiError> {
        let end = self.rest.find(|sign: char| !(sign.is_ascii_alphanumeric() || sign == '_'));
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if name == "metadata" {
            self.rest = rest.strip_prefix('[').ok_or_else(|| invalid("metadata is followed by a key in brackets."))?;
            let (key, _) = self.value()?;
            self.rest = self.rest.strip_prefix(']').ok_or_else(|| invalid("A bracket is not closed."))?;
            return Ok(Field::Metadata(key));
        }
        self.rest = rest;
        let found = self.searchable.iter().find(|(known, _)| *known == name);
        let (name, kind) = found.ok_or_else(|| invalid(&format!("Field `{name}` is an unsupported search field.")))?;
        Ok(Field::Named(name, *kind))
    }

    /// A value, and whether it was in quotes, which a backslash escapes.
    fn value(&mut self) -> Result<(String, bool), ApiError> {
        let Some(quote) = self.rest.chars().next().filter(|sign| matches!(sign, '\'' | '"')) else {
            let end = self.rest.find(|sign: char| sign.is_whitespace() || sign == ']').unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest;
            return match value {
                "" => Err(invalid("A value is missing.")),
                value => Ok((value.to_owned(), false)),
            };
        };
        let (mut value, mut is_escaped) = (String::new(), false);
        for (at, sign) in self.rest.char_indices().skip(1) {
            match sign {
                _ if is_escaped => {
                    value.push(sign);
                    is_escaped = false;
                }
                '\\' => is_escaped = true,
                sign if sign == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok((value, true));
                }
                sign => value.push(sign),
            }
        }
        Err(invalid("A quote is not closed."))
    }
}

fn invalid(why: &str) -> ApiError {
    let message = format!("We were unable to parse your search query. {why}");
    ApiError::refused_without_code(&message).with_param("query")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: Searchable = &[("created", Kind::Number), ("email", Kind::Text), ("name", Kind::Text)];

    fn ask(parameters: &[(&str, &str)]) -> Result<Value, ApiError> {
        let rows = [
            json!({ "id": "a", "created": 10, "email": "ann@example.com", "name": "Ann O'Hara", "metadata": { "k": "v" } }),
            json!({ "id": "b", "created": 20, "email": "Bob@example.com", "name": null, "metadata": {} }),
            json!({ "id": "c", "created": 30, "email": "cy@example.org", "name": "Cy", "metadata": { "k": "V" } }),
        ];
        let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        search(rows.iter(), FIELDS, &Form::decode(&text).unwrap(), "/v1/rows/search")
    }

    fn found(query: &str) -> String {
        match ask(&[("query", query)]) {
            Ok(page) => page["data"].as_array().unwrap().iter().map(Value::id).collect(),
            Err(error) => format!("{} {}", error.status, error.param.unwrap_or_default()),
        }
    }

    #[test]
    fn clauses_match_whole_values_parts_numbers_metadata_and_nothing() {
        assert_eq!(found("email:'bob@EXAMPLE.com'"), "b");
        assert_eq!(found("email~\"example.c\""), "ba");
        assert_eq!(found("created>10"), "cb");
        assert_eq!(found("created<30 created>10"), "b");
        assert_eq!(found("metadata['k']:'v'"), "a");
        assert_eq!(found("-metadata[\"k\"]:null"), "ca");
        assert_eq!(found("name:null"), "b");
        assert_eq!(found("name:'Ann O\\'Hara'"), "a");
        assert_eq!(found("email:'ann@example.com' OR name:'cy'"), "ca");
        assert_eq!(found("-email:'ann@example.com' and created:20"), "b");
    }

    #[test]
    fn what_is_no_query_is_refused() {
        for query in [
            "",
            "email",
            "email:",
            "email:'a",
            "plan:'a'",
            "metadata:'a'",
            "metadata['k'",
            "email~'ab'",
            "email>'a'",
            "created:'x'",
            "metadata['k']~'abc'",
            "email:'a' AND",
            "email:'a' OR email:'b' AND email:'c'",
            "email:'a' OR email:'b' email:'c'",
            "name~null",
        ] {
            assert_eq!(found(query), "400 query", "{query}");
        }
        assert_eq!(found(&["name:'a'"; 11].join(" ")), "400 query");
    }

    #[test]
    fn pages_follow_each_other_newest_first() {
        let page = ask(&[("query", "created>0"), ("limit", "2")]).unwrap();
        assert_eq!((&page["has_more"], &page["next_page"], page["data"][0].id()), (&json!(true), &json!("b"), "c"));
        let next = ask(&[("query", "created>0"), ("limit", "2"), ("page", "b")]).unwrap();
        assert_eq!((&next["has_more"], &next["next_page"], next["data"][0].id()), (&json!(false), &Value::Null, "a"));
        assert_eq!(ask(&[("query", "created>0"), ("page", "x")]).unwrap_err().param.as_deref(), Some("page"));
        assert_eq!(ask(&[("query", "created>0"), ("limit", "0")]).unwrap_err().param.as_deref(), Some("limit"));
    }
}
