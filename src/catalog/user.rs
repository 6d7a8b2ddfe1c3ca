//! A user as stored: name, role, password hash, grants.
//!
//! Owns the form and the range of names; checking passwords belongs to `access`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::grant::Grants;
use crate::limits;

/// What a user may do; each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Sees what exists.
    User,
    /// Reads data streams and their configuration.
    Operator,
    /// Makes, changes and removes.
    Administrator,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "User",
            Self::Operator => "Operator",
            Self::Administrator => "Administrator",
        })
    }
}

impl std::str::FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        let roles = [Self::User, Self::Operator, Self::Administrator];
        roles.into_iter().find(|role| role.to_string().eq_ignore_ascii_case(text)).ok_or(InvalidRole)
    }
}

/// The text names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is User, Operator or Administrator")]
pub struct InvalidRole;

/// The user's name is out of its allowed range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user's name has 1 to 256 bytes, no colon, no slash and no control character")]
pub struct InvalidUserName;

/// One user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// The name; see [`check_user_name`].
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// The password's argon2id hash as a PHC string.
    pub password_hash: String,
    /// For Digest authentication; only there when the password was set while it was on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestHashes>,
    /// What the user is narrowed to, if he is: only there since format 4 of the catalog, which programs that do not know
    /// grants refuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Arc<Grants>>,
}

impl User {
    /// Whether there is nothing that this user may not do.
    pub fn may_everything(&self) -> bool {
        self.role == Role::Administrator && self.grants.is_none()
    }
}

/// What Digest authentication stores of a password: as good as the password itself for whoever steals it, and so kept only
/// where it is asked for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DigestHashes {
    /// Over name, realm and password, in hexadecimal digits.
    pub md5: String,
    /// The same by SHA-256.
    pub sha256: String,
}

impl fmt::Debug for DigestHashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestHashes")
    }
}

impl fmt::Debug for User {
    // A hash in a log is an invitation to guess offline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// Checks a user's name: Basic authentication ends it at the first colon, and it is one segment of a path.
pub fn check_user_name(name: &str) -> Result<(), InvalidUserName> {
    let length_fits = (1..=limits::CREDENTIAL_BYTES_MAX).contains(&name.len());
    let legal = |character: char| !character.is_control() && !matches!(character, ':' | '/');
    if length_fits && name.chars().all(legal) { Ok(()) } else { Err(InvalidUserName) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_contain_the_ones_before() {
        assert!(Role::User < Role::Operator && Role::Operator < Role::Administrator);
        assert_eq!("operator".parse(), Ok(Role::Operator));
        assert_eq!("root".parse::<Role>(), Err(InvalidRole));
    }

    #[test]
    fn a_users_name_has_no_colon_slash_or_control_character() {
        for bad in ["", "a:b", "a/b", "a\nb", "\u{85}", &"a".repeat(257)] {
            assert!(check_user_name(bad).is_err(), "{bad:?}");
        }
        for good in ["admin", "ann@example.com", "Jürgen Ä", &"a".repeat(256)] {
            assert!(check_user_name(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn the_hash_is_not_printed() {
        let user = User {
            name: "ann".into(),
            role: Role::User,
            password_hash: "$argon2id$secret".into(),
            digest: None,
            grants: None,
        };
        assert!(!format!("{user:?}").contains("secret"));
    }
}
