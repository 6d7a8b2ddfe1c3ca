//! A consumer group: members that share the partitions of a trail, and how far each partition has been committed.
//!
//! A state machine without clocks and sockets: time comes in with each call, as the time since some moment in the past. Owns who
//! has which partition ([`Group`]), what partitions there are and which comes before which ([`Layout`]), and how they are shared
//! out (`balance`). Leaves to `service` where commits are kept, who may join and how members hear of it.
//!
//! What holds at any time:
//!
//! * A partition has one owner at most. A commit of anybody else is not taken.
//! * A partition that has an owner goes to another one only after the first gave it back, left, or was silent or slow for
//!   too long. A new owner begins at the commit.
//! * After partitions were split or merged, a child has an owner only once its parents are committed to their ends.

mod balance;
mod layout;
mod state;

pub use layout::{Layout, Partition, Place, place_of};
pub use state::{
    Committed, Group, GroupFull, GroupRules, MemberId, MemberInfo, NotMember, Owned, PartitionInfo, Share,
};

#[cfg(test)]
mod tests;
