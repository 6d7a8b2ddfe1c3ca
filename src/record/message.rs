//! Messages: what is put into a trail as bytes, with or without a key, instead of as rows of a table.
//!
//! Owns what a message consists of, and the table that messages are shown as where a protocol has nothing but rows. How a
//! message lies in a frame is [`codec::frame::message`](crate::codec::frame::message)'s business, how it becomes a row
//! [`codec::message_row`](crate::codec::message_row)'s.

use crate::record::{Column, JsonKind, SchemaId, TableName, TableSchema, TrailName};

/// A message, borrowed from wherever its bytes lie.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message<'a> {
    /// What puts it into a partition, if its sender gave a key.
    pub key: Option<&'a [u8]>,
    /// Its headers, in the order given; the same name may come again.
    pub headers: Vec<MessageHeader<'a>>,
    /// Its content.
    pub value: &'a [u8],
}

/// A named value beside a message's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageHeader<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: &'a [u8],
}

/// The schema of the table `messages.<trail>`, whose rows a trail's messages are shown as. No column is a key: two messages
/// with the same key are two messages, not two versions of one row.
pub fn messages_schema(trail: &TrailName) -> TableSchema {
    let column = |name: &str, kind, nullable| Column {
        name: name.to_owned(),
        kind,
        sql_type: String::new(),
        nullable,
        key: false,
    };
    TableSchema {
        id: SchemaId::MESSAGES,
        table: TableName::of_messages(trail),
        columns: vec![
            column("key", JsonKind::String, true),
            column("value", JsonKind::Any, true),
            column("encoding", JsonKind::String, false),
            column("partition", JsonKind::Number, false),
        ],
    }
}
