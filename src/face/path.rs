//! The names in a request's path, percent-decoded and checked.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::hall::Hall;
use super::refusal::Refusal;
use crate::record::{ResourceName, TrailName};
use crate::service::refusal::Fact;

/// The parts of a path, by the names that its route gives them; none of a path that is not UTF-8.
#[derive(Debug)]
pub struct PathNames(Option<RawPathParams>);

impl PathNames {
    pub(super) async fn of(parts: &mut Parts, hall: &Hall) -> Self {
        Self(RawPathParams::from_request_parts(parts, hall).await.ok())
    }

    /// The part that the route calls by that name. Others may stand before it: a reverse proxy puts the name of a
    /// deployment there.
    pub fn text(&self, part: &str) -> Result<&str, Refusal> {
        let parts = self.0.as_ref().ok_or_else(|| Refusal::new(Fact::InvalidName, "it is not UTF-8"))?;
        let found = parts.iter().find(|(known, _)| *known == part);
        found.map(|(_, value)| value).ok_or(Refusal::Path)
    }

    /// The same as a name of some kind.
    pub fn checked<N>(&self, part: &str) -> Result<N, Refusal>
    where
        N: TryFrom<String>,
        N::Error: std::fmt::Display,
    {
        N::try_from(self.text(part)?.to_owned()).map_err(|error| Refusal::new(Fact::InvalidName, error))
    }
}

/// What a path names.
pub trait FromPath: Sized {
    /// Reads it, and refuses what is no such name.
    fn from_path(path: &PathNames) -> Result<Self, Refusal>;
}

impl FromPath for () {
    fn from_path(_: &PathNames) -> Result<Self, Refusal> {
        Ok(())
    }
}

impl FromPath for String {
    fn from_path(path: &PathNames) -> Result<Self, Refusal> {
        Ok(path.text("name")?.to_owned())
    }
}

impl FromPath for ResourceName {
    fn from_path(path: &PathNames) -> Result<Self, Refusal> {
        path.checked("name")
    }
}

impl FromPath for TrailName {
    fn from_path(path: &PathNames) -> Result<Self, Refusal> {
        path.checked("name")
    }
}
