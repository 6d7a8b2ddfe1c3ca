//! Names of consumer groups and of their members.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::name::InvalidName;
use crate::limits;

fn checked(name: &str, what: &str) -> Result<Arc<str>, InvalidName> {
    let length_fits = (1..=limits::GROUP_NAME_CHARS_MAX).contains(&name.len());
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if length_fits && name.bytes().all(legal) {
        return Ok(name.into());
    }
    let most = limits::GROUP_NAME_CHARS_MAX;
    Err(InvalidName::new(format!("a {what}'s name has 1 to {most} characters of A-Z a-z 0-9 _ . -")))
}

macro_rules! group_names {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the range.
            pub fn new(name: &str) -> Result<Self, InvalidName> {
                checked(name, $what).map(Self)
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::new(&name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().into()
            }
        }
    )*};
}

group_names! {
    /// Name of a consumer group: 1 to 128 of `A-Z a-z 0-9 _ . -`. Of one stream no two groups have the same.
    GroupName, "consumer group";
    /// Name of a member of a consumer group, in the same range. Of one group no two members have the same.
    MemberName, "member";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_name_is_short_and_has_no_character_that_a_path_would_have_to_escape() {
        for name in ["g", "9", "_x.y-z", &"g".repeat(limits::GROUP_NAME_CHARS_MAX)] {
            assert_eq!(GroupName::new(name).unwrap().as_str(), name);
        }
        for name in ["", "a/b", "a b", "ü", &"g".repeat(limits::GROUP_NAME_CHARS_MAX + 1)] {
            let said = MemberName::new(name).unwrap_err().to_string();
            assert_eq!(said, "a member's name has 1 to 128 characters of A-Z a-z 0-9 _ . -");
        }
    }
}
