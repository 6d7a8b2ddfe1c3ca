//! PostgreSQL: logical replication with the server's own output plugin, `pgoutput`, version 1 of its protocol.
//!
//! One session is: connect, `setup` (is it the right source, is the slot sound), `stream`. Two connections: the walsender
//! that carries the stream, and an ordinary one for the catalogue. Positions in the trail are LSNs with one meaning
//! throughout: *every transaction whose commit record starts before it is in the trail*, which is also the server's own
//! rule for where a stream starts. A transaction's position is therefore one past the start of its commit record (its
//! end is not known when it begins), and that of an idle time is the end of what the server has sent.

mod array;
mod catalogue;
mod column_types;
mod connection;
mod coverage;
mod describing;
mod feedback;
mod identity;
mod look;
mod lsn;
mod overlap;
mod oversize;
mod pace;
mod pgoutput;
mod publication;
mod published;
mod relation;
mod review;
mod server_error;
pub mod session;
mod settings;
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
use self::feedback::wait_durable;
pub(super) use self::look::keep_looking;
use self::lsn::Lsn;
use self::overlap::{Mark, Overlap};
pub(super) use self::setup::preflight;
use self::setup::{Prepared, TrailState};
use self::stream::{Meeting, Stream};
use super::coverage::SharedCoverage;
use super::run::{Backoff, stopped};
use super::source::{CaptureError, Fault, SharedStatus};
use crate::catalog::extract::{ExtractConfig, NewTables, OnCoverageLost, Secret, WithoutIdentity, inserts_publication};
use crate::catalog::table_pattern::TablePattern;
use crate::codec::byte_text::Charset;
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
    if walsender.charset == Charset::Undeclared {
        info!(
            database = target.address.source.database,
            "the database has no character set (SQL_ASCII): texts are read as they are, and a byte that is no UTF-8 is shown as \
             U+FFFD and its two hexadecimal digits"
        );
    }
    let publications = target.publications();
    let publications_hash = overlap::publications_hash(&publications);
    record_source(appender, &prepared, &trail, publications_hash).await?;
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
        coverage::write(appender, &outcome, publications_hash).await?;
        guard.written(&outcome);
    }
    let Prepared { start: position, confirmed, .. } = prepared;
    // What lies before the place at which a gap ends is passed over: nothing of it is sent again.
    let (start, mark) = match outcome.resume_at.filter(|place| *place > position) {
        Some(place) => (place, None),
        None => (position, trail.mark),
    };
    let overlap = Overlap::new(start, confirmed, mark, publications_hash);
    let command = format!(
        "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names '{}')",
        identifier(&target.slot),
        overlap.start(),
        publications.replace('\'', "''"),
    );
    walsender.start_replication(&command).await?;
    info!(slot = target.slot, position = %start, "capture runs");
    status.update(|status| {
        status.runs();
        status.log_ends_early = None;
        status.starts += 1;
        status.moved = Some(tokio::time::Instant::now());
    });
    // At the slot, which may be new.
    status.look_now();
    wait.reset();
    let (meeting, lookout) = (Meeting { overlap, confirmed }, Lookout::new(guard));
    Stream::new(target, walsender, catalogue, appender, status, meeting, lookout).run(shutdown).await
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
    let mark = appender.source_mark().and_then(Mark::of_trail);
    Ok(TrailState { identity: appender.source_identity().map(str::to_owned), position, mark })
}

/// Puts the source's name and the starting point into a trail that has none, durably, before anything is streamed.
async fn record_source(
    appender: &mut Appender,
    prepared: &Prepared,
    trail: &TrailState,
    publications_hash: u8,
) -> Result<(), Fault> {
    if trail.identity.is_none() {
        appender.identify(&prepared.identity)?;
    }
    if trail.position.is_none() {
        let nothing_yet = Mark::none_since(prepared.start, publications_hash);
        appender.progress_after(&nothing_yet.to_trail(), &prepared.start.to_position())?;
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

/// Whether a test asked to take every source for the one that the trail was written from, so that one that went back can be
/// seen to lose changes.
#[cfg(feature = "fault-injection")]
fn trusts_source() -> bool {
    std::env::var_os("TRAILCAST_TEST_TRUST_SOURCE").is_some_and(|value| value == "1")
}

#[cfg(not(feature = "fault-injection"))]
const fn trusts_source() -> bool {
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
