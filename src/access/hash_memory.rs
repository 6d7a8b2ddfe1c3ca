//! The memory that password hashes are computed in.
//!
//! Handed from one hash to the next while somebody waits for his turn, and given back to the operating system when nobody
//! does: an idle server holds none of it. Leaves to `password` who may compute when.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argon2::Block;

/// Blocks for which room is taken at least; what is not used of it is address space only. The C library of most Linux
/// systems keeps what is freed of up to 32 MiB for later, in every thread that ever asked for it, and more than that never.
const ROOM_BLOCKS_MIN: usize = (33 << 20) / Block::SIZE;

/// What the hashes of one server share: spare memory, and who waits for his turn.
#[derive(Debug, Default)]
pub(super) struct HashMemory {
    waiting: AtomicUsize,
    spare: Mutex<Vec<Blocks>>,
}

/// A place among those who wait; given up when dropped, also by a client that went away.
#[derive(Debug)]
pub(super) struct Place(Arc<HashMemory>);

/// Memory for one hash at a time; passed on when dropped, if somebody waits.
#[derive(Debug)]
pub(super) struct Lease {
    memory: Arc<HashMemory>,
    blocks: Blocks,
}

/// Empty, or what the hash before left; never printed, since it comes of a password.
#[derive(Default)]
struct Blocks(Vec<Block>);

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} blocks", self.0.len())
    }
}

impl HashMemory {
    /// Takes a place unless `most` have one.
    pub(super) fn wait(self: &Arc<Self>, most: usize) -> Option<Place> {
        // The place is taken before the look, and given up by its drop if there were too many.
        let place = Place(self.clone());
        let before = self.waiting.fetch_add(1, Ordering::SeqCst);
        (before < most).then_some(place)
    }

    /// Those who wait now.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Blocks>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The turn has come.
    pub(super) fn lease(self) -> Lease {
        let blocks = self.0.spare().pop().unwrap_or_default();
        Lease { memory: self.0.clone(), blocks }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.spare().clear();
        }
    }
}

impl Lease {
    /// So many blocks, with anything in them.
    pub(super) fn blocks(&mut self, count: usize) -> &mut [Block] {
        let blocks = &mut self.blocks.0;
        if blocks.len() < count {
            // Not grown in place: what is in it would be copied.
            blocks.clear();
            blocks.reserve_exact(if hoards() { count } else { count.max(ROOM_BLOCKS_MIN) });
            blocks.resize(count, Block::new());
        }
        blocks
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let blocks = std::mem::take(&mut self.blocks);
        let mut spare = self.memory.spare();
        // Under the lock: whoever stops waiting clears what was spared for him afterwards.
        if !blocks.0.is_empty() && self.memory.waiting() > 0 && !hoards() {
            spare.push(blocks);
        }
    }
}

/// Whether a test asked that each hash takes memory of its own, as much as it needs, so that it can see what stays of it.
#[cfg(feature = "fault-injection")]
fn hoards() -> bool {
    static ASKED: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        std::env::var_os("TRAILCAST_TEST_HASH_MEMORY").is_some_and(|value| value == "kept")
    });
    *ASKED
}

#[cfg(not(feature = "fault-injection"))]
const fn hoards() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare(memory: &HashMemory) -> usize {
        memory.spare().len()
    }

    fn leased(memory: &Arc<HashMemory>, blocks: usize) -> Lease {
        let mut lease = memory.wait(10).unwrap().lease();
        lease.blocks(blocks);
        lease
    }

    #[test]
    fn memory_goes_to_whoever_waits_and_back_to_the_system_when_nobody_does() {
        let memory = Arc::new(HashMemory::default());
        let first = leased(&memory, 8);
        let place = memory.wait(10).unwrap();
        let address = first.blocks.0.as_ptr();
        drop(first);
        assert_eq!(spare(&memory), 1);
        let mut second = place.lease();
        assert_eq!((second.blocks(8).as_ptr(), spare(&memory)), (address, 0));
        drop(second);
        assert_eq!((spare(&memory), memory.waiting()), (0, 0));
    }

    #[test]
    fn what_was_spared_for_somebody_who_went_away_is_given_back() {
        let memory = Arc::new(HashMemory::default());
        let (first, second) = (leased(&memory, 8), leased(&memory, 8));
        let place = memory.wait(10).unwrap();
        drop((first, second));
        assert_eq!(spare(&memory), 2);
        drop(place);
        assert_eq!(spare(&memory), 0);
    }

    #[test]
    fn a_hash_that_wants_more_than_the_one_before_gets_it() {
        let memory = Arc::new(HashMemory::default());
        let mut lease = leased(&memory, 8);
        assert_eq!(lease.blocks(4).len(), 8);
        assert_eq!(lease.blocks(ROOM_BLOCKS_MIN + 1).len(), ROOM_BLOCKS_MIN + 1);
        assert!(!format!("{lease:?}").contains("Block("));
    }

    #[test]
    fn beyond_the_most_nobody_gets_a_place_and_none_is_lost() {
        let memory = Arc::new(HashMemory::default());
        let places: Vec<_> = (0..3).map_while(|_| memory.wait(2)).collect();
        assert_eq!((places.len(), memory.waiting()), (2, 2));
        drop(places);
        assert_eq!(memory.waiting(), 0);
    }
}
