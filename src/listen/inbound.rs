//! Reads what the client sends: frames checked by the WebSocket library, replies collected for the outbox.
//!
//! Sans-IO: bytes in, verdict and reply bytes out. Data that the client sends is checked, and thrown
//! away unless there is an inbox for it.

use std::io::{self, Read, Write};
use std::sync::Arc;

use tungstenite::error::Error;
use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};

use super::client_messages::{ClientMessages, Unfinished};
use super::feed::{ClientMessage, Inbox};
use crate::codec::close_code::CloseCode;
use crate::limits;

/// What the bytes amounted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing that ends the connection.
    Open,
    /// The client closed, or answered our close. The reply, if one is due, is among the replies.
    Closed {
        /// The code that its close frame gave; [`CloseCode::NO_CODE`] if it gave none (RFC 6455, section 7.1.5).
        code: CloseCode,
    },
    /// The client broke the protocol; close with this code.
    Broken {
        /// Not the protocol, not UTF-8, or too big.
        code: CloseCode,
    },
    /// Unfinished messages of all clients together take too much memory, and this one's does not fit beside the others.
    NoMemory,
}

/// Reads one client's frames.
pub(super) struct Inbound {
    context: WebSocketContext,
    message_bytes_max: usize,
    unfinished: Unfinished,
    over: bool,
    /// Of the client's close frame.
    close_code: CloseCode,
    we_closed: bool,
    deliver: Option<Box<dyn FnMut(ClientMessage) + Send>>,
}

impl Inbound {
    pub(super) fn new(inbox: Option<Inbox>, messages: Arc<ClientMessages>) -> Self {
        let message_bytes_max =
            inbox.as_ref().map_or(limits::CLIENT_MESSAGE_BYTES_MAX, |inbox| inbox.message_bytes_max);
        Self {
            context: context(message_bytes_max),
            message_bytes_max,
            unfinished: Unfinished::new(messages),
            over: false,
            we_closed: false,
            close_code: CloseCode::NO_CODE,
            deliver: inbox.map(|inbox| inbox.take),
        }
    }

    /// Takes bytes from the socket; replies (pongs, the answer to a close) are appended to `replies`.
    pub(super) fn take(&mut self, bytes: &[u8], replies: &mut Vec<u8>) -> Verdict {
        if self.over {
            return Verdict::Closed { code: self.close_code };
        }
        self.unfinished.take(bytes);
        let mut pipe = Pipe { input: bytes, replies };
        loop {
            match self.context.read(&mut pipe) {
                // The reply to a close is written by the next read, which then ends with ConnectionClosed.
                Ok(Message::Text(text)) => self.deliver(|| ClientMessage::Text(text.into())),
                Ok(Message::Binary(bytes)) => self.deliver(|| ClientMessage::Binary(bytes)),
                Ok(Message::Close(Some(frame))) => self.close_code = u16::from(frame.code).into(),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return self.all_taken(),
                Err(error) => {
                    self.over = true;
                    return match error {
                        Error::ConnectionClosed | Error::AlreadyClosed => Verdict::Closed { code: self.close_code },
                        Error::Utf8(_) => Verdict::Broken { code: CloseCode::NOT_UTF8 },
                        Error::Capacity(_) => Verdict::Broken { code: CloseCode::MESSAGE_TOO_BIG },
                        _ => Verdict::Broken { code: CloseCode::PROTOCOL },
                    };
                }
            }
        }
    }

    fn all_taken(&mut self) -> Verdict {
        if !self.unfinished.settle() {
            self.over = true;
            return Verdict::NoMemory;
        }
        // What grew for a message would stay as large for as long as the session lives.
        if self.unfinished.leaves_buffer() && !self.we_closed {
            self.context = context(self.message_bytes_max);
            self.unfinished.buffer_left();
        }
        Verdict::Open
    }

    fn deliver(&mut self, message: impl FnOnce() -> ClientMessage) {
        if let Some(deliver) = &mut self.deliver {
            deliver(message());
        }
    }

    /// Notes that we close: what comes next is the client's answer, which gets none, and pings go unanswered.
    pub(super) fn we_close(&mut self) {
        // The context insists on writing the frame itself; ours is written by the outbox, so this copy goes nowhere.
        let mut nowhere = Vec::new();
        let _ = self.context.close(&mut Pipe { input: &[], replies: &mut nowhere }, None);
        self.we_closed = true;
    }
}

fn context(message_bytes_max: usize) -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(limits::CLIENT_FRAME_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    WebSocketContext::new(Role::Server, Some(config))
}

/// A stream that ends in "would block" instead of an end.
struct Pipe<'a> {
    input: &'a [u8],
    replies: &'a mut Vec<u8>,
}

impl Read for Pipe<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(into)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.replies.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Limit, LimitHits};

    fn inbound() -> Inbound {
        Inbound::new(None, Arc::default())
    }

    /// A client frame with a mask of zeros, which leaves the payload readable.
    pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..126 => frame.push(0x80 | short as u8),
            medium @ 126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(medium as u16).to_be_bytes());
            }
            long => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn a_ping_is_answered_even_when_it_comes_byte_by_byte() {
        let (mut inbound, mut replies) = (inbound(), Vec::new());
        for byte in masked(0x89, b"abc") {
            assert_eq!(inbound.take(&[byte], &mut replies), Verdict::Open);
        }
        assert_eq!(replies, b"\x8a\x03abc");
    }

    #[test]
    fn a_close_is_answered_with_its_own_code() {
        let (mut inbound, mut replies) = (inbound(), Vec::new());
        let closed = Verdict::Closed { code: CloseCode::NORMAL };
        assert_eq!(inbound.take(&masked(0x88, &[0x03, 0xe8]), &mut replies), closed);
        assert_eq!(replies, [0x88, 2, 0x03, 0xe8]);
        assert_eq!(inbound.take(b"anything", &mut replies), closed);
    }

    #[test]
    fn the_code_of_a_close_is_told_and_none_is_1005() {
        let expired = &[0x0f, 0xa0, b'x'][..];
        for (payload, code) in
            [(&b""[..], CloseCode::NO_CODE), (&[0x03, 0xf1], CloseCode::MESSAGE_TOO_BIG), (expired, CloseCode::EXPIRED)]
        {
            let (mut inbound, mut replies) = (inbound(), Vec::new());
            assert_eq!(inbound.take(&masked(0x88, payload), &mut replies), Verdict::Closed { code });
        }
    }

    #[test]
    fn after_our_close_the_clients_answer_gets_no_answer() {
        let (mut inbound, mut replies) = (inbound(), Vec::new());
        inbound.we_close();
        assert_eq!(inbound.take(&masked(0x81, b"late"), &mut replies), Verdict::Open);
        assert_eq!(inbound.take(&masked(0x89, b"late"), &mut replies), Verdict::Open);
        assert_eq!(
            inbound.take(&masked(0x88, &[0x03, 0xe9]), &mut replies),
            Verdict::Closed { code: CloseCode::GOING_AWAY }
        );
        assert_eq!(replies, b"");
    }

    #[test]
    fn each_breach_of_the_protocol_has_its_code() {
        let too_big = masked(0x81, &vec![b'a'; limits::CLIENT_MESSAGE_BYTES_MAX + 1]);
        let cases: [(&str, Vec<u8>, CloseCode); 7] = [
            ("unmasked", vec![0x81, 1, b'a'], CloseCode::PROTOCOL),
            ("reserved bits", masked(0xc1, b"a"), CloseCode::PROTOCOL),
            ("reserved opcode", masked(0x83, b"a"), CloseCode::PROTOCOL),
            ("fragmented ping", masked(0x09, b"a"), CloseCode::PROTOCOL),
            ("continuation of nothing", masked(0x80, b"a"), CloseCode::PROTOCOL),
            ("not UTF-8", masked(0x81, &[0xff]), CloseCode::NOT_UTF8),
            ("too big", too_big, CloseCode::MESSAGE_TOO_BIG),
        ];
        for (what, bytes, code) in cases {
            let (mut inbound, mut replies) = (inbound(), Vec::new());
            assert_eq!(inbound.take(&bytes, &mut replies), Verdict::Broken { code }, "{what}");
        }
    }

    #[test]
    fn a_message_that_does_not_fit_beside_those_of_others_has_its_own_verdict_and_whole_ones_always_fit() {
        let hits = Arc::<LimitHits>::default();
        let messages = Arc::new(ClientMessages::new(1_000, hits.clone()));
        let [mut one, mut two] = std::array::from_fn(|_| Inbound::new(None, messages.clone()));
        let (large, mut replies) = (masked(0x81, &[b'a'; 900]), Vec::new());
        assert_eq!(one.take(&large[..500], &mut replies), Verdict::Open);
        for _ in 0..3 {
            assert_eq!(two.take(&large, &mut replies), Verdict::Open);
            assert_eq!(two.take(&masked(0x89, b"abc"), &mut replies), Verdict::Open);
        }
        assert_eq!(replies, b"\x8a\x03abc\x8a\x03abc\x8a\x03abc");
        assert_eq!(two.take(&large[..500], &mut replies), Verdict::NoMemory);
        assert_eq!(two.take(&large[500..], &mut replies), Verdict::Closed { code: CloseCode::NO_CODE });
        assert_eq!((one.take(&large[500..], &mut replies), hits.of(Limit::ClientMessages)), (Verdict::Open, 1));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(pieces in proptest::collection::vec(proptest::collection::vec(0u8.., 0..40), 0..8)) {
            let (mut inbound, mut replies) = (inbound(), Vec::new());
            for piece in pieces {
                inbound.take(&piece, &mut replies);
            }
        }

        #[test]
        fn no_valid_frames_make_it_panic(
            frames in proptest::collection::vec((0u8.., proptest::collection::vec(0u8.., 0..130)), 0..8)
        ) {
            let (mut inbound, mut replies) = (inbound(), Vec::new());
            for (first, payload) in frames {
                inbound.take(&masked(first, &payload), &mut replies);
            }
        }
    }
}
