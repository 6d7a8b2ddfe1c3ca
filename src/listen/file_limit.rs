//! The operating system's limit of open files, raised to what a server's connections need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits;

/// Raises the soft limit of this process to what `connections` need, as far as the hard limit allows. Returns how many
/// connections fit.
pub fn make_room(connections: usize) -> usize {
    let needed = connections as u64 + limits::OTHER_FILES;
    let found = getrlimit(Resource::Nofile);
    // No limit is written as none.
    let hard = found.maximum.unwrap_or(u64::MAX);
    let mut soft = found.current.unwrap_or(u64::MAX);
    if soft < needed {
        let wanted = needed.min(hard);
        if setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: found.maximum }).is_ok() {
            soft = wanted;
        }
    }
    let room = room_in(soft).min(connections);
    let advice = "the limit of open files is too low for as many connections; raise it (ulimit -n, LimitNOFILE)";
    // Most machines serve far fewer clients than the default allows: only a limit that may be felt soon is a warning.
    if room < connections / 4 {
        tracing::warn!(connections = room, wanted = connections, "{advice}");
    } else if room < connections {
        tracing::info!(connections = room, wanted = connections, "{advice}");
    }
    room
}

/// Connections that fit when `files` may be open; where that is little, half of it is for connections.
fn room_in(files: u64) -> usize {
    usize::try_from(files.saturating_sub(limits::OTHER_FILES).max(files / 2)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_raised_as_far_as_it_goes() {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let fits = room_in(hard).min(5_000);
        assert_eq!(make_room(5_000), fits);
        assert!(getrlimit(Resource::Nofile).current.is_none_or(|soft| soft >= fits as u64));
        assert!(make_room(usize::MAX / 2) as u64 <= hard);
        assert_eq!([1_024, 20_000].map(room_in), [512, 20_000 - limits::OTHER_FILES as usize]);
    }
}
