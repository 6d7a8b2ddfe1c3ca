//! How often each limit that protects the server was hit.
//!
//! Whoever enforces a limit counts here; the metrics read it.

use std::sync::atomic::{AtomicU64, Ordering};

/// A limit whose hits are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Connections in all; the connection was refused.
    Connections,
    /// Connections of one address; the connection was refused.
    ConnectionsPerAddress,
    /// Sessions in all; the session was refused.
    Sessions,
    /// Sessions of one user; the session was refused.
    SessionsPerUser,
    /// Sessions of one stream; the session was refused.
    SessionsPerStream,
    /// Memory for messages; a session was refused.
    DeliveryMemory,
    /// Bytes of unread answers in all; the request was refused.
    AnswerMemory,
    /// Bytes of unread answers of one address; the request was refused.
    AnswerMemoryPerAddress,
    /// Time for a TLS handshake; the connection was closed.
    HandshakeTime,
    /// Time for a request's header, or idle time between two requests; the connection was closed.
    HeaderTime,
    /// Time for a request's body; the request was given up.
    BodyTime,
    /// Time for an answer to be taken; the connection was closed.
    AnswerTime,
    /// AsyncAPI documents waiting to be built; the request was refused.
    Documents,
    /// Rules waiting to be compiled; the request was refused.
    Rules,
    /// A stream's client took too little for too long (4011).
    SlowClient,
    /// A stream's client answered no ping (4004).
    SilentClient,
    /// Memory for what clients of streams have begun to say; the session was closed (1008).
    ClientMessages,
    /// Consumer groups of a stream or of the server; the member was refused.
    Groups,
    /// Members of a consumer group; the member was refused.
    GroupMembers,
    /// Time to acknowledge before partitions of a consumer group change hands; the session was closed (4016).
    GroupHandOver,
    /// Reads that wait for records; the read was refused.
    WaitingReads,
}

impl Limit {
    /// Every limit, in the order of its declaration.
    pub const ALL: [Self; 21] = [
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::Sessions,
        Self::SessionsPerUser,
        Self::SessionsPerStream,
        Self::DeliveryMemory,
        Self::AnswerMemory,
        Self::AnswerMemoryPerAddress,
        Self::HandshakeTime,
        Self::HeaderTime,
        Self::BodyTime,
        Self::AnswerTime,
        Self::Documents,
        Self::Rules,
        Self::SlowClient,
        Self::SilentClient,
        Self::ClientMessages,
        Self::Groups,
        Self::GroupMembers,
        Self::GroupHandOver,
        Self::WaitingReads,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::Sessions => "sessions",
            Self::SessionsPerUser => "sessions_per_user",
            Self::SessionsPerStream => "sessions_per_stream",
            Self::DeliveryMemory => "delivery_memory",
            Self::AnswerMemory => "answer_memory",
            Self::AnswerMemoryPerAddress => "answer_memory_per_address",
            Self::HandshakeTime => "handshake_time",
            Self::HeaderTime => "header_time",
            Self::BodyTime => "body_time",
            Self::AnswerTime => "answer_time",
            Self::Documents => "documents",
            Self::Rules => "rules",
            Self::SlowClient => "slow_client",
            Self::SilentClient => "silent_client",
            Self::ClientMessages => "client_messages",
            Self::Groups => "groups",
            Self::GroupMembers => "group_members",
            Self::GroupHandOver => "group_hand_over",
            Self::WaitingReads => "waiting_reads",
        }
    }
}

/// The counts since the server started, and how much is taken of the room for unread answers.
#[derive(Debug, Default)]
pub struct LimitHits {
    counts: [AtomicU64; Limit::ALL.len()],
    unread_answer_bytes: AtomicU64,
}

impl LimitHits {
    /// Counts one hit.
    pub fn count(&self, limit: Limit) {
        self.counts[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The hits of one limit.
    pub fn of(&self, limit: Limit) -> u64 {
        self.counts[limit as usize].load(Ordering::Relaxed)
    }

    /// Says how many bytes of answers are unread now.
    pub fn set_unread_answer_bytes(&self, bytes: usize) {
        self.unread_answer_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes of answers that their clients have not read yet.
    pub fn unread_answer_bytes(&self) -> u64 {
        self.unread_answer_bytes.load(Ordering::Relaxed)
    }

    /// The hits of every limit.
    pub fn all(&self) -> impl Iterator<Item = (Limit, u64)> + '_ {
        Limit::ALL.into_iter().map(|limit| (limit, self.of(limit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_counted_under_a_name_of_its_own() {
        let hits = LimitHits::default();
        for (number, limit) in Limit::ALL.into_iter().enumerate() {
            (0..=number).for_each(|_| hits.count(limit));
        }
        let counts: Vec<_> = hits.all().map(|(_, count)| count).collect();
        assert_eq!(counts, (1..=Limit::ALL.len() as u64).collect::<Vec<_>>());
        let names: std::collections::HashSet<_> = Limit::ALL.map(Limit::name).into();
        assert_eq!(names.len(), Limit::ALL.len());
    }
}
