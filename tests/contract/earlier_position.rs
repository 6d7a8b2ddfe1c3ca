//! Positions as versions before wrote them: 44 characters of base64url, whose order as text is no order.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use trailcast::codec::token::{ContractHash, Token, TokenScope};

/// What a version before wrote for this token.
pub fn written(token: &Token) -> String {
    let (version, contract) = match token.scope {
        TokenScope::Stream(ContractHash(hash)) => (1_u8, hash),
        TokenScope::Trail => (2, 0),
    };
    let mut bytes = vec![version];
    bytes.extend(token.position.epoch.0.to_be_bytes());
    bytes.extend(token.position.commit.to_be_bytes());
    bytes.extend(token.position.record.to_be_bytes());
    bytes.extend(token.position.xid_hash.to_be_bytes());
    bytes.extend(contract.to_be_bytes());
    bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}
