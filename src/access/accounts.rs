//! Makes, changes and removes users, and the first administrator of a new server.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::authenticator::Authenticator;
use super::password::PasswordError;
use crate::catalog::user::check_user_name;
use crate::catalog::{Catalog, CatalogError, Grants, InvalidUserName, Role, Shelf, User};
use crate::limits;

/// Name of the user that a server without users makes for itself.
pub const FIRST_ADMINISTRATOR: &str = "admin";
/// Randomness of a password that we draw, in bytes.
const DRAWN_PASSWORD_BYTES: usize = 18;

/// A user cannot be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The name is out of range.
    #[error(transparent)]
    Name(#[from] InvalidUserName),
    /// The password is out of range.
    #[error("a password has 1 to 256 bytes")]
    Password,
    /// There is no such user.
    #[error("user {0} does not exist")]
    Missing(String),
    /// Without an Administrator nobody could make one again.
    #[error("{0} is the last Administrator")]
    LastAdministrator(String),
    /// The first one is somebody who may make others.
    #[error("the first user must be an Administrator, or nobody could make another one over REST")]
    FirstUser,
    /// The hash could not be computed.
    #[error(transparent)]
    Hash(#[from] PasswordError),
    /// The catalog refused; a taken name among the reasons.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The operating system has no randomness.
    #[error("the operating system gives no random bytes")]
    NoRandomness,
}

/// Whoever is to be made.
#[derive(Debug, Clone)]
pub struct NewUser<'a> {
    /// The name, which must be free.
    pub name: &'a str,
    /// What the user may do.
    pub role: Role,
    /// To what the user is narrowed; none: to nothing.
    pub grants: Option<Grants>,
    /// The first password.
    pub password: &'a str,
}

/// What is to be changed of a user.
#[derive(Debug, Clone, Default)]
pub struct UserChange<'a> {
    /// Another role.
    pub role: Option<Role>,
    /// Other grants, or from now on none.
    pub grants: Option<Option<Grants>>,
    /// Another password.
    pub password: Option<&'a str>,
}

/// The users of this server.
#[derive(Debug, Clone)]
pub struct Accounts {
    catalog: Catalog,
    authenticator: Arc<Authenticator>,
    /// One change at a time, so that two removals cannot both leave "the other" Administrator.
    changes: Arc<tokio::sync::Mutex<()>>,
}

impl Accounts {
    /// Over a catalog and the authenticator that must forget changed users.
    pub fn new(catalog: Catalog, authenticator: Arc<Authenticator>) -> Self {
        Self { catalog, authenticator, changes: Arc::default() }
    }

    /// On a server without users makes `admin`, with the password given or a drawn one. The drawn one is returned, to be
    /// printed once; it is kept nowhere.
    pub async fn first_start(&self, password: Option<&str>) -> Result<Option<String>, AccountError> {
        if !self.is_empty().await? {
            return Ok(None);
        }
        let drawn = if password.is_some() { None } else { Some(draw_password()?) };
        let password = password.or(drawn.as_deref()).unwrap_or_default();
        let (name, role) = (FIRST_ADMINISTRATOR, Role::Administrator);
        self.add(NewUser { name, role, grants: None, password }).await?;
        Ok(drawn)
    }

    /// Whether nobody is there yet.
    pub async fn is_empty(&self) -> Result<bool, AccountError> {
        Ok(self.blocking(|catalog| catalog.names(Shelf::Users)).await?.is_empty())
    }

    /// Makes a user whose name is free.
    pub async fn add(&self, new: NewUser<'_>) -> Result<(), AccountError> {
        check_user_name(new.name)?;
        let user = User {
            name: new.name.into(),
            role: new.role,
            password_hash: self.hash(new.password).await?,
            digest: self.authenticator.digest_of(new.name, new.password),
            grants: new.grants.map(Arc::new),
        };
        let _one_at_a_time = self.changes.lock().await;
        self.blocking(move |catalog| catalog.put_new(Shelf::Users, &user.name, &user)).await
    }

    /// Changes of a user what is given.
    pub async fn change(&self, name: &str, change: UserChange<'_>) -> Result<(), AccountError> {
        let new_hash = match change.password {
            Some(password) => Some(self.hash(password).await?),
            None => None,
        };
        let _one_at_a_time = self.changes.lock().await;
        let mut user = self.get(name).await?;
        let before = user.clone();
        user.role = change.role.unwrap_or(user.role);
        if let Some(grants) = change.grants {
            user.grants = grants.map(Arc::new);
        }
        if !user.may_everything() {
            self.keep_an_administrator(&before).await?;
        }
        if let (Some(hash), Some(password)) = (new_hash, change.password) {
            user.password_hash = hash;
            user.digest = self.authenticator.digest_of(name, password);
        }
        let stored = self.blocking(move |catalog| catalog.put(Shelf::Users, &user.name, &user)).await;
        // Whatever the answer: a change that failed may be there all the same.
        self.authenticator.user_changed(name);
        stored
    }

    /// Removes a user, unless it is the last Administrator.
    pub async fn remove(&self, name: &str) -> Result<(), AccountError> {
        let _one_at_a_time = self.changes.lock().await;
        let user = self.get(name).await?;
        self.keep_an_administrator(&user).await?;
        let removed = self.blocking(move |catalog| catalog.delete(Shelf::Users, &user.name)).await;
        self.authenticator.user_changed(name);
        removed.map(drop)
    }

    /// One user.
    pub async fn get(&self, name: &str) -> Result<User, AccountError> {
        let wanted = name.to_owned();
        let user = self.blocking(move |catalog| catalog.get(Shelf::Users, &wanted)).await?;
        user.ok_or_else(|| AccountError::Missing(name.into()))
    }

    /// All users, by name.
    pub async fn list(&self) -> Result<Vec<User>, AccountError> {
        let users = self.blocking(|catalog| catalog.list(Shelf::Users)).await?;
        Ok(users.into_iter().map(|(_, user)| user).collect())
    }

    async fn keep_an_administrator(&self, leaving: &User) -> Result<(), AccountError> {
        let others = self.list().await?;
        let remains = |user: &User| user.may_everything() && user.name != leaving.name;
        if !leaving.may_everything() || others.iter().any(remains) {
            return Ok(());
        }
        Err(AccountError::LastAdministrator(leaving.name.clone()))
    }

    async fn hash(&self, password: &str) -> Result<String, AccountError> {
        if !(1..=limits::CREDENTIAL_BYTES_MAX).contains(&password.len()) {
            return Err(AccountError::Password);
        }
        Ok(self.authenticator.passwords().hash(password).await?)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Catalog) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, AccountError> {
        let catalog = self.catalog.clone();
        let done = tokio::task::spawn_blocking(move || work(&catalog)).await;
        Ok(done.map_err(|_| PasswordError::Failed)??)
    }
}

fn draw_password() -> Result<String, AccountError> {
    let mut bytes = [0; DRAWN_PASSWORD_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| AccountError::NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    fn accounts() -> (tempfile::TempDir, Accounts) {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        let authenticator = Arc::new(Authenticator::new(catalog.clone()).unwrap());
        (folder, Accounts::new(catalog, authenticator))
    }

    fn new<'a>(name: &'a str, role: Role, password: &'a str) -> NewUser<'a> {
        NewUser { name, role, grants: None, password }
    }

    async fn logs_in(accounts: &Accounts, name: &str, password: &str) -> bool {
        let header = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
        accounts.authenticator.authenticate(Some(&header), [127, 0, 0, 1].into()).await.is_ok()
    }

    #[tokio::test]
    async fn the_first_start_draws_a_password_and_later_ones_do_not() {
        let (_folder, accounts) = accounts();
        let drawn = accounts.first_start(None).await.unwrap().unwrap();
        assert_eq!(drawn.len(), 24);
        assert!(logs_in(&accounts, "admin", &drawn).await);
        assert_eq!(accounts.first_start(Some("other")).await.unwrap(), None);
        assert!(!logs_in(&accounts, "admin", "other").await);
    }

    #[tokio::test]
    async fn the_first_start_takes_the_password_given_and_tells_nothing() {
        let (_folder, accounts) = accounts();
        assert!(matches!(accounts.first_start(Some("")).await, Err(AccountError::Password)));
        assert_eq!(accounts.first_start(Some("given")).await.unwrap(), None);
        assert!(logs_in(&accounts, "admin", "given").await);
        assert_eq!(accounts.list().await.unwrap()[0].role, Role::Administrator);
    }

    #[tokio::test]
    async fn a_change_or_removal_ends_the_old_credential_at_once() {
        let (_folder, accounts) = accounts();
        accounts.add(new("ann", Role::User, "one")).await.unwrap();
        assert!(logs_in(&accounts, "ann", "one").await);
        accounts.change("ann", UserChange { password: Some("two"), ..UserChange::default() }).await.unwrap();
        assert!(!logs_in(&accounts, "ann", "one").await);
        assert!(logs_in(&accounts, "ann", "two").await);
        accounts.remove("ann").await.unwrap();
        assert!(!logs_in(&accounts, "ann", "two").await);
        assert!(matches!(accounts.remove("ann").await, Err(AccountError::Missing(_))));
    }

    #[tokio::test]
    async fn the_last_administrator_stays() {
        let (_folder, accounts) = accounts();
        accounts.add(new("ann", Role::Administrator, "a")).await.unwrap();
        assert!(matches!(accounts.remove("ann").await, Err(AccountError::LastAdministrator(_))));
        let demoted = accounts.change("ann", UserChange { role: Some(Role::User), ..UserChange::default() }).await;
        assert!(matches!(demoted, Err(AccountError::LastAdministrator(_))));
        let narrow = Grants::from_value("grants", &serde_json::json!(["manage trails=* streams=*"])).unwrap();
        let narrowed = UserChange { grants: Some(Some(narrow.clone())), ..UserChange::default() };
        let narrowed = accounts.change("ann", narrowed).await;
        assert!(matches!(narrowed, Err(AccountError::LastAdministrator(_))), "who is narrowed can make nobody");
        let carol = NewUser { grants: Some(narrow), ..new("carol", Role::Administrator, "c") };
        accounts.add(carol).await.unwrap();
        assert!(matches!(accounts.remove("ann").await, Err(AccountError::LastAdministrator(_))));
        accounts.remove("carol").await.unwrap();
        accounts.add(new("bob", Role::Administrator, "b")).await.unwrap();
        accounts.remove("ann").await.unwrap();
        let taken = accounts.add(new("bob", Role::User, "b")).await;
        assert!(matches!(taken, Err(AccountError::Catalog(CatalogError::Exists { .. }))));
    }
}
