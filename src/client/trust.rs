//! Which certificates of a server are taken: those that one of the system's roots signed (`SSL_CERT_FILE` names others),
//! and those of authorities of one's own, from a file.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::crypto::ring;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::limits;

/// The file of `--ca` names no authorities.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It cannot be read.
    #[error(
        "--ca: {path} cannot be read: {error}; give the PEM file with the certificate of the authority that signed the server's"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// It is no bundle of certificates that anybody has.
    #[error("--ca: {path} is larger than {} MiB; give the certificates of the authorities that you trust alone", limits::CLIENT_CA_BYTES_MAX >> 20)]
    TooLarge {
        /// The file.
        path: String,
    },
    /// It holds something else.
    #[error(
        "--ca: {path} holds no certificate; give PEM, in which a certificate begins with -----BEGIN CERTIFICATE-----"
    )]
    NoCertificate {
        /// The file.
        path: String,
    },
    /// One of its certificates is broken.
    #[error("--ca: certificate {number} of {path} cannot be used: {what}; take a fresh copy from the authority")]
    Broken {
        /// The file.
        path: String,
        /// Which one, from 1.
        number: usize,
        /// What is wrong with it.
        what: String,
    },
}

/// Whom a client believes. Copies share what was read.
#[derive(Clone, Default)]
pub struct Trust(Arc<Trusted>);

#[derive(Default)]
struct Trusted {
    file: Option<PathBuf>,
    own: Vec<CertificateDer<'static>>,
    /// Made when the first server is asked over TLS: reading the system's roots takes milliseconds.
    config: OnceLock<Arc<ClientConfig>>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("file", &self.0.file).finish_non_exhaustive()
    }
}

impl Trust {
    /// The system's roots, and the authorities in this file of PEM certificates. Blocks; the file is read this once.
    pub fn with_file(file: &Path) -> Result<Self, TrustError> {
        let path = file.display().to_string();
        let mut bytes = Vec::new();
        let read =
            File::open(file).and_then(|opened| opened.take(limits::CLIENT_CA_BYTES_MAX + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            return Err(TrustError::Unreadable { path, error });
        }
        if bytes.len() as u64 > limits::CLIENT_CA_BYTES_MAX {
            return Err(TrustError::TooLarge { path });
        }
        let mut own = Vec::new();
        let mut roots = RootCertStore::empty();
        for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(&bytes)) {
            let broken =
                |what: &dyn fmt::Display| TrustError::Broken { path: path.clone(), number, what: what.to_string() };
            let certificate = certificate.map_err(|error| broken(&error))?;
            roots.add(certificate.clone()).map_err(|error| broken(&error))?;
            own.push(certificate);
        }
        if own.is_empty() {
            return Err(TrustError::NoCertificate { path });
        }
        Ok(Self(Arc::new(Trusted { file: Some(file.to_owned()), own, config: OnceLock::new() })))
    }

    /// The set-up of a handshake.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.0.config.get() {
            return Ok(config.clone());
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(self.0.own.iter().cloned());
        if roots.is_empty() {
            return Err("this host has no trusted root certificates; install them (the package ca-certificates), or give that of \
                        the server's authority with --ca FILE or TRAILCAST_CA"
                .to_owned());
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        // Whoever came first has made the same.
        Ok(self.0.config.get_or_init(|| config).clone())
    }

    /// Why a handshake failed, with what helps where that is known.
    pub(super) fn failed(&self, error: &io::Error) -> String {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(rustls::Error::InvalidCertificate(why)) = inner else { return error.to_string() };
        match (why, &self.0.file) {
            // An authority that was made anew under its old name has another key.
            (CertificateError::UnknownIssuer | CertificateError::BadSignature, None) => {
                "its certificate was signed by none of the authorities that this host trusts; if it was one of your own, give that one's \
                 certificate with --ca FILE or TRAILCAST_CA"
                    .to_owned()
            }
            (CertificateError::UnknownIssuer | CertificateError::BadSignature, Some(file)) => format!(
                "its certificate was signed neither by an authority in {} nor by one that this host trusts; give with --ca the \
                 certificate of the authority that signed it",
                file.display()
            ),
            // The variant is of a crate that we do not name.
            (CertificateError::Other(other), _) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                "it shows an authority's certificate (CA:TRUE) as its own; let that authority sign a certificate for the \
                 server, and give the authority's with --ca"
                    .to_owned()
            }
            _ => format!("its certificate is not taken: {why}"),
        }
    }
}
