//! Zeros behind the data of the open segment, so that most flushes do not change the file's length.
//!
//! A flush of a file that grew has to write its new length to the file system's journal, too; one that overwrites zeros
//! does not. Owns how many zeros there are and when they go, and, for who opens or looks at a segment later, where its
//! data ends. Zeros are no part of the trail: no count of bytes includes them.

use std::io;
use std::path::Path;

use crate::limits::{FILL_AHEAD_BYTES_MAX, FILL_AHEAD_FREE_BYTES_MIN};
use crate::trail::local::disk::{Disk, DiskFile};
use crate::trail::local::faults;
use crate::trail::scan::ReadBytes;

/// What file systems hand out at the least: zeros up to there take no room.
const DISK_BLOCK_BYTES: u64 = 4 << 10;
/// Bytes written or read at once.
const PIECE_BYTES: usize = 64 << 10;

static ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

/// How far the file of the open segment is filled.
#[derive(Debug)]
pub(in crate::trail) struct Preallocation {
    /// The file's length, as far as this writer has made it longer.
    until: u64,
    /// Bytes of data written since the writer began: as many zeros may stand ahead, so that a trail of three rows does
    /// not take the room of thousands.
    written: u64,
    /// Whether the disk had no room for zeros in this segment.
    refused: bool,
}

impl Preallocation {
    /// Of a file that ends with its data, at byte `end`.
    pub(in crate::trail) fn new(end: u64) -> Self {
        Self { until: end, written: 0, refused: false }
    }

    /// The file, or the next one, ends with its data again, at byte `end`.
    pub(in crate::trail) fn restart(&mut self, end: u64) {
        (self.until, self.refused) = (end, false);
    }

    /// Data was written.
    pub(in crate::trail) fn wrote(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes as u64);
    }

    /// Before the flush of data that ends at byte `end`: where that made the file longer, makes it longer still, up to
    /// byte `limit` at most. A disk without room for it is no failure.
    pub(in crate::trail) fn fill(
        &mut self,
        file: &dyn DiskFile,
        end: u64,
        limit: u64,
        disk: &dyn Disk,
        folder: &Path,
    ) -> io::Result<()> {
        if end <= self.until || self.refused {
            return Ok(());
        }
        self.until = end;
        let stride = self.written.min(FILL_AHEAD_BYTES_MAX);
        let until = (end + stride).next_multiple_of(DISK_BLOCK_BYTES).min(limit);
        let has_room = disk.free_bytes(folder).is_none_or(|free| free >= FILL_AHEAD_FREE_BYTES_MIN);
        if until <= end || !has_room {
            return Ok(());
        }
        // From here on the file may be longer than its data, whatever comes of it.
        self.until = until;
        match write_zeros(file, end, until) {
            Err(error) if is_no_room(&error) => {
                self.refused = true;
                self.until = end;
                // The caller flushes. No mark promises what was written over zeros meanwhile.
                file.cut(end)
            }
            written => written,
        }
    }

    /// Flushes the file, which nobody writes any more, and cuts it to its data, which ends at byte `end`.
    pub(in crate::trail) fn finish(&mut self, file: &dyn DiskFile, end: u64) -> io::Result<()> {
        if self.until <= end {
            return file.sync();
        }
        self.until = end;
        flush_and_cut(file, end)
    }
}

/// Flushes a file, then cuts it to `end` bytes for good. In this order: a power cut in between leaves zeros behind the
/// data. In the other order it may leave a file that has its length, and its last block with the seal, and in the middle
/// what had been there before, for any flush of another file makes a cut durable, and not what was written over zeros.
pub(in crate::trail) fn flush_and_cut(file: &dyn DiskFile, end: u64) -> io::Result<()> {
    if !faults::cuts_before_it_flushes() {
        file.sync()?;
    }
    file.cut(end)?;
    faults::between_cut_and_flush();
    file.sync()
}

fn write_zeros(file: &dyn DiskFile, from: u64, until: u64) -> io::Result<()> {
    let mut at = from;
    while at < until {
        let piece = usize::try_from(until - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        file.write_all_at(&ZEROS[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}

fn is_no_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Where the data of an open segment's file of `length` bytes ends whose last whole frame ends at byte `whole`: there, when
/// only zeros follow, and else behind the last byte that is none, which a torn or damaged frame left.
pub(in crate::trail) fn data_end(bytes: &(impl ReadBytes + ?Sized), whole: u64, length: u64) -> io::Result<u64> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut until = length;
    while until > whole {
        let from = until.saturating_sub(PIECE_BYTES as u64).max(whole);
        let piece = usize::try_from(until - from).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let read = bytes.read_full(&mut buffer[..piece], from)?;
        if let Some(last) = buffer[..read].iter().rposition(|byte| *byte != 0) {
            return Ok(from + last as u64 + 1);
        }
        until = from;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A file on a disk with so much room; what is written beyond it is written in part.
    #[derive(Debug)]
    struct Small {
        bytes: Mutex<Vec<u8>>,
        room: usize,
        error: io::ErrorKind,
    }

    impl Small {
        fn new(data: usize, room: usize) -> Self {
            Self { bytes: Mutex::new(vec![7; data]), room, error: io::ErrorKind::StorageFull }
        }
    }

    impl DiskFile for Small {
        fn length(&self) -> io::Result<u64> {
            Ok(self.bytes.lock().unwrap().len() as u64)
        }

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let bytes = self.bytes.lock().unwrap();
            let from = bytes.len().min(offset as usize);
            let read = buffer.len().min(bytes.len() - from);
            buffer[..read].copy_from_slice(&bytes[from..from + read]);
            Ok(read)
        }

        fn write_all_at(&self, written: &[u8], offset: u64) -> io::Result<()> {
            let mut bytes = self.bytes.lock().unwrap();
            assert_eq!(offset as usize, bytes.len(), "zeros go where the file ends");
            let fits = written.len().min(self.room - bytes.len());
            bytes.extend_from_slice(&written[..fits]);
            if fits < written.len() { Err(self.error.into()) } else { Ok(()) }
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }

        fn cut(&self, length: u64) -> io::Result<()> {
            self.bytes.lock().unwrap().resize(length as usize, 0);
            Ok(())
        }
    }

    /// A file system of which only the room left is asked.
    #[derive(Debug)]
    struct Room(Option<u64>);

    impl Disk for Room {
        fn make_folder(&self, _: &Path) -> io::Result<()> {
            unreachable!()
        }
        fn list(&self, _: &Path) -> io::Result<Vec<String>> {
            unreachable!()
        }
        fn open(&self, _: &Path, _: bool) -> io::Result<Arc<dyn DiskFile>> {
            unreachable!()
        }
        fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
            unreachable!()
        }
        fn remove(&self, _: &Path) -> io::Result<()> {
            unreachable!()
        }
        fn remove_folder(&self, _: &Path) -> io::Result<()> {
            unreachable!()
        }
        fn capacity_bytes(&self, _: &Path) -> Option<u64> {
            unreachable!()
        }
        fn free_bytes(&self, _: &Path) -> Option<u64> {
            self.0
        }
        fn sync_folder(&self, _: &Path) -> io::Result<()> {
            unreachable!()
        }
    }

    const PLENTY: usize = 1 << 30;

    /// What a file of `data` bytes is filled to that a writer wrote `written` bytes of.
    fn filled_to(data: usize, written: usize, limit: u64, free: Option<u64>) -> u64 {
        let file = Small::new(data, PLENTY);
        let mut preallocation = Preallocation::new((data - written) as u64);
        preallocation.wrote(written);
        preallocation.fill(&file, data as u64, limit, &Room(free), Path::new("/")).unwrap();
        assert!(file.bytes.lock().unwrap()[data..].iter().all(|byte| *byte == 0));
        file.length().unwrap()
    }

    #[test]
    fn there_are_as_many_zeros_as_was_written_up_to_a_disk_block_but_never_beyond_their_cap_or_the_segment() {
        assert_eq!(filled_to(300, 200, 1 << 20, None), 4_096);
        assert_eq!(filled_to(5_000, 4_000, 1 << 20, None), 12_288);
        assert_eq!(filled_to(4_096 * 30, 4_096 * 30, 1 << 30, Some(1 << 30)), 4_096 * 60);
        assert_eq!(filled_to(8 << 20, 8 << 20, 1 << 30, None), (8 << 20) + FILL_AHEAD_BYTES_MAX);
        assert_eq!(filled_to(5_000, 4_000, 6_001, None), 6_001);
        // A transaction larger than a segment.
        assert_eq!(filled_to(5_000, 4_000, 4_000, None), 5_000);
    }

    #[test]
    fn a_file_is_made_longer_only_when_its_data_reaches_the_end_of_the_zeros() {
        let file = Small::new(4_000, PLENTY);
        let mut preallocation = Preallocation::new(0);
        preallocation.wrote(4_000);
        let mut fill = |end| {
            preallocation.fill(&file, end, 1 << 20, &Room(None), Path::new("/")).unwrap();
            file.length().unwrap()
        };
        assert_eq!((fill(4_000), fill(4_001), fill(8_192)), (8_192, 8_192, 8_192));
        file.cut(8_193).unwrap();
        assert_eq!(fill(8_193), 12_288);
        preallocation.finish(&file, 9_000).unwrap();
        assert_eq!(file.length().unwrap(), 9_000);
        file.cut(9_001).unwrap();
        preallocation.fill(&file, 9_001, 1 << 20, &Room(None), Path::new("/")).unwrap();
        assert_eq!(file.length().unwrap(), 16_384);
    }

    #[test]
    fn where_there_is_no_room_for_zeros_the_file_ends_with_its_data_and_nothing_fails() {
        assert_eq!(filled_to(5_000, 5_000, 1 << 20, Some(FILL_AHEAD_FREE_BYTES_MIN)), 12_288);
        assert_eq!(filled_to(5_000, 5_000, 1 << 20, Some(FILL_AHEAD_FREE_BYTES_MIN - 1)), 5_000);
        for error in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge] {
            let file = Small { error, ..Small::new(200_000, 300_000) };
            let mut preallocation = Preallocation::new(0);
            preallocation.wrote(200_000);
            preallocation.fill(&file, 200_000, 1 << 20, &Room(None), Path::new("/")).unwrap();
            assert_eq!(file.length().unwrap(), 200_000, "what it took is given back");
            file.bytes.lock().unwrap().push(7);
            preallocation.fill(&file, 200_001, 1 << 20, &Room(None), Path::new("/")).unwrap();
            assert_eq!(file.length().unwrap(), 200_001);
            // The next segment tries again.
            let next = Small::new(100, PLENTY);
            preallocation.restart(64);
            preallocation.fill(&next, 100, 1 << 20, &Room(None), Path::new("/")).unwrap();
            assert!(next.length().unwrap() > 100);
        }
        let broken = Small { error: io::ErrorKind::Other, ..Small::new(200_000, 300_000) };
        let mut preallocation = Preallocation::new(0);
        preallocation.wrote(200_000);
        assert!(preallocation.fill(&broken, 200_000, 1 << 20, &Room(None), Path::new("/")).is_err());
    }

    #[test]
    fn data_ends_with_the_last_whole_frame_or_with_the_last_byte_that_is_no_zero() {
        let file = Small::new(100, PLENTY);
        let end = |whole| data_end(&file as &dyn DiskFile, whole, file.length().unwrap()).unwrap();
        assert_eq!((end(100), end(40)), (100, 100));
        let far = 100 + 3 * PIECE_BYTES;
        file.bytes.lock().unwrap().resize(far, 0);
        assert_eq!((end(100), end(130)), (100, 130));
        for torn in [100, 101, 100 + PIECE_BYTES, far - PIECE_BYTES - 1, far - 1] {
            file.bytes.lock().unwrap()[torn] = 1;
            assert_eq!((end(100), end(far as u64)), (torn as u64 + 1, far as u64));
        }
    }
}
