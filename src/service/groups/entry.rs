//! One group of a server: what is stored of it, who is in it now, and how its members hear of changes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::stored::{StoredGroup, commits, position};
use crate::catalog::cursors::Cursors;
use crate::clock::Clock;
use crate::delivery::group::{Group, GroupRules, Layout, Partition};
use crate::limits;
use crate::record::{GroupName, Position, ResourceName, Timestamp};
use crate::trail::{self, Trail};

/// How groups of streams behave: members hear of a rebalance on their connections, and acknowledgements only go forward.
const RULES: GroupRules = GroupRules {
    take_back: Duration::from_secs(limits::GROUP_TAKE_BACK_SECONDS),
    gives_back_at_commit: false,
    commits_backwards: false,
    members_max: limits::GROUP_MEMBERS_MAX,
};

/// A group.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) stream: ResourceName,
    pub(super) name: GroupName,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

/// What changes about a group.
#[derive(Debug)]
pub(super) struct State {
    pub(super) stored: StoredGroup,
    pub(super) machine: Group,
    /// When it was last used, for people, as far as is known.
    pub(super) used: Timestamp,
    /// The same by the steady clock: a clock that is set must not make a group an unused one.
    pub(super) used_steady: Duration,
    /// Whether nobody may join it, because it is being reset or removed, or is removed.
    is_closed: bool,
}

/// A group that nobody joins for as long as this is there: it is being reset or removed.
#[derive(Debug)]
pub(super) struct Closed<'a> {
    entry: &'a Entry,
    is_for_good: bool,
}

impl Closed<'_> {
    /// It is removed, and stays closed to whoever has still found it.
    pub(super) fn for_good(mut self) {
        self.is_for_good = true;
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.entry.with(|state| state.is_closed = self.is_for_good);
    }
}

/// The partitions of a trail.
pub(super) fn layout_of(trail: &Trail) -> Layout {
    let partition = |of: &trail::Partition| {
        let closed_at = of.closed.map(|closed| Position::behind(trail.epoch(), closed).order());
        let opened_at = Position::behind(trail.epoch(), of.opened).order();
        (of.number, Partition { parents: of.parents.clone(), opened_at, closed_at })
    };
    Layout(trail.partitions().all().iter().map(partition).collect())
}

impl Entry {
    /// A group as it is stored, without members.
    pub(super) fn open(
        stream: ResourceName,
        name: GroupName,
        stored: StoredGroup,
        cursors: &Cursors,
        clock: &dyn Clock,
    ) -> Self {
        let committed = commits(cursors, &stream, &name, &stored).into_iter().collect();
        // The partitions are taken from the trail when somebody joins.
        let start = position(stored.epoch, stored.start);
        let machine = Group::new(RULES, Layout::default(), start, committed);
        let (used, used_steady) = (clock.now(), clock.steady());
        let state = State { stored, machine, used, used_steady, is_closed: false };
        Self { stream, name, state: Mutex::new(state), changed: watch::Sender::new(0) }
    }

    /// Works on the group, and wakes its members if who has what has changed.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state();
        let done = work(&mut state);
        let version = state.machine.version();
        drop(state);
        self.changed.send_if_modified(|known| std::mem::replace(known, version) != version);
        done
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes it to joiners if that holds of it.
    pub(super) fn close_if<E>(&self, holds: impl FnOnce(&State) -> Result<(), E>) -> Result<Closed<'_>, E> {
        self.with(|state| {
            holds(state)?;
            state.is_closed = true;
            Ok(Closed { entry: self, is_for_good: false })
        })
    }

    /// Tells when who has what changes.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

impl State {
    /// Where the group begins in partitions that have no commit.
    pub(super) fn start(&self) -> Position {
        position(self.stored.epoch, self.stored.start)
    }

    /// Whether somebody may join it.
    pub(super) fn is_open(&self) -> bool {
        !self.is_closed
    }

    /// Somebody uses it.
    pub(super) fn touch(&mut self, clock: &dyn Clock) {
        (self.used, self.used_steady) = (clock.now(), clock.steady());
    }

    /// Takes the trail's partitions over.
    pub(super) fn set_layout(&mut self, layout: Layout, now: Duration) {
        self.machine.set_layout(layout, now);
    }

    /// Begins anew.
    pub(super) fn reset(&mut self, stored: StoredGroup, clock: &dyn Clock) {
        self.machine.reset(position(stored.epoch, stored.start));
        self.stored = stored;
        self.touch(clock);
    }
}
