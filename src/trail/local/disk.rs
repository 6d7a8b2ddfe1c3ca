//! The one door to the disk: what a trail asks of a file system, and the real one behind it.
//!
//! Everything a trail does to files passes through [`Disk`], so that tests can put a disk there that fails or forgets.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// A file system, as far as a trail needs one.
pub trait Disk: Send + Sync + Debug {
    /// Makes a folder and those above it; it may be there already.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// Names of the files in a folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Opens a file for reading and writing; makes it when `create`, and then it must not be there.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file over another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all that is in it.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// Size of the file system that holds a folder, in bytes; none when it does not say.
    fn capacity_bytes(&self, folder: &Path) -> Option<u64>;
    /// Room left in it, in bytes; none when it does not say.
    fn free_bytes(&self, _folder: &Path) -> Option<u64> {
        None
    }
    /// Makes renames, new and removed names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// An open file. Positions are given with each call, so that readers and the writer share it.
pub trait DiskFile: Send + Sync + Debug {
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Reads up to `buffer.len()` bytes; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file.
    fn cut(&self, length: u64) -> io::Result<()>;
}

/// Reads until `buffer` is full or the file ends; says how much it read.
pub fn read_full(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Whether a test asked to flush nothing, so that it can be seen to lose what was acknowledged.
#[cfg(feature = "fault-injection")]
fn flushes_nothing() -> bool {
    static ASKED: std::sync::LazyLock<bool> =
        std::sync::LazyLock::new(|| std::env::var_os("TRAILCAST_TEST_NO_FLUSH").is_some_and(|value| value == "1"));
    *ASKED
}

#[cfg(not(feature = "fault-injection"))]
const fn flushes_nothing() -> bool {
    false
}

/// The operating system's file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        match OpenOptions::new().read(true).write(true).create_new(create).open(path) {
            // Whoever may only look still can; a write will say so.
            Err(error) if !create && is_read_only(&error) => Ok(Arc::new(File::open(path)?)),
            opened => Ok(Arc::new(opened?)),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn capacity_bytes(&self, folder: &Path) -> Option<u64> {
        let system = rustix::fs::statvfs(folder).ok()?;
        Some(system.f_blocks.saturating_mul(system.f_frsize))
    }

    fn free_bytes(&self, folder: &Path) -> Option<u64> {
        let system = rustix::fs::statvfs(folder).ok()?;
        Some(system.f_bavail.saturating_mul(system.f_frsize))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if flushes_nothing() {
            return Ok(());
        }
        File::open(folder)?.sync_all()
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        if flushes_nothing() {
            return Ok(());
        }
        self.sync_data()
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}
