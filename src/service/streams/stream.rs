//! One stream of a server: a revision of its configuration, and what its sessions share and have met.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use serde_json::Value;
use tokio::sync::watch;

use super::activity::StreamActivity;
use super::rules::StreamRules;
use crate::catalog::stream::{ConfigError, StreamConfig};
use crate::delivery::end::End;
use crate::delivery::fanout::Fanout;
use crate::delivery::negotiated::Negotiated;
use crate::delivery::progress::Progress;
use crate::delivery::rules::Rules;
use crate::limits;
use crate::record::{Epoch, ResourceName, Timestamp};

/// One revision of a stream.
#[derive(Debug)]
pub struct Stream {
    /// Its name.
    pub name: ResourceName,
    /// Number of this revision: no two of this life of the server have the same.
    pub revision: u64,
    /// Its configuration.
    pub config: Arc<StreamConfig>,
    /// Its rules, compiled when they were first needed; shared by revisions whose rules are the same.
    pub(super) rules: Arc<StreamRules>,
    /// Set when this revision ends.
    pub(in crate::service) ending: watch::Sender<Option<End>>,
    errors: Mutex<VecDeque<String>>,
    sessions: Mutex<BTreeMap<u64, LiveSession>>,
    /// What its sessions have done, those of earlier revisions too.
    pub activity: Arc<StreamActivity>,
    /// What its sessions share, one for each that connections negotiated.
    fanouts: Mutex<Vec<Weak<Fanout>>>,
    document: RwLock<Option<SetDocument>>,
}

/// An AsyncAPI document that was set for a stream.
#[derive(Debug, Clone)]
pub struct SetDocument {
    /// Its number: no two of this life of the server have the same.
    pub number: u64,
    /// The document.
    pub document: Arc<Value>,
}

static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl SetDocument {
    fn new(document: Value) -> Self {
        Self { number: NUMBERS.fetch_add(1, Ordering::Relaxed), document: Arc::new(document) }
    }
}

/// A session as people see it.
#[derive(Debug, Clone)]
pub struct LiveSession {
    /// Who it is.
    pub user: String,
    /// From where: address and port.
    pub peer: String,
    /// Since when.
    pub since: Timestamp,
    /// What it asked to begin with.
    pub begin: String,
    /// What it has done.
    pub progress: Arc<Progress>,
}

impl Stream {
    pub(super) fn new(
        name: ResourceName,
        config: StreamConfig,
        rules: Arc<StreamRules>,
        document: Option<Value>,
        activity: Arc<StreamActivity>,
    ) -> Arc<Self> {
        Arc::new(Self {
            document: RwLock::new(document.map(SetDocument::new)),
            revision: NUMBERS.fetch_add(1, Ordering::Relaxed),
            rules,
            name,
            config: Arc::new(config),
            ending: watch::Sender::new(None),
            errors: Mutex::default(),
            sessions: Mutex::default(),
            activity,
            fanouts: Mutex::default(),
        })
    }

    /// Remembers that something went wrong, for `info/errors`.
    pub fn note_error(&self, error: String) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        // Told once, where it happened last: many sessions may meet the same thing.
        errors.retain(|known| *known != error);
        if errors.len() >= limits::STREAM_ERRORS_KEPT {
            errors.pop_front();
        }
        errors.push_back(error);
    }

    /// What went wrong lately, oldest first.
    pub fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Its live sessions.
    pub fn sessions(&self) -> Vec<LiveSession> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The AsyncAPI document that was set for it, if one was.
    pub fn document(&self) -> Option<SetDocument> {
        self.document.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_document(&self, document: Option<Value>) {
        *self.document.write().unwrap_or_else(PoisonError::into_inner) = document.map(SetDocument::new);
    }

    /// Its compiled rules. Those of a stream that there was at the start are compiled when they are first asked for.
    pub async fn compiled_rules(&self) -> Result<Rules, ConfigError> {
        self.rules.compiled(&self.config).await
    }

    /// What those sessions of this revision share in a trail of that epoch that negotiated the same; made by the first of
    /// them.
    pub(in crate::service) fn fanout(
        &self,
        epoch: Epoch,
        negotiated: &Negotiated,
        make: impl FnOnce() -> Arc<Fanout>,
    ) -> Arc<Fanout> {
        let mut fanouts = self.fanouts.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a trail made anew nobody opens a session in its former life any more.
        fanouts.retain(|known| known.upgrade().is_some_and(|known| known.contract().epoch == epoch));
        let mut known = fanouts.iter().filter_map(Weak::upgrade);
        if let Some(known) = known.find(|known| known.contract().negotiated == *negotiated) {
            return known;
        }
        let fanout = make();
        fanouts.push(Arc::downgrade(&fanout));
        fanout
    }

    /// Bytes of encoded messages that are kept for its sessions.
    pub fn kept_bytes(&self) -> usize {
        let fanouts = self.fanouts.lock().unwrap_or_else(PoisonError::into_inner);
        fanouts.iter().filter_map(Weak::upgrade).map(|known| known.kept_bytes()).sum()
    }

    pub(in crate::service) fn has_session(&self, number: u64) -> bool {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&number)
    }

    pub(in crate::service) fn session_opened(&self, number: u64, session: LiveSession) {
        self.activity.opened(number, session.progress.clone());
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(number, session);
    }

    /// Says nothing of one that was never opened.
    pub(in crate::service) fn session_ended(&self, number: u64) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        self.activity.ended(number);
    }
}
