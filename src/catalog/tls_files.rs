//! The PEM files of a TLS listener: certificate, key, and the authorities of client certificates.
//!
//! Owns reading them and noticing that they changed; what they mean is `listen`'s business.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::limits;

/// Where the files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// Authorities whose client certificates are taken; none are asked for without.
    pub client_ca: Option<PathBuf>,
}

/// What the files held.
pub struct TlsPem {
    /// The certificates.
    pub certificate: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
    /// The authorities.
    pub client_ca: Option<Vec<u8>>,
}

/// Tells one state of the files from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsStamp(Vec<Option<(SystemTime, u64)>>);

/// A file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct TlsFileError {
    /// Which.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl TlsFiles {
    /// The state of the files now; a file that is not there is a state too.
    pub fn stamp(&self) -> TlsStamp {
        let state = |path: &PathBuf| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        TlsStamp([Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].map(|p| p.and_then(state)).into())
    }

    /// Reads the files.
    pub fn read(&self) -> Result<TlsPem, TlsFileError> {
        Ok(TlsPem {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
            client_ca: self.client_ca.as_deref().map(read).transpose()?,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    let refused = |source| TlsFileError { path: path.into(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(refused)?;
    let limit = limits::PEM_FILE_BYTES_MAX;
    let length = file.take(limit + 1).read_to_end(&mut bytes).map_err(refused)?;
    if length as u64 > limit {
        return Err(refused(io::Error::other(format!("a PEM file has at most {limit} bytes"))));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_changes_the_stamp_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let files = TlsFiles { certificate: at("c.pem"), key: at("k.pem"), client_ca: None };
        fs::write(at("c.pem"), "one").unwrap();
        let before = files.stamp();
        assert!(files.read().is_err_and(|error| error.to_string().contains("k.pem")));
        fs::write(at("k.pem"), "key").unwrap();
        let after = files.stamp();
        assert_ne!(before, after);
        assert_eq!(after, files.stamp());
        assert_eq!(files.read().unwrap().certificate, b"one");
        fs::write(at("c.pem"), vec![b'a'; limits::PEM_FILE_BYTES_MAX as usize + 1]).unwrap();
        assert!(files.read().is_err());
    }
}
