//! One front door for every face: one registry for each noun (trails, streams, sessions, groups, records, extracts, credentials,
//! puts, users, documents), each with its own catalog handle.
//!
//! A registry owns the life of what it is named for: what is made, stored, opened, stopped. [`Service`] assembles them, starts
//! and stops them. All speak in values and errors of their own; [`refusal`] says which fact an error is, [`principal`] who may
//! do what. How any of it looks over a protocol is the faces' business.

pub mod audit;
pub mod credentials;
pub mod documents;
pub mod extracts;
pub mod groups;
pub mod health;
pub mod lag;
pub mod metrics;
mod off_thread;
pub mod principal;
pub mod puts;
pub mod records;
pub mod refusal;
pub mod retention;
pub mod sessions;
pub mod streams;
mod supervisor;
pub mod trails;

use std::path::Path;
use std::sync::Arc;

use self::audit::Audit;
use self::credentials::Credentials;
use self::documents::Documents;
use self::extracts::Extracts;
use self::groups::Groups;
use self::health::{Health, Readiness};
use self::lag::Lag;
use self::metrics::Page;
use self::principal::Principal;
use self::puts::Puts;
use self::records::Records;
use self::retention::RetentionPasses;
use self::sessions::Sessions;
use self::sessions::places::SessionCaps;
use self::streams::{OpenStreamsError, Stream, Streams};
use self::trails::Trails;
use crate::access::{AccessError, AccessOptions, Accounts, Authenticator, Expiries, LimitHits, NotGranted};
use crate::catalog::cursors::{CursorError, CursorFile, Cursors};
use crate::catalog::{Catalog, CatalogError, DataFolder, FolderError, Vault, VaultError};
use crate::clock::SharedClock;
use crate::limits;
use crate::trail::local::disk::SystemDisk;

/// Everything a server serves, over one data folder.
#[derive(Debug)]
pub struct Service {
    clock: SharedClock,
    authenticator: Arc<Authenticator>,
    accounts: Accounts,
    trails: Arc<Trails>,
    puts: Puts,
    streams: Streams,
    sessions: Sessions,
    groups: Arc<Groups>,
    records: Records,
    documents: Arc<Documents>,
    credentials: Arc<Credentials>,
    extracts: Extracts,
    retention: Arc<RetentionPasses>,
    audit: Arc<Audit>,
    limit_hits: Arc<LimitHits>,
    expiries: Arc<Expiries>,
    #[cfg(test)]
    catalog: Catalog,
    // Dropped last: the lock on the data folder outlives what works in it.
    folder: Arc<DataFolder>,
}

/// What a service is opened with.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// Ways to log in.
    pub access: AccessOptions,
    /// Caps on sessions.
    pub sessions: SessionCaps,
    /// Memory for encoded messages, in bytes.
    pub delivery_bytes: usize,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        let (access, sessions) = Default::default();
        Self { access, sessions, delivery_bytes: limits::DELIVERY_BYTES_DEFAULT }
    }
}

/// The service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The key of stored secrets.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Authentication.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The positions of consumer groups.
    #[error(transparent)]
    Cursors(#[from] CursorError),
    /// The trails' folder.
    #[error("the trails' folder cannot be read: {0}")]
    Trails(#[source] std::io::Error),
    /// The stored streams.
    #[error(transparent)]
    Streams(#[from] OpenStreamsError),
}

impl Service {
    /// Opens the data folder and everything in it. Blocks; extracts and retention start with [`Self::start`].
    pub fn open(folder: &Path, clock: SharedClock, options: ServiceOptions) -> Result<Self, StartError> {
        let folder = Arc::new(DataFolder::open(folder)?);
        let catalog = Catalog::open(folder.path())?;
        let vault = Vault::open_folder(folder.path())?;
        let authenticator = Authenticator::new(catalog.clone())?;
        let token_key = vault.key_for("stream tokens")?;
        let authenticator = Arc::new(authenticator.with(clock.clone(), options.access, token_key));
        let limit_hits = Arc::new(LimitHits::default());
        let trails = Trails::open(&folder.path().join("trails"), Arc::new(SystemDisk), clock.clone(), catalog.clone());
        let trails = Arc::new(trails.map_err(StartError::Trails)?.in_folder(folder.clone()));
        let cursors = Cursors::open(CursorFile::new(Arc::new(SystemDisk), folder.path()))?;
        let groups = Arc::new(Groups::open(cursors, trails.clone(), clock.clone(), limit_hits.clone()));
        let documents = Documents::new(limits::DOCUMENTS_KEPT_BYTES, limit_hits.clone());
        let credentials = Arc::new(Credentials::new(catalog.clone(), vault));
        let (caps, delivery_bytes) = (options.sessions, options.delivery_bytes);
        let (held, hits) = (groups.clone(), limit_hits.clone());
        let sessions = Sessions::new(trails.clone(), held, clock.clone(), caps, delivery_bytes, hits);
        let memory = sessions.budget().clone();
        let records = Records::new(trails.clone(), authenticator.clone(), clock.clone(), memory, limit_hits.clone());
        Ok(Self {
            accounts: Accounts::new(catalog.clone(), authenticator.clone()),
            authenticator,
            puts: Puts::new(trails.clone(), clock.clone()),
            streams: Streams::open(&catalog, trails.clone(), groups.clone(), documents.clone(), limit_hits.clone())?,
            sessions,
            records,
            documents,
            extracts: Extracts::open(&catalog, trails.clone(), credentials.clone())?,
            credentials,
            retention: Arc::new(RetentionPasses::open(&catalog, trails.clone(), groups.clone(), clock.clone())?),
            groups,
            trails,
            audit: Arc::new(Audit::new(clock.clone())),
            clock,
            limit_hits,
            expiries: Arc::default(),
            #[cfg(test)]
            catalog,
            folder,
        })
    }

    /// Starts retention, the audit's counts and every extract that should run. An extract that cannot start says so in its
    /// status.
    pub async fn start(&self) {
        self.retention.start();
        self.audit.start();
        self.extracts.start().await;
    }

    /// Stops extracts and flushes trails; nothing is appended afterwards.
    pub async fn close(&self) {
        self.groups.close().await;
        self.extracts.stop_all().await;
        self.trails.close().await;
        self.audit.flush().await;
    }

    /// Takes over the audit lines of what was changed in the data folder without a server; once the audit has its writer.
    pub async fn audit_offline_changes(&self) {
        self.audit.take_over_offline(self.folder.path()).await;
    }

    /// How the server is doing as a whole, in a word.
    pub fn readiness(&self) -> Readiness {
        self.health(Principal::House).readiness()
    }

    /// How the server is doing, as far as the caller may know. Waits for nothing.
    pub fn health(&self, principal: Principal<'_>) -> Health {
        let (mut health, now) = (Health::default(), self.clock.now());
        health.of_trails(&self.trails.list(principal), now);
        health.of_extracts(&self.extracts.list(principal));
        health.of_access(&self.expiries, self.authenticator.key_refresh(), now);
        health.of_audit(&self.audit);
        health.of_retention(&self.retention);
        health.of_process();
        health
    }

    /// The page of the service's figures now, of trails, extracts and streams those that the caller may know; faces add theirs. Asks the kernel: not for a thread that serves
    /// sessions.
    pub fn metrics(&self, principal: Principal<'_>) -> Page {
        let mut page = Page::new();
        metrics::sample_trails(&mut page, principal, &self.trails, &self.puts, self.clock.now());
        metrics::sample_disk(&mut page, &self.retention);
        metrics::sample_extracts(&mut page, &self.extracts.list(principal));
        metrics::sample_streams(&mut page, principal, &self.streams, &self.trails, self.clock.now());
        metrics::sample_groups(&mut page, principal, &self.groups);
        metrics::sample_documents(&mut page, self.documents.figures());
        metrics::sample_limits(&mut page, &self.limit_hits, self.sessions.budget());
        metrics::sample_access(&mut page, &self.expiries, self.authenticator.key_refresh());
        metrics::sample_audit(&mut page, &self.audit);
        metrics::sample_process(&mut page);
        page
    }

    /// How far the clients of a stream are behind its source, stage by stage.
    pub fn lag(&self, stream: &Stream) -> Lag {
        Lag::of(stream, &self.trails, &self.extracts, self.clock.now())
    }

    /// The clock.
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// Who is asking.
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Users, for a caller who is narrowed to no trails and streams: they are of none.
    pub fn users(&self, principal: Principal<'_>) -> Result<&Accounts, NotGranted> {
        principal.check_server().map(|()| &self.accounts)
    }

    /// Users, for the server itself.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The trails.
    pub fn trails(&self) -> &Trails {
        &self.trails
    }

    /// What takes puts into trails.
    pub fn puts(&self) -> &Puts {
        &self.puts
    }

    /// The streams.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// What opens sessions of streams.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The consumer groups.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// What reads records of trails for those who ask again and again.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// The documents that are built from what the service has.
    pub fn documents(&self) -> &Arc<Documents> {
        &self.documents
    }

    /// The extracts.
    pub fn extracts(&self) -> &Extracts {
        &self.extracts
    }

    /// The database passwords that extracts name.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// What removes what no limit keeps.
    pub fn retention(&self) -> &RetentionPasses {
        &self.retention
    }

    /// The lines of who did what.
    pub fn audit(&self) -> &Arc<Audit> {
        &self.audit
    }

    /// How often each limit that protects the server was hit; listeners count here too.
    pub fn limit_hits(&self) -> &Arc<LimitHits> {
        &self.limit_hits
    }

    /// When the certificates of the listener expire; the listener tells it.
    pub fn expiries(&self) -> &Arc<Expiries> {
        &self.expiries
    }

    #[cfg(test)]
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }
}
