//! A log of messages in memory that answers late and in no order, and that fails on demand.
//!
//! What is published waits, and is stored in order by a thread of the log; the answers to what it has stored it gives in an
//! order of chance. So a crash comes between a publish and its storing, or between that and the answer. A message is stored
//! whole or not at all, and what is stored is durable. There is no way to remove one or to write one anew.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::trail::stores::TestStore;
use crate::trail::workload::clock;
use trailcast::record::TrailName;
use trailcast::trail::messages::{Answer, Kind, Message, MessageLog};
use trailcast::trail::{OpenError, Trail, TrailOptions, Writer};

/// So few that most frames go on in the next message.
const BODY_BYTES_MAX: usize = 300;
/// How long what is published waits, at the least: longer than a writer needs for the next one.
const LATENESS: Duration = Duration::from_micros(40);

#[derive(Debug, Clone)]
pub struct MemoryLog(Arc<Log>);

#[derive(Debug, Default)]
struct Log {
    inner: Mutex<Inner>,
    published: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    description: Vec<u8>,
    /// Messages, the first of which has the number `purged + 1`.
    messages: VecDeque<Message>,
    purged: u64,
    waiting: VecDeque<Publish>,
    /// What was never answered, and is stored as soon as it fits.
    late: Vec<(Vec<Message>, u64)>,
    /// Answers to what is stored.
    answers: Vec<(Sender<io::Result<u64>>, io::Result<u64>)>,
    chance: u64,
    publishes: u32,
    fail_after: Option<u32>,
    fails_once: bool,
    lies: bool,
    stores_no_fences: bool,
    /// Nobody publishes any more.
    abandoned: bool,
}

#[derive(Debug)]
struct Publish {
    messages: Vec<Message>,
    last: u64,
    answer: Sender<io::Result<u64>>,
}

impl Inner {
    fn last(&self) -> u64 {
        self.purged + self.messages.len() as u64
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) as usize % sides
    }

    fn fits(&self, last: u64) -> bool {
        last == self.last()
    }

    fn keep(&mut self, mut messages: Vec<Message>) -> u64 {
        if self.stores_no_fences {
            messages.retain(|message| message.kind != Kind::Fence);
        }
        self.messages.extend(messages);
        self.last()
    }

    /// Stores what fits; who was never answered is stored when its turn comes, whatever has come to pass since.
    fn store(&mut self, publish: Publish) {
        let Publish { messages, last, answer } = publish;
        self.publishes += 1;
        if self.fail_after.is_some_and(|limit| self.publishes > limit) {
            if self.fails_once {
                (self.fail_after, self.fails_once) = (None, false);
            }
            // It may be stored all the same, at once or some day.
            if self.fits(last) && self.roll(2) == 0 {
                self.keep(messages);
            } else {
                self.late.push((messages, last));
            }
            return;
        }
        let outcome = match self.fits(last) {
            true => Ok(self.keep(messages)),
            false => Err(io::Error::other(format!("wrong last sequence: {}", self.last()))),
        };
        self.answers.push((answer, outcome));
        while let Some(at) = self.late.iter().position(|(_, last)| self.fits(*last)) {
            let (messages, _) = self.late.remove(at);
            self.keep(messages);
        }
    }

    /// Gives the answers, in an order of chance.
    fn answer(&mut self) {
        while !self.answers.is_empty() {
            let at = self.roll(self.answers.len());
            let (to, answer) = self.answers.swap_remove(at);
            let _ = to.send(answer);
        }
    }
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::with(Inner { chance: 7, ..Inner::default() })
    }
}

impl MemoryLog {
    fn with(inner: Inner) -> Self {
        let log = Arc::new(Log { inner: Mutex::new(inner), published: Condvar::new() });
        let running = log.clone();
        std::thread::spawn(move || running.run());
        Self(log)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap()
    }

    /// From now on the `n`-th publish is not answered, nor any after it, unless `only_once`, until [`Self::heal`].
    pub fn fail_publish(&self, n: u32, only_once: bool) {
        let mut inner = self.lock();
        (inner.fail_after, inner.fails_once) = (Some(inner.publishes + n - 1), only_once);
    }

    /// Publishes are answered again.
    pub fn heal(&self) {
        self.lock().fail_after = None;
    }

    /// Publishes so far.
    pub fn publishes(&self) -> u32 {
        self.lock().publishes
    }

    /// The control of answers: of what it has answered, half does not survive a crash.
    pub fn lie(&self) {
        self.lock().lies = true;
    }

    /// The control of fences: they are not stored.
    pub fn store_no_fences(&self) {
        self.lock().stores_no_fences = true;
    }

    /// What is there after a crash of the log and whoever wrote to it; `chance` chooses how much was stored of what waited.
    pub fn crash(&self, chance: &mut dyn FnMut(usize) -> usize) -> Self {
        let inner = self.lock();
        let survive = chance(inner.waiting.len() + 1);
        let mut after = Inner {
            description: inner.description.clone(),
            messages: inner.messages.clone(),
            purged: inner.purged,
            chance: inner.chance,
            stores_no_fences: inner.stores_no_fences,
            ..Inner::default()
        };
        for Publish { messages, last, .. } in inner.waiting.iter().take(survive) {
            if after.fits(*last) {
                after.keep(messages.clone());
            }
        }
        if inner.lies {
            after.messages.truncate(after.messages.len() / 2);
        }
        Self::with(after)
    }

    /// Changes the messages behind the trail's back.
    pub fn tamper(&self, change: impl FnOnce(&mut VecDeque<Message>)) {
        change(&mut self.lock().messages);
    }
}

impl Log {
    fn run(&self) {
        let mut inner = self.inner.lock().unwrap();
        while !inner.abandoned {
            if inner.waiting.is_empty() {
                inner.answer();
                inner = self.published.wait_timeout(inner, Duration::from_millis(50)).unwrap().0;
                continue;
            }
            drop(inner);
            std::thread::sleep(LATENESS);
            inner = self.inner.lock().unwrap();
            // Some of what waits; the rest comes later, and its answers may come before.
            let many = 1 + inner.roll(4);
            for _ in 0..many {
                let Some(publish) = inner.waiting.pop_front() else { break };
                inner.store(publish);
            }
            inner.answer();
        }
    }
}

impl Drop for MemoryLog {
    fn drop(&mut self) {
        // The thread has the other one.
        if Arc::strong_count(&self.0) <= 2 {
            self.lock().abandoned = true;
            self.0.published.notify_all();
        }
    }
}

impl MessageLog for MemoryLog {
    fn publish(&self, messages: Vec<Message>, last: u64) -> Answer {
        assert!(messages.iter().all(|message| message.body.len() <= BODY_BYTES_MAX), "a message is too large");
        let (answer, answered) = channel();
        self.lock().waiting.push_back(Publish { messages, last, answer });
        self.0.published.notify_all();
        answered
    }

    fn first(&self) -> io::Result<u64> {
        Ok(self.lock().purged + 1)
    }

    fn last(&self) -> io::Result<u64> {
        Ok(self.lock().last())
    }

    fn get(&self, number: u64) -> io::Result<Message> {
        let inner = self.lock();
        let at = number.checked_sub(inner.purged + 1).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| inner.messages.get(at).cloned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn purge_below(&self, number: u64) -> io::Result<()> {
        let mut inner = self.lock();
        while inner.purged + 1 < number && inner.messages.pop_front().is_some() {
            inner.purged += 1;
        }
        Ok(())
    }

    fn body_bytes_max(&self) -> usize {
        BODY_BYTES_MAX
    }

    fn describe(&self, text: &[u8]) -> io::Result<()> {
        self.lock().description = text.to_vec();
        Ok(())
    }

    fn description(&self) -> io::Result<Vec<u8>> {
        Ok(self.lock().description.clone())
    }
}

impl TestStore for MemoryLog {
    fn create(&self, segment_bytes: u64) -> Trail {
        let (name, options) =
            (TrailName::new("t1").unwrap(), TrailOptions { segment_bytes, ..TrailOptions::default() });
        Trail::create_in_messages(Arc::new(self.clone()), name, Writer::Puts, &options, clock()).unwrap()
    }

    fn open(&self) -> Result<Trail, OpenError> {
        Trail::open_in_messages(Arc::new(self.clone()), clock())
    }

    fn crash(&self, chance: &mut dyn FnMut(usize) -> usize) -> Self {
        Self::crash(self, chance)
    }

    fn lie(&self) {
        Self::lie(self);
    }

    fn fail(&self, n: u32, only_once: bool) {
        self.fail_publish(n, only_once);
    }

    fn heal(&self) {
        Self::heal(self);
    }

    fn asked(&self) -> u32 {
        self.publishes()
    }
}
