//! Certificates for the tests, as PEM: authorities, what they sign, and what signs itself.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// What a certificate says that is valid for these hosts, in a form that a test can change.
pub fn valid_for(hosts: &[&str]) -> CertificateParams {
    CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap()
}

/// The same with an end: an hour after so many days from now, or before now if that is negative.
pub fn valid_for_days(hosts: &[&str], days: i64) -> CertificateParams {
    let (mut params, now) = (valid_for(hosts), SystemTime::now());
    let span = Duration::from_secs(days.unsigned_abs() * 86_400 + 3_600);
    params.not_after = if days < 0 { (now - span).into() } else { (now + span).into() };
    params
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Pair {
    /// A certificate that signs itself.
    pub fn self_signed(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Writes it into the files `server.pem` and `server.key` of the folder, and gives their paths.
    pub fn write(&self, folder: &Path) -> [String; 2] {
        let [certificate, key] = ["server.pem", "server.key"].map(|name| folder.join(name));
        std::fs::write(&certificate, &self.certificate).unwrap();
        std::fs::write(&key, &self.key).unwrap();
        // PostgreSQL takes no other.
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
        [certificate, key].map(|path| path.to_str().unwrap().to_owned())
    }
}

/// An authority that signs certificates of others.
#[derive(Debug)]
pub struct Authority {
    /// Its own.
    pub certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// One of this name, with a new key.
    pub fn new(name: &str) -> Self {
        let mut params = valid_for(&[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.self_signed(&key).unwrap(), issuer: Issuer::new(params, key) }
    }

    /// A certificate that it signed.
    pub fn signed(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair { certificate: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}
