//! A file beside a trail for what is not in the trail yet, and may never be: bytes that capture keeps for a while.
//!
//! Owns its blocks: which are in use, and that what is read back is what was written. The file has no name as soon as it is open, so
//! nothing of it is left when its owner is gone, however that ends, and nobody else can open it. Nothing in it is flushed. Whose bytes lie in which
//! blocks is the owner's to know.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::limits::{SPILL_BLOCK_BYTES, SPILL_FREE_BYTES_MIN};
use crate::trail::local::disk::{Disk, DiskFile, read_full};

const FILE: &str = "spill.tmp";

/// Where there is nothing to put such a file.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// As many bytes as may be are in it.
    #[error("they take {max} bytes on the disk, which is all that they may")]
    Full {
        /// How many that are.
        max: u64,
    },
    /// The disk has hardly any room left.
    #[error("the disk has less than {} MiB left for them", SPILL_FREE_BYTES_MIN >> 20)]
    NoRoom,
    /// The file system refused.
    #[error("the file for them fails: {0}")]
    Io(#[from] io::Error),
    /// What was read is not what was written.
    #[error("the disk gives back other bytes than it got")]
    Changed,
}

/// One block of the file that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpillBlock {
    number: u32,
    bytes: u32,
    crc: u32,
}

impl SpillBlock {
    /// How many bytes lie in it.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }
}

/// The file, made when the first bytes come.
#[derive(Debug)]
pub struct Spill {
    /// Where it is made; none where a trail does not lie in files.
    place: Option<(Arc<dyn Disk>, PathBuf)>,
    file: Option<Arc<dyn DiskFile>>,
    bytes_max: u64,
    /// Blocks that the file has.
    blocks: u32,
    /// Those of them that hold nothing.
    free: Vec<u32>,
}

impl Spill {
    /// None yet: it will be in the folder, and take no more than that.
    pub(in crate::trail) fn new(place: Option<(Arc<dyn Disk>, PathBuf)>, bytes_max: u64) -> Self {
        Self { place, file: None, bytes_max, blocks: 0, free: Vec::new() }
    }

    /// The same in a folder without a trail.
    #[cfg(test)]
    pub(crate) fn in_folder(folder: &std::path::Path, bytes_max: u64) -> Self {
        Self::new(Some((Arc::new(crate::trail::local::disk::SystemDisk), folder.to_owned())), bytes_max)
    }

    /// Bytes of the blocks that are in use.
    pub fn used(&self) -> u64 {
        (u64::from(self.blocks) - self.free.len() as u64) * SPILL_BLOCK_BYTES as u64
    }

    /// Writes bytes into free blocks, off the thread that asks.
    pub async fn write(&mut self, bytes: Vec<u8>) -> Result<Vec<SpillBlock>, SpillError> {
        let wanted = bytes.len().div_ceil(SPILL_BLOCK_BYTES);
        if self.used() + (wanted * SPILL_BLOCK_BYTES) as u64 > self.bytes_max {
            return Err(SpillError::Full { max: self.bytes_max });
        }
        let reused = self.free.len().min(wanted);
        let mut numbers = self.free.split_off(self.free.len() - reused);
        for _ in reused..wanted {
            numbers.push(self.blocks);
            self.blocks = self.blocks.checked_add(1).ok_or(SpillError::Full { max: self.bytes_max })?;
        }
        let (place, file) = (self.place.clone(), self.file.clone());
        let (file, blocks) = off_thread(move || {
            let (disk, folder) = place.ok_or_else(|| io::Error::other("the trail does not lie in files"))?;
            if disk.free_bytes(&folder).is_some_and(|free| free < SPILL_FREE_BYTES_MIN + bytes.len() as u64) {
                return Err(SpillError::NoRoom);
            }
            let file = file.map_or_else(|| nameless(&*disk, &folder.join(FILE)), Ok)?;
            let blocks = write_blocks(&*file, &numbers, &bytes)?;
            Ok((file, blocks))
        })
        .await?;
        self.file = Some(file);
        Ok(blocks)
    }

    /// Reads blocks back, one after the other, behind what `into` has.
    pub async fn read(&self, blocks: Vec<SpillBlock>, mut into: Vec<u8>) -> Result<Vec<u8>, SpillError> {
        let Some(file) = self.file.clone() else { return Err(SpillError::Changed) };
        off_thread(move || {
            for block in &blocks {
                let start = into.len();
                into.resize(start + block.bytes(), 0);
                read_full(&*file, &mut into[start..], offset(block.number))?;
                if crc32c::crc32c(&into[start..]) != block.crc {
                    return Err(SpillError::Changed);
                }
            }
            Ok(into)
        })
        .await
    }

    /// Nobody needs what is in these blocks any more. When nothing is in the file its room is given back.
    pub async fn release(&mut self, blocks: impl IntoIterator<Item = SpillBlock>) -> Result<(), SpillError> {
        self.free.extend(blocks.into_iter().map(|block| block.number));
        if self.blocks == 0 || self.free.len() < self.blocks as usize {
            return Ok(());
        }
        (self.blocks, self.free) = (0, Vec::new());
        match self.file.clone() {
            Some(file) => off_thread(move || Ok(file.cut(0)?)).await,
            None => Ok(()),
        }
    }
}

/// A new file that nobody finds by a name.
fn nameless(disk: &dyn Disk, path: &std::path::Path) -> io::Result<Arc<dyn DiskFile>> {
    // One that a crash left between the two steps.
    let _ = disk.remove(path);
    let file = disk.open(path, true)?;
    disk.remove(path)?;
    Ok(file)
}

fn offset(number: u32) -> u64 {
    u64::from(number) * SPILL_BLOCK_BYTES as u64
}

/// Blocks that follow each other in the file are written together.
fn write_blocks(file: &dyn DiskFile, numbers: &[u32], bytes: &[u8]) -> io::Result<Vec<SpillBlock>> {
    let mut start = 0;
    while start < numbers.len() {
        let follows = |at: &usize| numbers[*at] == numbers[*at - 1].wrapping_add(1);
        let end = (start + 1..numbers.len()).take_while(follows).last().map_or(start + 1, |last| last + 1);
        let until = (end * SPILL_BLOCK_BYTES).min(bytes.len());
        file.write_all_at(&bytes[start * SPILL_BLOCK_BYTES..until], offset(numbers[start]))?;
        start = end;
    }
    let block = |(number, bytes): (&u32, &[u8])| SpillBlock {
        number: *number,
        bytes: bytes.len() as u32,
        crc: crc32c::crc32c(bytes),
    };
    Ok(numbers.iter().zip(bytes.chunks(SPILL_BLOCK_BYTES)).map(block).collect())
}

async fn off_thread<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, SpillError> + Send + 'static,
) -> Result<R, SpillError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(io::Error::other(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::local::disk::SystemDisk;

    fn spill(bytes_max: u64) -> (Spill, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Spill::new(Some((Arc::new(SystemDisk), folder.path().to_owned())), bytes_max), folder)
    }

    fn bytes(length: usize, seed: u8) -> Vec<u8> {
        (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect()
    }

    #[tokio::test]
    async fn what_is_read_back_is_what_was_written_and_free_blocks_are_used_again() {
        let (mut spill, folder) = spill(1 << 30);
        let mut kept = Vec::new();
        for (seed, length) in
            [1, SPILL_BLOCK_BYTES, 3 * SPILL_BLOCK_BYTES + 7, 10 * SPILL_BLOCK_BYTES].iter().enumerate()
        {
            let bytes = bytes(*length, seed as u8);
            kept.push((spill.write(bytes.clone()).await.unwrap(), bytes));
        }
        assert_eq!(spill.used(), 16 * SPILL_BLOCK_BYTES as u64);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it has a name");
        let (freed, _) = kept.remove(2);
        spill.release(freed).await.unwrap();
        let again = bytes(8 * SPILL_BLOCK_BYTES - 1, 9);
        kept.push((spill.write(again.clone()).await.unwrap(), again));
        assert_eq!(spill.used(), 20 * SPILL_BLOCK_BYTES as u64);
        for (blocks, bytes) in &kept {
            let read = spill.read(blocks.clone(), b"before".to_vec()).await.unwrap();
            assert!(read.strip_prefix(b"before").unwrap() == bytes);
        }
        for (blocks, _) in kept {
            spill.release(blocks).await.unwrap();
        }
        assert_eq!((spill.used(), spill.file.as_ref().unwrap().length().unwrap()), (0, 0));
    }

    #[tokio::test]
    async fn no_more_than_its_cap_is_taken_and_nothing_is_lost_by_that() {
        let (mut spill, _folder) = spill(2 * SPILL_BLOCK_BYTES as u64);
        let first = spill.write(bytes(SPILL_BLOCK_BYTES + 1, 0)).await.unwrap();
        assert!(matches!(spill.write(vec![1]).await, Err(SpillError::Full { .. })));
        spill.release(first).await.unwrap();
        spill.write(vec![1]).await.unwrap();
    }

    #[tokio::test]
    async fn bytes_that_the_disk_changed_are_not_taken_for_those_that_were_written() {
        let (mut spill, _folder) = spill(1 << 20);
        let blocks = spill.write(bytes(100, 3)).await.unwrap();
        spill.file.as_ref().unwrap().write_all_at(b"x", 50).unwrap();
        assert!(matches!(spill.read(blocks, Vec::new()).await, Err(SpillError::Changed)));
    }
}
