//! The durable truth: an append-only log of committed transactions, one writer, any number of readers.
//!
//! Owns what is on disk and what is promised of it: acknowledged means flushed, visible means flushed, a reader sees
//! whole transactions in commit order and nothing else. Does not know what a stream, a rule or a client is.
//!
//! # Where its bytes lie
//!
//! A trail is one sequence of bytes in segments, addressed by [`Location`], and everything here works on these bytes: `appender`
//! builds frames, `writer` gathers them into groups, `rollover` ends one segment and begins the next, `take_back` makes an earlier
//! byte the end again; `seek` finds a byte, `fetch` gets a block of whole, checked frames, `reader` gives what is in it;
//! `retention` says which segment goes. What holds the bytes is a `store`, with four seams: the end, the bytes, the segments,
//! the first one's going. [`local`] is the store of this page, files in a folder; `recovery` opens one, [`maintenance`] looks
//! inside, copies and repairs. A second one, of messages, is compiled for tests only: it can neither remove one thing nor
//! write one anew, and so keeps everything else from leaning on files.
//!
//! # On disk
//!
//! ```text
//! <trail>/trail.json              name, epoch, writer, partitions, segment size, earlier epochs, format; replaced as a whole,
//!                                 and only by a new epoch, other partitions or the first segment of a newer format
//! <trail>/0000000000000001.seg    a closed segment:  head | repeated frames | frames … | seal frame
//! <trail>/0000000000000001.idx    its sparse index, a hint
//! <trail>/0000000000000001.par    where each partition's frames lie in it, a hint; trails with partitions only
//! <trail>/0000000000000001.xid    ids of the transactions that end in it, a hint; trails of puts only
//! <trail>/0000000000000002.seg    the open segment:  head | repeated frames | flush group | flush group | … | zeros
//! <trail>/mark.bin                how far it is durable, for recovery and who looks from another process; never flushed
//! <trail>/repair.json             a repair is decided and not carried out to its end
//! <trail>/damaged/<epoch>/…       files that a repair replaced, kept for a person to look at
//! <trail>/cut-….bin               what recovery cut off a torn end, kept for a person to look at
//! ```
//!
//! The head is drawn in [`codec::segment_head`](crate::codec::segment_head), frames in
//! [`codec::frame`](crate::codec::frame), row images in [`codec::image`](crate::codec::image). The repeated frames say
//! what is needed to read a segment alone, in this order: the source and how far it has been taken, the last of its transactions
//! as it can be found again, those that are prepared, how far each table's initial load has come, every table's schema in
//! force and, when a transaction goes on in it, that transaction's begin frame and what it has said of loads.
//!
//! ```text
//! flush group: mark | begin record* commit | [schema] begin record* commit | source | …
//! ```
//!
//! A segment is closed when its own data, without what its head repeats, comes to the trail's segment size, and to no less
//! than its head takes: however many columns the tables have, heads are no more than half of what lies there. What tables'
//! columns take together has a cap, and a table whose columns change says only what has changed: heads alone repeat schemas
//! whole.
//!
//! Zeros stand behind the data of the open segment, written ahead by the flush that came to the end of the ones before: a
//! flush that does not make the file longer costs a third to a half less. There are at most 256 KiB of them, no more than
//! the writer has written since it has had the trail (but up to the end of a disk block of 4 KiB), none beyond the size at
//! which the segment is closed, and none while the disk has less than 64 MiB left. Closing the segment or the trail cuts
//! the file to its data, and so does opening the trail. They count nowhere: what is said of a trail's bytes is its data.
//!
//! A flush group is what one `fdatasync` made durable. Its first frame is a mark: how far the trail was durable when
//! the group was written. A transaction larger than a group spans several, and several segments; it is visible when the
//! group with its commit frame is flushed.
//!
//! # Formats
//!
//! A segment's head has a version, which says what its frames may be; new segments have the newest. A trail whose open
//! segment is of an earlier version goes on in a new one. `trail.json` says the newest version that may be in the folder,
//! and says so before there is such a segment. A program that meets a version that it does not know says that a newer
//! program wrote the trail: it neither opens nor repairs it, and serves the other trails.
//!
//! # Repair
//!
//! A gap frame stands where damage took transactions; it says their numbers. Another kind of gap, which the appender writes
//! between transactions, names tables whose rows the source may not have given, and the range of its log. Segments keep the epoch they were made in;
//! `trail.json` says which earlier epochs the segments up to which number may carry, so a new epoch is one small file.
//!
//! # Recovery
//!
//! Only the last segment is read. What had been promised is the larger of two: its last mark, and `mark.bin`, which is
//! written behind every flush and so proves the last flush group too, unless a power cut took it. A bad frame below that, or
//! nothing where something was promised, is damage, and the trail does not open. Above it, whole transactions are kept (and
//! flushed again before anything is said of them), and the rest is cut; a copy of it is kept. Zeros from the last whole
//! frame to the end of the file are what was written ahead, not a torn end; zeros with anything else behind them are one.
//!
//! A segment is closed in this order: its last data and the seal are flushed, the file is cut to them, the cut is flushed,
//! the next segment is made. So a seal with only zeros behind it closes its segment: the crash came before the file was
//! cut. And a last segment may end with a seal and be torn before it all the same, for a disk writes blocks in any order:
//! then the seal is cut with the rest.

mod appender;
mod counters;
mod description;
mod entry;
mod error;
mod fetch;
mod gap;
mod handle;
mod hint;
mod index;
mod loads;
pub mod local;
mod lru;
pub mod maintenance;
mod mark;
#[cfg(feature = "fault-injection")]
pub mod messages;
mod note;
mod partition_places;
pub mod partitions;
mod pieces;
mod promise;
mod reader;
mod recent;
mod recovery;
mod replay;
mod retention;
mod rollover;
mod scan;
mod schema_frame;
mod schemas;
mod seek;
mod segment;
mod shared;
mod source_mark;
mod store;
mod tail;
mod take_back;
mod verify;
mod writer;
mod writer_kind;
mod xids;

pub use appender::{Appender, RepartitionError, Row, RowParts};
pub use counters::{FLUSH_SECONDS_BUCKETS, RetentionRule, TrailCounters};
pub use description::{TrailDescription, TrailOptions};
pub use entry::{Body, Commit, Entry, Followed, MalformedRecord, Record, RowBody, Transaction};
pub use error::{AppendError, Damage, OpenError, ReadError, SeekError};
pub use gap::{Gap, Missing};
pub use handle::{Trail, TrailStatus};
pub use mark::{DurableMark, Location, block_end, bytes_between};
pub use note::Note;
pub use partition_places::partition_lists_given_up;
pub use partitions::{CurrentPartitions, Partition, PartitionChange, PartitionError, PartitionMap};
pub use reader::{Fill, Reader, Told};
pub use retention::{Floor, Retention, Trimmed};
pub use seek::Begin;
pub use source_mark::SourceMark;
pub use verify::{FrameCounts, SegmentReport};
pub use writer_kind::Writer;
