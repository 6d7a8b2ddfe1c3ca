//! Deleting extracts: with what they have at their sources, if so asked, and never with their trails.

use super::{ExtractError, ExtractInfo, Extracts, check_managing};
use crate::capture::{self, Released};
use crate::catalog::Shelf;
use crate::record::{ResourceName, TrailName};
use crate::service::principal::Principal;

/// The trail of an extract that was deleted: nobody writes it any more, nor can anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftTrail {
    /// Its name.
    pub name: TrailName,
    /// Whether nothing was ever captured into it.
    pub is_empty: bool,
}

impl Extracts {
    /// Stops and removes an extract. Its slot and publication stay at the source, and its trail stays, which is what is
    /// returned.
    pub async fn delete(&self, principal: Principal<'_>, name: &ResourceName) -> Result<LeftTrail, ExtractError> {
        let _one_at_a_time = self.changing.lock().await;
        let extract = self.to_be_deleted(principal, name)?;
        self.stop(name).await;
        self.remove(extract).await
    }

    /// The same, and takes away at the source what the extract made there. If that does not work nothing is deleted, and the
    /// extract goes on.
    pub async fn delete_with_source(
        &self,
        principal: Principal<'_>,
        name: &ResourceName,
    ) -> Result<(LeftTrail, Released), ExtractError> {
        let _one_at_a_time = self.changing.lock().await;
        let extract = self.to_be_deleted(principal, name)?;
        self.stop(name).await;
        match self.release(name).await {
            Ok(released) => Ok((self.remove(extract).await?, released)),
            Err(error) => {
                self.start_if_wanted(name).await?;
                Err(error)
            }
        }
    }

    fn to_be_deleted(&self, principal: Principal<'_>, name: &ResourceName) -> Result<ExtractInfo, ExtractError> {
        let extract = self.known(name)?;
        check_managing(principal, name, &extract.config.trail)?;
        Ok(extract)
    }

    async fn release(&self, name: &ResourceName) -> Result<Released, ExtractError> {
        let stored = self.with(|known| known.get(name).map(|extract| extract.stored.clone()));
        let stored = stored.ok_or_else(|| ExtractError::Missing(name.clone()))?;
        let password = self.password_of(&stored).await?;
        let released = capture::release(name, &stored.config, password).await;
        released.map_err(|error| ExtractError::NotReleased { extract: name.clone(), error })
    }

    /// Forgets an extract that is stopped.
    async fn remove(&self, extract: ExtractInfo) -> Result<LeftTrail, ExtractError> {
        let ExtractInfo { name, config, .. } = extract;
        let key = name.to_string();
        self.catalog.blocking(move |catalog| catalog.delete(Shelf::Extracts, &key)).await?;
        self.with(|known| drop(known.remove(&name)));
        tracing::info!(extract = %name, "extract deleted");
        let entry = self.trails.get(&config.trail);
        let trail = entry.as_deref().and_then(|entry| entry.served().ok());
        let is_empty = trail.is_some_and(|trail| trail.status().last_commit == 0);
        Ok(LeftTrail { name: config.trail, is_empty })
    }
}
