//! Who is asking: ties what a request presents (password, digest, token, certificate) to a user and a role.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use super::basic::{self, Credential};
use super::denial::AccessError;
use super::digest::{self, DigestAnswer};
use super::identity::{Identity, PasswordMark, Reach};
use super::jwt::{JwtRefusal, JwtRules};
use super::key_refresh::KeyRefresh;
use super::password::Passwords;
use super::rights::{Needed, Rights};
use super::stream_token::{self, StreamToken};
use super::throttle::Throttle;
use super::verified::{Known, Verified};
use crate::catalog::user::DigestHashes;
use crate::catalog::{Catalog, Grants, Role, Shelf, User};
use crate::clock::{SharedClock, SystemClock};
use crate::record::Timestamp;

/// What a request presents.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// The value of the header `Authorization`.
    pub header: Option<&'a str>,
    /// The query's `access_token`, where one may stand there.
    pub access_token: Option<&'a str>,
    /// The name in the client's verified certificate.
    pub certificate: Option<&'a str>,
    /// The request's method.
    pub method: &'a str,
    /// The request's path as it was sent, without the query.
    pub path: &'a str,
}

impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presented").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

/// The ways to log in beside passwords and tokens of our own.
#[derive(Debug, Clone, Default)]
pub struct AccessOptions {
    /// Digest; new passwords then leave hashes for it.
    pub digest: bool,
    /// Client certificates; the map says which user a common name stands for where it is not his name.
    pub certificates: Option<BTreeMap<String, String>>,
    /// Tokens of another issuer.
    pub jwt: Option<JwtRules>,
}

/// Checks credentials against the catalog's users.
#[derive(Debug)]
pub struct Authenticator {
    catalog: Catalog,
    passwords: Passwords,
    verified: Verified,
    throttle: Throttle,
    clock: SharedClock,
    options: AccessOptions,
    /// Those of the options, until new keys are taken.
    jwt: RwLock<Option<Arc<JwtRules>>>,
    key_refresh: KeyRefresh,
    token_key: [u8; 32],
    nonce_key: [u8; 32],
    /// Counts changes of users.
    changes: watch::Sender<u64>,
}

impl Authenticator {
    /// Draws the keys; blocks some 20 milliseconds.
    pub fn new(catalog: Catalog) -> Result<Self, AccessError> {
        let verified = Verified::new().map_err(|error| AccessError::Internal(error.into()))?;
        Ok(Self {
            catalog,
            passwords: Passwords::new()?,
            verified,
            throttle: Throttle::default(),
            clock: Arc::new(SystemClock),
            options: AccessOptions::default(),
            jwt: RwLock::default(),
            key_refresh: KeyRefresh::default(),
            token_key: random_key()?,
            nonce_key: random_key()?,
            changes: watch::Sender::new(0),
        })
    }

    /// The same, with further ways to log in. `token_key` signs our own tokens; with the same one they outlive a restart.
    #[must_use]
    pub fn with(mut self, clock: SharedClock, options: AccessOptions, token_key: [u8; 32]) -> Self {
        self.jwt = RwLock::new(options.jwt.clone().map(Arc::new));
        (self.clock, self.options, self.token_key) = (clock, options, token_key);
        self
    }

    /// Which ways to log in are on.
    pub fn options(&self) -> &AccessOptions {
        &self.options
    }

    /// Takes the rules for tokens of another issuer anew, say with other keys. Sessions that are open stay.
    pub fn replace_jwt(&self, rules: JwtRules) {
        *self.jwt.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(rules));
    }

    /// How the keys of another issuer's tokens are kept fresh.
    pub fn key_refresh(&self) -> &KeyRefresh {
        &self.key_refresh
    }

    /// The challenges of a 401, each for a header line of its own. A client that reads one line only wants Digest.
    pub fn challenges(&self, stale: bool) -> Vec<String> {
        let mut challenges = Vec::new();
        if self.options.digest {
            challenges.extend(digest::challenges(&self.nonce_key, self.clock.now(), stale));
        }
        challenges.push(format!("Basic realm=\"{}\"", digest::REALM));
        challenges
    }

    /// What is stored of a password for Digest, while it is on.
    pub fn digest_of(&self, name: &str, password: &str) -> Option<DigestHashes> {
        self.options.digest.then(|| digest::hashes(name, password))
    }

    /// The user of a request that came from `peer`: by its header, else the token in its query, else its certificate.
    pub async fn identify(&self, presented: Presented<'_>, peer: IpAddr) -> Result<Identity, AccessError> {
        let Some(header) = presented.header else {
            return match (presented.access_token, presented.certificate) {
                (Some(token), _) => {
                    let identity = self.bearer(token).await?;
                    // An address is copied around more easily than a header.
                    let reach = if identity.reach == Reach::Everything { Reach::Streams } else { identity.reach };
                    Ok(Identity { reach, ..identity })
                }
                (None, Some(name)) => self.certified(name).await,
                (None, None) => Err(AccessError::Missing),
            };
        };
        match header.trim().split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer") => self.bearer(token.trim()).await,
            Some((scheme, answer)) if self.options.digest && scheme.eq_ignore_ascii_case("Digest") => {
                self.digest(answer, presented, peer).await
            }
            _ => self.authenticate(Some(header), peer).await,
        }
    }

    async fn digest(&self, answer: &str, presented: Presented<'_>, peer: IpAddr) -> Result<Identity, AccessError> {
        let answer = DigestAnswer::parse(answer)?;
        answer.check_path(presented.path)?;
        if !answer.is_fresh(&self.nonce_key, self.clock.now()) {
            return Err(AccessError::Stale);
        }
        // Whoever goes on with a nonce that he has answered rightly is not held up by what others get wrong.
        let goes_on = self.verified.has_answered(&answer.name, answer.nonce());
        if !goes_on {
            self.throttle.check(peer, &answer.name)?;
        }
        let revision = self.verified.revision();
        let user = self.user(&answer.name).await?;
        // Unknown users and those without hashes cost what the others do.
        let hashes = user.as_ref().and_then(|user| user.digest.clone()).unwrap_or_else(|| digest::hashes("", ""));
        let user = user.filter(|user| user.digest.is_some());
        let fits = answer.fits(presented.method, presented.path, &hashes);
        let user = user.filter(|_| fits);
        // Looking the user up took a moment, in which others may have failed: a thousand guesses at once do not pass.
        match self.throttle.judge(peer, &answer.name, user.is_some()) {
            Err(throttled) if !goes_on => return Err(throttled.into()),
            _ => self.verified.answered(&answer.name, answer.nonce(), user.is_some(), revision),
        }
        let user = user.ok_or(AccessError::Wrong)?;
        let reach = if answer.is_for_any_path() { Reach::Streams } else { Reach::Everything };
        Ok(Identity { reach, ..Identity::of_password(user) })
    }

    async fn bearer(&self, token: &str) -> Result<Identity, AccessError> {
        let now = self.clock.now();
        if stream_token::is_ours(token) {
            let token = StreamToken::read(token).ok_or(AccessError::Token)?;
            let user = self.user(&token.user).await?.filter(|user| token.is_of(&self.token_key, user));
            let user = user.ok_or(AccessError::Token)?;
            let expires = Timestamp::from_micros(token.expires_micros);
            if expires <= now {
                return Err(AccessError::Expired);
            }
            let reach = Reach::Stream(token.stream);
            let mut identity = Identity { reach, expires: Some(expires), ..Identity::of_password(user) };
            identity.narrowing.credential = token.grants.into_iter().map(Arc::new).collect();
            return Ok(identity);
        }
        let rules = || self.jwt.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(AccessError::Token);
        let mut claims = rules()?.check(token, now);
        // The issuer may have a new key, which it serves by now.
        if claims == Err(JwtRefusal::UnknownKey) && self.key_refresh.renewed().await {
            claims = rules()?.check(token, now);
        }
        let claims = claims.map_err(|refusal| match refusal {
            JwtRefusal::Expired => AccessError::Expired,
            JwtRefusal::Invalid | JwtRefusal::UnknownKey => AccessError::Token,
            JwtRefusal::NoRole => AccessError::Forbidden { needed: Role::User },
            JwtRefusal::NoGrants => AccessError::NoGrants,
        })?;
        let mut identity = match claims.role {
            // Whoever is known here as well has no more than what he is narrowed to here.
            Some(role) => {
                let grants = self.user(&claims.name).await?.and_then(|user| user.grants);
                Identity { stored: false, ..Identity::of_user(claims.name, role, grants) }
            }
            None => {
                let user = self.user(&claims.name).await?.ok_or(AccessError::Token)?;
                Identity::of_user(user.name, user.role, user.grants)
            }
        };
        identity.expires = Some(claims.expires);
        identity.narrowing.credential = claims.grants.into_iter().map(Arc::new).collect();
        Ok(identity)
    }

    async fn certified(&self, name: &str) -> Result<Identity, AccessError> {
        let users = self.options.certificates.as_ref().ok_or(AccessError::Missing)?;
        let user = self.user(users.get(name).map_or(name, String::as_str)).await?;
        user.map(|user| Identity::of_user(user.name, user.role, user.grants)).ok_or(AccessError::Wrong)
    }

    /// A token for one stream, of at most `seconds`, and when it ends. It never outlives the credential that asked for it, and
    /// never has more than that: it stands for the user with his grants at the time that it is used, those that the credential had
    /// besides, and those that are asked for.
    pub async fn stream_token(
        &self,
        identity: &Identity,
        stream: &str,
        seconds: u64,
        grants: Option<Grants>,
    ) -> Result<(String, Timestamp), AccessError> {
        let user = if identity.stored { self.user(&identity.name).await? } else { None };
        let user = user.ok_or(AccessError::NotStored)?;
        let asked = self.clock.now().micros().saturating_add(i64::try_from(seconds).unwrap_or(0) * 1_000_000);
        let expires = identity.expires.map_or(asked, |end| end.micros().min(asked));
        let narrowed = identity.narrowing.credential.iter().map(|grants| (**grants).clone());
        let grants = narrowed.chain(grants).collect();
        let token =
            stream_token::make(&self.token_key, &user, stream, expires, grants).ok_or(AccessError::TokenGrants)?;
        Ok((token, Timestamp::from_micros(expires)))
    }

    /// The rights of somebody who stays connected.
    pub fn rights(&self, identity: &Identity, needed: Needed) -> Rights {
        Rights::new(self.catalog.clone(), self.changes.subscribe(), identity, needed, self.clock.now())
    }

    /// The user of an `Authorization` header that came from `peer`.
    ///
    /// A remembered credential passes before any failure is looked at, and one that was right within the last hours is
    /// checked whatever the failures: nobody is locked out by a stranger's guesses.
    pub async fn authenticate(&self, header: Option<&str>, peer: IpAddr) -> Result<Identity, AccessError> {
        let credential = basic::parse(header.ok_or(AccessError::Missing)?)?;
        if let Some(known) = self.verified.known(&credential) {
            return Ok(of_known(credential, known));
        }
        let was_right = self.verified.was_right(&credential);
        if !was_right {
            self.throttle.check(peer, &credential.name)?;
        }
        self.verify(credential, was_right, peer).await
    }

    async fn verify(&self, credential: Credential, was_right: bool, peer: IpAddr) -> Result<Identity, AccessError> {
        let turn = self.passwords.turn().await?;
        // While this one waited, another request with the same credential may have settled it either way: a thousand
        // clients that come back at once cost one hash, and a thousand guesses at once do not pass the throttle.
        if let Some(known) = self.verified.known(&credential) {
            return Ok(of_known(credential, known));
        }
        if !was_right {
            self.throttle.check(peer, &credential.name)?;
        }
        let revision = self.verified.revision();
        let user = self.user(&credential.name).await?;
        let hash = user.as_ref().map(|user| user.password_hash.as_str());
        let fits = self.passwords.verify(turn, &credential.password, hash).await?;
        match user {
            Some(user) if fits => {
                self.throttle.succeeded(peer, &user.name);
                let password = PasswordMark::of(&user.password_hash);
                let known = Known { role: user.role, password, grants: user.grants };
                self.verified.remember(&credential, known.clone(), revision);
                Ok(of_known(credential, known))
            }
            _ => {
                self.throttle.failed(peer, &credential.name);
                Err(AccessError::Wrong)
            }
        }
    }

    async fn user(&self, name: &str) -> Result<Option<User>, AccessError> {
        let (catalog, name) = (self.catalog.clone(), name.to_owned());
        let found = tokio::task::spawn_blocking(move || catalog.get(Shelf::Users, &name));
        Ok(found.await.map_err(|error| AccessError::Internal(error.into()))??)
    }

    /// Must be told when a user's password, role or grants changed or the user is gone: what was remembered is forgotten.
    pub fn user_changed(&self, name: &str) {
        self.verified.forget(name);
        self.changes.send_modify(|count| *count += 1);
    }

    /// The hasher, so that all hashes of the process share one cap.
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }
}

fn of_known(credential: Credential, known: Known) -> Identity {
    Identity::of_user(credential.name, known.role, known.grants).by_password(known.password)
}

fn random_key() -> Result<[u8; 32], AccessError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| AccessError::Internal(error.into()))?;
    Ok(key)
}

#[cfg(test)]
mod tests;
