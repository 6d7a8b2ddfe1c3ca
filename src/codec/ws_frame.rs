//! Writes server frames of RFC 6455: unmasked, unfragmented, without extensions.
//!
//! A message is built with room for the header in front, and framed where it lies: large ones are not copied.

use bytes::Bytes;

use crate::codec::close_code::CloseCode;

/// Bytes to leave free in front of a message's text; the longest header of a server frame.
pub const HEADER_ROOM: usize = 10;

/// Longest reason of a close frame, in bytes: a control frame holds 125, two of them the code.
pub const CLOSE_REASON_BYTES_MAX: usize = 123;

const FINAL_TEXT: u8 = 0x81;
const FINAL_CLOSE: u8 = 0x88;
const FINAL_PING: u8 = 0x89;

/// Frames the text message at the end of `out`, whose first [`HEADER_ROOM`] bytes at `start` are overwritten; the text
/// (UTF-8, which the caller answers for) follows them. A header shorter than the room moves the text down.
pub fn finish_message(out: &mut Vec<u8>, start: usize) {
    if out.len() < start + HEADER_ROOM {
        out.resize(start + HEADER_ROOM, 0);
    }
    let mut header = [0; HEADER_ROOM];
    let header = write_header(&mut header, out.len() - start - HEADER_ROOM);
    out[start..start + header.len()].copy_from_slice(header);
    let spare = HEADER_ROOM - header.len();
    if spare > 0 {
        out.copy_within(start + HEADER_ROOM.., start + header.len());
        out.truncate(out.len() - spare);
    }
}

/// Writes the header of a text message of `length` bytes: 2, 4 or 10 bytes.
pub fn write_header(header: &mut [u8; HEADER_ROOM], length: usize) -> &[u8] {
    header[0] = FINAL_TEXT;
    if let Ok(short) = u8::try_from(length)
        && short < 126
    {
        header[1] = short;
        return &header[..2];
    }
    if let Ok(medium) = u16::try_from(length) {
        header[1] = 126;
        header[2..4].copy_from_slice(&medium.to_be_bytes());
        return &header[..4];
    }
    header[1] = 127;
    header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
    &header[..10]
}

/// A close frame; the reason is cut to what fits, between two characters.
pub fn close_frame(code: CloseCode, reason: &str) -> Bytes {
    let ends = reason.char_indices().map(|(at, character)| at + character.len_utf8());
    let reason = &reason[..ends.take_while(|end| *end <= CLOSE_REASON_BYTES_MAX).last().unwrap_or(0)];
    let mut frame = Vec::with_capacity(4 + reason.len());
    // At most 125, so the length fits its byte.
    frame.extend_from_slice(&[FINAL_CLOSE, (2 + reason.len()) as u8]);
    frame.extend_from_slice(&code.number().to_be_bytes());
    frame.extend_from_slice(reason.as_bytes());
    frame.into()
}

/// A ping without payload.
pub fn ping_frame() -> Bytes {
    Bytes::from_static(&[FINAL_PING, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(text: &str) -> Vec<u8> {
        let mut message = vec![0; HEADER_ROOM];
        message.extend_from_slice(text.as_bytes());
        finish_message(&mut message, 0);
        message
    }

    #[test]
    fn headers_are_as_long_as_the_length_needs() {
        assert_eq!(framed("")[..], [0x81, 0]);
        assert_eq!(framed("hi")[..], [0x81, 2, b'h', b'i']);
        assert_eq!(framed(&"a".repeat(125))[..2], [0x81, 125]);
        assert_eq!(framed(&"a".repeat(126))[..5], [0x81, 126, 0, 126, b'a']);
        assert_eq!(framed(&"a".repeat(65_535))[..4], [0x81, 126, 0xff, 0xff]);
        assert_eq!(framed(&"a".repeat(65_536))[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        let mut empty = Vec::new();
        finish_message(&mut empty, 0);
        assert_eq!(empty, [0x81, 0]);
    }

    #[test]
    fn a_message_is_framed_behind_others() {
        let mut out = framed("first");
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_ROOM]);
        out.extend_from_slice(b"second");
        finish_message(&mut out, start);
        assert_eq!(out, [framed("first"), framed("second")].concat());
    }

    #[test]
    fn a_long_close_reason_is_cut_between_characters() {
        let frame = close_frame(CloseCode::RECORD_TOO_LARGE, &"ä".repeat(100));
        assert_eq!(frame[..4], [0x88, 124, 0x0f, 0xad]);
        assert_eq!(std::str::from_utf8(&frame[4..]).unwrap(), "ä".repeat(61));
        assert_eq!(close_frame(CloseCode::GOING_AWAY, "")[..], [0x88, 2, 0x03, 0xe9]);
    }

    proptest::proptest! {
        #[test]
        fn a_framed_message_reads_back(text in "\\PC{0,300}") {
            use tungstenite::protocol::{Message, Role, WebSocket};
            let bytes = framed(&text);
            let stream = std::io::Cursor::new(bytes.to_vec());
            let mut socket = WebSocket::from_raw_socket(stream, Role::Client, None);
            proptest::prop_assert_eq!(socket.read().unwrap(), Message::text(text));
        }
    }
}
