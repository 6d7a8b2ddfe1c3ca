//! Coordinates: places in a source's log, as its product counts them.
//!
//! Owns what capture asks of them, whatever the product; leaves their form to the product.
//!
//! One meaning holds throughout: a trail that stands at a coordinate holds **every transaction whose own coordinate is not
//! beyond it**. So the coordinate of a transaction is that of its end, and of an idle time the end of what the source has sent.
//! The order is the one in which a server sends its commits: total, also where the product has other names for them besides,
//! such as sets of GTIDs, which then stand in the position's text beside the place.

use std::fmt;

use crate::record::SourcePosition;

/// A place in a source's log. The default lies before everything.
pub(super) trait Coordinate: Clone + Ord + Default + fmt::Display + fmt::Debug + Send + Sync + 'static {
    /// What it is called, for people: "LSN".
    const NAME: &'static str;

    /// As the trail holds it, in place of what was there: once a transaction.
    fn write_position(&self, position: &mut SourcePosition);

    /// From what the trail holds.
    fn of_position(position: &SourcePosition) -> Option<Self>;

    /// Of a transaction's coordinate: where its commit is. A stream that begins there brings the transaction again.
    fn commit_place(&self) -> Self;

    /// Whether the id that a trail kept of a transaction is that of the one that came.
    fn is_same_transaction(kept: &str, came: &str) -> bool {
        kept == came
    }

    /// As the trail holds it.
    fn to_position(&self) -> SourcePosition {
        let mut position = SourcePosition::default();
        self.write_position(&mut position);
        position
    }
}
