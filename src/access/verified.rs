//! Credentials verified a moment ago, under a keyed hash, so that argon2 runs once and not on each request of a client that
//! goes on.
//!
//! A credential counts as verified for a minute since it was last used, and as recently right for some hours: then it is
//! verified again, whatever others get wrong at its address. Holds no password: a key drawn at random for this process, and
//! digests that mean nothing without it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use tokio::time::{Duration, Instant};

use super::basic::Credential;
use super::identity::PasswordMark;
use crate::catalog::{Grants, Role};
use crate::limits;

type CredentialDigest = [u8; 32];

/// Keeps passwords and nonces apart.
const PASSWORD: u8 = 0;
const ANSWER: u8 = 1;

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

/// What was known of the user when the credential was verified.
#[derive(Debug, Clone)]
pub struct Known {
    /// What the user may do.
    pub role: Role,
    /// The password that was right.
    pub password: PasswordMark,
    /// What the user is narrowed to.
    pub grants: Option<Arc<Grants>>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    /// None of an answer to a Digest challenge, which is checked each time.
    known: Option<Known>,
    used: Instant,
}

impl Entry {
    fn is_younger_than(&self, seconds: u64, now: Instant) -> bool {
        now.saturating_duration_since(self.used) < Duration::from_secs(seconds)
    }
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

    /// Whose credential it is that was verified and used within the last minute; it counts as used now.
    pub fn known(&self, credential: &Credential) -> Option<Known> {
        let digest = self.digest(credential);
        let now = Instant::now();
        let mut state = self.lock();
        let entry = state.entries.get_mut(&digest)?;
        if !entry.is_younger_than(limits::VERIFIED_SECONDS, now) {
            return None;
        }
        entry.used = now;
        entry.known.clone()
    }

    /// Whether a credential was right within the last hours, and its user has not changed since. It must be verified again.
    pub fn was_right(&self, credential: &Credential) -> bool {
        self.is_recent(&self.digest(credential), limits::RECENTLY_RIGHT_SECONDS)
    }

    /// Whether this user has answered this nonce rightly before: whoever goes on with it is no guesser.
    pub fn has_answered(&self, name: &str, nonce: &str) -> bool {
        self.is_recent(&self.digest_of(name, nonce, ANSWER), limits::DIGEST_NONCE_SECONDS.unsigned_abs())
    }

    /// Remembers that this user has answered a nonce rightly, or forgets it after a wrong answer.
    pub fn answered(&self, name: &str, nonce: &str, rightly: bool, revision: u64) {
        let digest = self.digest_of(name, nonce, ANSWER);
        if rightly {
            self.insert(digest, name, None, revision);
        } else {
            self.lock().entries.remove(&digest);
        }
    }

    fn is_recent(&self, digest: &CredentialDigest, seconds: u64) -> bool {
        let now = Instant::now();
        self.lock().entries.get(digest).is_some_and(|entry| entry.is_younger_than(seconds, now))
    }

    /// The revision to hand to [`Verified::remember`]; read it before the user is looked up.
    pub fn revision(&self) -> u64 {
        self.lock().revision
    }

    /// Remembers a verified credential, unless a user changed since `revision` was read.
    pub fn remember(&self, credential: &Credential, known: Known, revision: u64) {
        self.insert(self.digest(credential), &credential.name, Some(known), revision);
    }

    fn insert(&self, digest: CredentialDigest, name: &str, known: Option<Known>, revision: u64) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.revision != revision {
            return;
        }
        if !state.entries.contains_key(&digest) && state.entries.len() >= limits::VERIFIED_MAX {
            state.entries.retain(|_, entry| entry.is_younger_than(limits::RECENTLY_RIGHT_SECONDS, now));
            if state.entries.len() >= limits::VERIFIED_MAX {
                let oldest = state.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(digest, _)| *digest);
                oldest.map(|digest| state.entries.remove(&digest));
            }
        }
        state.entries.insert(digest, Entry { name: name.to_owned(), known, used: now });
    }

    /// Forgets a user whose password or role changed, or who is gone.
    pub fn forget(&self, name: &str) {
        let mut state = self.lock();
        state.revision += 1;
        state.entries.retain(|_, entry| entry.name != name);
    }

    fn digest(&self, credential: &Credential) -> CredentialDigest {
        self.digest_of(&credential.name, &credential.password, PASSWORD)
    }

    fn digest_of(&self, name: &str, secret: &str, kind: u8) -> CredentialDigest {
        let mut hasher = Sha256::new();
        hasher.update(self.key);
        hasher.update([kind]);
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hasher.update((name.len() as u64).to_be_bytes());
        hasher.update(name);
        hasher.update(secret);
        hasher.finalize().into()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(role: Role) -> Known {
        Known { role, password: PasswordMark::of("hash"), grants: None }
    }

    fn role_of(verified: &Verified, credential: &Credential) -> Option<Role> {
        verified.known(credential).map(|known| known.role)
    }

    fn credential(name: &str, password: &str) -> Credential {
        Credential { name: name.into(), password: password.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_credential_is_remembered_for_a_minute_since_it_was_last_used() {
        let verified = Verified::new().unwrap();
        let ann = credential("ann", "secret");
        assert_eq!(role_of(&verified, &ann), None);
        verified.remember(&ann, known(Role::Operator), verified.revision());
        for _ in 0..5 {
            tokio::time::advance(Duration::from_secs(limits::VERIFIED_SECONDS - 1)).await;
            assert_eq!(role_of(&verified, &ann), Some(Role::Operator));
        }
        assert_eq!(role_of(&verified, &credential("ann", "Secret")), None);
        assert_eq!(role_of(&verified, &credential("anns", "ecret")), None);
        tokio::time::advance(Duration::from_secs(limits::VERIFIED_SECONDS)).await;
        assert_eq!(role_of(&verified, &ann), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_credential_was_right_for_hours_and_no_longer_than_its_user_is_the_same() {
        let verified = Verified::new().unwrap();
        let (ann, bob) = (credential("ann", "a"), credential("bob", "b"));
        verified.remember(&ann, known(Role::User), verified.revision());
        verified.remember(&bob, known(Role::User), verified.revision());
        tokio::time::advance(Duration::from_secs(limits::RECENTLY_RIGHT_SECONDS - 1)).await;
        assert!(verified.was_right(&ann) && !verified.was_right(&credential("ann", "guess")));
        verified.forget("ann");
        assert!(!verified.was_right(&ann) && verified.was_right(&bob));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!verified.was_right(&bob));
    }

    #[tokio::test(start_paused = true)]
    async fn a_nonce_that_was_answered_rightly_is_known_until_a_wrong_answer_or_its_end() {
        let verified = Verified::new().unwrap();
        verified.answered("ann", "n1", true, verified.revision());
        assert!(verified.has_answered("ann", "n1"));
        assert!(!verified.has_answered("ann", "n2") && !verified.has_answered("bob", "n1"));
        assert!(!verified.was_right(&credential("ann", "n1")), "a nonce is no password");
        verified.answered("ann", "n1", false, verified.revision());
        assert!(!verified.has_answered("ann", "n1"));
        verified.answered("ann", "n2", true, verified.revision());
        tokio::time::advance(Duration::from_secs(limits::DIGEST_NONCE_SECONDS.unsigned_abs())).await;
        assert!(!verified.has_answered("ann", "n2"));
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
