//! A disk that a test can fill up.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::skip;

/// A file system of a few megabytes, there as long as this value.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Over this folder; `None`, said loudly, where nothing can be mounted.
    pub fn over(folder: &Path) -> Option<Self> {
        let disk = Self::mounted(folder);
        if disk.is_none() {
            skip("no file system can be mounted here (needs root)");
        }
        disk
    }

    fn mounted(folder: &Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(folder)
            .stderr(std::process::Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let filler = std::fs::File::create(self.0.join("filler")).unwrap();
        let block = [0_u8; 4096];
        while std::io::Write::write_all(&mut &filler, &block).is_ok() {}
    }

    /// Makes room again.
    pub fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
