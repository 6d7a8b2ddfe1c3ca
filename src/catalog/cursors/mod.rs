//! The positions of consumer groups: small entries by key, of which many change every second.
//!
//! A transaction of the catalog for each commit would be far too slow, so they have a file of their own, to which changes are
//! appended. Changes that come while a flush is under way wait for the next one and share it: many commits, one `fdatasync`.
//! A change is durable before [`Cursors::write`] returns, and not to be seen before.
//!
//! What keeps the entries is a [`CursorStore`]: here [`CursorFile`], which also says how the file is laid out. What an entry
//! means is the business of whoever writes it.

mod entry;
mod file;
mod store;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::oneshot;

pub use file::{CURSORS_DRAFT_FILE, CURSORS_FILE, CursorFile};
pub use store::{Change, CursorError, CursorStore};

use crate::limits;
use crate::repeats::error_rarely;

type Entries = BTreeMap<String, Vec<u8>>;
type Answer = Result<(), CursorError>;

/// Entries by key. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Cursors {
    shared: Arc<Shared>,
}

/// A write under way.
#[derive(Debug)]
pub struct Writing(oneshot::Receiver<Answer>);

impl Writing {
    /// Waits until it is durable, or has failed.
    pub async fn done(self) -> Result<(), CursorError> {
        self.0.await.unwrap_or(Err(CursorError::BrokenOff))
    }
}

#[derive(Debug)]
struct Shared {
    store: Box<dyn CursorStore>,
    /// What is durable.
    entries: RwLock<Entries>,
    /// Bytes of their keys and values.
    live_bytes: AtomicU64,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<(Vec<Change>, oneshot::Sender<Answer>)>,
    /// Changes in all that wait.
    changes: usize,
    /// Whether somebody writes what waits.
    is_served: bool,
    /// Set when a write failed, for what the store holds is not known then, and while there is no store yet: it is written anew
    /// before the next change.
    needs_rewrite: bool,
    flushes: u64,
    written: u64,
}

/// What was written since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CursorFigures {
    /// Changes that are durable.
    pub changes: u64,
    /// Flushes that it took.
    pub flushes: u64,
    /// Bytes of the store.
    pub bytes: u64,
}

impl Cursors {
    /// Opens what a store holds. Blocks.
    pub fn open(store: impl CursorStore + 'static) -> Result<Self, CursorError> {
        let entries = store.load()?;
        let queue = Mutex::new(Queue { needs_rewrite: store.bytes() == 0, ..Queue::default() });
        let live_bytes = entries.iter().map(|(key, value)| bytes_of(key, value)).sum::<u64>().into();
        let shared = Shared { store: Box::new(store), entries: RwLock::new(entries), live_bytes, queue };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Writes changes; durable when this returns. A crash before that may leave some of them, the first ones. See [`Self::begin`].
    pub async fn write(&self, changes: Vec<Change>) -> Result<(), CursorError> {
        self.begin(changes)?.done().await
    }

    /// Begins to write changes. Of two writes of one key the one that began later counts.
    pub fn begin(&self, changes: Vec<Change>) -> Result<Writing, CursorError> {
        if let Some(too_long) = changes.iter().find(|change| !change.fits()) {
            return Err(CursorError::TooLong { key: too_long.key.chars().take(64).collect() });
        }
        let mut queue = self.shared.queue();
        if queue.changes + changes.len() > limits::CURSORS_WAITING_MAX {
            return Err(CursorError::Busy);
        }
        let (sender, answer) = oneshot::channel();
        queue.changes += changes.len();
        queue.waiting.push((changes, sender));
        if !std::mem::replace(&mut queue.is_served, true) {
            let shared = self.shared.clone();
            tokio::task::spawn_blocking(move || shared.serve());
        }
        Ok(Writing(answer))
    }

    /// The value of a key, as it is durable.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.shared.entries().get(key).cloned()
    }

    /// The keys that begin so, with their values, as they are durable.
    pub fn with_prefix(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let entries = self.shared.entries();
        let from_prefix = entries.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        from_prefix.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// What was written since the start.
    pub fn figures(&self) -> CursorFigures {
        let (changes, flushes) = {
            let queue = self.shared.queue();
            (queue.written, queue.flushes)
        };
        CursorFigures { changes, flushes, bytes: self.shared.store.bytes() }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits, one group after the other, until nothing does.
    fn serve(&self) {
        let mut leaves = LeavesQueue { shared: self, done: false };
        loop {
            let (group, needs_rewrite) = {
                let mut queue = self.queue();
                if queue.waiting.is_empty() {
                    queue.is_served = false;
                    leaves.done = true;
                    return;
                }
                queue.changes = 0;
                (std::mem::take(&mut queue.waiting), queue.needs_rewrite)
            };
            let (changes, answers): (Vec<Vec<Change>>, Vec<_>) = group.into_iter().unzip();
            let changes: Vec<Change> = changes.into_iter().flatten().collect();
            let written = self.write_group(&changes, needs_rewrite);
            {
                let mut queue = self.queue();
                queue.needs_rewrite = written.is_err();
                if written.is_ok() {
                    queue.flushes += 1;
                    queue.written += changes.len() as u64;
                }
            }
            if let Err(error) = &written {
                error_rarely!("", %error, "the positions of consumer groups cannot be written");
            }
            for answer in answers {
                // Whoever asked may have gone.
                let _ = answer.send(written.clone());
            }
        }
    }

    fn write_group(&self, changes: &[Change], needs_rewrite: bool) -> Answer {
        if needs_rewrite || self.store.is_too_long_for(self.live_bytes.load(Ordering::Relaxed)) {
            self.store.rewrite(&self.entries())?;
        }
        self.store.write(changes)?;
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for Change { key, value } in changes {
            let before = match value {
                Some(value) => {
                    self.live_bytes.fetch_add(bytes_of(key, value), Ordering::Relaxed);
                    entries.insert(key.clone(), value.clone())
                }
                None => entries.remove(key),
            };
            if let Some(before) = before {
                self.live_bytes.fetch_sub(bytes_of(key, &before), Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

fn bytes_of(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

/// Lets the next one who writes serve the queue, should this one break off.
struct LeavesQueue<'a> {
    shared: &'a Shared,
    done: bool,
}

impl Drop for LeavesQueue<'_> {
    fn drop(&mut self) {
        if !self.done {
            let mut queue = self.shared.queue();
            queue.is_served = false;
            queue.needs_rewrite = true;
            queue.changes = 0;
            // Their senders go, and whoever waits is told.
            queue.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests;
