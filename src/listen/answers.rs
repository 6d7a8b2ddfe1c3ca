//! What answers hold that their clients have not read yet: bounded over all clients, and for each address.
//!
//! An answer counts from when it is made until its last byte is in the kernel's hands. Answers that share their bytes, as those
//! of a cache do, count once. Once there is no room, answers that have been waiting for long are given up, so that
//! whoever does not read cannot keep the room from the others.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use crate::access::{Limit, LimitHits};
use crate::limits;

/// No room for another answer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// All clients together leave too much unread.
    #[error(
        "clients have not read {held} bytes of answers, and no more than {limit} are kept for them; try again soon"
    )]
    Server {
        /// Bytes unread now.
        held: usize,
        /// The most that may be.
        limit: usize,
    },
    /// One address leaves too much unread.
    #[error(
        "this address has not read {held} bytes of answers, and no more than {limit} are kept for it; read them, or try again soon"
    )]
    Address {
        /// Bytes of this address unread now.
        held: usize,
        /// The most that may be.
        limit: usize,
    },
}

/// The room for unread answers of one server.
#[derive(Debug)]
pub(super) struct AnswerRoom {
    limit: usize,
    of_address: usize,
    hits: Arc<LimitHits>,
    held: Mutex<Unread>,
}

/// Where bytes lie and how many: the same for answers that share them, and while one of them is held for no others.
type Region = (usize, usize);

/// Bytes by where they lie, each with the number of answers that hold it.
#[derive(Debug, Default)]
struct Regions {
    bytes: usize,
    held: HashMap<Region, usize>,
}

#[derive(Debug, Default)]
struct Unread {
    all: Regions,
    of_addresses: HashMap<IpAddr, Regions>,
    /// By number, and so the oldest first.
    answers: BTreeMap<u64, Answer>,
    next: u64,
}

#[derive(Debug)]
struct Answer {
    address: IpAddr,
    since: Instant,
    give_up: Arc<Notify>,
}

impl Regions {
    fn add(&mut self, region: Region) {
        let holders = self.held.entry(region).or_insert(0);
        if *holders == 0 {
            self.bytes += region.1;
        }
        *holders += 1;
    }

    fn remove(&mut self, region: Region) {
        if let Some(holders) = self.held.get_mut(&region) {
            *holders -= 1;
            if *holders == 0 {
                self.held.remove(&region);
                self.bytes -= region.1;
            }
        }
    }
}

impl Unread {
    /// Gives up what has been held for too long, of one address or of all.
    fn give_up_old(&self, of: Option<IpAddr>) {
        let long = Duration::from_secs(limits::ANSWER_CROWDED_SECONDS);
        let old = self.answers.values().take_while(|answer| answer.since.elapsed() >= long);
        old.filter(|answer| of.is_none_or(|address| address == answer.address))
            .for_each(|old| old.give_up.notify_one());
    }
}

impl AnswerRoom {
    /// Room for `limit` bytes, of which one address may take `of_address`. An answer is taken as long as less is held, however
    /// large it is: the largest one more may be held.
    pub(super) fn new(limit: usize, of_address: usize, hits: Arc<LimitHits>) -> Self {
        Self { limit, of_address, hits, held: Mutex::default() }
    }

    /// Holds the bytes of an answer to `address` for as long as what is returned, or a part of it, lives. `give_up` is
    /// told when nobody should wait for its client any longer. What `must` be said is never refused.
    pub(super) fn hold(
        self: &Arc<Self>,
        bytes: Bytes,
        address: IpAddr,
        give_up: &Arc<Notify>,
        must: bool,
    ) -> Result<Bytes, NoRoom> {
        let region = (bytes.as_ptr() as usize, bytes.len());
        let mut unread = self.lock();
        let shared = unread.all.held.contains_key(&region);
        if !must
            && !shared
            && let Some(no_room) = self.lacks(&unread, address)
        {
            return Err(no_room);
        }
        unread.all.add(region);
        unread.of_addresses.entry(address).or_default().add(region);
        let number = unread.next;
        unread.next += 1;
        unread.answers.insert(number, Answer { address, since: Instant::now(), give_up: give_up.clone() });
        self.hits.set_unread_answer_bytes(unread.all.bytes);
        drop(unread);
        Ok(Bytes::from_owner(Held { bytes, region, address, number, room: self.clone() }))
    }

    fn lacks(&self, unread: &Unread, address: IpAddr) -> Option<NoRoom> {
        let of_address = unread.of_addresses.get(&address).map_or(0, |regions| regions.bytes);
        if of_address >= self.of_address {
            self.hits.count(Limit::AnswerMemoryPerAddress);
            unread.give_up_old(Some(address));
            return Some(NoRoom::Address { held: of_address, limit: self.of_address });
        }
        if unread.all.bytes >= self.limit {
            self.hits.count(Limit::AnswerMemory);
            unread.give_up_old(None);
            return Some(NoRoom::Server { held: unread.all.bytes, limit: self.limit });
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Unread> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of one answer, and their place in the room.
struct Held {
    bytes: Bytes,
    region: Region,
    address: IpAddr,
    number: u64,
    room: Arc<AnswerRoom>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // While the bytes are still there: another answer must not be given their place under the same address.
        let mut unread = self.room.lock();
        unread.all.remove(self.region);
        if let Some(regions) = unread.of_addresses.get_mut(&self.address) {
            regions.remove(self.region);
            if regions.held.is_empty() {
                unread.of_addresses.remove(&self.address);
            }
        }
        unread.answers.remove(&self.number);
        self.room.hits.set_unread_answer_bytes(unread.all.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const BOB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
    const EVE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3));

    fn room(limit: usize, of_address: usize) -> Arc<AnswerRoom> {
        Arc::new(AnswerRoom::new(limit, of_address, Arc::default()))
    }

    fn answer(bytes: usize) -> Bytes {
        Bytes::from(vec![b'x'; bytes])
    }

    #[tokio::test]
    async fn an_address_may_leave_its_share_unread_and_all_together_the_whole() {
        let (room, nobody) = (room(100, 50), Arc::default());
        let hold = |bytes, address| room.hold(answer(bytes), address, &nobody, false);
        let first = hold(50, ANN).unwrap();
        assert_eq!(hold(1, ANN), Err(NoRoom::Address { held: 50, limit: 50 }));
        let second = hold(49, BOB).unwrap();
        let third = hold(10, BOB).unwrap();
        assert_eq!(
            hold(1, EVE),
            Err(NoRoom::Server { held: 109, limit: 100 }),
            "the last one may be larger than the rest"
        );
        assert_eq!([room.hits.of(Limit::AnswerMemoryPerAddress), room.hits.of(Limit::AnswerMemory)], [1, 1]);
        assert!(room.hold(answer(5), EVE, &nobody, true).is_ok(), "what must be said is said");
        drop(third);
        assert_eq!(hold(7, EVE).unwrap().len(), 7);
        drop((first, second));
        assert_eq!(room.hits.unread_answer_bytes(), 0);
        let unread = room.lock();
        assert!(unread.of_addresses.is_empty() && unread.answers.is_empty() && unread.all.held.is_empty());
    }

    #[tokio::test]
    async fn answers_that_share_their_bytes_count_once_and_until_the_last_part_is_gone() {
        let (room, nobody) = (room(100, 100), Arc::default());
        let document = answer(100);
        let held: Vec<_> = (0..5).map(|_| room.hold(document.clone(), ANN, &nobody, false).unwrap()).collect();
        assert_eq!(room.hits.unread_answer_bytes(), 100);
        assert!(room.hold(answer(1), BOB, &nobody, false).is_err());
        let end = held[4].slice(99..);
        drop(held);
        assert_eq!(room.hits.unread_answer_bytes(), 100, "one byte of it keeps the whole");
        drop(end);
        assert_eq!(room.hits.unread_answer_bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn once_room_is_short_those_who_have_not_read_for_long_are_given_up_and_nobody_else() {
        let room = room(100, 60);
        let told = |client: &Arc<Notify>| {
            let client = client.clone();
            async move { tokio::time::timeout(Duration::from_millis(1), client.notified()).await.is_ok() }
        };
        let (ann, bob, late): (Arc<Notify>, Arc<Notify>, Arc<Notify>) = Default::default();
        let _ann = room.hold(answer(60), ANN, &ann, false).unwrap();
        let _bob = room.hold(answer(30), BOB, &bob, false).unwrap();
        tokio::time::advance(Duration::from_secs(limits::ANSWER_CROWDED_SECONDS)).await;
        let _late = room.hold(answer(10), EVE, &late, false).unwrap();
        assert!(!told(&ann).await && !told(&bob).await, "there was room");
        assert!(matches!(room.hold(answer(1), ANN, &ann, false), Err(NoRoom::Address { .. })));
        assert!(told(&ann).await && !told(&bob).await, "the address is short of room, not the server");
        assert!(matches!(room.hold(answer(1), EVE, &late, false), Err(NoRoom::Server { .. })));
        assert!(told(&ann).await && told(&bob).await && !told(&late).await);
    }
}
