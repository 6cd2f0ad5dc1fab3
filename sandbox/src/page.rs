//! Lists in pages, newest first. Source: Stripe, "Pagination".

use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::handler::Call;
use crate::store::Store;
use serde_json::{Value, json};

/// Number of rows in a page by default.
const LIMIT: i64 = 10;
/// Maximum number of rows in a page.
const LIMIT_MAX: i64 = 100;

/// A list with all rows on one page.
pub(crate) fn whole_list(data: Vec<Value>, url: &str) -> Value {
    json!({ "object": "list", "data": data, "has_more": false, "url": url })
}

/// The number of rows that a page may have.
pub(crate) fn limit(form: &Form) -> Result<usize, ApiError> {
    let limit = form.int("limit")?.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let message = format!("Invalid limit: must be between 1 and {LIMIT_MAX}.");
        return Err(ApiError::invalid("parameter_invalid_integer", Some("limit"), &message));
    }
    Ok(usize::try_from(limit).unwrap_or_default())
}

/// The requested page of rows, which are given oldest first. `starting_after` and `ending_before` may name an object
/// that is no longer in the list.
pub(crate) fn paginate<'a>(
    store: &Store,
    rows: impl DoubleEndedIterator<Item = &'a Value>,
    form: &Form,
    url: &str,
) -> Result<Value, ApiError> {
    let limit = limit(form)?;
    let created = Created::read(form)?;
    let rows: Vec<&Value> = rows.rev().filter(|row| created.admits(made_s(row))).collect();
    let newer_than = |place: u64| rows.partition_point(|row| store.seq_of(row.id()) > Some(place));
    let place = |param: &str, id: &str| store.seq_of(id).ok_or_else(|| ApiError::no_such("object", id, Some(param)));
    let (from, to) = match (form.text("starting_after"), form.text("ending_before")) {
        (Some(_), Some(_)) => {
            let message = "You cannot parameterize both starting_after and ending_before.";
            return Err(ApiError::invalid("parameter_invalid_empty", Some("ending_before"), message));
        }
        (Some(id), None) => {
            let from = newer_than(place("starting_after", id)?.saturating_sub(1));
            (from, (from + limit).min(rows.len()))
        }
        (None, Some(id)) => {
            let to = newer_than(place("ending_before", id)?);
            (to.saturating_sub(limit), to)
        }
        (None, None) => (0, limit.min(rows.len())),
    };
    let has_more = if form.text("ending_before").is_some() { from > 0 } else { to < rows.len() };
    let data: Vec<Value> = rows[from..to].iter().map(|row| (*row).clone()).collect();
    Ok(json!({ "object": "list", "data": data, "has_more": has_more, "url": url }))
}

/// A list of a kind. `filters` names parameters that must equal fields of the same name.
pub(crate) fn list(account: &StripeAccount, call: &Call, kind: &str, filters: &[&str]) -> Result<Value, ApiError> {
    let form = &call.form;
    let wanted = |row: &&Value| {
        filters.iter().all(|filter| form.text(filter).is_none_or(|value| field(row, filter) == value))
            && !row.is("deleted")
    };
    let url = format!("/v1/{}", call.path.trim_start_matches("/v1/"));
    match form.text("customer").filter(|_| filters.contains(&"customer")) {
        Some(customer) => {
            paginate(&account.store, account.store.of_customer(kind, customer).filter(wanted), form, &url)
        }
        None => paginate(&account.store, account.store.of_kind(kind).filter(wanted), form, &url),
    }
}

/// The requested page of a list that is a part of an object, in its own order.
pub(crate) fn of_embedded(list: &Value, form: &Form) -> Result<Value, ApiError> {
    let limit = usize::try_from(form.int("limit")?.unwrap_or(LIMIT)).unwrap_or_default();
    let rows = list["data"].as_array().map_or(&[][..], Vec::as_slice);
    let from = match form.text("starting_after") {
        Some(id) => match rows.iter().position(|row| row.id() == id) {
            Some(at) => at + 1,
            None => return Err(ApiError::no_such("object", id, Some("starting_after"))),
        },
        None => 0,
    };
    let to = (from + limit).min(rows.len());
    let mut page = list.clone();
    page["data"] = rows[from..to].into();
    page["has_more"] = (to < rows.len()).into();
    Ok(page)
}

/// The time of creation, which invoice items call `date`.
fn made_s(row: &Value) -> i64 {
    row.opt_int("created").unwrap_or_else(|| row.int("date"))
}

fn field(row: &Value, name: &str) -> String {
    match &row[name] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// `created=…` or `created[gte]=…`.
struct Created {
    equal: Option<i64>,
    gt: Option<i64>,
    gte: Option<i64>,
    lt: Option<i64>,
    lte: Option<i64>,
}

impl Created {
    fn read(form: &Form) -> Result<Self, ApiError> {
        let bound = |name: &str| form.int(&format!("created.{name}"));
        Ok(Self {
            equal: form.int("created")?,
            gt: bound("gt")?,
            gte: bound("gte")?,
            lt: bound("lt")?,
            lte: bound("lte")?,
        })
    }

    fn admits(&self, created: i64) -> bool {
        self.equal.is_none_or(|bound| created == bound)
            && self.gt.is_none_or(|bound| created > bound)
            && self.gte.is_none_or(|bound| created >= bound)
            && self.lt.is_none_or(|bound| created < bound)
            && self.lte.is_none_or(|bound| created <= bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows r0 to r4, in which r2 is of another color.
    fn store() -> Store {
        let mut store = Store::default();
        for at in 0..5 {
            let id = format!("r{at}");
            let row = json!({ "object": "row", "id": id, "created": at, "red": at != 2 });
            store.put(&id, row);
        }
        store
    }

    fn ask(parameters: &str) -> (Vec<String>, bool) {
        page_of(|_| true, parameters)
    }

    fn page_of(wanted: fn(&&Value) -> bool, parameters: &str) -> (Vec<String>, bool) {
        let store = store();
        let rows = store.of_kind("row").filter(wanted);
        let page = paginate(&store, rows, &Form::decode(parameters).unwrap(), "/v1/rows").unwrap();
        let ids = page["data"].as_array().unwrap().iter().map(|row| row.id().to_owned()).collect();
        (ids, page.is("has_more"))
    }

    #[test]
    fn pages_start_with_the_newest_and_say_if_more_follow() {
        assert_eq!(ask("limit=2"), (vec!["r4".into(), "r3".into()], true));
        assert_eq!(ask("limit=2&starting_after=r3"), (vec!["r2".into(), "r1".into()], true));
        assert_eq!(ask("limit=2&starting_after=r1"), (vec!["r0".into()], false));
        assert_eq!(ask("limit=2&ending_before=r1"), (vec!["r3".into(), "r2".into()], true));
    }

    #[test]
    fn a_page_continues_after_an_object_that_left_the_list() {
        let reds = |parameters| page_of(|row| row.is("red"), parameters);
        assert_eq!(reds("limit=1&starting_after=r2"), (vec!["r1".into()], true));
        assert_eq!(reds("limit=5&starting_after=r2"), (vec!["r1".into(), "r0".into()], false));
        assert_eq!(reds("limit=1&ending_before=r2"), (vec!["r3".into()], true));
    }

    #[test]
    fn created_filters_the_rows() {
        assert_eq!(ask("created[gte]=3").0, ["r4", "r3"]);
        assert_eq!(ask("created[lt]=1").0, ["r0"]);
        assert_eq!(ask("created=2").0, ["r2"]);
    }

    #[test]
    fn a_page_of_zero_rows_or_after_an_unknown_row_is_refused() {
        let store = store();
        for parameters in ["limit=0", "limit=101", "starting_after=nobody"] {
            assert!(
                paginate(&store, store.of_kind("row"), &Form::decode(parameters).unwrap(), "/").is_err(),
                "{parameters}"
            );
        }
    }
}
