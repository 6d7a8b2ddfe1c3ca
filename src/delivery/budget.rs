//! The memory that encoded blocks may take, for the whole server.
//!
//! Every block is charged before it is made and until its last byte has left. Where the budget is used up, blocks that
//! are kept only because somebody might want them go first; then sessions wait, and new ones are refused.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Notify, watch};

/// Somebody who keeps memory only because it might be wanted again.
pub(super) trait IdleMemory: std::fmt::Debug + Send + Sync {
    /// Lets all of it go.
    fn let_go(&self);
}

/// A server's delivery memory.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    exhausted: AtomicU64,
    freed: Notify,
    /// Whether somebody went without since there was last enough; beside it the same for a quick look.
    short: watch::Sender<bool>,
    is_short: AtomicBool,
    keepers: Mutex<Vec<Weak<dyn IdleMemory>>>,
}

/// Memory taken from a budget; given back when dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// A budget of that many bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        let (used, exhausted) = (AtomicUsize::new(0), AtomicU64::new(0));
        let (short, is_short) = (watch::Sender::new(false), AtomicBool::new(false));
        Arc::new(Self { limit, used, exhausted, freed: Notify::new(), short, is_short, keepers: Mutex::default() })
    }

    /// Takes `most` bytes, or as many as are there, but no fewer than `least`; none when they are not there. A budget that
    /// nobody uses gives any amount, so that one record larger than the budget still passes.
    pub fn charge(self: &Arc<Self>, least: usize, most: usize) -> Option<Charge> {
        let bytes = self.take(least, most, |used| used == 0)?;
        self.look_whether_enough();
        Some(Charge { budget: self.clone(), bytes })
    }

    /// Takes `most` bytes if they are there, or if `anyway` says so of what is used; else what is there, from `least` on. Says
    /// how many; counts when there are none.
    fn take(&self, least: usize, most: usize, anyway: impl Fn(usize) -> bool) -> Option<usize> {
        let bytes = |used: usize| match self.limit.saturating_sub(used).min(most) {
            _ if anyway(used) => Some(most),
            there => (there >= least).then_some(there),
        };
        let more = |used: usize| bytes(used).map(|bytes| used + bytes);
        let before = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        let taken = before.ok().and_then(bytes);
        if taken.is_none() {
            self.exhausted.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Whether memory is short: somebody went without, and a quarter of the budget has not been free since. Whoever holds
    /// memory for a client that does not take its messages is then asked to let it go.
    pub fn short(&self) -> watch::Receiver<bool> {
        self.short.subscribe()
    }

    /// Somebody goes without, although all that was idle has been let go.
    pub(super) fn went_without(&self) {
        self.is_short.store(true, Ordering::Release);
        self.short.send_if_modified(|short| !std::mem::replace(short, true));
    }

    fn look_whether_enough(&self) {
        if self.is_short.load(Ordering::Acquire) && self.used() <= self.limit / 4 * 3 {
            self.is_short.store(false, Ordering::Release);
            self.short.send_if_modified(|short| std::mem::replace(short, false));
        }
    }

    /// Lets all blocks go that are kept only because somebody might want them.
    pub(super) fn let_idle_go(&self) {
        let keepers: Vec<_> = {
            let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
            keepers.retain(|keeper| keeper.strong_count() > 0);
            keepers.iter().filter_map(Weak::upgrade).collect()
        };
        keepers.iter().for_each(|keeper| keeper.let_go());
    }

    /// Remembers who may have idle blocks.
    pub(super) fn register(&self, keeper: Weak<dyn IdleMemory>) {
        let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        keepers.retain(|keeper| keeper.strong_count() > 0);
        keepers.push(keeper);
    }

    /// Waits until memory may be there: something was given back since the last waiter was woken. One waiter is woken at
    /// a time, the longest first; whoever then finds what it wants calls [`Self::pass_on`].
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Wakes the next one that waits for memory, if there is one: more may be left for it.
    pub fn pass_on(&self) {
        self.freed.notify_one();
    }

    /// Lets the next one that waits look again, which lets idle blocks go: a block has become one.
    pub(super) fn became_idle(&self) {
        if self.is_short.load(Ordering::Acquire) {
            self.freed.notify_one();
        }
    }

    /// Bytes charged now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that may be charged.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How often the budget was used up when a block was to be made.
    pub fn exhausted(&self) -> u64 {
        self.exhausted.load(Ordering::Relaxed)
    }

    /// Whether a new session may be taken: a tenth of the budget is left, or can be had.
    pub fn has_room(&self) -> bool {
        let enough = || self.used() <= self.limit / 10 * 9;
        if !enough() {
            self.let_idle_go();
        }
        let has_room = enough();
        if !has_room {
            self.went_without();
        }
        has_room
    }
}

impl Charge {
    /// Bytes charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes so many bytes more; says whether they were there. Who holds the whole budget is given any amount.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let own = self.bytes;
        let taken = self.budget.take(bytes, bytes, |used| used == own);
        self.bytes += taken.unwrap_or(0);
        taken.is_some()
    }

    /// Makes the charge fit what was really taken, which may be more.
    pub fn settle(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.budget.used.fetch_add(bytes - self.bytes, Ordering::AcqRel);
        } else {
            self.give_back(self.bytes - bytes);
        }
        self.bytes = bytes;
    }

    fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            self.budget.used.fetch_sub(bytes, Ordering::AcqRel);
            self.budget.freed.notify_one();
            self.budget.look_whether_enough();
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_is_given_back_when_its_holder_goes() {
        let budget = Budget::new(100);
        let mut first = budget.charge(60, 60).unwrap();
        assert!(budget.charge(41, 41).is_none());
        assert_eq!(budget.exhausted(), 1);
        first.settle(50);
        let second = budget.charge(50, 50).unwrap();
        assert!(!budget.has_room());
        drop(first);
        drop(second);
        assert_eq!(budget.used(), 0);
        assert!(budget.has_room());
    }

    #[test]
    fn what_is_larger_than_the_budget_passes_alone() {
        let budget = Budget::new(100);
        let huge = budget.charge(1_000, 1_000).unwrap();
        assert!(budget.charge(1, 1).is_none());
        drop(huge);
        assert!(budget.charge(1, 1).is_some());
    }

    #[test]
    fn where_less_is_there_than_wanted_less_is_taken_but_not_too_little() {
        let budget = Budget::new(100);
        let most = budget.charge(10, 70).unwrap();
        assert_eq!(most.bytes(), 70);
        let mut rest = budget.charge(10, 70).unwrap();
        assert_eq!(rest.bytes(), 30);
        assert!(!rest.grow(1));
        assert!(budget.charge(1, 70).is_none());
        drop(most);
        assert!(rest.grow(70));
        assert_eq!(budget.used(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_given_back_wakes_those_who_wait_one_after_the_other_and_none_by_a_clock() {
        let budget = Budget::new(100);
        let held = budget.charge(100, 100).unwrap();
        let woken = Arc::new(AtomicUsize::new(0));
        let wait = |passes_on: bool| {
            let (budget, woken) = (budget.clone(), woken.clone());
            tokio::spawn(async move {
                budget.freed().await;
                woken.fetch_add(1, Ordering::Relaxed);
                if passes_on {
                    budget.pass_on();
                }
            })
        };
        let waiters = [wait(true), wait(false), wait(false)];
        tokio::time::advance(std::time::Duration::from_secs(3_600)).await;
        assert_eq!(woken.load(Ordering::Relaxed), 0, "woken although nothing was given back");
        drop(held);
        let [first, second, third] = waiters;
        first.await.unwrap();
        second.await.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(woken.load(Ordering::Relaxed), 2, "the one behind the one that found nothing was woken");
        drop(budget.charge(1, 1).unwrap());
        third.await.unwrap();
        // What is given back between a look and the wait is not missed.
        drop(budget.charge(1, 1).unwrap());
        budget.freed().await;
    }

    #[test]
    fn memory_is_short_from_when_somebody_goes_without_until_a_quarter_is_free() {
        let budget = Budget::new(100);
        let short = budget.short();
        let most = budget.charge(70, 70).unwrap();
        let rest = budget.charge(25, 25).unwrap();
        assert!(!*short.borrow(), "used up is not short: nobody went without");
        assert!(!budget.has_room());
        assert!(*short.borrow());
        drop(budget.charge(5, 5).unwrap());
        assert!(*short.borrow());
        drop(rest);
        assert!(!*short.borrow());
        budget.went_without();
        drop(most);
        assert!(!*short.borrow());
    }
}
