//! Caps of partitions and messages.

/// Open partitions of one trail: each is read by itself, and each costs a list of places in every segment.
pub const TRAIL_PARTITIONS_OPEN_MAX: usize = 1_000;
/// Partitions that one trail may have in its life, closed ones too: all stand in its description.
pub const TRAIL_PARTITIONS_MAX: usize = 4_000;
/// Largest description of a trail, in bytes: 4,000 partitions take half of it.
pub const TRAIL_DESCRIPTION_BYTES_MAX: usize = 2 << 20;
/// Memory for where the partitions of closed segments lately read lie, of all trails, in bytes.
pub const PARTITION_PLACES_MEMORY_BYTES_MAX: usize = 32 << 20;
/// Runs of frames of one partition that are kept of a segment, at 8 bytes each: of a segment with more, as one of 1 GiB with very
/// small records, readers of a partition read everything.
pub const PARTITION_RUNS_MAX: usize = 1 << 20;
/// Bytes of a segment that a reader of a few partitions looks through at once; what it takes of them is less.
pub const PARTITION_STRETCH_BYTES: u64 = 4 << 20;
/// Bytes of other partitions between two records that are read with them rather than passed over: one call to the system costs
/// about as much.
pub const PARTITION_READ_THROUGH_BYTES: u32 = 1 << 10;
/// Longest key of a message, in bytes: Kinesis takes 256 characters, others a few hundred; a key is looked at, not stored in.
pub const MESSAGE_KEY_BYTES_MAX: usize = 2 << 10;
/// Largest value of a message, in bytes: the largest that any of the protocols has (Kinesis: 10 MiB) with room, and small enough for
/// one message of a WebSocket that clients accept.
pub const MESSAGE_VALUE_BYTES_MAX: usize = 16 << 20;
