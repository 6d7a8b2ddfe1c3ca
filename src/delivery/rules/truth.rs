//! True, false, and unknown: a condition on a column that an image does not hold.

/// Three-valued truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    False,
    Unknown,
    True,
}

impl Truth {
    /// The truest of several; false of none.
    pub(super) fn any(truths: impl Iterator<Item = Self>) -> Self {
        truths.max().unwrap_or(Self::False)
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}
