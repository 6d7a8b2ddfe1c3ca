//! Who asks a registry for something, and whether he may: the one place where that is checked, the same for every face.
//!
//! Roles are judged by the faces, whose contracts say which of their calls need which; what is narrowed to some trails and
//! streams is judged here, before anything is looked up.

use crate::access::Identity;
use crate::record::{ResourceName, TrailName};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub enum Principal<'a> {
    /// The server itself: what its configuration file names, what it goes on with after a start, what it is tested with.
    House,
    /// A caller who has shown who he is.
    Caller(&'a Identity),
}

/// What he wants to do with a trail or a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// See it and its records.
    Read,
    /// Append records.
    Write,
    /// Make, change or delete it.
    Manage,
}

/// He may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not granted to the caller")]
pub struct Denied;

impl Principal<'_> {
    /// Refuses what he may not do with a trail of that name, there or not.
    pub fn check_trail(self, verb: Verb, name: &TrailName) -> Result<(), Denied> {
        if self.may_with_trail(verb, name) { Ok(()) } else { Err(Denied) }
    }

    /// Refuses what he may not do with a stream of that name, there or not.
    pub fn check_stream(self, verb: Verb, name: &ResourceName) -> Result<(), Denied> {
        if self.may_with_stream(verb, name) { Ok(()) } else { Err(Denied) }
    }

    /// Whether he may; for lists, which leave out what he may not read.
    pub fn may_with_trail(self, _verb: Verb, _name: &TrailName) -> bool {
        match self {
            Self::House | Self::Caller(_) => true,
        }
    }

    /// The same of a stream.
    pub fn may_with_stream(self, _verb: Verb, _name: &ResourceName) -> bool {
        match self {
            Self::House | Self::Caller(_) => true,
        }
    }
}
