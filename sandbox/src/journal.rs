//! The journal file: one line of JSON for each call that changed something, flushed to disk before the answer. Only
//! its owner may read it. It does not contain webhook secrets from the options.

use crate::error::Error;
use crate::objects::webhook_endpoint::has_configured_secret;
use crate::store::{Batch, Entry, Store};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The file in the data folder.
const NAME: &str = "sandbox.jsonl";
/// A journal at least this long is compacted when it is much longer than its contents.
const COMPACT_MIN_BYTES: u64 = 64 * 1_024 * 1_024;
/// Ratio of the lengths that triggers a compaction.
const COMPACT_FACTOR: u64 = 4;

/// Permissions of the folder and the file, for the owner only.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// An open journal, locked by one process.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    len_bytes: u64,
    compact_bytes: u64,
}

impl Journal {
    /// Opens the journal of a folder and reads it. Drops an incomplete last line: its call was never answered.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Store), Error> {
        let path = folder.join(NAME);
        let problem = |source| Error::File { path: path.display().to_string(), source };
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(problem)?;
        std::fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE)).map_err(problem)?;
        let lock = OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(&path).map_err(problem)?;
        if lock.try_lock().is_err() {
            return Err(Error::Options(format!("{} is in use by another sandbox", path.display())));
        }
        drop(lock);
        let store = Store::replay(read(&path).map_err(problem)?.into_iter());
        let file = rewrite(&path, &store).map_err(problem)?;
        let len_bytes = file.metadata().map_err(problem)?.len();
        Ok((Self { path, file, len_bytes, compact_bytes: limit(len_bytes) }, store))
    }

    /// Appends a call's changes and waits until they are on disk.
    pub(crate) fn append(&mut self, batch: &Batch, store: &Store) -> std::io::Result<()> {
        let mut line = match batch.puts.iter().any(|entry| has_configured_secret(&entry.value)) {
            true => serde_json::to_vec(&without_configured_secrets(batch))?,
            false => serde_json::to_vec(batch)?,
        };
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()?;
        self.len_bytes += line.len() as u64;
        if self.len_bytes > self.compact_bytes {
            self.file = rewrite(&self.path, store)?;
            self.len_bytes = self.file.metadata()?.len();
            self.compact_bytes = limit(self.len_bytes);
        }
        Ok(())
    }
}

/// A copy of a batch without the secrets that the options give.
fn without_configured_secrets(batch: &Batch) -> Batch {
    let kept = |entry: &Entry| {
        let mut kept = entry.clone();
        if has_configured_secret(&entry.value)
            && let Some(row) = kept.value.as_object_mut()
        {
            row.remove("secret");
        }
        kept
    };
    Batch { puts: batch.puts.iter().map(kept).collect(), gone: batch.gone.clone() }
}

fn limit(len_bytes: u64) -> u64 {
    (len_bytes * COMPACT_FACTOR).max(COMPACT_MIN_BYTES)
}

fn read(path: &Path) -> std::io::Result<Vec<Batch>> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut batches = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(batches);
        }
        match serde_json::from_slice(&line) {
            Ok(batch) => batches.push(batch),
            // Only the last line can be incomplete after a crash. Any other one is damage.
            Err(_) if reader.fill_buf()?.is_empty() => return Ok(batches),
            Err(error) => return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, error)),
        }
    }
}

/// Atomically replaces the file with one that has only the current contents.
fn rewrite(path: &Path, store: &Store) -> std::io::Result<File> {
    let new = path.with_extension("new");
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(FILE_MODE).open(&new)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    // Locked before it gets its name, so that no other process can take it.
    file.try_lock()?;
    let mut writer = BufWriter::new(file);
    serde_json::to_writer(&mut writer, &without_configured_secrets(&store.snapshot()))?;
    writer.write_all(b"\n")?;
    let file = writer.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn put(journal: &mut Journal, store: &mut Store, id: &str) {
        store.put(id, json!({ "id": id, "object": "customer" }));
        let batch = store.commit();
        journal.append(&batch, store).unwrap();
    }

    #[test]
    fn a_restart_keeps_entries_and_drops_a_torn_last_line() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, mut store) = Journal::open(folder.path()).unwrap();
        put(&mut journal, &mut store, "cus_1");
        put(&mut journal, &mut store, "cus_2");
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(folder.path().join(NAME)).unwrap();
        file.write_all(br#"{"puts":[{"seq":3,"id":"cus_3","#).unwrap();
        drop(file);
        let (_, again) = Journal::open(folder.path()).unwrap();
        assert_eq!(again.snapshot(), store.snapshot());
    }

    #[test]
    fn open_restricts_the_journal_to_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, file) = (folder.path().join("sandbox"), folder.path().join("sandbox").join(NAME));
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&inner, Permissions::from_mode(0o777)).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        let _journal = Journal::open(&inner).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&inner), mode(&file)), (0o700, 0o600));
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), "{\"puts\":[],\"gone\":[]}\n{x\n{\"puts\":[],\"gone\":[]}\n").unwrap();
        assert!(matches!(Journal::open(folder.path()), Err(Error::File { .. })));
    }

    #[test]
    fn a_folder_is_used_by_one_sandbox() {
        let folder = tempfile::tempdir().unwrap();
        let first = Journal::open(folder.path()).unwrap();
        assert!(matches!(Journal::open(folder.path()), Err(Error::Options(_))));
        drop(first);
        assert!(Journal::open(folder.path()).is_ok());
    }
}
