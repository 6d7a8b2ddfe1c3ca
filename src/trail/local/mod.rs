//! A trail's bytes in a folder of this machine.
//!
//! Owns everything that goes by path, and what a folder holds beside the segments. The parts: `disk` (the way to files) and
//! `door` (the same for one trail, until it is deleted), `folder` (all of one trail), `segment_file` (the file of one segment and
//! its hints), `file_end` (where a writer appends), `preallocation` (zeros behind the data, and where that data ends),
//! `description` (`trail.json`), `mark_file` (`mark.bin`) and `spill` (what is kept beside a trail for a while).

pub(super) mod description;
pub mod disk;
mod door;
pub(super) mod faults;
pub(super) mod file_end;
pub(super) mod folder;
mod mark_file;
pub(super) mod preallocation;
pub(super) mod segment_file;
pub mod spill;
