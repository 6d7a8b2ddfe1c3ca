//! Faces: each translates one protocol into calls of the service, and holds no state.

pub mod goldengate;
