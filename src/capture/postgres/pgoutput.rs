//! Decodes what a logical replication stream carries: the replication envelope and `pgoutput` messages, version 2.
//!
//! A transaction comes whole (`Begin` … `Commit`) or, before its end is known, in blocks (`StreamStart` … `StreamStop`) that may have
//! others between them, until `StreamCommit` or `StreamAbort`. Inside a block each change says by a number of its own which
//! (sub)transaction it is of.
//!
//! Sans-IO and borrowing: a decoded message points into the bytes it came from. Every length is checked here, so that
//! whoever walks a [`Tuple`] later cannot fail. Malformed input is an error, never a panic.

use std::borrow::Cow;

use super::lsn::Lsn;
use crate::codec::byte_text::{self, Charset};
use crate::limits;
use crate::record::Timestamp;

/// Microseconds between 1970-01-01 and PostgreSQL's own epoch, 2000-01-01.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The bytes are no message of this protocol; says which part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed replication message: {0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// What one CopyData message holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Envelope<'a> {
    /// A message of the output plugin.
    Data {
        /// Where it stands in the log.
        start: Lsn,
        /// The server's clock when it was sent.
        sent: Timestamp,
        /// The message, see [`Message::decode`].
        payload: &'a [u8],
    },
    /// A sign of life.
    Keepalive {
        /// Everything before it has been sent.
        end: Lsn,
        /// The server's clock when it was sent.
        sent: Timestamp,
        /// Whether the server wants an answer at once.
        reply: bool,
    },
}

impl<'a> Envelope<'a> {
    /// Reads the body of a CopyData message.
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut bytes = Bytes(body);
        match bytes.u8("envelope")? {
            b'w' => {
                let start = Lsn(bytes.u64("start")?);
                bytes.u64("end")?;
                Ok(Self::Data { start, sent: bytes.timestamp("sent")?, payload: bytes.0 })
            }
            b'k' => {
                let end = Lsn(bytes.u64("end")?);
                let sent = bytes.timestamp("sent")?;
                let reply = bytes.u8("reply")? != 0;
                bytes.finished()?;
                Ok(Self::Keepalive { end, sent, reply })
            }
            _ => Err(Malformed("kind of envelope")),
        }
    }
}

/// One message of the output plugin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    Begin {
        /// Where the transaction's commit record starts.
        commit_lsn: Lsn,
        commit_ts: Timestamp,
        xid: u32,
    },
    Commit {
        commit_lsn: Lsn,
        /// Where the transaction's commit record ends.
        end_lsn: Lsn,
    },
    Relation(RelationMessage<'a>),
    Insert {
        relation: u32,
        new: Tuple<'a>,
    },
    Update {
        relation: u32,
        old: Option<OldTuple<'a>>,
        new: Tuple<'a>,
    },
    Delete {
        relation: u32,
        old: OldTuple<'a>,
    },
    Truncate(RelationIds<'a>),
    Type(TypeMessage<'a>),
    /// What somebody wrote with `pg_logical_emit_message`.
    Emitted(EmittedMessage<'a>),
    /// A block of a transaction that has not ended begins.
    StreamStart {
        xid: u32,
    },
    /// That was the block.
    StreamStop,
    /// A transaction that came in blocks is committed.
    StreamCommit {
        xid: u32,
        commit_lsn: Lsn,
        end_lsn: Lsn,
        commit_ts: Timestamp,
    },
    /// A transaction that came in blocks is rolled back, or a subtransaction of it.
    StreamAbort {
        xid: u32,
        /// The transaction itself, or the subtransaction.
        subxid: u32,
    },
    /// An origin message.
    Ignored,
}

/// A logical message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EmittedMessage<'a> {
    /// It belongs to the transaction that it comes in; otherwise it stands for itself.
    pub(super) transactional: bool,
    /// Where its record ends.
    pub(super) lsn: Lsn,
    pub(super) prefix: Cow<'a, str>,
    pub(super) content: &'a [u8],
}

/// A type that is not built in, as it was when the row was written; sent before each relation that uses it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TypeMessage<'a> {
    pub(super) id: u32,
    /// Schema and name: of a domain, those of the type that it comes down to.
    pub(super) schema: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
}

/// A table's schema, sent before its first row and again after it changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RelationMessage<'a> {
    pub(super) id: u32,
    pub(super) schema: Cow<'a, str>,
    pub(super) table: Cow<'a, str>,
    /// `pg_class.relreplident`: `d`, `f`, `i` or `n`.
    pub(super) replica_identity: u8,
    pub(super) columns: Vec<RelationColumn<'a>>,
}

/// One column of a [`RelationMessage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RelationColumn<'a> {
    /// Whether it belongs to the replica identity.
    pub(super) identity: bool,
    pub(super) name: Cow<'a, str>,
    pub(super) type_id: u32,
    pub(super) type_modifier: i32,
}

/// What an update or a delete says of the row before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OldTuple<'a> {
    /// Only the columns of the replica identity are there; the others read as null and mean nothing.
    pub(super) key_only: bool,
    pub(super) tuple: Tuple<'a>,
}

/// A row: checked bytes, walked with [`Tuple::values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tuple<'a> {
    count: u16,
    bytes: &'a [u8],
}

/// One column's value in a [`Tuple`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TupleValue<'a> {
    Null,
    /// A toasted value that did not change and was not sent.
    Unchanged,
    /// The type's text form.
    Text(&'a [u8]),
}

impl<'a> Message<'a> {
    /// Reads one message, to its last byte; names in it are of that charset.
    pub(super) fn decode(payload: &'a [u8], charset: Charset) -> Result<Self, Malformed> {
        let mut bytes = Bytes(payload);
        let kind = bytes.u8("kind of message")?;
        Self::of_kind(kind, bytes, charset)
    }

    /// The same of a message without its number of a (sub)transaction: see [`InBlock`].
    pub(super) fn decode_in_block(message: InBlock<'a>, charset: Charset) -> Result<Self, Malformed> {
        Self::of_kind(message.kind, Bytes(message.rest), charset)
    }

    fn of_kind(kind: u8, mut bytes: Bytes<'a>, charset: Charset) -> Result<Self, Malformed> {
        let message = match kind {
            b'B' => Self::Begin {
                commit_lsn: Lsn(bytes.u64("final LSN")?),
                commit_ts: bytes.timestamp("commit time")?,
                xid: bytes.u32("transaction id")?,
            },
            b'C' => {
                bytes.u8("commit flags")?;
                let (commit_lsn, end_lsn) = (Lsn(bytes.u64("commit LSN")?), Lsn(bytes.u64("end LSN")?));
                bytes.timestamp("commit time")?;
                Self::Commit { commit_lsn, end_lsn }
            }
            b'R' => Self::Relation(RelationMessage::decode(&mut bytes, charset)?),
            b'I' => Self::Insert { relation: bytes.u32("relation")?, new: bytes.new_tuple()? },
            b'U' => {
                let relation = bytes.u32("relation")?;
                let old = match bytes.0.first() {
                    Some(b'K' | b'O') => Some(bytes.old_tuple()?),
                    _ => None,
                };
                Self::Update { relation, old, new: bytes.new_tuple()? }
            }
            b'D' => Self::Delete { relation: bytes.u32("relation")?, old: bytes.old_tuple()? },
            b'T' => {
                let count = bytes.u32("number of relations")? as usize;
                bytes.u8("truncate options")?;
                let length = count.checked_mul(4).ok_or(Malformed("number of relations"))?;
                Self::Truncate(RelationIds(bytes.take(length, "relations")?))
            }
            b'Y' => {
                let id = bytes.u32("type")?;
                let (schema, name) = bytes.qualified_name(charset)?;
                Self::Type(TypeMessage { id, schema, name })
            }
            b'M' => {
                let transactional = bytes.u8("message flags")? & 1 != 0;
                let lsn = Lsn(bytes.u64("message LSN")?);
                let prefix = bytes.text("message prefix", charset)?;
                let length = bytes.u32("length of message")? as usize;
                let content = bytes.take(length, "message")?;
                Self::Emitted(EmittedMessage { transactional, lsn, prefix, content })
            }
            b'S' => {
                let xid = bytes.u32("transaction id")?;
                bytes.u8("first block")?;
                Self::StreamStart { xid }
            }
            b'E' => Self::StreamStop,
            b'c' => {
                let xid = bytes.u32("transaction id")?;
                bytes.u8("commit flags")?;
                let (commit_lsn, end_lsn) = (Lsn(bytes.u64("commit LSN")?), Lsn(bytes.u64("end LSN")?));
                Self::StreamCommit { xid, commit_lsn, end_lsn, commit_ts: bytes.timestamp("commit time")? }
            }
            b'A' => Self::StreamAbort { xid: bytes.u32("transaction id")?, subxid: bytes.u32("subtransaction id")? },
            b'O' => return Ok(Self::Ignored),
            _ => return Err(Malformed("kind of message")),
        };
        bytes.finished()?;
        Ok(message)
    }

    /// Whether it says what became of rows.
    pub(super) fn is_of_rows(&self) -> bool {
        matches!(self, Self::Insert { .. } | Self::Update { .. } | Self::Delete { .. } | Self::Truncate(_))
    }
}

/// A message inside a block, taken apart: what is left without the number is what it is outside of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InBlock<'a> {
    /// The (sub)transaction's number; none of a message that says none. A logical message has only that of the whole transaction,
    /// whichever subtransaction it is of.
    pub(super) xid: Option<u32>,
    pub(super) kind: u8,
    pub(super) rest: &'a [u8],
}

impl<'a> InBlock<'a> {
    pub(super) fn of(payload: &'a [u8]) -> Result<Self, Malformed> {
        let (kind, rest) = payload.split_first().ok_or(Malformed("kind of message"))?;
        if !matches!(kind, b'R' | b'Y' | b'I' | b'U' | b'D' | b'T' | b'M') {
            return Ok(Self { xid: None, kind: *kind, rest });
        }
        let (xid, rest) = rest.split_first_chunk::<4>().ok_or(Malformed("transaction id"))?;
        Ok(Self { xid: (*kind != b'M').then(|| u32::from_be_bytes(*xid)), kind: *kind, rest })
    }
}

/// What the start of a logical message says of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EmittedStart<'a> {
    /// Its prefix, and how many bytes stand in it.
    Known(Cow<'a, str>, usize),
    /// Its prefix is too long to be looked at before all of it is there.
    LongPrefix,
}

impl<'a> EmittedStart<'a> {
    /// None of any other message, and of one of which too little is there.
    pub(super) fn of(there: &'a [u8], in_block: bool, charset: Charset) -> Option<Self> {
        let mut bytes = Bytes(there);
        (bytes.u8("kind").ok()? == b'M').then_some(())?;
        let numbers = 9 + if in_block { 4 } else { 0 };
        bytes.take(numbers, "numbers").ok()?;
        let looked_at = bytes.0.get(..limits::MESSAGE_PREFIX_FORESEEN_BYTES);
        if looked_at.is_some_and(|bytes| !bytes.contains(&0)) {
            return Some(Self::LongPrefix);
        }
        let prefix = bytes.text("message prefix", charset).ok()?;
        Some(Self::Known(prefix, bytes.u32("length of message").ok()? as usize))
    }
}

impl<'a> RelationMessage<'a> {
    fn decode(bytes: &mut Bytes<'a>, charset: Charset) -> Result<Self, Malformed> {
        let id = bytes.u32("relation")?;
        let (schema, table) = bytes.qualified_name(charset)?;
        let replica_identity = bytes.u8("replica identity")?;
        let count = bytes.u16("number of columns")?;
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push(RelationColumn {
                identity: bytes.u8("column flags")? & 1 != 0,
                name: bytes.text("column name", charset)?,
                type_id: bytes.u32("type")?,
                type_modifier: bytes.u32("type modifier")? as i32,
            });
        }
        Ok(Self { id, schema, table, replica_identity, columns })
    }
}

/// The tables of a truncate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RelationIds<'a>(&'a [u8]);

impl RelationIds<'_> {
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.as_chunks::<4>().0.iter().map(|id| u32::from_be_bytes(*id))
    }
}

impl<'a> Tuple<'a> {
    /// Reads a row that is all of `bytes`.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut bytes = Bytes(bytes);
        let tuple = bytes.tuple()?;
        bytes.finished()?;
        Ok(tuple)
    }

    /// Number of columns.
    pub(super) fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// The values, in the order of the relation's columns.
    pub(super) fn values(&self) -> TupleValues<'a> {
        TupleValues { left: self.count, bytes: Bytes(self.bytes) }
    }
}

/// Walks a [`Tuple`].
#[derive(Debug)]
pub(super) struct TupleValues<'a> {
    left: u16,
    bytes: Bytes<'a>,
}

impl<'a> TupleValues<'a> {
    fn read(&mut self) -> Result<TupleValue<'a>, Malformed> {
        match self.bytes.u8("kind of value")? {
            b'n' => Ok(TupleValue::Null),
            b'u' => Ok(TupleValue::Unchanged),
            b't' => {
                let length = self.bytes.u32("length of value")? as usize;
                Ok(TupleValue::Text(self.bytes.take(length, "value")?))
            }
            _ => Err(Malformed("kind of value")),
        }
    }
}

impl<'a> Iterator for TupleValues<'a> {
    type Item = TupleValue<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // Checked when the tuple was decoded.
        self.read().ok()
    }
}

/// What is left to read.
#[derive(Debug)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize, part: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed(part))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, part: &'static str) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed(part))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self, part: &'static str) -> Result<u8, Malformed> {
        self.array(part).map(u8::from_be_bytes)
    }

    fn u16(&mut self, part: &'static str) -> Result<u16, Malformed> {
        self.array(part).map(u16::from_be_bytes)
    }

    fn u32(&mut self, part: &'static str) -> Result<u32, Malformed> {
        self.array(part).map(u32::from_be_bytes)
    }

    fn u64(&mut self, part: &'static str) -> Result<u64, Malformed> {
        self.array(part).map(u64::from_be_bytes)
    }

    fn timestamp(&mut self, part: &'static str) -> Result<Timestamp, Malformed> {
        let micros = self.array(part).map(i64::from_be_bytes)?;
        Ok(Timestamp::from_micros(micros.saturating_add(POSTGRES_EPOCH_MICROS)))
    }

    /// The names of a schema and of something in it.
    fn qualified_name(&mut self, charset: Charset) -> Result<(Cow<'a, str>, Cow<'a, str>), Malformed> {
        let (schema, name) = (self.text("schema name", charset)?, self.text("name", charset)?);
        // The catalogue's own schema is sent as an empty name.
        let schema = if schema.is_empty() { "pg_catalog".into() } else { schema };
        Ok((schema, name))
    }

    fn text(&mut self, part: &'static str, charset: Charset) -> Result<Cow<'a, str>, Malformed> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Malformed(part))?;
        let text = self.take(end, part)?;
        self.u8(part)?;
        Ok(byte_text::decode(text, charset))
    }

    fn tuple(&mut self) -> Result<Tuple<'a>, Malformed> {
        let count = self.u16("number of values")?;
        let mut values = TupleValues { left: count, bytes: Bytes(self.0) };
        for _ in 0..count {
            values.read()?;
        }
        let length = self.0.len() - values.bytes.0.len();
        Ok(Tuple { count, bytes: self.take(length, "row")? })
    }

    fn new_tuple(&mut self) -> Result<Tuple<'a>, Malformed> {
        match self.u8("kind of row")? {
            b'N' => self.tuple(),
            _ => Err(Malformed("kind of row")),
        }
    }

    fn old_tuple(&mut self) -> Result<OldTuple<'a>, Malformed> {
        let key_only = match self.u8("kind of row")? {
            b'K' => true,
            b'O' => false,
            _ => return Err(Malformed("kind of row")),
        };
        Ok(OldTuple { key_only, tuple: self.tuple()? })
    }

    fn finished(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("bytes after its end")) }
    }
}

#[cfg(test)]
mod tests;
