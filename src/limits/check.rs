//! Caps of looks at a source apart from capture, and of taking away what an extract made there. Owns the numbers only, as [`crate::limits`] does,
//! whose part it is.

/// Time for the look at a source before an extract is made, in seconds; one that takes longer is made without it.
pub const SOURCE_PREFLIGHT_SECONDS_MAX: u64 = 8;
/// Time for one look of a check of a source, in seconds; one that takes longer says so, and the next one is made.
pub const SOURCE_CHECK_LOOK_SECONDS_MAX: u64 = 8;
/// Time for all looks of such a check together, in seconds: what is left then is not looked at, and says so.
pub const SOURCE_CHECK_SECONDS_MAX: u64 = 40;
/// Checks of sources at the same time; who asks for more is told to come again.
pub const SOURCE_CHECKS_MAX: usize = 4;
/// Seconds after which whoever was told so may come again.
pub const SOURCE_CHECK_RETRY_SECONDS: u64 = 5;
/// Difference between a source's clock and ours that a check takes for none, in milliseconds.
pub const SOURCE_CLOCK_MILLIS_MAX: u64 = 2_000;
/// Age of a transaction from which on a check names it, because a new slot would wait for its end, in seconds.
pub const SOURCE_OPEN_TRANSACTION_SECONDS: u64 = 30;
/// Bytes of its log that a source should keep for a slot at least: with less, a pause of minutes costs the slot.
pub const SOURCE_KEPT_LOG_BYTES_MIN: u64 = 1 << 30;
/// Time for a slot to be let go by whoever read it, before it is dropped, in seconds.
pub const SOURCE_RELEASE_SECONDS_MAX: u64 = 20;
/// Time between two attempts to drop it, in milliseconds.
pub const SOURCE_RELEASE_RETRY_MILLIS: u64 = 100;
