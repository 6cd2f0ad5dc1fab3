//! The engine's layout: arrows run down (`usecase → infra → domain → ground`), and no two files import each other
//! unless one is the other's folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The wings, from the ground up; what is in none of them is the ground.
const WINGS: [&str; 3] = ["domain", "infra", "usecase"];

/// A noun of the domain that stands on the ground: it imports nothing else of the domain, and the settings hold it.
const ON_THE_GROUND: [&str; 2] = ["domain", "catalogue"];

/// The place of a module below the crate's root: `domain/mail/render.rs` is `["domain", "mail", "render"]`.
type Module = Vec<String>;

/// Every arrow that runs up, and every pair of files that import each other, as sentences. `files` are paths below
/// `src` with their text.
fn problems(files: &[(String, String)]) -> Vec<String> {
    let tests: BTreeSet<Module> = files.iter().flat_map(|(path, text)| test_modules(&module_of(path), text)).collect();
    let is_test = |module: &Module| (1..=module.len()).any(|len| tests.contains(&module[..len]));
    let modules: BTreeSet<Module> =
        files.iter().map(|(path, _)| module_of(path)).filter(|module| !is_test(module)).collect();
    let arrows: BTreeSet<(Module, Module)> = files
        .iter()
        .map(|(path, text)| (module_of(path), text))
        .filter(|(module, _)| modules.contains(module))
        .flat_map(|(module, text)| imports(&module, text, &modules).into_iter().map(move |to| (module.clone(), to)))
        .collect();
    let up = arrows.iter().filter(|(from, to)| floor(from) < floor(to));
    let circles = arrows.iter().filter(|(from, to)| {
        from < to && !to.starts_with(from) && !from.starts_with(to) && arrows.contains(&(to.clone(), from.clone()))
    });
    let up = up.map(|(from, to)| format!("{} imports {}, which is above it", from.join("/"), to.join("/")));
    let circles = circles.map(|(one, other)| format!("{} and {} import each other", one.join("/"), other.join("/")));
    up.chain(circles).collect()
}

/// The floor that a module is on; 0 is the ground.
fn floor(module: &Module) -> usize {
    if module.len() >= 2 && module[..2] == ON_THE_GROUND {
        return 0;
    }
    module.first().and_then(|wing| WINGS.iter().position(|known| known == wing)).map_or(0, |at| at + 1)
}

fn module_of(path: &str) -> Module {
    let path = path.trim_end_matches(".rs");
    path.split('/').filter(|part| *part != "lib").map(str::to_owned).collect()
}

/// The modules that a file declares for its tests.
fn test_modules(module: &Module, text: &str) -> Vec<Module> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]");
    let names = declared.filter_map(|pair| pair[1].trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
    names.map(|name| module.iter().cloned().chain([name.to_owned()]).collect()).collect()
}

/// The files that a file's code names by a path from `crate` or `super`, its tests left out.
fn imports(module: &Module, text: &str, modules: &BTreeSet<Module>) -> BTreeSet<Module> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: String = code.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect();
    let mut found = BTreeSet::new();
    for root in ["crate", "super"] {
        for (at, _) in code.match_indices(&format!("{root}::")) {
            let before = &code[..at];
            let is_part = before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | ':'));
            // A visibility imports nothing.
            if is_part || before.ends_with("in ") {
                continue;
            }
            let mut paths = Vec::new();
            tree(&mut code[at..].chars().peekable(), &[], &mut paths);
            found.extend(paths.iter().filter_map(|path| file_of(module, path, modules)));
        }
    }
    found.remove(module);
    found
}

/// Reads a path, or a tree of them in braces, into `paths`.
fn tree(text: &mut std::iter::Peekable<std::str::Chars<'_>>, before: &[String], paths: &mut Vec<Module>) {
    let mut path = before.to_vec();
    loop {
        while text.next_if(|c| c.is_whitespace()).is_some() {}
        if text.next_if_eq(&'{').is_some() {
            loop {
                tree(text, &path, paths);
                // What is left of an item is `as` and a name.
                while text.next_if(|c| !matches!(c, ',' | '}')).is_some() {}
                if text.next() != Some(',') {
                    return;
                }
            }
        }
        let mut name = String::new();
        while let Some(c) = text.next_if(|c| c.is_alphanumeric() || *c == '_') {
            name.push(c);
        }
        if !name.is_empty() && name != "self" {
            path.push(name);
        }
        if text.next_if_eq(&':').is_none() || text.next_if_eq(&':').is_none() {
            paths.push(path);
            return;
        }
    }
}

/// The file that a path leads into.
fn file_of(module: &Module, path: &[String], modules: &BTreeSet<Module>) -> Option<Module> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let mut full = if ups > 0 { module[..module.len().checked_sub(ups)?].to_vec() } else { Module::new() };
    full.extend(path.iter().skip(ups.max(1)).cloned());
    (1..=full.len()).rev().map(|len| full[..len].to_vec()).find(|prefix| modules.contains(prefix))
}

fn read(folder: &Path, below: &str, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            read(&entry.path(), &format!("{name}/"), files);
        } else if name.ends_with(".rs") {
            files.push((name, fs::read_to_string(entry.path()).expect("a source file")));
        }
    }
}

#[test]
fn arrows_run_down_and_no_two_files_import_each_other() {
    let mut files = Vec::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut files);
    assert!(files.len() > 100, "the sources are not where they were");
    let problems = problems(&files);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn problems_of(files: &[(&str, &str)]) -> Vec<String> {
    let owned: Vec<_> = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    problems(&owned)
}

#[test]
fn a_planted_arrow_that_runs_up_is_found() {
    let store = ("infra/store.rs", "");
    for text in [
        "use crate::infra::store::Db;",
        "use crate::{clock, infra::{self, store}};",
        "fn f() { crate::infra::store::go(); }",
    ] {
        let found = problems_of(&[("domain/job.rs", text), store]);
        assert_eq!(found, ["domain/job imports infra/store, which is above it"], "{text}");
    }
    let found = problems_of(&[("error.rs", "use crate::domain::job::Job;"), ("domain/job.rs", "")]);
    assert_eq!(found, ["error imports domain/job, which is above it"]);
}

#[test]
fn settings_may_import_the_catalogue_which_imports_the_ground_only() {
    let (config, key) = (("config.rs", "use crate::domain::catalogue::read::read;"), ("key.rs", ""));
    let read = ("domain/catalogue/read.rs", "use crate::key::PlanKey;");
    assert!(problems_of(&[config, key, read]).is_empty());
    let read = ("domain/catalogue/read.rs", "use crate::domain::customer::Customer;");
    let found = problems_of(&[config, read, ("domain/customer.rs", "")]);
    assert_eq!(found, ["domain/catalogue/read imports domain/customer, which is above it"]);
}

#[test]
fn a_planted_circle_is_found_unless_one_file_is_the_others_folder() {
    let one = ("domain/mail.rs", "use super::job::Job;\nuse crate::domain::effect;");
    let found = problems_of(&[one, ("domain/job.rs", "use crate::domain::{mail as post, effect::Effect};")]);
    assert_eq!(found, ["domain/job and domain/mail import each other"]);
    let parent = ("domain/mail.rs", "use crate::domain::mail::render::render;");
    assert!(problems_of(&[parent, ("domain/mail/render.rs", "use super::Mail;")]).is_empty());
}

#[test]
fn arrows_that_run_down_and_those_of_tests_are_none() {
    let down = ("usecase/intake.rs", "use crate::domain::job::Job;\npub(in crate::usecase::work) fn f() {}");
    let test = "// crate::usecase::intake\n#[cfg(test)]\nmod tests {\n    use crate::usecase::intake::take_in;\n}";
    let helper = ("domain/fixtures.rs", "use crate::usecase::intake::take_in;");
    let declared = ("domain.rs", "#[cfg(test)]\nmod fixtures;");
    assert!(problems_of(&[down, ("domain/job.rs", test), helper, declared]).is_empty());
}
