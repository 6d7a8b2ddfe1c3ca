//! The program under faults.

mod autobahn;
mod closing_cut;
mod connections;
mod crowd;
mod disk_full;
mod groups;
mod idle;
mod kill;
mod log_gone;
mod memory;
mod panics;
mod positions;
mod power_cut;
mod slow_reader;
mod small_disk;
mod unread_answers;
