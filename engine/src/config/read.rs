//! Reads the settings and collects every mistake in them.

use super::file::ConfigFile;
use super::moved::place_in_catalogue;
use super::{Config, environment, split_path};
use crate::error::Error;
use figment::error::Kind;
use figment::providers::Serialized;
use figment::value::{Dict, Tag, Value};
use figment::{Figment, Provider};
use serde_json::Value as Json;

/// One given setting, with its section.
struct Field {
    /// `section.name`, or `name` outside of sections.
    key: String,
    tag: Tag,
    dict: Dict,
}

/// Reads and checks the settings; returns them with all problems. An unreadable field takes its default, and checks
/// of that default are not reported.
pub(super) fn read(figment: &Figment, file: Option<&ConfigFile>) -> (Config, Vec<String>) {
    if let Ok(mut config) = figment.extract() {
        let problems = problems_of(&mut config, file, Vec::new());
        return (config, problems);
    }
    // Extraction stops at the first mistake. As every field has a default, each can be read by itself.
    let (mut readable, mut problems, mut unread) = (Figment::new(), Vec::new(), Vec::new());
    for field in fields(figment) {
        match problem_of(figment, file, &field) {
            None => readable = readable.merge(Serialized::defaults(field.dict)),
            Some(problem) => {
                problems.push(problem);
                unread.push(field.key);
            }
        }
    }
    // An unknown section is one mistake, however many fields it has.
    problems.dedup();
    if problems.is_empty() {
        problems.push("the configuration cannot be read".to_owned());
    }
    let mut config: Config = readable.extract().unwrap_or_default();
    problems.extend(problems_of(&mut config, file, unread));
    (config, problems)
}

/// Loads the catalogue and checks the settings, except those that were not read.
fn problems_of(config: &mut Config, file: Option<&ConfigFile>, mut unread: Vec<String>) -> Vec<String> {
    let of_catalogue = config.load_catalogue(file.map(ConfigFile::folder));
    if !of_catalogue.is_empty() {
        // Its values are plans of the catalogue.
        unread.push("marketplace.plans".to_owned());
    }
    let mut problems = match config.check() {
        Ok(()) => Vec::new(),
        Err(Error::Config(problems)) => problems,
        Err(error) => vec![error.to_string()],
    };
    problems.retain(|problem| !unread.iter().any(|key| concerns(problem, key)));
    problems.extend(of_catalogue);
    problems
}

/// Whether a problem names a setting: by its whole key, or without the section after a setting of the same section.
pub(super) fn concerns(problem: &str, key: &str) -> bool {
    let (section, name) = split_path(key);
    let is_of_section = section.is_some_and(|section| problem.starts_with(&format!("{section}.")));
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let mut words = problem.split(|c| !is_part(c)).map(|word| word.trim_end_matches('.'));
    words.any(|word| word == key || (is_of_section && word == name))
}

fn fields(figment: &Figment) -> Vec<Field> {
    let mut fields = Vec::new();
    for (name, value) in figment.data().unwrap_or_default().into_values().flatten() {
        match value {
            Value::Dict(section_tag, section) => fields.extend(section.into_iter().map(|(field, value)| {
                let (key, tag) = (format!("{name}.{field}"), value.tag());
                let section = Value::Dict(section_tag, Dict::from([(field, value)]));
                Field { key, tag, dict: Dict::from([(name.clone(), section)]) }
            })),
            value => fields.push(Field { key: name.clone(), tag: value.tag(), dict: Dict::from([(name, value)]) }),
        }
    }
    fields
}

/// Why a field cannot be read. The value is not shown: it may be a secret.
fn problem_of(figment: &Figment, file: Option<&ConfigFile>, field: &Field) -> Option<String> {
    let error = Value::Dict(field.tag, field.dict.clone()).deserialize::<Config>().err()?;
    let is_variable = figment.get_metadata(field.tag).is_some_and(|source| source.name.contains("environment"));
    let (section, _) = split_path(&field.key);
    let unknown = match &error.kind {
        Kind::UnknownField(name, _) => Some(section.filter(|section| section == name).unwrap_or(&field.key)),
        _ => None,
    };
    let key = if is_variable {
        format!("BURSAR_{}", field.key.replace('.', "__").to_uppercase())
    } else {
        let key = unknown.unwrap_or(&field.key);
        file.map_or_else(|| key.to_owned(), |file| format!("{}: {key}", file.place_of(key)))
    };
    Some(match (unknown, place_in_catalogue(&field.key)) {
        (Some(_), Some(place)) => format!("{key} has moved to the catalogue: {place} (see docs/catalogue.md)"),
        (Some(_), None) if is_variable => environment::unknown(key).problem(),
        (Some(_), None) => format!("{key} is not a setting"),
        (None, _) => format!("{key} must be {}", expected(&field.key, &error.kind, is_variable)),
    })
}

/// The form of a setting's values.
fn expected(key: &str, kind: &Kind, is_variable: bool) -> String {
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let (section, name) = split_path(key);
    let default = section.map_or(&defaults, |section| &defaults[section]).get(name);
    let quoted = |form: &str| if is_variable { format!("'{form}'") } else { form.to_owned() };
    if let Kind::UnknownVariant(_, words) = kind {
        return one_of(words);
    }
    match default {
        Some(Json::Array(values)) => {
            let form = match (values.is_empty(), name) {
                (false, _) => Json::from(values.clone()).to_string(),
                (true, "trusted_proxies") => r#"["10.0.0.0/8"]"#.to_owned(),
                (true, _) => r#"["example.com"]"#.to_owned(),
            };
            format!("a list such as {}", quoted(&form))
        }
        Some(Json::Bool(_)) => "true or false".to_owned(),
        Some(Json::Number(_)) => match kind {
            Kind::InvalidType(_, form) | Kind::InvalidValue(_, form) => whole_number(form),
            _ => whole_number(""),
        },
        Some(Json::Object(_)) => format!("a section, [{name}]"),
        _ if is_variable => format!("text, in two pairs of quotes if it could be a number: {}", quoted("\"…\"")),
        _ => "text in quotes".to_owned(),
    }
}

/// Lists the words of which a setting is one.
fn one_of(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// Describes the whole numbers of a type.
fn whole_number(kind: &str) -> String {
    match kind {
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => "a whole number, not negative".to_owned(),
        _ => "a whole number".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::setting_names;
    use super::*;
    use figment::providers::{Format, Toml};
    use std::collections::BTreeSet;

    fn read_file(text: &str) -> (Config, Vec<String>) {
        let file = ConfigFile::of("bursar.toml", text);
        match file.settings() {
            Ok(text) => {
                read(&Figment::from(Serialized::defaults(Config::default())).merge(Toml::string(text)), Some(&file))
            }
            Err(problem) => (Config::default(), vec![problem]),
        }
    }

    #[test]
    fn every_wrong_type_and_unknown_field_of_a_file_gets_a_message_of_its_own() {
        let file = "colour = 1\nlisten = 8080\n\
                    [amqp]\nshards = 'many'\nprefetchh = 1\nprefix = 'good'\n\
                    [http]\ntimeout_ms = -1\n\
                    [strype]\ntimeout_ms = 1\nwait_ms = 1\n";
        let (_, problems) = read_file(file);
        assert_eq!(problems.len(), 6, "{problems:#?}");
        for name in ["colour", "listen", "amqp.shards", "prefetchh", "http.timeout_ms", "strype"] {
            assert!(problems.iter().any(|problem| problem.contains(name)), "{name}: {problems:#?}");
        }
    }

    #[test]
    fn a_wrong_type_hides_no_senseless_value_and_makes_none_up() {
        let file = "[http]\nconnections_max = 'many'\nrequests_max = 5000\n\
                    [amqp]\nprefetch = 0\n\
                    [jobs]\nretention_days = 1\n";
        let (config, problems) = read_file(file);
        assert_eq!(config.http.requests_max, 5_000);
        assert_eq!(problems.len(), 3, "{problems:#?}");
        for name in ["http.connections_max", "amqp.prefetch", "jobs.retention_days"] {
            assert!(problems.iter().any(|problem| problem.contains(name)), "{name}: {problems:#?}");
        }
    }

    #[test]
    fn a_wrong_type_is_placed_and_described_and_its_value_is_not_shown() {
        let said = |text: &str| {
            let (_, problems) = read_file(text);
            assert!(problems.len() == 1 && !problems[0].contains("12345"), "{problems:#?}");
            problems.concat()
        };
        assert_eq!(
            said("admin_token = 123456789012345678\n"),
            "bursar.toml, line 1, column 15: admin_token must be text in quotes"
        );
        assert_eq!(
            said("[jobs]\nworkers_max = '12345'\n"),
            "bursar.toml, line 2, column 15: jobs.workers_max must be a whole number, not negative"
        );
        assert_eq!(
            said("[http]\ntrusted_proxies = '12345'\n"),
            r#"bursar.toml, line 2, column 19: http.trusted_proxies must be a list such as ["10.0.0.0/8"]"#
        );
        assert!(said("mail = 12345\n").ends_with("mail must be a section, [mail]"));
        assert!(said("[stripe]\nsandbox = 12345\n").ends_with("stripe.sandbox must be true or false"));
        assert!(said("[stripe]\nsecret_key = 12345\n").ends_with("stripe.secret_key must be text in quotes"));
        assert!(said("[onboarding]\nconfirmation = '12345'\n").ends_with("confirmation must be auto, required or off"));
        assert!(said("catalogue_file = 12345\n").ends_with("catalogue_file must be text in quotes"));
        assert!(said("[amqp]\ntiers_ms = ['12345']\n").contains("amqp.tiers_ms must be a list such as [5000,"));
        assert!(said("[strype]\na = 12345\n").ends_with("line 1, column 1: strype is not a setting"));
    }

    #[test]
    fn a_setting_that_has_moved_is_said_to_be_in_the_catalogue() {
        let (_, problems) = read_file("[stripe]\npro_lookup_key = 'p'\n\n[credits]\nwarn_at = -1\npro_period = 100\n");
        assert_eq!(
            problems,
            [
                "bursar.toml, line 6, column 14: credits.pro_period has moved to the catalogue: credits under \
                 [prices.pro_monthly] (see docs/catalogue.md)",
                "bursar.toml, line 2, column 18: stripe.pro_lookup_key has moved to the catalogue: lookup_key under \
                 [prices.pro_monthly] (see docs/catalogue.md)",
                "credits.warn_at must be from 0 to 1000000",
            ]
        );
    }

    #[test]
    fn the_problems_of_the_catalogue_join_the_others() {
        let (config, problems) = read_file("catalogue_file = 'no/such.toml'\nlisten = 'nowhere'\n");
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[1].starts_with("the catalogue no/such.toml cannot be read: "), "{problems:?}");
        assert_eq!(config.catalogue_path.as_deref(), Some(std::path::Path::new("no/such.toml")));
    }

    #[test]
    fn an_unreadable_setting_hides_no_problem_of_another_with_a_similar_name() {
        let (_, problems) = read_file("[http]\ntimeout_ms = 'x'\nbody_timeout_ms = 1\n[jobs]\ntimeout_ms = 1\n");
        let names = |key: &str| problems.iter().any(|problem| problem.contains(key));
        assert!(names("http.timeout_ms") && names("http.body_timeout_ms") && names("jobs.timeout_ms"), "{problems:#?}");
        assert!(concerns("http.idle_timeout_ms must be greater than timeout_ms, so that", "http.timeout_ms"));
        assert!(!concerns("jobs.timeout_ms must be at least 1000", "http.timeout_ms"));
    }

    #[test]
    fn a_file_that_is_no_toml_is_one_problem() {
        let (_, problems) = read_file("[http\n");
        assert_eq!(problems.len(), 1, "{problems:#?}");
    }

    #[test]
    fn what_a_file_says_is_taken_over_the_defaults() {
        let (config, problems) = read_file("[amqp]\nshards = 7\n");
        assert_eq!((config.amqp.shards, config.amqp.prefetch, problems), (7, 128, Vec::new()));
    }

    #[test]
    fn the_example_shows_every_setting_with_its_default() {
        const EXAMPLE: &str = include_str!("../../../bursar.example.toml");
        let is_setting = |line: &str| {
            let name = line.split_once(" = ").map(|(name, _)| name);
            let is_of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            name.is_some_and(|name| name.bytes().all(is_of_name))
        };
        let mut shown = BTreeSet::new();
        let mut section = String::new();
        let mut file = String::new();
        for line in EXAMPLE.lines() {
            let line = line.strip_prefix('#').filter(|line| is_setting(line)).unwrap_or(line);
            let name = line.split_once(" = ").map_or(line, |(name, _)| name);
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']).to_owned() + ".";
            } else if is_setting(line) {
                assert!(shown.insert(format!("{section}{name}")), "{line}");
            }
            file += line;
            file += "\n";
        }
        let (config, problems) = read_file(&file);
        assert_eq!((format!("{config:?}"), problems), (format!("{:?}", Config::default()), Vec::new()));
        assert_eq!(config.secret_values(), Vec::<String>::new());
        for field in setting_names() {
            assert!(shown.contains(field), "{field} is missing");
        }
    }
}
