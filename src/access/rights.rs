//! The rights of somebody who is connected for long: they end when the credential expires, or when the user loses them.

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep_until};

use super::grants::Narrowing;
use super::identity::{Identity, PasswordMark};
use crate::catalog::{Catalog, Role, Shelf, User, Verb};
use crate::record::Timestamp;

/// How rights ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The credential's time is over.
    Expired,
    /// The user is gone, or has a lesser role, another password, or grants that no longer cover the stream.
    Withdrawn,
}

/// What somebody must be allowed for as long as he is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// The least role.
    pub role: Role,
    /// The stream that is read; none where the trail itself is.
    pub stream: Option<String>,
    /// The trail.
    pub trail: String,
}

impl Needed {
    fn is_allowed(&self, role: Role, narrowing: &Narrowing) -> bool {
        let is_granted = match &self.stream {
            Some(stream) => narrowing.allows_stream(Verb::Read, stream, &self.trail),
            None => narrowing.allows_trail(Verb::Read, &self.trail),
        };
        role >= self.role && is_granted
    }
}

/// Rights under watch.
#[derive(Debug)]
pub struct Rights {
    catalog: Catalog,
    user: String,
    /// The role of an identity that need not be one of the catalog; `None`: the catalog has it.
    role: Option<Role>,
    needed: Needed,
    narrowing: Narrowing,
    /// The password that the credential stands on: with another one it would not have been let in.
    password: Option<PasswordMark>,
    until: Option<Instant>,
    /// Counts changes of users.
    changes: watch::Receiver<u64>,
    /// The count at the last look; `None` before the first, so that nothing between log-in and now is missed.
    looked_at: Option<u64>,
    /// A look under way, and the count that it was started for. It stays when the wait is dropped: a session that always has
    /// something to send would else never see its end.
    look: Option<(u64, JoinHandle<bool>)>,
}

impl Rights {
    pub(super) fn new(
        catalog: Catalog,
        changes: watch::Receiver<u64>,
        identity: &Identity,
        needed: Needed,
        now: Timestamp,
    ) -> Self {
        let until = identity.expires.map(|expires| {
            let left = u64::try_from(expires.micros().saturating_sub(now.micros())).unwrap_or(0);
            // A token of the far future is one without an end; the clock of the runtime cannot count so far.
            Instant::now() + Duration::from_micros(left).min(Duration::from_secs(365 * 86_400))
        });
        let user = identity.name.clone();
        let role = (!identity.stored).then_some(identity.role);
        let password = identity.password;
        let narrowing = identity.narrowing.clone();
        Self { catalog, user, role, needed, narrowing, password, until, changes, looked_at: None, look: None }
    }

    /// Waits until the rights are lost. May be dropped and called again.
    pub async fn lost(&mut self) -> Loss {
        let until = self.until;
        let expired = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = expired => Loss::Expired,
            () = self.withdrawn() => Loss::Withdrawn,
        }
    }

    async fn withdrawn(&mut self) {
        loop {
            if let Some((count, look)) = &mut self.look {
                // Rights that cannot be looked up are none.
                let still_there = look.await.unwrap_or(false);
                self.looked_at = Some(*count);
                self.look = None;
                if !still_there {
                    return;
                }
            }
            let (name, role, seen) = (self.user.clone(), self.role, self.looked_at);
            let changed = self.changes.wait_for(|count| Some(*count) != seen).await.map(|count| *count);
            // The sender goes with the server.
            let Ok(count) = changed else { return std::future::pending().await };
            let (catalog, needed, password) = (self.catalog.clone(), self.needed.clone(), self.password);
            let credential = self.narrowing.credential.clone();
            let look = move || match catalog.get::<User>(Shelf::Users, &name) {
                Ok(Some(user)) => {
                    let same = password.is_none_or(|mark| mark == PasswordMark::of(&user.password_hash));
                    same && needed.is_allowed(role.unwrap_or(user.role), &Narrowing { user: user.grants, credential })
                }
                Ok(None) => role.is_some(),
                Err(_) => false,
            };
            self.look = Some((count, tokio::task::spawn_blocking(look)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::catalog::Grants;

    fn catalog() -> (tempfile::TempDir, Catalog) {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        let ann =
            User { name: "ann".into(), role: Role::Operator, password_hash: "hash".into(), digest: None, grants: None };
        catalog.put(Shelf::Users, "ann", &ann).unwrap();
        (folder, catalog)
    }

    fn rights(catalog: &Catalog, changes: &watch::Sender<u64>, identity: &Identity) -> Rights {
        let needed = Needed { role: Role::Operator, stream: Some("s1".into()), trail: "a1".into() };
        Rights::new(catalog.clone(), changes.subscribe(), identity, needed, Timestamp::from_micros(0))
    }

    /// The loss, if it comes while something else is always ready and each wait is dropped at once.
    async fn lost_beside_work(rights: &mut Rights, rounds: usize) -> Option<Loss> {
        for _ in 0..rounds {
            tokio::select! {
                biased;
                loss = rights.lost() => return Some(loss),
                () = std::future::ready(()) => tokio::task::yield_now().await,
            }
        }
        None
    }

    #[tokio::test]
    async fn a_removed_user_is_noticed_beside_endless_work() {
        let (_folder, catalog) = catalog();
        let changes = watch::Sender::new(0);
        let mut rights = rights(&catalog, &changes, &Identity::of_user("ann", Role::Operator, None));
        assert_eq!(lost_beside_work(&mut rights, 20_000).await, None);
        catalog.delete(Shelf::Users, "ann").unwrap();
        changes.send_modify(|count| *count += 1);
        assert_eq!(lost_beside_work(&mut rights, 20_000_000).await, Some(Loss::Withdrawn));
    }

    #[tokio::test]
    async fn a_user_removed_before_the_watch_began_is_noticed() {
        let (_folder, catalog) = catalog();
        let changes = watch::Sender::new(0);
        catalog.delete(Shelf::Users, "ann").unwrap();
        let mut rights = rights(&catalog, &changes, &Identity::of_user("ann", Role::Operator, None));
        assert_eq!(rights.lost().await, Loss::Withdrawn);
    }

    #[tokio::test]
    async fn a_new_password_ends_what_stands_on_the_old_one_only() {
        let (_folder, catalog) = catalog();
        let changes = watch::Sender::new(0);
        let ann = Identity::of_user("ann", Role::Operator, None);
        let mut by_password = rights(&catalog, &changes, &ann.clone().by_password(PasswordMark::of("hash")));
        let mut by_certificate = rights(&catalog, &changes, &ann);
        assert_eq!(lost_beside_work(&mut by_password, 20_000).await, None);
        let new = User {
            name: "ann".into(),
            role: Role::Operator,
            password_hash: "other".into(),
            digest: None,
            grants: None,
        };
        catalog.put(Shelf::Users, "ann", &new).unwrap();
        changes.send_modify(|count| *count += 1);
        assert_eq!(lost_beside_work(&mut by_password, 20_000_000).await, Some(Loss::Withdrawn));
        assert_eq!(lost_beside_work(&mut by_certificate, 20_000).await, None);
    }

    #[tokio::test]
    async fn grants_that_no_longer_cover_stream_or_trail_end_what_stands_on_them() {
        let grants = |line: &str| Some(Arc::new(Grants::from_value("grants", &json!([line])).unwrap()));
        for (line, ends) in [
            ("read trails=a* streams=s?", false),
            ("read trails=b* streams=s?", true),
            ("read trails=a* streams=t", true),
            ("write,manage trails=a* streams=s1", true),
        ] {
            let (_folder, catalog) = catalog();
            let changes = watch::Sender::new(0);
            let mut rights = rights(&catalog, &changes, &Identity::of_user("ann", Role::Operator, None));
            assert_eq!(lost_beside_work(&mut rights, 20_000).await, None);
            let ann = catalog.get::<User>(Shelf::Users, "ann").unwrap().unwrap();
            catalog.put(Shelf::Users, "ann", &User { grants: grants(line), ..ann }).unwrap();
            changes.send_modify(|count| *count += 1);
            let rounds = if ends { 20_000_000 } else { 20_000 };
            assert_eq!(lost_beside_work(&mut rights, rounds).await, ends.then_some(Loss::Withdrawn), "{line}");
        }
    }

    #[tokio::test]
    async fn a_token_of_another_issuer_lasts_without_a_user_and_ends_with_the_grants_of_one() {
        let (_folder, catalog) = catalog();
        let changes = watch::Sender::new(0);
        let by_token = |name: &str| Identity { stored: false, ..Identity::of_user(name, Role::Operator, None) };
        let mut ann = rights(&catalog, &changes, &by_token("ann"));
        let mut eve = rights(&catalog, &changes, &by_token("eve"));
        assert_eq!(lost_beside_work(&mut ann, 20_000).await, None);
        let grants = Some(Arc::new(Grants::from_value("grants", &json!(["read trails=b streams=*"])).unwrap()));
        let user = catalog.get::<User>(Shelf::Users, "ann").unwrap().unwrap();
        catalog.put(Shelf::Users, "ann", &User { role: Role::User, grants, ..user }).unwrap();
        changes.send_modify(|count| *count += 1);
        assert_eq!(lost_beside_work(&mut ann, 20_000_000).await, Some(Loss::Withdrawn));
        assert_eq!(lost_beside_work(&mut eve, 20_000).await, None);
    }

    #[tokio::test]
    async fn a_credential_ends_at_its_time() {
        let (_folder, catalog) = catalog();
        let changes = watch::Sender::new(0);
        let expires = Some(Timestamp::from_micros(20_000));
        let carol = Identity { expires, stored: false, ..Identity::of_user("carol", Role::Operator, None) };
        assert_eq!(rights(&catalog, &changes, &carol).lost().await, Loss::Expired);
    }
}
