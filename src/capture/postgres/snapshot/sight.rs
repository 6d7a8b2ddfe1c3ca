//! What a chunk's snapshot shows: which of the transactions that the stream brings.
//!
//! On a primary the snapshot says it itself. On a standby it does not say which transactions are running, and need not: there a transaction
//! is to be seen from the moment that its commit is replayed, and is streamed only later; in doubt it counts as not shown.

use std::collections::HashSet;

use super::super::lsn::Lsn;
use crate::record::Timestamp;

/// A snapshot in which a chunk was read.
#[derive(Debug)]
pub(in crate::capture::postgres) struct Sight {
    shows: Shows,
    /// Everything that it shows was committed before this place of the log.
    pub(in crate::capture::postgres) before: Lsn,
    /// The server's clock.
    pub(super) read_at: Timestamp,
}

#[derive(Debug)]
enum Shows {
    /// Transactions before `end`, but for those that ran.
    Snapshot { end: u64, running: HashSet<u32> },
    /// What was replayed before this place.
    Replayed(Lsn),
}

impl Sight {
    /// Of a primary's `pg_current_snapshot()` (`10:20:10,14`); none if that is none.
    pub(in crate::capture::postgres) fn of_snapshot(text: &str, before: Lsn, read_at: Timestamp) -> Option<Self> {
        let mut parts = text.split(':').skip(1);
        let (end, running) = (parts.next()?.parse::<u64>().ok()?, parts.next()?);
        let running = running.split(',').filter(|xid| !xid.is_empty());
        let running = running.map(|xid| xid.parse::<u64>().ok().map(|xid| xid as u32)).collect::<Option<_>>()?;
        Some(Self { shows: Shows::Snapshot { end, running }, before, read_at })
    }

    /// Of a standby that had replayed everything before `replayed` when the snapshot was taken.
    pub(super) fn of_standby(replayed: Lsn, before: Lsn, read_at: Timestamp) -> Self {
        Self { shows: Shows::Replayed(replayed), before, read_at }
    }

    /// Whether it shows the transaction with that id, whose commit is at `at`. In doubt it does not.
    pub(in crate::capture::postgres) fn shows(&self, xid: &str, at: &Lsn) -> bool {
        match &self.shows {
            Shows::Replayed(place) => at <= place,
            Shows::Snapshot { end, running } => {
                // With or without its epoch: the lower 32 bits go round.
                let Ok(xid) = xid.parse::<u64>() else { return false };
                let xid = xid as u32;
                xid.wrapping_sub(*end as u32).cast_signed() < 0 && !running.contains(&xid)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_shows_what_had_ended_and_a_standby_what_was_replayed() {
        let time = Timestamp::from_micros(0);
        for (snapshot, xid, shown) in [
            ("10:20:10,14", "9", true),
            ("10:20:10,14", "12", true),
            ("10:20:10,14", "14", false),
            ("10:20:10,14", "20", false),
            ("10:20:", "19", true),
            ("10:20:", "load:x", false),
            ("4294967290:4294967301:4294967300", "4", false),
            ("4294967290:4294967301:4294967300", "4294967299", true),
            ("4294967290:4294967301:4294967300", "4294967295", true),
        ] {
            let sight = Sight::of_snapshot(snapshot, Lsn(0), time).unwrap();
            assert_eq!(sight.shows(xid, &Lsn(1)), shown, "{snapshot} {xid}");
        }
        for bad in ["", "1", "1:x:", "1:2:x"] {
            assert!(Sight::of_snapshot(bad, Lsn(0), time).is_none(), "{bad}");
        }
        let sight = Sight::of_standby(Lsn(100), Lsn(120), time);
        assert!(sight.shows("5", &Lsn(100)) && !sight.shows("5", &Lsn(101)));
    }
}
