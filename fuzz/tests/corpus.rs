//! The files of the corpus, without the fuzzer: what it found once stays found.

use bursar_fuzz::TARGETS;
use std::fs;
use std::path::{Path, PathBuf};

/// The largest file. What shows a mistake is rarely longer, and what is shorter is mutated faster.
const FILE_MAX_BYTES: usize = 4 * 1_024;

/// The folder of each target, sorted.
fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut folders: Vec<PathBuf> =
        fs::read_dir(&root).expect("the corpus").map(|entry| entry.expect("a folder").path()).collect();
    folders.sort();
    folders
}

/// The files of a target, by name.
fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files.iter().map(|path| (path.display().to_string(), fs::read(path).expect("a file"))).collect()
}

#[test]
fn every_folder_of_the_corpus_belongs_to_a_target() {
    let names: Vec<String> =
        folders().iter().map(|path| path.file_name().expect("a name").display().to_string()).collect();
    let mut targets = TARGETS.map(|(name, _)| name);
    targets.sort_unstable();
    assert_eq!(names, targets);
}

#[test]
fn every_file_of_the_corpus_is_small() {
    for (name, data) in TARGETS.iter().flat_map(|(target, _)| files(target)) {
        assert!(data.len() <= FILE_MAX_BYTES, "{name} has {} bytes, more than {FILE_MAX_BYTES}", data.len());
    }
}

#[test]
fn every_file_of_the_corpus_keeps_the_claims_and_each_target_accepts_some_and_refuses_others() {
    for (target, run) in TARGETS {
        let (mut accepted, mut refused) = (0, 0);
        for (name, data) in files(target) {
            println!("{name}");
            *(if run(&data) { &mut accepted } else { &mut refused }) += 1;
        }
        assert!(accepted >= 3 && refused >= 1, "{target}: {accepted} accepted, {refused} refused");
    }
}
