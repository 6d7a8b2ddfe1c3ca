//! Why a pull read is refused.

use crate::access::NotGranted;
use crate::record::Offset;
use crate::service::trails::{TrailError, Unserved};
use crate::trail::{MalformedRecord, ReadError};

/// A pull read is refused, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// There is no such trail, or it is on its way out.
    #[error(transparent)]
    Trail(#[from] TrailError),
    /// The trail is not served.
    #[error(transparent)]
    Unserved(#[from] Unserved),
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] NotGranted),
    /// There is no such partition.
    #[error("partition {partition} does not exist: the last one of the trail is {last}")]
    NoPartition {
        /// The partition asked for.
        partition: u16,
        /// The last one there is.
        last: usize,
    },
    /// The offset is of another life of the trail, or of another trail.
    #[error(
        "the offset belongs to an earlier life of the trail, before it was repaired, restored or made anew, or to another trail"
    )]
    OtherEpoch,
    /// Retention has removed what comes after the offset.
    #[error("{}; go on at the earliest record to accept that", lost(*after, *starts_at))]
    Purged {
        /// Where the read was to begin.
        after: Offset,
        /// Commit number of the first transaction kept.
        starts_at: u64,
    },
    /// The trail has not come so far.
    #[error("the offset is beyond the end of the trail, which is commit number {ends_at}")]
    BeyondEnd {
        /// Commit number of the last transaction.
        ends_at: u64,
    },
    /// Something is missing here: transactions that damage took, or rows that the source did not give.
    #[error("{gap}; go on behind commit {}, record {} to accept that", after.commit, after.record)]
    Gap {
        /// What is missing, in words.
        gap: String,
        /// The gap's own offset: reading on behind it passes over the gap.
        after: Offset,
    },
    /// The trail cannot be read on.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record is not what was written.
    #[error(transparent)]
    Malformed(#[from] MalformedRecord),
    /// The memory for messages is used up by clients that are slow to take theirs.
    #[error("the server's memory for messages is used up")]
    NoMemory,
    /// As many reads wait as may.
    #[error("{0} reads wait already, which is the limit")]
    TooManyWait(usize),
    /// The credential's time ended while the read waited.
    #[error("the credential has expired")]
    Expired,
    /// The caller lost his rights while the read waited.
    #[error("the user is gone, or may no longer read the trail")]
    Withdrawn,
}

fn lost(after: Offset, starts_at: u64) -> String {
    let first = after.commit.saturating_add(1);
    let rest = if after.is_behind() { "" } else { "the rest of transaction " };
    match starts_at.saturating_sub(first) {
        0 => format!("the rest of transaction {}, if it had more records, is no longer kept", after.commit),
        1 if rest.is_empty() => {
            format!("transaction {first} is no longer kept; the trail starts at commit number {starts_at}")
        }
        whole => {
            let rest = if rest.is_empty() { String::new() } else { format!("{rest}{} and ", after.commit) };
            format!(
                "{rest}transactions {first} to {}, {whole} in number, are no longer kept; the trail starts at commit number \
                 {starts_at}",
                starts_at - 1
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_overtaken_hears_how_much_is_lost() {
        let told = |after, starts_at| RecordsError::Purged { after, starts_at }.to_string();
        let inside = Offset { commit: 4, record: 7 };
        assert_eq!(
            told(Offset::behind(4), 6),
            "transaction 5 is no longer kept; the trail starts at commit number 6; go on at the earliest record to accept that"
        );
        assert_eq!(
            told(Offset::behind(4), 9),
            "transactions 5 to 8, 4 in number, are no longer kept; the trail starts at commit number 9; go on at the earliest \
             record to accept that"
        );
        assert_eq!(
            told(inside, 5),
            "the rest of transaction 4, if it had more records, is no longer kept; go on at the earliest record to accept that"
        );
        assert!(told(inside, 9).starts_with("the rest of transaction 4 and transactions 5 to 8, 4 in number,"));
    }
}
