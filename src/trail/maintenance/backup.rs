//! A copy of a trail up to its durable mark, beside a running server too.
//!
//! What lies below the mark never changes, so the copy is exactly the trail as it was when the mark was read. It says of
//! itself that it is a backup, and does not open for a server before it got a new epoch.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::SharedClock;
use crate::trail::handle::Trail;
use crate::trail::local::description;
use crate::trail::local::disk::{Disk, DiskFile};
use crate::trail::local::segment_file::file_name;
use crate::trail::scan::ReadBytes;
use crate::trail::store::SegmentBytes;
use crate::trail::{OpenError, ReadError, SegmentReport};

const COPY_BYTES: usize = 1 << 20;
/// How often a copy is begun of a trail that becomes another one meanwhile.
const LOOKS_MAX: u32 = 10;

/// What a backup of a trail holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailBackup {
    /// Commit number of the last transaction in it.
    pub last_commit: u64,
    /// Segments.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The first damaged place in it, when the trail itself is damaged.
    pub bad: Option<String>,
}

/// Copies the trail in `folder` to the folder `to`, which must hold nothing. Every frame of the copy is checked. What
/// retention removes meanwhile is left out; when the trail is deleted and made again, or repaired, the copy starts anew.
pub fn copy(folder: &Path, to: &Path, disk: Arc<dyn Disk>, clock: SharedClock) -> Result<TrailBackup, OpenError> {
    let mut tries = 1;
    loop {
        let epoch = description::read(folder, &*disk)?.epoch;
        let copied = copy_as_it_is(folder, to, disk.clone(), clock.clone());
        if copied.is_ok() || tries >= LOOKS_MAX || description::read(folder, &*disk)?.epoch == epoch {
            return copied;
        }
        tries += 1;
        let removed = disk.remove_folder(to);
        removed.map_err(|source| OpenError::Io {
            trail: description::name_of(folder),
            action: "removing a copy that is not of one trail",
            source,
        })?;
    }
}

fn copy_as_it_is(folder: &Path, to: &Path, disk: Arc<dyn Disk>, clock: SharedClock) -> Result<TrailBackup, OpenError> {
    let trail = Trail::open_read_only(folder, disk.clone(), clock.clone())?;
    let shared = &trail.shared;
    let mark = shared.mark.borrow().clone();
    disk.make_folder(to).map_err(shared.failed("making the backup's folder"))?;
    let mut copied = TrailBackup { last_commit: mark.commit, segments: 0, bytes: 0, bad: None };
    let mut copies: Vec<PathBuf> = Vec::new();
    for segment in shared.segments().iter().filter(|segment| segment.number() <= mark.end.segment) {
        let bytes = if segment.number() == mark.end.segment { mark.end.offset } else { segment.length() };
        let copy = to.join(file_name(segment.number()));
        match copy_bytes(&segment.bytes, bytes, &copy, &*disk) {
            Err(error) if shared.segment_failure(segment.number(), &error) == ReadError::Overtaken => {
                // The server's retention took it, and with it all before it: the copy begins behind them, too.
                for copy in copies.drain(..) {
                    disk.remove(&copy).map_err(shared.failed("removing what retention has taken"))?;
                }
                (copied.segments, copied.bytes) = (0, 0);
            }
            done => {
                done.map_err(shared.failed("copying a segment"))?;
                copies.push(copy);
                copied.segments += 1;
                copied.bytes += bytes;
            }
        }
    }
    let mut description = shared.description.clone();
    // A server may have made the first segment of a newer version since the description was read.
    let newest = shared.segments().iter().map(|segment| segment.head.version).max();
    description.format = description.format.max(newest.unwrap_or_default());
    // Nor does it know of partitions that the copied records may be in. Later changes are none of the copy.
    let now = description::read(folder, &*disk)?;
    if now.epoch == description.epoch {
        description.partitions = Arc::new(now.partitions.ending_at(mark.commit));
    }
    description.backup_taken = Some(clock.now().to_rfc3339());
    description::write_draft(to, &description, &*disk)?;
    description::put_in_force(to, &*disk)?;
    let reports = Trail::open_read_only(to, disk, clock)?.verify()?;
    let bad = |report: SegmentReport| report.bad;
    copied.bad = reports.into_iter().find_map(bad).map(|(at, what)| format!("{at}: {what}"));
    Ok(copied)
}

/// Copies a segment whole, or leaves nothing of it: retention may take it in the midst, too, and half a segment would be damage.
fn copy_bytes(from: &SegmentBytes, length: u64, to: &Path, disk: &dyn Disk) -> io::Result<()> {
    // Opened before there is a copy: it may be gone.
    from.length()?;
    let copied = disk.open(to, true).and_then(|copy| fill(&*copy, from, length));
    if copied.is_err() {
        // What cannot be removed is found by the check of the whole copy.
        let _ = disk.remove(to);
    }
    copied
}

fn fill(copy: &dyn DiskFile, from: &SegmentBytes, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    while at < length {
        let want = usize::try_from(length - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        let read = from.read_full(&mut buffer[..want], at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        copy.write_all_at(&buffer[..read], at)?;
        at += read as u64;
    }
    copy.sync()
}
