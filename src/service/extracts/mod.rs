//! Extracts: the configured captures, stored with their passwords sealed, each with a task of its own while it runs.

mod change_notes;
mod check;
mod collisions;
mod coverage;
mod loads;
mod removal;
mod running;
mod stored;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

pub use self::change_notes::ChangeNotes;
use self::check::Checks;
pub use self::collisions::Collision;
use self::coverage::KeptCoverage;
use self::loads::KeptLoads;
pub use self::removal::LeftTrail;
use self::running::{Running, run_extract};
use self::stored::{StoredExtract, ask_again_elsewhere, without_accept_gap};
use super::credentials::{Credentials, CredentialsError};
use super::principal::{Principal, Verb};
use super::trails::{Claim, TrailError, Trails};
use crate::access::NotGranted;
use crate::capture::{self, CaptureError, ExtractStatus, LoadStatus, SharedStatus};
use crate::catalog::coverage::CoverageRecord;
use crate::catalog::extract::{CredentialsRef, DesiredStatus, ExtractConfig, InvalidExtract, Secret, WithoutIdentity};
use crate::catalog::table_pattern::TablePattern;
use crate::catalog::{Catalog, CatalogError, Shelf};
use crate::limits;
use crate::record::{ResourceName, TrailName};
use crate::trail::Writer;

/// All extracts of a server.
#[derive(Debug)]
pub struct Extracts {
    catalog: Catalog,
    trails: Arc<Trails>,
    credentials: Arc<Credentials>,
    known: Mutex<BTreeMap<ResourceName, Extract>>,
    /// Held while an extract is made, changed, started or deleted.
    changing: tokio::sync::Mutex<()>,
    checks: Checks,
}

#[derive(Debug)]
struct Extract {
    stored: StoredExtract,
    status: SharedStatus,
    coverage: KeptCoverage,
    loads: KeptLoads,
    running: Option<Running>,
    /// None of one that was stored although another has its trail.
    _claim: Option<Claim>,
}

/// What people see of an extract.
#[derive(Debug, Clone)]
pub struct ExtractInfo {
    /// Its name.
    pub name: ResourceName,
    /// Its configuration, without its password.
    pub config: ExtractConfig,
    /// How it is doing.
    pub status: ExtractStatus,
    /// What it has lost, and what it does not get.
    pub coverage: CoverageRecord,
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
    /// There is no load to be ended.
    #[error("tables: extract {0} has no load that goes on and could be cancelled")]
    NothingToLoad(ResourceName),
    /// Its password.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// It would use what another extract uses at the source.
    #[error(transparent)]
    Collision(#[from] Collision),
    /// Its source would refuse its application's writes.
    #[error(transparent)]
    Source(#[from] CaptureError),
    /// What it made at its source could not be taken away.
    #[error(
        "the extract {extract} was not deleted, because what it made at its source could not be taken away: {error}; try again, \
         or delete it without that"
    )]
    NotReleased {
        /// The extract.
        extract: ResourceName,
        /// Why not.
        error: CaptureError,
    },
    /// Sources are being checked already.
    #[error(
        "{} sources are being checked now, and more are not; try again in a few seconds",
        limits::SOURCE_CHECKS_MAX
    )]
    TooManyChecks,
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] NotGranted),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Extracts {
    /// The extracts of a catalog, which claim their trails; they are started by [`Self::start`].
    pub(super) fn open(
        catalog: &Catalog,
        trails: Arc<Trails>,
        credentials: Arc<Credentials>,
    ) -> Result<Self, CatalogError> {
        let mut known = BTreeMap::new();
        for (name, stored) in catalog.list::<StoredExtract>(Shelf::Extracts)? {
            match ResourceName::new(&name) {
                Ok(name) => {
                    let coverage = KeptCoverage::open(catalog, &stored.config.trail)?;
                    let loads = KeptLoads::open(catalog, &stored.config.trail)?;
                    let claim = trails.claim(&stored.config.trail, &name);
                    if let Err(error) = &claim {
                        tracing::error!(extract = %name, %error, "a stored extract has no trail of its own");
                    }
                    known.insert(name, Extract::new(stored, coverage, loads, claim.ok()));
                }
                Err(error) => tracing::error!(extract = name, %error, "stored extract is left out"),
            }
        }
        let (catalog, known, changing) = (catalog.clone(), Mutex::new(known), tokio::sync::Mutex::new(()));
        Ok(Self { catalog, trails, credentials, known, changing, checks: Checks::default() })
    }

    fn with<R>(&self, act: impl FnOnce(&mut BTreeMap<ResourceName, Extract>) -> R) -> R {
        act(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One extract.
    pub fn get(&self, name: &ResourceName) -> Option<ExtractInfo> {
        self.with(|known| known.get(name).map(|extract| extract.info(name)))
    }

    /// One extract, for a caller who may see the trail that it writes.
    pub fn find(&self, principal: Principal<'_>, name: &ResourceName) -> Result<ExtractInfo, ExtractError> {
        let extract = self.known(name)?;
        let may_see = principal.may_see(&extract.config.trail);
        if may_see { Ok(extract) } else { Err(ExtractError::Missing(name.clone())) }
    }

    /// Every extract whose trail the caller may see, by name.
    pub fn list(&self, principal: Principal<'_>) -> Vec<ExtractInfo> {
        let mut extracts = self.all();
        extracts.retain(|extract| principal.may_with_trail(Verb::Read, &extract.config.trail));
        extracts
    }

    /// Every extract, by name.
    pub(super) fn all(&self) -> Vec<ExtractInfo> {
        self.with(|known| known.iter().map(|(name, extract)| extract.info(name)).collect())
    }

    fn known(&self, name: &ResourceName) -> Result<ExtractInfo, ExtractError> {
        self.get(name).ok_or_else(|| ExtractError::Missing(name.clone()))
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

    /// Makes an extract and, unless its `status` is `stopped`, starts it. One whose tables would have the application's
    /// writes refused is refused itself, if its source can be looked at.
    pub async fn make(
        &self,
        principal: Principal<'_>,
        name: &ResourceName,
        config: ExtractConfig,
    ) -> Result<(), ExtractError> {
        principal.check_trail(Verb::Manage, &config.trail)?;
        check_reference(principal, &config)?;
        config.validate()?;
        // Told before the source is looked at; the lock is not held meanwhile.
        self.check_free(principal, name, &config)?;
        if config.status == DesiredStatus::Running {
            self.preflight(name, &config, config.source.password.clone(), None).await?;
        }
        self.make_unseen(principal, name, config).await
    }

    /// As [`Self::make`], without a look at its source: what that would say stands in its status then.
    pub async fn make_unseen(
        &self,
        principal: Principal<'_>,
        name: &ResourceName,
        config: ExtractConfig,
    ) -> Result<(), ExtractError> {
        principal.check_trail(Verb::Manage, &config.trail)?;
        check_reference(principal, &config)?;
        config.validate()?;
        let _one_at_a_time = self.changing.lock().await;
        self.check_free(principal, name, &config)?;
        self.check_credentials(config.source.credentials.as_ref()).await?;
        let stored = self.sealed(config)?;
        stored.check_mask_keys()?;
        let trail = stored.config.trail.clone();
        let claim = self.trails.claim(&trail, name)?;
        let is_new = self.trails.get(&trail).is_none();
        self.trails.get_or_make(&trail, Writer::Extract(name.clone())).await?;
        let (key, value) = (name.to_string(), stored.clone());
        let put = self.catalog.blocking(move |catalog| {
            catalog.put_new(Shelf::Extracts, &key, &value)?;
            let trail = &value.config.trail;
            Ok((KeptCoverage::open(catalog, trail)?, KeptLoads::open(catalog, trail)?))
        });
        let put = put.await;
        // Nobody else could ever write it.
        if put.is_err()
            && is_new
            && let Err(error) = self.trails.take_back(&trail, &claim).await
        {
            tracing::warn!(%trail, extract = %name, %error, "the empty trail of an extract that was not made stays: delete it");
        }
        let (coverage, loads) = put?;
        let extract = Extract::new(stored, coverage, loads, Some(claim));
        self.with(|known| drop(known.insert(name.clone(), extract)));
        tracing::info!(extract = %name, "extract made");
        self.start_if_wanted(name).await
    }

    /// Whether the name, the trail and what it uses at the source are free.
    fn check_free(
        &self,
        principal: Principal<'_>,
        name: &ResourceName,
        config: &ExtractConfig,
    ) -> Result<(), ExtractError> {
        let others = self.all();
        if others.iter().any(|other| other.name == *name) {
            return Err(ExtractError::Exists(name.clone()));
        }
        if let Some(other) = self.trails.extract_of(&config.trail) {
            let (trail, writer) = (config.trail.clone(), format!("extract {other}"));
            return Err(TrailError::Busy { trail, writer }.into());
        }
        self.check_left(name, &config.trail)?;
        self.check_collisions(principal, name, config)
    }

    /// Refuses what another extract uses, whose name is said to those only who may see it.
    fn check_collisions(
        &self,
        principal: Principal<'_>,
        name: &ResourceName,
        config: &ExtractConfig,
    ) -> Result<(), ExtractError> {
        let others = self.all();
        let others = others.iter().filter(|other| other.name != *name);
        let seen = |other: &ResourceName| self.get(other).is_some_and(|other| principal.may_see(&other.config.trail));
        let found = Collision::find((name, config), others.map(|other| (&other.name, &other.config)));
        Ok(found
            .map_err(|collision| if collision.other().is_some_and(seen) { collision } else { collision.unnamed() })?)
    }

    /// Refuses the trail of an extract that was deleted: of it nobody could tell why it has another writer.
    fn check_left(&self, name: &ResourceName, trail: &TrailName) -> Result<(), ExtractError> {
        let Some(entry) = self.trails.get(trail) else { return Ok(()) };
        let Ok(served) = entry.served() else { return Ok(()) };
        match &served.description().writer {
            Writer::Extract(writer) if writer != name && self.get(writer).is_none() => {
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
            Some(reference) => Some(self.credentials.password(reference).await?),
            None => password,
        };
        Ok(capture::preflight(name, config, password, known).await?)
    }

    /// Whether a change of an extract that exists may be made: it takes nothing of another's, and its source does not
    /// speak against what would be published anew.
    async fn check_change(
        &self,
        principal: Principal<'_>,
        name: &ResourceName,
        old: &StoredExtract,
        new: &StoredExtract,
    ) -> Result<(), ExtractError> {
        let (before, after) = (&old.config, &new.config);
        if !before.captures_like(after) {
            self.check_collisions(principal, name, after)?;
        }
        let inserts_only = Some(WithoutIdentity::InsertsOnly);
        if after.without_identity == inserts_only && before.without_identity != inserts_only {
            return Err(ExtractError::Fixed(
                "withoutIdentity: insertsOnly is chosen when an extract is made, as its second publication must be older \
                 than its slot",
            ));
        }
        let starts = before.status == DesiredStatus::Stopped;
        if after.status == DesiredStatus::Running && (starts || !before.captures_like(after)) {
            let password = new.password.as_deref().map(|sealed| self.credentials.opened(sealed)).transpose()?;
            self.preflight(name, &self.with_mask_keys(new)?, password, Some(&before.tables)).await?;
        }
        Ok(())
    }

    /// Changes an extract by a JSON merge patch: `{"status":"stopped"}` stops it, and so on.
    pub async fn patch(
        &self,
        principal: Principal<'_>,
        name: &ResourceName,
        patch: &Value,
    ) -> Result<ChangeNotes, ExtractError> {
        let _one_at_a_time = self.changing.lock().await;
        let old = self.with(|known| known.get(name).map(|extract| extract.stored.clone()));
        let old = old.ok_or_else(|| ExtractError::Missing(name.clone()))?;
        check_managing(principal, name, &old.config.trail)?;
        let (patch, accepts_gap) = without_accept_gap(patch)?;
        let config = old.patched(&patch)?;
        if config.trail != old.config.trail {
            return Err(ExtractError::Fixed("trail: an extract writes one trail for its whole life"));
        }
        ask_again_elsewhere(&old, &config.source, &patch)?;
        if patch.get("source").is_some() {
            check_reference(principal, &config)?;
        }
        self.check_credentials(config.source.credentials.as_ref()).await?;
        let mut stored = self.sealed(config)?;
        stored.keep_mask_keys(&old);
        stored.check_mask_keys()?;
        if stored.password.is_none() && stored.config.source.credentials.is_none() {
            stored.password.clone_from(&old.password);
        }
        self.check_change(principal, name, &old, &stored).await?;
        if accepts_gap {
            self.accept_gap(name).await?;
        }
        let (key, value) = (name.to_string(), stored.clone());
        self.catalog.blocking(move |catalog| catalog.put(Shelf::Extracts, &key, &value)).await?;
        self.stop(name).await;
        let notes = ChangeNotes::of(&old, &stored);
        if let Some(unmasked) = &notes.unmasked {
            tracing::warn!(extract = %name, unmasked, "columns show more from here on than they did");
        }
        self.with(|known| {
            if let Some(extract) = known.get_mut(name) {
                extract.stored = stored;
            }
        });
        self.start_if_wanted(name).await?;
        Ok(notes)
    }

    /// Notes that a person has said to go on although rows may be missing; the extract does so when it starts again.
    async fn accept_gap(&self, name: &ResourceName) -> Result<(), ExtractError> {
        let coverage = self.with(|known| known.get(name).map(|extract| extract.coverage.clone()));
        let coverage = coverage.ok_or_else(|| ExtractError::Missing(name.clone()))?;
        if coverage.accept().await? {
            tracing::warn!(extract = %name, "a gap was accepted");
            return Ok(());
        }
        Err(ExtractError::NothingLost(name.clone()))
    }

    /// Starts every extract that should run. One that cannot start says so in its status.
    pub(super) async fn start(&self) {
        let _one_at_a_time = self.changing.lock().await;
        for extract in self.all() {
            if let Err(error) = self.start_if_wanted(&extract.name).await {
                tracing::error!(extract = %extract.name, %error, "extract not started");
            }
        }
    }

    async fn start_if_wanted(&self, name: &ResourceName) -> Result<(), ExtractError> {
        let found = self.with(|known| {
            let extract = known.get(name)?;
            let (status, coverage) = (extract.status.clone(), extract.coverage.clone());
            let kept = (coverage, extract.loads.clone());
            Some((extract.stored.clone(), status, kept, extract.running.is_some()))
        });
        let (stored, status, (coverage, loads), running) = found.ok_or_else(|| ExtractError::Missing(name.clone()))?;
        // One made from the configuration file runs already when the server starts those it knows.
        if running || stored.config.status == DesiredStatus::Stopped {
            return Ok(());
        }
        let password = self.password_of(&stored).await?;
        let config = self.with_mask_keys(&stored)?;
        let entry = self.trails.get_or_make(&stored.config.trail, Writer::Extract(name.clone())).await?;
        let running = run_extract(name.clone(), config, password, entry, status, coverage, loads);
        self.with(|known| {
            if let Some(extract) = known.get_mut(name) {
                extract.running = Some(running);
            }
        });
        Ok(())
    }

    fn sealed(&self, mut config: ExtractConfig) -> Result<StoredExtract, ExtractError> {
        let password = config.source.password.take();
        let password = password.map(|secret| self.credentials.sealed(&secret)).transpose()?;
        let keys = config.columns.iter_mut().map(|mask| mask.key.take());
        let keys = keys.map(|key| key.map(|key| self.credentials.sealed(&key)).transpose());
        let mask_keys = keys.collect::<Result<_, _>>()?;
        Ok(StoredExtract { config, password, mask_keys })
    }

    /// The configuration with the keys of its masks, for who captures.
    fn with_mask_keys(&self, stored: &StoredExtract) -> Result<ExtractConfig, ExtractError> {
        let mut config = stored.config.clone();
        for (mask, sealed) in config.columns.iter_mut().zip(&stored.mask_keys) {
            mask.key = sealed.as_deref().map(|sealed| self.credentials.opened(sealed)).transpose()?;
        }
        Ok(config)
    }

    async fn password_of(&self, stored: &StoredExtract) -> Result<Option<Secret>, ExtractError> {
        Ok(match &stored.config.source.credentials {
            Some(reference) => Some(self.credentials.password(reference).await?),
            None => stored.password.as_deref().map(|sealed| self.credentials.opened(sealed)).transpose()?,
        })
    }

    async fn check_credentials(&self, reference: Option<&CredentialsRef>) -> Result<(), ExtractError> {
        if let Some(reference) = reference {
            self.credentials.password(reference).await?;
        }
        Ok(())
    }
}

/// Refuses to have a stored credential sent to a server that somebody names who may not store credentials himself.
fn check_reference(principal: Principal<'_>, config: &ExtractConfig) -> Result<(), ExtractError> {
    if config.source.credentials.is_some() {
        principal.check_server()?;
    }
    Ok(())
}

/// Refuses who may not manage the trail of an extract. To who may not even see it, the extract is not there.
fn check_managing(principal: Principal<'_>, name: &ResourceName, trail: &TrailName) -> Result<(), ExtractError> {
    if !principal.may_see(trail) {
        return Err(ExtractError::Missing(name.clone()));
    }
    Ok(principal.check_trail(Verb::Manage, trail)?)
}

impl Extract {
    fn new(stored: StoredExtract, coverage: KeptCoverage, loads: KeptLoads, claim: Option<Claim>) -> Self {
        let status = SharedStatus::new(stored.config.source.kind);
        Self { stored, status, coverage, loads, running: None, _claim: claim }
    }

    fn info(&self, name: &ResourceName) -> ExtractInfo {
        let mut status = self.status.snapshot();
        if self.running.is_none() {
            status.common.status = crate::capture::RunState::Stopped;
        }
        // What was ordered a moment ago is shown before the extract has followed.
        let orders = self.loads.shared.snapshot();
        status.common.snapshot = LoadStatus::ordered(status.common.snapshot.take(), &orders);
        let coverage = self.coverage.shared.snapshot();
        ExtractInfo { name: name.clone(), config: self.stored.config.clone(), status, coverage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::stream::merge_patch;
    use crate::clock::SystemClock;
    use crate::service::Service;
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
        let service = Service::open(home.path(), Arc::new(SystemClock), Default::default()).unwrap();
        let name = ResourceName::new("e1").unwrap();
        // The catalog has one by that name of which the service does not know.
        service.catalog().put(Shelf::Extracts, "e1", &json!({})).unwrap();
        let trail = config("e1", json!({"password": "p"})).trail;
        let make =
            async |name| service.extracts().make(Principal::House, name, config("e1", json!({"password": "p"}))).await;
        let refused = make(&name).await;
        assert!(matches!(refused, Err(ExtractError::Catalog(CatalogError::Exists { .. }))), "{refused:?}");
        assert!(service.trails().get(&trail).is_none());
        // One that was there before stays.
        service.trails().make(Principal::House, &trail, Writer::Extract(name.clone()), None).await.unwrap();
        assert!(make(&name).await.is_err());
        assert!(service.trails().get(&trail).is_some());
    }

    #[tokio::test]
    async fn a_stored_password_is_asked_for_again_before_it_goes_to_another_server() {
        let home = tempfile::tempdir().unwrap();
        let service = Service::open(home.path(), Arc::new(SystemClock), Default::default()).unwrap();
        let (own, kept) = (ResourceName::new("own").unwrap(), ResourceName::new("kept").unwrap());
        let reference = json!({"credentials": {"domain": "d", "alias": "a"}});
        service
            .credentials()
            .put(Principal::House, &ResourceName::new("d").unwrap(), &ResourceName::new("a").unwrap(), "p")
            .await
            .unwrap();
        service.extracts().make(Principal::House, &own, config("own", json!({"password": "hush"}))).await.unwrap();
        service.extracts().make(Principal::House, &kept, config("kept", reference.clone())).await.unwrap();
        let patched = async |name: &ResourceName, source: Value| {
            service
                .extracts()
                .patch(Principal::House, name, &json!({ "source": source }))
                .await
                .map_err(|error| error.to_string())
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
