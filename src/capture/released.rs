//! What became of the things that an extract had at its source, when it was deleted with them.

/// What was taken away at a source, and what was left there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// What is gone, such as `replication slot trailcast_e1`.
    pub dropped: Vec<String>,
    /// What is left, why, and how somebody takes it away.
    pub left: Vec<String>,
}
