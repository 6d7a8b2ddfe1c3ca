//! What is put around a message on its way: a WebSocket's frame, an event of an event stream, or a line with its position.
//!
//! The encoder makes the same messages for each of them. A framing works where the message lies: it may leave room in front
//! and add behind, and copies nothing but what a frame's short header leaves free.

use crate::codec::event_stream;
use crate::codec::token::{self, ContractHash, TOKEN_CHARS};
use crate::codec::ws_frame::{HEADER_ROOM, finish_message};
use crate::record::Position;

/// What stands before the text of a [`Framing::Line`].
const LINE_ROOM: usize = TOKEN_CHARS + 1;

/// A line of [`Framing::Line`] without its line feed: position, if it has one, and text.
pub fn line(line: &[u8]) -> (Option<&str>, &[u8]) {
    let (position, text) = line.split_at(LINE_ROOM.min(line.len()));
    let position = std::str::from_utf8(position).unwrap_or_default().trim_end();
    ((!position.is_empty()).then_some(position), text)
}

/// How messages stand one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Each is a text message of a WebSocket (RFC 6455).
    WebSocket,
    /// Each is an event of a stream of Server-Sent Events. Its `id` is the position of its last record; an event whose
    /// records have no position has none, and so leaves the client with the last one.
    EventStream,
    /// Each is a line: the position of its last record, blanks where it has none, one more blank, its JSON text, a line feed.
    /// For whoever answers requests: he cuts between any two lines, and knows how to go on behind each ([`line()`]).
    Line,
}

impl Framing {
    /// Every framing.
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::EventStream, Self::Line];

    /// Bytes between where a message starts and its text.
    pub(super) fn room(self) -> usize {
        match self {
            Self::WebSocket => HEADER_ROOM,
            Self::EventStream => event_stream::DATA.len(),
            Self::Line => LINE_ROOM,
        }
    }

    /// The most bytes that stand around the text of a message.
    pub(super) fn around_bytes_max(self) -> usize {
        match self {
            Self::WebSocket => HEADER_ROOM,
            Self::EventStream => event_stream::around_bytes(TOKEN_CHARS),
            Self::Line => LINE_ROOM + 1,
        }
    }

    /// Begins a message at the end of `out`: its text follows.
    pub(super) fn begin(self, out: &mut Vec<u8>) {
        match self {
            Self::WebSocket => out.extend_from_slice(&[0; HEADER_ROOM]),
            Self::EventStream => out.extend_from_slice(event_stream::DATA),
            Self::Line => out.extend_from_slice(&[b' '; LINE_ROOM]),
        }
    }

    /// Ends the message that begins at `start` and whose text ends `out`: one JSON text without line breaks. `last` is the
    /// position of its last record that has one, and `contract` the contract that the position is of.
    pub(super) fn finish(self, out: &mut Vec<u8>, start: usize, last: Option<&Position>, contract: ContractHash) {
        match self {
            Self::WebSocket => finish_message(out, start),
            Self::EventStream => {
                let id = last.map(|position| token::encode(position, contract));
                event_stream::finish(out, id.as_ref().map(token::TokenText::as_str));
            }
            Self::Line => {
                if let Some(position) = last {
                    let pos = token::encode(position, contract);
                    out[start..start + pos.as_bytes().len()].copy_from_slice(pos.as_bytes());
                }
                out.push(b'\n');
            }
        }
    }
}

/// Takes framed messages apart, for tests of whatever sends them.
#[cfg(test)]
pub(super) mod reading {
    use super::Framing;
    use crate::codec::event_stream::reading::{Event, events};

    /// A message without its framing.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(in crate::delivery) struct Text {
        pub(in crate::delivery) text: String,
        /// What the framing says of the position, if anything.
        pub(in crate::delivery) id: Option<String>,
    }

    /// The messages in whole bytes of a stream.
    pub(in crate::delivery) fn texts(framing: Framing, bytes: &[u8]) -> Vec<Text> {
        let text = |bytes: &[u8]| Text { text: String::from_utf8(bytes.to_vec()).unwrap(), id: None };
        match framing {
            Framing::WebSocket => frames(bytes).into_iter().map(text).collect(),
            Framing::EventStream => {
                let of_one = |event: &str| {
                    let [Event { data, last_event_id }] = &events(event)[..] else { panic!("{event:?}") };
                    Text { text: data.clone(), id: (!last_event_id.is_empty()).then(|| last_event_id.clone()) }
                };
                let stream = std::str::from_utf8(bytes).unwrap();
                stream.split_inclusive("\n\n").map(of_one).collect()
            }
            Framing::Line => {
                let lines = bytes.split_inclusive(|byte| *byte == b'\n');
                let read = |line: &[u8]| {
                    let (position, json) = super::line(line.strip_suffix(b"\n").unwrap());
                    Text { id: position.map(str::to_owned), ..text(json) }
                };
                lines.map(read).collect()
            }
        }
    }

    fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut payloads = Vec::new();
        while !bytes.is_empty() {
            assert_eq!(bytes[0], 0x81, "one whole text frame");
            let (header, length) = match bytes[1] {
                126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
                127 => (10, u64::from_be_bytes(bytes[2..10].try_into().unwrap()) as usize),
                short => (2, usize::from(short)),
            };
            payloads.push(&bytes[header..header + length]);
            bytes = &bytes[header + length..];
        }
        payloads
    }
}
