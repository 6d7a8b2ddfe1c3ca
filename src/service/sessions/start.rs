//! Where a consumer group begins: the four forms of `begin` as a position of the trail, which stays the same from then on.

use super::begin::BeginRequest;
use super::refused::SessionError;
use crate::codec::token::{ContractHash, TokenScope};
use crate::record::Position;
use crate::trail::{Begin, Entry, Fill, Trail};

/// The position behind which `begin` lies in a trail, for a stream under that contract.
pub(super) async fn start_of(
    trail: &Trail,
    begin: &BeginRequest,
    contract: ContractHash,
) -> Result<Position, SessionError> {
    let epoch = trail.epoch();
    match begin {
        BeginRequest::Now => Ok(trail.durable().borrow().position(epoch)),
        BeginRequest::Earliest => Ok(Position::behind(epoch, trail.status().first_commit.saturating_sub(1))),
        BeginRequest::Time(time) => {
            let end = trail.durable().borrow().position(epoch);
            let mut reader = trail.read(Begin::Time(*time)).await?;
            loop {
                while let Some(entry) = reader.next().map_err(SessionError::Unreadable)? {
                    if let Entry::Begin(transaction) = entry {
                        return Ok(Position::behind(epoch, transaction.commit.saturating_sub(1)));
                    }
                }
                if reader.fill().await.map_err(SessionError::Unreadable)? != Fill::Filled {
                    // Nothing is as late: it begins with what comes.
                    return Ok(end);
                }
            }
        }
        BeginRequest::Position(token) => {
            if matches!(token.scope, TokenScope::Stream(hash) if hash != contract) {
                return Err(SessionError::OtherRules);
            }
            // Only to know that it is there.
            trail.read(Begin::After(token.position)).await?;
            Ok(token.position)
        }
    }
}
