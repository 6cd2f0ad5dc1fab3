//! A temporary directory that is removed with its owner.

use crate::Error;
use crate::error::make_dir;
use crate::guard::Guard;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};

/// A new directory under the system's temporary one, removed when this is dropped or its owner dies. Other users may
/// traverse but not list it: as root, Postgres runs under another account and must reach its directory inside.
#[derive(Debug)]
pub struct ScratchDir {
    path: PathBuf,
    /// Held because dropping it dismisses the guard.
    _guard: Guard,
}

impl ScratchDir {
    /// Creates the directory; `label` is part of its name.
    ///
    /// # Errors
    /// When the directory or its guard cannot be created.
    pub fn new(label: &str) -> Result<ScratchDir, Error> {
        let unique = RandomState::new().hash_one(label);
        let name = format!("bursar-{label}-{}-{unique:016x}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // This call, unlike the next one, fails if the name is taken.
        std::fs::create_dir(&path).map_err(Error::io(format!("cannot create {}", path.display())))?;
        let path = make_dir(&path, 0o711)?;
        let guard = Guard::directory(&path)?;
        Ok(ScratchDir { path, _guard: guard })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // Leftovers in a temporary directory are no error.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
