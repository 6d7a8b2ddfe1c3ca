//! The file that holds the position of the last record printed.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

/// Longest text that is taken for a position, in bytes; servers send at most 64 characters.
const POSITION_BYTES_MAX: u64 = 1_024;

/// A file with one position.
#[derive(Debug)]
pub(super) struct PositionFile(PathBuf);

impl PositionFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Whether there is one, whatever it holds.
    pub(super) fn exists(&self) -> bool {
        self.0.exists()
    }

    /// The file's name.
    pub(super) fn name(&self) -> std::path::Display<'_> {
        self.0.display()
    }

    /// The position saved last; `None` on the first start.
    pub(super) fn load(&self) -> Result<Option<String>, String> {
        let mut text = String::new();
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.about(&error)),
        };
        file.take(POSITION_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| self.about(&error))?;
        let position = text.trim();
        if position.len() as u64 > POSITION_BYTES_MAX || position.contains(char::is_whitespace) {
            return Err(self.about(&"does not hold a position"));
        }
        Ok((!position.is_empty()).then(|| position.to_owned()))
    }

    /// Replaces the file in one step: after a crash it holds the old position or the new one, never half of one.
    pub(super) fn save(&self, position: &str) -> Result<(), String> {
        let mut new_name = self.0.clone().into_os_string();
        new_name.push(".new");
        let replace = || {
            let mut file = File::create(&new_name)?;
            writeln!(file, "{position}")?;
            file.sync_all()?;
            let is_first = !self.0.exists();
            std::fs::rename(&new_name, &self.0)?;
            // One that is not there after a power cut would be a first start, which may begin behind what was not seen yet.
            if is_first { self.sync_folder() } else { Ok(()) }
        };
        replace().map_err(|error| self.about(&error))
    }

    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(std::path::Path::new(".")))?.sync_all()
    }

    fn about(&self, what: &dyn std::fmt::Display) -> String {
        format!("{}: {what}", self.0.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_last_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let file = PositionFile::new(folder.path().join("position"));
        assert_eq!(file.load(), Ok(None));
        file.save("AQ1").unwrap();
        file.save("AQ2").unwrap();
        assert_eq!(file.load(), Ok(Some("AQ2".into())));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_file_of_something_else_is_refused_and_an_empty_one_is_a_first_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("position");
        let load = |content: &str| {
            std::fs::write(&path, content).unwrap();
            PositionFile::new(path.clone()).load()
        };
        assert_eq!(load(" \n"), Ok(None));
        assert!(load("two words").is_err());
        assert!(load(&"A".repeat(5_000)).is_err());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = PositionFile::new("/nowhere/position".into()).save("AQ").unwrap_err();
        assert!(error.starts_with("/nowhere/position: "), "{error}");
    }
}
