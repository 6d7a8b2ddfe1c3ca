//! What is read in X.509 certificates: a subject's common name, when one expires, and what is said of that.
//!
//! Owns reading, and when each of the listener's files expires; whether a certificate is to be believed is the TLS
//! handshake's business.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Tag, Tagged as _};

use crate::limits;
use crate::record::Timestamp;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The handshake is the judge of what is valid; this reads what it has let pass, odd serial numbers and all.
fn read(certificate: &[u8]) -> Option<CertificateInner<Raw>> {
    CertificateInner::from_der(certificate).ok()
}

/// The common name of a certificate's subject, if there is exactly one, not empty, in UTF-8.
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let certificate = read(certificate)?;
    let mut names = certificate.tbs_certificate().subject().iter().filter(|name| name.oid == COMMON_NAME);
    // Two common names: whose certificate it is cannot be said.
    let (Some(name), None) = (names.next(), names.next()) else { return None };
    let is_text = matches!(name.value.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String);
    let text = String::from_utf8(name.value.value().to_vec()).ok()?;
    (is_text && !text.is_empty()).then_some(text)
}

/// When a certificate expires.
pub fn expiry(certificate: &[u8]) -> Option<Timestamp> {
    let after = read(certificate)?.tbs_certificate().validity().not_after.to_unix_duration();
    Some(Timestamp::from_micros(i64::try_from(after.as_micros()).unwrap_or(i64::MAX)))
}

/// What is wrong with an expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiryTrouble {
    /// Whether it is over already.
    pub expired: bool,
    /// A sentence without a subject: `expires in 7 days, at …`.
    pub what: String,
}

/// What is to be said at `now` of a certificate that expires at `end`; nothing while there is time.
pub fn expiry_trouble(end: Timestamp, now: Timestamp) -> Option<ExpiryTrouble> {
    let left = end.micros().saturating_sub(now.micros()) / 1_000_000;
    let at = end.to_rfc3339();
    if end <= now {
        let what = format!("has expired, at {at}: clients refuse it, replace it");
        return Some(ExpiryTrouble { expired: true, what });
    }
    let days = left / 86_400;
    let what = format!("expires in {days} {}, at {at}: renew it", if days == 1 { "day" } else { "days" });
    (days < limits::CERTIFICATE_SOON_DAYS).then_some(ExpiryTrouble { expired: false, what })
}

/// A file of a listener with certificates in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateFile {
    /// The server's own, with those between it and its authority.
    Certificate,
    /// The authorities of client certificates.
    ClientCa,
}

impl CertificateFile {
    /// Every file.
    pub const ALL: [Self; 2] = [Self::Certificate, Self::ClientCa];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::ClientCa => "client_ca",
        }
    }

    /// The member of the configuration that names it, of the main listener (no name) or of a face's own.
    fn member(self, listener: &str) -> String {
        let table = if listener.is_empty() { "tls".to_owned() } else { format!("face.{listener}.tls") };
        match self {
            Self::Certificate => format!("{table}.certificate"),
            Self::ClientCa => format!("{table}.clientCa"),
        }
    }
}

/// When the first certificate of each file of each listener expires; the listeners tell, metrics and readiness read it. A
/// listener is called after the face whose own it is; the main one has the empty name.
#[derive(Debug, Default)]
pub struct Expiries(Mutex<BTreeMap<(&'static str, CertificateFile), Timestamp>>);

impl Expiries {
    /// Tells when the first certificate of a listener's file expires, if there is one.
    pub fn tell(&self, listener: &'static str, file: CertificateFile, end: Option<Timestamp>) {
        let mut ends = self.lock();
        match end {
            Some(end) => drop(ends.insert((listener, file), end)),
            None => drop(ends.remove(&(listener, file))),
        }
    }

    /// When the first certificate in such a file of any listener expires; none if there is no file or none has been read.
    pub fn of(&self, file: CertificateFile) -> Option<Timestamp> {
        self.lock().iter().filter(|((_, of), _)| *of == file).map(|(_, end)| *end).min()
    }

    /// What is to be said at `now`, by the member of the configuration that names the file.
    pub fn troubles(&self, now: Timestamp) -> Vec<(String, ExpiryTrouble)> {
        let trouble = |(&(listener, file), &end): (&(&'static str, CertificateFile), &Timestamp)| {
            Some((file.member(listener), expiry_trouble(end, now)?))
        };
        self.lock().iter().filter_map(trouble).collect()
    }

    /// The same of one listener.
    pub fn troubles_of(&self, listener: &str, now: Timestamp) -> Vec<(String, ExpiryTrouble)> {
        let members = CertificateFile::ALL.map(|file| file.member(listener));
        self.troubles(now).into_iter().filter(|(member, _)| members.contains(member)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(&'static str, CertificateFile), Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    fn certificate(name: Option<&str>) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["host.example".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        if let Some(name) = name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_common_name_is_found_among_other_names() {
        assert_eq!(common_name(&certificate(Some("ann@example.com"))).as_deref(), Some("ann@example.com"));
        assert_eq!(common_name(&certificate(Some("Jürgen Ä"))).as_deref(), Some("Jürgen Ä"));
        assert_eq!(common_name(&certificate(None)), None);
    }

    #[test]
    fn no_cut_certificate_makes_it_panic_or_gives_a_name_or_an_end() {
        let whole = certificate(Some("ann"));
        for end in 0..whole.len() {
            assert_eq!((common_name(&whole[..end]), expiry(&whole[..end])), (None, None), "{end}");
        }
    }

    #[test]
    fn an_expiry_is_read_in_both_notations_of_time() {
        // Up to 2049 two digits stand for the year, later four.
        for (year, text) in
            [(2031, "2031-02-03T00:00:00"), (2050, "2050-02-03T00:00:00"), (9999, "9999-02-03T00:00:00")]
        {
            let mut params = CertificateParams::new(vec!["host.example".into()]).unwrap();
            params.not_after = date_time_ymd(year, 2, 3);
            let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert!(expiry(made.der()).unwrap().to_rfc3339().starts_with(text), "{text}");
        }
    }

    #[test]
    fn it_is_said_thirty_days_ahead() {
        let now = Timestamp::parse("2026-07-13T04:00:00Z").unwrap();
        let said = |end: &str| expiry_trouble(Timestamp::parse(end).unwrap(), now);
        assert_eq!(said("2026-08-12T04:00:00Z"), None);
        let soon = said("2026-08-12T03:59:59Z").unwrap();
        assert!(!soon.expired && soon.what.starts_with("expires in 29 days, at 2026-08-12T03:59:59"), "{soon:?}");
        assert!(said("2026-07-14T04:00:00Z").unwrap().what.starts_with("expires in 1 day, "));
        assert!(said("2026-07-13T05:00:00Z").unwrap().what.starts_with("expires in 0 days, "));
        assert!(said("2026-07-13T04:00:00Z").unwrap().expired);
        let expiries = Expiries::default();
        assert!(expiries.troubles(now).is_empty());
        let later = Timestamp::parse("2026-07-13T05:00:00Z").unwrap();
        expiries.tell("", CertificateFile::ClientCa, Some(later));
        expiries.tell("toy", CertificateFile::ClientCa, Some(now));
        let members: Vec<_> = expiries.troubles(now).into_iter().map(|(member, _)| member).collect();
        assert_eq!(members, ["tls.clientCa", "face.toy.tls.clientCa"]);
        assert_eq!(expiries.troubles_of("toy", now).len(), 1);
        assert_eq!(expiries.of(CertificateFile::ClientCa), Some(now), "the first of them");
        expiries.tell("toy", CertificateFile::ClientCa, None);
        assert_eq!(expiries.of(CertificateFile::ClientCa), Some(later));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(0u8.., 0..200)) {
            let _ = (common_name(&bytes), expiry(&bytes));
        }
    }
}
