//! The data folder: locks it for one process and restricts it to its owner.
//!
//! It holds API keys, tokens and customers' data. Each start removes the permissions that a umask, an older release or
//! a person has left to other users.

use anyhow::{Context, Result, bail};
use bursar_engine::config::Config;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Full access for the owner, none for others.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// The permission bits of the group and of all others.
const OTHERS: u32 = 0o077;

/// Bursar's files in the data folder, without the database.
const FILES: [&str; 6] = [
    "secrets.json",
    "secrets.json.new",
    "sandbox/sandbox.jsonl",
    "sandbox/sandbox.new",
    "sandbox/control-token",
    "sandbox/port",
];
/// Suffixes of `SQLite`'s files, after the name of the database.
const SQLITE_SUFFIXES: [&str; 4] = ["", "-wal", "-shm", "-journal"];
const LOCK: &str = "bursar.lock";

/// Creates a folder that only its owner can enter, or restricts an existing one.
///
/// # Errors
/// It cannot be created.
pub fn make_private(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
        made.with_context(|| format!("the folder {} cannot be created", folder.display()))?;
        // The umask does not apply here.
        set_mode(folder, FOLDER_MODE);
    }
    restrict(folder, FOLDER_MODE);
    Ok(())
}

/// Opens a file for writing that only its owner can read. Creates it if it is missing.
///
/// # Errors
/// It cannot be opened.
pub fn open_private(path: &Path, options: &mut OpenOptions) -> std::io::Result<File> {
    let is_new = !path.exists();
    let file = options.create(true).write(true).mode(FILE_MODE).open(path)?;
    if is_new {
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    }
    Ok(file)
}

/// Restricts the files of a `SQLite` database to their owner. `SQLite` would create a database that everybody can read,
/// so it is created here. Its other files get the same permissions.
///
/// # Errors
/// The database's file cannot be created.
pub fn prepare_sqlite(config: &Config) -> Result<()> {
    let Some(database) = config.sqlite_file() else { return Ok(()) };
    if !database.exists() {
        open_private(&database, File::options().truncate(false))
            .with_context(|| format!("the database {} cannot be created", database.display()))?;
    }
    for suffix in SQLITE_SUFFIXES {
        let mut file = database.clone().into_os_string();
        file.push(suffix);
        restrict(Path::new(&file), FILE_MODE);
    }
    Ok(())
}

/// Keeps other processes out of a `SQLite` database's folder until it is dropped. Holds nothing on Postgres.
pub struct FolderLock {
    _file: Option<File>,
}

/// Locks a `SQLite` database's folder and restricts the data folder to its owner.
///
/// # Errors
/// Another process holds the lock, or the folder cannot be used.
pub fn lock_folder(config: &Config) -> Result<FolderLock> {
    let Some(folder) = config.sqlite_folder() else {
        // Nothing is made there, but a demo or an earlier SQLite may have left secrets and customers' data.
        restrict_all(&config.data_dir);
        return Ok(FolderLock { _file: None });
    };
    make_private(&config.data_dir)?;
    restrict_all(&config.data_dir);
    // A database outside the data folder may be in a folder that others use, so that folder is not restricted.
    std::fs::create_dir_all(&folder).with_context(|| format!("the folder {} cannot be created", folder.display()))?;
    prepare_sqlite(config)?;
    let path = folder.join(LOCK);
    let file = open_private(&path, File::options().truncate(false))
        .with_context(|| format!("{} cannot be opened", path.display()))?;
    restrict(&path, FILE_MODE);
    match file.try_lock() {
        Ok(()) => Ok(FolderLock { _file: Some(file) }),
        Err(TryLockError::WouldBlock) => bail!(
            "another bursar process uses the folder {}. SQLite serves one process: stop the other one, choose another \
             folder with BURSAR_DATA_DIR, or use Postgres with DATABASE_URL",
            folder.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).context("the data folder cannot be locked"),
    }
}

/// Restricts the data folder, if there is one, and what Bursar keeps in it.
fn restrict_all(folder: &Path) {
    restrict(folder, FOLDER_MODE);
    restrict(&folder.join("sandbox"), FOLDER_MODE);
    FILES.iter().for_each(|file| restrict(&folder.join(file), FILE_MODE));
}

/// What other users may open of the data folder: the folder and Bursar's files in it, with their permissions.
pub fn find_open_to_others(config: &Config) -> Vec<(PathBuf, u32)> {
    let folder = &config.data_dir;
    let database = config.sqlite_file().into_iter().flat_map(|file| {
        SQLITE_SUFFIXES.map(|suffix| {
            let mut name = file.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        })
    });
    let kept = FILES.iter().map(|file| folder.join(file)).chain([folder.clone(), folder.join("sandbox")]);
    let modes = kept.chain(database).filter_map(|path| {
        let mode = std::fs::metadata(&path).ok()?.permissions().mode() & 0o7777;
        (mode & OTHERS != 0).then_some((path, mode))
    });
    modes.collect()
}

/// Removes the permissions of everybody but the owner, and logs it.
fn restrict(path: &Path, mode: u32) {
    let found = match std::fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode(),
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), error = %error, "the permissions cannot be read");
            }
            return;
        }
    };
    if found & OTHERS != 0 && set_mode(path, mode) {
        let was = format!("{:04o}", found & 0o7777);
        tracing::warn!(path = %path.display(), was, "other users could open this; their permissions were removed");
    }
}

/// Sets the permissions. A failure is only logged, so that file systems without permissions can be used.
fn set_mode(path: &Path, mode: u32) -> bool {
    match std::fs::set_permissions(path, Permissions::from_mode(mode)) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(path = %path.display(), error = %error, "the permissions cannot be set: others can open this");
            false
        }
    }
}
