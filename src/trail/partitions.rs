//! The partitions of a trail: which hashes of keys belong to which, and which of them are closed.
//!
//! Owns how a key finds its partition, for whoever appends, and how partitions are split and merged. Knows neither a trail's
//! bytes nor where the map is kept: that a closed partition is never written to again is the [`appender`](super::Appender)'s
//! work.
//!
//! A hash is a number of 128 bits. Open partitions cover all of them, and no two the same; a closed one says which it had. A
//! partition's number is never used again, and neither is a closed partition opened again: its records stay where they are, and
//! what comes for its hashes goes to the partitions that have it for a parent.

use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError, RwLock};

use md5::{Digest, Md5};

use crate::limits::{TRAIL_PARTITIONS_MAX, TRAIL_PARTITIONS_OPEN_MAX};

/// One partition of a trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 0.
    pub number: u16,
    /// The hashes whose records are, or were, appended to it.
    pub hashes: RangeInclusive<u128>,
    /// What it was split or merged from; none of those that the trail was made with.
    pub parents: Vec<u16>,
    /// It holds records of transactions behind this commit number only.
    pub opened: u64,
    /// It holds no record of a transaction behind this commit number; none while it is open.
    pub closed: Option<u64>,
}

impl Partition {
    /// Whether records are appended to it.
    pub fn is_open(&self) -> bool {
        self.closed.is_none()
    }
}

/// How the partitions of a trail are to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionChange {
    /// One becomes two.
    Split {
        /// Which.
        partition: u16,
        /// The first hash of the second; half of the range without it.
        at: Option<u128>,
    },
    /// Two whose ranges touch become one.
    Merge {
        /// One of them.
        partition: u16,
        /// The other one.
        with: u16,
    },
}

/// Why partitions cannot be changed that way; nothing was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    /// There is no such partition.
    #[error("partition {partition} does not exist; the trail's partitions are 0 to {last}")]
    Missing {
        /// The partition asked for.
        partition: u16,
        /// The last one there is.
        last: u16,
    },
    /// It has been split or merged already.
    #[error("partition {0} is closed, and a closed partition can be read but not changed; name an open one")]
    Closed(u16),
    /// It cannot be split at that hash.
    #[error("partition {partition} can be split at a hash from {first} to {last}")]
    SplitAt {
        /// The partition.
        partition: u16,
        /// The least hash at which it can be split.
        first: u128,
        /// The greatest one.
        last: u128,
    },
    /// It has one hash only.
    #[error("partition {0} has one hash only and cannot be split")]
    Single(u16),
    /// The ranges of the two do not touch.
    #[error("partitions {0} and {1} cannot be merged, for their ranges of hashes do not touch")]
    NotAdjacent(u16, u16),
    /// There would be more open ones than may be.
    #[error("the trail has {0} open partitions, which is the limit; merge some first")]
    TooManyOpen(usize),
    /// Numbers have run out.
    #[error("the trail has had {0} partitions, which is the limit for its life; go on in a new trail")]
    TooMany(usize),
}

/// All partitions that a trail has had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionMap {
    /// By number.
    all: Vec<Partition>,
    /// Last hash and number of the open ones, in the order of their hashes.
    by_hash: Vec<(u128, u16)>,
}

impl PartitionMap {
    /// The map of a new trail with that many partitions, at least one: steps of the same size, of which the last has what is left
    /// over.
    pub fn new(partitions: u16) -> Self {
        let partitions = partitions.max(1);
        // One step of all hashes does not fit into the number: one partition has no step.
        let step = if partitions == 1 { 0 } else { (u128::MAX / u128::from(partitions)) + ends_even(partitions) };
        let part = |number: u16| {
            let start = step * u128::from(number);
            let end = if number + 1 == partitions { u128::MAX } else { start + step - 1 };
            Partition { number, hashes: start..=end, parents: Vec::new(), opened: 0, closed: None }
        };
        Self::known((0..partitions).map(part).collect())
    }

    /// The map of these partitions, if it is one: numbered from 0 without a gap, and the open ones have each hash once.
    pub(super) fn of(all: Vec<Partition>) -> Option<Self> {
        let numbered = all.iter().enumerate().all(|(at, partition)| usize::from(partition.number) == at);
        let within = (1..=TRAIL_PARTITIONS_MAX).contains(&all.len());
        let map = Self::known(all);
        (numbered && within && map.covers_all()).then_some(map)
    }

    fn known(all: Vec<Partition>) -> Self {
        let mut by_hash: Vec<(u128, u16)> = all
            .iter()
            .filter(|partition| partition.is_open())
            .map(|partition| (*partition.hashes.end(), partition.number))
            .collect();
        by_hash.sort_unstable();
        Self { all, by_hash }
    }

    fn covers_all(&self) -> bool {
        let mut next = Some(0);
        for (end, number) in &self.by_hash {
            let start = *self.all[usize::from(*number)].hashes.start();
            if next != Some(start) || start > *end {
                return false;
            }
            next = end.checked_add(1);
        }
        next.is_none() && !self.by_hash.is_empty()
    }

    /// All of them, closed ones too, by number.
    pub fn all(&self) -> &[Partition] {
        &self.all
    }

    /// Those that are appended to, in the order of their hashes.
    pub fn open(&self) -> impl ExactSizeIterator<Item = &Partition> + '_ {
        self.by_hash.iter().map(|(_, number)| &self.all[usize::from(*number)])
    }

    /// The one of that number.
    #[inline]
    pub fn get(&self, number: u16) -> Option<&Partition> {
        self.all.get(usize::from(number))
    }

    /// Those that have this one for a parent: what comes for its hashes since it was closed goes there.
    pub fn children(&self, number: u16) -> impl Iterator<Item = &Partition> + '_ {
        self.all.iter().filter(move |partition| partition.parents.contains(&number))
    }

    /// Whether it has never been more than one: then nothing need be asked of it.
    pub fn is_single(&self) -> bool {
        self.all.len() == 1
    }

    /// Whether that one is appended to.
    #[inline]
    pub fn is_open(&self, number: u16) -> bool {
        self.get(number).is_some_and(Partition::is_open)
    }

    /// The open one that a hash belongs to.
    pub fn for_hash(&self, hash: u128) -> u16 {
        let at = self.by_hash.partition_point(|(end, _)| *end < hash);
        self.by_hash.get(at).map_or(0, |(_, number)| *number)
    }

    /// The open one that a key belongs to.
    pub fn for_key(&self, key: &[u8]) -> u16 {
        if self.by_hash.len() == 1 { self.for_hash(0) } else { self.for_hash(hash_of(key)) }
    }

    /// The map after that change; what it closes holds nothing behind transaction `commit`.
    pub fn changed(&self, change: PartitionChange, commit: u64) -> Result<Self, PartitionError> {
        match change {
            PartitionChange::Split { partition, at } => self.split(partition, at, commit),
            PartitionChange::Merge { partition, with } => self.merge(partition, with, commit),
        }
    }

    /// The map with that partition split in two, the second from hash `at` on: half of the range without it.
    pub fn split(&self, partition: u16, at: Option<u128>, commit: u64) -> Result<Self, PartitionError> {
        let (start, end) = self.open_one(partition)?.hashes.clone().into_inner();
        if start == end {
            return Err(PartitionError::Single(partition));
        }
        if self.by_hash.len() >= TRAIL_PARTITIONS_OPEN_MAX {
            return Err(PartitionError::TooManyOpen(TRAIL_PARTITIONS_OPEN_MAX));
        }
        let at = at.unwrap_or(start + (end - start) / 2 + 1);
        if at <= start || at > end {
            return Err(PartitionError::SplitAt { partition, first: start + 1, last: end });
        }
        self.replaced(&[partition], &[start..=at - 1, at..=end], commit)
    }

    /// The map with these two, whose ranges touch, merged into one.
    pub fn merge(&self, partition: u16, with: u16, commit: u64) -> Result<Self, PartitionError> {
        let (one, other) = (&self.open_one(partition)?.hashes, &self.open_one(with)?.hashes);
        let touches = |low: &RangeInclusive<u128>, high: &RangeInclusive<u128>| {
            low.end().checked_add(1).is_some_and(|next| next == *high.start())
        };
        let merged = if touches(one, other) {
            *one.start()..=*other.end()
        } else if touches(other, one) {
            *other.start()..=*one.end()
        } else {
            return Err(PartitionError::NotAdjacent(partition, with));
        };
        self.replaced(&[partition, with], &[merged], commit)
    }

    fn open_one(&self, number: u16) -> Result<&Partition, PartitionError> {
        let last = u16::try_from(self.all.len() - 1).unwrap_or(u16::MAX);
        let found = self.get(number).ok_or(PartitionError::Missing { partition: number, last })?;
        if found.is_open() { Ok(found) } else { Err(PartitionError::Closed(number)) }
    }

    fn replaced(&self, closed: &[u16], ranges: &[RangeInclusive<u128>], commit: u64) -> Result<Self, PartitionError> {
        let mut all = self.all.clone();
        for number in closed {
            all[usize::from(*number)].closed = Some(commit);
        }
        for hashes in ranges {
            let number = u16::try_from(all.len()).ok().filter(|number| usize::from(*number) < TRAIL_PARTITIONS_MAX);
            let number = number.ok_or(PartitionError::TooMany(TRAIL_PARTITIONS_MAX))?;
            let (hashes, parents) = (hashes.clone(), closed.to_vec());
            all.push(Partition { number, hashes, parents, opened: commit, closed: None });
        }
        Ok(Self::known(all))
    }

    /// The same map in a trail that ends with transaction `last`, and may have gone back to it: in a copy that is older than the
    /// map, and behind a repair, partitions were closed no later than the trail ends.
    pub(super) fn ending_at(&self, last: u64) -> Self {
        let mut all = self.all.clone();
        for partition in &mut all {
            partition.opened = partition.opened.min(last);
            partition.closed = partition.closed.map(|closed| closed.min(last));
        }
        Self::known(all)
    }
}

/// The map of a trail as it is now, for whoever looks at it again and again. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CurrentPartitions(Arc<RwLock<Arc<PartitionMap>>>);

impl CurrentPartitions {
    /// That map, until it changes.
    pub fn new(map: Arc<PartitionMap>) -> Self {
        Self(Arc::new(RwLock::new(map)))
    }

    /// The map now.
    pub fn get(&self) -> Arc<PartitionMap> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changed by the one who has the trail's end, and when the trail is opened.
    pub(crate) fn set(&self, map: Arc<PartitionMap>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = map;
    }
}

/// What is added to `u128::MAX / n` so that it is 2¹²⁸ / n without its fraction: one where n divides 2¹²⁸.
fn ends_even(partitions: u16) -> u128 {
    u128::from(partitions.is_power_of_two())
}

/// The hash of a key: its MD5 as a big-endian number, which is the rule of Kinesis, for all faces.
pub fn hash_of(key: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(key).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Split(prop::sample::Index, Option<u128>),
        Merge(prop::sample::Index),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (any::<prop::sample::Index>(), any::<Option<u128>>()).prop_map(|(which, at)| Step::Split(which, at)),
            any::<prop::sample::Index>().prop_map(Step::Merge),
        ]
    }

    fn taken(map: &PartitionMap, step: &Step, commit: u64) -> Result<PartitionMap, PartitionError> {
        let open: Vec<&Partition> = map.open().collect();
        match step {
            Step::Split(which, at) => {
                let partition = open[which.index(open.len())];
                let (start, end) = partition.hashes.clone().into_inner();
                let at = at.map(|at| if start < end { start + 1 + at % (end - start) } else { at });
                map.split(partition.number, at, commit)
            }
            Step::Merge(which) => {
                let at = which.index(open.len());
                map.merge(open[at].number, open[(at + 1) % open.len()].number, commit)
            }
        }
    }

    proptest! {
        #[test]
        fn open_partitions_have_every_hash_once_however_they_are_split_and_merged(
            partitions in 1..40_u16,
            steps in proptest::collection::vec(any_step(), 0..30),
            hashes in proptest::collection::vec(any::<u128>(), 1..20),
        ) {
            let mut map = PartitionMap::new(partitions);
            for (commit, step) in steps.iter().enumerate() {
                let Ok(next) = taken(&map, step, commit as u64) else { continue };
                prop_assert!(next.all().len() > map.all().len());
                for before in map.all() {
                    let after = next.get(before.number).unwrap();
                    prop_assert_eq!((&after.hashes, &after.parents, after.opened), (&before.hashes, &before.parents, before.opened));
                    if !before.is_open() {
                        prop_assert_eq!(after.closed, before.closed, "a closed one stays as it is");
                    } else if !after.is_open() {
                        prop_assert!(next.children(before.number).all(|child| child.opened == after.closed.unwrap()));
                        prop_assert!(next.children(before.number).count() > 0);
                    }
                }
                map = next;
            }
            prop_assert!(map.covers_all());
            prop_assert_eq!(PartitionMap::of(map.all().to_vec()), Some(map.clone()));
            for hash in hashes {
                let found = map.for_hash(hash);
                let holding: Vec<u16> = map.open().filter(|one| one.hashes.contains(&hash)).map(|one| one.number).collect();
                prop_assert_eq!(holding, vec![found]);
            }
        }

        #[test]
        fn what_is_no_map_is_not_taken_for_one(
            partitions in 2..9_u16,
            which in any::<prop::sample::Index>(),
            by in 1..1_000_u128,
        ) {
            let map = PartitionMap::new(partitions);
            let mut all = map.all().to_vec();
            let at = which.index(all.len());
            let (start, end) = all[at].hashes.clone().into_inner();
            all[at].hashes = start + by..=end;
            prop_assert_eq!(PartitionMap::of(all.clone()), None);
            all[at].hashes = start..=end - by;
            prop_assert_eq!(PartitionMap::of(all.clone()), None);
            all.remove(at);
            prop_assert_eq!(PartitionMap::of(all), None);
        }
    }

    #[test]
    fn a_new_map_is_divided_as_kinesis_divides_a_stream() {
        // 2^128 / 3 without its fraction, and the last takes what is left.
        let third = 113_427_455_640_312_821_154_458_202_477_256_070_485_u128;
        let ranges: Vec<_> = PartitionMap::new(3).open().map(|partition| partition.hashes.clone()).collect();
        assert_eq!(ranges, [0..=third - 1, third..=2 * third - 1, 2 * third..=u128::MAX]);
        let ranges: Vec<_> = PartitionMap::new(2).open().map(|partition| partition.hashes.clone()).collect();
        assert_eq!(ranges, [0..=(1 << 127) - 1, 1 << 127..=u128::MAX]);
        assert_eq!(PartitionMap::new(1).get(0).unwrap().hashes, 0..=u128::MAX);
    }

    #[test]
    fn a_key_goes_where_its_md5_lies() {
        assert_eq!(hash_of(b"a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
        let map = PartitionMap::new(16);
        assert_eq!(map.for_key(b"a"), 0);
        assert_eq!(map.for_key(b""), 13);
        assert_eq!(PartitionMap::new(1).for_key(b"a"), 0);
    }

    #[test]
    fn what_cannot_be_changed_is_refused_with_what_can() {
        let map = PartitionMap::new(4);
        let split = map.split(1, None, 9).unwrap();
        assert_eq!(split.get(1).unwrap().closed, Some(9));
        assert_eq!(split.for_hash(*map.get(1).unwrap().hashes.start()), 4);
        let refused = |map: Result<PartitionMap, PartitionError>| map.unwrap_err().to_string();
        assert_eq!(
            refused(split.split(1, None, 10)),
            "partition 1 is closed, and a closed partition can be read but not changed; name an open one"
        );
        assert_eq!(
            refused(map.merge(0, 2, 1)),
            "partitions 0 and 2 cannot be merged, for their ranges of hashes do not touch"
        );
        assert_eq!(
            refused(map.merge(0, 0, 1)),
            "partitions 0 and 0 cannot be merged, for their ranges of hashes do not touch"
        );
        assert_eq!(refused(map.split(4, None, 1)), "partition 4 does not exist; the trail's partitions are 0 to 3");
        assert_eq!(
            refused(PartitionMap::new(1).split(0, Some(0), 1)),
            format!("partition 0 can be split at a hash from 1 to {}", u128::MAX)
        );
        let two = PartitionMap::new(1).split(0, Some(1), 1).unwrap();
        assert_eq!(refused(two.split(1, None, 2)), "partition 1 has one hash only and cannot be split");
    }

    #[test]
    fn a_copy_that_is_older_than_the_map_has_it_as_of_its_own_end() {
        let map = PartitionMap::new(1).split(0, None, 90).unwrap().ending_at(40);
        assert_eq!((map.get(0).unwrap().closed, map.get(1).unwrap().opened), (Some(40), 40));
    }
}
