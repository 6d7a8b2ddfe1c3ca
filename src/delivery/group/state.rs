//! Who is in a group, and who has which partition.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::balance::balance;
use super::layout::{Layout, Place, place_of};
use crate::record::{MemberName, Position};

/// A membership, told from every other one of the group's life: who joins again is another one, even under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(u64);

/// What protocols do differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupRules {
    /// Time after which a partition that is wanted back is taken from its owner.
    pub take_back: Duration,
    /// Whether a commit of an owner gives back what is wanted of it: for clients that hear of a rebalance in no other way.
    pub gives_back_at_commit: bool,
    /// Whether an owner may commit a place before the one that is committed.
    pub commits_backwards: bool,
    /// Most members.
    pub members_max: usize,
}

/// The group has as many members as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the group has {0} members already, which is the limit")]
pub struct GroupFull(pub usize);

/// Whoever asks is not in the group any more: it was silent for too long, left, or another one joined under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the member is not in the group any more; it has to join again")]
pub struct NotMember;

/// A partition that a member has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owned {
    /// Its number.
    pub partition: u16,
    /// Tells this time of having it from every other: a partition that was lost and came back is a new one.
    pub generation: u64,
    /// Whether it is wanted back.
    pub wanted: bool,
    /// Where it goes on: behind this position.
    pub committed: Position,
}

/// What a member has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Share(pub Vec<Owned>);

impl Share {
    /// The partitions that it will still have when it has given back what is wanted.
    pub fn kept(&self) -> Vec<u16> {
        self.0.iter().filter(|owned| !owned.wanted).map(|owned| owned.partition).collect()
    }

    /// Those that are wanted back.
    pub fn wanted(&self) -> Vec<u16> {
        self.0.iter().filter(|owned| owned.wanted).map(|owned| owned.partition).collect()
    }

    /// What tells it from another one that has to be read in another way.
    pub fn key(&self) -> Vec<(u16, u64, bool)> {
        self.0.iter().map(|owned| (owned.partition, owned.generation, owned.wanted)).collect()
    }
}

/// What comes of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// What is to be committed.
    pub taken: Vec<(u16, Position)>,
    /// Partitions that the member does not have, or not as it thinks: nothing was committed of them.
    pub lost: Vec<u16>,
}

/// A member, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    /// Its name.
    pub name: MemberName,
    /// When it joined.
    pub joined: Duration,
    /// When it is out unless it is heard of, if ever.
    pub out_at: Option<Duration>,
    /// Its partitions.
    pub partitions: Vec<u16>,
}

/// A partition, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its number.
    pub partition: u16,
    /// Who has it.
    pub owner: Option<MemberName>,
    /// Whether all of it has been read, for good.
    pub finished: bool,
}

#[derive(Debug)]
struct Member {
    name: MemberName,
    joined: Duration,
    heard: Duration,
    /// Silence after which it is out; none of one whose end is told.
    timeout: Option<Duration>,
}

impl Member {
    fn out_at(&self) -> Option<Duration> {
        self.timeout.map(|timeout| self.heard.saturating_add(timeout))
    }
}

#[derive(Debug, Clone, Copy)]
struct Ownership {
    member: MemberId,
    generation: u64,
    wanted_since: Option<Duration>,
}

/// A group.
#[derive(Debug)]
pub struct Group {
    rules: GroupRules,
    layout: Layout,
    members: BTreeMap<MemberId, Member>,
    owners: BTreeMap<u16, Ownership>,
    /// Where partitions without a commit begin.
    start: Position,
    /// Durable places only.
    committed: BTreeMap<u16, Position>,
    /// Counts changes of who has what and of what is wanted back.
    version: u64,
    last_member: u64,
    last_generation: u64,
    /// Takes commits of anybody, so that a test can see what that does.
    #[cfg(test)]
    pub(super) unfenced: bool,
}

impl Group {
    /// A group without members that is committed so far, and begins behind `start` where it is not.
    pub fn new(rules: GroupRules, layout: Layout, start: Position, committed: BTreeMap<u16, Position>) -> Self {
        let (members, owners) = Default::default();
        Self {
            rules,
            layout,
            members,
            owners,
            start,
            committed,
            version: 0,
            last_member: 0,
            last_generation: 0,
            #[cfg(test)]
            unfenced: false,
        }
    }

    /// Takes a member in. One of that name that is in already is out.
    pub fn join(&mut self, name: MemberName, timeout: Option<Duration>, now: Duration) -> Result<MemberId, GroupFull> {
        self.expire(now);
        let before = self.members.iter().find(|(_, member)| member.name == name).map(|(id, _)| *id);
        if before.is_none() && self.members.len() >= self.rules.members_max {
            return Err(GroupFull(self.rules.members_max));
        }
        if let Some(before) = before {
            self.remove(before);
        }
        self.last_member += 1;
        let id = MemberId(self.last_member);
        self.members.insert(id, Member { name, joined: now, heard: now, timeout });
        self.share_out(now);
        Ok(id)
    }

    /// Lets a member go; its partitions go to others.
    pub fn leave(&mut self, id: MemberId, now: Duration) {
        self.remove(id);
        self.tick(now);
    }

    /// A member was heard of.
    pub fn heard(&mut self, id: MemberId, now: Duration) -> Result<(), NotMember> {
        self.tick(now);
        let member = self.members.get_mut(&id).ok_or(NotMember)?;
        member.heard = now;
        Ok(())
    }

    /// Puts out who was silent for too long, takes back what was not given back in time, and shares out what is free.
    pub fn tick(&mut self, now: Duration) {
        self.expire(now);
        let (take_back, owners) = (self.rules.take_back, &mut self.owners);
        let before = owners.len();
        owners.retain(|_, owner| owner.wanted_since.is_none_or(|since| now < since.saturating_add(take_back)));
        if owners.len() != before {
            self.version += 1;
        }
        self.share_out(now);
    }

    /// When [`Self::tick`] has something to do, if nothing happens before.
    pub fn next_tick(&self) -> Option<Duration> {
        let out = self.members.values().filter_map(Member::out_at);
        let back = self.owners.values().filter_map(|owner| owner.wanted_since);
        out.chain(back.map(|since| since.saturating_add(self.rules.take_back))).min()
    }

    /// What a member has; none of who is not in the group any more.
    pub fn share(&self, id: MemberId) -> Option<Share> {
        self.members.get(&id)?;
        let of_member = self.owners.iter().filter(|(_, owner)| owner.member == id);
        let owned = of_member.map(|(partition, owner)| Owned {
            partition: *partition,
            generation: owner.generation,
            wanted: owner.wanted_since.is_some(),
            committed: self.committed(*partition),
        });
        Some(Share(owned.collect()))
    }

    /// A member gives partitions back, whether or not they are wanted; others may get them, or the same again.
    pub fn give_back(&mut self, id: MemberId, partitions: &[u16], now: Duration) {
        let before = self.owners.len();
        self.owners.retain(|partition, owner| owner.member != id || !partitions.contains(partition));
        if self.owners.len() != before {
            self.version += 1;
            self.share_out(now);
        }
    }

    /// A member wants to commit places of partitions, each with the generation that it has it under: what of it may be. Nothing of a
    /// partition that it has lost is. Nothing is committed by this: the caller first makes it durable, and then calls
    /// [`Self::end_commit`], so that nobody ever goes on behind what is not stored. A member has one commit under way at a time.
    pub fn begin_commit(
        &mut self,
        id: MemberId,
        places: &[(u16, u64, Position)],
        now: Duration,
    ) -> Result<Committed, NotMember> {
        self.heard(id, now)?;
        let mut committed = Committed::default();
        for (partition, generation, position) in places {
            let owner = self.owners.get(partition);
            let is_of_member = owner.is_some_and(|owner| owner.member == id && owner.generation == *generation);
            #[cfg(test)]
            let is_of_member = is_of_member || self.unfenced;
            if !is_of_member {
                committed.lost.push(*partition);
                continue;
            }
            if !self.rules.commits_backwards && self.place(*partition) >= place_of(position) {
                continue;
            }
            committed.taken.push((*partition, *position));
        }
        Ok(committed)
    }

    /// What [`Self::begin_commit`] took of a member is durable.
    pub fn end_commit(&mut self, id: MemberId, committed: &Committed, now: Duration) {
        for (partition, position) in &committed.taken {
            // It may have lost the partition meanwhile, and the next owner have committed.
            let is_owner = self.owners.get(partition).is_some_and(|owner| owner.member == id);
            #[cfg(test)]
            let is_owner = is_owner || self.unfenced;
            if self.place(*partition) < place_of(position) || (self.rules.commits_backwards && is_owner) {
                self.committed.insert(*partition, *position);
            }
        }
        if self.rules.gives_back_at_commit {
            self.owners.retain(|_, owner| owner.member != id || owner.wanted_since.is_none());
        }
        // A parent may be read to its end now, and its children wait.
        self.share_out(now);
    }

    /// Whether anything of a partition was ever committed.
    pub fn is_committed(&self, partition: u16) -> bool {
        self.committed.contains_key(&partition)
    }

    /// The partitions of which something was committed, whether they are known otherwise or not.
    pub fn committed_partitions(&self) -> impl Iterator<Item = u16> + '_ {
        self.committed.keys().copied()
    }

    /// How far a partition is committed.
    pub fn committed(&self, partition: u16) -> Position {
        self.committed.get(&partition).copied().unwrap_or_else(|| self.beginning(partition))
    }

    /// Where a partition begins that has no commit: where the group does, but one that came later not before its own beginning.
    fn beginning(&self, partition: u16) -> Position {
        let opened_at = self.layout.0.get(&partition).map_or((0, 0), |partition| partition.opened_at);
        if opened_at <= self.start.order() {
            return self.start;
        }
        let (commit, record) = opened_at;
        Position { epoch: self.start.epoch, commit, record, xid_hash: 0 }
    }

    /// The partitions as they are now, after a split or a merge.
    pub fn set_layout(&mut self, layout: Layout, now: Duration) {
        if layout != self.layout {
            self.layout = layout;
            self.tick(now);
        }
    }

    /// Sets every partition to a new place. Everybody who is in the group is out: what they were sent lies elsewhere.
    pub fn reset(&mut self, start: Position) {
        self.members.clear();
        self.owners.clear();
        self.committed.clear();
        self.start = start;
        self.version += 1;
    }

    /// Counts changes of who has what and of what is wanted back.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The members, in the order in which they joined.
    pub fn members(&self) -> Vec<MemberInfo> {
        let partitions = |id: &MemberId| {
            let of_member = self.owners.iter().filter(|(_, owner)| owner.member == *id);
            of_member.map(|(partition, _)| *partition).collect()
        };
        let info = |(id, member): (&MemberId, &Member)| MemberInfo {
            name: member.name.clone(),
            joined: member.joined,
            out_at: member.out_at(),
            partitions: partitions(id),
        };
        self.members.iter().map(info).collect()
    }

    /// The partitions, by number.
    pub fn partitions(&self) -> Vec<PartitionInfo> {
        let owner = |partition: &u16| {
            let owner = self.owners.get(partition)?;
            self.members.get(&owner.member).map(|member| member.name.clone())
        };
        let info = |partition: &u16| PartitionInfo {
            partition: *partition,
            owner: owner(partition),
            finished: self.layout.is_finished(*partition, self.place(*partition)),
        };
        self.layout.0.keys().map(info).collect()
    }

    fn place(&self, partition: u16) -> Place {
        place_of(&self.committed(partition))
    }

    fn expire(&mut self, now: Duration) {
        let is_out = |member: &Member| member.out_at().is_some_and(|out_at| now >= out_at);
        let out: Vec<MemberId> = self.members.iter().filter(|(_, member)| is_out(member)).map(|(id, _)| *id).collect();
        out.into_iter().for_each(|id| self.remove(id));
    }

    fn remove(&mut self, id: MemberId) {
        if self.members.remove(&id).is_some() {
            self.owners.retain(|_, owner| owner.member != id);
            self.version += 1;
        }
    }

    fn share_out(&mut self, now: Duration) {
        let readable = self.layout.readable(|partition| self.place(partition));
        let before = self.owners.len();
        // One that is read to its end, or that is not there any more.
        self.owners.retain(|partition, _| readable.binary_search(partition).is_ok());
        let mut changed = self.owners.len() != before;
        let members: Vec<MemberId> = self.members.keys().copied().collect();
        let owned: BTreeMap<u16, MemberId> =
            self.owners.iter().map(|(partition, owner)| (*partition, owner.member)).collect();
        let was_wanted = |partition: u16| self.owners.get(&partition).is_some_and(|owner| owner.wanted_since.is_some());
        let changes = balance(&readable, &members, &owned, was_wanted);
        let wanted_back: BTreeSet<u16> = changes.wanted.into_iter().collect();
        for (partition, owner) in &mut self.owners {
            let wanted = wanted_back.contains(partition);
            if wanted != owner.wanted_since.is_some() {
                owner.wanted_since = wanted.then_some(now);
                changed = true;
            }
        }
        for (partition, member) in changes.given {
            self.last_generation += 1;
            let owner = Ownership { member, generation: self.last_generation, wanted_since: None };
            self.owners.insert(partition, owner);
            changed = true;
        }
        self.version += u64::from(changed);
    }
}
