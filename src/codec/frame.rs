//! Frames: the unit in which a trail lies on disk.
//!
//! Owns the byte layout of a frame and of its payload, and the checksum: payloads of more than a few members have a file of
//! their own. Which frames follow which is the trail's business. All numbers are little-endian.
//!
//! ```text
//! offset size
//!      0    4  length of the whole frame, header included, in bytes
//!      4    4  CRC-32C over the segment's file id (8 bytes), the length, and everything from offset 8 on
//!      8    1  kind
//!      9    1  flags
//!     10    2  partition
//!     12    4  record number within the transaction; in a commit frame the number of records
//!     16    8  commit number
//!     24    8  commit time, microseconds since 1970 UTC
//!     32    8  append time, likewise
//!     40    4  number of the table's schema; 0 where no table is concerned, 2³²−1 in a message
//!     44    –  payload
//! ```
//!
//! | kind | payload |
//! |---|---|
//! | 1–5 row operations | before image if flag 1, after image if flag 2 (see [`image`](crate::codec::image)), tokens as JSON text if flag 4; flag 16 (3): a row of an initial load, not a change |
//! | 6 DDL | `u16` length of the table's name, the name, the statement |
//! | 7 message (3) | key if flag 1, headers if flag 2, value: see [`message`] |
//! | 16 begin | `u16` length of the transaction id, the id, the source's coordinate after this transaction; flag 8: see [`FLAG_OWN_ID`] |
//! | 17 commit | none, or `u32` hash of the transaction's content (2) |
//! | 18 schema | a table's schema as JSON |
//! | 19 source | `u16` length of the source's identity, the identity, its coordinate |
//! | 20 mark | `u64` segment, `u64` offset, `u64` commit number: what is known to be durable |
//! | 21 seal | `u64` greatest commit time of the segment, `u64` flags (1: ends inside a transaction) |
//! | 22 gap | `u64` first commit number missing, `u64` the next one there; the same twice when it is not known how many |
//! | 22 gap in what is captured (2) | `u64` its own commit number, `u64` the next one, then texts, each with its `u16` length before it: the source's coordinates from and to, the tables |
//! | 23 source mark (2) | `u32` hash, `u16` length of the transaction id, the id, the source's coordinate; the commit time is the frame's |
//! | 24 schema change (2) | what changed since the table's schema before, as JSON |
//! | 25 load progress (3) | how far the initial load of a table has come: see [`load`] |
//! | 26 prepared (3) | which of the source's transactions are prepared and not committed: see [`prepared`] |
//!
//! What is marked with a number stands only in segments of that version or a later one: see
//! [`segment_head`](crate::codec::segment_head). Flags that a kind does not have are zero, and are not looked at.
//!
//! A gap's commit number is the last before the next one there, and its commit time is no earlier than any that is missing.
//! A gap in what is captured takes a commit number of its own, so that several in a row have different positions.
//!
//! A source mark says which transaction of the source was the last: among the repeated frames of a segment's head, and before a
//! source frame when that transaction is not in the trail, because it had nothing for it. Without an id it says that there
//! has been none since its coordinate. A commit with a hash says the same of its own transaction.

pub mod load;
pub mod message;
pub mod prepared;

use crate::codec::crc::WordEffect;
use crate::record::{Operation, SchemaId, Timestamp};

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 44;

/// Largest payload of a frame: a record's images and tokens.
pub const PAYLOAD_BYTES_MAX: usize = crate::limits::FRAME_BYTES_MAX - HEADER_BYTES;

/// Bytes of a mark frame: recovery looks for marks behind damage.
pub const MARK_FRAME_BYTES: usize = HEADER_BYTES + 24;

/// Bytes of a seal frame, the last of a closed segment.
pub const SEAL_FRAME_BYTES: usize = HEADER_BYTES + 16;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A row or a DDL statement.
    Record(Operation),
    /// A message.
    Message,
    /// Start of a transaction.
    Begin,
    /// End of a transaction; without it the transaction never was.
    Commit,
    /// A table's schema, before the first record that has it.
    Schema,
    /// Who the source is, and how far it has been taken.
    Source,
    /// What was durable when this flush group was written.
    Mark,
    /// End of a closed segment.
    Seal,
    /// Transactions are missing here: damage was repaired. Or rows may be: the source did not give them.
    Gap,
    /// The last transaction of the source with a hash, in a segment's head.
    SourceMark,
    /// A table's schema by what changed since the one before.
    SchemaChange,
    /// How far an initial load has come.
    LoadProgress,
    /// The source's transactions that are prepared.
    Prepared,
}

impl FrameKind {
    /// Whether it is a record: what a transaction consists of.
    #[inline]
    pub fn is_record(self) -> bool {
        matches!(self, Self::Record(_) | Self::Message)
    }

    /// Whether its header says when something that the trail holds, or misses, was committed.
    pub fn has_commit_time(self) -> bool {
        self.is_record() || matches!(self, Self::Begin | Self::Commit | Self::Gap)
    }

    fn code(self) -> u8 {
        match self {
            Self::Record(operation) => operation as u8,
            Self::Message => 7,
            Self::Begin => 16,
            Self::Commit => 17,
            Self::Schema => 18,
            Self::Source => 19,
            Self::Mark => 20,
            Self::Seal => 21,
            Self::Gap => 22,
            Self::SourceMark => 23,
            Self::SchemaChange => 24,
            Self::LoadProgress => 25,
            Self::Prepared => 26,
        }
    }

    #[inline]
    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            7 => Self::Message,
            16 => Self::Begin,
            17 => Self::Commit,
            18 => Self::Schema,
            19 => Self::Source,
            20 => Self::Mark,
            21 => Self::Seal,
            22 => Self::Gap,
            23 => Self::SourceMark,
            24 => Self::SchemaChange,
            25 => Self::LoadProgress,
            26 => Self::Prepared,
            _ => Self::Record(Operation::from_code(code)?),
        })
    }
}

/// The payload holds a before image.
pub const FLAG_BEFORE: u8 = 1;
/// The payload holds an after image.
pub const FLAG_AFTER: u8 = 2;
/// The payload holds tokens.
pub const FLAG_TOKENS: u8 = 4;
/// The transaction came without an id and was given one, by which nobody will ask for it.
pub const FLAG_OWN_ID: u8 = 8;
/// The row was there when the capture began, and is no change: an initial load took it.
pub const FLAG_LOADED: u8 = 16;
/// The frame repeats, in a segment's head, what an earlier segment said.
pub const FLAG_REPEATED: u8 = 0x80;

/// A frame's header without length and checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame is.
    pub kind: FrameKind,
    /// `FLAG_…` bits.
    pub flags: u8,
    /// Partition; 0 in a trail with one.
    pub partition: u16,
    /// Record number within the transaction.
    pub record: u32,
    /// Commit number of the transaction.
    pub commit: u64,
    /// The source's commit time.
    pub commit_ts: Timestamp,
    /// When the trail took it.
    pub append_ts: Timestamp,
    /// The table's schema.
    pub schema: SchemaId,
}

impl FrameHeader {
    /// A header of that kind with everything else zero.
    pub fn new(kind: FrameKind) -> Self {
        Self {
            kind,
            flags: 0,
            partition: 0,
            record: 0,
            commit: 0,
            commit_ts: Timestamp::default(),
            append_ts: Timestamp::default(),
            schema: SchemaId(0),
        }
    }
}

/// A whole, checked frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Its header.
    pub header: FrameHeader,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Length of the whole frame in bytes.
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// The bytes end before the frame does; it needs this many bytes in all.
    #[error("frame is cut short: {needed} bytes needed")]
    Short {
        /// Bytes the frame needs, as far as its header says.
        needed: usize,
    },
    /// The length is none a frame can have.
    #[error("frame length out of range")]
    Length,
    /// The checksum is not that of the bytes.
    #[error("frame checksum does not match")]
    Checksum,
    /// The kind is unknown, or the payload not what its kind has.
    #[error("frame of unknown kind or malformed payload")]
    Content,
}

/// Appends a frame without append time and checksum, which [`stamp`] sets when the frame's place is known.
/// `write_payload` appends the payload.
pub fn push(out: &mut Vec<u8>, header: &FrameHeader, write_payload: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = out.len();
    let mut bytes = [0; HEADER_BYTES];
    bytes[8] = header.kind.code();
    bytes[9] = header.flags;
    bytes[10..12].copy_from_slice(&header.partition.to_le_bytes());
    bytes[12..16].copy_from_slice(&header.record.to_le_bytes());
    bytes[16..24].copy_from_slice(&header.commit.to_le_bytes());
    bytes[24..32].copy_from_slice(&header.commit_ts.micros().to_le_bytes());
    bytes[32..40].copy_from_slice(&header.append_ts.micros().to_le_bytes());
    bytes[40..44].copy_from_slice(&header.schema.0.to_le_bytes());
    out.extend_from_slice(&bytes);
    write_payload(out);
    let length = out.len() - start;
    out[start..start + 4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    length
}

/// Sets append time and checksum of the frame at the start of `frame`, which is exactly one frame.
pub fn stamp(frame: &mut [u8], file_id: u64, append_ts: Timestamp) {
    frame[32..40].copy_from_slice(&append_ts.micros().to_le_bytes());
    let crc = ChecksumSeed::new(file_id).checksum(frame);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// What a frame's length does to its checksum.
static LENGTH_EFFECT: WordEffect = WordEffect::with_bytes_after(0);

/// What the checksums of a segment's frames all begin with.
#[derive(Debug, Clone, Copy)]
pub struct ChecksumSeed(u32);

impl ChecksumSeed {
    /// That of the segment with this file id.
    pub fn new(file_id: u64) -> Self {
        Self(crc32c::crc32c(&file_id.to_le_bytes()))
    }

    #[inline]
    fn checksum(self, frame: &[u8]) -> u32 {
        let state = LENGTH_EFFECT.of(!self.0 ^ u32_at(frame, 0));
        crc32c::crc32c_append(!state, &frame[8..])
    }

    /// Length of the frame at the start of `bytes`, its checksum and kind checked.
    #[inline]
    pub fn check(self, bytes: &[u8]) -> Result<usize, BadFrame> {
        let length = claimed_length(bytes)?;
        let frame = bytes.get(..length).ok_or(BadFrame::Short { needed: length })?;
        if self.checksum(frame) != u32_at(frame, 4) {
            return Err(BadFrame::Checksum);
        }
        FrameKind::from_code(frame[8]).ok_or(BadFrame::Content)?;
        Ok(length)
    }
}

/// Length that the frame at the start of `bytes` claims, if enough of it is there and the length is possible.
#[inline]
pub fn claimed_length(bytes: &[u8]) -> Result<usize, BadFrame> {
    let length = bytes.get(..4).ok_or(BadFrame::Short { needed: HEADER_BYTES })?;
    let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
    if (HEADER_BYTES..=crate::limits::FRAME_BYTES_MAX).contains(&length) { Ok(length) } else { Err(BadFrame::Length) }
}

/// The frame at the start of `bytes`, its checksum checked.
pub fn read(bytes: &[u8], file_id: u64) -> Result<Frame<'_>, BadFrame> {
    let length = ChecksumSeed::new(file_id).check(bytes)?;
    parse(&bytes[..length])
}

/// The frame at the start of `bytes`, whose checksum was checked before (or is not yet set).
#[inline]
pub fn read_unchecked(bytes: &[u8]) -> Result<Frame<'_>, BadFrame> {
    let length = claimed_length(bytes)?;
    parse(bytes.get(..length).ok_or(BadFrame::Short { needed: length })?)
}

/// The frame at the start of `bytes`, like [`read_unchecked`], if its kind, flags, partition and schema are those of `known`,
/// which `known_bytes` begin with. Most rows are like the one before them, and this tells it without taking the header apart.
#[inline]
pub fn read_alike<'a>(bytes: &'a [u8], known: &FrameHeader, known_bytes: &[u8]) -> Option<Frame<'a>> {
    let length = claimed_length(bytes).ok()?;
    let frame = bytes.get(..length)?;
    if u32_at(frame, 8) != u32_at(known_bytes, 8) || u32_at(frame, 40) != u32_at(known_bytes, 40) {
        return None;
    }
    let header = FrameHeader {
        record: u32_at(frame, 12),
        commit: u64_at(frame, 16),
        commit_ts: Timestamp::from_micros(u64_at(frame, 24).cast_signed()),
        append_ts: Timestamp::from_micros(u64_at(frame, 32).cast_signed()),
        ..*known
    };
    Some(Frame { header, payload: &frame[HEADER_BYTES..] })
}

/// What the header at the start of `bytes` says, and the length that it claims; nothing is checked but their ranges. For who
/// looks for frames behind damage.
pub fn peek(bytes: &[u8]) -> Option<(FrameHeader, usize)> {
    let length = claimed_length(bytes).ok()?;
    let header = parse(bytes.get(..HEADER_BYTES)?).ok()?.header;
    Some((header, length))
}

#[inline(always)]
fn parse(frame: &[u8]) -> Result<Frame<'_>, BadFrame> {
    let header = FrameHeader {
        kind: FrameKind::from_code(frame[8]).ok_or(BadFrame::Content)?,
        flags: frame[9],
        partition: u16::from_le_bytes([frame[10], frame[11]]),
        record: u32_at(frame, 12),
        commit: u64_at(frame, 16),
        commit_ts: Timestamp::from_micros(u64_at(frame, 24).cast_signed()),
        append_ts: Timestamp::from_micros(u64_at(frame, 32).cast_signed()),
        schema: SchemaId(u32_at(frame, 40)),
    };
    Ok(Frame { header, payload: &frame[HEADER_BYTES..] })
}

/// The little-endian number at `at`; the caller has checked the length.
#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

/// The little-endian number at `at`; the caller has checked the length.
#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// Appends two texts, the first with its length before it: the payload of begin, source and DDL frames.
pub fn push_text_pair(out: &mut Vec<u8>, first: &str, second: &str) {
    out.extend_from_slice(&u16::try_from(first.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(&first.as_bytes()[..first.len().min(usize::from(u16::MAX))]);
    out.extend_from_slice(second.as_bytes());
}

/// Reads what [`push_text_pair`] wrote.
pub fn read_text_pair(payload: &[u8]) -> Result<(&str, &str), BadFrame> {
    let (first, second) = read_text(payload)?;
    std::str::from_utf8(second).map(|second| (first, second)).map_err(|_| BadFrame::Content)
}

/// Appends a text with its length before it.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    push_text_pair(out, text, "");
}

/// The text with its length before it at the start of `payload`, and what follows.
pub fn read_text(payload: &[u8]) -> Result<(&str, &[u8]), BadFrame> {
    let (length, rest) = payload.split_at_checked(2).ok_or(BadFrame::Content)?;
    let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
    let (text, rest) = rest.split_at_checked(length).ok_or(BadFrame::Content)?;
    std::str::from_utf8(text).map(|text| (text, rest)).map_err(|_| BadFrame::Content)
}

/// The hash in the payload of a commit frame, if there is one.
pub fn read_commit_hash(payload: &[u8]) -> Option<u32> {
    (payload.len() == 4).then(|| u32_at(payload, 0))
}

/// Appends numbers: the payload of mark and seal frames.
pub fn push_numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Reads `N` numbers that are the whole payload.
pub fn read_numbers<const N: usize>(payload: &[u8]) -> Result<[u64; N], BadFrame> {
    if payload.len() != N * 8 {
        return Err(BadFrame::Content);
    }
    Ok(std::array::from_fn(|at| u64_at(payload, at * 8)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_header() -> impl Strategy<Value = FrameHeader> {
        let kind = prop_oneof![1_u8..=7, 16_u8..=26].prop_map(|code| FrameKind::from_code(code).unwrap());
        (kind, any::<u8>(), any::<u16>(), any::<u32>(), any::<u64>(), any::<i64>(), any::<i64>(), any::<u32>())
            .prop_map(|(kind, flags, partition, record, commit, commit_ts, append_ts, schema)| FrameHeader {
                kind,
                flags,
                partition,
                record,
                commit,
                commit_ts: Timestamp::from_micros(commit_ts),
                append_ts: Timestamp::from_micros(append_ts),
                schema: SchemaId(schema),
            })
    }

    fn frame_bytes(header: &FrameHeader, payload: &[u8], file_id: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        push(&mut bytes, header, |out| out.extend_from_slice(payload));
        stamp(&mut bytes, file_id, header.append_ts);
        bytes
    }

    proptest! {
        #[test]
        fn a_frame_reads_back_as_written(header in any_header(), payload in proptest::collection::vec(any::<u8>(), 0..300), file_id: u64) {
            let bytes = frame_bytes(&header, &payload, file_id);
            let frame = read(&bytes, file_id).unwrap();
            prop_assert_eq!(frame.header, header);
            prop_assert_eq!(frame.payload, &payload[..]);
        }

        #[test]
        fn the_checksum_is_the_crc_32c_of_file_id_length_and_the_rest(header in any_header(), payload in proptest::collection::vec(any::<u8>(), 0..300), file_id: u64) {
            let bytes = frame_bytes(&header, &payload, file_id);
            let whole = [&file_id.to_le_bytes()[..], &bytes[..4], &bytes[8..]].concat();
            prop_assert_eq!(u32_at(&bytes, 4), crc32c::crc32c(&whole));
        }

        #[test]
        fn any_flipped_bit_and_any_other_file_is_noticed(header in any_header(), payload in proptest::collection::vec(any::<u8>(), 0..60), file_id: u64, at: prop::sample::Index, bit in 0..8_u8) {
            let mut bytes = frame_bytes(&header, &payload, file_id);
            prop_assert!(read(&bytes, file_id ^ 1).is_err());
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(read(&bytes, file_id).is_err());
        }

        #[test]
        fn a_frame_like_the_one_before_reads_as_any_other(
            header in any_header(), kept in any::<[bool; 4]>(), other in any_header(), payload in proptest::collection::vec(any::<u8>(), 0..60)
        ) {
            let [kind, flags, partition, schema] = kept;
            let next = FrameHeader {
                kind: if kind { header.kind } else { other.kind },
                flags: if flags { header.flags } else { other.flags },
                partition: if partition { header.partition } else { other.partition },
                schema: if schema { header.schema } else { other.schema },
                ..other
            };
            let (before, bytes) = (frame_bytes(&header, &[], 1), frame_bytes(&next, &payload, 1));
            let read = read_unchecked(&bytes).unwrap();
            let is_alike = (next.kind, next.flags, next.partition, next.schema)
                == (header.kind, header.flags, header.partition, header.schema);
            let alike = read_alike(&bytes, &header, &before);
            prop_assert_eq!(alike.map(|frame| (frame.header, frame.payload)), is_alike.then_some((read.header, read.payload)));
            for short in 0..bytes.len() {
                prop_assert!(read_alike(&bytes[..short], &header, &before).is_none());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes, 0);
            let _ = read_unchecked(&bytes);
            let _ = peek(&bytes);
            let _ = read_text_pair(&bytes);
            let _ = read_commit_hash(&bytes);
        }
    }
}
