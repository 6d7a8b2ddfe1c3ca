//! What opening a trail does, and what follows a failure: finds the end, keeps what is whole, takes back the rest.
//!
//! Owns that nothing promised is cut and nothing else is shown. What a crash may leave is not the same in a folder and in
//! messages; what is read to find the end is `replay`'s.

pub(super) mod folder;
#[cfg(feature = "fault-injection")]
pub(super) mod messages;

use crate::trail::OpenError;
use crate::trail::shared::Shared;
use crate::trail::store::Store;
use crate::trail::tail::Tail;

/// Finds the end again after a write or a flush has failed: at the durable mark.
pub(super) fn recover_end(shared: &Shared) -> Result<Tail, OpenError> {
    match &shared.store {
        Store::Folder(folder) => folder::cut_back_to_mark(shared, folder),
        #[cfg(feature = "fault-injection")]
        Store::Messages(_) => messages::take_back_to_mark(shared),
    }
}
