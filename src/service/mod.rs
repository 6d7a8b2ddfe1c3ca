//! One front door for every face: trails, streams, sessions, extracts, users, health.
//!
//! Owns the life of these resources: what is made, stored, opened, stopped. Speaks in values and errors of its own;
//! what they look like over a protocol is the faces' business.

pub mod activity;
pub mod audit;
pub mod collisions;
mod coverage;
pub mod documents;
pub mod extracts;
pub mod health;
pub mod metrics;
mod off_thread;
pub mod puts;
pub mod refusal;
pub mod retention;
pub mod session_places;
pub mod sessions;
mod stream_rules;
pub mod streams;
mod supervisor;
pub mod trails;
pub mod watched_session;

use std::path::Path;
use std::sync::Arc;

use crate::access::{AccessOptions, Accounts, Authenticator, Expiries, LimitHits};
use crate::catalog::{Catalog, CatalogError, DataFolder, Vault, audit_file};
use crate::clock::SharedClock;
use crate::delivery::budget::Budget;
use crate::trail::local::disk::SystemDisk;

/// Everything a server serves, over one data folder.
#[derive(Debug)]
pub struct Service {
    pub(crate) trails: trails::Trails,
    pub(crate) streams: streams::Streams,
    pub(crate) extracts: extracts::Extracts,
    catalog: Catalog,
    vault: Vault,
    clock: SharedClock,
    authenticator: Arc<Authenticator>,
    accounts: Accounts,
    audit: Arc<audit::Audit>,
    session_places: session_places::SessionPlaces,
    delivery_budget: Arc<Budget>,
    documents: Arc<documents::Documents>,
    rules_work: stream_rules::RulesWork,
    put_refusals: puts::PutRefusals,
    limit_hits: Arc<LimitHits>,
    expiries: Arc<Expiries>,
    /// Whether retention goes by age.
    age_rule: Arc<retention::AgeRule>,
    /// As retention saw the disk last: nobody who looks at figures waits for it.
    disk: retention::DiskFigures,
    // Dropped last: the lock on the data folder outlives what works in it.
    folder: DataFolder,
}

/// The service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] crate::catalog::FolderError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The key of stored secrets.
    #[error(transparent)]
    Vault(#[from] crate::catalog::VaultError),
    /// Authentication.
    #[error(transparent)]
    Access(#[from] crate::access::AccessError),
    /// The trails' folder.
    #[error("the trails' folder cannot be read: {0}")]
    Trails(#[source] std::io::Error),
    /// A stored stream.
    #[error("the stored stream {name} is not valid: {error}")]
    Stream {
        /// Its name.
        name: String,
        /// Why.
        error: String,
    },
}

impl Service {
    /// Opens the data folder and everything in it. Blocks; extracts and retention start with [`Self::start`].
    pub fn open(folder: &Path, clock: SharedClock, access: AccessOptions) -> Result<Self, StartError> {
        let folder = DataFolder::open(folder)?;
        let catalog = Catalog::open(folder.path())?;
        let vault = Vault::open_folder(folder.path())?;
        let authenticator = Authenticator::new(catalog.clone())?;
        let authenticator = Arc::new(authenticator.with(clock.clone(), access, vault.key_for("stream tokens")?));
        let accounts = Accounts::new(catalog.clone(), authenticator.clone());
        let audit = Arc::new(audit::Audit::new(clock.clone()));
        let disk = Arc::new(SystemDisk);
        let trails = trails::Trails::open(&folder.path().join("trails"), disk, clock.clone());
        let trails = trails.map_err(StartError::Trails)?;
        let age_rule = Arc::new(retention::AgeRule::open(&catalog)?);
        let streams = streams::Streams::open(&catalog)?;
        let extracts = extracts::Extracts::open(&catalog)?;
        let limit_hits = Arc::new(LimitHits::default());
        let session_places = session_places::SessionPlaces::new(Default::default(), limit_hits.clone());
        Ok(Self {
            trails,
            streams,
            extracts,
            catalog,
            vault,
            clock,
            authenticator,
            accounts,
            audit,
            session_places,
            delivery_budget: Budget::new(crate::limits::DELIVERY_BYTES_DEFAULT),
            documents: documents::Documents::new(crate::limits::DOCUMENTS_KEPT_BYTES, limit_hits.clone()),
            rules_work: stream_rules::RulesWork::default(),
            put_refusals: puts::PutRefusals::default(),
            limit_hits,
            expiries: Arc::default(),
            age_rule,
            disk: retention::DiskFigures::default(),
            folder,
        })
    }

    /// The same service with other caps on sessions; before the first of them.
    #[must_use]
    pub fn with_session_caps(mut self, caps: session_places::SessionCaps) -> Self {
        self.session_places = session_places::SessionPlaces::new(caps, self.limit_hits.clone());
        self
    }

    /// The same service with that many bytes of memory for encoded messages; before the first session.
    #[must_use]
    pub fn with_delivery_bytes(mut self, bytes: usize) -> Self {
        self.delivery_budget = Budget::new(bytes);
        self
    }

    /// How often each limit that protects the server was hit; listeners count here too.
    pub fn limit_hits(&self) -> &Arc<LimitHits> {
        &self.limit_hits
    }

    /// When the certificates of the listener expire; the listener tells it.
    pub fn expiries(&self) -> &Arc<Expiries> {
        &self.expiries
    }

    /// Who is asking.
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Users.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The lines of who did what.
    pub fn audit(&self) -> &Arc<audit::Audit> {
        &self.audit
    }

    /// Takes over the audit lines of what was changed in the data folder without a server; once the audit has its writer.
    /// Unless all of them are written and flushed they stay for the next start, those that were written too.
    pub async fn audit_offline_changes(&self) {
        let folder = self.folder.path().to_owned();
        let read = folder.clone();
        let lines = blocking(move || audit_file::offline_lines(&read)).await;
        let taken_over = match lines {
            Ok(lines) if lines.is_empty() => return,
            Ok(lines) => {
                for line in lines {
                    // It may have been waited for: a start does not wait so long for each.
                    if !self.audit.take_over(&line).await {
                        tracing::error!("audit lines of changes made without a server stay for the next start");
                        return;
                    }
                }
                blocking(move || audit_file::forget_offline_lines(&folder)).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = taken_over {
            tracing::error!(%error, "the audit lines of changes that were made without a server");
        }
    }

    /// The clock.
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// The trails.
    pub fn trails(&self) -> &trails::Trails {
        &self.trails
    }

    /// The streams.
    pub fn streams(&self) -> &streams::Streams {
        &self.streams
    }

    /// The documents that are built from what the service has.
    pub fn documents(&self) -> &Arc<documents::Documents> {
        &self.documents
    }

    /// The extracts.
    pub fn extracts(&self) -> &extracts::Extracts {
        &self.extracts
    }

    /// Stops extracts and flushes trails; nothing is appended afterwards.
    pub async fn close(&self) {
        self.extracts.stop_all().await;
        self.trails.close().await;
        self.audit.flush().await;
    }

    /// Runs a change of the catalog on a blocking thread.
    async fn in_catalog<R: Send + 'static>(
        &self,
        change: impl FnOnce(&Catalog) -> Result<R, CatalogError> + Send + 'static,
    ) -> Result<R, CatalogError> {
        let catalog = self.catalog.clone();
        match tokio::task::spawn_blocking(move || change(&catalog)).await {
            Ok(done) => done,
            Err(error) => Err(CatalogError::Flush(std::io::Error::other(error))),
        }
    }
}

async fn blocking<R: Send + 'static>(work: impl FnOnce() -> std::io::Result<R> + Send + 'static) -> std::io::Result<R> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
