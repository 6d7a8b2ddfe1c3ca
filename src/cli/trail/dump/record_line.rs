//! The line of a record: its header fields, then what it holds.

use std::fmt::Write as _;

use crate::cli::failure::Failure;
use crate::cli::output::harmless;
use crate::codec::image::{Cell, Image};
use crate::codec::json_text::quoted;
use crate::codec::message_row::{push_row, shown};
use crate::codec::token;
use crate::record::{Column, Message};
use crate::trail::{Body, Record, RowBody, Trail};

/// The line, without its end.
pub(super) fn of(trail: &Trail, record: &Record<'_>, as_json: bool) -> Result<String, Failure> {
    let position = record.position(trail.epoch());
    let pos = token::encode_trail(&position);
    let transaction = record.transaction;
    let body = record.body().map_err(Failure::failed)?;
    let table = match (&body, record.schema) {
        (Body::Ddl { table, .. }, _) => table.to_string(),
        (_, Some(schema)) => schema.table.to_string(),
        (_, None) => String::new(),
    };
    let operation = match &body {
        Body::Message(_) => "MESSAGE",
        Body::Row(_) | Body::Ddl { .. } => record.operation.as_str(),
    };
    let mut members = members(record, &body)?;
    if !trail.description().partitions.is_single() && !matches!(body, Body::Message(_)) {
        let _ = write!(members, ",\"partition\":{}", record.partition);
    }
    Ok(if as_json {
        format!(
            "{{\"csn\":{},\"record\":{},\"op_type\":\"{operation}\",\"qual_table\":{},\"xid\":{},\"op_ts\":{},\"appended\":{},\"source\":{},\"segment\":{},\"offset\":{},\"pos\":\"{}\"{members}}}",
            position.commit,
            position.record,
            quoted(&table),
            quoted(&transaction.head.xid),
            quoted(&transaction.head.commit_ts.to_op_ts()),
            quoted(&record.append_ts.to_rfc3339()),
            quoted(&transaction.head.source.0),
            record.location.segment(),
            record.location.offset(),
            pos.as_str(),
        )
    } else {
        harmless(&format!(
            "{}.{} {operation:<8} {table}  xid={} op_ts={} at={}:{} {} bytes{}",
            position.commit,
            position.record,
            transaction.head.xid,
            transaction.head.commit_ts.to_rfc3339(),
            record.location.segment(),
            record.location.offset(),
            record.bytes(),
            members.replacen(',', "  ", 1),
        ))
    })
}

/// What the record holds, as further members: `,"before":{…},"after":{…}`, `,"ddl":"…"` or `,"message":{…}`.
fn members(record: &Record<'_>, body: &Body<'_>) -> Result<String, Failure> {
    let columns = record.schema.map(|schema| schema.columns.as_slice()).unwrap_or_default();
    match body {
        Body::Row(row) => row_members(columns, row, record.is_loaded()),
        Body::Ddl { statement, .. } => Ok(format!(",\"ddl\":{}", quoted(statement))),
        Body::Message(message) => message_members(columns, message, record.partition),
    }
}

fn row_members(columns: &[Column], row: &RowBody<'_>, loaded: bool) -> Result<String, Failure> {
    let mut out = String::new();
    let mut unchanged = Vec::new();
    for (name, image) in [("before", row.before), ("after", row.after)] {
        if let Some(image) = image {
            let _ = write!(out, ",\"{name}\":{}", object(columns, image, &mut unchanged)?);
        }
    }
    if !unchanged.is_empty() {
        let _ = write!(out, ",\"unchanged\":[{}]", unchanged.join(","));
    }
    if !row.tokens.is_empty() {
        let _ = write!(out, ",\"tokens\":{}", row.tokens);
    }
    if loaded {
        out.push_str(",\"loaded\":true");
    }
    Ok(out)
}

fn message_members(columns: &[Column], message: &Message<'_>, partition: u16) -> Result<String, Failure> {
    let mut row = Vec::new();
    push_row(&mut row, message, partition);
    let mut out = format!(",\"message\":{}", object(columns, Image::whole(&row), &mut Vec::new())?);
    if !message.headers.is_empty() {
        let headers = message.headers.iter().map(|header| {
            let (value, encoding) = shown(header.value);
            format!("{{\"name\":{},\"value\":{value},\"encoding\":\"{encoding}\"}}", quoted(header.name))
        });
        let _ = write!(out, ",\"headers\":[{}]", headers.collect::<Vec<_>>().join(","));
    }
    Ok(out)
}

/// An image's values; names of columns that the source did not send because they did not change go to `unchanged`.
fn object(columns: &[Column], image: Image<'_>, unchanged: &mut Vec<String>) -> Result<String, Failure> {
    let mut out = String::from("{");
    for (column, cell) in columns.iter().zip(image.cells()) {
        let value = match cell.map_err(Failure::failed)? {
            Cell::Absent => continue,
            Cell::Null => "null",
            Cell::Unchanged => {
                unchanged.push(quoted(&column.name));
                continue;
            }
            Cell::Json(text) => text,
        };
        let comma = if out.len() > 1 { "," } else { "" };
        let _ = write!(out, "{comma}{}:{value}", quoted(&column.name));
    }
    out.push('}');
    Ok(out)
}
