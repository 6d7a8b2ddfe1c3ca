//! Folders of a test run, below one folder per test process that the next run removes if this one could not.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

const PREFIX: &str = "trailcast-tests-";

/// The folder of this test process. Other users may pass through it: PostgreSQL runs as one of them.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let base = std::env::var_os("TRAILCAST_TEST_TMP").map_or_else(std::env::temp_dir, PathBuf::from);
        remove_what_dead_runs_left(&base);
        let root = base.join(format!("{PREFIX}{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        std::fs::set_permissions(&root, PermissionsExt::from_mode(0o755)).unwrap();
        root
    })
}

fn remove_what_dead_runs_left(base: &Path) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // Another test process may be removing it too.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A folder that goes when it is dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new folder whose name starts with `what`.
    pub fn new(what: &str) -> Self {
        let path = Self::unused_path(what);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A path where nothing is yet, for who makes the folder himself.
    pub fn unused_path(what: &str) -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        root().join(format!("{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Takes over the folder at `path`.
    pub fn adopt(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
