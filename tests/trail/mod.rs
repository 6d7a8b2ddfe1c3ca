//! The local trail through its public face: what it gives back, what survives a crash, what it refuses.

mod crash;
mod failing_flush;
mod inspecting;
mod memory_disk;
mod reading;
mod seek;
mod workload;
