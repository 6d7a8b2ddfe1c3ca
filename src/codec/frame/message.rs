//! The payload of a message's frame.
//!
//! ```text
//! u32 length of the key, the key                     if flag 1
//! u16 number of headers                              if flag 2
//!   u16 length of the name, the name, u32 length of the value, the value     each
//! the value                                          up to the end
//! ```

use super::{BadFrame, push_text, read_text, u32_at};
use crate::record::{Message, MessageHeader};

/// The message has a key.
pub const FLAG_KEY: u8 = 1;
/// The message has headers.
pub const FLAG_HEADERS: u8 = 2;

/// The flags of a message's frame.
pub fn flags(message: &Message<'_>) -> u8 {
    let flag = |given: bool, flag: u8| if given { flag } else { 0 };
    flag(message.key.is_some(), FLAG_KEY) | flag(!message.headers.is_empty(), FLAG_HEADERS)
}

/// How many bytes [`push`] appends.
pub fn bytes(message: &Message<'_>) -> usize {
    let key = message.key.map_or(0, |key| 4 + key.len());
    let headers = message.headers.iter().map(|header| 6 + header.name.len() + header.value.len()).sum::<usize>();
    key + headers + if message.headers.is_empty() { 0 } else { 2 } + message.value.len()
}

/// Appends the payload. Names have at most [`u16::MAX`] bytes, and there are at most as many headers.
pub fn push(out: &mut Vec<u8>, message: &Message<'_>) {
    if let Some(key) = message.key {
        push_bytes(out, key);
    }
    if !message.headers.is_empty() {
        let number = u16::try_from(message.headers.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&number.to_le_bytes());
        for header in message.headers.iter().take(usize::from(number)) {
            push_text(out, header.name);
            push_bytes(out, header.value);
        }
    }
    out.extend_from_slice(message.value);
}

/// Reads what [`push`] wrote, of a frame with these flags.
pub fn read(flags: u8, payload: &[u8]) -> Result<Message<'_>, BadFrame> {
    let mut message = Message { value: payload, ..Message::default() };
    if flags & FLAG_KEY != 0 {
        let (key, rest) = read_bytes(message.value)?;
        (message.key, message.value) = (Some(key), rest);
    }
    if flags & FLAG_HEADERS != 0 {
        let (number, mut rest) = message.value.split_at_checked(2).ok_or(BadFrame::Content)?;
        for _ in 0..u16::from_le_bytes([number[0], number[1]]) {
            let (name, behind_name) = read_text(rest)?;
            let (value, behind) = read_bytes(behind_name)?;
            message.headers.push(MessageHeader { name, value });
            rest = behind;
        }
        message.value = rest;
    }
    Ok(message)
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn read_bytes(payload: &[u8]) -> Result<(&[u8], &[u8]), BadFrame> {
    let (length, rest) = payload.split_at_checked(4).ok_or(BadFrame::Content)?;
    usize::try_from(u32_at(length, 0)).ok().and_then(|length| rest.split_at_checked(length)).ok_or(BadFrame::Content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..40)
    }

    proptest! {
        #[test]
        fn a_message_reads_back_as_it_was_written(
            key in proptest::option::of(any_bytes()),
            headers in proptest::collection::vec(("\\PC{0,9}", any_bytes()), 0..4),
            value in any_bytes(),
        ) {
            let headers = headers.iter().map(|(name, value)| MessageHeader { name, value }).collect();
            let message = Message { key: key.as_deref(), headers, value: &value };
            let mut payload = Vec::new();
            push(&mut payload, &message);
            prop_assert_eq!(payload.len(), bytes(&message));
            prop_assert_eq!(read(flags(&message), &payload), Ok(message));
        }

        #[test]
        fn no_bytes_make_it_panic(flags: u8, payload in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(message) = read(flags, &payload) {
                prop_assert!(message.value.len() <= payload.len());
            }
        }
    }
}
