//! Of consumer groups, and of the file that their positions stand in.

/// Longest name of a group or of a member, in characters: clients make them of host names and ids.
pub const GROUP_NAME_CHARS_MAX: usize = 128;
/// Groups of one stream: what each of them keeps is held back from retention, and shows in the figures.
pub const GROUPS_PER_STREAM_MAX: usize = 50;
/// Groups of a server.
pub const GROUPS_MAX: usize = 2_000;
/// Members of one group: more than a trail's partitions only wait.
pub const GROUP_MEMBERS_MAX: usize = 256;
/// Time in which a member acknowledges what it was sent before partitions change hands, in seconds. After it the member's
/// connection ends, and what it has not acknowledged comes again.
pub const GROUP_HAND_OVER_SECONDS: u64 = 30;
/// Time after which a partition that is wanted back is taken from a member that does not give it back, in seconds: longer
/// than the hand-over, so that it strikes only a member that hears nothing any more.
pub const GROUP_TAKE_BACK_SECONDS: u64 = 45;
/// Time between two commits of what a member has passed over without being sent any of it, in seconds: each costs a share of
/// a flush, and until then retention is held back by it, and so are the partitions that a closed one was split into.
pub const GROUP_ADVANCE_SECONDS: u64 = 2;
/// Time in which acknowledgements of connections that ended are stored when the server stops, in seconds. What is not stored by
/// then comes again, and the log says so.
pub const GROUP_CLOSE_SECONDS: u64 = 5;
/// How much of a trail its groups may keep against retention by age or size, in bytes, where the trail has no size of its own; where
/// it has one, as much as that once more.
pub const GROUP_KEPT_BYTES_MAX: u64 = 10 << 30;
/// Groups whose lag the figures show partition by partition; of the others they show the partition that is furthest behind.
pub const GROUPS_SHOWN_BY_PARTITION_MAX: usize = 200;
/// Largest message of a member, in bytes: an acknowledgement has some 70.
pub const GROUP_MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Groups that a refusal or an answer names; the rest is counted.
pub const ANSWER_NAMED_GROUPS_MAX: usize = 20;

/// Longest key of an entry in the file of positions, in bytes: two names, a partition and what is between.
pub const CURSOR_KEY_BYTES_MAX: usize = 512;
/// Longest value of an entry, in bytes.
pub const CURSOR_VALUE_BYTES_MAX: usize = 1 << 10;
/// Changes that may wait for the flush that is under way; beyond it a commit is refused. As many as members of all groups may
/// have under way at once, and more.
pub const CURSORS_WAITING_MAX: usize = 65_536;
/// Size below which the file of positions is not written anew, in bytes.
pub const CURSORS_REWRITE_BYTES_MIN: u64 = 4 << 20;
/// How many times as long as what is in force the file of positions may be before it is written anew.
pub const CURSORS_REWRITE_FACTOR: u64 = 4;
/// Largest file of positions that is opened, in bytes: what limits on groups and partitions let come together, four times,
/// and more.
pub const CURSORS_FILE_BYTES_MAX: u64 = 4 << 30;
