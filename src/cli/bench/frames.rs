//! Takes a server's WebSocket frames apart as their bytes come, without keeping a payload.

use crate::codec::close_code::CloseCode;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
/// Control frames start here.
const CLOSE: u8 = 8;
const PING: u8 = 9;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// The longest header that a server sends.
const HEADER_BYTES_MAX: usize = 10;
/// The longest payload of a control frame.
const CONTROL_BYTES_MAX: usize = 125;

/// Who is given what is in the frames.
pub(super) trait Sink {
    /// Bytes of a message, in order.
    fn data(&mut self, bytes: &[u8]);
    /// The message is whole.
    fn message(&mut self);
}

/// What the peer wants answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// A pong with these bytes.
    Pong(Vec<u8>),
    /// The connection is closed: code and reason.
    Closed(CloseCode, String),
}

/// Where the splitting stands between two reads.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: Vec<u8>,
    opcode: u8,
    final_frame: bool,
    payload_left: u64,
    control: Vec<u8>,
}

impl Frames {
    /// Takes the next bytes of the connection.
    pub(super) fn take(
        &mut self,
        mut bytes: &[u8],
        sink: &mut impl Sink,
        wishes: &mut Vec<Wish>,
    ) -> Result<(), &'static str> {
        while !bytes.is_empty() {
            if self.payload_left == 0 {
                bytes = self.take_header(bytes)?;
                if self.header.is_empty() && self.payload_left == 0 {
                    self.end(sink, wishes);
                }
                continue;
            }
            let length = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
            let (payload, rest) = bytes.split_at(length);
            if self.opcode >= CLOSE {
                self.control.extend_from_slice(payload);
            } else {
                sink.data(payload);
            }
            self.payload_left -= length as u64;
            bytes = rest;
            if self.payload_left == 0 {
                self.end(sink, wishes);
            }
        }
        Ok(())
    }

    /// Takes header bytes; the header is empty again once it was whole.
    fn take_header<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], &'static str> {
        let needed = self.header_bytes();
        let taken = (needed - self.header.len()).min(bytes.len());
        self.header.extend_from_slice(&bytes[..taken]);
        if self.header.len() == self.header_bytes() {
            self.read_header()?;
            self.header.clear();
        }
        Ok(&bytes[taken..])
    }

    /// Bytes that the header has, as far as is known.
    fn header_bytes(&self) -> usize {
        match self.header.get(1).map(|length| length & !MASKED) {
            Some(126) => 4,
            Some(127) => HEADER_BYTES_MAX,
            _ => 2,
        }
    }

    fn read_header(&mut self) -> Result<(), &'static str> {
        let (first, second) = (self.header[0], self.header[1]);
        self.opcode = first & 0x0f;
        self.final_frame = first & FINAL != 0;
        if second & MASKED != 0 || first & 0x70 != 0 {
            return Err("a frame that no server sends");
        }
        let length = &self.header[2..];
        self.payload_left = if length.is_empty() {
            u64::from(second)
        } else {
            length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        match self.opcode {
            CONTINUATION | TEXT | BINARY => Ok(()),
            CLOSE..=10 if self.payload_left <= CONTROL_BYTES_MAX as u64 => Ok(()),
            _ => Err("a frame of an unknown kind"),
        }
    }

    fn end(&mut self, sink: &mut impl Sink, wishes: &mut Vec<Wish>) {
        let control = std::mem::take(&mut self.control);
        match self.opcode {
            CLOSE => {
                let (code, reason) = match control.split_first_chunk() {
                    Some((code, reason)) => (u16::from_be_bytes(*code).into(), reason),
                    None => (CloseCode::NO_CODE, &[][..]),
                };
                wishes.push(Wish::Closed(code, String::from_utf8_lossy(reason).into_owned()));
            }
            PING => wishes.push(Wish::Pong(control)),
            CONTINUATION | TEXT | BINARY if self.final_frame => sink.message(),
            _ => {}
        }
    }
}

/// A pong as a client sends it: masked, with a mask of zeros.
pub(super) fn pong(payload: &[u8]) -> Vec<u8> {
    // A control frame's payload has at most 125 bytes.
    let mut frame = vec![FINAL | 10, MASKED | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Heard {
        messages: Vec<Vec<u8>>,
        open: Vec<u8>,
    }

    impl Sink for Heard {
        fn data(&mut self, bytes: &[u8]) {
            self.open.extend_from_slice(bytes);
        }

        fn message(&mut self) {
            self.messages.push(std::mem::take(&mut self.open));
        }
    }

    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut header = [0; crate::codec::ws_frame::HEADER_ROOM];
        [crate::codec::ws_frame::write_header(&mut header, payload.len()), payload].concat()
    }

    proptest! {
        #[test]
        fn messages_come_out_whole_however_the_bytes_are_cut(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..8),
            long in 65_000_usize..70_000,
            cuts in proptest::collection::vec(1_usize..900, 1..50),
        ) {
            let mut messages = messages;
            messages.push(vec![7; long]);
            let mut bytes = Vec::new();
            for message in &messages {
                bytes.extend(framed(message));
                bytes.extend([0x89, 1, b'p']);
            }
            bytes.extend([0x88, 4, 0x0f, 0xab, b'n', b'o']);
            let (mut frames, mut heard, mut wishes) = (Frames::default(), Heard::default(), Vec::new());
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                frames.take(now, &mut heard, &mut wishes).unwrap();
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(wishes.len(), messages.len() + 1);
            prop_assert_eq!(&wishes[0], &Wish::Pong(b"p".to_vec()));
            prop_assert_eq!(wishes.last().unwrap(), &Wish::Closed(CloseCode::SLOW, "no".into()));
            prop_assert_eq!(heard.messages, messages);
        }
    }

    #[test]
    fn a_message_in_fragments_is_one() {
        let (mut frames, mut heard, mut wishes) = (Frames::default(), Heard::default(), Vec::new());
        frames.take(&[0x01, 1, b'a', 0x89, 0, 0x80, 1, b'b', 0x88, 0], &mut heard, &mut wishes).unwrap();
        assert_eq!(heard.messages, [b"ab"]);
        assert_eq!(wishes, [Wish::Pong(vec![]), Wish::Closed(CloseCode::NO_CODE, String::new())]);
    }

    #[test]
    fn what_no_server_sends_is_refused() {
        for bytes in [[0x81, 0x81], [0xc1, 0], [0x83, 0], [0x89, 126]] {
            let taken =
                Frames::default().take(&[&bytes[..], &[0, 200]].concat(), &mut Heard::default(), &mut Vec::new());
            assert!(taken.is_err(), "{bytes:x?}");
        }
    }
}
