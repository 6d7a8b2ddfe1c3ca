//! Looks at who is not to be seen yet, one after the other, before a table is read.
//!
//! Owns when the source is asked, and how its answer is waited for beside the stream. Leaves what an answer means to
//! [`unseen`](super::unseen).

use std::future::Future;
use std::pin::Pin;

use tokio::time::{Duration, Instant, sleep_until};

use super::super::catalogue::{Catalogue, scalar, unexpected};
use super::super::connection::{Address, Row};
use super::super::lsn::Lsn;
use super::super::snapshot::sight::Sight;
use super::unseen::{self, Unseen};
use crate::capture::error::Fault;
use crate::capture::fault_injection;
use crate::capture::wait::Wait;
use crate::limits;
use crate::record::{TableName, Timestamp};

/// What goes on beside the stream.
pub(super) type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A row of looks.
pub(super) struct Looking<'a> {
    pub(super) table: TableName,
    /// Of the load that was going on when it began.
    pub(super) of: (u64, u64),
    pub(super) unseen: Unseen,
    /// The window has just begun: everybody counts.
    of_all: bool,
    /// Nothing of the table is read yet: who has written to it counts.
    pub(super) of_table: bool,
    /// How far the source's log went at the first look.
    pub(super) place: Option<Lsn>,
    /// The number that the source's next transaction had at the first look, if the source is a standby.
    next_was: Option<u32>,
    began: Instant,
    asking: Option<Work<'a, (Catalogue, Result<Looked, Fault>)>>,
    next: Instant,
}

/// The answer to a look.
pub(super) struct Looked {
    is_standby: bool,
    /// What could be seen before it.
    snapshot: String,
    /// The number of the next transaction.
    next: Option<u32>,
    /// How far the source's log went before that.
    place: Option<Lsn>,
    rows: Vec<Row>,
}

/// What happens next.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub(super) enum Next {
    /// The source has answered; the connection that it was asked over is free.
    Answer(Catalogue, Result<Looked, Fault>),
    /// It is time to ask again.
    Due,
}

impl<'a> Looking<'a> {
    /// Nothing was asked yet.
    pub(super) fn new(table: TableName, of: (u64, u64), of_all: bool, of_table: bool) -> Self {
        let now = Instant::now();
        Self {
            table,
            of,
            unseen: Unseen::default(),
            of_all,
            of_table,
            place: None,
            next_was: None,
            began: now,
            asking: None,
            next: now,
        }
    }

    /// Asks, if it is time, over the connection in `side`, which is taken for that.
    pub(super) fn ask_if_due(&mut self, side: &mut Option<Catalogue>, address: &'a Address) {
        if self.asking.is_some() || self.next > Instant::now() {
            return;
        }
        // Whoever has it may have been dropped with it.
        let mut side = side.take().unwrap_or_default();
        let question = unseen::question(self.of_table.then_some(&self.table));
        self.asking = Some(Box::pin(async move {
            let asking = async {
                // A standby tells the next number by the age of the first one alone.
                let now = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_current_snapshot(), pg_catalog.age('3'::pg_catalog.xid), \
                           CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
                           ELSE pg_catalog.pg_current_wal_insert_lsn() END";
                let answer = side.query(address, now).await?;
                let snapshot = answer.first().and_then(|row| row.get(1).cloned().flatten()).unwrap_or_default();
                let is_standby = scalar(&answer) == Some("t");
                let age = answer.first().and_then(|row| row.get(2)?.as_deref()?.parse::<i32>().ok());
                let next = age.map(|age| age.cast_unsigned().wrapping_add(FIRST_XID));
                let place = answer.first().and_then(|row| Lsn::parse(row.get(3)?.as_deref()?));
                Ok(Looked { is_standby, snapshot, next, place, rows: side.query(address, &question).await? })
            };
            let answer = asking.await;
            (side, answer)
        }));
    }

    /// Waits for the answer, or for the time of the next look. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Next {
        match &mut self.asking {
            Some(asking) => {
                let (side, answer) = asking.await;
                self.asking = None;
                Next::Answer(side, answer)
            }
            None => {
                sleep_until(self.next).await;
                Next::Due
            }
        }
    }

    /// Takes in an answer; what it says can be seen, if it says so, is seen by whoever looks later, too.
    pub(super) fn looked(&mut self, looked: &Looked) -> Result<Option<Sight>, Fault> {
        self.next = Instant::now() + Duration::from_millis(limits::LOAD_LOOK_MILLIS);
        self.place = self.place.or(looked.place);
        // What a standby has streamed can be seen there. Who writes to the table at its primary, and did so before that was
        // published, nobody sees there until he has ended, and the stream will not bring it.
        let is_clear = !looked.is_standby || !self.of_table || self.have_ended(looked)?;
        if fault_injection::loads_by_place() || (looked.is_standby && is_clear) {
            self.unseen = Unseen::cleared();
            return Ok(None);
        }
        if looked.is_standby {
            return Ok(None);
        }
        self.unseen.look(&looked.rows, self.of_all)?;
        Ok(Sight::of_snapshot(&looked.snapshot, Lsn::default(), Timestamp::default()))
    }

    /// Whether every transaction that had a number at the first look has ended, as a standby knows it.
    fn have_ended(&mut self, looked: &Looked) -> Result<bool, Fault> {
        let oldest = looked.snapshot.split(':').next().and_then(|xid| xid.parse::<u64>().ok());
        let (Some(oldest), Some(next)) = (oldest, looked.next) else { return Err(unexpected("a standby's snapshot")) };
        let until = *self.next_was.get_or_insert(next);
        // The lower 32 bits go round.
        Ok((oldest as u32).wrapping_sub(until).cast_signed() >= 0)
    }

    /// Who is waited for, for people.
    pub(super) fn wait(&self, now: Instant) -> Option<Wait> {
        let seconds = now.saturating_duration_since(self.began).as_secs();
        self.unseen.wait(seconds).or_else(|| {
            self.next_was.filter(|_| !self.unseen.is_clear())?;
            let what = format!(
                "the initial load has waited for {seconds} s for transactions that were open at the standby's primary when it began, or for \
                 the standby to hear of their end: pg_stat_activity of the primary has them"
            );
            Some(Wait { what, seconds, pid: None, transaction_seconds: None })
        })
    }
}

/// The first number that a transaction can have.
const FIRST_XID: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn at_a_standby_whoever_had_a_number_has_to_end_before_a_table_is_read_from_its_beginning() {
        let looked = |snapshot: &str, next| Looked {
            is_standby: true,
            snapshot: snapshot.into(),
            next: Some(next),
            place: None,
            rows: Vec::new(),
        };
        let table = || TableName::parse("public.t").unwrap();
        let mut looking = Looking::new(table(), (0, 0), true, true);
        // One that has written and not ended may be beyond what the snapshot knows.
        for (snapshot, next, is_clear) in
            [("95:95:", 101, false), ("96:104:96", 105, false), ("100:104:100", 105, false), ("101:110:101", 110, true)]
        {
            looking.looked(&looked(snapshot, next)).unwrap();
            assert_eq!(looking.unseen.is_clear(), is_clear, "{snapshot}");
            assert_eq!(looking.wait(Instant::now()).is_none(), is_clear);
        }
        let mut round = Looking::new(table(), (0, 0), true, true);
        round.looked(&looked("4294967290:4294967290:", 5)).unwrap();
        assert!(!round.unseen.is_clear());
        round.looked(&looked("4294967301:4294967301:", 9)).unwrap();
        assert!(round.unseen.is_clear());
        // Of one that goes on where it was, the stream has brought everybody.
        let mut later = Looking::new(table(), (0, 0), true, false);
        later.looked(&looked("95:95:", 101)).unwrap();
        assert!(later.unseen.is_clear());
    }
}
