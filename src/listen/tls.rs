//! TLS 1.2 and 1.3 of a listener: its certificate, which client certificates are taken, and their renewal while serving.
//!
//! Owns the handshake's configuration. Which user a client certificate stands for is `access`'s business.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Duration, Instant, interval};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::shutdown::stopped;
use crate::access::{CertificateFile, Expiries, certificate};
use crate::catalog::tls_files::{TlsFileError, TlsFiles, TlsPem, TlsStamp};
use crate::clock::SharedClock;
use crate::limits;
use crate::tasks::{self, Task};

/// The files make no TLS listener. The text never shows what stands in them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] TlsFileError),
    /// A file is no PEM of the kind it should be.
    #[error("{path}: {what}")]
    Pem {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// The parts do not fit together.
    #[error("the TLS certificate and key cannot be used: {0}")]
    Unfit(String),
    /// The task that reads them ended badly.
    #[error("the TLS files could not be read")]
    Interrupted,
}

/// The user name in the client's verified certificate, as a request extension; `None` without a certificate or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate(pub Option<Arc<str>>);

/// The TLS side of a listener.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    /// The face whose own listener it is for; empty for the main one.
    listener: &'static str,
    loaded: RwLock<(TlsStamp, Arc<ServerConfig>)>,
    /// When what is in use expires.
    expiries: Arc<Expiries>,
    clock: SharedClock,
}

impl Tls {
    /// Reads the files of a listener, and tells when they expire; blocks. `listener` is the name of the face whose own it is,
    /// empty for the main one.
    pub fn load(
        files: TlsFiles,
        listener: &'static str,
        clock: SharedClock,
        expiries: Arc<Expiries>,
    ) -> Result<Self, TlsError> {
        let stamp = files.stamp();
        let pem = files.read()?;
        let config = Arc::new(configured(&files, &pem)?);
        tell_expiries(listener, &pem, &expiries);
        Ok(Self { files, listener, loaded: RwLock::new((stamp, config)), expiries, clock })
    }

    /// The handshake with a client; its deadline is the caller's.
    pub(super) async fn accept(&self, socket: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let config = self.loaded.read().unwrap_or_else(PoisonError::into_inner).1.clone();
        TlsAcceptor::from(config).accept(socket).await
    }

    /// Looks for changed files every few seconds and on SIGHUP, until the server stops. What cannot be used is logged,
    /// and the listener goes on with what it has.
    pub(super) async fn keep_fresh(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut looks = interval(Duration::from_secs(limits::TLS_FILES_LOOK_SECONDS));
        let mut warned = None;
        loop {
            self.warn_of_expiry(&mut warned);
            let asked = tokio::select! {
                () = stopped(&mut shutdown) => return,
                _ = looks.tick() => false,
                () = heard(&mut hangup) => true,
            };
            tasks::may_panic(Task::Certificates);
            let tls = self.clone();
            match tokio::task::spawn_blocking(move || tls.refresh(asked)).await {
                Ok(Ok(true)) => {
                    tracing::info!("new TLS certificate in use");
                    warned = None;
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::error!(%error, "new TLS files refused; the old ones stay in use"),
                Err(_) => tracing::error!("the TLS files could not be read"),
            }
        }
    }

    /// Loads the files if they changed since the last look, or if `asked`; whether it did.
    fn refresh(&self, asked: bool) -> Result<bool, TlsError> {
        // Taken before the files are read: a change while they are read is seen by the next look.
        let stamp = self.files.stamp();
        let loaded = || self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        if !asked && loaded().0 == stamp {
            return Ok(false);
        }
        loaded().0 = stamp;
        let pem = self.files.read()?;
        let config = Arc::new(configured(&self.files, &pem)?);
        loaded().1 = config;
        tell_expiries(self.listener, &pem, &self.expiries);
        Ok(true)
    }

    /// Says once a day what has expired or soon will.
    fn warn_of_expiry(&self, warned: &mut Option<Instant>) {
        let pause = Duration::from_secs(limits::CERTIFICATE_WARN_SECONDS);
        let troubles = self.expiries.troubles_of(self.listener, self.clock.now());
        if troubles.is_empty() || warned.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        *warned = Some(Instant::now());
        for (file, trouble) in troubles {
            let what = trouble.what;
            if trouble.expired {
                tracing::error!(file, "a TLS certificate {what}");
            } else {
                tracing::warn!(file, "a TLS certificate {what}");
            }
        }
    }
}

/// Of several certificates in a file the first that expires counts: with it the chain breaks, or an authority is gone.
fn tell_expiries(listener: &'static str, pem: &TlsPem, expiries: &Expiries) {
    let first = |pem: &[u8]| {
        let found = certificates(pem).unwrap_or_default();
        found.iter().filter_map(|certificate| certificate::expiry(certificate)).min()
    };
    expiries.tell(listener, CertificateFile::Certificate, first(&pem.certificate));
    expiries.tell(listener, CertificateFile::ClientCa, pem.client_ca.as_deref().and_then(first));
}

async fn heard(hangup: &mut Option<tokio::signal::unix::Signal>) {
    match hangup {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// The name in the certificate that the client has shown and the handshake has verified.
pub(super) fn peer_certificate(stream: &TlsStream<TcpStream>) -> PeerCertificate {
    let chain = stream.get_ref().1.peer_certificates();
    let name = chain.and_then(<[_]>::first).and_then(|certificate| certificate::common_name(certificate));
    PeerCertificate(name.map(Into::into))
}

fn configured(files: &TlsFiles, pem: &TlsPem) -> Result<ServerConfig, TlsError> {
    let wrong = |path: &std::path::Path, what: String| TlsError::Pem { path: path.display().to_string(), what };
    let chain = certificates(&pem.certificate).map_err(|what| wrong(&files.certificate, what))?;
    let key =
        PrivateKeyDer::from_pem_slice(&pem.key).map_err(|_| wrong(&files.key, "it holds no private key".into()))?;
    let provider = Arc::new(ring::default_provider());
    let unfit = |error: &dyn std::fmt::Display| TlsError::Unfit(error.to_string());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| unfit(&error))?;
    let builder = match (&files.client_ca, &pem.client_ca) {
        (Some(path), Some(pem)) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(pem).map_err(|what| wrong(path, what))? {
                roots.add(authority).map_err(|error| wrong(path, error.to_string()))?;
            }
            // Asked for, not demanded: others log in by password or token.
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            let verifier = verifier.allow_unauthenticated().build().map_err(|error| unfit(&error))?;
            builder.with_client_cert_verifier(verifier)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| unfit(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err("it holds no certificate in PEM".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: TlsFiles) -> Result<Tls, TlsError> {
        Tls::load(files, "", Arc::new(crate::clock::SystemClock), Arc::default())
    }

    fn write_pair(folder: &std::path::Path) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        std::fs::write(folder.join("c.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("k.pem"), made.signing_key.serialize_pem()).unwrap();
    }

    fn files(folder: &std::path::Path) -> TlsFiles {
        TlsFiles { certificate: folder.join("c.pem"), key: folder.join("k.pem"), client_ca: None }
    }

    #[test]
    fn changed_files_are_taken_and_bad_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        write_pair(folder.path());
        let tls = load(files(folder.path())).unwrap();
        let config = || tls.loaded.read().unwrap().1.clone();
        let first = config();
        assert!(!tls.refresh(false).unwrap());
        std::fs::write(folder.path().join("c.pem"), "nothing").unwrap();
        assert!(tls.refresh(false).unwrap_err().to_string().contains("c.pem"));
        assert!(Arc::ptr_eq(&first, &config()), "the old one stays");
        assert!(!tls.refresh(false).unwrap(), "the same bad file is not reported twice");
        write_pair(folder.path());
        assert!(tls.refresh(false).unwrap());
        assert!(!Arc::ptr_eq(&first, &config()));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_pair(one.path());
        write_pair(other.path());
        std::fs::copy(other.path().join("k.pem"), one.path().join("k.pem")).unwrap();
        assert!(matches!(load(files(one.path())), Err(TlsError::Unfit(_))));
    }
}
