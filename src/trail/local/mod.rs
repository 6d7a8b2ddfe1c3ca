//! A trail's bytes in a folder of this machine.
//!
//! Owns everything that goes by path, and what a folder holds beside the segments. The parts: `disk` (the way to files) and
//! `door` (the same for one trail, until it is deleted), `segment_file` (what is open), `ahead` (zeros behind the data of the
//! open segment, and where that data ends), `stretch` (whole frames, read), `description` (`trail.json`), `mark_file` and
//! `promise` (what may not be cut), `recovery` (what opening does); and, for trails that no server has open, `inspect` (looks),
//! `repair` (around damage) and `backup`.

mod ahead;
pub mod backup;
mod description;
pub mod disk;
mod door;
mod faults;
pub(super) mod file_end;
pub(super) mod folder;
mod inspect;
mod mark_file;
pub(super) mod recovery;
pub mod repair;
pub(super) mod segment_file;
