//! Reads `Authorization: Basic` (RFC 7617) in UTF-8.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::limits;

/// Some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The header is no Basic credential that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BasicError {
    /// Another scheme, such as Bearer.
    #[error("the Authorization header is not of the scheme Basic")]
    OtherScheme,
    /// Not base64 of UTF-8 text with a colon.
    #[error("the Basic credential is not base64 of user:password in UTF-8")]
    Malformed,
    /// The name or the password is too long.
    #[error("user name and password have at most 256 bytes each")]
    TooLong,
}

/// A name and a password as a client sent them; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The user's name.
    pub name: String,
    /// The password; it may hold colons.
    pub password: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential")
    }
}

/// Reads the value of an `Authorization` header.
pub fn parse(header: &str) -> Result<Credential, BasicError> {
    let (scheme, encoded) = header.trim().split_once(' ').ok_or(BasicError::OtherScheme)?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return Err(BasicError::OtherScheme);
    }
    // Two values, a colon and the growth by base64: longer cannot be legal, so it is not decoded at all.
    if encoded.len() > (2 * limits::CREDENTIAL_BYTES_MAX + 1).div_ceil(3) * 4 + 8 {
        return Err(BasicError::TooLong);
    }
    let bytes = BASE64.decode(encoded.trim()).map_err(|_| BasicError::Malformed)?;
    let text = String::from_utf8(bytes).map_err(|_| BasicError::Malformed)?;
    let (name, password) = text.split_once(':').ok_or(BasicError::Malformed)?;
    if name.len() > limits::CREDENTIAL_BYTES_MAX || password.len() > limits::CREDENTIAL_BYTES_MAX {
        return Err(BasicError::TooLong);
    }
    Ok(Credential { name: name.into(), password: password.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

    fn header(text: impl AsRef<[u8]>) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn the_password_may_hold_colons_and_any_unicode() {
        let credential = parse(&header("jürgen:a:b:ü")).unwrap();
        assert_eq!((credential.name.as_str(), credential.password.as_str()), ("jürgen", "a:b:ü"));
        assert_eq!(parse(&format!("bAsIc {}", STANDARD_NO_PAD.encode("a:"))).unwrap().password, "");
        assert!(!format!("{credential:?}").contains("ü"));
    }

    #[test]
    fn malformed_headers_are_errors() {
        for other in ["", "Basic", "Bearer abc", "Digest username=\"a\""] {
            assert_eq!(parse(other), Err(BasicError::OtherScheme), "{other}");
        }
        for malformed in ["Basic %%%".to_owned(), header("no colon"), header(b"\xff:a")] {
            assert_eq!(parse(&malformed), Err(BasicError::Malformed), "{malformed}");
        }
        for long in [header(format!("{}:a", "n".repeat(257))), format!("Basic {}", "A".repeat(100_000))] {
            assert_eq!(parse(&long), Err(BasicError::TooLong));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_it_panic(text in "\\PC{0,80}", bytes in proptest::collection::vec(0u8.., 0..60)) {
            let _ = parse(&text);
            let _ = parse(&header(bytes));
        }

        #[test]
        fn every_credential_reads_back(name in "[^:]{0,20}", password in ".{0,20}") {
            let read = parse(&header(format!("{name}:{password}"))).unwrap();
            proptest::prop_assert_eq!((read.name, read.password), (name, password));
        }
    }
}
