//! Bytes to records and back, sans-IO: no sockets, no files, no clocks, and no panic on any input.

pub mod frame;
pub mod image;
pub mod json_text;
pub mod segment_head;
