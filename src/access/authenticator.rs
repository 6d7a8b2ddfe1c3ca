//! Who is asking: ties the Basic header, the remembered credentials, the throttle and the password hashes together.

use std::net::IpAddr;

use super::basic::{self, BasicError, Credential};
use super::password::{PasswordError, Passwords};
use super::throttle::{Throttle, Throttled};
use super::verified::Verified;
use crate::catalog::{Catalog, CatalogError, Role, Shelf, User};

/// A verified user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub name: String,
    /// What the user may do.
    pub role: Role,
}

impl Identity {
    /// Refuses whoever has less than `role`.
    pub fn require(&self, role: Role) -> Result<(), AccessError> {
        if self.role >= role { Ok(()) } else { Err(AccessError::Forbidden { needed: role }) }
    }
}

/// A request is not let in.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No `Authorization` header.
    #[error("this needs a user name and a password")]
    Missing,
    /// The header cannot be read.
    #[error(transparent)]
    Malformed(#[from] BasicError),
    /// Unknown user or wrong password; which of them is not said.
    #[error("the user name or the password is wrong")]
    Wrong,
    /// Too many failures.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// The role is not enough.
    #[error("this needs the role {needed}")]
    Forbidden {
        /// The least role that may.
        needed: Role,
    },
    /// Too many log-ins wait.
    #[error("too many log-ins wait to be checked; try again in a few seconds")]
    Busy,
    /// Something of ours failed.
    #[error("the log-in could not be checked")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<PasswordError> for AccessError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::Busy,
            PasswordError::Failed => Self::Internal(error.into()),
        }
    }
}

impl From<CatalogError> for AccessError {
    fn from(error: CatalogError) -> Self {
        Self::Internal(error.into())
    }
}

/// Checks credentials against the catalog's users.
#[derive(Debug)]
pub struct Authenticator {
    catalog: Catalog,
    passwords: Passwords,
    verified: Verified,
    throttle: Throttle,
}

impl Authenticator {
    /// Draws the keys; blocks some 20 milliseconds.
    pub fn new(catalog: Catalog) -> Result<Self, AccessError> {
        let verified = Verified::new().map_err(|error| AccessError::Internal(error.into()))?;
        Ok(Self { catalog, passwords: Passwords::new()?, verified, throttle: Throttle::default() })
    }

    /// The user of an `Authorization` header that came from `peer`.
    ///
    /// A remembered credential passes before any failure is looked at, so nobody is locked out by a stranger's guesses.
    pub async fn authenticate(&self, header: Option<&str>, peer: IpAddr) -> Result<Identity, AccessError> {
        let credential = basic::parse(header.ok_or(AccessError::Missing)?)?;
        if let Some(role) = self.verified.role_of(&credential) {
            return Ok(Identity { name: credential.name, role });
        }
        self.throttle.check(peer, &credential.name)?;
        self.verify(credential, peer).await
    }

    async fn verify(&self, credential: Credential, peer: IpAddr) -> Result<Identity, AccessError> {
        let turn = self.passwords.turn().await?;
        // While this one waited, another request with the same credential may have settled it either way: a thousand
        // clients that come back at once cost one hash, and a thousand guesses at once do not pass the throttle.
        if let Some(role) = self.verified.role_of(&credential) {
            return Ok(Identity { name: credential.name, role });
        }
        self.throttle.check(peer, &credential.name)?;
        let revision = self.verified.revision();
        let user = self.user(&credential.name).await?;
        let hash = user.as_ref().map(|user| user.password_hash.as_str());
        let fits = self.passwords.verify(turn, &credential.password, hash).await?;
        match user {
            Some(user) if fits => {
                self.throttle.succeeded(peer, &user.name);
                self.verified.remember(&credential, user.role, revision);
                Ok(Identity { name: user.name, role: user.role })
            }
            _ => {
                self.throttle.failed(peer, &credential.name);
                Err(AccessError::Wrong)
            }
        }
    }

    async fn user(&self, name: &str) -> Result<Option<User>, AccessError> {
        let (catalog, name) = (self.catalog.clone(), name.to_owned());
        let found = tokio::task::spawn_blocking(move || catalog.get(Shelf::Users, &name));
        Ok(found.await.map_err(|error| AccessError::Internal(error.into()))??)
    }

    /// Must be told when a user's password or role changed or the user is gone: what was remembered is forgotten.
    pub fn user_changed(&self, name: &str) {
        self.verified.forget(name);
    }

    /// The hasher, so that all hashes of the process share one cap.
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const AWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    async fn authenticator() -> (tempfile::TempDir, Authenticator) {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        let authenticator = Authenticator::new(catalog.clone()).unwrap();
        let password_hash = authenticator.passwords().hash("right").await.unwrap();
        catalog.put(Shelf::Users, "ann", &User { name: "ann".into(), role: Role::Operator, password_hash }).unwrap();
        (folder, authenticator)
    }

    fn header(name: &str, password: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
    }

    #[tokio::test]
    async fn the_right_password_gives_name_and_role() {
        let (_folder, authenticator) = authenticator().await;
        let ann = authenticator.authenticate(Some(&header("ann", "right")), HOME).await.unwrap();
        assert_eq!(ann, Identity { name: "ann".into(), role: Role::Operator });
        assert!(ann.require(Role::User).is_ok() && ann.require(Role::Operator).is_ok());
        assert!(matches!(ann.require(Role::Administrator), Err(AccessError::Forbidden { .. })));
    }

    #[tokio::test]
    async fn a_wrong_password_and_an_unknown_user_look_the_same() {
        let (_folder, authenticator) = authenticator().await;
        let wrong = authenticator.authenticate(Some(&header("ann", "wrong")), HOME).await.unwrap_err();
        let unknown = authenticator.authenticate(Some(&header("nobody", "decoy")), HOME).await.unwrap_err();
        assert_eq!(wrong.to_string(), unknown.to_string());
        assert!(matches!(authenticator.authenticate(None, HOME).await, Err(AccessError::Missing)));
        assert!(matches!(authenticator.authenticate(Some("Basic %"), HOME).await, Err(AccessError::Malformed(_))));
    }

    #[tokio::test]
    async fn guesses_are_throttled_but_a_remembered_user_is_not_locked_out() {
        let (_folder, authenticator) = authenticator().await;
        let right = header("ann", "right");
        authenticator.authenticate(Some(&right), AWAY).await.unwrap();
        for _ in 0..limits::FAILED_LOGINS_MAX {
            let refused = authenticator.authenticate(Some(&header("ann", "guess")), HOME).await;
            assert!(matches!(refused, Err(AccessError::Wrong)));
        }
        let refused = authenticator.authenticate(Some(&header("ann", "guess")), HOME).await;
        assert!(matches!(refused, Err(AccessError::Throttled(_))));
        authenticator.authenticate(Some(&right), AWAY).await.unwrap();
        authenticator.authenticate(Some(&right), HOME).await.unwrap();
        authenticator.user_changed("ann");
        authenticator.authenticate(Some(&right), AWAY).await.unwrap();
    }

    #[tokio::test]
    async fn a_changed_password_counts_at_once() {
        let (_folder, authenticator) = authenticator().await;
        authenticator.authenticate(Some(&header("ann", "right")), HOME).await.unwrap();
        let password_hash = authenticator.passwords().hash("new").await.unwrap();
        let changed = User { name: "ann".into(), role: Role::User, password_hash };
        authenticator.catalog.put(Shelf::Users, "ann", &changed).unwrap();
        authenticator.user_changed("ann");
        assert!(authenticator.authenticate(Some(&header("ann", "right")), HOME).await.is_err());
        let ann = authenticator.authenticate(Some(&header("ann", "new")), HOME).await.unwrap();
        assert_eq!(ann.role, Role::User);
    }
}
