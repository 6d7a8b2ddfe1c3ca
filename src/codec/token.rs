//! Positions as the opaque text that clients hold: 54 digits and lower-case letters, whose order within an epoch is the
//! trail's.
//!
//! Layout: the letter `p`, then 33 bytes big-endian in base32hex (RFC 4648): epoch (8 bytes), commit number (8), record number
//! (4), kind (1: 1 names a stream's contract, 2 names no stream), hash of the transaction id (4), hash of the contract
//! (4), CRC-32C of the 29 bytes before it (4). 33 bytes are 264 bits and 53 characters 265: the last bit is 0, or the text
//! is refused. So each change of one character changes a byte, and the checksum refuses it. Whether a position can be
//! served is for the trail to say.
//!
//! What orders positions comes before all else, the kind included, so that the greatest text in a client's own table is
//! the furthest record, whoever answered it. `p` stands for the layout: texts of versions before (`earlier`) begin with
//! `A`, which comes before `p` in ASCII and in alphabets; a layout to come takes a later letter.

mod base32hex;
mod earlier;

use crate::codec::crc::WordEffect;
use crate::record::{Epoch, Position};
use base32hex::eight_chars;

/// Length of a token, in characters.
pub const TOKEN_CHARS: usize = 54;
/// What each token that is written matches, as a regular expression of ECMA 262.
pub const TOKEN_PATTERN: &str = "^p[0-9a-v]{53}$";
const FIRST_CHAR: u8 = b'p';
const TOKEN_BYTES: usize = 33;
const CHECKED_BYTES: usize = 29;
/// Bytes before the record number.
const RECORD_AT: usize = 16;
/// Names one stream's contract; accepted by that stream only.
const OF_STREAM: u8 = 1;
/// Names no stream: the position that a put answers with. Accepted by each stream of that trail.
const OF_TRAIL: u8 = 2;

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

/// A token's text: 54 ASCII characters, on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenText([u8; TOKEN_CHARS]);

impl TokenText {
    /// Its characters.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        // The alphabet is ASCII; the default is never taken.
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

/// The positions of one transaction's records in one contract, of which only the record's number differs: what they share
/// is encoded once.
#[derive(Debug, Clone, Copy)]
pub struct TransactionTokens {
    /// That of record number 0.
    first: TokenText,
    /// The bits that share characters with the record number, in their place before it: the commit number's last byte.
    before_record: u64,
    /// The bits that share characters with the checksum, in their place before it: the contract's last seven.
    before_checksum: u64,
    /// The checksum with record number 0.
    checksum_of_first: u32,
}

/// What a record's number does to its position's checksum.
static RECORD_EFFECT: WordEffect = WordEffect::with_bytes_after(CHECKED_BYTES - RECORD_AT - 4);
/// Where the eight characters begin that hold the record number and the byte before it.
const RECORD_CHARS_AT: usize = 1 + (RECORD_AT - 1) / 5 * 8;
/// Where the last eight begin, which hold the checksum and the bits before it.
const CHECKSUM_CHARS_AT: usize = TOKEN_CHARS - 8;

impl TransactionTokens {
    /// The positions of the transaction that `position` is one of.
    pub fn new(position: &Position, contract: ContractHash) -> Self {
        let first = Position { record: 0, ..*position };
        let parts = Parts::of(&Token { position: first, scope: TokenScope::Stream(contract) });
        Self {
            first: parts.text(),
            before_record: parts.commit & 0xFF,
            before_checksum: u64::from(parts.contract & 0x7F),
            checksum_of_first: parts.checksum(),
        }
    }

    /// Appends the token of its record with this number; the same text as [`encode`] gives.
    #[inline]
    pub fn push(&self, out: &mut Vec<u8>, record: u32) {
        let checksum = self.checksum_of_first ^ RECORD_EFFECT.of(record.swap_bytes());
        // Changed where it ends up: copying what was just changed would wait for it.
        out.extend_from_slice(&self.first.0);
        if let Some(text) = out.last_chunk_mut() {
            put(text, RECORD_CHARS_AT, self.before_record << 32 | u64::from(record));
            put(text, CHECKSUM_CHARS_AT, self.before_checksum << 33 | u64::from(checksum) << 1);
        }
    }
}

#[inline]
fn put(text: &mut [u8; TOKEN_CHARS], at: usize, bits: u64) {
    text[at..at + 8].copy_from_slice(&eight_chars(bits));
}

/// Either kind.
pub fn encode_token(token: &Token) -> TokenText {
    Parts::of(token).text()
}

/// What a token holds, in the order in which it holds it.
#[derive(Debug, Clone, Copy)]
struct Parts {
    epoch: u64,
    commit: u64,
    record: u32,
    kind: u8,
    xid_hash: u32,
    contract: u32,
}

impl Parts {
    fn of(token: &Token) -> Self {
        let (kind, contract) = match token.scope {
            TokenScope::Stream(ContractHash(hash)) => (OF_STREAM, hash),
            TokenScope::Trail => (OF_TRAIL, 0),
        };
        let Position { epoch: Epoch(epoch), commit, record, xid_hash } = token.position;
        Self { epoch, commit, record, kind, xid_hash, contract }
    }

    fn checksum(&self) -> u32 {
        let mut bytes = [0_u8; CHECKED_BYTES];
        bytes[..8].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.commit.to_be_bytes());
        // In words, as they will be read.
        let middle = u64::from(self.record) << 32 | u64::from(self.kind) << 24 | u64::from(self.xid_hash >> 8);
        bytes[RECORD_AT..24].copy_from_slice(&middle.to_be_bytes());
        bytes[24] = self.xid_hash as u8;
        bytes[25..].copy_from_slice(&self.contract.to_be_bytes());
        crc32c::crc32c(&bytes)
    }

    fn text(&self) -> TokenText {
        let checksum = self.checksum();
        let mut text = [FIRST_CHAR; TOKEN_CHARS];
        // Five bytes are eight characters; the last eight repeat three that stand there already.
        put(&mut text, 1, self.epoch >> 24);
        put(&mut text, 9, (self.epoch & 0xFF_FFFF) << 16 | self.commit >> 48);
        put(&mut text, 17, self.commit >> 8 & 0xFF_FFFF_FFFF);
        put(&mut text, RECORD_CHARS_AT, (self.commit & 0xFF) << 32 | u64::from(self.record));
        put(&mut text, 33, u64::from(self.kind) << 32 | u64::from(self.xid_hash));
        put(&mut text, 41, u64::from(self.contract) << 8 | u64::from(checksum >> 24));
        put(&mut text, CHECKSUM_CHARS_AT, u64::from(self.contract & 0x7F) << 33 | u64::from(checksum) << 1);
        TokenText(text)
    }
}

fn bytes_of(text: &str) -> Option<[u8; TOKEN_BYTES]> {
    let (first, chars) = text.as_bytes().split_first()?;
    if *first != FIRST_CHAR || text.len() != TOKEN_CHARS {
        return None;
    }
    let mut bytes = [0_u8; TOKEN_BYTES];
    for (chars, bytes) in chars.chunks(8).zip(bytes.chunks_mut(5)) {
        let spare = 5 * chars.len() - 8 * bytes.len();
        let bits = base32hex::bits(chars)?;
        if bits & ((1 << spare) - 1) != 0 {
            return None;
        }
        bytes.copy_from_slice(&(bits >> spare).to_be_bytes()[8 - bytes.len()..]);
    }
    Some(bytes)
}

/// Reads a token; anything but what [`encode_token`] or a version before wrote is refused.
pub fn decode(text: &str) -> Result<Token, MalformedToken> {
    if text.len() == earlier::CHARS {
        let (position, contract) = earlier::read(text).ok_or(MalformedToken)?;
        let scope = contract.map_or(TokenScope::Trail, |hash| TokenScope::Stream(ContractHash(hash)));
        return Ok(Token { position, scope });
    }
    let bytes = bytes_of(text).ok_or(MalformedToken)?;
    if crc32c::crc32c(&bytes[..CHECKED_BYTES]) != be_u32(&bytes[CHECKED_BYTES..]) {
        return Err(MalformedToken);
    }
    let contract = be_u32(&bytes[25..29]);
    let scope = match (bytes[20], contract) {
        (OF_STREAM, _) => TokenScope::Stream(ContractHash(contract)),
        (OF_TRAIL, 0) => TokenScope::Trail,
        _ => return Err(MalformedToken),
    };
    let position = Position {
        epoch: Epoch(be_u64(&bytes[..8])),
        commit: be_u64(&bytes[8..16]),
        record: be_u32(&bytes[16..20]),
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

    fn any_scope() -> impl Strategy<Value = TokenScope> {
        any::<Option<u32>>()
            .prop_map(|hash| hash.map_or(TokenScope::Trail, |hash| TokenScope::Stream(ContractHash(hash))))
    }

    fn any_token() -> impl Strategy<Value = Token> {
        (any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>(), any_scope()).prop_map(
            |(epoch, commit, record, xid_hash, scope)| Token {
                position: Position { epoch: Epoch(epoch), commit, record, xid_hash },
                scope,
            },
        )
    }

    /// Numbers that often differ in their low bits alone.
    fn any_near() -> impl Strategy<Value = (u64, u32)> {
        let commit = prop_oneof![
            0..9_u64,
            (0..64_u32, 0..3_u64).prop_map(|(bit, off)| (1_u64 << bit).wrapping_sub(off)),
            any::<u64>()
        ];
        let record = prop_oneof![
            0..3_u32,
            (0..32_u32, 0..3_u32).prop_map(|(bit, off)| (1_u32 << bit).wrapping_sub(off)),
            any::<u32>()
        ];
        (commit, record)
    }

    fn earlier_text(token: &Token) -> String {
        let contract = match token.scope {
            TokenScope::Stream(ContractHash(hash)) => Some(hash),
            TokenScope::Trail => None,
        };
        earlier::written(&token.position, contract)
    }

    /// Each text that differs from this one in one character.
    fn with_one_character_changed(text: &str) -> impl Iterator<Item = String> {
        (0..text.len()).flat_map(move |at| {
            let others = (0x20..0x7f_u8).map(char::from).chain(['ä', '０', '\0']);
            let others = others.filter(move |other| !text[at..].starts_with(*other));
            others.map(move |other| format!("{}{other}{}", &text[..at], &text[at + 1..]))
        })
    }

    proptest! {
        #[test]
        fn a_token_reads_back_and_needs_no_percent_encoding(token in any_token()) {
            let text = encode_token(&token);
            prop_assert!(regex::Regex::new(TOKEN_PATTERN).unwrap().is_match(text.as_str()), "{}", text);
            prop_assert_eq!(text.as_str().len(), TOKEN_CHARS);
            prop_assert_eq!(decode(text.as_str()), Ok(token));
        }

        #[test]
        fn within_an_epoch_texts_compare_as_commit_and_record_numbers_whatever_else_they_hold(
            epoch: u64,
            numbers in [any_near(), any_near()],
            xids: [u32; 2],
            scopes in [any_scope(), any_scope()],
        ) {
            let token = |at: usize| {
                let (commit, record) = numbers[at];
                Token { position: Position { epoch: Epoch(epoch), commit, record, xid_hash: xids[at] }, scope: scopes[at] }
            };
            let texts = [0, 1].map(|at| encode_token(&token(at)).as_str().to_owned());
            if numbers[0] != numbers[1] {
                prop_assert_eq!(texts[0].cmp(&texts[1]), numbers[0].cmp(&numbers[1]), "{:?}", texts);
            }
        }

        #[test]
        fn a_token_comes_behind_every_one_of_a_version_before(token in any_token(), other in any_token()) {
            let (text, earlier) = (encode_token(&token), earlier_text(&other));
            prop_assert!(text.as_str() > earlier.as_str() && text.as_str().to_uppercase() > earlier.to_uppercase(), "{}", earlier);
        }

        #[test]
        fn a_token_of_a_version_before_reads_as_the_same(token in any_token()) {
            prop_assert_eq!(decode(&earlier_text(&token)), Ok(token));
        }

        #[test]
        fn the_tokens_of_a_transaction_are_those_of_its_records(token in any_token(), contract: u32, records in proptest::collection::vec(any::<u32>(), 1..9)) {
            let contract = ContractHash(contract);
            let tokens = TransactionTokens::new(&token.position, contract);
            for record in records {
                let expected = encode(&Position { record, ..token.position }, contract);
                let mut out = b"before".to_vec();
                tokens.push(&mut out, record);
                prop_assert_eq!(out, [b"before", expected.as_bytes()].concat());
            }
        }

        #[test]
        fn any_change_of_one_character_is_refused(token in any_token()) {
            for text in [encode_token(&token).as_str().to_owned(), earlier_text(&token)] {
                for changed in with_one_character_changed(&text) {
                    prop_assert_eq!(decode(&changed), Err(MalformedToken), "{} of {}", changed, text);
                }
            }
        }

        #[test]
        fn a_token_in_capitals_longer_or_shorter_is_refused(token in any_token()) {
            let text = encode_token(&token);
            let text = text.as_str();
            for other in [&text.to_uppercase(), &text[1..], &text[..TOKEN_CHARS - 1], &format!("{text}0"), &format!("p{text}")] {
                prop_assert_eq!(decode(other), Err(MalformedToken), "{}", other);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}|[A-Za-z0-9_-]{44}|p[0-9a-v]{53}|p\\PC{53}") {
            let _ = decode(&text);
        }
    }

    #[test]
    fn a_kind_that_nobody_wrote_and_a_contract_where_none_is_named_are_refused() {
        let position = Position { epoch: Epoch(1), commit: 2, record: 3, xid_hash: 4 };
        let altered = |scope, change: fn(&mut Parts)| {
            let mut parts = Parts::of(&Token { position, scope });
            change(&mut parts);
            decode(parts.text().as_str())
        };
        assert!(altered(TokenScope::Trail, |_| {}).is_ok());
        assert_eq!(altered(TokenScope::Trail, |parts| parts.kind = 0), Err(MalformedToken));
        assert_eq!(altered(TokenScope::Trail, |parts| parts.kind = 3), Err(MalformedToken));
        assert_eq!(altered(TokenScope::Trail, |parts| parts.contract = 1), Err(MalformedToken));
    }

    #[test]
    fn the_layout_stays_what_clients_saved() {
        let position = Position { epoch: Epoch(1), commit: 2, record: 3, xid_hash: 4 };
        assert_eq!(
            encode(&position, ContractHash(5)).as_str(),
            "p0000000000002000000000000800000304000004000001e6f48fk"
        );
        assert_eq!(encode_trail(&position).as_str(), "p00000000000020000000000008000003080000040000007a4s4cu");
    }
}
