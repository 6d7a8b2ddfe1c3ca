//! What a member of a consumer group is told of its partitions.

use crate::codec::json::{GROUP_ASSIGNMENT, JsonOptions, MetaField, push_op_ts};
use crate::codec::json_text::push_string;
use crate::record::{GroupName, MemberName, Timestamp};

/// Which partitions a member has from now on.
#[derive(Debug, Clone, Copy)]
pub struct GroupAssignment<'a> {
    /// The group.
    pub group: &'a GroupName,
    /// The member.
    pub member: &'a MemberName,
    /// The partitions, in ascending order; none of a member that waits.
    pub partitions: &'a [u16],
    /// When it was told.
    pub time: Timestamp,
}

/// Appends the record. It has no position, and its fields are always there; those of every record are renamed as elsewhere.
pub fn push_group_assignment(assignment: &GroupAssignment<'_>, options: &JsonOptions, out: &mut Vec<u8>) {
    out.push(b'{');
    push_string(out, options.meta.name(MetaField::OpType));
    out.extend_from_slice(format!(":\"{GROUP_ASSIGNMENT}\",").as_bytes());
    push_string(out, options.meta.name(MetaField::OpTs));
    out.extend_from_slice(b":\"");
    push_op_ts(out, assignment.time);
    out.extend_from_slice(b"\",\"group\":");
    push_string(out, assignment.group.as_str());
    out.extend_from_slice(b",\"member\":");
    push_string(out, assignment.member.as_str());
    let partitions: Vec<String> = assignment.partitions.iter().map(u16::to_string).collect();
    out.extend_from_slice(format!(",\"partitions\":[{}]}}", partitions.join(",")).as_bytes());
}
