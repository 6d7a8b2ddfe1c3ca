//! Stream resources: made, listed, deleted, remembered; what went wrong with each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use serde_json::Value;
use tokio::sync::watch;

use crate::catalog::stream::{ConfigError, StreamConfig};
use crate::catalog::{Catalog, CatalogError, Shelf};
use crate::delivery::fanout::Fanout;
use crate::delivery::feed::{DeliveryEnd, Progress};
use crate::limits;
use crate::record::{Epoch, ResourceName, Timestamp, TrailName};
use crate::service::activity::StreamActivity;
use crate::service::stream_rules::StreamRules;
use crate::service::{Service, StartError};
use crate::tasks::{Panicked, Task, caught_here};

/// All streams of a server.
#[derive(Debug)]
pub struct Streams {
    known: RwLock<BTreeMap<ResourceName, Arc<Stream>>>,
    /// Held while a stream is made, changed or deleted.
    changing: tokio::sync::Mutex<()>,
}

/// One revision of a stream.
#[derive(Debug)]
pub struct Stream {
    /// Its name.
    pub name: ResourceName,
    /// Number of this revision: no two of this life of the server have the same.
    pub revision: u64,
    /// Its configuration.
    pub config: StreamConfig,
    /// Its rules, compiled when they were first needed; shared by revisions whose rules are the same.
    pub(super) rules: Arc<StreamRules>,
    /// Set when this revision ends.
    pub(super) ending: watch::Sender<Option<DeliveryEnd>>,
    errors: Mutex<VecDeque<String>>,
    sessions: Mutex<BTreeMap<u64, LiveSession>>,
    /// What its sessions have done, those of earlier revisions too.
    pub activity: Arc<StreamActivity>,
    /// What its sessions share, by whether the connection asked for one CloudEvent a message.
    fanouts: Mutex<Vec<(bool, Weak<Fanout>)>>,
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

/// A stream cannot be made, found or stored.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// There is none of that name.
    #[error("stream {0} does not exist")]
    Missing(ResourceName),
    /// There is one of that name.
    #[error("stream {0} already exists")]
    Exists(ResourceName),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] crate::catalog::stream::ConfigError),
    /// Its rules were not looked at.
    #[error("too many streams wait for their rules to be compiled; try again in a moment")]
    Busy,
    /// Compiling its rules broke off.
    #[error(transparent)]
    Panicked(#[from] crate::tasks::Panicked),
    /// The catalog.
    #[error(transparent)]
    Catalog(CatalogError),
}

impl Stream {
    fn new(
        name: ResourceName,
        config: StreamConfig,
        rules: Arc<StreamRules>,
        document: Option<Value>,
        activity: Arc<StreamActivity>,
    ) -> Arc<Self> {
        let unmatched = config.names_partitions().map(|member| {
            format!("{member} names partitions, which no trail has: the rule matches nothing; take it out by PATCH")
        });
        Arc::new(Self {
            document: RwLock::new(document.map(SetDocument::new)),
            revision: NUMBERS.fetch_add(1, Ordering::Relaxed),
            rules,
            name,
            config,
            ending: watch::Sender::new(None),
            errors: Mutex::new(unmatched.into_iter().collect()),
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

    /// What the sessions of this revision share in a trail of that epoch; made by the first of them.
    pub(super) fn fanout(&self, epoch: Epoch, event_framing: bool, make: impl FnOnce() -> Arc<Fanout>) -> Arc<Fanout> {
        let mut fanouts = self.fanouts.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a trail made anew nobody opens a session in its former life any more.
        fanouts.retain(|(_, known)| known.upgrade().is_some_and(|known| known.contract().epoch == epoch));
        let known = fanouts.iter().find(|(framing, _)| *framing == event_framing);
        if let Some(known) = known.and_then(|(_, known)| known.upgrade()) {
            return known;
        }
        let fanout = make();
        fanouts.push((event_framing, Arc::downgrade(&fanout)));
        fanout
    }

    /// Bytes of encoded messages that are kept for its sessions.
    pub fn kept_bytes(&self) -> usize {
        let fanouts = self.fanouts.lock().unwrap_or_else(PoisonError::into_inner);
        fanouts.iter().filter_map(|(_, known)| known.upgrade()).map(|known| known.kept_bytes()).sum()
    }

    pub(super) fn has_session(&self, number: u64) -> bool {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&number)
    }

    pub(super) fn session_opened(&self, number: u64, session: LiveSession) {
        self.activity.opened(number, session.progress.clone());
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(number, session);
    }

    /// Says nothing of one that was never opened.
    pub(super) fn session_ended(&self, number: u64) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        self.activity.ended(number);
    }
}

impl Streams {
    pub(super) fn open(catalog: &Catalog) -> Result<Self, StartError> {
        let mut known = BTreeMap::new();
        for (name, given) in catalog.list::<Value>(Shelf::Streams)? {
            let invalid = |error: String| StartError::Stream { name: name.clone(), error };
            let resource = ResourceName::new(&name).map_err(|error| invalid(error.to_string()))?;
            let config = StreamConfig::from_value(given).map_err(|error| invalid(error.to_string()))?;
            let document = catalog.get(Shelf::Documents, &name)?;
            let unmatched = config.names_partitions();
            let stream = Stream::new(resource.clone(), config, Arc::default(), document, Arc::default());
            if let Some(member) = unmatched {
                tracing::warn!(stream = %resource, member, "a rule names partitions, which no trail has: it matches nothing");
            }
            known.insert(resource, stream);
        }
        Ok(Self { known: RwLock::new(known), changing: tokio::sync::Mutex::new(()) })
    }

    /// The stream of that name.
    pub fn get(&self, name: &ResourceName) -> Option<Arc<Stream>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Every stream, by name.
    pub fn list(&self) -> Vec<Arc<Stream>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The streams over that trail, by name.
    pub(super) fn readers_of(&self, trail: &TrailName) -> Vec<ResourceName> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let reads = |stream: &Stream| stream.config.source.trail_name().as_ref() == Some(trail);
        known.iter().filter(|(_, stream)| reads(stream)).map(|(name, _)| name.clone()).collect()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<ResourceName, Arc<Stream>>)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Service {
    /// The configuration that was given for a stream. A large one takes a while to check.
    pub async fn read_config(&self, given: Value) -> Result<StreamConfig, StreamError> {
        off_thread(move || StreamConfig::from_value(given)).await
    }

    /// Makes a stream.
    pub async fn make_stream(&self, name: &ResourceName, config: StreamConfig) -> Result<Arc<Stream>, StreamError> {
        if self.streams.get(name).is_some() {
            return Err(StreamError::Exists(name.clone()));
        }
        // Rules that do not compile are refused before anything is stored.
        let rules = self.compile_new_rules(&config).await?;
        let _one_at_a_time = self.streams.changing.lock().await;
        let (key, given) = (name.to_string(), config.as_given().clone());
        match self.in_catalog(move |catalog| catalog.put_new(Shelf::Streams, &key, &given)).await {
            Err(CatalogError::Exists { .. }) => return Err(StreamError::Exists(name.clone())),
            other => other.map_err(StreamError::Catalog)?,
        }
        let stream = Stream::new(name.clone(), config, rules, None, Arc::default());
        self.streams.change(|known| drop(known.insert(name.clone(), stream.clone())));
        tracing::info!(stream = %name, "stream made");
        Ok(stream)
    }

    /// Sets a stream's AsyncAPI document, which the caller has checked. It is served until the configuration changes.
    pub async fn set_document(&self, name: &ResourceName, document: Value) -> Result<Arc<Stream>, StreamError> {
        let _one_at_a_time = self.streams.changing.lock().await;
        let stream = self.streams.get(name).ok_or_else(|| StreamError::Missing(name.clone()))?;
        let (key, stored) = (name.to_string(), document.clone());
        let stored = self.in_catalog(move |catalog| catalog.put(Shelf::Documents, &key, &stored)).await;
        stored.map_err(StreamError::Catalog)?;
        *stream.document.write().unwrap_or_else(PoisonError::into_inner) = Some(SetDocument::new(document));
        self.documents.forget(stream.revision);
        tracing::info!(stream = %name, "document set");
        Ok(stream)
    }

    /// Forgets the document set for a stream; whether there was one. Before the stream itself changes: whatever comes
    /// in between, a document never outlives the configuration it was made for.
    async fn drop_document(&self, stream: &Stream) -> Result<bool, StreamError> {
        if stream.document().is_none() {
            return Ok(false);
        }
        let key = stream.name.to_string();
        let dropped = self.in_catalog(move |catalog| catalog.delete(Shelf::Documents, &key)).await;
        dropped.map_err(StreamError::Catalog)?;
        *stream.document.write().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(true)
    }

    /// Changes a stream by a JSON merge patch, all or nothing. Its sessions end with 4012 after what they are owed,
    /// unless the patch changes nothing. Also says whether a document that had been set for it was dropped.
    pub async fn patch_stream(&self, name: &ResourceName, patch: &Value) -> Result<(Arc<Stream>, bool), StreamError> {
        let (_one_at_a_time, old, config, rules) = loop {
            let old = self.streams.get(name).ok_or_else(|| StreamError::Missing(name.clone()))?;
            let (before, patch) = (old.clone(), patch.clone());
            let config = off_thread(move || before.config.patched(&patch)).await?;
            let rules = if config.rules == old.config.rules {
                old.rules.clone()
            } else {
                self.compile_new_rules(&config).await?
            };
            let one_at_a_time = self.streams.changing.lock().await;
            // Another change may have come in between.
            if self.streams.get(name).is_some_and(|now| Arc::ptr_eq(&now, &old)) {
                break (one_at_a_time, old, config, rules);
            }
        };
        if config.as_given() == old.config.as_given() {
            // Nothing to change: neither its sessions nor its document are disturbed.
            return Ok((old, false));
        }
        let dropped = self.drop_document(&old).await?;
        let (key, given) = (name.to_string(), config.as_given().clone());
        let stored = self.in_catalog(move |catalog| catalog.put(Shelf::Streams, &key, &given)).await;
        stored.map_err(StreamError::Catalog)?;
        let stream = Stream::new(name.clone(), config, rules, None, old.activity.clone());
        self.streams.change(|known| drop(known.insert(name.clone(), stream.clone())));
        self.documents.forget(old.revision);
        old.ending.send_replace(Some(DeliveryEnd::Reconfigured));
        tracing::info!(stream = %name, "stream reconfigured");
        Ok((stream, dropped))
    }

    /// Deletes a stream. Its sessions end with 4020 after what they are owed; its trail stays.
    pub async fn delete_stream(&self, name: &ResourceName) -> Result<(), StreamError> {
        let _one_at_a_time = self.streams.changing.lock().await;
        let stream = self.streams.get(name).ok_or_else(|| StreamError::Missing(name.clone()))?;
        self.drop_document(&stream).await?;
        let key = name.to_string();
        let removed = self.in_catalog(move |catalog| catalog.delete(Shelf::Streams, &key)).await;
        removed.map_err(StreamError::Catalog)?;
        self.streams.change(|known| drop(known.remove(name)));
        self.documents.forget(stream.revision);
        stream.ending.send_replace(Some(DeliveryEnd::Gone));
        tracing::info!(stream = %name, "stream deleted");
        Ok(())
    }
}

async fn off_thread(
    work: impl FnOnce() -> Result<StreamConfig, ConfigError> + Send + 'static,
) -> Result<StreamConfig, StreamError> {
    let done = tokio::task::spawn_blocking(move || caught_here(Task::Request, work)).await;
    Ok(done.unwrap_or(Err(Panicked))??)
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::clock::SystemClock;

    fn stored(service: &Service, name: &str) -> String {
        let raw: Option<Box<RawValue>> = service.catalog.get(Shelf::Streams, name).unwrap();
        raw.unwrap().get().to_owned()
    }

    #[tokio::test]
    async fn streams_of_an_older_catalog_are_kept_as_they_are_and_new_ones_as_given() {
        let home = tempfile::tempdir().unwrap();
        let of = |number: &str| {
            let condition = format!(r#"{{"column":"id","operator":"EQ","value":{number}}}"#);
            format!(
                r#"{{"source":{{"trail":"a1"}},"encoding":{{"json":{{"staticFields":{{"s":{number}}}}}}},"rules":[{{"action":"include","filter":{{"columnValues":[{condition}]}}}}]}}"#
            )
        };
        let old = of("1.2345678901234568e+20");
        let open = || Service::open(home.path(), Arc::new(SystemClock), Default::default()).unwrap();
        open().catalog.put(Shelf::Streams, "old", &RawValue::from_string(old.clone()).unwrap()).unwrap();
        let service = open();
        let (old_name, new_name) = (ResourceName::new("old").unwrap(), ResourceName::new("new").unwrap());
        assert_eq!(service.streams.get(&old_name).unwrap().config.as_given().to_string(), old);
        let new = of("123456789012345678901");
        service.make_stream(&new_name, StreamConfig::parse(new.as_bytes()).unwrap()).await.unwrap();
        assert_eq!((stored(&service, "old"), stored(&service, "new")), (old, new.clone()));
        drop(service);
        let again = open().streams.get(&new_name).unwrap();
        assert_eq!(again.config.as_given().to_string(), new);
        assert_eq!(again.config.json.static_fields, [("s".to_owned(), "123456789012345678901".to_owned())]);
    }
}
