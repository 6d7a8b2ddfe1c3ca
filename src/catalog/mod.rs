//! Small durable state: what users made and a restart must not lose.

pub mod stream;
