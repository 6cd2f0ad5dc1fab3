//! A directory that is gone when its owner is.

use crate::Error;
use crate::error::make_dir;
use crate::guard::Guard;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};

/// A fresh directory under the system's temporary one, removed when dropped and also
/// when the owner dies. Other users may pass through it, not list it: as root, Postgres
/// runs under an account of its own and has to reach its directory inside.
#[derive(Debug)]
pub struct ScratchDir {
    path: PathBuf,
    /// Held for what its end does.
    _guard: Guard,
}

impl ScratchDir {
    /// Creates the directory; `label` becomes a part of its name.
    ///
    /// # Errors
    /// When the directory or its guard cannot be made.
    pub fn new(label: &str) -> Result<ScratchDir, Error> {
        let unique = RandomState::new().hash_one(label);
        let name = format!("bursar-{label}-{}-{unique:016x}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // This call, unlike the next, fails when the name is taken.
        std::fs::create_dir(&path).map_err(Error::io(format!("cannot create {}", path.display())))?;
        let path = make_dir(&path, 0o711)?;
        let guard = Guard::directory(&path)?;
        Ok(ScratchDir { path, _guard: guard })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // What is left behind in a temporary directory is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
