//! The data folder: one process at a time, and nobody but its owner may look inside.
//!
//! It holds API keys, tokens and customers' data. What a umask, an older release or a person left wider
//! is narrowed at each start.

use anyhow::{Context, Result, bail};
use bursar_engine::config::Config;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The owner may list and enter a folder, and read and write a file; nobody else may do anything.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// What the group and all others may do.
const OTHERS: u32 = 0o077;

/// Files of ours in the data folder, besides the database's.
const FILES: [&str; 4] = ["secrets.json", "secrets.json.new", "sandbox/sandbox.jsonl", "sandbox/sandbox.new"];
/// What `SQLite` calls its files, behind the name of the database.
const SQLITE_FILES: [&str; 4] = ["", "-wal", "-shm", "-journal"];
const LOCK: &str = "bursar.lock";

/// Makes a folder that only its owner can enter, or narrows the one that is there.
///
/// # Errors
/// It cannot be made.
pub fn make_private(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
        made.with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        // Whatever the umask is.
        set_mode(folder, FOLDER_MODE);
    }
    narrow(folder, FOLDER_MODE);
    Ok(())
}

/// Opens a file for writing that only its owner can read, making it if it is not there.
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

/// Makes sure that only their owner can read the files of a `SQLite` database. Its own code makes files that
/// everybody can read, but gives the others the permissions of the first, which is made here.
///
/// # Errors
/// The database's file cannot be made.
pub fn prepare_sqlite(config: &Config) -> Result<()> {
    let Some(database) = config.sqlite_file() else { return Ok(()) };
    if !database.exists() {
        open_private(&database, File::options().truncate(false))
            .with_context(|| format!("the database {} cannot be made", database.display()))?;
    }
    for behind in SQLITE_FILES {
        let mut file = database.clone().into_os_string();
        file.push(behind);
        narrow(Path::new(&file), FILE_MODE);
    }
    Ok(())
}

/// Keeps a second process out of the folder of a `SQLite` database, for as long as it lives. Of Postgres
/// there is nothing to lock.
pub struct FolderLock {
    _file: Option<File>,
}

/// Takes the lock of a `SQLite` database's folder, and closes the folder to everybody but its owner.
///
/// # Errors
/// Another process has it, or the folder cannot be used.
pub fn lock_folder(config: &Config) -> Result<FolderLock> {
    let Some(folder) = config.sqlite_folder() else { return Ok(FolderLock { _file: None }) };
    make_private(&config.data_dir)?;
    narrow(&config.data_dir.join("sandbox"), FOLDER_MODE);
    FILES.iter().for_each(|file| narrow(&config.data_dir.join(file), FILE_MODE));
    // A database elsewhere may lie in a folder that others need: that folder stays as it is.
    std::fs::create_dir_all(&folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    prepare_sqlite(config)?;
    let path = folder.join(LOCK);
    let file = open_private(&path, File::options().truncate(false))
        .with_context(|| format!("{} cannot be opened", path.display()))?;
    narrow(&path, FILE_MODE);
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

/// Takes from everybody but the owner what they may do with it, and says so in the log.
fn narrow(path: &Path, mode: u32) {
    let found = match std::fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode(),
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), error = %error, "it cannot be seen who may read this");
            }
            return;
        }
    };
    if found & OTHERS != 0 && set_mode(path, mode) {
        let was = format!("{:04o}", found & 0o7777);
        tracing::warn!(path = %path.display(), was, "others than its owner could open this; they no longer can");
    }
}

/// A file system without permissions, or a volume of somebody else's, is no reason not to start.
fn set_mode(path: &Path, mode: u32) -> bool {
    match std::fs::set_permissions(path, Permissions::from_mode(mode)) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(path = %path.display(), error = %error, "others than its owner can open this");
            false
        }
    }
}
