//! The durable mark in a file of its own, `mark.bin`: for who looks from another process, and to know what had been
//! promised where nothing in the segments says so, as of the very last flush group and of segments that have vanished.
//!
//! It is written after each flush and never flushed itself, so after a power cut it may say less than is true, or be
//! torn, or not be there; it never says more. A new epoch, as a repair and a restore bring, makes it void.
//!
//! ```text
//! "TRAILMRK" | epoch | segment | offset | commit number | commit time, microseconds | CRC-32C of the bytes before
//! ```

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::codec::frame::{u32_at, u64_at};
use crate::record::{Epoch, Timestamp};
use crate::trail::local::disk::{Disk, DiskFile, read_full};
use crate::trail::{DurableMark, Location};

/// Name of the file.
pub(in crate::trail) const FILE: &str = "mark.bin";
const MAGIC: &[u8; 8] = b"TRAILMRK";
const BYTES: usize = 52;

/// Opens the file to write to it; made if it is not there.
pub(in crate::trail) fn open(folder: &Path, disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
    let path = folder.join(FILE);
    match disk.open(&path, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.open(&path, true),
        opened => opened,
    }
}

/// Writes the mark.
pub(in crate::trail) fn write(file: &dyn DiskFile, epoch: Epoch, mark: &DurableMark) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.extend_from_slice(MAGIC);
    let time = mark.commit_ts.micros().cast_unsigned();
    for number in [epoch.0, mark.end.segment, mark.end.offset, mark.commit, time] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    file.write_all_at(&bytes, 0)
}

/// The mark in the file; none when there is no whole one of that epoch.
pub(in crate::trail) fn read(folder: &Path, disk: &dyn Disk, epoch: Epoch) -> Option<DurableMark> {
    let file = disk.open(&folder.join(FILE), false).ok()?;
    // A writer may be at it this very moment; the second look finds it done.
    (0..2).find_map(|_| {
        let mut bytes = [0; BYTES];
        let read = read_full(&*file, &mut bytes, 0).ok()?;
        let whole = read == BYTES
            && bytes.starts_with(MAGIC)
            && crc32c::crc32c(&bytes[..BYTES - 4]) == u32_at(&bytes, BYTES - 4)
            && u64_at(&bytes, 8) == epoch.0;
        whole.then(|| DurableMark {
            commit: u64_at(&bytes, 32),
            commit_ts: Timestamp::from_micros(u64_at(&bytes, 40).cast_signed()),
            end: Location { segment: u64_at(&bytes, 16), offset: u64_at(&bytes, 24) },
            ..DurableMark::default()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::local::disk::SystemDisk;

    #[test]
    fn a_mark_reads_back_and_a_torn_or_foreign_one_is_none() {
        let home = tempfile::tempdir().unwrap();
        let (folder, disk) = (home.path(), SystemDisk);
        assert_eq!(read(folder, &disk, Epoch(7)), None);
        let end = Location { segment: 3, offset: 99 };
        let mark = DurableMark { commit: 12, commit_ts: Timestamp::from_micros(-5), end, ..DurableMark::default() };
        write(&*open(folder, &disk).unwrap(), Epoch(7), &mark).unwrap();
        assert_eq!(read(folder, &disk, Epoch(7)), Some(mark));
        assert_eq!(read(folder, &disk, Epoch(8)), None);
        let bytes = std::fs::read(folder.join(FILE)).unwrap();
        for at in 0..bytes.len() {
            let mut torn = bytes.clone();
            torn[at] ^= 1;
            std::fs::write(folder.join(FILE), torn).unwrap();
            assert_eq!(read(folder, &disk, Epoch(7)), None);
        }
    }
}
