//! The file of audit lines: appended to, bounded, taken up anew when somebody moves it away.
//!
//! Owns the file and its rotation; what a line says is `service`'s business.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where audit lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditFileOptions {
    /// The file.
    pub path: PathBuf,
    /// Size beyond which the file is put aside as `….1` and a new one is begun, in bytes.
    pub bytes_max: u64,
    /// Files put aside that are kept.
    pub kept: u64,
}

/// An open file of audit lines. Each call of [`Write::write`] takes one whole line, or nothing of it.
#[derive(Debug)]
pub struct AuditFile {
    options: AuditFileOptions,
    file: File,
    /// Length of the file; `None` of a pipe or a terminal, which has none and is neither rotated nor looked for.
    bytes: Option<u64>,
}

impl AuditFile {
    /// Opens the file to append to it, making it (for its owner only) if it is not there.
    pub fn open(options: AuditFileOptions) -> io::Result<Self> {
        let (file, bytes) = open(&options.path)?;
        Ok(Self { options, file, bytes })
    }

    /// Whoever rotates logs renames the file, and no signal is needed: it is looked for before each line.
    fn look_for_it(&mut self) -> io::Result<()> {
        if self.bytes.is_none() || is_at(&self.file, &self.options.path)? {
            return Ok(());
        }
        (self.file, self.bytes) = open(&self.options.path)?;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let aside = |number: u64| {
            let mut name = self.options.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.options.kept).rev() {
            match fs::rename(aside(number), aside(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.options.path, aside(1))?;
        (self.file, self.bytes) = open(&self.options.path)?;
        Ok(())
    }
}

impl Write for AuditFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.look_for_it()?;
        if self.bytes.is_some_and(|bytes| bytes > 0 && bytes + line.len() as u64 > self.options.bytes_max) {
            self.rotate()?;
        }
        let written = self.file.write_all(line);
        match (&written, &mut self.bytes) {
            (Ok(()), Some(bytes)) => *bytes += line.len() as u64,
            // Half a line would spoil the next one too.
            (Err(_), Some(bytes)) => self.file.set_len(*bytes)?,
            (_, None) => {}
        }
        written.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn open(path: &Path) -> io::Result<(File, Option<u64>)> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata.is_file().then_some(metadata.len())))
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let there = match fs::metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let ours = file.metadata()?;
    Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino()))
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> io::Result<bool> {
    Ok(path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(folder: &Path, bytes_max: u64) -> AuditFileOptions {
        AuditFileOptions { path: folder.join("audit.log"), bytes_max, kept: 2 }
    }

    fn read(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap_or_default()
    }

    #[test]
    fn lines_are_appended_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        for line in ["one\n", "two\n"] {
            AuditFile::open(options(folder.path(), 100)).unwrap().write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(read(folder.path(), "audit.log"), "one\ntwo\n");
    }

    #[test]
    fn a_full_file_is_put_aside_and_only_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = AuditFile::open(options(folder.path(), 8)).unwrap();
        for line in ["aaa\n", "bbb\n", "ccc\n", "ddd\n", "eee\n", "fff\n", "ggg\n", "longer than a file\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(read(folder.path(), "audit.log"), "longer than a file\n");
        assert_eq!(read(folder.path(), "audit.log.1"), "ggg\n");
        assert_eq!(read(folder.path(), "audit.log.2"), "eee\nfff\n");
        assert!(!folder.path().join("audit.log.3").exists());
    }

    #[test]
    fn a_file_moved_away_is_made_anew_without_a_signal() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = AuditFile::open(options(folder.path(), 100)).unwrap();
        file.write_all(b"one\n").unwrap();
        fs::rename(folder.path().join("audit.log"), folder.path().join("audit.log.old")).unwrap();
        file.write_all(b"two\n").unwrap();
        assert_eq!(
            (read(folder.path(), "audit.log.old").as_str(), read(folder.path(), "audit.log").as_str()),
            ("one\n", "two\n")
        );
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        AuditFile::open(options(folder.path(), 100)).unwrap();
        let mode = fs::metadata(folder.path().join("audit.log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
