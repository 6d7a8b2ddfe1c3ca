//! Consumer groups: made by their first member, joined, reset, removed; the one door for every face.
//!
//! Owns which groups there are and what their positions are worth: they belong to one life of one trail, hold retention back
//! up to a cap, and end when nobody has used the group for as long as the trail keeps its records. Who has which partition
//! is decided by [`delivery::group`](crate::delivery::group); commits are kept by [`catalog::cursors`](crate::catalog::cursors). How a
//! member is sent records is the sessions' business.

mod entry;
mod info;
mod member;
mod refused;
mod stored;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};

pub use info::{GroupInfo, GroupState, PartitionLag};
pub use member::Membership;
pub use refused::GroupError;

use self::entry::{Closed, Entry, State, layout_of};
use self::stored::{StoredGroup, group_key, place, set};
use super::principal::{Principal, Verb};
use super::trails::Trails;
use crate::access::{Limit, LimitHits};
use crate::catalog::cursors::{Change, CursorError, CursorFigures, Cursors};
use crate::clock::SharedClock;
use crate::limits;
use crate::record::{GroupName, MemberName, Position, ResourceName, TrailName};
use crate::repeats::warn_rarely;
use crate::trail::{Floor, Trail};

/// A group by name: its stream's, and its own.
type Key = (ResourceName, GroupName);

/// Every consumer group of a server.
#[derive(Debug)]
pub struct Groups {
    cursors: Cursors,
    trails: Arc<Trails>,
    clock: SharedClock,
    hits: Arc<LimitHits>,
    known: RwLock<BTreeMap<Key, Arc<Entry>>>,
    /// Held while a group is made, reset or removed, and while a stream is deleted.
    changing: Arc<Mutex<()>>,
}

/// Who joins what.
#[derive(Debug, Clone)]
pub struct Joining<'a> {
    /// The stream.
    pub stream: &'a ResourceName,
    /// The trail that it reads, which is served.
    pub trail: &'a Trail,
    /// The group.
    pub group: &'a GroupName,
    /// The member.
    pub member: MemberName,
    /// Silence after which it is out; none of one whose end is told.
    pub timeout: Option<Duration>,
    /// Whether it goes on at the earliest record kept if retention has removed what the group has not read.
    pub skips_forward: bool,
}

/// A stream that no group is made of while this is held.
#[derive(Debug)]
pub(super) struct NoGroups {
    _held: OwnedMutexGuard<()>,
}

impl Groups {
    /// The groups whose positions are kept there.
    pub(super) fn open(cursors: Cursors, trails: Arc<Trails>, clock: SharedClock, hits: Arc<LimitHits>) -> Self {
        let (groups, strays) = stored::groups(&cursors);
        if !strays.is_empty() {
            tracing::warn!(
                entries = strays.len(),
                "entries of positions that belong to no consumer group are passed over"
            );
        }
        let entries = groups.into_iter().map(|(stream, name, stored)| {
            let entry = Entry::open(stream.clone(), name.clone(), stored, &cursors, &*clock);
            ((stream, name), Arc::new(entry))
        });
        let (known, changing) = (RwLock::new(entries.collect()), Arc::default());
        Self { cursors, trails, clock, hits, known, changing }
    }

    /// Takes a member into a group, which is made if it is not there: its first member says where it begins. `is_there`: whether
    /// the stream is there still, asked while it cannot be deleted.
    pub async fn join<E: From<GroupError>, F: Future<Output = Result<Position, E>>>(
        &self,
        principal: Principal<'_>,
        joining: Joining<'_>,
        start: impl Fn() -> F,
        is_there: impl Fn() -> bool,
    ) -> Result<Membership, E> {
        let Joining { stream, trail, group, member, timeout, skips_forward } = joining;
        principal.check_stream(Verb::Read, stream).map_err(GroupError::from)?;
        principal.check_source(trail.name().as_str()).map_err(GroupError::from)?;
        loop {
            let entry = match self.known(stream, group) {
                Some(entry) => entry,
                None => self.make(stream, trail, group, &start, &is_there).await?,
            };
            self.check_positions(principal, &entry, trail, skips_forward)?;
            let now = self.clock.steady();
            let joined = entry.with(|state| {
                state.is_open().then(|| {
                    state.set_layout(layout_of(trail), now);
                    state.touch(&*self.clock);
                    state.machine.join(member.clone(), timeout, now)
                })
            });
            let Some(joined) = joined else {
                // Whoever resets or removes it holds this until that is done.
                drop(self.changing.lock().await);
                continue;
            };
            let id = joined.inspect_err(|_| self.hits.count(Limit::GroupMembers)).map_err(GroupError::from)?;
            let (cursors, clock, trail) = (self.cursors.clone(), self.clock.clone(), trail.clone());
            let committing = Mutex::default();
            return Ok(Membership { entry, cursors, clock, id, name: member, trail, committing });
        }
    }

    async fn make<E: From<GroupError>, F: Future<Output = Result<Position, E>>>(
        &self,
        stream: &ResourceName,
        trail: &Trail,
        group: &GroupName,
        start: impl Fn() -> F,
        is_there: impl Fn() -> bool,
    ) -> Result<Arc<Entry>, E> {
        let _one_at_a_time = self.changing.lock().await;
        if let Some(entry) = self.known(stream, group) {
            return Ok(entry);
        }
        self.check_room(stream, is_there)?;
        let start = start().await?;
        let stored = self.begun(trail, &start);
        let mut changes = vec![set(group_key(stream, group), &stored)];
        // What a removal that was broken off has left.
        changes.extend(self.removals_below(stream, group));
        self.cursors.write(changes).await.map_err(GroupError::from)?;
        let entry = Arc::new(Entry::open(stream.clone(), group.clone(), stored, &self.cursors, &*self.clock));
        let key = (stream.clone(), group.clone());
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(key, entry.clone());
        tracing::info!(%stream, %group, commit = start.commit, "consumer group made");
        Ok(entry)
    }

    /// Refuses one more group of a stream that is gone or has enough.
    fn check_room(&self, stream: &ResourceName, is_there: impl Fn() -> bool) -> Result<(), GroupError> {
        if !is_there() {
            return Err(GroupError::StreamGone(stream.clone()));
        }
        if self.names_of(stream).len() >= limits::GROUPS_PER_STREAM_MAX {
            self.hits.count(Limit::Groups);
            return Err(GroupError::TooManyOfStream { stream: stream.clone(), most: limits::GROUPS_PER_STREAM_MAX });
        }
        if self.all().len() >= limits::GROUPS_MAX {
            self.hits.count(Limit::Groups);
            return Err(GroupError::TooMany(limits::GROUPS_MAX));
        }
        Ok(())
    }

    fn begun(&self, trail: &Trail, start: &Position) -> StoredGroup {
        let now = self.clock.now().micros();
        StoredGroup { trail: trail.name().clone(), epoch: trail.epoch().0, life: now, start: place(start) }
    }

    fn removals_below(&self, stream: &ResourceName, group: &GroupName) -> Vec<Change> {
        let below = self.cursors.with_prefix(&format!("{}/", group_key(stream, group)));
        below.into_iter().map(|(key, _)| Change::remove(key)).collect()
    }

    /// Refuses a group whose positions are of no use in that trail.
    fn check_positions(
        &self,
        principal: Principal<'_>,
        entry: &Entry,
        trail: &Trail,
        skips_forward: bool,
    ) -> Result<(), GroupError> {
        let (stream, group) = (entry.stream.clone(), entry.name.clone());
        let (of_trail, epoch) = entry.with(|state| (state.stored.trail.clone(), state.stored.epoch));
        if of_trail != *trail.name() {
            let trail = Some(of_trail).filter(|trail| principal.may_see(trail));
            return Err(GroupError::OtherTrail { stream, group, trail });
        }
        if epoch != trail.epoch().0 {
            return Err(GroupError::OtherEpoch { stream, group, trail: of_trail });
        }
        if !skips_forward && self.info(entry).state == GroupState::Overtaken {
            return Err(GroupError::Overtaken { stream, group });
        }
        Ok(())
    }

    /// Every group that the caller may see, by stream and name.
    pub fn list(&self, principal: Principal<'_>) -> Vec<GroupInfo> {
        let may = |entry: &Arc<Entry>| {
            let trail = entry.with(|state| state.stored.trail.clone());
            principal.may_with_stream(Verb::Read, &entry.stream, trail.as_str())
        };
        self.all().iter().filter(|entry| may(entry)).map(|entry| self.info(entry)).collect()
    }

    /// How a group of a stream that the caller may read is doing. One whose positions are of a trail that he may not see is not
    /// there for him.
    pub fn describe(
        &self,
        principal: Principal<'_>,
        stream: &ResourceName,
        group: &GroupName,
    ) -> Result<GroupInfo, GroupError> {
        let info = self.info(&*self.find(stream, group)?);
        if principal.may_see(&info.trail) { Ok(info) } else { Err(missing(stream, group)) }
    }

    /// Refuses a group that is not there.
    pub fn check_there(&self, stream: &ResourceName, group: &GroupName) -> Result<(), GroupError> {
        self.find(stream, group).map(drop)
    }

    /// Sets a group of a stream that the caller may manage to another place of the trail that the stream reads now; nobody may be in
    /// it.
    pub async fn reset(
        &self,
        stream: &ResourceName,
        group: &GroupName,
        trail: &Trail,
        start: Position,
    ) -> Result<GroupInfo, GroupError> {
        let _one_at_a_time = self.changing.lock().await;
        let entry = self.find(stream, group)?;
        let _closed = entry.close_if(|state| check_empty(group, state))?;
        let stored = self.begun(trail, &start);
        let mut changes = vec![set(group_key(stream, group), &stored)];
        changes.extend(self.removals_below(stream, group));
        self.cursors.write(changes).await?;
        entry.with(|state| {
            state.reset(stored, &*self.clock);
            state.set_layout(layout_of(trail), self.clock.steady());
        });
        tracing::info!(%stream, %group, commit = start.commit, "consumer group reset");
        Ok(self.info(&entry))
    }

    /// Removes a group of a stream that the caller may manage; nobody may be in it.
    pub async fn remove(&self, stream: &ResourceName, group: &GroupName) -> Result<(), GroupError> {
        let _one_at_a_time = self.changing.lock().await;
        let entry = self.find(stream, group)?;
        let closed = entry.close_if(|state| check_empty(group, state))?;
        self.take_away(&entry, closed).await?;
        tracing::info!(%stream, %group, "consumer group removed");
        Ok(())
    }

    async fn take_away(&self, entry: &Entry, closed: Closed<'_>) -> Result<(), CursorError> {
        let (stream, group) = (&entry.stream, &entry.name);
        let mut changes = vec![Change::remove(group_key(stream, group))];
        changes.extend(self.removals_below(stream, group));
        self.cursors.write(changes).await?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&(stream.clone(), group.clone()));
        closed.for_good();
        Ok(())
    }

    /// Sees to it that a stream has no group as long as what is returned is held; else the groups that it has.
    pub(super) async fn none_of(&self, stream: &ResourceName) -> Result<NoGroups, Vec<GroupName>> {
        let held = self.changing.clone().lock_owned().await;
        let names = self.names_of(stream);
        if names.is_empty() { Ok(NoGroups { _held: held }) } else { Err(names) }
    }

    /// The groups whose positions are of that trail and that the caller may see: `stream/group`.
    pub fn of_trail(&self, principal: Principal<'_>, trail: &TrailName) -> Vec<String> {
        let mut groups = self.list(principal);
        groups.retain(|group| group.trail == *trail);
        groups.iter().map(|group| format!("{}/{}", group.stream, group.name)).collect()
    }

    /// How far down a trail its groups go on, and how much that may keep; none where no group needs anything of it.
    pub(super) fn floor_of(&self, trail: &Trail, retention_bytes: Option<u64>) -> Option<Floor> {
        let mut lowest: Option<Position> = None;
        let mut of_trail = self.all();
        of_trail.retain(|entry| {
            entry.with(|state| state.stored.trail == *trail.name() && state.stored.epoch == trail.epoch().0)
        });
        for entry in of_trail {
            let info = self.info(&entry);
            // What a group has lost already is no reason to keep the rest from the others.
            let ready = info.state == GroupState::Ready;
            for partition in info.partitions.iter().filter(|partition| ready && !partition.is_finished) {
                let position = partition.position;
                if lowest.is_none_or(|lowest| position.order() < lowest.order()) {
                    lowest = Some(position);
                }
            }
        }
        let bytes_max = retention_bytes.map_or(limits::GROUP_KEPT_BYTES_MAX, |bytes| bytes.saturating_mul(2));
        lowest.map(|position| Floor { position, bytes_max })
    }

    /// Removes the groups that nobody has used for as long as their trail keeps records. A start of the server counts as use:
    /// while it was down nobody could.
    pub(super) async fn end_unused(&self) {
        for entry in self.all() {
            let (trail, used, members) =
                entry.with(|state| (state.stored.trail.clone(), state.used_steady, state.machine.members().len()));
            if members > 0 || !self.is_over(&trail, used) {
                continue;
            }
            if let Err(error) = self.end(&entry, used).await {
                let (stream, group) = (&entry.stream, &entry.name);
                warn_rarely!(stream.as_str(), %stream, %group, %error, "a consumer group that is not used any more stays");
            }
        }
    }

    fn is_over(&self, trail: &TrailName, used: Duration) -> bool {
        // Options that cannot be read may keep it for longer than the defaults.
        let Ok(settings) = self.trails.settings_now(trail) else { return false };
        let kept = settings.unwrap_or_default().retention_seconds.unwrap_or(limits::RETENTION_SECONDS_DEFAULT);
        self.clock.steady().saturating_sub(used).as_secs() > kept
    }

    async fn end(&self, entry: &Entry, used: Duration) -> Result<(), CursorError> {
        let _one_at_a_time = self.changing.lock().await;
        let is_unused = |state: &State| {
            let is_unused = state.is_open() && state.machine.members().is_empty() && state.used_steady == used;
            is_unused.then_some(()).ok_or(())
        };
        // Somebody uses it, or has removed it.
        let Ok(closed) = entry.close_if(is_unused) else { return Ok(()) };
        self.take_away(entry, closed).await?;
        let (stream, group) = (&entry.stream, &entry.name);
        tracing::warn!(%stream, %group, "consumer group removed: nobody has used it for as long as its trail keeps records");
        Ok(())
    }

    /// Waits, a little, until what members acknowledged before their connections ended is stored and they are out.
    pub(super) async fn close(&self) {
        let deadline = Instant::now() + Duration::from_secs(limits::GROUP_CLOSE_SECONDS);
        for entry in self.all() {
            let mut changes = entry.changes();
            while entry.with(|state| !state.machine.members().is_empty()) {
                if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                    let (stream, group) = (&entry.stream, &entry.name);
                    tracing::warn!(%stream, %group, "members are still in a consumer group: what they acknowledged last may come again");
                    break;
                }
            }
        }
    }

    /// What was written of positions since the start.
    pub fn figures(&self) -> CursorFigures {
        self.cursors.figures()
    }

    fn info(&self, entry: &Entry) -> GroupInfo {
        let trail = entry.with(|state| state.stored.trail.clone());
        let served = self.trails.get(&trail).and_then(|entry| entry.served().ok().cloned());
        GroupInfo::of(entry, served.as_ref(), self.clock.steady())
    }

    fn all(&self) -> Vec<Arc<Entry>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn names_of(&self, stream: &ResourceName) -> Vec<GroupName> {
        let entries = self.all().into_iter().filter(|entry| entry.stream == *stream);
        entries.map(|entry| entry.name.clone()).collect()
    }

    fn known(&self, stream: &ResourceName, group: &GroupName) -> Option<Arc<Entry>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&(stream.clone(), group.clone())).cloned()
    }

    fn find(&self, stream: &ResourceName, group: &GroupName) -> Result<Arc<Entry>, GroupError> {
        self.known(stream, group).ok_or_else(|| missing(stream, group))
    }
}

fn missing(stream: &ResourceName, group: &GroupName) -> GroupError {
    GroupError::Missing { stream: stream.clone(), group: group.clone() }
}

fn check_empty(group: &GroupName, state: &State) -> Result<(), GroupError> {
    let members = state.machine.members().len();
    if members == 0 { Ok(()) } else { Err(GroupError::HasMembers { group: group.clone(), members }) }
}

#[cfg(test)]
mod tests;
