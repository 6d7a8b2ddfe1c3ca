//! Caps of what capture keeps of transactions before it is known how they end, in memory and on the disk.

/// What capture keeps in memory of transactions that a source sends in pieces before they end, in bytes, all of an extract's
/// together; beyond it the largest goes to the disk. Their memory may be allocated up to twice over.
pub const HELD_MEMORY_BYTES: usize = 16 << 20;
/// What capture keeps of such transactions on the disk unless the extract says otherwise, in bytes.
pub const SPILL_BYTES_DEFAULT: u64 = 64 << 30;
/// The most that an extract may ask for, in bytes.
pub const SPILL_BYTES_CONFIGURED_MAX: u64 = 16 << 40;
/// Room that the disk must have left behind what goes there, in bytes: the trail comes first.
pub const SPILL_FREE_BYTES_MIN: u64 = 256 << 20;
/// Bytes of one block of what lies on the disk: small beside what goes there at once, large beside what is kept of a block.
pub const SPILL_BLOCK_BYTES: usize = 64 << 10;
/// Bytes that are read back from the disk at once.
pub const SPILL_READ_BYTES: usize = 1 << 20;
/// Parts of such transactions that were rolled back by themselves (subtransactions) and are remembered, all of an extract's
/// together: about 20 bytes each.
pub const HELD_PARTS_MAX: usize = 2_000_000;
/// What descriptions of tables may take that such transactions hold, in bytes as they are written down, all of an extract's together.
/// In memory they take about three times that, with what reads rows by them.
pub const HELD_DESCRIBED_BYTES_MAX: usize = 16 << 20;
/// Longest note of a statement from the helper at the source, in bytes: it sends 65,536 characters of a statement, of which JSON
/// makes six bytes each at most. Whoever may log in at the source could write a longer one.
pub const STATEMENT_NOTE_BYTES_MAX: usize = 1 << 20;
/// Bytes in which the prefix of a large logical message is looked for before all of it is there.
pub const MESSAGE_PREFIX_FORESEEN_BYTES: usize = 4 << 10;
/// Patterns of prefixes of logical messages that one extract captures.
pub const MESSAGE_PREFIXES_MAX: usize = 64;
/// Longest such pattern, in bytes.
pub const MESSAGE_PREFIX_BYTES_MAX: usize = 256;
