//! Reads the settings and collects every mistake in them.

use super::Config;
use crate::error::Error;
use figment::providers::Serialized;
use figment::value::{Dict, Tag, Value};
use figment::{Figment, Provider};

/// One given setting, with its section.
struct Field {
    name: String,
    tag: Tag,
    dict: Dict,
}

/// Reads and checks the settings; returns them with all problems. An unreadable field takes its default, and checks
/// of that default are not reported.
pub(super) fn read(figment: &Figment) -> (Config, Vec<String>) {
    let first = match figment.extract() {
        Ok(config) => {
            let problems = problems_of(&config);
            return (config, problems);
        }
        Err(error) => error,
    };
    // Extraction stops at the first mistake. As every field has a default, each can be read by itself.
    let (mut sound, mut problems, mut unread) = (Figment::new(), Vec::new(), Vec::new());
    for field in fields(figment) {
        match problem_of(figment, &field) {
            None => sound = sound.merge(Serialized::defaults(field.dict)),
            Some(problem) => {
                problems.push(problem);
                unread.push(field.name);
            }
        }
    }
    // An unknown section is one mistake, however many fields it has.
    problems.dedup();
    if problems.is_empty() {
        problems.push(first.to_string());
    }
    let config: Config = sound.extract().unwrap_or_default();
    let was_read = |problem: &String| !unread.iter().any(|name| problem.contains(name));
    problems.extend(problems_of(&config).into_iter().filter(was_read));
    (config, problems)
}

fn problems_of(config: &Config) -> Vec<String> {
    match config.check() {
        Ok(()) => Vec::new(),
        Err(Error::Config(problems)) => problems,
        Err(error) => vec![error.to_string()],
    }
}

fn fields(figment: &Figment) -> Vec<Field> {
    let mut fields = Vec::new();
    for (name, value) in figment.data().unwrap_or_default().into_values().flatten() {
        match value {
            Value::Dict(of_section, section) => fields.extend(section.into_iter().map(|(field, value)| {
                let tag = value.tag();
                let section = Value::Dict(of_section, Dict::from([(field.clone(), value)]));
                Field { name: field, tag, dict: Dict::from([(name.clone(), section)]) }
            })),
            value => fields.push(Field { name: name.clone(), tag: value.tag(), dict: Dict::from([(name, value)]) }),
        }
    }
    fields
}

/// Why a field cannot be read.
fn problem_of(figment: &Figment, field: &Field) -> Option<String> {
    let mut error = Value::Dict(field.tag, field.dict.clone()).deserialize::<Config>().err()?;
    error.profile = Some(figment.profile().clone());
    error.metadata = figment.get_metadata(field.tag).cloned();
    Some(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use figment::providers::{Format, Toml};
    use std::collections::BTreeSet;

    /// Settings in the example that have no default.
    const WITHOUT_DEFAULT: [&str; 1] = ["pro_price_id"];

    fn read_file(text: &str) -> (Config, Vec<String>) {
        read(&Figment::from(Serialized::defaults(Config::default())).merge(Toml::string(text)))
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
            name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
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
            if !WITHOUT_DEFAULT.contains(&name) {
                file += line;
                file += "\n";
            }
        }
        let (config, problems) = read_file(&file);
        assert_eq!((format!("{config:?}"), problems), (format!("{:?}", Config::default()), Vec::new()));
        let defaults = serde_json::to_value(Config::default()).expect("settings are JSON");
        for (name, value) in defaults.as_object().into_iter().flatten() {
            let fields: Vec<String> = match value.as_object() {
                Some(fields) => fields.keys().map(|field| format!("{name}.{field}")).collect(),
                None => vec![name.clone()],
            };
            for field in fields {
                assert!(shown.contains(&field), "{field} is missing");
            }
        }
    }
}
