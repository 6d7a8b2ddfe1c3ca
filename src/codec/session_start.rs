//! What a stream's server says of a session in headers of our own: in the answer to its handshake, and in that to a poll.
//!
//! Clients that do not know them pass over them.

use std::time::Duration;

/// The header with the `begin` from which the client goes on should it lose the connection before it has a position.
pub const BEGIN_HEADER: &str = "trailcast-begin";
/// The header with the longest silence of a healthy session, in whole seconds: after it the server sends a ping.
pub const PING_HEADER: &str = "trailcast-ping-seconds";

/// The header with the `begin` of the next poll.
pub const NEXT_HEADER: &str = "trailcast-next";
/// The header that says whether a poll gave all that there was: `true` or `false`.
pub const CAUGHT_UP_HEADER: &str = "trailcast-caught-up";

/// Whole seconds of a server's ping interval; one at least.
pub fn ping_seconds(ping: Duration) -> u64 {
    ping.as_secs().max(1)
}

/// Reads what [`PING_HEADER`] says, up to `most` seconds; none when it is no such number.
pub fn read_ping_seconds(text: &str, most: u64) -> Option<u64> {
    text.trim().parse().ok().filter(|seconds| (1..=most).contains(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_reads_back_and_nonsense_is_none() {
        for (ping, seconds) in [(20_000, 20), (3_600_000, 3_600), (200, 1)] {
            let text = ping_seconds(Duration::from_millis(ping)).to_string();
            assert_eq!(read_ping_seconds(&text, 3_600), Some(seconds));
        }
        for bad in ["", "0", "-1", "20.5", "soon", "3601", "99999999999999999999"] {
            assert_eq!(read_ping_seconds(bad, 3_600), None, "{bad}");
        }
    }
}
