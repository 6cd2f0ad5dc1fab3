//! The list of metrics, compared with the documents and with the code that sets them.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The crates that set metrics, from the folder of this one.
const CRATES: [&str; 3] = ["src", "../actors/src", "../api/src"];
/// The macros that set them.
const MACROS: [(&str, Kind); 3] =
    [("counter!(", Kind::Counter), ("gauge!(", Kind::Gauge), ("histogram!(", Kind::Histogram)];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// A place that sets a metric: the constant, the kind, the labels.
struct Use {
    place: String,
    constant: String,
    kind: Kind,
    labels: Vec<String>,
}

/// Every use of the macros in the crates that set metrics.
fn uses() -> Vec<Use> {
    let mut files = Vec::new();
    for folder in CRATES {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files);
    }
    let mut uses = Vec::new();
    for file in files.iter().filter(|file| !file.ends_with("metric.rs") && !file.ends_with("metric/tests.rs")) {
        let text = std::fs::read_to_string(file).unwrap();
        for (start, kind) in MACROS {
            for (at, _) in text.match_indices(&format!("metrics::{start}")) {
                let arguments = text[at..].split_once('(').unwrap().1;
                let arguments = &arguments[..closing(arguments)];
                let (name, labels) = arguments.split_once(',').unwrap_or((arguments, ""));
                let labels = labels.split('"').skip(1).step_by(2).filter(|label| !label.is_empty());
                uses.push(Use {
                    place: format!("{}: {arguments}", file.display()),
                    constant: name.trim().rsplit("::").next().unwrap().to_owned(),
                    kind,
                    labels: labels.map(str::to_owned).collect(),
                });
            }
        }
    }
    uses
}

/// Where the parenthesis ends that began before this text.
fn closing(text: &str) -> usize {
    let mut depth = 1;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    panic!("a macro does not end: {text}")
}

/// The labels that a macro gives are followed by `=>`; other texts in it, such as a fixed value, are not.
#[test]
fn every_metric_that_is_set_is_listed_with_its_kind_and_labels() {
    for Use { place, constant, kind, labels } in uses() {
        let metric = METRICS.iter().find(|metric| metric.constant == constant);
        let metric = metric.unwrap_or_else(|| panic!("{place} names no constant of the list"));
        assert_eq!(kind, metric.kind, "{place}");
        let given: Vec<&str> =
            labels.iter().map(String::as_str).filter(|label| place.contains(&format!("\"{label}\" =>"))).collect();
        assert_eq!(given, metric.labels, "{place}");
    }
}

#[test]
fn every_listed_metric_is_set_somewhere() {
    let set: BTreeSet<String> = uses().into_iter().map(|found| found.constant).collect();
    let listed: BTreeSet<String> = METRICS.iter().map(|metric| metric.constant.to_owned()).collect();
    assert_eq!(set, listed);
}

#[test]
fn names_are_unique_and_tell_kind_and_unit() {
    let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len());
    for metric in METRICS {
        let name = metric.name;
        assert!(name.starts_with("bursar_") && !metric.unit.is_empty(), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
        assert_eq!(name.ends_with("_seconds"), metric.unit == "seconds", "{name}");
        assert!(!metric.help().is_empty() && !metric.help().ends_with('.') && !metric.help().contains("  "), "{name}");
        assert!(find(name).is_some_and(|found| found.constant == metric.constant), "{name}");
    }
}

#[test]
fn the_help_text_names_the_unit_and_says_what_is_shared() {
    let described = |name| find(name).unwrap().description();
    assert_eq!(described(JOB_WAIT_SECONDS), "from due to claimed (unit: seconds)");
    assert_eq!(described(STREAMS_PAUSED), "paused streams; the same on every node (unit: streams)");
}

#[test]
fn the_documents_table_is_this_one() {
    let document = include_str!("../../../docs/operations.md");
    assert!(document.contains(&to_markdown()), "docs/operations.md is to have this table:\n{}", to_markdown());
}
