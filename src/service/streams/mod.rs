//! Stream resources: made, listed, changed, deleted, remembered.

pub mod activity;
mod refused;
mod rules;
mod stream;
mod unmatched;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

pub use refused::StreamError;
pub(super) use rules::RulesFigures;
use rules::{RuleCompiler, StreamRules};
pub use stream::{LiveSession, SetDocument, Stream};
pub use unmatched::UnmatchedRules;

use super::documents::Documents;
use super::groups::Groups;
use super::principal::{Principal, Verb};
use super::trails::Trails;
use crate::access::LimitHits;
use crate::catalog::stream::{ConfigError, StreamConfig};
use crate::catalog::{Catalog, CatalogError, Shelf};
use crate::delivery::end::End;
use crate::record::{ResourceName, TrailName};
use crate::tasks::{Panicked, Task, caught_here};
use crate::trail::{PartitionChange, PartitionMap};

/// All streams of a server.
#[derive(Debug)]
pub struct Streams {
    catalog: Catalog,
    trails: Arc<Trails>,
    groups: Arc<Groups>,
    documents: Arc<Documents>,
    compiler: Arc<RuleCompiler>,
    known: RwLock<BTreeMap<ResourceName, Arc<Stream>>>,
    /// Held while a stream is made, changed or deleted.
    changing: tokio::sync::Mutex<()>,
}

/// The stored streams cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStreamsError {
    /// One of them.
    #[error("the stored stream {name} is not valid: {error}")]
    Invalid {
        /// Its name.
        name: String,
        /// Why.
        error: String,
    },
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Streams {
    /// Opens the streams of a catalog, over these trails.
    pub(super) fn open(
        catalog: &Catalog,
        trails: Arc<Trails>,
        groups: Arc<Groups>,
        documents: Arc<Documents>,
        hits: Arc<LimitHits>,
    ) -> Result<Self, OpenStreamsError> {
        let compiler = Arc::new(RuleCompiler::new(hits));
        let mut known = BTreeMap::new();
        for (name, given) in catalog.list::<Value>(Shelf::Streams)? {
            let invalid = |error: String| OpenStreamsError::Invalid { name: name.clone(), error };
            let resource = ResourceName::new(&name).map_err(|error| invalid(error.to_string()))?;
            let config = StreamConfig::from_value(given).map_err(|error| invalid(error.to_string()))?;
            let document = catalog.get(Shelf::Documents, &name)?;
            let unmatched = unmatched_partitions(&trails, &config);
            let rules = StreamRules::stored(&compiler);
            let stream = Stream::new(resource.clone(), config, rules, document, Arc::default());
            if let Some(unmatched) = unmatched {
                tracing::warn!(stream = %resource, "{unmatched}");
            }
            known.insert(resource, stream);
        }
        let (catalog, known, changing) = (catalog.clone(), RwLock::new(known), tokio::sync::Mutex::new(()));
        Ok(Self { catalog, trails, groups, documents, compiler, known, changing })
    }

    /// The stream of that name, for the server itself and for who has been asked for his rights already.
    pub fn get(&self, name: &ResourceName) -> Option<Arc<Stream>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The stream of that name, for a caller who may read it.
    pub fn find(&self, principal: Principal<'_>, name: &ResourceName) -> Result<Arc<Stream>, StreamError> {
        self.find_for(principal, Verb::Read, name)
    }

    /// The stream of that name, for a caller who may do this with it. One over a trail that he may not read is to him as
    /// one that is not there.
    pub fn find_for(
        &self,
        principal: Principal<'_>,
        verb: Verb,
        name: &ResourceName,
    ) -> Result<Arc<Stream>, StreamError> {
        principal.check_stream(verb, name)?;
        let stream = self.known(name)?;
        let may = principal.may_with_stream(verb, name, &stream.config.source.trail);
        if may { Ok(stream) } else { Err(StreamError::Missing(name.clone())) }
    }

    /// Every stream that the caller may see, by name.
    pub fn list(&self, principal: Principal<'_>) -> Vec<Arc<Stream>> {
        let mut streams = self.all();
        let may_read =
            |stream: &Stream| principal.may_with_stream(Verb::Read, &stream.name, &stream.config.source.trail);
        streams.retain(|stream| may_read(stream));
        streams
    }

    /// The streams over that trail that the caller may see, by name.
    pub fn readers_of(&self, principal: Principal<'_>, trail: &TrailName) -> Vec<ResourceName> {
        let reads = |stream: &Arc<Stream>| stream.config.source.trail_name().as_ref() == Some(trail);
        self.list(principal).iter().filter(|stream| reads(stream)).map(|stream| stream.name.clone()).collect()
    }

    /// Every stream, by name.
    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What of the partitions that its rules name matches nothing in its trail as it is now, in a sentence.
    pub fn unmatched_partitions(&self, stream: &Stream) -> Option<String> {
        unmatched_partitions(&self.trails, &stream.config)
    }

    /// Refuses a merge of partitions that rules of a stream tell apart: these would send what they are to leave out, or leave out
    /// what they are to send.
    pub fn check_merge(
        &self,
        principal: Principal<'_>,
        trail: &TrailName,
        partitions: &PartitionMap,
        change: PartitionChange,
    ) -> Result<(), StreamError> {
        principal.check_trail(Verb::Manage, trail)?;
        let PartitionChange::Merge { partition, with } = change else { return Ok(()) };
        if partitions.changed(change, 0).is_err() {
            // It is refused anyhow, and whoever changes them says why.
            return Ok(());
        }
        for stream in self.all() {
            if stream.config.source.trail_name().as_ref() != Some(trail) {
                continue;
            }
            if let Some(member) = stream.config.tells_apart(partitions, partition, with) {
                let is_seen = principal.may_with_stream(Verb::Read, &stream.name, &stream.config.source.trail);
                let stream = is_seen.then(|| stream.name.clone());
                return Err(StreamError::TellsApart { partition, with, member, stream });
            }
        }
        Ok(())
    }

    fn partitions_of(&self, config: &StreamConfig) -> Option<Arc<PartitionMap>> {
        partitions_of(&self.trails, config)
    }

    fn known(&self, name: &ResourceName) -> Result<Arc<Stream>, StreamError> {
        self.get(name).ok_or_else(|| StreamError::Missing(name.clone()))
    }

    /// What rules took, over all streams.
    pub(super) fn rules_figures(&self) -> RulesFigures {
        self.compiler.figures(self.rules_bytes())
    }

    /// The memory that the compiled rules of all streams take, in bytes, about.
    fn rules_bytes(&self) -> usize {
        self.all().iter().map(|stream| stream.rules.memory()).sum()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<ResourceName, Arc<Stream>>)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// The configuration that was given for a stream. A large one takes a while to check.
    pub async fn read_config(&self, given: Value) -> Result<StreamConfig, StreamError> {
        off_thread(move || StreamConfig::from_value(given)).await
    }

    /// Makes a stream.
    pub async fn make(
        &self,
        principal: Principal<'_>,
        name: &ResourceName,
        config: StreamConfig,
    ) -> Result<Arc<Stream>, StreamError> {
        principal.check_stream(Verb::Manage, name)?;
        principal.check_source(&config.source.trail)?;
        if self.get(name).is_some() {
            return Err(StreamError::Exists(name.clone()));
        }
        // Rules that do not compile are refused before anything is stored.
        let partitions = self.partitions_of(&config);
        let rules = self.compiler.compile_new(&config, partitions.as_deref(), || self.rules_bytes()).await?;
        let _one_at_a_time = self.changing.lock().await;
        let (key, given) = (name.to_string(), config.as_given().clone());
        match self.catalog.blocking(move |catalog| catalog.put_new(Shelf::Streams, &key, &given)).await {
            Err(CatalogError::Exists { .. }) => return Err(StreamError::Exists(name.clone())),
            other => other?,
        }
        let stream = Stream::new(name.clone(), config, rules, None, Arc::default());
        self.change(|known| drop(known.insert(name.clone(), stream.clone())));
        tracing::info!(stream = %name, "stream made");
        Ok(stream)
    }

    /// Sets a stream's AsyncAPI document, which the caller has checked. It is served until the configuration changes.
    pub async fn set_document(
        &self,
        principal: Principal<'_>,
        name: &ResourceName,
        document: Value,
    ) -> Result<Arc<Stream>, StreamError> {
        let _one_at_a_time = self.changing.lock().await;
        let stream = self.find_for(principal, Verb::Manage, name)?;
        let (key, stored) = (name.to_string(), document.clone());
        self.catalog.blocking(move |catalog| catalog.put(Shelf::Documents, &key, &stored)).await?;
        stream.set_document(Some(document));
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
        self.catalog.blocking(move |catalog| catalog.delete(Shelf::Documents, &key)).await?;
        stream.set_document(None);
        Ok(true)
    }

    /// Changes a stream by a JSON merge patch, all or nothing. Its sessions end after what they are owed,
    /// unless the patch changes nothing. Also says whether a document that had been set for it was dropped.
    pub async fn patch(
        &self,
        principal: Principal<'_>,
        name: &ResourceName,
        patch: &Value,
    ) -> Result<(Arc<Stream>, bool), StreamError> {
        let (_one_at_a_time, old, config, rules) = loop {
            let old = self.find_for(principal, Verb::Manage, name)?;
            let (before, patch) = (old.clone(), patch.clone());
            let config = off_thread(move || before.config.patched(&patch)).await?;
            principal.check_source(&config.source.trail)?;
            let partitions = self.partitions_of(&config);
            let rules = if config.rules == old.config.rules {
                if config.source.trail != old.config.source.trail {
                    config.check_partition_names(partitions.as_deref())?;
                }
                old.rules.clone()
            } else {
                self.compiler.compile_new(&config, partitions.as_deref(), || self.rules_bytes()).await?
            };
            let one_at_a_time = self.changing.lock().await;
            // Another change may have come in between.
            if self.get(name).is_some_and(|now| Arc::ptr_eq(&now, &old)) {
                break (one_at_a_time, old, config, rules);
            }
        };
        if config.as_given() == old.config.as_given() {
            // Nothing to change: neither its sessions nor its document are disturbed.
            return Ok((old, false));
        }
        let dropped = self.drop_document(&old).await?;
        let (key, given) = (name.to_string(), config.as_given().clone());
        self.catalog.blocking(move |catalog| catalog.put(Shelf::Streams, &key, &given)).await?;
        // The figures of another trail are not for everybody who may read this one.
        let same_trail = config.source.trail == old.config.source.trail;
        let activity = if same_trail { old.activity.clone() } else { Arc::default() };
        let stream = Stream::new(name.clone(), config, rules, None, activity);
        self.change(|known| drop(known.insert(name.clone(), stream.clone())));
        self.documents.forget(old.revision);
        old.ending.send_replace(Some(End::Reconfigured));
        tracing::info!(stream = %name, "stream reconfigured");
        Ok((stream, dropped))
    }

    /// Deletes a stream, unless it has consumer groups, whose positions would be lost. Its sessions end after what they are owed; its
    /// trail stays.
    pub async fn delete(&self, principal: Principal<'_>, name: &ResourceName) -> Result<(), StreamError> {
        let _one_at_a_time = self.changing.lock().await;
        let stream = self.find_for(principal, Verb::Manage, name)?;
        let groups = |groups| StreamError::HasGroups { stream: name.clone(), groups };
        let _no_groups = self.groups.none_of(name).await.map_err(groups)?;
        self.drop_document(&stream).await?;
        let key = name.to_string();
        self.catalog.blocking(move |catalog| catalog.delete(Shelf::Streams, &key)).await?;
        self.change(|known| drop(known.remove(name)));
        self.documents.forget(stream.revision);
        stream.ending.send_replace(Some(End::Gone));
        tracing::info!(stream = %name, "stream deleted");
        Ok(())
    }

    /// The rules of a stream that match no table of its trail, if there are any. None as well while the trail has no table
    /// with which to compare, and where nobody can look now.
    pub async fn unmatched_rules(&self, stream: &Arc<Stream>) -> Option<UnmatchedRules> {
        if stream.config.rules.is_empty() {
            return None;
        }
        let trail = self.trails.of(&stream.config.source)?.served().ok()?.clone();
        let rules = stream.compiled_rules().await.ok()?.of_source(trail.source_identity());
        let rules = rules.of_partitions(trail.current_partitions());
        let (turn, config) = (self.compiler.turn_to_look().await.ok()?, stream.config.clone());
        turn.run(move || UnmatchedRules::find(&config, &trail, &rules)).await.ok()?
    }
}

fn partitions_of(trails: &Trails, config: &StreamConfig) -> Option<Arc<PartitionMap>> {
    Some(trails.of(&config.source)?.served().ok()?.partitions())
}

/// Of a trail that cannot be read now nothing is said.
fn unmatched_partitions(trails: &Trails, config: &StreamConfig) -> Option<String> {
    if trails.of(&config.source).is_some_and(|trail| trail.served().is_err()) {
        return None;
    }
    let ConfigError { member, message } =
        config.check_partition_names(partitions_of(trails, config).as_deref()).err()?;
    Some(format!("{member} {message}. It matches nothing as it is."))
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
    use crate::service::Service;

    fn stored(service: &Service, name: &str) -> String {
        let raw: Option<Box<RawValue>> = service.catalog().get(Shelf::Streams, name).unwrap();
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
        open().catalog().put(Shelf::Streams, "old", &RawValue::from_string(old.clone()).unwrap()).unwrap();
        let service = open();
        let (old_name, new_name) = (ResourceName::new("old").unwrap(), ResourceName::new("new").unwrap());
        assert_eq!(service.streams().get(&old_name).unwrap().config.as_given().to_string(), old);
        let new = of("123456789012345678901");
        service
            .streams()
            .make(Principal::House, &new_name, StreamConfig::parse(new.as_bytes()).unwrap())
            .await
            .unwrap();
        assert_eq!((stored(&service, "old"), stored(&service, "new")), (old, new.clone()));
        drop(service);
        let again = open().streams().get(&new_name).unwrap();
        assert_eq!(again.config.as_given().to_string(), new);
        assert_eq!(again.config.json.static_fields, [("s".to_owned(), "123456789012345678901".to_owned())]);
    }
}
