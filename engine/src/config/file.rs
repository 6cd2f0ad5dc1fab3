//! The configuration file, and the places of mistakes in it.
//!
//! A message about the file never quotes it: a mistake may be beside a secret, or inside one.

use super::environment::OWN_NAMES;
use super::{Config, split_path};
use figment::providers::{Format, Toml};
use figment::value::Dict;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The file that is read if none is given.
const NAME_DEFAULT: &str = "bursar.toml";

/// A configuration file that was read.
pub(super) struct ConfigFile {
    folder: PathBuf,
    name: String,
    text: String,
}

impl ConfigFile {
    /// Reads the given file, or else `bursar.toml` in the current folder, if there is one. A file above it is another
    /// project's.
    pub(super) fn read(given: Option<&Path>) -> Result<Option<Self>, String> {
        let Some(path) = given.map(Path::to_path_buf).or_else(|| find(Path::new(""))) else { return Ok(None) };
        let name = path.display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Self { folder: folder_of(&path), name, text })),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(format!("there is no configuration file {name}")),
            Err(error) => Err(format!("the configuration file {name} cannot be read: {error}")),
        }
    }

    /// A file with this text.
    #[cfg(test)]
    pub(super) fn of(name: &str, text: &str) -> Self {
        Self { folder: folder_of(Path::new(name)), name: name.to_owned(), text: text.to_owned() }
    }

    /// The folder that it is in; empty for the current one.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its text, which must be TOML.
    pub(super) fn settings(&self) -> Result<&str, String> {
        let Err(error) = <Toml as Format>::from_str::<Dict>(&self.text) else { return Ok(&self.text) };
        // An error at the end of the file belongs to its last line.
        let end = self.text.trim_end().len();
        let start = error.span().map_or(0, |span| span.start.min(end));
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        let place = self.place(before.matches('\n').count() + 1, before[line_start..].chars().count() + 1);
        let section = before[..line_start].lines().rev().find_map(section_of);
        let key = line.split_once('=').map(|(name, _)| join(section, name.trim())).filter(|key| is_setting(key));
        Err(match key {
            Some(key) if error.message().starts_with("duplicate key") => format!("{place}: {key} is given twice"),
            Some(key) => {
                format!("{place}: the value of {key} cannot be read: put text in quotes, and nothing else")
            }
            None => format!("{place}: expected a [section], or a setting such as listen = \"127.0.0.1:8080\""),
        })
    }

    /// The place of a setting, or of a section.
    pub(super) fn place_of(&self, key: &str) -> String {
        let mut section = None;
        for (index, line) in self.text.lines().enumerate() {
            if let Some(name) = section_of(line) {
                section = Some(name);
                if name == key {
                    return self.place(index + 1, 1);
                }
            } else if let Some((name, value)) = line.split_once('=')
                && join(section, name.trim()) == key
            {
                let column = name.chars().count() + value.chars().take_while(|c| c.is_whitespace()).count() + 2;
                return self.place(index + 1, column);
            }
        }
        self.name.clone()
    }

    fn place(&self, line: usize, column: usize) -> String {
        format!("{}, line {line}, column {column}", self.name)
    }
}

fn find(folder: &Path) -> Option<PathBuf> {
    let path = folder.join(NAME_DEFAULT);
    path.is_file().then_some(path)
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_path_buf()
}

/// The name in the header of a section.
fn section_of(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix('[')?.split_once(']').map(|(name, _)| name.trim())
}

fn join(section: Option<&str>, name: &str) -> String {
    section.map_or_else(|| name.to_owned(), |section| format!("{section}.{name}"))
}

/// Whether a key is one of a setting. Other texts are not shown.
fn is_setting(key: &str) -> bool {
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let (section, name) = split_path(key);
    let fields = section.map_or(Some(&defaults), |section| defaults.get(section));
    OWN_NAMES.iter().any(|(_, field)| *field == key) || fields.is_some_and(|fields| fields.get(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        let file = ConfigFile::of("bursar.toml", text);
        file.settings().map(str::to_owned).expect_err("it is not TOML")
    }

    #[test]
    fn a_mistake_beside_a_secret_is_placed_and_never_quoted() {
        for (text, place) in [
            ("admin_token = 'aZ7kSECRET\n", "line 1, column "),
            ("listen = '127.0.0.1:8080'\nsecret_key = aZ7kSECRET\n", "line 2, column "),
            ("database_url = postgres://bursar:aZ7kSECRET@localhost/bursar\n", "line 1, column "),
            ("admin_token = 'aZ7kSECRET'\nadmin_token = 'aZ7kSECRET'\n", "line 2, column "),
            ("[stripe]\nsecret_key = 'sk_live_aZ7kSECRET\" # mine\n", "line 2, column "),
            ("admin_token =\naZ7kSECRET\n", "bursar.toml, line "),
            ("admin_token = '''aZ7kSECRET\n", "bursar.toml, line "),
        ] {
            let problem = problem(text);
            assert!(problem.starts_with("bursar.toml, ") && problem.contains(place), "{problem}");
            assert!(!problem.contains("aZ7k") && problem.lines().count() == 1, "{problem}");
        }
        assert!(problem("[stripe]\nsecret_key = sk_test_x\n").contains("stripe.secret_key cannot be read"));
        assert!(problem("admin_token = 'a'\nadmin_token = 'b'\n").ends_with("admin_token is given twice"));
        assert!(problem("[http\n").contains("expected a [section]"));
    }

    #[test]
    fn a_file_is_found_in_its_folder_and_not_above() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("below");
        std::fs::create_dir(&below).expect("made");
        std::fs::write(folder.path().join(NAME_DEFAULT), "").expect("written");
        assert_eq!(find(folder.path()), Some(folder.path().join(NAME_DEFAULT)));
        assert_eq!(find(&below), None);
    }

    #[test]
    fn a_setting_is_placed_by_line_and_column() {
        let file = ConfigFile::of("f.toml", "listen = 1\n\n[jobs] # ours\nworkers_max = 'many'\n");
        assert_eq!(file.place_of("listen"), "f.toml, line 1, column 10");
        assert_eq!(file.place_of("jobs.workers_max"), "f.toml, line 4, column 15");
        assert_eq!(file.place_of("jobs"), "f.toml, line 3, column 1");
        assert_eq!(file.place_of("jobs.lease_ms"), "f.toml");
    }
}
