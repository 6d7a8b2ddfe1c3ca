//! A block that is not one piece of its segment: where its pieces lie there, and back.

/// A piece of a block: frames that lie in the segment one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its first byte in the block.
    pub(super) at: usize,
    /// The same in the segment.
    pub(super) offset: u64,
}

/// The byte of the segment where that byte of a block of pieces lies.
pub(super) fn piece_offset(pieces: &[Piece], at: usize) -> u64 {
    let behind = pieces.partition_point(|piece| piece.at <= at);
    let piece = behind.checked_sub(1).map_or(Piece { at: 0, offset: 0 }, |last| pieces[last]);
    piece.offset + (at - piece.at) as u64
}

/// The first byte of a block of pieces that lies at or behind that byte of the segment; it may be behind the block.
pub(super) fn piece_byte(pieces: &[Piece], offset: u64) -> usize {
    let behind = pieces.partition_point(|piece| piece.offset <= offset);
    let Some(piece) = behind.checked_sub(1).map(|last| pieces[last]) else { return 0 };
    let within = usize::try_from(offset - piece.offset).unwrap_or(usize::MAX);
    let next = pieces.get(behind).map_or(usize::MAX, |next| next.at);
    piece.at.saturating_add(within).min(next)
}
