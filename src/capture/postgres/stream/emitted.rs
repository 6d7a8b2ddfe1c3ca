//! Logical messages: what somebody wrote into the source's log with `pg_logical_emit_message`.
//!
//! Owns which of them become records: those whose prefix the extract asks for, and statements that the helper at the source
//! tells of. Prefixes that begin with `trailcast` are ours and are never shown.

use super::Stream;
use crate::capture::error::Fault;
use crate::capture::postgres::ddl::{self, Statement};
use crate::capture::postgres::pgoutput::{EmittedMessage, EmittedStart};
use crate::capture::postgres::target::Target;
use crate::capture::postgres::transactions::Outlook;
use crate::limits;
use crate::record::{TableName, Timestamp};
use crate::repeats::warn_rarely;

/// What becomes of a message of which the start is there: one that nobody asks for need not be held.
pub(super) fn foresee(start: &EmittedStart<'_>, target: &Target) -> Outlook {
    let is_awaited = match start {
        EmittedStart::Known(prefix, length) if *prefix == ddl::PREFIX => !is_too_long(*length, target),
        EmittedStart::Known(prefix, _) => target.wants_message(prefix),
        // It is none of ours. A pattern may match one of any length.
        EmittedStart::LongPrefix => target.wants_messages(),
    };
    if is_awaited { Outlook::Awaited } else { Outlook::PassedOver }
}

/// Whether a note of a statement is longer than any of the helper's; it is left out then.
fn is_too_long(bytes: usize, target: &Target) -> bool {
    let max = limits::STATEMENT_NOTE_BYTES_MAX;
    if bytes > max {
        warn_rarely!(
            &format!("{} long", target.slot),
            slot = target.slot,
            "a note of a statement is longer than {max} bytes, which none of the helper's is, and is left out"
        );
    }
    bytes > max
}

impl Stream<'_> {
    /// A message comes, in its transaction or by itself. One by itself has no time of its own: it gets that of its sending.
    pub(super) fn emitted(&mut self, message: &EmittedMessage<'_>, sent: Timestamp) -> Result<(), Fault> {
        let EmittedMessage { transactional, lsn, prefix, content } = message;
        let intake = &mut self.transactions.intake;
        match (*transactional, self.target.wants_message(prefix)) {
            (true, true) => intake.message(prefix.as_bytes(), content),
            (true, false) if *prefix == ddl::PREFIX => self.statement(content),
            (true, false) => Ok(()),
            (false, true) => {
                // Its place is the end of its record: that of no commit, and sent again only by a stream that begins before it.
                intake.begin(*lsn, sent, format_args!("message:{lsn}"))?;
                intake.message(prefix.as_bytes(), content)?;
                intake.commit(lsn, lsn)?;
                self.feedback.confirmation.complete(intake.complete());
                Ok(())
            }
            (false, false) => {
                intake.all_sent_before(lsn)?;
                self.feedback.confirmation.complete(intake.complete());
                Ok(())
            }
        }
    }

    /// A statement has changed a table. What is no note of the helper's is left out: whoever may log in could write one.
    fn statement(&mut self, note: &[u8]) -> Result<(), Fault> {
        if is_too_long(note.len(), self.target) {
            return Ok(());
        }
        let Some(Statement { tag, schema, table, text }) = Statement::read(note) else {
            warn_rarely!(
                &self.target.slot,
                slot = self.target.slot,
                "a note of a statement cannot be read, and is left out"
            );
            return Ok(());
        };
        match TableName::from_parts(&[&schema, &table]) {
            Ok(name) if self.target.captures(&schema, &table) => {
                // What was sent along with it, or stands in it, may be what a mask hides.
                let shown = if self.target.value_rules.masks.is_empty() { text } else { format!("{tag} {name}") };
                self.transactions.intake.ddl(&name, &shown)
            }
            _ => Ok(()),
        }
    }
}
