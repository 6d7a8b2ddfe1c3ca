//! A cursor over JSON text: each byte is looked at once, nothing is decoded.
//!
//! It takes no text that `serde_json` refuses. Where it finds anything else than it was asked for it gives `None`; what
//! was wrong is not its business.

use super::PutCell;
use super::value::has_half_pair;
use crate::limits::NESTING_MAX;

/// Whether each level that is open is an object's takes one bit.
const _: () = assert!(NESTING_MAX <= u128::BITS as usize);

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Where in a text we are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan<'a> {
    text: &'a str,
    at: usize,
}

/// A string as it stands in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawString<'a> {
    /// Its text, quotes included.
    pub(super) json: &'a str,
    /// Something in it is escaped.
    pub(super) escaped: bool,
    /// It may hold U+2028 or U+2029.
    separators: bool,
}

impl<'a> Scan<'a> {
    /// At the start of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is no white space, which is not taken; 0 at the end.
    #[inline]
    pub(super) fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return *byte,
                None => return 0,
            }
        }
    }

    /// Whether nothing but white space is left.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.peek();
        self.at == self.text.len()
    }

    /// Takes this byte, white space before it too.
    #[inline]
    pub(super) fn byte(&mut self, wanted: u8) -> Option<()> {
        if self.peek() != wanted {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// After a member or element: whether another follows, or the `end`, which is taken too.
    #[inline]
    pub(super) fn more(&mut self, end: u8) -> Option<bool> {
        let byte = self.peek();
        self.at += 1;
        if byte == b',' {
            Some(true)
        } else if byte == end {
            Some(false)
        } else {
            None
        }
    }

    /// Takes this text if it is what comes next. A whole string, array or object is not told from a longer one by its
    /// start only, so such a `text` is all of a value.
    #[inline]
    pub(super) fn same(&mut self, text: &str) -> bool {
        self.peek();
        let same = !text.is_empty() && self.text.as_bytes()[self.at..].starts_with(text.as_bytes());
        if same {
            self.at += text.len();
        }
        same
    }

    /// Where it stands, for [`Self::since`].
    pub(super) fn mark(&self) -> usize {
        self.at
    }

    /// The text from a mark on.
    pub(super) fn since(&self, mark: usize) -> Option<&'a str> {
        self.text.get(mark..self.at)
    }

    /// Takes a string.
    #[inline]
    pub(super) fn string(&mut self) -> Option<RawString<'a>> {
        self.byte(b'"')?;
        let start = self.at - 1;
        let (mut escaped, mut separators) = (false, false);
        loop {
            match self.next_special()? {
                b'"' => return Some(RawString { json: self.since(start)?, escaped, separators }),
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                0xE2 => separators = true,
                _ => return None,
            }
        }
    }

    /// The next byte that a string does not merely hold, which is taken: its end, an escape, a control character, or
    /// what a separator of lines may begin with.
    #[inline]
    fn next_special(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(word) = bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            let special = special(u64::from_le_bytes(*word));
            if special != 0 {
                let there = (special.trailing_zeros() / 8) as usize;
                self.at += there + 1;
                return Some(word[there]);
            }
            self.at += 8;
        }
        loop {
            let byte = *bytes.get(self.at)?;
            self.at += 1;
            if byte < 0x20 || matches!(byte, b'"' | b'\\' | 0xE2) {
                return Some(byte);
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        let kind = *bytes.get(self.at)?;
        self.at += 1;
        match kind {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = bytes.get(self.at..self.at + 4)?;
                self.at += 4;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            _ => None,
        }
    }

    /// Takes any value that a client can decode. Always inlined, because `nested` is a second caller: it is to stay where images are read.
    #[inline(always)]
    pub(super) fn value(&mut self) -> Option<PutCell<'a>> {
        match self.peek() {
            b'"' => {
                let string = self.string()?;
                if string.escaped && has_half_pair(string.json) {
                    return None;
                }
                Some(PutCell { json: string.json, compact: !string.separators })
            }
            b'-' | b'0'..=b'9' => self.number().map(|json| PutCell { json, compact: true }),
            b'{' | b'[' => self.nested().map(|json| PutCell { json, compact: false }),
            _ => {
                let start = self.at;
                let known = ["null", "true", "false"].iter().any(|known| self.same(known));
                let json = self.since(start).filter(|_| known)?;
                Some(PutCell { json, compact: true })
            }
        }
    }

    fn number(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.at += usize::from(self.here() == b'-');
        if self.here() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.here() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.here(), b'e' | b'E') {
            self.at += 1;
            self.at += usize::from(matches!(self.here(), b'+' | b'-'));
            self.digits()?;
        }
        self.since(start)
    }

    #[inline]
    fn here(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// One digit at least.
    #[inline]
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.here().is_ascii_digit() {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    /// Takes an object or array and all that is in it, at most [`NESTING_MAX`] levels.
    #[inline(never)]
    pub(super) fn nested(&mut self) -> Option<&'a str> {
        self.peek();
        let start = self.at;
        // What is open, the innermost last: 1 for an object, 0 for an array.
        let (mut open, mut depth) = (0_u128, 0);
        loop {
            match self.peek() {
                byte @ (b'{' | b'[') if depth < NESTING_MAX => {
                    self.at += 1;
                    let is_object = byte == b'{';
                    (open, depth) = (open << 1 | u128::from(is_object), depth + 1);
                    if self.peek() != end_of(is_object) {
                        self.member(is_object)?;
                        continue;
                    }
                    self.at += 1;
                    (open, depth) = (open >> 1, depth - 1);
                }
                b'{' | b'[' => return None,
                // No array and no object, so this goes no deeper.
                _ => drop(self.value()?),
            }
            // A value has ended, and with it all that it is the last of.
            loop {
                if depth == 0 {
                    return self.since(start);
                }
                let is_object = open & 1 == 1;
                if self.more(end_of(is_object))? {
                    self.member(is_object)?;
                    break;
                }
                (open, depth) = (open >> 1, depth - 1);
            }
        }
    }

    /// Takes the name of an object's next member; elements of an array have none.
    fn member(&mut self, is_object: bool) -> Option<()> {
        if is_object {
            let name = self.string()?;
            if name.escaped && has_half_pair(name.json) {
                return None;
            }
            self.byte(b':')?;
        }
        Some(())
    }
}

fn end_of(is_object: bool) -> u8 {
    if is_object { b'}' } else { b']' }
}

/// The high bit of each byte that is a quote, a backslash, a control character or 0xE2, up to the lowest such byte; above
/// it others may be set too.
#[inline]
fn special(word: u64) -> u64 {
    let is = |byte: u8| {
        let zero = word ^ (ONES * u64::from(byte));
        zero.wrapping_sub(ONES) & !zero
    };
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (is(b'"') | is(b'\\') | is(0xE2) | control) & HIGH
}
