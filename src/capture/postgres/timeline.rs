//! Timelines: a server that is promoted goes on under another number, and keeps a history of where each earlier one was left.
//!
//! Owns one question: does a trail that was written on one timeline go on from a server that is on another? Only if the trail
//! holds nothing that this server's log never had: between two sessions the server's history tells, and within one it is the
//! same server that goes over to another timeline. Leaves the slot to `setup`, and the comparison of what the server sends
//! again to `capture::overlap`.

use tracing::info;

use super::catalogue::{Catalogue, scalar, unexpected};
use super::connection::{Address, Connection};
use super::error::PostgresError;
use super::lsn::Lsn;
use crate::capture::error::{CaptureError, Fault};
use crate::capture::fault_injection;
use crate::record::SourceParts;

/// A trail on one timeline, and a server on another.
#[derive(Debug)]
pub(super) struct Crossing {
    /// The trail's timeline.
    pub(super) from: u32,
    /// The server's.
    pub(super) to: u32,
    /// Where the trail stands; none while it holds nothing.
    pub(super) position: Option<Lsn>,
    /// The server is not promoted (yet).
    pub(super) is_standby: bool,
}

impl Crossing {
    /// Whether the trail goes on from this server.
    pub(super) async fn check(&self, walsender: &mut Connection) -> Result<(), Fault> {
        let Some(position) = self.position.filter(|_| !fault_injection::trusts_source()) else { return Ok(()) };
        let Self { from, to, is_standby, .. } = *self;
        if to < from && is_standby {
            // It may follow the others yet.
            return Err(Fault::Passing(format!(
                "the standby is still on timeline {to}, and the trail was written on timeline {from}"
            )));
        }
        // No timeline goes back to a later one.
        let history = if to < from { History::default() } else { history_of(to, walsender).await? };
        let left = self.allowed_by(&history, position)?;
        info!(from, to, %left, %position, "the source is on a later timeline, and the trail holds nothing beyond the place where the two part");
        Ok(())
    }

    /// Where the server's history left the trail's timeline, if the trail has not come beyond that place.
    fn allowed_by(&self, history: &History, position: Lsn) -> Result<Lsn, PostgresError> {
        let Self { from, to, .. } = *self;
        match history.left(from) {
            Some(left) if position <= left => Ok(left),
            Some(left) => {
                let (left, position) = (left.to_string(), position.to_string());
                Err(PostgresError::TimelineLeftEarlier { from, to, left, position })
            }
            None => Err(PostgresError::TimelineUnrelated { from, to }),
        }
    }
}

/// When the server that a connection leads to was started, which tells it from every other of its system.
const STARTED: &str = "SELECT pg_catalog.pg_postmaster_start_time()";

/// A standby that is being streamed from: it is promoted, or follows another primary, and the stream goes on as if nothing had
/// happened.
#[derive(Debug)]
pub(super) struct StreamedStandby {
    started: String,
    /// The trail's name for it.
    identity: String,
}

impl StreamedStandby {
    /// The server that this connection leads to, which the trail knows by that name.
    pub(super) async fn of(walsender: &mut Connection, identity: String) -> Result<Self, Fault> {
        let rows = walsender.query(STARTED).await?;
        let started = scalar(&rows).ok_or_else(|| unexpected(STARTED))?.to_owned();
        Ok(Self { started, identity })
    }

    /// Its new name, if it has gone over to another timeline since. What was streamed so far is of that timeline or of those
    /// that it goes back to, as the stream has not been interrupted.
    pub(super) async fn renamed(
        &mut self,
        catalogue: &mut Catalogue,
        address: &Address,
    ) -> Result<Option<&str>, Fault> {
        // A standby's own is the one that it receives. Who may not see that learns of a promotion only.
        let sql = format!(
            "SELECT ({STARTED}), CASE WHEN pg_catalog.pg_is_in_recovery() \
             THEN (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver) \
             ELSE ('x' || left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8))::bit(32)::int END"
        );
        let rows = catalogue.query(address, &sql).await?;
        let Some([Some(started), Some(timeline)]) = rows.first().map(|row| &row[..]) else { return Ok(None) };
        let Some(parts) = SourceParts::of(&self.identity) else { return Ok(None) };
        // The address may lead to another server by now.
        if *started != self.started || parts.history == timeline {
            return Ok(None);
        }
        info!(from = parts.history, to = timeline, "the standby has gone over to another timeline while it is read");
        self.identity = SourceParts { history: timeline, ..parts }.text();
        Ok(Some(&self.identity))
    }
}

/// The timelines that one goes back to, the first one first, each with the end of what it shares with those behind it.
#[derive(Debug, Default, PartialEq, Eq)]
struct History(Vec<(u32, Lsn)>);

impl History {
    /// Reads what the server has of it: a line for each timeline, with its number, the place and a reason in words.
    fn parse(text: &str) -> Option<Self> {
        let mut left: Vec<(u32, Lsn)> = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let (timeline, at) = (words.next()?.parse().ok()?, Lsn::parse(words.next()?)?);
            if left.last().is_some_and(|(earlier, before)| *earlier >= timeline || *before > at) {
                return None;
            }
            left.push((timeline, at));
        }
        Some(Self(left))
    }

    /// Where that timeline was left: everything before it is the same on both.
    fn left(&self, timeline: u32) -> Option<Lsn> {
        self.0.iter().find(|(earlier, _)| *earlier == timeline).map(|(_, at)| *at)
    }
}

async fn history_of(timeline: u32, walsender: &mut Connection) -> Result<History, Fault> {
    const COMMAND: &str = "TIMELINE_HISTORY";
    let rows = walsender.try_query(&format!("{COMMAND} {timeline}")).await?.map_err(|error| {
        let message = format!(
            "it is on timeline {timeline} and does not show that timeline's history ({error}): whether the trail goes on \
             from it cannot be told. Put the file back into its pg_wal, then start the extract again"
        );
        CaptureError::Refused(message)
    })?;
    let text = rows.first().and_then(|row| row.get(1)?.as_deref());
    text.and_then(History::parse).ok_or_else(|| unexpected(COMMAND))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWICE: &str = "1\t0/5000028\tno recovery target specified\n\n2\t0/7000148\tno recovery target specified\n";

    fn crossing(from: u32, to: u32) -> Crossing {
        Crossing { from, to, position: None, is_standby: false }
    }

    #[test]
    fn a_history_names_each_earlier_timeline_and_the_place_where_it_was_left() {
        let history = History::parse(TWICE).unwrap();
        assert_eq!(history, History(vec![(1, Lsn(0x500_0028)), (2, Lsn(0x700_0148))]));
        assert_eq!(History::parse("# by hand\n 3 1/0 before 2026-11-30 \n").unwrap(), History(vec![(3, Lsn(1 << 32))]));
        assert_eq!(History::parse("").unwrap(), History::default());
        for bad in ["1", "one 0/1", "1 0", "2 0/1\n1 0/2", "1 0/2\n2 0/1", "1 0/1\n1 0/1"] {
            assert_eq!(History::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_trail_goes_on_only_if_it_stands_before_the_place_where_its_timeline_was_left() {
        let history = History::parse(TWICE).unwrap();
        for (from, position, goes_on) in [
            (1, 0x500_0027, true),
            (1, 0x500_0028, true),
            (1, 0x500_0029, false),
            (1, 0x700_0148, false),
            (2, 0x500_0029, true),
            (2, 0x700_0149, false),
        ] {
            let allowed = crossing(from, 3).allowed_by(&history, Lsn(position));
            assert_eq!(allowed.is_ok(), goes_on, "{from} {position:X}: {allowed:?}");
            if let Err(error) = allowed {
                let said = error.to_string();
                assert!(said.contains(&Lsn(position).to_string()) && said.contains("timeline 3"), "{said}");
            }
        }
    }

    #[test]
    fn a_timeline_that_does_not_go_back_to_the_trails_is_another_history() {
        for (from, to, history) in [(2, 1, ""), (4, 3, TWICE), (3, 4, TWICE)] {
            let history = History::parse(history).unwrap();
            let error = crossing(from, to).allowed_by(&history, Lsn(1)).unwrap_err();
            assert!(matches!(error, PostgresError::TimelineUnrelated { .. }), "{error}");
            assert!(error.to_string().contains(&format!("timeline {from}")), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9A-F/\t \n#]{0,60}") {
            let _ = History::parse(&text);
        }
    }
}
