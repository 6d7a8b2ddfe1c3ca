//! The metadata at the start of a record: constant bytes made once, with gaps for what differs from record to record.

use std::io::Write as _;

use crate::codec::json::{JsonOptions, MetaField, TransInd, push_op_ts};
use crate::codec::json_text::{push_string, quoted};
use crate::codec::token::{self, ContractHash, TransactionTokens};
use crate::record::{Operation, Position, SchemaId, TableName, Timestamp, TransactionHead};

/// What a record needs beside its row or statement.
#[derive(Debug, Clone, Copy)]
pub struct RecordContext<'a> {
    /// Its transaction.
    pub head: &'a TransactionHead,
    /// Its position; the record number is `op_seqno`.
    pub position: Position,
    /// The stream's contract, for the position's token.
    pub contract: ContractHash,
    /// Its place among the records sent of its transaction.
    pub trans_ind: TransInd,
    /// User tokens: the JSON text of an object.
    pub tokens: Option<&'a str>,
    /// The time now.
    pub now: Timestamp,
}

#[derive(Debug)]
enum Part {
    Bytes(Vec<u8>),
    Gap(MetaField),
}

/// The start of a record: `{` and the metadata fields, no comma after.
#[derive(Debug)]
pub(super) struct Head {
    parts: Vec<Part>,
    /// Whether there is a field, so that the next needs a comma.
    pub(super) has_fields: bool,
}

/// What the constant fields of a head say.
pub(super) struct HeadSubject<'a> {
    pub(super) operation: Operation,
    pub(super) table: Option<&'a TableName>,
    pub(super) primary_keys: Vec<&'a str>,
}

impl Head {
    /// The head with these fields (name in the record) and static fields, in order.
    pub(super) fn new(
        fields: &[(MetaField, String)],
        static_fields: &[(String, String)],
        subject: &HeadSubject<'_>,
        options: &JsonOptions,
    ) -> Self {
        let mut head = Self { parts: vec![Part::Bytes(vec![b'{'])], has_fields: false };
        for (field, name) in fields {
            let constant = subject.constant(*field, options);
            if constant == Constant::LeftOut {
                continue;
            }
            head.push_key(name);
            match constant {
                Constant::Json(text) => head.push_bytes(text.as_bytes()),
                Constant::Gap | Constant::LeftOut => head.parts.push(Part::Gap(*field)),
            }
        }
        for (name, value) in static_fields {
            head.push_key(name);
            head.push_bytes(value.as_bytes());
        }
        head
    }

    fn push_key(&mut self, name: &str) {
        let mut key = Vec::new();
        if self.has_fields {
            key.push(b',');
        }
        push_string(&mut key, name);
        key.push(b':');
        self.push_bytes(&key);
        self.has_fields = true;
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        if let Some(Part::Bytes(last)) = self.parts.last_mut() {
            last.extend_from_slice(bytes);
        } else {
            self.parts.push(Part::Bytes(bytes.to_vec()));
        }
    }

    /// Appends the head of a record of that table schema. `cache` holds what the last ones had in common.
    #[inline]
    pub(super) fn push(
        &self,
        out: &mut Vec<u8>,
        context: &RecordContext<'_>,
        of: (SchemaId, Operation),
        cache: &mut HeadCache,
    ) {
        let key = (of.0, of.1, context.position.commit, context.now);
        if cache.filled == Some(key) {
            return cache.push(out, context);
        }
        if cache.met == Some(key) {
            self.fill(context, key, cache);
            return cache.push(out, context);
        }
        // Filling the cache pays from the third record on; many transactions have but one.
        cache.met = Some(key);
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => out.extend_from_slice(bytes),
                Part::Gap(field) => push_gap(out, *field, context),
            }
        }
    }

    fn fill(&self, context: &RecordContext<'_>, key: HeadKey, cache: &mut HeadCache) {
        cache.filled = Some(key);
        cache.tokens = Some(TransactionTokens::new(&context.position, context.contract));
        cache.bytes.clear();
        cache.gaps.clear();
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => cache.bytes.extend_from_slice(bytes),
                Part::Gap(field) if differs_within_transaction(*field) => cache.gaps.push((cache.bytes.len(), *field)),
                Part::Gap(field) => push_gap(&mut cache.bytes, *field, context),
            }
        }
    }
}

/// What the heads of records that come one after another have in common: table schema, operation, commit number and time
/// of encoding.
type HeadKey = (SchemaId, Operation, u64, Timestamp);

/// The head of the last record but for what differs within its transaction, so that the next one is copied.
#[derive(Debug, Default)]
pub struct HeadCache {
    met: Option<HeadKey>,
    filled: Option<HeadKey>,
    bytes: Vec<u8>,
    /// Where in the bytes a field is missing, in order.
    gaps: Vec<(usize, MetaField)>,
    tokens: Option<TransactionTokens>,
}

impl HeadCache {
    #[inline]
    fn push(&mut self, out: &mut Vec<u8>, context: &RecordContext<'_>) {
        let mut start = 0;
        for (end, field) in &self.gaps {
            out.extend_from_slice(&self.bytes[start..*end]);
            match (field, &self.tokens) {
                (MetaField::Pos, Some(tokens)) => {
                    out.push(b'"');
                    tokens.push(out, context.position.record);
                    out.push(b'"');
                }
                _ => push_gap(out, *field, context),
            }
            start = *end;
        }
        out.extend_from_slice(&self.bytes[start..]);
    }
}

fn differs_within_transaction(field: MetaField) -> bool {
    matches!(field, MetaField::Pos | MetaField::OpSeqno | MetaField::TransInd | MetaField::Tokens)
}

#[derive(PartialEq, Eq)]
enum Constant {
    Json(String),
    Gap,
    LeftOut,
}

impl HeadSubject<'_> {
    fn constant(&self, field: MetaField, options: &JsonOptions) -> Constant {
        let text = |text: Option<&str>| text.map_or(Constant::LeftOut, |text| Constant::Json(quoted(text)));
        match field {
            MetaField::OpType => text(Some(options.operation_strings.label(self.operation))),
            MetaField::QualifiedTable => text(self.table.map(ToString::to_string).as_deref()),
            MetaField::Catalog => text(self.table.and_then(TableName::catalog)),
            MetaField::Schema => text(self.table.and_then(TableName::schema)),
            MetaField::Table => text(self.table.map(TableName::table)),
            MetaField::PrimaryKeys if self.operation == Operation::Ddl => Constant::LeftOut,
            MetaField::PrimaryKeys => {
                let names: Vec<_> = self.primary_keys.iter().map(|name| quoted(name)).collect();
                Constant::Json(format!("[{}]", names.join(",")))
            }
            _ => Constant::Gap,
        }
    }
}

#[inline]
fn push_gap(out: &mut Vec<u8>, field: MetaField, context: &RecordContext<'_>) {
    match field {
        MetaField::OpTs => push_time(out, context.head.commit_ts),
        MetaField::Pos => {
            out.push(b'"');
            out.extend_from_slice(token::encode(&context.position, context.contract).as_bytes());
            out.push(b'"');
        }
        MetaField::CurrentTs => push_time(out, context.now),
        MetaField::OpTsMicroSecs => push_number(out, context.head.commit_ts.micros()),
        MetaField::CurrentTsMicroSecs => push_number(out, context.now.micros()),
        MetaField::Csn => {
            out.push(b'"');
            push_number(out, context.position.commit);
            out.push(b'"');
        }
        MetaField::Xid => push_string(out, &context.head.xid),
        MetaField::OpSeqno => push_number(out, context.position.record),
        MetaField::TransInd => push_string(out, context.trans_ind.as_str()),
        // Always an object, so that clients need not ask whether it is there.
        MetaField::Tokens => out.extend_from_slice(context.tokens.unwrap_or("{}").as_bytes()),
        // Constants; `HeadSubject::constant` leaves no gap for them.
        MetaField::OpType
        | MetaField::QualifiedTable
        | MetaField::Catalog
        | MetaField::Schema
        | MetaField::Table
        | MetaField::PrimaryKeys => out.extend_from_slice(b"null"),
    }
}

fn push_time(out: &mut Vec<u8>, moment: Timestamp) {
    out.push(b'"');
    push_op_ts(out, moment);
    out.push(b'"');
}

fn push_number(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    // Writing to a Vec does not fail.
    let _ = write!(out, "{number}");
}
