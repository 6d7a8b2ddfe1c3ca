//! PostgreSQL: logical replication with the server's own output plugin, `pgoutput`, version 1 of its protocol.
//!
//! One session is: connect, `setup` (is it the right source, is the slot sound), `stream`. Two connections: the walsender
//! that carries the stream, and an ordinary one for the catalogue. Positions in the trail are LSNs with one meaning
//! throughout: *every transaction whose commit record starts before it is in the trail*, which is also the server's own
//! rule for where a stream starts. A transaction's position is therefore one past the start of its commit record (its
//! end is not known when it begins), and that of an idle time is the end of what the server has sent.

mod array;
mod catalogue;
mod connection;
mod coverage;
mod feedback;
mod identity;
mod look;
mod lsn;
mod pace;
mod pgoutput;
mod publication;
mod published;
mod relation;
mod review;
mod server_error;
pub mod session;
mod setup;
mod slot;
mod socket;
mod stream;
mod tables;
mod tls;
mod transactions;
mod value;
mod wire;

use tokio::sync::watch;
use tracing::info;

use self::catalogue::Catalogue;
use self::connection::{Address, Connection, identifier};
use self::coverage::{Cause, Guard, Lookout, Outcome};
use self::feedback::{Feedback, wait_durable};
pub(super) use self::look::keep_looking;
use self::lsn::Lsn;
pub(super) use self::setup::preflight;
use self::setup::{Prepared, TrailState};
use self::stream::Stream;
use super::coverage::SharedCoverage;
use super::run::{Backoff, stopped};
use super::source::{CaptureError, Fault, SharedStatus};
use crate::catalog::extract::{ExtractConfig, NewTables, OnCoverageLost, Secret, WithoutIdentity, inserts_publication};
use crate::catalog::table_pattern::TablePattern;
use crate::record::ResourceName;
use crate::trail::Appender;

/// What to capture, from where, through which slot.
#[derive(Debug)]
pub(super) struct Target {
    address: Address,
    tables: Vec<TablePattern>,
    slot: String,
    publication: String,
    /// Named in the configuration: used as it is when it exists.
    publication_is_theirs: bool,
    without_identity: Option<WithoutIdentity>,
    on_coverage_lost: OnCoverageLost,
    new_tables: NewTables,
}

impl Target {
    /// From a configuration that was validated.
    pub(super) fn new(name: &ResourceName, config: &ExtractConfig, password: Option<Secret>) -> Self {
        let source = config.source.clone();
        Self {
            tables: config.tables.clone(),
            slot: config.slot_name(name),
            publication: config.publication_name(name),
            without_identity: config.without_identity,
            publication_is_theirs: config.postgresql.publication.is_some(),
            on_coverage_lost: config.on_coverage_lost,
            new_tables: config.new_tables,
            address: Address {
                user: source.user.clone().unwrap_or_default(),
                password: password.or_else(|| source.password.clone()),
                source,
            },
        }
    }

    /// Tables whose writes would be refused are not asked for.
    fn skips_without_identity(&self) -> bool {
        self.without_identity == Some(WithoutIdentity::Skip)
    }

    /// The second publication, where there is to be one.
    fn inserts_publication(&self) -> Option<String> {
        let wanted = self.without_identity == Some(WithoutIdentity::InsertsOnly);
        wanted.then(|| inserts_publication(&self.publication))
    }

    /// The publications that a stream names, as PostgreSQL's list of identifiers.
    fn publications(&self) -> String {
        let mut names = identifier(&self.publication);
        if let Some(inserts) = self.inserts_publication() {
            names.push(',');
            names.push_str(&identifier(&inserts));
        }
        names
    }

    fn captures(&self, schema: &str, table: &str) -> bool {
        self.tables.iter().any(|pattern| pattern.matches(schema, table))
    }
}

/// Connects and streams until it is asked to stop, or something fails.
pub(super) async fn session(
    target: &Target,
    appender: &mut Appender,
    status: &SharedStatus,
    coverage: &SharedCoverage,
    shutdown: &mut watch::Receiver<bool>,
    wait: &mut Backoff,
) -> Result<(), Fault> {
    let trail = trail_state(appender)?;
    let mut catalogue = Catalogue::default();
    let (mut walsender, prepared) = tokio::select! {
        () = stopped(shutdown) => return Ok(()),
        prepared = connect(target, &mut catalogue, &trail, status) => prepared?,
    };
    record_source(appender, &prepared, &trail).await?;
    let mut guard = Guard::new(target, coverage, prepared.version);
    let cause = Cause::Start { fresh: trail.position.is_none(), position: prepared.start };
    let outcome = tokio::select! {
        () = stopped(shutdown) => return Ok(()),
        outcome = guard.look(cause) => outcome?,
    };
    if trail.position.is_some() {
        setup::review(target, &mut catalogue, prepared.version, status).await?;
    }
    if outcome != Outcome::default() {
        coverage::write(appender, &outcome).await?;
        guard.written(&outcome);
    }
    let start = outcome.resume_at.map_or(prepared.start, |place| place.max(prepared.start));
    let command = format!(
        "START_REPLICATION SLOT {} LOGICAL {start} (proto_version '1', publication_names '{}')",
        identifier(&target.slot),
        target.publications().replace('\'', "''"),
    );
    walsender.start_replication(&command).await?;
    info!(slot = target.slot, position = %start, "capture runs");
    status.update(|status| {
        status.runs();
        status.starts += 1;
        status.moved = Some(tokio::time::Instant::now());
    });
    wait.reset();
    let feedback = Feedback::new(appender.durable(), start);
    let lookout = Lookout::new(guard);
    Stream::new(target, walsender, catalogue, appender, feedback, status, start, lookout).run(shutdown).await
}

async fn connect(
    target: &Target,
    catalogue: &mut Catalogue,
    trail: &TrailState,
    status: &SharedStatus,
) -> Result<(Connection, Prepared), Fault> {
    let mut walsender = Connection::open(&target.address, true).await?;
    let prepared = setup::prepare(target, &mut walsender, catalogue, trail, status).await?;
    Ok((walsender, prepared))
}

fn trail_state(appender: &Appender) -> Result<TrailState, Fault> {
    // Named, but cut off before its first position was written: as if new.
    let position = match appender.source_position().filter(|position| !position.0.is_empty()) {
        None => None,
        Some(position) => match Lsn::of_position(position) {
            Some(lsn) => Some(lsn),
            None => {
                let message = format!("the trail's source position {position} is no LSN");
                return Err(CaptureError::Malformed(message).into());
            }
        },
    };
    Ok(TrailState { identity: appender.source_identity().map(str::to_owned), position })
}

/// Puts the source's name and the starting point into a trail that has none, durably, before anything is streamed.
async fn record_source(appender: &mut Appender, prepared: &Prepared, trail: &TrailState) -> Result<(), Fault> {
    if trail.identity.is_none() {
        appender.identify(&prepared.identity)?;
    }
    if trail.position.is_none() {
        appender.progress(&prepared.start.to_position())?;
    }
    if appender.pending_bytes() > 0 {
        appender.hand_over().await?;
    }
    if trail.position.is_none() {
        wait_durable(appender, prepared.start).await?;
    }
    Ok(())
}

/// Whether a test asked to publish whatever harm that does, so that the harm can be seen.
#[cfg(feature = "fault-injection")]
fn publish_anyway() -> bool {
    std::env::var_os("TRAILCAST_TEST_PUBLISH_ANYWAY").is_some_and(|value| value == "1")
}

#[cfg(not(feature = "fault-injection"))]
const fn publish_anyway() -> bool {
    false
}

/// Whether a test asked to break the first rule, so that it can be seen to lose changes.
#[cfg(feature = "fault-injection")]
fn confirm_early() -> bool {
    std::env::var_os("TRAILCAST_TEST_CONFIRM_EARLY").is_some_and(|value| value == "1")
}

#[cfg(not(feature = "fault-injection"))]
const fn confirm_early() -> bool {
    false
}
