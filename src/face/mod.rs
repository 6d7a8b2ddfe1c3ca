//! Faces: each translates one protocol into calls of the service, and holds no state; how requests were answered is
//! counted here for all of them.

pub mod goldengate;
pub mod requests;
