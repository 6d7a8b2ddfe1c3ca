//! Goal: whatever members, servers and partitions do, a partition has one owner at most, every record is delivered at least
//! once, and after a clean hand-over nothing that was committed comes again.
//!
//! Method: a log whose records each lie in a partition, members that read, stall, commit, leave and crash, a server that is
//! killed with the commits that it has not answered, a partition that is split; all in random order. The control is a group
//! that takes the commits of whoever has lost a partition.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use super::*;
use crate::record::{Epoch, MemberName, Position};

const SLOTS: usize = 5;
const TIMEOUT: Duration = Duration::from_secs(30);
const TAKE_BACK: Duration = Duration::from_secs(45);

#[derive(Debug, Clone)]
enum Action {
    Append(u16),
    Join(usize),
    /// Commits all that it was sent, and goes.
    Leave(usize),
    /// Goes without a word.
    Crash(usize),
    /// Reads and commits on without looking what it has.
    Stall(usize),
    Read(usize, usize),
    /// Commits up to that share of what it was sent; not answered if false.
    Commit(usize, u8, bool),
    GiveBack(usize),
    Wait(u64),
    Kill,
    Split,
}

#[derive(Debug)]
struct Reader {
    id: MemberId,
    stalled: bool,
    /// By partition: generation, first commit number that it was sent, the one behind the last.
    has: BTreeMap<u16, (u64, u64)>,
}

struct World {
    rules: GroupRules,
    group: Group,
    unfenced: bool,
    layout: Layout,
    now: Duration,
    /// The partition of each record; its number is its commit number less one.
    log: Vec<u16>,
    durable: BTreeMap<u16, Position>,
    readers: Vec<Option<Reader>>,
    delivered: BTreeSet<u64>,
    /// What was committed and answered, by partition.
    promised: BTreeMap<u16, u64>,
}

fn at(commit: u64) -> Position {
    Position { epoch: Epoch(1), commit, record: 0, xid_hash: 0 }
}

impl World {
    fn new(partitions: u16, unfenced: bool) -> Self {
        let rules = GroupRules {
            take_back: TAKE_BACK,
            gives_back_at_commit: false,
            commits_backwards: true,
            members_max: SLOTS,
        };
        let layout = Layout::of(partitions);
        let mut group = Group::new(rules, layout.clone(), at(0), BTreeMap::new());
        group.unfenced = unfenced;
        let readers = (0..SLOTS).map(|_| None).collect();
        let (durable, delivered, promised) = Default::default();
        let now = Duration::from_secs(1_000);
        Self { rules, group, unfenced, layout, now, log: Vec::new(), durable, readers, delivered, promised }
    }

    fn records_of(&self, partition: u16) -> impl Iterator<Item = u64> + '_ {
        let of_partition = self.log.iter().enumerate().filter(move |(_, of)| **of == partition);
        of_partition.map(|(at, _)| at as u64 + 1)
    }

    fn join(&mut self, slot: usize) {
        let name = MemberName::new(&format!("m{slot}")).unwrap();
        let id = self.group.join(name, Some(TIMEOUT), self.now).unwrap();
        self.readers[slot] = Some(Reader { id, stalled: false, has: BTreeMap::new() });
    }

    /// A reader that looks: takes over what it has got, forgets what it has lost. Whoever is out is gone.
    fn look(&mut self, slot: usize) -> Result<bool, TestCaseError> {
        let Some(reader) = &mut self.readers[slot] else { return Ok(false) };
        if reader.stalled {
            return Ok(true);
        }
        if self.group.heard(reader.id, self.now).is_err() {
            self.readers[slot] = None;
            return Ok(false);
        }
        let share = self.group.share(reader.id).unwrap();
        let before = std::mem::take(&mut reader.has);
        for owned in share.0 {
            let kept = before.get(&owned.partition).filter(|(generation, _)| *generation == owned.generation).copied();
            let begins = owned.committed.commit + 1;
            reader.has.insert(owned.partition, kept.unwrap_or((owned.generation, begins)));
            let promised = self.promised.get(&owned.partition).copied().unwrap_or_default();
            prop_assert!(kept.is_some() || begins > promised, "what was committed is read again by a new owner");
        }
        Ok(true)
    }

    fn read(&mut self, slot: usize, count: usize) {
        let Some(reader) = &self.readers[slot] else { return };
        let has: Vec<(u16, (u64, u64))> = reader.has.iter().map(|(partition, has)| (*partition, *has)).collect();
        for (partition, (generation, next)) in has {
            let records: Vec<u64> = self.records_of(partition).filter(|record| *record >= next).take(count).collect();
            self.delivered.extend(&records);
            let at_end = records.len() < count;
            let next = if at_end { self.log.len() as u64 + 1 } else { records.last().map_or(next, |last| last + 1) };
            if let Some(reader) = &mut self.readers[slot] {
                reader.has.insert(partition, (generation, next));
            }
        }
    }

    fn commit(&mut self, slot: usize, share: u8, answered: bool) {
        let Some(reader) = &self.readers[slot] else { return };
        let mut places = Vec::new();
        for (partition, (generation, next)) in &reader.has {
            let upto = (next - 1) * u64::from(share) / 255;
            places.extend((upto > 0).then_some((*partition, *generation, at(upto))));
        }
        // An owner that commits less than was committed before asks for it again.
        let share = self.group.share(reader.id).unwrap_or_default().0;
        let has = |owned: &Owned| reader.has.get(&owned.partition).is_some_and(|(had, _)| *had == owned.generation);
        let may_go_back: BTreeSet<u16> = share.iter().filter(|owned| has(owned)).map(|owned| owned.partition).collect();
        let Ok(committed) = self.group.begin_commit(reader.id, &places, self.now) else { return };
        // What the server is killed before is neither durable nor known to anybody.
        if answered {
            self.group.end_commit(reader.id, &committed, self.now);
        }
        for (partition, position) in committed.taken {
            let promised = self.promised.entry(partition).or_default();
            let commit = position.commit;
            *promised = match (may_go_back.contains(&partition), answered) {
                (true, true) => commit,
                // Whoever goes back takes its promise back, answered or not.
                (true, false) => commit.min(*promised),
                (false, true) => commit.max(*promised),
                (false, false) => *promised,
            };
            if answered {
                self.durable.insert(partition, position);
            }
        }
    }

    fn hand_back(&mut self, slot: usize, leaves: bool) {
        self.commit(slot, 255, true);
        let Some(reader) = &self.readers[slot] else { return };
        if leaves {
            self.group.leave(reader.id, self.now);
            self.readers[slot] = None;
        } else if let Some(share) = self.group.share(reader.id) {
            self.group.give_back(reader.id, &share.wanted(), self.now);
        }
    }

    fn kill(&mut self) {
        self.group = Group::new(self.rules, self.layout.clone(), at(0), self.durable.clone());
        self.group.unfenced = self.unfenced;
        self.readers.iter_mut().for_each(|reader| *reader = None);
    }

    fn split(&mut self) {
        let (next, parent) = (self.layout.0.len() as u16, 0);
        if self.layout.0[&parent].closed_at.is_some() {
            return;
        }
        // As a trail says it: of the whole trail, not of the partition's own last record.
        let here = (self.log.len() as u64, 0);
        self.layout.0.get_mut(&parent).unwrap().closed_at = Some(here);
        for child in [next, next + 1] {
            self.layout.0.insert(child, Partition { parents: vec![parent], opened_at: here, closed_at: None });
        }
        self.group.set_layout(self.layout.clone(), self.now);
    }

    fn act(&mut self, action: &Action) -> Result<(), TestCaseError> {
        match *action {
            Action::Append(partition) => {
                let open: Vec<u16> =
                    self.layout.0.iter().filter(|(_, of)| of.closed_at.is_none()).map(|(number, _)| *number).collect();
                self.log.push(open[usize::from(partition) % open.len()]);
            }
            Action::Join(slot) => self.join(slot),
            Action::Leave(slot) => {
                if self.look(slot)? {
                    self.hand_back(slot, true);
                }
            }
            Action::Crash(slot) => self.readers[slot] = None,
            Action::Stall(slot) => {
                if let Some(reader) = &mut self.readers[slot] {
                    reader.stalled ^= true;
                }
            }
            Action::Read(slot, count) => {
                if self.look(slot)? {
                    self.read(slot, count);
                }
            }
            Action::Commit(slot, share, answered) => {
                if self.look(slot)? {
                    self.commit(slot, share, answered);
                }
            }
            Action::GiveBack(slot) => {
                if self.look(slot)? {
                    self.hand_back(slot, false);
                }
            }
            Action::Wait(seconds) => {
                self.now += Duration::from_secs(seconds);
                self.group.tick(self.now);
            }
            Action::Kill => self.kill(),
            Action::Split => self.split(),
        }
        self.check()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let mut owned = BTreeSet::new();
        for reader in self.readers.iter().flatten() {
            for partition in self.group.share(reader.id).unwrap_or_default().0 {
                prop_assert!(owned.insert(partition.partition), "two owners of {}", partition.partition);
            }
        }
        let members = self.group.members();
        let sizes: Vec<usize> = members.iter().map(|member| member.partitions.len()).collect();
        let readable = self.layout.readable(|partition| place_of(&self.group.committed(partition)));
        prop_assert!(sizes.iter().sum::<usize>() <= readable.len());
        prop_assert!(members.is_empty() || owned.is_subset(&readable.into_iter().collect()));
        Ok(())
    }

    /// Everybody goes; one that is left reads to the end of everything.
    fn read_to_the_end(mut self) -> Result<(), TestCaseError> {
        self.readers.iter_mut().for_each(|reader| *reader = None);
        self.now += TIMEOUT + TAKE_BACK;
        self.group.tick(self.now);
        self.join(0);
        for _ in 0..3 {
            self.look(0)?;
            self.read(0, usize::MAX);
            self.commit(0, 255, true);
            self.check()?;
        }
        let all: BTreeSet<u64> = (1..=self.log.len() as u64).collect();
        prop_assert_eq!(&self.delivered, &all, "a record was delivered to nobody");
        let open = self.layout.0.values().filter(|partition| partition.closed_at.is_none()).count();
        prop_assert_eq!(self.group.members()[0].partitions.len(), open, "everything that is open has an owner");
        Ok(())
    }
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let slot = 0..SLOTS;
    let action = prop_oneof![
        6 => (0..8_u16).prop_map(Action::Append),
        3 => slot.clone().prop_map(Action::Join),
        1 => slot.clone().prop_map(Action::Leave),
        1 => slot.clone().prop_map(Action::Crash),
        1 => slot.clone().prop_map(Action::Stall),
        6 => (slot.clone(), 1..4_usize).prop_map(|(slot, count)| Action::Read(slot, count)),
        4 => (slot.clone(), any::<u8>(), any::<bool>()).prop_map(|(slot, share, sure)| Action::Commit(slot, share, sure)),
        3 => slot.prop_map(Action::GiveBack),
        2 => (1..60_u64).prop_map(Action::Wait),
        1 => Just(Action::Kill),
        1 => Just(Action::Split),
    ];
    proptest::collection::vec(action, 0..120)
}

fn run(partitions: u16, actions: &[Action], unfenced: bool) -> Result<(), TestCaseError> {
    let mut world = World::new(partitions, unfenced);
    actions.iter().try_for_each(|action| world.act(action))?;
    world.read_to_the_end()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn one_owner_each_record_once_at_least_and_nothing_committed_again(partitions in 1..5_u16, actions in actions()) {
        run(partitions, &actions, false)?;
    }
}

#[test]
fn a_group_that_takes_commits_of_whoever_has_lost_a_partition_is_seen_to_go_wrong() {
    // It takes a rare order of things.
    let config = ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let failed = runner.run(&(1..5_u16, actions()), |(partitions, actions)| run(partitions, &actions, true));
    assert!(matches!(failed, Err(TestError::Fail(..))), "{failed:?}");
}

fn group(partitions: u16) -> Group {
    let rules =
        GroupRules { take_back: TAKE_BACK, gives_back_at_commit: false, commits_backwards: false, members_max: 3 };
    Group::new(rules, Layout::of(partitions), at(0), BTreeMap::new())
}

/// Commits, and it is durable at once.
fn commit(
    group: &mut Group,
    id: MemberId,
    places: &[(u16, u64, Position)],
    now: Duration,
) -> Result<Committed, NotMember> {
    let committed = group.begin_commit(id, places, now)?;
    group.end_commit(id, &committed, now);
    Ok(committed)
}

fn named(name: &str) -> MemberName {
    MemberName::new(name).unwrap()
}

#[test]
fn of_one_partition_one_member_is_active_and_the_next_one_takes_over_when_it_leaves() {
    let (mut group, now) = (group(1), Duration::ZERO);
    let [first, second] = ["a", "b"].map(|name| group.join(named(name), None, now).unwrap());
    assert_eq!(group.share(first).unwrap().kept(), [0]);
    assert_eq!(group.share(second).unwrap(), Share::default());
    group.leave(first, now);
    assert_eq!(group.share(second).unwrap().kept(), [0]);
    assert_eq!(group.share(first), None);
}

#[test]
fn a_partition_goes_over_when_its_owner_gives_it_back_or_after_a_time() {
    let (mut group, now) = (group(2), Duration::ZERO);
    let first = group.join(named("a"), None, now).unwrap();
    let second = group.join(named("b"), None, now).unwrap();
    assert_eq!((group.share(first).unwrap().kept(), group.share(first).unwrap().wanted()), (vec![0], vec![1]));
    assert_eq!((group.share(second).unwrap(), group.next_tick()), (Share::default(), Some(TAKE_BACK)));
    let lost = group.share(first).unwrap().0[1].generation;
    group.tick(TAKE_BACK);
    assert_eq!(group.share(second).unwrap().kept(), [1]);
    let committed = commit(&mut group, first, &[(1, lost, at(7))], now).unwrap();
    assert_eq!((committed.lost, group.committed(1)), (vec![1], at(0)));
    let third = group.join(named("c"), None, now).unwrap();
    assert_eq!(group.share(third).unwrap(), Share::default(), "two have one each");
    assert_eq!(group.join(named("d"), None, now), Err(GroupFull(3)));
    let again = group.join(named("b"), None, now).unwrap();
    assert_eq!((group.share(second), group.heard(second, now)), (None, Err(NotMember)), "one of its name is in");
    assert_eq!(group.share(again).unwrap(), Share::default(), "the one that waits longest is next");
    assert_eq!(group.share(third).unwrap().kept(), [1]);
}

#[test]
fn who_is_silent_for_too_long_is_out_and_a_commit_is_a_sign_of_life() {
    let (mut group, second) = (group(1), Duration::from_secs);
    let first = group.join(named("a"), Some(TIMEOUT), second(0)).unwrap();
    let owned = group.share(first).unwrap().0[0];
    commit(&mut group, first, &[(0, owned.generation, at(3))], second(20)).unwrap();
    assert_eq!(group.next_tick(), Some(second(50)));
    group.tick(second(49));
    assert!(group.share(first).is_some());
    group.tick(second(50));
    assert_eq!(group.share(first), None);
    assert_eq!(commit(&mut group, first, &[(0, owned.generation, at(4))], second(51)), Err(NotMember));
    assert_eq!(group.committed(0), at(3));
}

#[test]
fn where_a_rebalance_shows_at_commits_only_they_give_back_what_is_wanted() {
    let rules =
        GroupRules { take_back: TAKE_BACK, gives_back_at_commit: true, commits_backwards: true, members_max: 3 };
    let (mut group, now) = (Group::new(rules, Layout::of(2), at(0), BTreeMap::new()), Duration::ZERO);
    let first = group.join(named("a"), Some(TIMEOUT), now).unwrap();
    let second = group.join(named("b"), Some(TIMEOUT), now).unwrap();
    let share = group.share(first).unwrap();
    assert_eq!(group.share(second).unwrap().kept(), [0; 0]);
    let places: Vec<_> = share.0.iter().map(|owned| (owned.partition, owned.generation, at(5))).collect();
    assert_eq!(commit(&mut group, first, &places, now).unwrap().taken.len(), 2);
    assert_eq!((group.share(first).unwrap().kept(), group.share(second).unwrap().kept()), (vec![0], vec![1]));
}

#[test]
fn nobody_goes_on_behind_what_is_not_stored_and_it_is_taken_when_it_is_said_again() {
    let (mut group, now) = (group(1), Duration::ZERO);
    let child = Partition { parents: vec![0], opened_at: (5, 0), closed_at: None };
    let closed = Partition { closed_at: Some((5, 0)), ..Partition::default() };
    group.set_layout(Layout([(0, closed), (1, child)].into()), now);
    let member = group.join(named("a"), None, now).unwrap();
    let owned = group.share(member).unwrap().0[0];
    let places = [(0, owned.generation, at(5))];
    // The first time the disk is full.
    for _ in 0..2 {
        assert_eq!(group.begin_commit(member, &places, now).unwrap().taken, [(0, at(5))]);
        assert_eq!((group.committed(0), group.share(member).unwrap().kept()), (at(0), vec![0]));
    }
    let committed = group.begin_commit(member, &places, now).unwrap();
    group.end_commit(member, &committed, now);
    let share = group.share(member).unwrap();
    assert_eq!((share.kept(), share.0[0].committed), (vec![1], at(5)), "the child begins where it was opened");
    assert!(group.is_committed(0) && !group.is_committed(1));
}
