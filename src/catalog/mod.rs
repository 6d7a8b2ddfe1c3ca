//! Small durable state: the data folder and its lock, named shelves of JSON, users and their grants, secrets at rest.
//!
//! Owns `LOCK`, `catalog.redb`, `cursors.log`, `secret.key` and `audit-offline.jsonl` in the data folder. What stands on a shelf is the business of whoever
//! puts it there; trails keep their own state in their own folders.

pub mod audit_file;
pub mod backup;
pub mod coverage;
pub mod cursors;
pub mod extract;
pub mod folder;
pub mod grant;
pub mod load;
pub mod store;
pub mod stream;
pub mod table_pattern;
pub mod tls_files;
pub mod trail;
pub mod user;
pub mod vault;

pub use audit_file::{AuditFile, AuditFileOptions};
pub use folder::{DataFolder, FolderError};
pub use grant::{Grant, Grants, Verb};
pub use store::{Catalog, CatalogError, Shelf};
pub use tls_files::TlsFiles;
pub use user::{InvalidUserName, Role, User};
pub use vault::{Vault, VaultError};
