//! Coordinates of the toy's log.

use std::fmt;

use crate::capture::coordinate::Coordinate;
use crate::record::SourcePosition;

/// A place in the log: so many events lie before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(in crate::capture) struct EventNumber(pub(in crate::capture) u64);

impl fmt::Display for EventNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Coordinate for EventNumber {
    const NAME: &'static str = "number of an event";

    fn write_position(&self, position: &mut SourcePosition) {
        position.0 = self.to_string();
    }

    fn of_position(position: &SourcePosition) -> Option<Self> {
        position.0.parse().ok().map(Self)
    }

    fn commit_place(&self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}
