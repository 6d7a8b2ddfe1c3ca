//! Claims on trails: the extract that is configured to write one has it for itself, and so has whoever deletes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::record::{ResourceName, TrailName};

/// The claims of a server.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<BTreeMap<TrailName, Claimant>>);

/// Who has a trail for himself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claimant {
    /// The extract that writes it.
    Extract(ResourceName),
    /// Its deletion, which is under way.
    Deletion,
}

/// A claim; given up when it is dropped.
#[derive(Debug)]
pub(in crate::service) struct Claim {
    claims: Arc<Claims>,
    trail: TrailName,
}

impl Claims {
    /// Claims a trail, or says who has it.
    pub(super) fn take(self: &Arc<Self>, trail: &TrailName, claimant: Claimant) -> Result<Claim, Claimant> {
        let mut claims = self.lock();
        if let Some(other) = claims.get(trail) {
            return Err(other.clone());
        }
        claims.insert(trail.clone(), claimant);
        Ok(Claim { claims: self.clone(), trail: trail.clone() })
    }

    /// The extract that has claimed a trail.
    pub(super) fn extract_of(&self, trail: &TrailName) -> Option<ResourceName> {
        match self.lock().get(trail)? {
            Claimant::Extract(name) => Some(name.clone()),
            Claimant::Deletion => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TrailName, Claimant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.trail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_has_one_claimant_until_he_gives_it_up() {
        let claims = Arc::new(Claims::default());
        let (trail, extract) = (TrailName::new("a1").unwrap(), ResourceName::new("e1").unwrap());
        let claim = claims.take(&trail, Claimant::Extract(extract.clone())).unwrap();
        assert_eq!(claims.take(&trail, Claimant::Deletion).unwrap_err(), Claimant::Extract(extract.clone()));
        assert_eq!(claims.extract_of(&trail), Some(extract));
        drop(claim);
        let _deletion = claims.take(&trail, Claimant::Deletion).unwrap();
        assert_eq!(claims.extract_of(&trail), None);
    }
}
