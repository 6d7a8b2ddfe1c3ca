//! The one way in for records: each is written into the chunk where it stays, and is taken out again if nothing came of it.

use std::convert::Infallible;
use std::sync::atomic::Ordering;

use super::Appender;
use crate::codec::frame::{
    self, FLAG_AFTER, FLAG_BEFORE, FLAG_LOADED, FLAG_TOKENS, FrameHeader, FrameKind, PAYLOAD_BYTES_MAX,
};
use crate::record::{Message, Operation, RecordNumber, SchemaId, TableName, TableSchema};
use crate::trail::AppendError;

/// One row operation whose images are at hand.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// What it does; never [`Operation::Ddl`].
    pub operation: Operation,
    /// Before image, as [`ImageWriter`](crate::codec::image::ImageWriter) writes it: one cell a column of the schema.
    pub before: Option<&'a [u8]>,
    /// After image, likewise.
    pub after: Option<&'a [u8]>,
    /// Tokens: a JSON object as text.
    pub tokens: Option<&'a str>,
}

/// What a row operation consists of, for [`Appender::write_row`].
#[derive(Debug, Clone, Copy)]
pub struct RowParts<'a> {
    /// What it does; never [`Operation::Ddl`].
    pub operation: Operation,
    /// It has a before image.
    pub before: bool,
    /// It has an after image.
    pub after: bool,
    /// Tokens: a JSON object as text.
    pub tokens: Option<&'a str>,
    /// Its partition; 0 in a trail with one.
    pub partition: u16,
    /// It is a row that an initial load took, and no change.
    pub loaded: bool,
}

impl RowParts<'_> {
    /// Of a change in the first partition, with these images and without tokens.
    pub fn of(operation: Operation, before: bool, after: bool) -> Self {
        Self { operation, before, after, tokens: None, partition: 0, loaded: false }
    }

    fn flags(&self) -> u8 {
        let flag = |given: bool, flag: u8| if given { flag } else { 0 };
        flag(self.before, FLAG_BEFORE)
            | flag(self.after, FLAG_AFTER)
            | flag(self.tokens.is_some(), FLAG_TOKENS)
            | flag(self.loaded, FLAG_LOADED)
    }
}

impl Appender {
    /// Appends a row operation to the open transaction; returns the record's number.
    pub fn row(&mut self, schema: &TableSchema, row: Row<'_>) -> Result<RecordNumber, AppendError> {
        let Row { operation, before, after, tokens } = row;
        let parts = RowParts { tokens, ..RowParts::of(operation, before.is_some(), after.is_some()) };
        always(self.write_row(schema, parts, |out| {
            out.extend_from_slice(before.unwrap_or_default());
            out.extend_from_slice(after.unwrap_or_default());
            Ok(())
        }))
    }

    /// Appends a row operation whose images, the before image first, `write` appends where they stay. If `write` fails,
    /// nothing is appended, and its reason is returned instead of a number.
    #[inline]
    pub fn write_row<R>(
        &mut self,
        schema: &TableSchema,
        row: RowParts<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), R>,
    ) -> Result<Result<RecordNumber, R>, AppendError> {
        let kind = FrameKind::Record(row.operation);
        let (flags, partition) = (row.flags(), row.partition);
        self.record(FrameHeader { flags, partition, schema: schema.id, ..FrameHeader::new(kind) }, |out| {
            write(out)?;
            out.extend_from_slice(row.tokens.unwrap_or_default().as_bytes());
            Ok(())
        })
    }

    /// Appends a DDL statement to the open transaction; returns the record's number.
    pub fn ddl(&mut self, table: &TableName, statement: &str) -> Result<RecordNumber, AppendError> {
        let name = table.to_string();
        always(self.record(FrameHeader::new(FrameKind::Record(Operation::Ddl)), |out| {
            frame::push_text_pair(out, &name, statement);
            Ok(())
        }))
    }

    /// Appends a message to the open transaction; returns the record's number.
    pub fn message(&mut self, partition: u16, message: &Message<'_>) -> Result<RecordNumber, AppendError> {
        let names = message.headers.iter().map(|header| header.name.len());
        if names.max().unwrap_or_default().max(message.headers.len()) > usize::from(u16::MAX) {
            return Err(AppendError::TooLong { what: "list of a message's headers, or the name of one", max: 65_535 });
        }
        let bytes = frame::message::bytes(message);
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes, max: PAYLOAD_BYTES_MAX });
        }
        self.shared.has_messages.store(true, Ordering::Relaxed);
        let (flags, schema) = (frame::message::flags(message), SchemaId::MESSAGES);
        always(self.record(FrameHeader { flags, partition, schema, ..FrameHeader::new(FrameKind::Message) }, |out| {
            frame::message::push(out, message);
            Ok(())
        }))
    }

    /// Appends a record whose payload `write` appends.
    #[inline]
    fn record<R>(
        &mut self,
        of: FrameHeader,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), R>,
    ) -> Result<Result<RecordNumber, R>, AppendError> {
        let Some(open) = &mut self.open else {
            return Err(AppendError::OutOfTurn("a record needs an open transaction"));
        };
        // A statement is in none: it is about a table.
        if !self.partitions.is_open(of.partition) && of.kind != FrameKind::Record(Operation::Ddl) {
            return Err(self.no_partition(of.partition));
        }
        let (start, record) = (self.chunk.len(), open.records);
        let header = FrameHeader { record, commit: self.next_commit, commit_ts: open.head.commit_ts, ..of };
        let mut written = Ok(());
        let bytes = frame::push(&mut self.chunk, &header, |out| written = write(out)) - frame::HEADER_BYTES;
        let fits = bytes <= PAYLOAD_BYTES_MAX;
        if fits && written.is_ok() {
            open.records += 1;
            return Ok(Ok(record));
        }
        self.chunk.truncate(start);
        match written {
            Err(reason) => Ok(Err(reason)),
            Ok(()) => Err(AppendError::TooLarge { bytes, max: PAYLOAD_BYTES_MAX }),
        }
    }
}

/// What becomes of a record whose writing cannot fail.
fn always(appended: Result<Result<RecordNumber, Infallible>, AppendError>) -> Result<RecordNumber, AppendError> {
    appended.map(|Ok(record)| record)
}
