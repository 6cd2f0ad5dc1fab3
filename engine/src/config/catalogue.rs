//! Settings: the file of the catalogue.

use super::Config;
use crate::domain::catalogue::read::{FILE_MAX_BYTES, Problem, read_with_warnings};
use crate::domain::catalogue::{Catalogue, SharedCatalogue};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file that is read if none is given.
const NAME_DEFAULT: &str = "bursar.catalogue.toml";
/// The path that stands for the standard input.
const STANDARD_INPUT: &str = "-";

/// Reads the file of a catalogue, with what deserves a warning.
///
/// # Errors
/// Every problem, with the name of the file and the line, as warnings have them.
pub fn read_catalogue(path: &Path) -> Result<(Catalogue, Vec<String>), Vec<String>> {
    let name = path.display();
    let text = read_catalogue_text(path).map_err(|problem| vec![problem])?;
    let in_file = |problems: Vec<Problem>| -> Vec<String> {
        let place = |line: Option<usize>| line.map_or(String::new(), |line| format!(", line {line}"));
        problems.iter().map(|problem| format!("{name}{}: {}", place(problem.line), problem.message)).collect()
    };
    match read_with_warnings(&text) {
        Ok(reading) => Ok((reading.catalogue, in_file(reading.warnings))),
        Err(problems) => Err(in_file(problems)),
    }
}

/// Reads the text of a catalogue: of a regular file, or of the standard input if the path is `-`. Never more than a
/// catalogue may have.
///
/// # Errors
/// Why it cannot be read, with the name of the file.
pub fn read_catalogue_text(path: &Path) -> Result<String, String> {
    let name = path.display();
    let failed = |why: String| format!("the catalogue {name} cannot be read: {why}");
    let read = if path == Path::new(STANDARD_INPUT) {
        read_bounded(std::io::stdin().lock())
    } else {
        // A device has no end, and a pipe may have no writer.
        if !std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.is_file() {
            return Err(failed("it is no regular file; for the standard input give -".to_owned()));
        }
        std::fs::File::open(path).and_then(read_bounded)
    };
    let bytes = read.map_err(|error| failed(error.to_string()))?;
    if bytes.len() > FILE_MAX_BYTES {
        return Err(failed(format!("it has more than {FILE_MAX_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8 text".to_owned()))
}

/// Reads at most one byte more than a catalogue may have.
fn read_bounded(input: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(FILE_MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Config {
    /// Takes the catalogue from its file, if there is one; returns every problem of it. `folder` is that of the
    /// configuration file.
    pub(super) fn load_catalogue(&mut self, folder: Option<&Path>) -> Vec<String> {
        self.catalogue_path = find(&self.catalogue_file, folder);
        match self.catalogue_path.as_deref().map(read_catalogue) {
            None => Vec::new(),
            Some(Err(problems)) => problems,
            Some(Ok((catalogue, _))) => {
                self.catalogue = SharedCatalogue::new(Arc::new(catalogue));
                Vec::new()
            }
        }
    }
}

/// The given file, else `bursar.catalogue.toml` in `folder`, else in the current folder; `None` if there is none.
fn find(given: &str, folder: Option<&Path>) -> Option<PathBuf> {
    if !given.is_empty() {
        return Some(PathBuf::from(given));
    }
    let folders = folder.into_iter().chain([Path::new("")]);
    folders.map(|folder| folder.join(NAME_DEFAULT)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::BUILT_IN;

    fn loaded(given: &str, folder: Option<&Path>) -> (Config, Vec<String>) {
        let mut config = Config { catalogue_file: given.to_owned(), ..Config::default() };
        let problems = config.load_catalogue(folder);
        (config, problems)
    }

    #[test]
    fn the_given_file_counts_else_the_one_beside_the_configuration_else_the_built_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let (beside, given) = (folder.path().join(NAME_DEFAULT), folder.path().join("given.toml"));
        let with_name = |name: &str| BUILT_IN.replace("name = \"Pro\"", &format!("name = \"{name}\""));
        let pro = |config: &Config| config.catalogue.now().plans.last().map(|plan| plan.name.clone());

        let (config, problems) = loaded("", Some(folder.path()));
        assert_eq!((config.catalogue_path.clone(), pro(&config), problems.len()), (None, Some("Pro".to_owned()), 0));
        std::fs::write(&beside, with_name("Beside")).expect("written");
        std::fs::write(&given, with_name("Given")).expect("written");
        let (config, _) = loaded("", Some(folder.path()));
        assert_eq!((config.catalogue_path.clone(), pro(&config)), (Some(beside), Some("Beside".to_owned())));
        let (config, _) = loaded(&given.display().to_string(), Some(folder.path()));
        assert_eq!((config.catalogue_path.clone(), pro(&config)), (Some(given), Some("Given".to_owned())));
    }

    #[test]
    fn what_has_no_end_or_is_no_text_is_refused_and_not_read_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = |path: &Path| read_catalogue_text(path).expect_err("it is no catalogue");
        assert!(refused(Path::new("/dev/zero")).contains("no regular file"));
        assert!(refused(folder.path()).contains("no regular file"));
        let file = folder.path().join("c.toml");
        std::fs::write(&file, vec![b'#'; FILE_MAX_BYTES + 1]).expect("written");
        assert!(refused(&file).ends_with("it has more than 262144 bytes"), "{}", refused(&file));
        std::fs::write(&file, [0xff, 0xfe]).expect("written");
        assert!(refused(&file).ends_with("it is not UTF-8 text"));
        assert_eq!(read_bounded(std::io::repeat(0)).map(|bytes| bytes.len()).ok(), Some(FILE_MAX_BYTES + 1));
        std::fs::write(&file, vec![b'#'; FILE_MAX_BYTES]).expect("written");
        assert_eq!(read_catalogue_text(&file).map(|text| text.len()), Ok(FILE_MAX_BYTES));
    }

    #[test]
    fn a_given_file_must_exist_and_its_problems_name_it_with_their_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("c.toml");
        let (_, problems) = loaded(&file.display().to_string(), None);
        assert!(problems.len() == 1 && problems[0].contains("c.toml cannot be read"), "{problems:?}");
        std::fs::write(&file, BUILT_IN.replace("usd = 1500", "usd = 1")).expect("written");
        let (config, problems) = loaded(&file.display().to_string(), None);
        assert!(problems.len() == 1, "{problems:?}");
        assert!(problems[0].contains("c.toml, line ") && problems[0].contains("unit_price.usd"), "{problems:?}");
        assert_eq!(config.catalogue.now(), Catalogue::built_in(), "nothing of it counts");
    }
}
