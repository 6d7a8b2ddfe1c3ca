//! Reads the frames of a segment one after the other: for recovery, for rebuilding an index, for verification.

use std::io;

use crate::codec::frame::{self, BadFrame, Frame, FrameHeader, HEADER_BYTES};

/// Bytes of a segment that can be read at any place.
pub(super) trait ReadBytes {
    /// Reads until `buffer` is full or the bytes end; says how much it read.
    fn read_full(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

const STRIDE_BYTES: usize = 1 << 20;

/// Where a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScanEnd {
    /// The byte after the last good frame.
    pub(super) offset: u64,
    /// What is wrong there; `None` when the scan reached its end between two frames.
    pub(super) bad: Option<BadFrame>,
}

/// Calls `each` with every good frame from byte `from` to byte `until`, in order, up to the first bad one.
pub(super) fn scan(
    bytes: &(impl ReadBytes + ?Sized),
    file_id: u64,
    from: u64,
    until: u64,
    mut each: impl FnMut(u64, &Frame<'_>),
) -> io::Result<ScanEnd> {
    let mut at = from;
    let mut buffer = Vec::new();
    let mut want = STRIDE_BYTES;
    while at < until {
        let left = usize::try_from(until - at).unwrap_or(usize::MAX);
        buffer.resize(want.min(left), 0);
        let filled = bytes.read_full(&mut buffer, at)?;
        let (used, bad) = frames_in(&buffer[..filled], file_id, at, &mut each);
        at += used as u64;
        match bad {
            // The file is shorter than it should be.
            None if filled == 0 => {
                return Ok(ScanEnd { offset: at, bad: Some(BadFrame::Short { needed: HEADER_BYTES }) });
            }
            None => want = STRIDE_BYTES,
            Some(BadFrame::Short { needed })
                if filled == buffer.len() && needed > filled - used && at + (needed as u64) <= until =>
            {
                want = needed.max(STRIDE_BYTES);
            }
            Some(bad) => return Ok(ScanEnd { offset: at, bad: Some(bad) }),
        }
    }
    Ok(ScanEnd { offset: at, bad: None })
}

fn frames_in(
    bytes: &[u8],
    file_id: u64,
    base: u64,
    each: &mut impl FnMut(u64, &Frame<'_>),
) -> (usize, Option<BadFrame>) {
    let mut at = 0;
    while at < bytes.len() {
        match frame::read(&bytes[at..], file_id) {
            Ok(frame) => {
                each(base + at as u64, &frame);
                at += frame.bytes();
            }
            Err(bad) => return (at, Some(bad)),
        }
    }
    (at, None)
}

/// Looks behind damage: the first byte from `from` on where a whole frame starts whose header is `plausible`. The
/// checksum's salt is the file's own, so no row value can pass for a frame.
pub(super) fn next_frame(
    bytes: &(impl ReadBytes + ?Sized),
    file_id: u64,
    from: u64,
    until: u64,
    plausible: impl Fn(&FrameHeader) -> bool,
) -> io::Result<Option<u64>> {
    let mut buffer = vec![0; STRIDE_BYTES + HEADER_BYTES];
    let mut base = from;
    while base < until {
        let filled = bytes.read_full(&mut buffer, base)?;
        for at in 0..filled.min(STRIDE_BYTES) {
            let Some((header, length)) = frame::peek(&buffer[at..filled]) else { continue };
            let start = base + at as u64;
            if !plausible(&header) || start + length as u64 > until {
                continue;
            }
            let mut whole = vec![0; length];
            let read = bytes.read_full(&mut whole, start)?;
            if frame::read(&whole[..read], file_id).is_ok() {
                return Ok(Some(start));
            }
        }
        base += STRIDE_BYTES as u64;
    }
    Ok(None)
}

/// Looks behind damage: calls `each` with every frame of exactly `length` bytes that checks, wherever it starts. The
/// checksum's salt is the file's own, so no row value can pass for a frame.
pub(super) fn find_frames(
    bytes: &(impl ReadBytes + ?Sized),
    file_id: u64,
    from: u64,
    length: usize,
    mut each: impl FnMut(u64, &Frame<'_>),
) -> io::Result<()> {
    let claim = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut buffer = vec![0; STRIDE_BYTES + length];
    let mut base = from;
    loop {
        let filled = bytes.read_full(&mut buffer, base)?;
        if filled < HEADER_BYTES {
            return Ok(());
        }
        for at in 0..filled.min(STRIDE_BYTES) {
            if buffer[at..filled].starts_with(&claim)
                && let Ok(frame) = frame::read(&buffer[at..filled], file_id)
            {
                each(base + at as u64, &frame);
            }
        }
        base += STRIDE_BYTES as u64;
    }
}
