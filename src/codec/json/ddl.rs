//! DDL records.

use crate::codec::json::cell;
use crate::codec::json::head::{Head, HeadCache, HeadSubject, RecordContext};
use crate::codec::json::{DDL_TEXT, EncodeError, JsonOptions, TRUNCATED};
use crate::codec::json_text::{push_string, quoted};
use crate::record::{Operation, SchemaId, TableName};

/// A statement that changed a schema.
#[derive(Debug, Clone, Copy)]
pub struct DdlRecord<'a> {
    /// What goes with every record.
    pub context: RecordContext<'a>,
    /// The table, where the statement names one.
    pub table: Option<&'a TableName>,
    /// The statement.
    pub text: &'a str,
}

/// Appends a DDL record. On an error `out` is as it was.
pub fn push_ddl(record: &DdlRecord<'_>, options: &JsonOptions, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    let text_limit = options.ddl_bytes_max.unwrap_or(usize::MAX);
    if record.text.len() > text_limit && !options.truncate {
        let bytes = record.text.len();
        return Err(EncodeError::TooLarge { member: "maxDDLTextSize", bytes, limit: text_limit });
    }
    push_with_text(record, options, text_limit, out);
    let limit = options.record_bytes_max.unwrap_or(usize::MAX);
    let bytes = out.len() - start;
    if bytes <= limit {
        return Ok(());
    }
    out.truncate(start);
    if options.truncate {
        // Escapes are at most six characters for a byte, so a sixth of what is left surely fits.
        let without_text = bytes.saturating_sub(quoted(record.text).len());
        push_with_text(record, options, limit.saturating_sub(without_text + 32) / 6, out);
        if out.len() - start <= limit {
            return Ok(());
        }
        out.truncate(start);
    }
    Err(EncodeError::TooLarge { member: "maxRecordSize", bytes, limit })
}

fn push_with_text(record: &DdlRecord<'_>, options: &JsonOptions, text_bytes_max: usize, out: &mut Vec<u8>) {
    let fields: Vec<_> = options.meta.sent().map(|(field, name)| (field, name.to_owned())).collect();
    let subject = HeadSubject { operation: Operation::Ddl, table: record.table, primary_keys: Vec::new() };
    let head = Head::new(&fields, &options.static_fields, &subject, options);
    head.push(out, &record.context, (SchemaId(0), Operation::Ddl), &mut HeadCache::default());
    if head.has_fields {
        out.push(b',');
    }
    push_string(out, DDL_TEXT);
    out.push(b':');
    if record.text.len() <= text_bytes_max {
        push_string(out, record.text);
    } else {
        cell::push_cut(out, &quoted(record.text), text_bytes_max);
        out.extend_from_slice(format!(",\"{TRUNCATED}\":[\"{DDL_TEXT}\"]").as_bytes());
    }
    out.push(b'}');
}
