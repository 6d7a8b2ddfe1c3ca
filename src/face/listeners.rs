//! Which faces there are, by name, and which of them a listener serves.
//!
//! The main listener serves every face that may stand there; each face may have a listener of its own besides, which serves
//! nothing else.

use axum::Router;

use super::goldengate::GoldenGate;
use super::hall::{Face, Hall};
use super::layers;

/// A face, as `[face.NAME]` of the configuration names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaceName {
    /// GoldenGate Data Streams.
    GoldenGate,
}

/// No face has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no face of this name; there is {known}", known = FaceName::ALL.map(FaceName::name).join(", "))]
pub struct UnknownFace;

impl FaceName {
    /// Every face.
    pub const ALL: [Self; 1] = [Self::GoldenGate];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::GoldenGate => GoldenGate::NAME,
        }
    }

    /// Whether the main listener serves it; if not, it is served on a listener of its own only.
    pub fn is_on_main_listener(self) -> bool {
        match self {
            Self::GoldenGate => GoldenGate::IS_ON_MAIN_LISTENER,
        }
    }

    /// What a listener of its own serves.
    pub fn alone(self, hall: Hall) -> Router {
        match self {
            Self::GoldenGate => layers::whole::<GoldenGate>(hall),
        }
    }

    /// Its routes, on a listener where another face answers for every other path.
    fn beside(self, hall: Hall) -> Router {
        match self {
            Self::GoldenGate => layers::beside::<GoldenGate>(hall),
        }
    }
}

impl std::fmt::Display for FaceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for FaceName {
    type Err = UnknownFace;

    fn from_str(text: &str) -> Result<Self, UnknownFace> {
        Self::ALL.into_iter().find(|face| face.name() == text).ok_or(UnknownFace)
    }
}

/// The face that answers on the main listener for paths of none.
const NATIVE: FaceName = FaceName::GoldenGate;

/// What the main listener serves.
pub fn on_main_listener(hall: &Hall) -> Router {
    let others = FaceName::ALL.into_iter().filter(|face| *face != NATIVE && face.is_on_main_listener());
    others.fold(NATIVE.alone(hall.clone()), |router, face| router.merge(face.beside(hall.clone())))
}
