//! What a trail asks of whatever stores its messages.

use std::fmt::Debug;
use std::io;
use std::sync::mpsc::Receiver;

use crate::trail::Location;

/// A message of a trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// The byte of the trail where its body lies, or that it is about.
    pub at: Location,
    /// Bytes of the trail.
    pub body: Vec<u8>,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first bytes of a segment.
    Head,
    /// The next bytes of a segment.
    Data,
    /// The trail goes on at that byte: nothing behind it counts.
    Void,
    /// Nothing, but a number that is taken.
    Fence,
}

/// The answer to a publish: the number of its last message, or why it was refused. None may ever come: whether the messages
/// are stored, or will be, is then not known.
pub type Answer = Receiver<io::Result<u64>>;

/// A log of messages, numbered from 1 without gaps.
pub trait MessageLog: Send + Sync + Debug {
    /// Asks that these messages be stored, all or none, if the last one stored then has the number `last`. Does not wait: the
    /// answer comes later, and not in the order of the calls.
    fn publish(&self, messages: Vec<Message>, last: u64) -> Answer;
    /// Number of the first message that is kept; one more than the last when there is none.
    fn first(&self) -> io::Result<u64>;
    /// Number of the last message stored.
    fn last(&self) -> io::Result<u64>;
    /// A message; not found when it has been purged.
    fn get(&self, number: u64) -> io::Result<Message>;
    /// Removes every message before that number.
    fn purge_below(&self, number: u64) -> io::Result<()>;
    /// Largest body that is taken, in bytes.
    fn body_bytes_max(&self) -> usize;
    /// Notes what the trail says of itself, once.
    fn describe(&self, text: &[u8]) -> io::Result<()>;
    /// What was noted.
    fn description(&self) -> io::Result<Vec<u8>>;
}
