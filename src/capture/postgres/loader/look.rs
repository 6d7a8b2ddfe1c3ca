//! Looks at who is not to be seen yet, one after the other, before a table is read.
//!
//! Owns when the source is asked, and how its answer is waited for beside the stream. Leaves what an answer means to
//! [`unseen`](super::unseen).

use std::future::Future;
use std::pin::Pin;

use tokio::time::{Duration, Instant, sleep_until};

use super::super::catalogue::{Catalogue, scalar};
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
    of_table: bool,
    began: Instant,
    asking: Option<Work<'a, (Catalogue, Result<Looked, Fault>)>>,
    next: Instant,
}

/// The answer to a look.
pub(super) struct Looked {
    is_standby: bool,
    /// What could be seen before it.
    snapshot: String,
    rows: Vec<Row>,
}

/// What happens next.
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
        Self { table, of, unseen: Unseen::default(), of_all, of_table, began: now, asking: None, next: now }
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
                let now = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_current_snapshot()";
                let answer = side.query(address, now).await?;
                let snapshot = answer.first().and_then(|row| row.get(1).cloned().flatten()).unwrap_or_default();
                let is_standby = scalar(&answer) == Some("t");
                Ok(Looked { is_standby, snapshot, rows: side.query(address, &question).await? })
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
        // What a standby has streamed can be seen there.
        if looked.is_standby || fault_injection::loads_by_place() {
            self.unseen = Unseen::cleared();
            return Ok(None);
        }
        self.unseen.look(&looked.rows, self.of_all)?;
        Ok(Sight::of_snapshot(&looked.snapshot, Lsn::default(), Timestamp::default()))
    }

    /// Who is waited for, for people.
    pub(super) fn wait(&self, now: Instant) -> Option<Wait> {
        self.unseen.wait(now.saturating_duration_since(self.began).as_secs())
    }
}
