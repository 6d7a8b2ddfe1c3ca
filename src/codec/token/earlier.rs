//! Positions as versions before wrote them, which clients have saved: 44 characters of URL-safe base64. They are only read.
//!
//! Layout: version (1 byte: 1 names a stream's contract, 2 names no stream), epoch (8), commit number (8), record number (4), hash of the
//! transaction id (4), hash of the contract (4), CRC-32C of all before it (4), big-endian. 33 bytes are exactly 44 characters, so
//! there are no spare bits. The first character is always `A`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::record::{Epoch, Position};

/// Their length.
pub(super) const CHARS: usize = 44;
const BYTES: usize = 33;
const CHECKED_BYTES: usize = 29;
const STREAM_VERSION: u8 = 1;
const TRAIL_VERSION: u8 = 2;

/// The position, and the hash of the contract if it names one; `None` for anything that no version wrote.
pub(super) fn read(text: &str) -> Option<(Position, Option<u32>)> {
    let mut bytes = [0_u8; BYTES];
    if text.len() != CHARS || URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) != Ok(BYTES) {
        return None;
    }
    let (version, rest) = bytes.split_first()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (commit, rest) = rest.split_first_chunk()?;
    let (record, rest) = rest.split_first_chunk()?;
    let (xid_hash, rest) = rest.split_first_chunk()?;
    let (contract, rest) = rest.split_first_chunk()?;
    let contract = u32::from_be_bytes(*contract);
    if rest != crc32c::crc32c(&bytes[..CHECKED_BYTES]).to_be_bytes() {
        return None;
    }
    let contract = match (*version, contract) {
        (STREAM_VERSION, _) => Some(contract),
        (TRAIL_VERSION, 0) => None,
        _ => return None,
    };
    let position = Position {
        epoch: Epoch(u64::from_be_bytes(*epoch)),
        commit: u64::from_be_bytes(*commit),
        record: u32::from_be_bytes(*record),
        xid_hash: u32::from_be_bytes(*xid_hash),
    };
    Some((position, contract))
}

/// What a version before wrote for this position.
#[cfg(test)]
pub(super) fn written(position: &Position, contract: Option<u32>) -> String {
    let mut bytes = vec![if contract.is_some() { STREAM_VERSION } else { TRAIL_VERSION }];
    bytes.extend(position.epoch.0.to_be_bytes());
    bytes.extend(position.commit.to_be_bytes());
    bytes.extend(position.record.to_be_bytes());
    bytes.extend(position.xid_hash.to_be_bytes());
    bytes.extend(contract.unwrap_or_default().to_be_bytes());
    bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_saved_is_read() {
        let position = Position { epoch: Epoch(1), commit: 2, record: 3, xid_hash: 4 };
        let of_a_stream = "AQAAAAAAAAABAAAAAAAAAAIAAAADAAAABAAAAAUckLK_";
        assert_eq!(read(of_a_stream), Some((position, Some(5))));
        assert_eq!(written(&position, Some(5)), of_a_stream);
        assert_eq!(read(&written(&position, None)), Some((position, None)));
    }
}
