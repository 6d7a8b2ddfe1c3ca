//! The local trail through its public face: what it gives back, what survives a crash, what it refuses.

mod backup;
mod closing;
mod converting;
mod crash;
mod dumping;
mod every_body;
mod every_frame;
mod failing_flush;
mod inspecting;
mod large_heads;
pub mod memory_disk;
#[cfg(feature = "fault-injection")]
mod message_log;
#[cfg(feature = "fault-injection")]
mod messages;
mod operating;
mod overtaking;
mod partitions;
mod preallocation;
mod promised;
mod reading;
mod remembering;
mod repair;
mod retaining;
mod seek;
mod showing;
mod stores;
mod workload;
