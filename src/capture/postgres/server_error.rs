//! What a PostgreSQL server says when it refuses, and whether trying again can help.

use std::fmt;

use crate::capture::error::{CaptureError, Fault};
use crate::codec::byte_text::{self, Charset};

/// SQLSTATEs of warnings that say nothing of what is published: privileges that were not revoked or not granted, features
/// that will go.
const HARMLESS_WARNINGS: [&str; 3] = ["01006", "01007", "01P01"];

/// What helps where a text has no form in UTF-8.
const UNREADABLE_ADVICE: &str = "it sends a text that it cannot convert to UTF-8 to nobody, nor anything behind it: remove \
                                 the character from the source, then begin a new extract with a new trail";
/// What helps where a row filter fails on a row.
const FILTER_ADVICE: &str = "a row filter (where, or one of the publication's own) that fails on a row, with a division by \
                             zero say, does this, and changing it does not help: the source filters what was committed \
                             before with the filter of that time. Begin a new extract with a new trail and another slot, \
                             whose filter cannot fail, and have its tables loaded: what is committed until its slot is \
                             made does not come as changes";

/// A NoticeResponse of severity WARNING that is not known to be harmless: its SQLSTATE and message.
///
/// Judged by the fields that are never translated.
pub(super) fn warning(body: &[u8]) -> Option<ServerError> {
    let severity = body.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"V"));
    let warning = ServerError::decode(body);
    (severity == Some(b"WARNING") && !HARMLESS_WARNINGS.contains(&warning.code.as_str())).then_some(warning)
}

/// An ErrorResponse: SQLSTATE and message. The detail is left out: it may hold values of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerError {
    pub(super) code: String,
    message: String,
}

impl ServerError {
    /// A refusal of our own, where one of the server would stand.
    pub(super) fn own(message: &str) -> Self {
        Self { code: String::new(), message: message.to_owned() }
    }

    /// Reads the fields of an ErrorResponse; what is missing stays empty.
    pub(super) fn decode(body: &[u8]) -> Self {
        let mut error = Self { code: String::new(), message: String::new() };
        for field in body.split(|byte| *byte == 0) {
            if let Some((kind, text)) = field.split_first() {
                // In the server's language, and before a session's start in the server's own encoding.
                let text = || byte_text::decode(text, Charset::Utf8).into_owned();
                match kind {
                    b'C' => error.code = text(),
                    b'M' => error.message = text(),
                    _ => {}
                }
            }
        }
        error
    }

    /// What a text is refused with that has no form in UTF-8: an untranslatable character, or bytes that are none.
    const UNREADABLE: [&str; 2] = ["22P05", "22021"];

    /// Whether it is about a text that has no form in UTF-8.
    pub(super) fn is_unreadable(&self) -> bool {
        Self::UNREADABLE.contains(&self.code.as_str())
    }

    /// Whether it is about a value, so that its message may hold one.
    pub(super) fn is_of_values(&self) -> bool {
        self.code.starts_with("22")
    }

    /// Why the stream has ended, without the message: for an extract whose masks or row filters hide values.
    pub(super) fn into_fault_without_values(self) -> Fault {
        let Self { code, .. } = &self;
        let hidden = format!(
            "a row cannot be sent (SQLSTATE {code}); what the source says of it may hold values of the row, and is not shown"
        );
        let advice = if self.is_unreadable() { UNREADABLE_ADVICE } else { FILTER_ADVICE };
        CaptureError::Refused(format!("{hidden}; {advice}")).into()
    }

    /// Whether a person has to look: the same request will be refused again.
    pub(super) fn is_lasting(&self) -> bool {
        // Wrong credentials, missing database, missing right, missing object, wrong state (wal_level, a lost slot),
        // not supported, bad parameters. Classes 08, 53, 57, 55006 and the rest pass.
        const LASTING: [&str; 9] = ["28", "3D", "42", "0A", "22", "55000", "58P01", "F0", "XX001"];
        LASTING.iter().any(|class| self.code.starts_with(class))
    }
}

/// The SQLSTATE in a text that a [`ServerError`] has become.
pub(super) fn code_in(text: &str) -> Option<&str> {
    let (_, rest) = text.rsplit_once("(SQLSTATE ")?;
    rest.split_once(')').map(|(code, _)| code)
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)
    }
}

impl From<ServerError> for Fault {
    fn from(error: ServerError) -> Self {
        if error.is_unreadable() {
            CaptureError::Refused(format!("{error}; {UNREADABLE_ADVICE}")).into()
        } else if error.is_lasting() {
            CaptureError::Refused(error.to_string()).into()
        } else {
            Self::Passing(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_password_stops_and_a_restart_does_not() {
        let wrong = ServerError::decode(b"SFATAL\0C28P01\0Mpassword authentication failed\0\0");
        assert_eq!(wrong.to_string(), "password authentication failed (SQLSTATE 28P01)");
        assert_eq!(code_in(&Fault::from(wrong.clone()).to_string()), Some("28P01"));
        assert_eq!(code_in("connection to the source: refused"), None);
        assert!(matches!(Fault::from(wrong), Fault::Stop(CaptureError::Refused(_))));
        let unreadable = ServerError { code: "22P05".into(), message: "no equivalent".into() };
        assert!(Fault::from(unreadable).to_string().contains("begin a new extract"));
        let foreign = ServerError::decode(b"C28P01\0Mr\xF4le inconnu\0");
        assert_eq!(foreign.to_string(), "r\u{FFFD}F4le inconnu (SQLSTATE 28P01)");
        for passing in ["57P01", "57P03", "53300", "55006", "08006", ""] {
            let error = ServerError { code: passing.into(), message: String::new() };
            assert!(matches!(Fault::from(error), Fault::Passing(_)), "{passing}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_value_is_told_without_it_where_values_are_hidden() {
        let failed = ServerError::decode(b"C22023\0Munrecognized encoding: \"SECRET@x.org\"\0\0");
        assert!(failed.is_of_values());
        let told = failed.into_fault_without_values();
        assert!(matches!(&told, Fault::Stop(CaptureError::Refused(_))));
        let told = told.to_string();
        assert!(told.contains("SQLSTATE 22023") && told.contains("changing it does not help"), "{told}");
        assert!(!told.contains("SECRET"), "{told}");
        let unreadable = ServerError::decode(b"C22P05\0Mcharacter 0xe2\0\0").into_fault_without_values().to_string();
        assert!(unreadable.contains("remove the character") && !unreadable.contains("0xe2"), "{unreadable}");
        assert!(!ServerError::decode(b"C42704\0Mx\0\0").is_of_values());
    }

    #[test]
    fn a_warning_is_told_by_the_fields_that_nobody_translates_and_known_ones_are_harmless() {
        let code = |body: &[u8]| warning(body).map(|warning| warning.code);
        let skipped = b"SWARNUNG\0VWARNING\0C55000\0M\xc3\x9cbersprungen\0\0";
        assert_eq!(code(skipped), Some("55000".into()));
        assert_eq!(code(b"SWARNING\0VWARNING\0C01000\0\0"), Some("01000".into()));
        for harmless in
            [b"SWARNING\0VNOTICE\0C55000\0\0".as_slice(), b"VWARNING\0C01P01\0\0", b"SWARNING\0C55000\0\0", b""]
        {
            assert_eq!(code(harmless), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            ServerError::decode(&bytes);
        }
    }
}
