//! Reads a catalogue from TOML, and reports every mistake in it with its line.

mod fields;

use super::check::{Breach, check};
use super::currency::Currency;
use super::sellable::{never_charged, over_caps, refused_by_stripe};
use super::{Catalogue, GrantSchedule, Interval, Pack, Plan, Price, Rollover, strict};
use crate::amount::{Credits, MoneyMinor};
use crate::key::{KEY_LEN_MAX, PackKey, PlanKey, PriceKey, is_key};
use fields::{Form, Reader, by_line};
use std::collections::BTreeMap;
use std::fmt;
use toml_edit::{ImDocument, Item, TableLike};

/// The largest file.
pub const FILE_MAX_BYTES: usize = 256 * 1024;

const CATALOGUE_FIELDS: [&str; 5] = ["currency", "entry", "plans", "prices", "packs"];
const PACK_FIELDS: [&str; 6] = ["name", "credits", "amount", "currency", "lifetime_days", "offered"];
const PLAN_FIELDS: [&str; 8] = [
    "name",
    "signup_credits",
    "payment_method_credits",
    "unit_price",
    "unit_step",
    "spend_cap_day",
    "spend_cap_month",
    "followed_by",
];
const PRICE_FIELDS: [&str; 12] = [
    "plan",
    "every",
    "amount",
    "currency",
    "credits",
    "grant",
    "per_seat",
    "rollover",
    "lifetime_days",
    "lookup_key",
    "stripe",
    "offered",
];

const TEXT: Form<String> = Form { name: "text in quotes", parse: |item| item.as_str().map(str::to_owned) };
const FLAG: Form<bool> = Form { name: "true or false", parse: Item::as_bool };
const CREDITS: Form<Credits> =
    Form { name: "a whole number of credits, such as 60", parse: |item| item.as_integer().map(Credits) };
const MONEY: Form<MoneyMinor> = Form {
    name: "a whole number of the currency's minor units, such as 2900 for $29.00",
    parse: |item| item.as_integer().map(MoneyMinor),
};
const DAYS: Form<u32> = Form {
    name: "a whole number of days, such as 90",
    parse: |item| item.as_integer().and_then(|days| days.try_into().ok()),
};
const CURRENCY: Form<Currency> = Form {
    name: "the three letters of an ISO 4217 code in quotes, such as \"usd\"",
    parse: |item| item.as_str().and_then(Currency::parse),
};
const PLAN_KEY: Form<PlanKey> =
    Form { name: "the key of a plan in quotes, such as \"pro\"", parse: |item| item.as_str().and_then(PlanKey::parse) };
const INTERVAL: Form<Interval> = Form {
    name: "an interval in quotes, such as \"month\", \"2 weeks\" or \"year\"",
    parse: |item| item.as_str().and_then(Interval::parse),
};
const GRANT: Form<GrantSchedule> =
    Form { name: "\"whole\" or \"monthly\"", parse: |item| item.as_str().and_then(GrantSchedule::parse) };
const ROLLOVER: Form<Rollover> =
    Form { name: "\"keep\" or \"reset\"", parse: |item| item.as_str().and_then(Rollover::parse) };

/// A mistake in a catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its line, from 1; `None` if it concerns the whole file.
    pub line: Option<usize>,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// A catalogue that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The catalogue.
    pub catalogue: Catalogue,
    /// What only customers with raised spend caps could buy, and prices that nobody pays, by line. It can be applied
    /// all the same.
    pub warnings: Vec<Problem>,
}

/// Reads and checks a catalogue. Plans, prices and packs keep the order of the file.
///
/// # Errors
/// Every mistake, by line. After a mistake in the syntax nothing else can be read, so it is the only one.
pub fn read(text: &str) -> Result<Catalogue, Vec<Problem>> {
    read_with_warnings(text).map(|reading| reading.catalogue)
}

/// As [`read`], with what deserves a warning.
///
/// # Errors
/// As those of [`read`].
pub fn read_with_warnings(text: &str) -> Result<Reading, Vec<Problem>> {
    let (mut reader, catalogue) = read_checked(text)?;
    report(&mut reader, strict::breaches(&catalogue));
    report(&mut reader, refused_by_stripe(&catalogue));
    let place = |breach: Breach| reader.problem_at(first_path(&breach), breach.message.clone());
    let warnings = over_caps(&catalogue).into_iter().chain(never_charged(&catalogue));
    let warnings = by_line(warnings.map(place).collect());
    let problems = reader.into_problems();
    if problems.is_empty() { Ok(Reading { catalogue, warnings }) } else { Err(problems) }
}

/// Reads a catalogue that is or was in force. It may have amounts that Stripe refuses and names that nothing at Stripe
/// has: earlier releases did not look at them, and a server must start with what they stored.
///
/// # Errors
/// Every mistake that no release has let pass, by line.
pub fn read_version(text: &str) -> Result<Catalogue, Vec<Problem>> {
    let (reader, catalogue) = read_checked(text)?;
    let problems = reader.into_problems();
    if problems.is_empty() { Ok(catalogue) } else { Err(problems) }
}

/// Reads a catalogue and checks the rules of [`check`]. The reader has the problems.
fn read_checked(text: &str) -> Result<(Reader, Catalogue), Vec<Problem>> {
    if text.len() > FILE_MAX_BYTES {
        let message = format!("the catalogue has {} bytes, more than {FILE_MAX_BYTES}", text.len());
        return Err(vec![Problem { line: None, message }]);
    }
    let mut reader = Reader::new(text);
    let document = match ImDocument::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let line = error.span().map(|span| reader.line_at(span.start.min(text.trim_end().len())));
            return Err(vec![Problem { line, message: syntax_problem(text, error.message()) }]);
        }
    };
    let catalogue = read_catalogue(&mut reader, document.as_table());
    report(&mut reader, check(&catalogue));
    Ok((reader, catalogue))
}

/// A mistake in the syntax, in words. The parser says nothing of some characters.
fn syntax_problem(text: &str, said: &str) -> String {
    let is_forbidden = |c: &char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    let said = said.trim().replace('\n', ", ");
    let why = match text.chars().find(is_forbidden) {
        Some(c) if said.is_empty() => format!("it has the character U+{:04X}, which no text file has", u32::from(c)),
        None if said.is_empty() => "it has a mistake in its syntax".to_owned(),
        _ => said,
    };
    format!("this is not TOML: {why}")
}

/// Reports breaches, except those of values that could not be read.
fn report(reader: &mut Reader, breaches: Vec<Breach>) {
    for breach in breaches {
        if !breach.paths.iter().any(|path| reader.is_unread(path)) {
            reader.report(first_path(&breach), breach.message.clone());
        }
    }
}

fn first_path(breach: &Breach) -> &str {
    breach.paths.first().map_or("", String::as_str)
}

/// Reads the whole file. What cannot be read is a problem, and a stand-in takes its place.
fn read_catalogue(reader: &mut Reader, root: &dyn TableLike) -> Catalogue {
    let mut fields = reader.open(root, "", "a catalogue", &CATALOGUE_FIELDS);
    let currency = fields.required("currency", &CURRENCY).unwrap_or_else(stand_in_currency);
    let entry = fields.required("entry", &PLAN_KEY).unwrap_or_else(|| PlanKey::trusted(""));
    let (plans, prices, packs) = (fields.tables("plans"), fields.tables("prices"), fields.tables("packs"));
    Catalogue {
        currency,
        entry,
        plans: plans.into_iter().map(|(key, table)| read_plan(reader, &key, table)).collect(),
        prices: prices.into_iter().map(|(key, table)| read_price(reader, &key, table)).collect(),
        packs: packs.into_iter().map(|(key, table)| read_pack(reader, &key, table)).collect(),
    }
}

fn read_plan(reader: &mut Reader, key: &str, table: &dyn TableLike) -> Plan {
    let path = format!("plans.{key}");
    report_bad_key(reader, &path, key);
    let mut fields = reader.open(table, &path, "a plan", &PLAN_FIELDS);
    let name = fields.required("name", &TEXT).unwrap_or_default();
    let signup_credits = fields.optional("signup_credits", &CREDITS).unwrap_or_default();
    let payment_method_credits = fields.optional("payment_method_credits", &CREDITS).unwrap_or_default();
    let unit_step = fields.optional("unit_step", &CREDITS).unwrap_or(Credits(1));
    let spend_cap_day = fields.optional("spend_cap_day", &MONEY);
    let spend_cap_month = fields.optional("spend_cap_month", &MONEY);
    let followed_by = fields.optional("followed_by", &PLAN_KEY);
    let mut unit_prices = BTreeMap::new();
    for (code, price) in fields.values("unit_price", "a table of prices by currency, such as { usd = 2900 }", &MONEY) {
        let path = format!("{path}.unit_price.{code}");
        match Currency::parse(&code) {
            None => reader.refuse(&path, format!("{path} must be named by {}", CURRENCY.name)),
            Some(currency) => {
                if unit_prices.insert(currency, price).is_some() {
                    reader.refuse(&path, format!("{path} is given twice, in upper and lower case"));
                }
            }
        }
    }
    Plan {
        key: PlanKey::trusted(key),
        name: name.trim().to_owned(),
        signup_credits,
        payment_method_credits,
        unit_prices,
        unit_step,
        spend_cap_day,
        spend_cap_month,
        followed_by,
    }
}

fn read_price(reader: &mut Reader, key: &str, table: &dyn TableLike) -> Price {
    let path = format!("prices.{key}");
    report_bad_key(reader, &path, key);
    let mut fields = reader.open(table, &path, "a price", &PRICE_FIELDS);
    Price {
        key: PriceKey::trusted(key),
        plan: fields.required("plan", &PLAN_KEY).unwrap_or_else(|| PlanKey::trusted("")),
        every: fields.required("every", &INTERVAL).unwrap_or(Interval::MONTH),
        amount: fields.required("amount", &MONEY).unwrap_or_default(),
        currency: fields.required("currency", &CURRENCY).unwrap_or_else(stand_in_currency),
        credits: fields.required("credits", &CREDITS).unwrap_or_default(),
        grant: fields.optional("grant", &GRANT).unwrap_or(GrantSchedule::Whole),
        per_seat: fields.optional("per_seat", &FLAG).unwrap_or(false),
        rollover: fields.optional("rollover", &ROLLOVER).unwrap_or(Rollover::Keep),
        lifetime_days: fields.optional("lifetime_days", &DAYS),
        lookup_key: fields.optional("lookup_key", &TEXT).unwrap_or_else(|| key.to_owned()),
        stripe: fields.texts("stripe", "a list of ids in quotes, such as [\"price_1\", \"price_2\"]"),
        offered: fields.optional("offered", &FLAG).unwrap_or(true),
    }
}

fn read_pack(reader: &mut Reader, key: &str, table: &dyn TableLike) -> Pack {
    let path = format!("packs.{key}");
    report_bad_key(reader, &path, key);
    let mut fields = reader.open(table, &path, "a pack", &PACK_FIELDS);
    Pack {
        key: PackKey::trusted(key),
        name: fields.required("name", &TEXT).unwrap_or_default().trim().to_owned(),
        credits: fields.required("credits", &CREDITS).unwrap_or_default(),
        amount: fields.required("amount", &MONEY).unwrap_or_default(),
        currency: fields.required("currency", &CURRENCY).unwrap_or_else(stand_in_currency),
        lifetime_days: fields.optional("lifetime_days", &DAYS),
        offered: fields.optional("offered", &FLAG).unwrap_or(true),
    }
}

fn report_bad_key(reader: &mut Reader, path: &str, key: &str) {
    if !is_key(key) {
        let rule = format!("a key has 1 to {KEY_LEN_MAX} lower-case letters, digits and underscores");
        reader.report(path, format!("{path} must have another key: {rule}"));
    }
}

/// Takes the place of a currency that cannot be read.
fn stand_in_currency() -> Currency {
    Currency::parse("usd").expect("three letters are a currency")
}

#[cfg(test)]
mod tests;
