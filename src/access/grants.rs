//! What a caller is narrowed to, beside his role: his own grants and those of his credential, all of which must allow what he
//! does.
//!
//! Owns the judgement and nothing of what it is about: the service asks before it looks anything up, so that a refusal is
//! the same whether the thing is there or not, and leaves out of every list what may not be read.

use std::sync::Arc;

use crate::catalog::grant::{Grants, Verb};

/// What a caller is narrowed to. Whoever is narrowed by nothing may do what his role allows with everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// The grants that are stored with the user.
    pub user: Option<Arc<Grants>>,
    /// Those of a token of another issuer, and those that a token of ours was made with.
    pub credential: Vec<Arc<Grants>>,
}

/// Grants do not cover what somebody wants to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotGranted {
    /// With a trail.
    #[error("the caller's grants do not cover {} the trail {name}", verb.gerund())]
    Trail {
        /// What he wants to do.
        verb: Verb,
        /// As he named it.
        name: String,
    },
    /// With a stream.
    #[error("the caller's grants do not cover {} the data stream {name}", verb.gerund())]
    Stream {
        /// What he wants to do.
        verb: Verb,
        /// As he named it.
        name: String,
    },
    /// With what is no trail's and no stream's.
    #[error("this concerns the whole server, and the caller's grants narrow him to some of its trails and streams")]
    Server,
}

impl Narrowing {
    /// Of a user of the catalog.
    pub fn of_user(grants: Option<Arc<Grants>>) -> Self {
        Self { user: grants, credential: Vec::new() }
    }

    /// Whether there are grants at all.
    pub fn is_narrow(&self) -> bool {
        self.all().next().is_some()
    }

    fn all(&self) -> impl Iterator<Item = &Grants> {
        self.user.iter().chain(&self.credential).filter(|_| !is_asleep()).map(|grants| &**grants)
    }

    /// Whether this may be done with a trail of that name.
    pub fn allows_trail(&self, verb: Verb, name: &str) -> bool {
        self.all().all(|grants| grants.allow_trail(verb, name))
    }

    /// Whether this may be done with a stream of that name over that trail. Its trail must be his to read.
    pub fn allows_stream(&self, verb: Verb, name: &str, trail: &str) -> bool {
        self.all().all(|grants| grants.allow_stream(verb, name) && grants.allow_trail(Verb::Read, trail))
    }

    /// Refuses what the grants do not allow with a trail of that name, there or not.
    pub fn check_trail(&self, verb: Verb, name: &str) -> Result<(), NotGranted> {
        if self.allows_trail(verb, name) { Ok(()) } else { Err(NotGranted::Trail { verb, name: name.into() }) }
    }

    /// Refuses what the grants do not allow with a stream of that name, there or not. Its trail is another question.
    pub fn check_stream(&self, verb: Verb, name: &str) -> Result<(), NotGranted> {
        let allowed = self.all().all(|grants| grants.allow_stream(verb, name));
        if allowed { Ok(()) } else { Err(NotGranted::Stream { verb, name: name.into() }) }
    }

    /// Refuses whoever is narrowed at all.
    pub fn check_server(&self) -> Result<(), NotGranted> {
        if self.is_narrow() { Err(NotGranted::Server) } else { Ok(()) }
    }
}

/// Whether a test asked that no grants are looked at, so that it can see what then shows.
#[cfg(feature = "fault-injection")]
fn is_asleep() -> bool {
    std::env::var_os("TRAILCAST_TEST_NO_GRANTS").is_some_and(|value| value == "1")
}

/// Grants are always looked at.
#[cfg(not(feature = "fault-injection"))]
const fn is_asleep() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn grants(lines: &[&str]) -> Arc<Grants> {
        Arc::new(Grants::from_value("grants", &json!(lines)).unwrap())
    }

    #[test]
    fn without_grants_nothing_is_held_back() {
        let open = Narrowing::default();
        assert!(!open.is_narrow() && open.check_server().is_ok());
        assert!(open.allows_trail(Verb::Manage, "a1") && open.allows_stream(Verb::Read, "s", "a1"));
    }

    #[test]
    fn a_stream_needs_its_trail_too_and_another_grant_may_give_it() {
        let narrow = Narrowing::of_user(Some(grants(&["read trails=a*", "manage,read streams=s*", "manage trails=b"])));
        assert!(narrow.allows_stream(Verb::Read, "s1", "a1") && narrow.allows_stream(Verb::Manage, "s1", "a1"));
        assert!(!narrow.allows_stream(Verb::Read, "s1", "b"), "to manage a trail is not to read it");
        assert!(!narrow.allows_stream(Verb::Read, "t1", "a1"));
        assert_eq!(narrow.check_server(), Err(NotGranted::Server));
    }

    #[test]
    fn a_credential_never_has_more_than_its_user() {
        let user = Some(grants(&["read trails=a* streams=*"]));
        let narrow = Narrowing { user, credential: vec![grants(&["read,write trails=*1 streams=*"])] };
        for (verb, trail, allowed) in
            [(Verb::Read, "a1", true), (Verb::Read, "a2", false), (Verb::Read, "b1", false), (Verb::Write, "a1", false)]
        {
            assert_eq!(narrow.allows_trail(verb, trail), allowed, "{verb:?} {trail}");
        }
        let foreign = Narrowing { user: None, credential: vec![grants(&["read trails=b1"])] };
        assert!(foreign.is_narrow() && !foreign.allows_trail(Verb::Read, "a1"));
    }

    #[test]
    fn a_refusal_is_a_sentence_that_names_what_the_caller_named() {
        let narrow = Narrowing::of_user(Some(grants(&["read trails=a"])));
        let said = narrow.check_trail(Verb::Write, "a").unwrap_err().to_string();
        assert_eq!(said, "the caller's grants do not cover writing to the trail a");
        assert!(narrow.check_stream(Verb::Manage, "s").unwrap_err().to_string().contains("managing the data stream s"));
    }
}
