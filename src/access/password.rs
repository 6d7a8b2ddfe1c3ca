//! Password hashes: argon2id, on blocking threads, few at once.

use std::sync::Arc;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::hash_memory::{HashMemory, Lease};
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
    memory: Lease,
    _permit: OwnedSemaphorePermit,
}

/// Computes and checks hashes, [`limits::PASSWORD_HASHES_AT_ONCE`] at a time.
#[derive(Debug, Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    memory: Arc<HashMemory>,
    decoy: Arc<str>,
}

impl Passwords {
    /// Computes the decoy once, so that an unknown user costs the same as a wrong password. Blocks some 20 milliseconds.
    pub fn new() -> Result<Self, PasswordError> {
        let memory = Arc::<HashMemory>::default();
        let mut lease = memory.wait(1).ok_or(PasswordError::Busy)?.lease();
        let decoy = hash_now("decoy", &mut lease)?.into();
        Ok(Self { turns: Arc::new(Semaphore::new(limits::PASSWORD_HASHES_AT_ONCE)), memory, decoy })
    }

    /// Waits for a turn, behind a bounded number of others.
    pub async fn turn(&self) -> Result<HashTurn, PasswordError> {
        let place = self.memory.wait(limits::PASSWORD_HASHES_WAITING_MAX).ok_or(PasswordError::Busy)?;
        let permit = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| PasswordError::Failed)?;
        Ok(HashTurn { memory: place.lease(), _permit: permit })
    }

    /// The password's hash as a PHC string, with a salt of its own.
    pub async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let turn = self.turn().await?;
        let password = password.to_owned();
        on_blocking_thread(turn, move |memory| hash_now(&password, memory)).await
    }

    /// Whether the password has this hash; without a hash (an unknown user) the same work and `false`.
    pub async fn verify(&self, turn: HashTurn, password: &str, hash: Option<&str>) -> Result<bool, PasswordError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.decoy).to_owned();
        let password = password.to_owned();
        Ok(on_blocking_thread(turn, move |memory| verify_now(&password, &hash, memory)).await? && known)
    }
}

/// The turn moves along: it must not end before the work does, even when the caller goes away.
async fn on_blocking_thread<T: Send + 'static>(
    mut turn: HashTurn,
    work: impl FnOnce(&mut Lease) -> Result<T, PasswordError> + Send + 'static,
) -> Result<T, PasswordError> {
    let done = tokio::task::spawn_blocking(move || work(&mut turn.memory));
    done.await.map_err(|_| PasswordError::Failed)?
}

fn hash_now(password: &str, memory: &mut Lease) -> Result<String, PasswordError> {
    let parameters = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|_| PasswordError::Failed)?;
    let text = ParamsString::try_from(&parameters).map_err(|_| PasswordError::Failed)?;
    let mut salt = [0; Salt::RECOMMENDED_LENGTH];
    getrandom::fill(&mut salt).map_err(|_| PasswordError::Failed)?;
    let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    compute(Argon2::new(algorithm, version, parameters), password, &salt, &mut output, memory)?;
    let hash = PasswordHash {
        algorithm: algorithm.ident(),
        version: Some(version.into()),
        params: text,
        salt: Some(Salt::new(&salt).map_err(|_| PasswordError::Failed)?),
        hash: Some(Output::new(&output).map_err(|_| PasswordError::Failed)?),
    };
    Ok(hash.to_string())
}

/// As [`argon2::PasswordVerifier`] does it, which takes memory of its own for each hash.
fn verify_now(password: &str, hash: &str, memory: &mut Lease) -> Result<bool, PasswordError> {
    let hash = PasswordHash::new(hash).map_err(|_| PasswordError::Failed)?;
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return Err(PasswordError::Failed) };
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(|_| PasswordError::Failed)?;
    let version = hash.version.map_or(Ok(Version::default()), Version::try_from).map_err(|_| PasswordError::Failed)?;
    let parameters = Params::try_from(&hash).map_err(|_| PasswordError::Failed)?;
    let mut output = [0; Output::MAX_LENGTH];
    let output = output.get_mut(..expected.len()).ok_or(PasswordError::Failed)?;
    compute(Argon2::new(algorithm, version, parameters), password, salt, output, memory)?;
    // The comparison takes the same time wherever they differ.
    Output::new(output).map(|output| output == *expected).map_err(|_| PasswordError::Failed)
}

fn compute(
    argon2: Argon2<'_>,
    password: &str,
    salt: &[u8],
    output: &mut [u8],
    memory: &mut Lease,
) -> Result<(), PasswordError> {
    let blocks = memory.blocks(argon2.params().block_count());
    let done = argon2.hash_password_into_with_memory(password.as_bytes(), salt, output, blocks);
    done.map_err(|_| PasswordError::Failed)
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
        let most = limits::PASSWORD_HASHES_WAITING_MAX;
        let places: Vec<_> = (0..most).map_while(|_| passwords.memory.wait(most)).collect();
        assert_eq!(passwords.turn().await.unwrap_err(), PasswordError::Busy);
        assert_eq!(passwords.memory.waiting(), most);
        drop((places, held));
        passwords.turn().await.unwrap();
        assert_eq!(passwords.memory.waiting(), 0);
    }

    #[tokio::test]
    async fn hashes_of_the_librarys_own_interface_are_known_and_ours_by_it() {
        use argon2::password_hash::{PasswordHasher, PasswordVerifier};
        let passwords = Passwords::new().unwrap();
        // One after the other in the same memory, of other parameters too: what lies in it is of no account.
        let small = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 3, 2, Some(24)).unwrap());
        let theirs = [Argon2::default(), small].map(|argon2| argon2.hash_password(b"s3cret").unwrap().to_string());
        for hash in theirs {
            for (password, fits) in [("s3cret", true), ("s3creT", false)] {
                let turn = passwords.turn().await.unwrap();
                let _somebody_waits = passwords.memory.wait(10);
                assert_eq!(passwords.verify(turn, password, Some(&hash)).await, Ok(fits), "{hash}");
            }
        }
        let ours = passwords.hash("s3cret").await.unwrap();
        Argon2::default().verify_password(b"s3cret", &PasswordHash::new(&ours).unwrap()).unwrap();
    }
}
