//! Documents that take long to build: each built once, on a thread that may block, for all who ask meanwhile; then kept, the
//! ones used last, within a limit.
//!
//! Knows nothing of what stands in them. What is answered is shared bytes, however many have yet to take them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::access::{Limit, LimitHits};
use crate::limits;
use crate::record::{Epoch, SchemaId};
use crate::service::off_thread::{Busy, OffThread};
use crate::tasks::Panicked;

/// What a document depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DocumentKey {
    /// Number of the stream's revision: [`crate::service::streams::Stream::revision`].
    pub revision: u64,
    /// Number of the document that was set for the stream, if it is that one.
    pub set: Option<u64>,
    /// The trail and its newest table schema, if the stream has a trail.
    pub tables: Option<(Epoch, SchemaId)>,
    /// What else: layout, format, the address that it names.
    pub variant: String,
}

/// A built document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its text.
    pub bytes: Bytes,
    /// Its entity tag (RFC 9110, section 8.8.3), in quotes.
    pub tag: Arc<str>,
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its text.
    pub text: String,
    /// Whether it may be kept: not if something that should stand in it could not be had.
    pub whole: bool,
}

/// A document is not built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Too many wait for theirs.
    #[error("too many documents are waiting to be built; try again in a moment")]
    Busy,
    /// Building broke off.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// It has no text.
    #[error("the document cannot be written: {0}")]
    Unwritable(String),
}

/// What documents took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DocumentFigures {
    /// Being built, or waiting for it.
    pub building: usize,
    /// Built.
    pub built: u64,
    /// Answered without building.
    pub shared: u64,
    /// Bytes that are kept.
    pub kept_bytes: usize,
}

type Outcome = Result<Document, DocumentError>;

/// The documents of a server.
#[derive(Debug)]
pub struct Documents {
    cache: Mutex<Cache>,
    work: OffThread,
    kept_bytes_max: usize,
    built: AtomicU64,
    shared: AtomicU64,
    hits: Arc<LimitHits>,
}

#[derive(Debug, Default)]
struct Cache {
    entries: HashMap<DocumentKey, Entry>,
    kept_bytes: usize,
    /// How often one was looked for.
    looks: u64,
}

#[derive(Debug)]
enum Entry {
    Building(watch::Receiver<Option<Outcome>>),
    Kept { document: Document, used: u64 },
}

enum Found {
    Kept(Document),
    Building(watch::Receiver<Option<Outcome>>),
    Nothing(Building),
}

/// A document that is to be built; its entry is free again when it is not.
struct Building {
    documents: Arc<Documents>,
    key: DocumentKey,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Document {
    fn new(text: String) -> Self {
        let hash = Sha256::digest(text.as_bytes());
        let tag: String = hash[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { bytes: text.into(), tag: format!("\"{tag}\"").into() }
    }

    fn memory(&self, key: &DocumentKey) -> usize {
        self.bytes.len() + key.variant.len() + size_of::<DocumentKey>() + size_of::<Entry>()
    }
}

impl Documents {
    /// Documents that keep at most so many bytes; refusals are counted.
    pub(super) fn new(kept_bytes_max: usize, hits: Arc<LimitHits>) -> Arc<Self> {
        let work = OffThread::new("document", limits::DOCUMENTS_BUILT_AT_ONCE, limits::DOCUMENTS_WAITING_MAX);
        let (cache, built, shared) = Default::default();
        Arc::new(Self { cache, work, kept_bytes_max, built, shared, hits })
    }

    /// The document: the one that is kept, the one that somebody builds already, or one that `build` gives the text of.
    pub async fn get(
        self: &Arc<Self>,
        key: DocumentKey,
        build: impl FnOnce() -> Result<Draft, DocumentError> + Send + 'static,
    ) -> Result<Document, DocumentError> {
        let building = loop {
            match self.look(&key) {
                Found::Kept(document) => {
                    self.shared.fetch_add(1, Ordering::Relaxed);
                    return Ok(document);
                }
                Found::Building(mut outcome) => {
                    let done = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
                    // Whoever was to build it has gone away: the next one does.
                    let Some(outcome) = done else { continue };
                    self.shared.fetch_add(1, Ordering::Relaxed);
                    return outcome;
                }
                Found::Nothing(building) => break building,
            }
        };
        self.work_off_thread(move || building.build(build)).await?
    }

    /// Does other work on a document where documents are built.
    pub async fn work_off_thread<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, DocumentError> {
        let turn = self.work.turn().await.map_err(|Busy| {
            self.hits.count(Limit::Documents);
            DocumentError::Busy
        })?;
        Ok(turn.run(work).await?)
    }

    /// Forgets what was built for a revision of a stream that is no more, or whose own document is another now.
    pub(super) fn forget(&self, revision: u64) {
        let mut cache = self.cache();
        let mut bytes = 0;
        cache.entries.retain(|key, entry| {
            let stays = key.revision != revision;
            bytes += if stays { 0 } else { entry.memory(key) };
            stays
        });
        cache.kept_bytes -= bytes;
    }

    /// The figures now.
    pub fn figures(&self) -> DocumentFigures {
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        DocumentFigures {
            building: self.work.busy(),
            built: load(&self.built),
            shared: load(&self.shared),
            kept_bytes: self.cache().kept_bytes,
        }
    }

    fn look(self: &Arc<Self>, key: &DocumentKey) -> Found {
        let mut cache = self.cache();
        cache.looks += 1;
        let now = cache.looks;
        match cache.entries.get_mut(key) {
            Some(Entry::Kept { document, used }) => {
                *used = now;
                return Found::Kept(document.clone());
            }
            Some(Entry::Building(outcome)) if outcome.has_changed().is_ok() => return Found::Building(outcome.clone()),
            Some(Entry::Building(_)) | None => {}
        }
        let (sender, receiver) = watch::channel(None);
        cache.entries.insert(key.clone(), Entry::Building(receiver));
        Found::Nothing(Building { documents: self.clone(), key: key.clone(), outcome: sender })
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn memory(&self, key: &DocumentKey) -> usize {
        match self {
            Self::Kept { document, .. } => document.memory(key),
            Self::Building(_) => 0,
        }
    }

    fn used(&self) -> Option<u64> {
        match self {
            Self::Kept { used, .. } => Some(*used),
            Self::Building(_) => None,
        }
    }
}

impl Cache {
    fn keep(&mut self, key: &DocumentKey, document: &Document, bytes_max: usize) {
        let bytes = document.memory(key);
        if bytes > bytes_max {
            return;
        }
        self.kept_bytes += bytes;
        self.entries.insert(key.clone(), Entry::Kept { document: document.clone(), used: self.looks });
        while self.kept_bytes > bytes_max {
            let kept = self.entries.iter().filter_map(|(key, entry)| Some((entry.used()?, key)));
            let Some(oldest) = kept.min_by_key(|(used, _)| *used).map(|(_, key)| key.clone()) else { return };
            let entry = self.entries.remove(&oldest);
            self.kept_bytes -= entry.map_or(0, |entry| entry.memory(&oldest));
        }
    }
}

impl Building {
    fn build(self, build: impl FnOnce() -> Result<Draft, DocumentError>) -> Outcome {
        let built = build();
        let whole = built.as_ref().is_ok_and(|draft| draft.whole);
        let outcome = built.map(|draft| Document::new(draft.text));
        self.documents.built.fetch_add(1, Ordering::Relaxed);
        if let Some(mut cache) = self.free_entry()
            && let Ok(document) = &outcome
            && whole
        {
            cache.keep(&self.key, document, self.documents.kept_bytes_max);
        }
        self.outcome.send_replace(Some(outcome.clone()));
        outcome
    }

    /// Takes its entry away, if it has it still: it may have been forgotten meanwhile, and taken by another.
    fn free_entry(&self) -> Option<MutexGuard<'_, Cache>> {
        let mut cache = self.documents.cache();
        let Some(Entry::Building(receiver)) = cache.entries.get(&self.key) else { return None };
        if !receiver.same_channel(&self.outcome.subscribe()) {
            return None;
        }
        cache.entries.remove(&self.key);
        Some(cache)
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        self.free_entry();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn key(revision: u64) -> DocumentKey {
        DocumentKey { revision, set: None, tables: None, variant: "yaml".into() }
    }

    fn documents(bytes: usize) -> Arc<Documents> {
        Documents::new(bytes, Arc::default())
    }

    fn text(letter: &str) -> Result<Draft, DocumentError> {
        of_length(letter, 1_000)
    }

    fn of_length(letter: &str, length: usize) -> Result<Draft, DocumentError> {
        Ok(Draft { text: letter.repeat(length), whole: true })
    }

    #[tokio::test]
    async fn many_who_ask_at_once_share_one_that_is_built_once_and_kept() {
        let documents = documents(1 << 20);
        let (go, held) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let documents = documents.clone();
            async move {
                let build = move || held.recv().map_err(|_| DocumentError::Busy).and_then(|()| text("a"));
                documents.get(key(1), build).await
            }
        });
        while !documents.cache().entries.contains_key(&key(1)) {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (0..40)
            .map(|_| {
                let documents = documents.clone();
                tokio::spawn(async move { documents.get(key(1), || text("b")).await.unwrap() })
            })
            .collect();
        go.send(()).unwrap();
        let document = first.await.unwrap().unwrap();
        for other in others {
            let other = other.await.unwrap();
            assert_eq!((other.bytes.as_ptr(), &other.tag), (document.bytes.as_ptr(), &document.tag), "one copy");
        }
        let figures = documents.figures();
        assert_eq!((figures.built, figures.shared), (1, 40));
        documents.forget(1);
        assert_eq!(documents.figures().kept_bytes, 0);
        assert_ne!(documents.get(key(1), || text("b")).await.unwrap().tag, document.tag);
    }

    #[tokio::test]
    async fn the_ones_used_last_are_kept_within_the_limit_and_one_that_is_too_large_is_not() {
        let documents = documents(3_600);
        for revision in [1, 2, 1, 3, 1, 4] {
            documents.get(key(revision), || text("a")).await.unwrap();
        }
        assert_eq!(documents.figures().built, 4);
        assert!(documents.figures().kept_bytes <= 3_600);
        documents.get(key(1), || text("a")).await.unwrap();
        assert_eq!(documents.figures().built, 4, "1 was used all the time");
        documents.get(key(2), || text("a")).await.unwrap();
        assert_eq!(documents.figures().built, 5, "2 was let go");
        documents.get(key(9), || of_length("a", 10_000)).await.unwrap();
        documents.get(key(9), || of_length("a", 10_000)).await.unwrap();
        assert_eq!(documents.figures().built, 7);
    }

    #[tokio::test]
    async fn who_waits_beyond_the_queue_is_refused_and_those_who_went_away_leave_nothing_behind() {
        let documents = documents(1 << 20);
        let held = documents.work.turn().await.unwrap();
        let waiting: Vec<_> = (0..limits::DOCUMENTS_WAITING_MAX as u64)
            .map(|revision| {
                let documents = documents.clone();
                tokio::spawn(async move { documents.get(key(revision), || text("a")).await.map(drop) })
            })
            .collect();
        while documents.cache().entries.len() < limits::DOCUMENTS_WAITING_MAX {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        assert_eq!(documents.get(key(99), || text("a")).await, Err(DocumentError::Busy));
        assert_eq!(documents.hits.of(Limit::Documents), 1);
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        for one in waiting {
            assert!(one.await.is_err());
        }
        assert_eq!(documents.cache().entries.len(), 0);
        drop(held);
        documents.get(key(99), || text("a")).await.unwrap();
    }

    #[tokio::test]
    async fn one_in_which_something_is_missing_is_not_kept() {
        let documents = documents(1 << 20);
        for built in 1..=2 {
            let partial = || text("a").map(|draft| Draft { whole: false, ..draft });
            documents.get(key(1), partial).await.unwrap();
            assert_eq!((documents.figures().built, documents.figures().kept_bytes), (built, 0));
        }
    }

    #[tokio::test]
    async fn a_build_that_panics_is_an_error_and_the_next_one_builds() {
        let documents = documents(1 << 20);
        let broken = documents.get(key(1), || of_length("a", usize::MAX)).await;
        assert!(matches!(broken, Err(DocumentError::Panicked(_))), "{broken:?}");
        documents.get(key(1), || text("a")).await.unwrap();
    }
}
