//! Secrets at rest: sealed with a random key that lives beside the catalog in a file of its own.
//!
//! Whoever copies the catalog without `secret.key` learns no database password. Whoever holds both learns all of them;
//! that is said, not hidden.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::folder::flush_folder;

/// Name of the key's file in the data folder.
const KEY_FILE: &str = "secret.key";
/// What a sealed text starts with; tells the way of sealing.
const SEAL_PREFIX: &str = "xc20p:";
/// Length of the nonce, in bytes; long enough to be drawn at random for ever.
const NONCE_BYTES: usize = 24;
/// Length of the key, in bytes.
const KEY_BYTES: usize = 32;

/// A secret cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key's file cannot be read or made.
    #[error("secret.key cannot be read or made")]
    KeyFile(#[source] io::Error),
    /// The key's file holds something else.
    #[error(
        "secret.key has {0} bytes instead of 32; restore it from a backup, or remove it and set the credentials anew"
    )]
    KeyLength(usize),
    /// The operating system has no randomness.
    #[error("the operating system gives no random bytes")]
    NoRandomness,
    /// The text was never sealed, was altered, or was sealed with another key.
    #[error("the stored secret was altered, or sealed with another secret.key")]
    Unopenable,
}

/// Seals and opens secrets.
#[derive(Clone)]
pub struct Vault {
    cipher: XChaCha20Poly1305,
    key: [u8; KEY_BYTES],
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// Opens the vault of a data folder, drawing its key on the first start.
    pub fn open_folder(folder: &Path) -> Result<Self, VaultError> {
        let path = folder.join(KEY_FILE);
        let key = match fs::read(&path) {
            Ok(key) => key,
            Err(error) if error.kind() == io::ErrorKind::NotFound => draw_key(folder, &path)?,
            Err(error) => return Err(VaultError::KeyFile(error)),
        };
        let key: [u8; KEY_BYTES] = key.try_into().map_err(|key: Vec<u8>| VaultError::KeyLength(key.len()))?;
        Ok(Self { cipher: XChaCha20Poly1305::new(&Key::from(key)), key })
    }

    /// A key for one purpose, the same after every start of this data folder, that says nothing of the vault's own.
    pub fn key_for(&self, purpose: &str) -> Result<[u8; KEY_BYTES], VaultError> {
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key);
        let mut mac = mac.map_err(|_| VaultError::KeyLength(self.key.len()))?;
        mac.update(purpose.as_bytes());
        Ok(mac.finalize().into_bytes().into())
    }

    /// The secret as a text that only this vault opens; never the same twice.
    pub fn seal(&self, secret: &str) -> Result<String, VaultError> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let sealed =
            self.cipher.encrypt(&XNonce::from(nonce), secret.as_bytes()).map_err(|_| VaultError::Unopenable)?;
        Ok(format!("{SEAL_PREFIX}{}", STANDARD.encode([nonce.as_slice(), &sealed].concat())))
    }

    /// The secret that [`Vault::seal`] was given.
    pub fn open(&self, sealed: &str) -> Result<String, VaultError> {
        let encoded = sealed.strip_prefix(SEAL_PREFIX).ok_or(VaultError::Unopenable)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| VaultError::Unopenable)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Unopenable)?;
        let secret = self.cipher.decrypt(&XNonce::from(*nonce), sealed).map_err(|_| VaultError::Unopenable)?;
        String::from_utf8(secret).map_err(|_| VaultError::Unopenable)
    }
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], VaultError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|_| VaultError::NoRandomness)?;
    Ok(bytes)
}

/// Writes a new key beside its place and renames it, so that a crash leaves a whole key or none.
fn draw_key(folder: &Path, path: &Path) -> Result<Vec<u8>, VaultError> {
    let key: [u8; KEY_BYTES] = random()?;
    let draft = path.with_extension("key.new");
    let write = || -> io::Result<()> {
        let mut file = private_file(&draft)?;
        file.write_all(&key)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        flush_folder(folder)
    };
    write().map_err(VaultError::KeyFile)?;
    Ok(key.to_vec())
}

fn private_file(path: &Path) -> io::Result<File> {
    // A draft left by a crash may have been made with other permissions: start from nothing.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_after_a_restart_and_never_shows() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open_folder(folder.path()).unwrap();
        let (first, second) = (vault.seal("hunter2 ä").unwrap(), vault.seal("hunter2 ä").unwrap());
        assert_ne!(first, second);
        assert!(!first.contains("hunter2"));
        let vault = Vault::open_folder(folder.path()).unwrap();
        assert_eq!(vault.open(&first).unwrap(), "hunter2 ä");
        assert_eq!(vault.open(&second).unwrap(), "hunter2 ä");
    }

    #[test]
    fn each_purpose_has_a_key_of_its_own_that_stays() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open_folder(folder.path()).unwrap();
        let again = Vault::open_folder(folder.path()).unwrap();
        assert_eq!(vault.key_for("a").unwrap(), again.key_for("a").unwrap());
        assert_ne!(vault.key_for("a").unwrap(), vault.key_for("b").unwrap());
        assert_ne!(vault.key_for("a").unwrap(), vault.key);
    }

    #[test]
    fn an_altered_or_foreign_secret_does_not_open() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let vault = Vault::open_folder(folder.path()).unwrap();
        let sealed = vault.seal("secret").unwrap();
        assert!(Vault::open_folder(other.path()).unwrap().open(&sealed).is_err());
        for at in SEAL_PREFIX.len()..sealed.len() {
            let mut altered = sealed.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            assert!(vault.open(std::str::from_utf8(&altered).unwrap()).is_err(), "byte {at}");
        }
        for malformed in ["", "secret", "xc20p:", "xc20p:AAAA", "xc20p:%%%"] {
            assert!(vault.open(malformed).is_err(), "{malformed}");
        }
    }

    #[test]
    fn a_cut_key_file_is_reported_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(KEY_FILE), b"short").unwrap();
        assert!(matches!(Vault::open_folder(folder.path()), Err(VaultError::KeyLength(5))));
        assert_eq!(fs::read(folder.path().join(KEY_FILE)).unwrap(), b"short");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_the_key() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        Vault::open_folder(folder.path()).unwrap();
        let mode = fs::metadata(folder.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
