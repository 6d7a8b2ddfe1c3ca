//! What clients of streams have begun to say and not finished, counted for the whole server.
//!
//! Such a message lies in memory until its end comes. Owns the budget and where a client's frames begin and end; leaves to
//! `inbound`, and the library that it asks, what they mean.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::OpCode;

use crate::access::{Limit, LimitHits};
use crate::limits;

/// The longest header of a client's frame, in bytes: two, a length of eight, and the mask.
const HEADER_BYTES_MAX: usize = 14;

/// The memory for unfinished messages of all clients of a server.
#[derive(Debug)]
pub(super) struct ClientMessages {
    most: u64,
    used: AtomicU64,
    hits: Arc<LimitHits>,
}

impl ClientMessages {
    /// Memory for so many bytes of messages; who goes without is counted in `hits`.
    pub(super) fn new(most: u64, hits: Arc<LimitHits>) -> Self {
        Self { most, used: AtomicU64::new(0), hits }
    }
}

impl Default for ClientMessages {
    fn default() -> Self {
        Self::new(limits::UNFINISHED_MESSAGES_BYTES_MAX, Arc::default())
    }
}

/// The message that one client has begun, and its share of the memory; given back when dropped.
#[derive(Debug)]
pub(super) struct Unfinished {
    of: Arc<ClientMessages>,
    charged: u64,
    frames: Frames,
}

impl Unfinished {
    pub(super) fn new(of: Arc<ClientMessages>) -> Self {
        Self { of, charged: 0, frames: Frames::default() }
    }

    /// Follows what the client sends.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.frames.take(bytes);
    }

    /// Charges what is unfinished now; says whether there is memory for it.
    pub(super) fn settle(&mut self) -> bool {
        let (held, wanted) = (self.charged, self.frames.message);
        if wanted > held {
            let more = |used: u64| Some(used + (wanted - held)).filter(|used| *used <= self.of.most);
            if self.of.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_err() {
                self.of.hits.count(Limit::ClientMessages);
                return false;
            }
        } else if wanted < held {
            self.of.used.fetch_sub(held - wanted, Ordering::AcqRel);
        }
        self.charged = wanted;
        true
    }

    /// Whether a buffer has grown for a frame, and nothing is left in it.
    pub(super) fn leaves_buffer(&self) -> bool {
        self.frames.largest > limits::CLIENT_FRAME_BYTES as u64 && self.frames.between_messages()
    }

    /// The buffer is gone.
    pub(super) fn buffer_left(&mut self) {
        self.frames.largest = 0;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.of.used.fetch_sub(self.charged, Ordering::AcqRel);
    }
}

/// Where a client's frames begin and end (RFC 6455 5.2).
#[derive(Debug, Default)]
struct Frames {
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    payload_left: u64,
    /// Whether the frame that is being sent ends a message.
    ends_message: bool,
    /// Whether a message has begun and its last frame has not.
    fragmented: bool,
    /// Bytes of the message that has begun, those of its frames that are announced and still to come included.
    message: u64,
    /// The largest frame since the buffer was last as small as it can be.
    largest: u64,
}

impl Frames {
    fn take(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload_left > 0 {
                let count = bytes.len().min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
                self.payload_left -= count as u64;
                bytes = bytes.get(count..).unwrap_or_default();
            } else {
                bytes = rest;
                let Some(next) = self.header.get_mut(self.header_bytes) else { return };
                *next = *first;
                self.header_bytes += 1;
                let known = self.header.get(..self.header_bytes).unwrap_or_default();
                match FrameHeader::parse(&mut Cursor::new(known)) {
                    Ok(Some((header, length))) => self.begin(&header, length),
                    Ok(None) => continue,
                    // No WebSocket any more: whoever reads the frames closes for it.
                    Err(_) => return,
                }
            }
            if self.payload_left == 0 && self.ends_message {
                (self.message, self.ends_message) = (0, false);
            }
        }
    }

    fn begin(&mut self, header: &FrameHeader, length: u64) {
        (self.header_bytes, self.payload_left) = (0, length);
        self.largest = self.largest.max(length);
        if let OpCode::Data(_) = header.opcode {
            self.message = self.message.saturating_add(length);
            self.fragmented = !header.is_final;
            self.ends_message = header.is_final;
        }
    }

    fn between_messages(&self) -> bool {
        self.header_bytes == 0 && self.payload_left == 0 && !self.fragmented
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client frame with a mask of zeros.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first, 0x80 | 126];
        frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        frame
    }

    fn unfinished_after(bytes: &[u8]) -> (u64, bool) {
        let mut whole = Frames::default();
        whole.take(bytes);
        let mut in_pieces = Frames::default();
        bytes.chunks(1).for_each(|piece| in_pieces.take(piece));
        let found = (whole.message, whole.between_messages());
        assert_eq!(found, (in_pieces.message, in_pieces.between_messages()));
        found
    }

    #[test]
    fn a_message_is_unfinished_from_its_first_header_to_its_last_byte() {
        let (text, ping) = (frame(0x81, &[b'a'; 300]), frame(0x89, b"ping"));
        assert_eq!(unfinished_after(&[]), (0, true));
        assert_eq!(unfinished_after(&text[..2]), (0, false));
        assert_eq!(unfinished_after(&text[..8]), (300, false));
        assert_eq!(unfinished_after(&text[..307]), (300, false));
        assert_eq!(unfinished_after(&text), (0, true));
        assert_eq!(unfinished_after(&[&text[..], &ping[..6]].concat()), (0, false));
        assert_eq!(unfinished_after(&[&ping[..], &text[..9]].concat()), (300, false));
        assert_eq!(unfinished_after(&frame(0x81, b"")), (0, true));
    }

    #[test]
    fn the_parts_of_a_message_count_together_and_pings_between_them_do_not() {
        let (first, ping, last) = (frame(0x01, &[b'a'; 300]), frame(0x89, b"ping"), frame(0x80, &[b'a'; 50]));
        assert_eq!(unfinished_after(&first), (300, false));
        assert_eq!(unfinished_after(&[&first[..], &ping].concat()), (300, false));
        assert_eq!(unfinished_after(&[&first[..], &ping, &last[..20]].concat()), (350, false));
        assert_eq!(unfinished_after(&[&first[..], &ping, &last].concat()), (0, true));
        assert_eq!(unfinished_after(&[&frame(0x01, b"")[..], &frame(0x80, b"")].concat()), (0, true));
    }

    #[test]
    fn clients_share_the_memory_and_get_it_back_when_others_finish_or_go() {
        let hits = Arc::<LimitHits>::default();
        let messages = Arc::new(ClientMessages::new(1_000, hits.clone()));
        let [mut one, mut two, mut three] = std::array::from_fn(|_| Unfinished::new(messages.clone()));
        let text = frame(0x81, &[b'a'; 400]);
        for client in [&mut one, &mut two, &mut three] {
            client.take(&text[..100]);
        }
        assert!(one.settle() && two.settle() && one.settle());
        assert!(!three.settle());
        assert_eq!((messages.used.load(Ordering::Relaxed), hits.of(Limit::ClientMessages)), (800, 1));
        one.take(&text[100..]);
        assert!(one.settle() && three.settle());
        drop((two, three));
        assert_eq!(messages.used.load(Ordering::Relaxed), 0);
        assert!(one.leaves_buffer());
        one.buffer_left();
        one.take(&frame(0x89, b"ping"));
        assert!(!one.leaves_buffer());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(pieces in proptest::collection::vec(proptest::collection::vec(0u8.., 0..40), 0..8)) {
            let mut client = Unfinished::new(Arc::default());
            for piece in pieces {
                client.take(&piece);
                client.settle();
            }
        }
    }
}
