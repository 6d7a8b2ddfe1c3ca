//! How long one flush takes on a disk while a run loads it: a small write and `fdatasync`, again and again.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::histogram::Histogram;
use crate::cli::failure::Failure;
use crate::limits;

/// Rest between two flushes, so that measuring is not itself the load.
const REST: Duration = Duration::from_millis(10);

/// A thread that flushes a file of its own.
#[derive(Debug)]
pub(super) struct Flusher {
    over: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<Histogram>>,
    path: PathBuf,
}

impl Flusher {
    /// Starts it on a new file in `folder`, which goes again.
    pub(super) fn start(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(format!("trailcast-bench-{}.tmp", std::process::id()));
        let about = |error| Failure::failed(format!("{}: {error}", path.display()));
        let file = OpenOptions::new().append(true).create_new(true).open(&path).map_err(about)?;
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        let thread = std::thread::Builder::new().name("bench-flusher".into()).spawn(move || flush(file, &stop));
        Ok(Self { over, thread: thread.map_err(about)?, path })
    }

    /// Ends it and gives what it measured.
    pub(super) async fn end(self) -> Result<Histogram, Failure> {
        self.over.store(true, Ordering::Relaxed);
        let thread = self.thread;
        let measured = tokio::task::spawn_blocking(move || thread.join()).await.map_err(Failure::failed)?;
        let _ = std::fs::remove_file(&self.path);
        let measured = measured.map_err(|_| Failure::failed("the flushing thread broke"))?;
        measured.map_err(|error| Failure::failed(format!("{}: {error}", self.path.display())))
    }
}

fn flush(mut file: File, over: &AtomicBool) -> std::io::Result<Histogram> {
    let mut measured = Histogram::default();
    let page = vec![0x5a; limits::BENCH_FSYNC_BYTES];
    while !over.load(Ordering::Relaxed) {
        let start = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        measured.add_duration(start.elapsed());
        std::thread::sleep(REST);
    }
    Ok(measured)
}
