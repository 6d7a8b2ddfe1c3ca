//! Extracts: the configured captures, stored with their passwords sealed, run by the supervisor.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::capture::{self, CaptureError, SharedStatus, Status};
use crate::catalog::coverage::CoverageRecord;
use crate::catalog::extract::{
    CredentialsRef, DesiredStatus, ExtractConfig, InvalidExtract, Secret, SourceConfig, WithoutIdentity,
};
use crate::catalog::stream::merge_patch;
use crate::catalog::table_pattern::TablePattern;
use crate::catalog::{Catalog, CatalogError, Shelf, VaultError};
use crate::codec::member::{self, ConfigError};
use crate::record::{ResourceName, TrailName};
use crate::service::collisions::Collision;
use crate::service::coverage::KeptCoverage;
use crate::service::supervisor::{Running, run_extract};
use crate::service::trails::TrailError;
use crate::service::{Service, StartError};
use crate::trail::Writer;

/// Member of a patch that accepts a loss once, and is not stored.
const ACCEPT_GAP: &str = "acceptGap";

/// All extracts of a server.
#[derive(Debug)]
pub struct Extracts {
    known: Mutex<BTreeMap<ResourceName, Extract>>,
    /// Held while an extract is made, changed, started or deleted, and while a trail is deleted.
    pub(super) changing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Extract {
    stored: StoredExtract,
    status: SharedStatus,
    coverage: KeptCoverage,
    running: Option<Running>,
}

/// An extract as the catalog holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredExtract {
    /// Without its password.
    config: ExtractConfig,
    /// The password, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

/// What people see of an extract.
#[derive(Debug, Clone)]
pub struct ExtractInfo {
    /// Its name.
    pub name: ResourceName,
    /// Its configuration, without its password.
    pub config: ExtractConfig,
    /// How it is doing.
    pub status: Status,
    /// What it has lost, and what it does not get.
    pub coverage: CoverageRecord,
}

/// The trail of an extract that was deleted: nobody writes it any more, nor can anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftTrail {
    /// Its name.
    pub name: TrailName,
    /// Whether nothing was ever captured into it.
    pub is_empty: bool,
}

/// An extract cannot be made, changed or found.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// There is none of that name.
    #[error("extract {0} does not exist")]
    Missing(ResourceName),
    /// There is one of that name.
    #[error("extract {0} already exists")]
    Exists(ResourceName),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] InvalidExtract),
    /// The trail.
    #[error(transparent)]
    Trail(#[from] TrailError),
    /// The trail of an extract that was deleted.
    #[error(
        "trail {trail} was written by extract {writer}, which was deleted, and a trail keeps its writer for life: delete the \
         trail, make the extract {writer} again, or name another trail"
    )]
    LeftTrail {
        /// The trail.
        trail: TrailName,
        /// The extract that is gone.
        writer: ResourceName,
    },
    /// A member that may not change.
    #[error("{0}")]
    Fixed(&'static str),
    /// There is nothing to accept.
    #[error("acceptGap: extract {0} has not stopped over tables that were lost")]
    NothingLost(ResourceName),
    /// The credentials that it names do not exist.
    #[error("credentials {domain}/{alias} do not exist")]
    Credentials {
        /// Their domain.
        domain: String,
        /// Their alias.
        alias: String,
    },
    /// It would use what another extract uses at the source.
    #[error(transparent)]
    Collision(#[from] Collision),
    /// Its source would refuse its application's writes.
    #[error(transparent)]
    Source(#[from] CaptureError),
    /// The catalog.
    #[error(transparent)]
    Catalog(CatalogError),
    /// The password cannot be sealed or opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Extracts {
    pub(super) fn open(catalog: &Catalog) -> Result<Self, StartError> {
        let mut known = BTreeMap::new();
        for (name, stored) in catalog.list::<StoredExtract>(Shelf::Extracts)? {
            match ResourceName::new(&name) {
                Ok(name) => {
                    let coverage = KeptCoverage::open(catalog, &stored.config.trail)?;
                    known.insert(name, Extract::new(stored, coverage));
                }
                Err(error) => tracing::error!(extract = name, %error, "stored extract is left out"),
            }
        }
        Ok(Self { known: Mutex::new(known), changing: tokio::sync::Mutex::new(()) })
    }

    fn with<R>(&self, act: impl FnOnce(&mut BTreeMap<ResourceName, Extract>) -> R) -> R {
        act(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One extract.
    pub fn get(&self, name: &ResourceName) -> Option<ExtractInfo> {
        self.with(|known| known.get(name).map(|extract| extract.info(name)))
    }

    /// Every extract, by name.
    pub fn list(&self) -> Vec<ExtractInfo> {
        self.with(|known| known.iter().map(|(name, extract)| extract.info(name)).collect())
    }

    pub(super) fn writer_of(&self, trail: &TrailName) -> Option<ResourceName> {
        self.with(|known| {
            known.iter().find(|(_, extract)| extract.stored.config.trail == *trail).map(|(name, _)| name.clone())
        })
    }

    async fn stop(&self, name: &ResourceName) {
        let running = self.with(|known| known.get_mut(name).and_then(|extract| extract.running.take()));
        if let Some(running) = running {
            running.stop().await;
        }
    }

    pub(super) async fn stop_all(&self) {
        let running: Vec<_> =
            self.with(|known| known.values_mut().filter_map(|extract| extract.running.take()).collect());
        running.iter().for_each(Running::ask_to_stop);
        for running in running {
            running.stop().await;
        }
    }
}

impl Extract {
    fn new(stored: StoredExtract, coverage: KeptCoverage) -> Self {
        Self { stored, status: SharedStatus::default(), coverage, running: None }
    }

    fn info(&self, name: &ResourceName) -> ExtractInfo {
        let mut status = self.status.snapshot();
        if self.running.is_none() {
            status.status = crate::capture::RunState::Stopped;
        }
        let coverage = self.coverage.shared.snapshot();
        ExtractInfo { name: name.clone(), config: self.stored.config.clone(), status, coverage }
    }
}

/// A stored password goes to the database that it was given for and nowhere else: with another address it, or the reference
/// to it, must stand in the patch again.
fn ask_again_elsewhere(old: &StoredExtract, new: &SourceConfig, patch: &Value) -> Result<(), InvalidExtract> {
    let before = &old.config.source;
    let moved = [
        ("source.type", before.kind != new.kind),
        ("source.host", before.host != new.host),
        ("source.port", before.port() != new.port()),
    ];
    let Some((member, _)) = moved.into_iter().find(|(_, moved)| *moved) else { return Ok(()) };
    let given = |secret: &str| patch.pointer(secret).is_some_and(|value| !value.is_null());
    let kept = new.password.is_none() && (old.password.is_some() || new.credentials.is_some());
    if !kept || given("/source/credentials") || (given("/source/password") && new.password.is_some()) {
        return Ok(());
    }
    let secret = if new.credentials.is_some() { "source.credentials" } else { "source.password" };
    let message = format!("must be given again when {member} changes: what is stored was given for another server");
    Err(InvalidExtract { member: secret.into(), message })
}

/// A patch without `acceptGap`, which is no part of the configuration, and whether it asks for it.
fn without_accept_gap(patch: &Value) -> Result<(Value, bool), InvalidExtract> {
    let mut patch = patch.clone();
    match patch.as_object_mut().and_then(|members| members.remove(ACCEPT_GAP)) {
        None => Ok((patch, false)),
        Some(Value::Bool(true)) => Ok((patch, true)),
        Some(_) => Err(InvalidExtract {
            member: ACCEPT_GAP.into(),
            message: "only true: the extract then goes on with a gap in its trail".into(),
        }),
    }
}

impl Service {
    /// Makes an extract and, unless its `status` is `stopped`, starts it. One whose tables would have the application's
    /// writes refused is refused itself, if its source can be looked at.
    pub async fn make_extract(
        self: &Arc<Self>,
        name: &ResourceName,
        config: ExtractConfig,
    ) -> Result<(), ExtractError> {
        config.validate()?;
        // Told before the source is looked at; the lock is not held meanwhile.
        self.check_free(name, &config)?;
        if config.status == DesiredStatus::Running {
            self.preflight(name, &config, config.source.password.clone(), None).await?;
        }
        self.make_extract_unseen(name, config).await
    }

    /// As [`Service::make_extract`], without a look at its source: what that would say stands in its status then.
    pub async fn make_extract_unseen(
        self: &Arc<Self>,
        name: &ResourceName,
        config: ExtractConfig,
    ) -> Result<(), ExtractError> {
        config.validate()?;
        let _one_at_a_time = self.extracts.changing.lock().await;
        self.check_free(name, &config)?;
        self.check_credentials(config.source.credentials.as_ref()).await?;
        let stored = self.sealed(config)?;
        let trail = stored.config.trail.clone();
        let is_new = self.trails.get(&trail).is_none();
        self.trails.get_or_make(&trail, Writer::Extract(name.clone())).await?;
        let (key, value) = (name.to_string(), stored.clone());
        let put = self.in_catalog(move |catalog| {
            catalog.put_new(Shelf::Extracts, &key, &value)?;
            KeptCoverage::open(catalog, &value.config.trail)
        });
        let put = put.await;
        // Nobody else could ever write it.
        if put.is_err()
            && is_new
            && let Err(error) = self.trails.remove(&trail).await
        {
            tracing::warn!(%trail, extract = %name, %error, "the empty trail of an extract that was not made stays: delete it");
        }
        let coverage = put.map_err(ExtractError::Catalog)?;
        self.extracts.with(|known| drop(known.insert(name.clone(), Extract::new(stored, coverage))));
        tracing::info!(extract = %name, "extract made");
        self.start_if_wanted(name).await
    }

    /// Whether the name, the trail and what it uses at the source are free.
    fn check_free(&self, name: &ResourceName, config: &ExtractConfig) -> Result<(), ExtractError> {
        let others = self.extracts.list();
        if others.iter().any(|other| other.name == *name) {
            return Err(ExtractError::Exists(name.clone()));
        }
        if let Some(other) = self.extracts.writer_of(&config.trail) {
            let (trail, writer) = (config.trail.clone(), format!("extract {other}"));
            return Err(TrailError::Busy { trail, writer }.into());
        }
        self.check_left(name, &config.trail)?;
        Ok(Collision::find((name, config), others.iter().map(|other| (&other.name, &other.config)))?)
    }

    /// Refuses the trail of an extract that was deleted: of it nobody could tell why it has another writer.
    fn check_left(&self, name: &ResourceName, trail: &TrailName) -> Result<(), ExtractError> {
        let Some(entry) = self.trails.get(trail) else { return Ok(()) };
        let Ok(served) = &entry.trail else { return Ok(()) };
        match &served.description().writer {
            Writer::Extract(writer) if writer != name && self.extracts.get(writer).is_none() => {
                Err(ExtractError::LeftTrail { trail: trail.clone(), writer: writer.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Whether the source speaks against the extract, or against its change from the patterns `known`.
    async fn preflight(
        &self,
        name: &ResourceName,
        config: &ExtractConfig,
        password: Option<Secret>,
        known: Option<&[TablePattern]>,
    ) -> Result<(), ExtractError> {
        let password = match &config.source.credentials {
            Some(reference) => Some(Secret::new(self.vault.open(&self.credential(reference).await?)?)),
            None => password,
        };
        Ok(capture::preflight(name, config, password, known).await?)
    }

    /// Whether a change of an extract that exists may be made: it takes nothing of another's, and its source does not
    /// speak against what would be published anew.
    async fn check_change(
        &self,
        name: &ResourceName,
        old: &StoredExtract,
        new: &StoredExtract,
    ) -> Result<(), ExtractError> {
        let (before, after) = (&old.config, &new.config);
        if Collision::concerns(before, after) {
            let others = self.extracts.list();
            let others = others.iter().filter(|other| other.name != *name);
            Collision::find((name, after), others.map(|other| (&other.name, &other.config)))?;
        }
        let inserts_only = Some(WithoutIdentity::InsertsOnly);
        if after.without_identity == inserts_only && before.without_identity != inserts_only {
            return Err(ExtractError::Fixed(
                "withoutIdentity: insertsOnly is chosen when an extract is made, as its second publication must be older \
                 than its slot",
            ));
        }
        let starts = before.status == DesiredStatus::Stopped;
        let publishes = before.source != after.source
            || before.tables != after.tables
            || before.postgresql != after.postgresql
            || before.without_identity != after.without_identity;
        if after.status == DesiredStatus::Running && (starts || publishes) {
            let password = new.password.as_deref().map(|sealed| self.vault.open(sealed)).transpose()?.map(Secret::new);
            self.preflight(name, after, password, Some(&before.tables)).await?;
        }
        Ok(())
    }

    /// Changes an extract by a JSON merge patch: `{"status":"stopped"}` stops it, and so on.
    pub async fn patch_extract(self: &Arc<Self>, name: &ResourceName, patch: &Value) -> Result<(), ExtractError> {
        let _one_at_a_time = self.extracts.changing.lock().await;
        let old = self.extracts.with(|known| known.get(name).map(|extract| extract.stored.clone()));
        let old = old.ok_or_else(|| ExtractError::Missing(name.clone()))?;
        let (patch, accepts_gap) = without_accept_gap(patch)?;
        let patch = &patch;
        let mut given = serde_json::to_value(&old.config).unwrap_or_default();
        merge_patch(&mut given, patch);
        let config: ExtractConfig =
            member::typed(&given).map_err(|ConfigError { member, message }| InvalidExtract { member, message })?;
        config.validate()?;
        if config.trail != old.config.trail {
            return Err(ExtractError::Fixed("trail: an extract writes one trail for its whole life"));
        }
        ask_again_elsewhere(&old, &config.source, patch)?;
        self.check_credentials(config.source.credentials.as_ref()).await?;
        let mut stored = self.sealed(config)?;
        if stored.password.is_none() && stored.config.source.credentials.is_none() {
            stored.password.clone_from(&old.password);
        }
        self.check_change(name, &old, &stored).await?;
        if accepts_gap {
            self.accept_gap(name).await?;
        }
        let (key, value) = (name.to_string(), stored.clone());
        let put = self.in_catalog(move |catalog| catalog.put(Shelf::Extracts, &key, &value)).await;
        put.map_err(ExtractError::Catalog)?;
        self.extracts.stop(name).await;
        self.extracts.with(|known| {
            if let Some(extract) = known.get_mut(name) {
                extract.stored = stored;
            }
        });
        self.start_if_wanted(name).await
    }

    /// Notes that a person has said to go on although rows may be missing; the extract does so when it starts again.
    async fn accept_gap(&self, name: &ResourceName) -> Result<(), ExtractError> {
        let coverage = self.extracts.with(|known| known.get(name).map(|extract| extract.coverage.clone()));
        let coverage = coverage.ok_or_else(|| ExtractError::Missing(name.clone()))?;
        if coverage.accept().await.map_err(ExtractError::Catalog)? {
            tracing::warn!(extract = %name, "a gap was accepted");
            return Ok(());
        }
        Err(ExtractError::NothingLost(name.clone()))
    }

    /// Stops and removes an extract. Its slot and publication stay at the source, and its trail stays, which is what is
    /// returned.
    pub async fn delete_extract(&self, name: &ResourceName) -> Result<LeftTrail, ExtractError> {
        let _one_at_a_time = self.extracts.changing.lock().await;
        let Some(extract) = self.extracts.get(name) else { return Err(ExtractError::Missing(name.clone())) };
        self.extracts.stop(name).await;
        let key = name.to_string();
        let removed = self.in_catalog(move |catalog| catalog.delete(Shelf::Extracts, &key)).await;
        removed.map_err(ExtractError::Catalog)?;
        self.extracts.with(|known| drop(known.remove(name)));
        tracing::info!(extract = %name, "extract deleted");
        let state = self.trails.info(&extract.config.trail).map(|info| info.state);
        let is_empty = matches!(state, Some(Ok((_, status))) if status.last_commit == 0);
        Ok(LeftTrail { name: extract.config.trail, is_empty })
    }

    /// Starts retention and every extract that should run. An extract that cannot start says so in its status.
    pub async fn start(self: &Arc<Self>) {
        crate::service::supervisor::run_retention(self);
        crate::service::supervisor::run_refusals(self.audit());
        let _one_at_a_time = self.extracts.changing.lock().await;
        for extract in self.extracts.list() {
            if let Err(error) = self.start_if_wanted(&extract.name).await {
                tracing::error!(extract = %extract.name, %error, "extract not started");
            }
        }
    }

    async fn start_if_wanted(self: &Arc<Self>, name: &ResourceName) -> Result<(), ExtractError> {
        let found = self.extracts.with(|known| {
            let extract = known.get(name)?;
            let (status, coverage) = (extract.status.clone(), extract.coverage.clone());
            Some((extract.stored.clone(), status, coverage, extract.running.is_some()))
        });
        let (stored, status, coverage, running) = found.ok_or_else(|| ExtractError::Missing(name.clone()))?;
        // One made from the configuration file runs already when the server starts those it knows.
        if running || stored.config.status == DesiredStatus::Stopped {
            return Ok(());
        }
        let password = self.password_of(&stored).await?;
        let entry = self.trails.get_or_make(&stored.config.trail, Writer::Extract(name.clone())).await?;
        let running = run_extract(name.clone(), stored.config, password, entry, status, coverage);
        self.extracts.with(|known| {
            if let Some(extract) = known.get_mut(name) {
                extract.running = Some(running);
            }
        });
        Ok(())
    }

    fn sealed(&self, mut config: ExtractConfig) -> Result<StoredExtract, ExtractError> {
        let password = config.source.password.take();
        let password = password.map(|secret| self.vault.seal(secret.reveal())).transpose()?;
        Ok(StoredExtract { config, password })
    }

    async fn password_of(&self, stored: &StoredExtract) -> Result<Option<Secret>, ExtractError> {
        let sealed = match &stored.config.source.credentials {
            Some(reference) => Some(self.credential(reference).await?),
            None => stored.password.clone(),
        };
        Ok(sealed.map(|sealed| self.vault.open(&sealed)).transpose()?.map(Secret::new))
    }

    async fn check_credentials(&self, reference: Option<&CredentialsRef>) -> Result<(), ExtractError> {
        match reference {
            Some(reference) => self.credential(reference).await.map(drop),
            None => Ok(()),
        }
    }

    async fn credential(&self, reference: &CredentialsRef) -> Result<String, ExtractError> {
        let key = format!("{}/{}", reference.domain, reference.alias);
        let found = self.in_catalog(move |catalog| catalog.get::<String>(Shelf::Credentials, &key)).await;
        let CredentialsRef { domain, alias } = reference.clone();
        found.map_err(ExtractError::Catalog)?.ok_or(ExtractError::Credentials { domain, alias })
    }

    /// Stores a database password, sealed. It is never read back over REST.
    pub async fn put_credential(
        &self,
        domain: &ResourceName,
        alias: &ResourceName,
        password: &str,
    ) -> Result<(), ExtractError> {
        let (key, sealed) = (format!("{domain}/{alias}"), self.vault.seal(password)?);
        let put = self.in_catalog(move |catalog| catalog.put(Shelf::Credentials, &key, &sealed)).await;
        put.map_err(ExtractError::Catalog)
    }

    /// Domain and alias of every stored password, in their order. Never the passwords.
    pub async fn credential_names(&self) -> Result<Vec<(String, String)>, ExtractError> {
        let names =
            self.in_catalog(|catalog| catalog.names(Shelf::Credentials)).await.map_err(ExtractError::Catalog)?;
        let split = |name: String| name.split_once('/').map(|(domain, alias)| (domain.to_owned(), alias.to_owned()));
        Ok(names.into_iter().filter_map(split).collect())
    }

    /// Removes a stored password; says whether it was there.
    pub async fn delete_credential(&self, domain: &ResourceName, alias: &ResourceName) -> Result<bool, ExtractError> {
        let key = format!("{domain}/{alias}");
        self.in_catalog(move |catalog| catalog.delete(Shelf::Credentials, &key)).await.map_err(ExtractError::Catalog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use serde_json::json;

    fn config(name: &str, secret: Value) -> ExtractConfig {
        let mut config = json!({
            "source": {"type": "postgresql", "host": "db", "database": "shop", "user": "cdc"},
            "tables": ["public.*"], "trail": format!("t-{name}"), "status": "stopped",
        });
        merge_patch(&mut config, &json!({ "source": secret }));
        serde_json::from_value(config).unwrap()
    }

    #[tokio::test]
    async fn an_extract_that_cannot_be_stored_leaves_no_trail_that_it_made() {
        let home = tempfile::tempdir().unwrap();
        let service = Arc::new(Service::open(home.path(), Arc::new(SystemClock), Default::default()).unwrap());
        let name = ResourceName::new("e1").unwrap();
        // The catalog has one by that name of which the service does not know.
        service.catalog.put(Shelf::Extracts, "e1", &json!({})).unwrap();
        let trail = config("e1", json!({"password": "p"})).trail;
        let refused = service.make_extract(&name, config("e1", json!({"password": "p"}))).await;
        assert!(matches!(refused, Err(ExtractError::Catalog(CatalogError::Exists { .. }))), "{refused:?}");
        assert!(service.trails.get(&trail).is_none());
        // One that was there before stays.
        service.trails.make(&trail, Writer::Extract(name.clone())).await.unwrap();
        assert!(service.make_extract(&name, config("e1", json!({"password": "p"}))).await.is_err());
        assert!(service.trails.get(&trail).is_some());
    }

    #[tokio::test]
    async fn a_stored_password_is_asked_for_again_before_it_goes_to_another_server() {
        let home = tempfile::tempdir().unwrap();
        let service = Arc::new(Service::open(home.path(), Arc::new(SystemClock), Default::default()).unwrap());
        let (own, kept) = (ResourceName::new("own").unwrap(), ResourceName::new("kept").unwrap());
        let reference = json!({"credentials": {"domain": "d", "alias": "a"}});
        service.put_credential(&ResourceName::new("d").unwrap(), &ResourceName::new("a").unwrap(), "p").await.unwrap();
        service.make_extract(&own, config("own", json!({"password": "hush"}))).await.unwrap();
        service.make_extract(&kept, config("kept", reference.clone())).await.unwrap();
        let patched = async |name: &ResourceName, source: Value| {
            service.patch_extract(name, &json!({ "source": source })).await.map_err(|error| error.to_string())
        };
        for change in [json!({"host": "evil"}), json!({"port": 5433}), json!({"host": "evil", "password": null})] {
            let refused = patched(&own, change.clone()).await.unwrap_err();
            assert!(refused.starts_with("source.password: must be given again when source."), "{refused}");
            let refused = patched(&kept, change).await.unwrap_err();
            assert!(refused.starts_with("source.credentials: must be given again"), "{refused}");
        }
        assert_eq!(service.extracts().get(&own).unwrap().config.source.host, "db");
        // The port that is meant anyway is no other server.
        patched(&own, json!({"port": 5432, "database": "shop2"})).await.unwrap();
        patched(&own, json!({"host": "db2", "password": "hush"})).await.unwrap();
        let mut moved = reference.clone();
        moved["host"] = "db2".into();
        patched(&kept, moved).await.unwrap();
        assert_eq!(service.extracts().get(&kept).unwrap().config.source.host, "db2");
    }
}
