//! The end of a trail in the file of its open segment: writes, flushes, and the zeros ahead that make flushes cheap.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::trail::local::disk::DiskFile;
use crate::trail::local::preallocation::Preallocation;
use crate::trail::local::segment_file::SegmentFile;

/// Where a writer appends.
#[derive(Debug)]
pub(in crate::trail) struct FileEnd {
    file: Arc<SegmentFile>,
    preallocation: Preallocation,
}

impl FileEnd {
    /// The end of a file that ends with its data, at byte `end`.
    pub(in crate::trail) fn new(file: Arc<SegmentFile>, end: u64) -> Self {
        Self { file, preallocation: Preallocation::new(end) }
    }

    /// Writes at byte `at`, where the data ends.
    pub(in crate::trail) fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)?;
        self.preallocation.wrote(bytes.len());
        Ok(())
    }

    /// Flushes data that ends at byte `end`; says how long that took. Zeros stand ahead of it up to byte `closes_at` at most.
    pub(in crate::trail) fn settle(&mut self, end: u64, closes_at: u64) -> io::Result<Duration> {
        self.preallocation.fill(&*self.file, end, closes_at, self.file.disk(), self.file.folder())?;
        let started = Instant::now();
        self.file.sync()?;
        Ok(started.elapsed())
    }

    /// Flushes a file that nobody writes any more, and cuts it to its data, which ends at byte `end`.
    pub(in crate::trail) fn close(&mut self, end: u64) -> io::Result<()> {
        self.preallocation.finish(&*self.file, end)
    }

    /// The end is in this file now, which ends with its data, at byte `end`.
    pub(in crate::trail) fn moved_to(&mut self, file: Arc<SegmentFile>, end: u64) {
        self.file = file;
        self.preallocation.restart(end);
    }
}
