//! Keys of tokens that their issuer serves: who wants new ones, when they were fetched last, and how that went.
//!
//! Owns when a token with an unknown key is worth asking the issuer again, and who waits for the answer. Fetching is for
//! whoever has the network; it tells here what came of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::{Duration, Instant, timeout};

use crate::limits;
use crate::record::Timestamp;

/// How fetching goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchFigures {
    /// Sets of keys that were taken.
    pub taken: u64,
    /// Tries that brought none.
    pub failed: u64,
    /// When the last one was taken.
    pub last_taken: Option<Timestamp>,
    /// Why the last try brought none; none when it did.
    pub error: Option<String>,
}

/// Ties those who need new keys to whoever fetches them.
#[derive(Debug, Default)]
pub struct KeyRefresh {
    asked: Notify,
    state: Mutex<State>,
    /// Tries that have ended.
    ended: watch::Sender<u64>,
    waiting: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// None while nobody fetches keys.
    figures: Option<FetchFigures>,
    /// When the last try began, and whether it goes on.
    begun: Option<Instant>,
    running: bool,
}

impl KeyRefresh {
    /// From now on somebody fetches keys.
    pub fn turn_on(&self) {
        self.lock().figures.get_or_insert_default();
    }

    /// How it goes; none while nobody fetches keys.
    pub fn figures(&self) -> Option<FetchFigures> {
        self.lock().figures.clone()
    }

    /// Whoever fetches waits here for being asked to.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// A try begins.
    pub fn begins(&self) {
        let mut state = self.lock();
        (state.begun, state.running) = (Some(Instant::now()), true);
    }

    /// A try has ended; new keys are in use before this is told.
    pub fn ends(&self, outcome: Result<Timestamp, String>) {
        let mut state = self.lock();
        state.running = false;
        if let Some(figures) = &mut state.figures {
            match outcome {
                Ok(at) => {
                    figures.taken += 1;
                    (figures.last_taken, figures.error) = (Some(at), None);
                }
                Err(error) => {
                    figures.failed += 1;
                    figures.error = Some(error);
                }
            }
        }
        drop(state);
        self.ended.send_modify(|ended| *ended += 1);
    }

    /// Has the keys fetched anew, if that was not done a moment ago, and waits (a little) until that has ended. Whether it is
    /// worth looking at the keys again.
    pub async fn renewed(&self) -> bool {
        let mut ended = self.ended.subscribe();
        let before = *ended.borrow_and_update();
        {
            let mut state = self.lock();
            let pause = Duration::from_secs(limits::JWKS_ASKED_SECONDS_MIN);
            let is_due = state.begun.is_none_or(|begun| begun.elapsed() >= pause);
            if state.figures.is_none() || !state.running && !is_due {
                return false;
            }
            if !state.running {
                (state.begun, state.running) = (Some(Instant::now()), true);
                self.asked.notify_one();
            }
        }
        // Each holds a request; the keys that they wait for help the next ones too.
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= limits::JWKS_WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let patience = Duration::from_secs(limits::JWKS_WAIT_SECONDS_MAX);
        let waited = timeout(patience, ended.wait_for(|ended| *ended != before)).await.is_ok_and(|ended| ended.is_ok());
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        waited
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_has_the_issuer_asked_once_in_a_while_and_all_wait_for_the_one_answer() {
        let refresh = Arc::new(KeyRefresh::default());
        assert!(!refresh.renewed().await, "nobody fetches");
        refresh.turn_on();
        let fetching = tokio::spawn({
            let refresh = refresh.clone();
            async move {
                for tries in 1_i64.. {
                    refresh.asked().await;
                    refresh.begins();
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    let failed = tries % 2 == 0;
                    refresh.ends(if failed { Err("down".into()) } else { Ok(Timestamp::from_micros(tries)) });
                }
            }
        });
        let wishes: Vec<_> = (0..10)
            .map(|_| {
                let refresh = refresh.clone();
                tokio::spawn(async move { refresh.renewed().await })
            })
            .collect();
        for wish in wishes {
            assert!(wish.await.unwrap());
        }
        assert_eq!(refresh.figures().unwrap().taken, 1);
        assert!(!refresh.renewed().await, "it was asked a moment ago");
        tokio::time::advance(Duration::from_secs(limits::JWKS_ASKED_SECONDS_MIN)).await;
        assert!(refresh.renewed().await);
        let figures = refresh.figures().unwrap();
        assert_eq!((figures.taken, figures.failed, figures.error.as_deref()), (1, 1, Some("down")));
        assert_eq!(figures.last_taken, Some(Timestamp::from_micros(1)), "what was taken last is told on");
        fetching.abort();
        let _ = fetching.await;
        tokio::time::advance(Duration::from_secs(limits::JWKS_ASKED_SECONDS_MIN)).await;
        assert!(!refresh.renewed().await, "nobody waits for ever");
    }
}
