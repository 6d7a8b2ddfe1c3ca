//! What is read in X.509 certificates: a subject's common name, when one expires, and what is said of that.
//!
//! Owns reading, and when each of the listener's files expires; whether a certificate is to be believed is the TLS
//! handshake's business.

use std::sync::atomic::{AtomicI64, Ordering};

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

/// A file of the listener with certificates in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

    /// The member of the configuration that names it.
    pub fn member(self) -> &'static str {
        match self {
            Self::Certificate => "tls.certificate",
            Self::ClientCa => "tls.clientCa",
        }
    }
}

/// When the first certificate of each file expires; the listener tells, metrics and readiness read it.
#[derive(Debug)]
pub struct Expiries([AtomicI64; CertificateFile::ALL.len()]);

impl Default for Expiries {
    fn default() -> Self {
        Self([const { AtomicI64::new(i64::MAX) }; CertificateFile::ALL.len()])
    }
}

impl Expiries {
    /// Tells when the first certificate of a file expires, if there is one.
    pub fn tell(&self, file: CertificateFile, end: Option<Timestamp>) {
        self.0[file as usize].store(end.map_or(i64::MAX, |end| end.micros()), Ordering::Relaxed);
    }

    /// When the first certificate of a file expires; none of a file that is not there or has not been read.
    pub fn of(&self, file: CertificateFile) -> Option<Timestamp> {
        let micros = self.0[file as usize].load(Ordering::Relaxed);
        (micros != i64::MAX).then(|| Timestamp::from_micros(micros))
    }

    /// What is to be said at `now`, file by file.
    pub fn troubles(&self, now: Timestamp) -> Vec<(CertificateFile, ExpiryTrouble)> {
        let trouble = |file: CertificateFile| Some((file, expiry_trouble(self.of(file)?, now)?));
        CertificateFile::ALL.into_iter().filter_map(trouble).collect()
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
        expiries.tell(CertificateFile::ClientCa, Some(now));
        assert_eq!(expiries.troubles(now)[0].0, CertificateFile::ClientCa);
        expiries.tell(CertificateFile::ClientCa, None);
        assert_eq!(expiries.of(CertificateFile::ClientCa), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(0u8.., 0..200)) {
            let _ = (common_name(&bytes), expiry(&bytes));
        }
    }
}
