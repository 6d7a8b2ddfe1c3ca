//! Who asks a registry for something, and whether he may: the one place where that is asked, the same for every face.
//!
//! Roles are judged by the faces, whose contracts say which of their calls need which; what grants allow is asked here, by
//! name and before anything is looked up, so that a refusal is the same whether the thing is there or not. Where only looking
//! tells (the trail of a stream, or of an extract), what the caller may not know of is answered as what is not there.

use crate::access::{Identity, Narrowing, NotGranted};
pub use crate::catalog::Verb;
use crate::record::{ResourceName, TrailName};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub enum Principal<'a> {
    /// The server itself: what its configuration file names, what it goes on with after a start, what it is tested with.
    House,
    /// A caller who has shown who he is.
    Caller(&'a Identity),
}

impl<'a> Principal<'a> {
    fn narrowing(self) -> Option<&'a Narrowing> {
        match self {
            Self::House => None,
            Self::Caller(identity) => Some(&identity.narrowing),
        }
    }

    fn check(self, check: impl Fn(&Narrowing) -> Result<(), NotGranted>) -> Result<(), NotGranted> {
        self.narrowing().map_or(Ok(()), check)
    }

    fn may(self, allows: impl Fn(&Narrowing) -> bool) -> bool {
        self.narrowing().is_none_or(allows)
    }

    /// Refuses what he may not do with a trail of that name, there or not.
    pub fn check_trail(self, verb: Verb, name: &TrailName) -> Result<(), NotGranted> {
        self.check(|narrowing| narrowing.check_trail(verb, name.as_str()))
    }

    /// Refuses who may not see how a trail of that name is doing, there or not: whoever manages it needs that, too.
    pub fn check_seeing(self, name: &TrailName) -> Result<(), NotGranted> {
        if self.may_see(name) { Ok(()) } else { self.check_trail(Verb::Read, name) }
    }

    /// Refuses what he may not do with a stream of that name, there or not. Its trail is asked for by
    /// [`Self::may_with_stream`].
    pub fn check_stream(self, verb: Verb, name: &ResourceName) -> Result<(), NotGranted> {
        self.check(|narrowing| narrowing.check_stream(verb, name.as_str()))
    }

    /// Refuses a stream over a trail of that name, there or not, which he may not read.
    pub fn check_source(self, trail: &str) -> Result<(), NotGranted> {
        self.check(|narrowing| narrowing.check_trail(Verb::Read, trail))
    }

    /// Refuses whoever is narrowed to some trails and streams: it is about the whole server.
    pub fn check_server(self) -> Result<(), NotGranted> {
        self.check(Narrowing::check_server)
    }

    /// Whether he may; for lists, which leave out what he may not read.
    pub fn may_with_trail(self, verb: Verb, name: &TrailName) -> bool {
        self.may(|narrowing| narrowing.allows_trail(verb, name.as_str()))
    }

    /// Whether he may see how a trail is doing.
    pub fn may_see(self, name: &TrailName) -> bool {
        self.may_with_trail(Verb::Read, name) || self.may_with_trail(Verb::Manage, name)
    }

    /// The same of a stream over that trail, which must be his to read.
    pub fn may_with_stream(self, verb: Verb, name: &ResourceName, trail: &str) -> bool {
        self.may(|narrowing| narrowing.allows_stream(verb, name.as_str(), trail))
    }
}
