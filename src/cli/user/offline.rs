//! Users of a data folder that no server uses.

use std::path::Path;
use std::sync::Arc;

use super::Listed;
use crate::access::{AccessOptions, AccountError, Accounts, Authenticator, NewUser, Role, UserChange};
use crate::catalog::{AuditFile, Catalog, DataFolder, FolderError, Shelf, User, Vault};
use crate::cli::failure::Failure;
use crate::clock::SystemClock;
use crate::face::goldengate::Fact;
use crate::service::audit::{Action, Actor, Audit, Change, Outcome, Told};
use crate::service::refusal::Refusal;

/// A data folder that is ours for the time of the command.
pub(super) struct Offline {
    accounts: Accounts,
    // Dropped last: the lock.
    folder: DataFolder,
}

impl Offline {
    /// Opens a data folder that must be there and free.
    pub(super) async fn open(path: &Path) -> Result<Self, Failure> {
        if !path.is_dir() {
            return Err(Failure::failed(format!("there is no data folder {}", path.display())));
        }
        match DataFolder::open(path) {
            Ok(folder) => Self::over(folder).await,
            Err(FolderError::InUse(path)) => Err(Failure::failed(format!(
                "a server uses the data folder {}: ask it with --url (and --user and TRAILCAST_PASSWORD), or stop it",
                path.display()
            ))),
            Err(error) => Err(Failure::failed(error)),
        }
    }

    /// Opens a data folder if it is there and free.
    pub(super) async fn open_if_free(path: &Path) -> Result<Option<Self>, Failure> {
        if !path.is_dir() {
            return Ok(None);
        }
        match DataFolder::open(path) {
            Ok(folder) => Self::over(folder).await.map(Some),
            Err(FolderError::InUse(_)) => Ok(None),
            Err(error) => Err(Failure::failed(error)),
        }
    }

    async fn over(folder: DataFolder) -> Result<Self, Failure> {
        let path = folder.path().to_owned();
        let accounts = tokio::task::spawn_blocking(move || accounts(&path)).await.map_err(Failure::failed)??;
        Ok(Self { accounts, folder })
    }

    /// Leaves the line that the next server takes over, flushed, whatever came of the change. What was changed stays changed if
    /// there is no room for it.
    async fn audited(&self, action: Action, name: &str, done: Result<(), AccountError>) -> Result<(), Failure> {
        let (folder, path) = (self.folder.path().to_owned(), format!("/services/v2/users/{name}"));
        // As a server would have been asked, and would have answered.
        let method = match action {
            Action::Make => "POST",
            Action::Delete => "DELETE",
            Action::Set | Action::Change | Action::Read => "PATCH",
        };
        let done = done.map_err(|error| (error.to_string(), Fact::from(Refusal::from(error).fact)));
        let outcome = if done.is_ok() { Outcome::Done } else { Outcome::Failed };
        let status = done.as_ref().map_or_else(|(_, fact)| fact.status().as_u16(), |()| 200);
        let write = move || {
            let user = Some(format!("uid {}", rustix::process::getuid().as_raw()));
            let actor = Actor { user, auth: "offline", ..Actor::default() };
            let told = Told { method, status, code: None };
            let change = Change { action, path: Some(&path), outcome, told, detail: None };
            let mut file = AuditFile::open_offline(&folder)?;
            Audit::new(Arc::new(SystemClock)).write_change(&mut file, &actor, &change)
        };
        let written =
            tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        match (done, written) {
            (Ok(()), Ok(())) => Ok(()),
            (Err((failed, _)), Ok(())) => Err(Failure::failed(failed)),
            (Ok(()), Err(error)) => {
                Err(Failure::failed(format!("the change is made, but its audit line cannot be written: {error}")))
            }
            (Err((failed, _)), Err(error)) => {
                Err(Failure::failed(format!("{failed}; and the audit line cannot be written: {error}")))
            }
        }
    }

    pub(super) async fn add(&self, new: NewUser<'_>) -> Result<(), Failure> {
        let name = new.name;
        let may_everything = new.role == Role::Administrator && new.grants.is_none();
        let added = if !may_everything && self.accounts.is_empty().await.map_err(Failure::failed)? {
            Err(AccountError::FirstUser)
        } else {
            self.accounts.add(new).await
        };
        self.audited(Action::Make, name, added).await
    }

    pub(super) async fn change(&self, name: &str, change: UserChange<'_>) -> Result<(), Failure> {
        self.audited(Action::Change, name, self.accounts.change(name, change).await).await
    }

    pub(super) async fn remove(&self, name: &str) -> Result<(), Failure> {
        self.audited(Action::Delete, name, self.accounts.remove(name).await).await
    }

    pub(super) async fn list(&self) -> Result<Vec<Listed>, Failure> {
        let users = self.accounts.list().await.map_err(Failure::failed)?;
        let listed = |user: User| {
            let grants = user.grants.map(|grants| (*grants).clone());
            Listed { name: user.name, role: user.role, grants }
        };
        Ok(users.into_iter().map(listed).collect())
    }
}

fn accounts(folder: &Path) -> Result<Accounts, Failure> {
    let catalog = Catalog::open(folder).map_err(Failure::failed)?;
    // The flag of `serve` is not known here; its traces are: with Digest on, users have hashes for it.
    let users: Vec<(String, User)> = catalog.list(Shelf::Users).map_err(Failure::failed)?;
    let digest = users.iter().any(|(_, user)| user.digest.is_some());
    let options = AccessOptions { digest, ..AccessOptions::default() };
    let token_key = Vault::open_folder(folder).and_then(|vault| vault.key_for("stream tokens"));
    let token_key = token_key.map_err(Failure::failed)?;
    let authenticator = Authenticator::new(catalog.clone()).map_err(Failure::failed)?;
    let authenticator = authenticator.with(Arc::new(SystemClock), options, token_key);
    Ok(Accounts::new(catalog, Arc::new(authenticator)))
}
