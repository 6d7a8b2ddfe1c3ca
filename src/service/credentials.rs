//! Database passwords that extracts name: stored sealed, never read back over a face. Their names can be listed.

use super::principal::Principal;
use crate::access::NotGranted;
use crate::catalog::extract::{CredentialsRef, Secret};
use crate::catalog::{Catalog, CatalogError, Shelf, Vault, VaultError};
use crate::record::ResourceName;

/// The stored passwords of a server.
#[derive(Debug)]
pub struct Credentials {
    catalog: Catalog,
    vault: Vault,
}

/// A password cannot be stored or had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// There is none of that name.
    #[error("credentials {domain}/{alias} do not exist")]
    Missing {
        /// Their domain.
        domain: String,
        /// Their alias.
        alias: String,
    },
    /// The caller is narrowed to trails and streams, and these are of no trail.
    #[error(transparent)]
    Denied(#[from] NotGranted),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The password cannot be sealed or opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Credentials {
    pub(super) fn new(catalog: Catalog, vault: Vault) -> Self {
        Self { catalog, vault }
    }

    /// Stores a password, over one that was there.
    pub async fn put(
        &self,
        principal: Principal<'_>,
        domain: &ResourceName,
        alias: &ResourceName,
        password: &str,
    ) -> Result<(), CredentialsError> {
        principal.check_server()?;
        let (key, sealed) = (format!("{domain}/{alias}"), self.vault.seal(password)?);
        Ok(self.catalog.blocking(move |catalog| catalog.put(Shelf::Credentials, &key, &sealed)).await?)
    }

    /// Domain and alias of every stored password, in their order. Never the passwords.
    pub async fn names(&self, principal: Principal<'_>) -> Result<Vec<(String, String)>, CredentialsError> {
        principal.check_server()?;
        let names = self.catalog.blocking(|catalog| catalog.names(Shelf::Credentials)).await?;
        let split = |name: String| name.split_once('/').map(|(domain, alias)| (domain.to_owned(), alias.to_owned()));
        Ok(names.into_iter().filter_map(split).collect())
    }

    /// Removes a stored password.
    pub async fn remove(
        &self,
        principal: Principal<'_>,
        domain: &ResourceName,
        alias: &ResourceName,
    ) -> Result<(), CredentialsError> {
        principal.check_server()?;
        let key = format!("{domain}/{alias}");
        if self.catalog.blocking(move |catalog| catalog.delete(Shelf::Credentials, &key)).await? {
            return Ok(());
        }
        Err(CredentialsError::Missing { domain: domain.to_string(), alias: alias.to_string() })
    }

    /// The password that an extract names.
    pub(super) async fn password(&self, reference: &CredentialsRef) -> Result<Secret, CredentialsError> {
        let key = format!("{}/{}", reference.domain, reference.alias);
        let found = self.catalog.blocking(move |catalog| catalog.get::<String>(Shelf::Credentials, &key)).await?;
        let CredentialsRef { domain, alias } = reference.clone();
        self.opened(&found.ok_or(CredentialsError::Missing { domain, alias })?)
    }

    /// Seals a password that is stored with the extract itself.
    pub(super) fn sealed(&self, password: &Secret) -> Result<String, CredentialsError> {
        Ok(self.vault.seal(password.reveal())?)
    }

    /// Opens it again.
    pub(super) fn opened(&self, sealed: &str) -> Result<Secret, CredentialsError> {
        Ok(Secret::new(self.vault.open(sealed)?))
    }
}
