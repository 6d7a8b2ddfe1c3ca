//! Small durable state and its values: stream resources, extracts, users.

pub mod extract;
pub mod table_pattern;
