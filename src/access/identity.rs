//! Who somebody is, once it is known: name, role, what he is narrowed to, and where and how long his credential counts.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::denial::AccessError;
use super::grants::Narrowing;
use crate::catalog::{Grants, Role, User};
use crate::record::Timestamp;

/// How far a credential reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Everything that the role allows.
    Everything,
    /// Reading streams and their documents.
    Streams,
    /// Reading this stream and its documents.
    Stream(String),
}

/// A verified user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// Where the credential counts.
    pub reach: Reach,
    /// When the credential ends.
    pub expires: Option<Timestamp>,
    /// Whether it is a user of the catalog; others come with the tokens of another issuer.
    pub stored: bool,
    /// Which password the credential stands on, if it stands on one.
    pub password: Option<PasswordMark>,
    /// To which trails and streams the caller is narrowed.
    pub narrowing: Narrowing,
}

impl Identity {
    /// A user of the catalog, with nothing held back but what his grants do not cover.
    pub fn of_user(name: impl Into<String>, role: Role, grants: Option<Arc<Grants>>) -> Self {
        let (name, narrowing) = (name.into(), Narrowing::of_user(grants));
        Self { name, role, reach: Reach::Everything, expires: None, stored: true, password: None, narrowing }
    }

    /// The same, known by the password that the user has now.
    pub(super) fn of_password(user: User) -> Self {
        let mark = PasswordMark::of(&user.password_hash);
        Self::of_user(user.name, user.role, user.grants).by_password(mark)
    }

    /// The same, known by the password of that mark.
    #[must_use]
    pub fn by_password(self, mark: PasswordMark) -> Self {
        Self { password: Some(mark), ..self }
    }

    /// Refuses whoever has less than `role`, and credentials that count for streams only.
    pub fn require(&self, role: Role) -> Result<(), AccessError> {
        if self.reach == Reach::Everything { self.check(role) } else { Err(AccessError::OutOfReach) }
    }

    /// Refuses whoever may not read this stream with at least `role`.
    pub fn require_on(&self, role: Role, stream: &str) -> Result<(), AccessError> {
        match &self.reach {
            Reach::Stream(only) if only != stream => Err(AccessError::OutOfReach),
            Reach::Stream(_) | Reach::Streams | Reach::Everything => self.check(role),
        }
    }

    fn check(&self, role: Role) -> Result<(), AccessError> {
        if self.role >= role { Ok(()) } else { Err(AccessError::Forbidden { needed: role }) }
    }
}

/// Tells one password of a user from the next, and nothing about either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordMark(u64);

impl PasswordMark {
    /// Of the stored hash, which has a salt of its own for each password that is set.
    pub fn of(password_hash: &str) -> Self {
        let digest = Sha256::digest(password_hash.as_bytes());
        Self(digest.iter().take(8).fold(0, |mark, byte| mark << 8 | u64::from(*byte)))
    }
}
