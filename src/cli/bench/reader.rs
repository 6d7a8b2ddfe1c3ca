//! Many subscribers on a few threads, each thread reading all of its sockets into one buffer.
//!
//! Owns the threads. A measurement must not be limited by its own client: nothing is copied out of that buffer, nothing
//! is allocated a message, and records are counted by [`tally`](super::tally).

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, LocalSet};

use super::frames::{Frames, Wish, pong};
use super::handshake::{Upgraded, upgrade};
use super::tally::{Progress, Tally};
use crate::cli::failure::Failure;
use crate::client::ServerAddress;
use crate::limits;

/// One subscriber to be.
pub(super) struct Subscriber {
    /// Path and query of its stream.
    pub(super) target: String,
    pub(super) tally: Tally,
    pub(super) progress: Arc<Progress>,
}

/// When a subscriber is done by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until {
    /// It has as many records.
    pub(super) records: Option<u64>,
}

/// Phases of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Reading,
    Over,
}

/// Threads that read.
pub(super) struct Readers {
    phase: watch::Sender<Phase>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<Vec<Tally>, Failure>>>,
    subscribers: usize,
}

#[derive(Debug, Default)]
struct Shared {
    connected: AtomicUsize,
    done: AtomicUsize,
    threads_failed: AtomicUsize,
}

impl Readers {
    /// Starts the threads, which connect at once and then wait.
    pub(super) fn start(
        address: &ServerAddress,
        subscribers: Vec<Subscriber>,
        threads: usize,
        until: Until,
    ) -> Result<Self, Failure> {
        let (phase, phases) = watch::channel(Phase::Connecting);
        let shared = Arc::new(Shared::default());
        let number = subscribers.len();
        let threads = threads.clamp(1, number.max(1));
        let mut parts: Vec<Vec<Subscriber>> = (0..threads).map(|_| Vec::new()).collect();
        for (at, subscriber) in subscribers.into_iter().enumerate() {
            parts[at % threads].push(subscriber);
        }
        let mut running = Vec::new();
        for part in parts {
            let (address, shared, phases) = (address.clone(), shared.clone(), phases.clone());
            let work = move || {
                let done = read_all(&address, part, until, &shared, phases);
                shared.threads_failed.fetch_add(usize::from(done.is_err()), Ordering::Release);
                done
            };
            let thread = std::thread::Builder::new().name("bench-reader".into()).spawn(work);
            running.push(thread.map_err(|error| Failure::failed(format!("no thread to read with: {error}")))?);
        }
        Ok(Self { phase, shared, threads: running, subscribers: number })
    }

    /// Whether a subscriber was refused, disconnected or sent what is wrong; [`Self::end`] says what it was.
    pub(super) fn failed(&self) -> bool {
        self.shared.threads_failed.load(Ordering::Acquire) > 0
    }

    /// How many subscribers are connected.
    pub(super) fn connected_number(&self) -> usize {
        self.shared.connected.load(Ordering::Acquire)
    }

    /// Waits until every subscriber is connected, or one has failed.
    pub(super) async fn connected(&self) {
        loop {
            if self.connected_number() == self.subscribers || self.failed() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Lets them read.
    pub(super) fn read(&self) {
        self.phase.send_replace(Phase::Reading);
    }

    /// Whether every subscriber has what it was to get, or one has failed.
    pub(super) fn done(&self) -> bool {
        self.shared.done.load(Ordering::Acquire) == self.subscribers || self.failed()
    }

    /// Ends all connections and gives what each subscriber has counted.
    pub(super) async fn end(self) -> Result<Vec<Tally>, Failure> {
        self.phase.send_replace(Phase::Over);
        let joining = tokio::task::spawn_blocking(move || {
            let mut tallies = Vec::new();
            for thread in self.threads {
                tallies.extend(thread.join().map_err(|_| Failure::failed("a reading thread broke"))??);
            }
            Ok(tallies)
        });
        joining.await.map_err(Failure::failed)?
    }
}

fn read_all(
    address: &ServerAddress,
    subscribers: Vec<Subscriber>,
    until: Until,
    shared: &Arc<Shared>,
    phases: watch::Receiver<Phase>,
) -> Result<Vec<Tally>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    let buffer = Rc::new(RefCell::new(vec![0; limits::BENCH_READ_BYTES].into_boxed_slice()));
    let connecting = Rc::new(Semaphore::new(limits::BENCH_CONNECTS_AT_ONCE));
    let all = async {
        let mut tasks = JoinSet::new();
        for subscriber in subscribers {
            let (address, shared, phases) = (address.clone(), shared.clone(), phases.clone());
            let (buffer, connecting) = (buffer.clone(), connecting.clone());
            tasks.spawn_local(async move {
                let Subscriber { target, mut tally, progress: _ } = subscriber;
                let upgraded = {
                    let _place = connecting.acquire().await.map_err(Failure::failed)?;
                    upgrade(&address, &target).await?
                };
                shared.connected.fetch_add(1, Ordering::Release);
                let read = subscribe(upgraded, &mut tally, &buffer, until, &shared.done, phases).await;
                tally.publish();
                read.map(|()| tally).map_err(Failure::failed)
            });
        }
        let mut tallies = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            tallies.push(ended.map_err(Failure::failed)??);
        }
        Ok(tallies)
    };
    LocalSet::new().block_on(&runtime, all)
}

/// Reads one socket until the run is over.
async fn subscribe(
    upgraded: Upgraded,
    tally: &mut Tally,
    buffer: &RefCell<Box<[u8]>>,
    until: Until,
    done: &AtomicUsize,
    mut phases: watch::Receiver<Phase>,
) -> Result<(), String> {
    let over = |phase: &Phase| *phase != Phase::Connecting;
    if phases.wait_for(over).await.is_err() {
        return Ok(());
    }
    let mut over = phases.clone();
    let mut reading = std::pin::pin!(read(upgraded, tally, buffer, until, done));
    tokio::select! {
        biased;
        read = &mut reading => read,
        _ = over.wait_for(|phase| *phase == Phase::Over) => Ok(()),
    }
}

async fn read(
    mut upgraded: Upgraded,
    tally: &mut Tally,
    buffer: &RefCell<Box<[u8]>>,
    until: Until,
    done: &AtomicUsize,
) -> Result<(), String> {
    let mut frames = Frames::default();
    let mut wishes = Vec::new();
    frames.take(&upgraded.first, tally, &mut wishes)?;
    loop {
        for wish in wishes.drain(..) {
            match wish {
                Wish::Pong(payload) => {
                    upgraded
                        .channel
                        .write_all(&pong(&payload))
                        .await
                        .map_err(|error| format!("connection lost: {error}"))?;
                }
                Wish::Closed(code, reason) => return Err(format!("the server closed with {code}: {reason}")),
            }
        }
        if until.records.is_some_and(|wanted| tally.has(wanted)) {
            done.fetch_add(1, Ordering::Release);
            return Ok(());
        }
        let read = poll_fn(|context| {
            // Borrowed for one read only: the sockets of a thread share the buffer.
            let mut buffer = buffer.borrow_mut();
            let mut into = ReadBuf::new(&mut buffer);
            let polled = Pin::new(&mut upgraded.channel).poll_read(context, &mut into);
            polled.map_ok(|()| {
                tally.read_at = Instant::now();
                let taken = frames.take(into.filled(), tally, &mut wishes);
                tally.publish();
                taken.map(|()| into.filled().len())
            })
        });
        match read.await {
            Ok(Ok(0)) => return Err("the server ended the connection".into()),
            Ok(Ok(_)) => {}
            Ok(Err(what)) => return Err(what.into()),
            Err(error) => return Err(format!("connection lost: {error}")),
        }
        if let Some(complaint) = tally.complaint() {
            return Err(complaint);
        }
    }
}
