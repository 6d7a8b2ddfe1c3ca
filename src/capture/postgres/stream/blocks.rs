//! Transactions that the server sends in blocks, before it is known how they end.
//!
//! Owns when what was held of one is appended, and what is done where that cannot be held: the next session asks for whole
//! transactions, which the server then keeps on its own disk until they end. Leaves holding to `capture::held`.

use super::{Stream, while_answering};
use crate::capture::error::{CaptureError, Fault};
use crate::capture::postgres::coverage::Cause;
use crate::capture::postgres::lsn::Lsn;
use crate::capture::postgres::pgoutput::{Message, RelationMessage};
use crate::capture::postgres::table_facts;
use crate::capture::shutdown::stopped;
use crate::record::Timestamp;

/// The commit of a transaction that came in blocks.
struct Commit {
    xid: u32,
    lsn: Lsn,
    end: Lsn,
    ts: Timestamp,
}

impl Stream<'_> {
    /// A block begins or ends, or a transaction that came in blocks does.
    pub(super) async fn block(&mut self, message: Message<'_>) -> Result<(), Fault> {
        match message {
            Message::StreamStart { xid } => self.transactions.begin_block(xid),
            Message::StreamStop => {
                self.transactions.end_block()?;
                self.write_gaps().await
            }
            Message::StreamCommit { xid, commit_lsn: lsn, end_lsn: end, commit_ts: ts } => {
                self.commit_blocks(Commit { xid, lsn, end, ts }).await
            }
            Message::StreamAbort { xid, subxid } => self.transactions.abort_blocks(xid, subxid).await,
            _ => Ok(()),
        }
    }

    /// Appends what was held. That may take long: the server hears from us meanwhile, and whoever asks us to stop is heard.
    async fn commit_blocks(&mut self, Commit { xid, lsn, end, ts }: Commit) -> Result<(), Fault> {
        let appending = self.transactions.commit_blocks(xid, lsn, end, ts);
        let answered =
            while_answering(appending, &mut self.tick, &mut self.feedback, &mut self.connection, &mut self.loader);
        let settled = tokio::select! {
            biased;
            () = stopped(&mut self.shutdown) => {
                self.interrupted = true;
                return Err(Fault::Passing("asked to stop".into()));
            }
            settled = answered => settled??,
        };
        // Nobody listened to the source meanwhile.
        self.feedback.heard();
        self.feedback.confirmation.complete(self.transactions.intake.complete());
        for table in settled {
            if table.has_changed {
                self.checks.ask();
            }
            if let Some(name) = &table.table
                && let Some(from) = self.transactions.take_in(table.id)
            {
                self.look(Cause::Renamed { table: name, from }).await?;
            }
        }
        self.write_gaps().await
    }

    /// A table is described inside a block. What its own transaction has done to it the catalogue does not show yet, and what
    /// rows are held as cannot be changed later: such a transaction has to come whole.
    pub(super) async fn relation_in_block(&mut self, message: &RelationMessage<'_>) -> Result<(), Fault> {
        if !self.target.captures(&message.schema, &message.table) {
            return self.transactions.leave_out(message.id);
        }
        let asking = table_facts::ask_of_open(message, &mut self.types, &mut self.catalogue, &self.target.address);
        let facts = while_answering(asking, &mut self.tick, &mut self.feedback, &mut self.connection, &mut self.loader)
            .await??;
        let Some(facts) = facts else {
            let (schema, table) = (&message.schema, &message.table);
            let what = format!("the table {schema}.{table} was made or changed in it, or has been since");
            return Err(CaptureError::HeldTooMuch(what).into());
        };
        self.describe(message, &facts)
    }

    /// Puts what is held onto the disk, and shows how much that is: nothing of it becomes durable before its end, so that nothing
    /// else would show it for a while.
    pub(super) async fn spill(&mut self) -> Result<(), Fault> {
        let spilling = self.transactions.intake.spill();
        while_answering(spilling, &mut self.tick, &mut self.feedback, &mut self.connection, &mut self.loader).await??;
        self.show();
        Ok(())
    }

    /// Transactions that come in blocks cannot be held: whole ones are asked for until this place is behind.
    pub(super) fn ask_for_whole(&mut self, why: &str) -> Fault {
        let (received, ..) = self.feedback.heard_so_far();
        // Beyond where the next session begins, so that it is one of whole transactions.
        let place = received.max(self.feedback.confirmation.durable()).0 + 1;
        self.status.update_own(|status| status.whole_before = Some(place));
        Fault::Passing(format!(
            "a large transaction cannot be taken before its end: {why}. The source is asked to keep it until then"
        ))
    }
}
