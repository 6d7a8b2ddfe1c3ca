//! The file of audit lines: appended to, bounded, taken up anew when somebody moves it away; and the one in the data
//! folder where lines of changes that are made without a server wait for the next start.
//!
//! Owns the files and their rotation; what a line says is `service`'s business.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::folder::flush_folder;
use crate::limits;
use crate::repeats::warn_rarely;

/// Name of the file in the data folder with lines of changes made without a server.
const OFFLINE_FILE: &str = "audit-offline.jsonl";

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

impl AuditFileOptions {
    /// The file of changes, that of sessions and that of refusals, the latter two beside it: each with as much room, so that
    /// none takes another's. A pipe, a terminal or the like takes all three.
    pub fn of_each_kind(&self) -> [Self; 3] {
        let is_file = fs::metadata(&self.path).map_or(true, |metadata| metadata.is_file());
        ["", ".sessions", ".refusals"].map(|ending| {
            let mut path = self.path.clone().into_os_string();
            path.push(if is_file { ending } else { "" });
            Self { path: path.into(), ..self.clone() }
        })
    }
}

/// An open file of audit lines. Each call of [`Write::write`] takes one whole line, or nothing of it.
#[derive(Debug)]
pub struct AuditFile {
    options: AuditFileOptions,
    file: File,
    /// Length of the file; `None` of a pipe or a terminal, which has none and is neither rotated nor looked for.
    bytes: Option<u64>,
    /// Why lines in a file that was left may not be on the disk; the next flush says it.
    left_unflushed: Option<io::Error>,
}

impl AuditFile {
    /// Opens the file to append to it, making it (for its owner only) if it is not there.
    pub fn open(options: AuditFileOptions) -> io::Result<Self> {
        let (file, bytes) = open(&options.path)?;
        Ok(Self { options, file, bytes, left_unflushed: None })
    }

    /// Opens the file in which lines of changes made without a server wait, in a data folder.
    pub fn open_offline(data_folder: &Path) -> io::Result<Self> {
        let path = data_folder.join(OFFLINE_FILE);
        Self::open(AuditFileOptions { path, bytes_max: limits::AUDIT_FILE_BYTES_MAX, kept: 1 })
    }

    /// Whoever rotates logs renames the file, and no signal is needed: it is looked for before each line.
    fn look_for_it(&mut self) -> io::Result<()> {
        if self.bytes.is_none() || is_at(&self.file, &self.options.path)? {
            return Ok(());
        }
        self.leave_file();
        (self.file, self.bytes) = open(&self.options.path)?;
        Ok(())
    }

    /// Lines of this very moment may wait for a flush, which then comes to the next file.
    fn leave_file(&mut self) {
        if let Err(error) = self.file.sync_data() {
            warn_rarely!("", %error, "the audit file that is left cannot be flushed");
            self.left_unflushed = Some(error);
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.leave_file();
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

    /// To the disk, unless it is a pipe or a terminal; with what was written to a file that was left meanwhile.
    fn flush(&mut self) -> io::Result<()> {
        let flushed = if self.bytes.is_some() { self.file.sync_data() } else { self.file.flush() };
        self.left_unflushed.take().map_or(flushed, Err)
    }
}

fn open(path: &Path) -> io::Result<(File, Option<u64>)> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    let bytes = metadata.is_file().then_some(metadata.len());
    if bytes == Some(0) {
        // Its name must outlive a power cut as its lines do.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        flush_folder(folder.unwrap_or(Path::new(".")))?;
    }
    Ok((file, bytes))
}

/// The lines of changes that were made in a data folder without a server; not all need be text any more.
pub fn offline_lines(data_folder: &Path) -> io::Result<Vec<Vec<u8>>> {
    match fs::read(data_folder.join(OFFLINE_FILE)) {
        Ok(bytes) => {
            Ok(bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Removes those lines, which stand elsewhere now.
pub fn forget_offline_lines(data_folder: &Path) -> io::Result<()> {
    fs::remove_file(data_folder.join(OFFLINE_FILE))?;
    flush_folder(data_folder)
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
    fn each_kind_of_line_has_a_file_of_its_own_unless_it_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let names = |options: &AuditFileOptions| options.of_each_kind().map(|options| options.path);
        let file = options(folder.path(), 100);
        let at = |name: &str| folder.path().join(name);
        assert_eq!(names(&file), [at("audit.log"), at("audit.log.sessions"), at("audit.log.refusals")]);
        let full = AuditFileOptions { path: "/dev/full".into(), ..file };
        assert_eq!(names(&full), ["/dev/full"; 3].map(PathBuf::from));
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
    fn a_file_left_unflushed_fails_the_next_flush() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path(), 100);
        // What no disk is behind cannot be flushed to it.
        let file = OpenOptions::new().write(true).open("/dev/null").unwrap();
        let mut file = AuditFile { options, file, bytes: Some(0), left_unflushed: None };
        file.write_all(b"one\n").unwrap();
        assert_eq!(read(folder.path(), "audit.log"), "one\n");
        assert!(file.flush().is_err());
        file.flush().unwrap();
    }

    #[test]
    fn lines_made_without_a_server_are_found_whatever_stands_among_them() {
        let folder = tempfile::tempdir().unwrap();
        assert!(offline_lines(folder.path()).unwrap().is_empty());
        fs::write(folder.path().join(OFFLINE_FILE), b"one\n\xff\xfe\n\ntwo\ncut").unwrap();
        let expected: [&[u8]; 4] = [b"one", b"\xff\xfe", b"two", b"cut"];
        assert_eq!(offline_lines(folder.path()).unwrap(), expected);
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
