//! Credentials verified a moment ago, under a keyed hash, so that argon2 runs once a minute and not on each request.
//!
//! Holds no password: a key drawn at random for this process, and digests that mean nothing without it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use tokio::time::{Duration, Instant};

use super::authenticator::PasswordMark;
use super::basic::Credential;
use crate::catalog::Role;
use crate::limits;

type CredentialDigest = [u8; 32];

/// The remembered credentials.
#[derive(Debug)]
pub struct Verified {
    key: [u8; 32],
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<CredentialDigest, Entry>,
    /// Counts changes of users: a verification begun before a change is not remembered after it.
    revision: u64,
}

#[derive(Debug)]
struct Entry {
    name: String,
    role: Role,
    mark: PasswordMark,
    until: Instant,
}

/// The operating system has no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

impl Verified {
    /// Draws the key.
    pub fn new() -> Result<Self, NoRandomness> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|_| NoRandomness)?;
        Ok(Self { key, state: Mutex::default() })
    }

    /// The role of a credential verified within the last minute, and the mark of its password.
    pub fn known(&self, credential: &Credential) -> Option<(Role, PasswordMark)> {
        let digest = self.digest(credential);
        let state = self.lock();
        state.entries.get(&digest).filter(|entry| entry.until > Instant::now()).map(|entry| (entry.role, entry.mark))
    }

    /// The revision to hand to [`Verified::remember`]; read it before the user is looked up.
    pub fn revision(&self) -> u64 {
        self.lock().revision
    }

    /// Remembers a verified credential, unless a user changed since `revision` was read.
    pub fn remember(&self, credential: &Credential, (role, mark): (Role, PasswordMark), revision: u64) {
        let digest = self.digest(credential);
        let now = Instant::now();
        let mut state = self.lock();
        if state.revision != revision {
            return;
        }
        if state.entries.len() >= limits::VERIFIED_MAX {
            state.entries.retain(|_, entry| entry.until > now);
        }
        if state.entries.len() >= limits::VERIFIED_MAX {
            let oldest = state.entries.iter().min_by_key(|(_, entry)| entry.until).map(|(digest, _)| *digest);
            oldest.map(|digest| state.entries.remove(&digest));
        }
        let until = now + Duration::from_secs(limits::VERIFIED_SECONDS);
        state.entries.insert(digest, Entry { name: credential.name.clone(), role, mark, until });
    }

    /// Forgets a user whose password or role changed, or who is gone.
    pub fn forget(&self, name: &str) {
        let mut state = self.lock();
        state.revision += 1;
        state.entries.retain(|_, entry| entry.name != name);
    }

    fn digest(&self, credential: &Credential) -> CredentialDigest {
        let mut hasher = Sha256::new();
        hasher.update(self.key);
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hasher.update((credential.name.len() as u64).to_be_bytes());
        hasher.update(&credential.name);
        hasher.update(&credential.password);
        hasher.finalize().into()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(role: Role) -> (Role, PasswordMark) {
        (role, PasswordMark::of("hash"))
    }

    fn role_of(verified: &Verified, credential: &Credential) -> Option<Role> {
        verified.known(credential).map(|(role, _)| role)
    }

    fn credential(name: &str, password: &str) -> Credential {
        Credential { name: name.into(), password: password.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_credential_is_remembered_for_a_minute() {
        let verified = Verified::new().unwrap();
        let ann = credential("ann", "secret");
        assert_eq!(role_of(&verified, &ann), None);
        verified.remember(&ann, known(Role::Operator), verified.revision());
        tokio::time::advance(Duration::from_secs(limits::VERIFIED_SECONDS - 1)).await;
        assert_eq!(role_of(&verified, &ann), Some(Role::Operator));
        assert_eq!(role_of(&verified, &credential("ann", "Secret")), None);
        assert_eq!(role_of(&verified, &credential("anns", "ecret")), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(role_of(&verified, &ann), None);
    }

    #[tokio::test]
    async fn a_changed_user_is_forgotten_and_the_others_are_not() {
        let verified = Verified::new().unwrap();
        let (ann, bob) = (credential("ann", "a"), credential("bob", "b"));
        verified.remember(&ann, known(Role::User), verified.revision());
        verified.remember(&bob, known(Role::User), verified.revision());
        verified.forget("ann");
        assert_eq!((role_of(&verified, &ann), role_of(&verified, &bob)), (None, Some(Role::User)));
    }

    #[tokio::test]
    async fn a_verification_that_a_change_overtook_is_not_remembered() {
        let verified = Verified::new().unwrap();
        let ann = credential("ann", "old");
        let revision = verified.revision();
        verified.forget("ann");
        verified.remember(&ann, known(Role::Administrator), revision);
        assert_eq!(role_of(&verified, &ann), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_is_bounded_and_the_oldest_goes_first() {
        let verified = Verified::new().unwrap();
        for number in 0..=limits::VERIFIED_MAX {
            verified.remember(&credential(&number.to_string(), "p"), known(Role::User), verified.revision());
            if number == 0 {
                tokio::time::advance(Duration::from_millis(5)).await;
            }
        }
        assert_eq!(verified.lock().entries.len(), limits::VERIFIED_MAX);
        assert_eq!(role_of(&verified, &credential("0", "p")), None);
        assert_eq!(role_of(&verified, &credential("1", "p")), Some(Role::User));
    }
}
