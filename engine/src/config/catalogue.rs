//! Settings: the file of the catalogue.

use super::Config;
use crate::domain::catalogue::read::{Problem, read_with_warnings};
use crate::domain::catalogue::{Catalogue, SharedCatalogue};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file that is read if none is given.
const NAME_DEFAULT: &str = "bursar.catalogue.toml";

/// Reads the file of a catalogue, with what deserves a warning.
///
/// # Errors
/// Every problem, with the name of the file and the line, as warnings have them.
pub fn read_catalogue(path: &Path) -> Result<(Catalogue, Vec<String>), Vec<String>> {
    let name = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| vec![format!("the catalogue {name} cannot be read: {error}")])?;
    let in_file = |problems: Vec<Problem>| -> Vec<String> {
        let place = |line: Option<usize>| line.map_or(String::new(), |line| format!(", line {line}"));
        problems.iter().map(|problem| format!("{name}{}: {}", place(problem.line), problem.message)).collect()
    };
    match read_with_warnings(&text) {
        Ok(reading) => Ok((reading.catalogue, in_file(reading.warnings))),
        Err(problems) => Err(in_file(problems)),
    }
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
