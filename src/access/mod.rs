//! Who may do what: roles, passwords, log-ins remembered and throttled, origins.
//!
//! Owns the checks; users are stored in the catalog, and the faces turn refusals into answers.

pub mod accounts;
pub mod authenticator;
pub mod basic;
pub mod certificate;
pub mod origin;
pub mod password;
pub mod throttle;
pub mod verified;

pub use crate::catalog::Role;
pub use accounts::{AccountError, Accounts};
pub use authenticator::{AccessError, Authenticator, Identity};
pub use origin::{OriginError, OriginRules};
