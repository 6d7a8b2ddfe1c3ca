//! Checks of sources: of an extract's, and of one that is to be made.
//!
//! Owns who may ask, and how many are asked at the same time: each opens connections to a server that somebody names.

use tokio::sync::Semaphore;

use super::{ExtractError, Extracts, check_reference};
use crate::capture::{self, Finding};
use crate::catalog::extract::ExtractConfig;
use crate::clock::SharedClock;
use crate::limits;
use crate::record::ResourceName;
use crate::service::principal::{Principal, Verb};
use crate::service::trails::TrailError;
use crate::trail::Writer;

/// Checks that are under way.
#[derive(Debug)]
pub(super) struct Checks(Semaphore);

impl Default for Checks {
    fn default() -> Self {
        Self(Semaphore::new(limits::SOURCE_CHECKS_MAX))
    }
}

impl Extracts {
    /// What the source of an extract says, for a caller who may see the trail that it writes.
    pub async fn check(
        &self,
        principal: Principal<'_>,
        name: &ResourceName,
        clock: &SharedClock,
    ) -> Result<Vec<Finding>, ExtractError> {
        let _one_of_few = self.checks.0.try_acquire().map_err(|_| ExtractError::TooManyChecks)?;
        self.find(principal, name)?;
        let stored = self.with(|known| known.get(name).map(|extract| extract.stored.clone()));
        let stored = stored.ok_or_else(|| ExtractError::Missing(name.clone()))?;
        let password = self.password_of(&stored).await?;
        Ok(capture::check(name, &stored.config, password, clock).await?)
    }

    /// What a source says of an extract that is to be made, for a caller who may make it; what speaks against it here stands
    /// first.
    pub async fn check_new(
        &self,
        principal: Principal<'_>,
        name: &ResourceName,
        config: &ExtractConfig,
        clock: &SharedClock,
    ) -> Result<Vec<Finding>, ExtractError> {
        let _one_of_few = self.checks.0.try_acquire().map_err(|_| ExtractError::TooManyChecks)?;
        principal.check_trail(Verb::Manage, &config.trail)?;
        check_reference(principal, config)?;
        config.validate()?;
        let password = match &config.source.credentials {
            Some(reference) => Some(self.credentials.password(reference).await?),
            None => config.source.password.clone(),
        };
        let trail = || match self.trails.for_writer(&config.trail, &Writer::Extract(name.clone())) {
            // One that is not there is made.
            Ok(_) | Err(TrailError::Missing(_)) => Ok(()),
            Err(error) => Err(error.into()),
        };
        let here = match self.check_free(principal, name, config).and_then(|()| trail()) {
            Ok(()) => {
                Finding::ok("extract", format!("the extract {name} can be made, and write the trail {}", config.trail))
            }
            Err(error) => Finding::error("extract", error.to_string()),
        };
        let mut findings = vec![here];
        findings.extend(capture::check(name, config, password, clock).await?);
        Ok(findings)
    }
}
