//! Why a stream is not made, changed or found.

use crate::access::NotGranted;
use crate::catalog::CatalogError;
use crate::catalog::stream::ConfigError;
use crate::limits;
use crate::record::{GroupName, ResourceName};
use crate::tasks::Panicked;

/// A stream cannot be made, found or stored.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// There is none of that name.
    #[error("stream {0} does not exist")]
    Missing(ResourceName),
    /// There is one of that name.
    #[error("stream {0} already exists")]
    Exists(ResourceName),
    /// It has consumer groups, which would lose their positions.
    #[error("stream {stream} has consumer groups, whose positions would be lost; remove them first: {}", named(groups))]
    HasGroups {
        /// Its name.
        stream: ResourceName,
        /// Theirs.
        groups: Vec<GroupName>,
    },
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its rules mean one of two partitions that are to become one.
    #[error(
        "partitions {partition} and {with} cannot be merged while {member} of {} means one of them alone; let it name both or neither",
        stream.as_ref().map_or_else(|| "a stream that you may not see".to_owned(), |stream| format!("stream {stream}"))
    )]
    TellsApart {
        /// One partition.
        partition: u16,
        /// The other one.
        with: u16,
        /// Where in its configuration.
        member: String,
        /// The stream, if the caller may see it.
        stream: Option<ResourceName>,
    },
    /// Its rules were not looked at.
    #[error("too many streams wait for their rules to be compiled; try again in a moment")]
    Busy,
    /// Compiling its rules broke off.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] NotGranted),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

fn named(groups: &[GroupName]) -> String {
    let names: Vec<&str> = groups.iter().take(limits::ANSWER_NAMED_GROUPS_MAX).map(GroupName::as_str).collect();
    let more = groups.len() - names.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    names.join(", ") + &more
}
