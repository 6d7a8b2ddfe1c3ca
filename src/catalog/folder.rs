//! The data folder and the lock that makes one process its owner.
//!
//! Owns the folder's creation, its permissions and `LOCK`; what is inside belongs to the trails and the catalog.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Name of the lock file in the data folder.
pub(super) const LOCK_FILE: &str = "LOCK";

/// The data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process holds the lock.
    #[error("the data folder {0} is in use by another process")]
    InUse(PathBuf),
    /// The operating system refused.
    #[error("the data folder {path} cannot be opened")]
    Io {
        /// The folder or file in question.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A data folder that this process owns until the value is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Opens the folder, making it (for its owner only) if it is not there, and takes its lock. Never waits.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        make_private(path).map_err(|source| FolderError::Io { path: path.into(), source })?;
        let lock_path = path.join(LOCK_FILE);
        let refused = |source| FolderError::Io { path: lock_path.clone(), source };
        let lock =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&lock_path).map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(FolderError::InUse(path.into())),
            Err(TryLockError::Error(source)) => Err(refused(source)),
        }
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes the folder and its parents; the folder itself for its owner only, because it holds row data and hashes.
fn make_private(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

/// Flushes a folder, so that a file just made or renamed in it survives a power cut.
pub(super) fn flush_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(path)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("deep/data");
        let first = DataFolder::open(&path).unwrap();
        assert_eq!(first.path(), path);
        let second = DataFolder::open(&path).unwrap_err();
        assert!(matches!(second, FolderError::InUse(_)), "{second}");
        assert!(second.to_string().contains("in use by another process"));
        drop(first);
        assert!(DataFolder::open(&path).is_ok());
    }

    #[test]
    fn a_file_in_the_folders_place_is_a_clear_error() {
        let temporary = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(DataFolder::open(temporary.path()), Err(FolderError::Io { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_look_into_the_folder() {
        use std::os::unix::fs::PermissionsExt;
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("data");
        let _folder = DataFolder::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
