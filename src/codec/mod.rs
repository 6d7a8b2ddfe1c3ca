//! Bytes to records and back, sans-IO: no sockets, no files, no clocks, and no panic on any input.

pub mod asyncapi;
pub mod byte_text;
pub mod close_code;
pub mod cloudevents;
mod crc;
pub mod decimal;
pub mod event_stream;
pub mod frame;
pub mod image;
pub mod json;
pub mod json_text;
pub mod member;
pub mod message_row;
pub mod nearest;
pub mod proxy_header;
pub mod put;
pub mod schema_record;
pub mod segment_head;
pub mod session_start;
pub mod token;
pub mod twice;
pub mod ws_frame;
