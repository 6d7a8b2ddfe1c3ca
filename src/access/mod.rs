//! Who may do what: roles, grants, passwords, tokens, certificates, log-ins remembered and throttled, origins, proxies,
//! places under a cap.
//!
//! Owns the checks; users are stored in the catalog, and the faces turn refusals into answers.

pub mod accounts;
pub mod authenticator;
pub mod basic;
pub mod certificate;
pub mod denial;
pub mod digest;
pub mod grants;
mod hash_memory;
pub mod identity;
pub mod jwt;
pub mod key_refresh;
pub mod limit_hits;
pub mod origin;
pub mod password;
pub mod places;
pub mod proxies;
pub mod rights;
pub mod stream_token;
pub mod throttle;
pub mod verified;

pub use crate::catalog::Role;
pub use accounts::{AccountError, Accounts, NewUser, UserChange};
pub use authenticator::{AccessOptions, Authenticator, Presented};
pub use certificate::{CertificateFile, Expiries};
pub use denial::AccessError;
pub use grants::{Narrowing, NotGranted};
pub use identity::{Identity, PasswordMark, Reach};
pub use jwt::JwtRules;
pub use key_refresh::KeyRefresh;
pub use limit_hits::{Limit, LimitHits};
pub use origin::{OriginError, OriginRules};
pub use places::{Place, Places};
pub use proxies::{ClientAddr, Network, TrustedProxies};
pub use rights::{Needed, Rights};
