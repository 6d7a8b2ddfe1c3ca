//! Password hashes: argon2id, on blocking threads, few at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits;

/// Memory of one hash, in KiB: what OWASP advises together with two passes.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over that memory.
const PASSES: u32 = 2;

/// A hash cannot be computed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too many wait already.
    #[error("too many log-ins wait to be checked; try again in a few seconds")]
    Busy,
    /// A stored hash is damaged, the operating system has no randomness, or the server is going down.
    #[error("a password hash could not be computed")]
    Failed,
}

/// The right to compute one hash; given back when dropped.
#[derive(Debug)]
pub struct HashTurn {
    _permit: OwnedSemaphorePermit,
}

/// Computes and checks hashes, [`limits::PASSWORD_HASHES_AT_ONCE`] at a time.
#[derive(Debug, Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    decoy: Arc<str>,
}

impl Passwords {
    /// Computes the decoy once, so that an unknown user costs the same as a wrong password. Blocks some 20 milliseconds.
    pub fn new() -> Result<Self, PasswordError> {
        Ok(Self {
            turns: Arc::new(Semaphore::new(limits::PASSWORD_HASHES_AT_ONCE)),
            waiting: Arc::default(),
            decoy: hash_now("decoy")?.into(),
        })
    }

    /// Waits for a turn, behind a bounded number of others.
    pub async fn turn(&self) -> Result<HashTurn, PasswordError> {
        let place = Place::take(&self.waiting)?;
        let permit = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| PasswordError::Failed)?;
        drop(place);
        Ok(HashTurn { _permit: permit })
    }

    /// The password's hash as a PHC string, with a salt of its own.
    pub async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let turn = self.turn().await?;
        let password = password.to_owned();
        on_blocking_thread(turn, move || hash_now(&password)).await
    }

    /// Whether the password has this hash; without a hash (an unknown user) the same work and `false`.
    pub async fn verify(&self, turn: HashTurn, password: &str, hash: Option<&str>) -> Result<bool, PasswordError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.decoy).to_owned();
        let password = password.to_owned();
        Ok(on_blocking_thread(turn, move || verify_now(&password, &hash)).await? && known)
    }
}

/// A place among those who wait; given up when dropped, also by a client that went away.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Result<Self, PasswordError> {
        let place = Self(waiting);
        // The place is taken before the look, and given up by its drop if there were too many.
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        if before >= limits::PASSWORD_HASHES_WAITING_MAX { Err(PasswordError::Busy) } else { Ok(place) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The turn moves along: it must not end before the work does, even when the caller goes away.
async fn on_blocking_thread<T: Send + 'static>(
    turn: HashTurn,
    work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
) -> Result<T, PasswordError> {
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    done.await.map_err(|_| PasswordError::Failed)?
}

fn hash_now(password: &str) -> Result<String, PasswordError> {
    let parameters = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|_| PasswordError::Failed)?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    let hash = hasher.hash_password(password.as_bytes()).map_err(|_| PasswordError::Failed)?;
    Ok(hash.to_string())
}

fn verify_now(password: &str, hash: &str) -> Result<bool, PasswordError> {
    let hash = PasswordHash::new(hash).map_err(|_| PasswordError::Failed)?;
    Ok(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_fits_its_password_only_and_is_never_the_same() {
        let passwords = Passwords::new().unwrap();
        let hash = passwords.hash("s3cret").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash("s3cret").await.unwrap());
        for (password, fits) in [("s3cret", true), ("s3creT", false), ("", false)] {
            let turn = passwords.turn().await.unwrap();
            assert_eq!(passwords.verify(turn, password, Some(&hash)).await, Ok(fits));
        }
    }

    #[tokio::test]
    async fn an_unknown_user_never_fits_even_with_the_decoys_password() {
        let passwords = Passwords::new().unwrap();
        let turn = passwords.turn().await.unwrap();
        assert_eq!(passwords.verify(turn, "decoy", None).await, Ok(false));
    }

    #[tokio::test]
    async fn a_damaged_hash_is_an_error_not_a_pass() {
        let passwords = Passwords::new().unwrap();
        let turn = passwords.turn().await.unwrap();
        assert_eq!(passwords.verify(turn, "a", Some("plain text")).await, Err(PasswordError::Failed));
    }

    #[tokio::test]
    async fn those_who_wait_are_bounded_and_their_places_come_back() {
        let passwords = Passwords::new().unwrap();
        let held = [passwords.turn().await.unwrap(), passwords.turn().await.unwrap()];
        passwords.waiting.store(limits::PASSWORD_HASHES_WAITING_MAX, Ordering::Relaxed);
        assert_eq!(passwords.turn().await.unwrap_err(), PasswordError::Busy);
        assert_eq!(passwords.waiting.load(Ordering::Relaxed), limits::PASSWORD_HASHES_WAITING_MAX);
        passwords.waiting.store(0, Ordering::Relaxed);
        drop(held);
        passwords.turn().await.unwrap();
        assert_eq!(passwords.waiting.load(Ordering::Relaxed), 0);
    }
}
