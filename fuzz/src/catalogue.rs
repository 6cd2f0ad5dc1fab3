//! The catalogue's file. The input is TOML.

use bursar_engine::domain::catalogue::check::check;
use bursar_engine::domain::catalogue::difference::differences;
use bursar_engine::domain::catalogue::read::{Problem, read, read_version, read_with_warnings};
use bursar_engine::domain::catalogue::refusal::refusals;
use bursar_engine::domain::catalogue::write::write;
use bursar_engine::domain::catalogue::{Catalogue, InUse, Refusal};

/// Checks the claims. Returns whether the catalogue could be applied.
pub fn run(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let version = read_version(text);
    let reading = read_with_warnings(text);
    for problems in [version.as_ref().err(), reading.as_ref().err()].into_iter().flatten() {
        assert!(!problems.is_empty(), "what is refused has a reason");
        check_problems(text, problems);
    }
    if let Ok(catalogue) = &version {
        check_version(catalogue);
    }
    let Ok(reading) = reading else { return false };
    check_problems(text, &reading.warnings);
    let catalogue = reading.catalogue;
    assert_eq!(version.as_ref(), Ok(&catalogue), "what can be applied can be in force");
    assert_eq!(read(&write(&catalogue)).as_ref(), Ok(&catalogue), "it reads back from its own file");
    true
}

fn check_problems(text: &str, problems: &[Problem]) {
    let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    for problem in problems {
        assert!(!problem.message.is_empty());
        assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem} of {lines} lines");
        assert!(!problem.message.contains('\n'), "a problem has one line: {problem}");
    }
}

/// A catalogue that may be in force, beside itself and beside the one that is built in.
fn check_version(catalogue: &Catalogue) {
    assert!(check(catalogue).is_empty());
    assert_eq!(read_version(&write(catalogue)).as_ref(), Ok(catalogue), "it reads back from its own file");
    assert!(catalogue.plan(&catalogue.entry).is_some(), "new customers have a plan");
    assert!(differences(catalogue, catalogue).is_empty(), "a catalogue changes nothing in itself");
    let built_in = Catalogue::built_in();
    let changes = differences(&built_in, catalogue);
    assert_eq!(changes.is_empty(), sorted(&built_in) == sorted(catalogue), "{changes:?}");
    assert!(changes.iter().all(|change| !change.to_string().is_empty()));
    let refused = refusals(&built_in, catalogue, &InUse::default());
    let is_of_name = |refusal: &Refusal| refusal.message.contains(" cannot be moved to ");
    assert!(refused.iter().all(is_of_name), "what nobody has may change, but for names at Stripe: {refused:?}");
}

/// The order of prices and packs means nothing.
fn sorted(catalogue: &Catalogue) -> Catalogue {
    let mut catalogue = catalogue.clone();
    catalogue.prices.sort_by(|one, other| one.key.cmp(&other.key));
    catalogue.packs.sort_by(|one, other| one.key.cmp(&other.key));
    catalogue
}
