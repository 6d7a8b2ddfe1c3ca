//! Positions as the opaque text that clients hold: 33 bytes, 44 URL-safe characters.
//!
//! Layout: version (1 byte), epoch (8), commit number (8), record number (4), hash of the transaction id (4), hash of
//! the stream's contract (4), CRC-32C of all before it (4), big-endian, in base64url without padding. 33 bytes are 264
//! bits and 44 characters are 264 bits: there are no spare bits, so each change of one character changes a byte, and
//! the checksum refuses it. Whether a position can be served is for the trail to say.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::codec::crc::WordEffect;
use crate::record::{Epoch, Position};

/// Length of a token, in characters.
pub const TOKEN_CHARS: usize = 44;
const TOKEN_BYTES: usize = 33;
const CHECKED_BYTES: usize = 29;
/// Names one stream's contract; accepted by that stream only.
const STREAM_VERSION: u8 = 1;
/// Names no stream: the position that a put answers with. Accepted by each stream of that trail.
const TRAIL_VERSION: u8 = 2;

/// The hash of a stream's source and rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContractHash(pub u32);

/// Where a token came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenScope {
    /// Sent by a stream of this contract; another contract must refuse it.
    Stream(ContractHash),
    /// Answered to a put; each stream of the trail takes it.
    Trail,
}

/// What a client holds, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The record.
    pub position: Position,
    /// Who may resume with it.
    pub scope: TokenScope,
}

/// The text is no position of ours, or was altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position: malformed or altered")]
pub struct MalformedToken;

/// A token's text: 44 ASCII characters, on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenText([u8; TOKEN_CHARS]);

impl TokenText {
    /// Its characters.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        // Base64 is ASCII; the default is never taken.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Display for TokenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A stream position of this contract.
pub fn encode(position: &Position, contract: ContractHash) -> TokenText {
    encode_token(&Token { position: *position, scope: TokenScope::Stream(contract) })
}

/// A trail position: no stream in it.
pub fn encode_trail(position: &Position) -> TokenText {
    encode_token(&Token { position: *position, scope: TokenScope::Trail })
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Bytes before the record number.
const RECORD_AT: usize = 17;
/// Groups of three bytes that differ between positions of one transaction: those of the record number and the checksum.
const OWN_GROUPS: [usize; 4] = [5, 6, 9, 10];

/// The positions of one transaction's records in one contract, of which only the record's number differs: what they share
/// is encoded once.
#[derive(Debug, Clone, Copy)]
pub struct TransactionTokens {
    bytes: [u8; TOKEN_BYTES],
    text: TokenText,
    /// The checksum with record number 0.
    checksum_of_first: u32,
}

/// What a record's number does to its position's checksum.
static RECORD_EFFECT: WordEffect = WordEffect::with_bytes_after(CHECKED_BYTES - RECORD_AT - 4);

impl TransactionTokens {
    /// The positions of the transaction that `position` is one of.
    pub fn new(position: &Position, contract: ContractHash) -> Self {
        let first = Position { record: 0, ..*position };
        let bytes = token_bytes(&Token { position: first, scope: TokenScope::Stream(contract) });
        Self { bytes, text: text_of(&bytes), checksum_of_first: be_u32(&bytes[CHECKED_BYTES..]) }
    }

    /// The token of its record with this number; the same text as [`encode`] gives.
    #[inline]
    pub fn of(&mut self, record: u32) -> &[u8; TOKEN_CHARS] {
        self.bytes[RECORD_AT..RECORD_AT + 4].copy_from_slice(&record.to_be_bytes());
        let checksum = self.checksum_of_first ^ RECORD_EFFECT.of(record.swap_bytes());
        self.bytes[CHECKED_BYTES..].copy_from_slice(&checksum.to_be_bytes());
        for group in OWN_GROUPS {
            let [a, b, c] = [self.bytes[group * 3], self.bytes[group * 3 + 1], self.bytes[group * 3 + 2]];
            let bits = u32::from(a) << 16 | u32::from(b) << 8 | u32::from(c);
            let char_at = |shift: u32| ALPHABET[(bits >> shift & 63) as usize];
            self.text.0[group * 4..group * 4 + 4].copy_from_slice(&[char_at(18), char_at(12), char_at(6), char_at(0)]);
        }
        &self.text.0
    }
}

/// Either kind.
pub fn encode_token(token: &Token) -> TokenText {
    text_of(&token_bytes(token))
}

fn token_bytes(token: &Token) -> [u8; TOKEN_BYTES] {
    let (version, contract) = match token.scope {
        TokenScope::Stream(ContractHash(hash)) => (STREAM_VERSION, hash),
        TokenScope::Trail => (TRAIL_VERSION, 0),
    };
    let mut bytes = [0_u8; TOKEN_BYTES];
    bytes[0] = version;
    bytes[1..9].copy_from_slice(&token.position.epoch.0.to_be_bytes());
    bytes[9..17].copy_from_slice(&token.position.commit.to_be_bytes());
    bytes[17..21].copy_from_slice(&token.position.record.to_be_bytes());
    bytes[21..25].copy_from_slice(&token.position.xid_hash.to_be_bytes());
    bytes[25..29].copy_from_slice(&contract.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
    bytes[CHECKED_BYTES..].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

fn text_of(bytes: &[u8; TOKEN_BYTES]) -> TokenText {
    let mut text = [b'A'; TOKEN_CHARS];
    // 33 bytes are exactly 44 characters, so the slice always fits.
    let _ = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
    TokenText(text)
}

/// Reads a token; anything but what [`encode_token`] wrote is refused.
pub fn decode(text: &str) -> Result<Token, MalformedToken> {
    let mut bytes = [0_u8; TOKEN_BYTES];
    if text.len() != TOKEN_CHARS || URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) != Ok(TOKEN_BYTES) {
        return Err(MalformedToken);
    }
    if crc32c::crc32c(&bytes[..CHECKED_BYTES]) != be_u32(&bytes[CHECKED_BYTES..]) {
        return Err(MalformedToken);
    }
    let contract = be_u32(&bytes[25..29]);
    let scope = match (bytes[0], contract) {
        (STREAM_VERSION, _) => TokenScope::Stream(ContractHash(contract)),
        (TRAIL_VERSION, 0) => TokenScope::Trail,
        _ => return Err(MalformedToken),
    };
    let position = Position {
        epoch: Epoch(be_u64(&bytes[1..9])),
        commit: be_u64(&bytes[9..17]),
        record: be_u32(&bytes[17..21]),
        xid_hash: be_u32(&bytes[21..25]),
    };
    Ok(Token { position, scope })
}

fn be_u32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn be_u64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_token() -> impl Strategy<Value = Token> {
        (any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>(), any::<Option<u32>>()).prop_map(
            |(epoch, commit, record, xid_hash, contract)| Token {
                position: Position { epoch: Epoch(epoch), commit, record, xid_hash },
                scope: contract.map_or(TokenScope::Trail, |hash| TokenScope::Stream(ContractHash(hash))),
            },
        )
    }

    proptest! {
        #[test]
        fn a_token_reads_back_and_needs_no_percent_encoding(token in any_token()) {
            let text = encode_token(&token);
            prop_assert_eq!(text.as_str().len(), TOKEN_CHARS);
            prop_assert!(text.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')));
            prop_assert_eq!(decode(text.as_str()), Ok(token));
        }

        #[test]
        fn the_tokens_of_a_transaction_are_those_of_its_records(token in any_token(), contract: u32, records in proptest::collection::vec(any::<u32>(), 1..9)) {
            let contract = ContractHash(contract);
            let mut tokens = TransactionTokens::new(&token.position, contract);
            for record in records {
                let expected = encode(&Position { record, ..token.position }, contract);
                prop_assert_eq!(&tokens.of(record)[..], expected.as_bytes());
            }
        }

        #[test]
        fn any_change_of_one_character_is_refused(token in any_token(), at in 0..TOKEN_CHARS) {
            let text = encode_token(&token);
            let mut changed = text.as_str().as_bytes().to_vec();
            for byte in 0x20..0x7f_u8 {
                changed[at] = byte;
                if changed != text.as_bytes() {
                    prop_assert_eq!(decode(std::str::from_utf8(&changed).unwrap()), Err(MalformedToken));
                }
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}|[A-Za-z0-9_-]{44}") {
            let _ = decode(&text);
        }
    }

    #[test]
    fn the_layout_stays_what_clients_saved() {
        let position = Position { epoch: Epoch(1), commit: 2, record: 3, xid_hash: 4 };
        assert_eq!(encode(&position, ContractHash(5)).as_str(), "AQAAAAAAAAABAAAAAAAAAAIAAAADAAAABAAAAAUckLK_");
    }
}
