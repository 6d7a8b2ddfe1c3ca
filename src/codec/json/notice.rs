//! Records that hold no change and no metadata: what a session says of itself. Heartbeats, the arrival at the trail's end, and
//! when to come back.
//!
//! Their fields are renamed with those of other records, and always there.

use crate::codec::json::{CAUGHT_UP, DRAIN, HEARTBEAT, JsonOptions, MetaField, RETRY_AFTER_MS, push_op_ts};
use crate::codec::json_text::push_string;
use crate::codec::token::TokenText;
use crate::record::Timestamp;

/// The fields of a `CAUGHT_UP` record, in their order.
pub const CAUGHT_UP_FIELDS: [MetaField; 4] = [MetaField::OpType, MetaField::OpTs, MetaField::CurrentTs, MetaField::Pos];
/// The fields of a `DRAIN` record, in their order; [`RETRY_AFTER_MS`] comes behind them.
pub const DRAIN_FIELDS: [MetaField; 2] = [MetaField::OpType, MetaField::CurrentTs];

/// Appends a heartbeat: the position after which to go on, and the time of it.
pub fn push_heartbeat(pos: &TokenText, time: Timestamp, options: &JsonOptions, out: &mut Vec<u8>) {
    open(HEARTBEAT, options, out);
    push_text(MetaField::Pos, pos.as_bytes(), options, out);
    push_time(MetaField::OpTs, Some(time), options, out);
    out.push(b'}');
}

/// Appends what says that everything was sent: the position of the trail's end, the commit time of its last transaction (none
/// before the first), and the time now.
pub fn push_caught_up(
    pos: &TokenText,
    tail: Option<Timestamp>,
    now: Timestamp,
    options: &JsonOptions,
    out: &mut Vec<u8>,
) {
    open(CAUGHT_UP, options, out);
    push_time(MetaField::OpTs, tail, options, out);
    push_time(MetaField::CurrentTs, Some(now), options, out);
    push_text(MetaField::Pos, pos.as_bytes(), options, out);
    out.push(b'}');
}

/// Appends what says that the server stops, and after how many milliseconds to connect again.
pub fn push_drain(retry_after_millis: u64, now: Timestamp, options: &JsonOptions, out: &mut Vec<u8>) {
    open(DRAIN, options, out);
    push_time(MetaField::CurrentTs, Some(now), options, out);
    out.push(b',');
    push_string(out, RETRY_AFTER_MS);
    out.extend_from_slice(format!(":{retry_after_millis}}}").as_bytes());
}

fn open(op_type: &str, options: &JsonOptions, out: &mut Vec<u8>) {
    out.push(b'{');
    push_string(out, options.meta.name(MetaField::OpType));
    out.push(b':');
    push_string(out, op_type);
}

fn push_text(field: MetaField, text: &[u8], options: &JsonOptions, out: &mut Vec<u8>) {
    push_key(field, options, out);
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

fn push_time(field: MetaField, time: Option<Timestamp>, options: &JsonOptions, out: &mut Vec<u8>) {
    push_key(field, options, out);
    match time {
        None => out.extend_from_slice(b"null"),
        Some(time) => {
            out.push(b'"');
            push_op_ts(out, time);
            out.push(b'"');
        }
    }
}

fn push_key(field: MetaField, options: &JsonOptions, out: &mut Vec<u8>) {
    out.push(b',');
    push_string(out, options.meta.name(field));
    out.push(b':');
}
