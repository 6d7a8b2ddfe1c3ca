//! PostgreSQL: logical replication with the server's own output plugin, `pgoutput`, version 2 of its protocol
//! (1 before PostgreSQL 14).
//!
//! `source` is the door; one `session` is: connect, `setup` (is it the right source, is the slot sound), `stream`, whose
//! messages become rows of the trail in `transactions`. Positions in the trail are LSNs with the meaning that
//! `capture::coordinate` gives them: a transaction's is one past the start of its commit record (its end is not known when it
//! begins), which is also the server's own rule for where a stream starts, and that of an idle time is the end of what the
//! server has sent.

mod array;
mod catalogue;
mod check;
mod claims;
mod column_types;
mod column_writer;
mod connection;
mod coverage;
mod ddl;
mod error;
mod feedback;
mod heartbeat;
mod loader;
mod lsn;
mod masked_table;
mod masks_at_source;
mod partial_row;
mod pgoutput;
mod publication;
mod publication_report;
mod publisher;
mod relation;
mod relations;
mod release;
mod replica_identity;
mod row_filters;
mod server_error;
mod session;
mod settings;
mod setup;
mod slot_creation;
mod slot_watch;
mod snapshot;
mod socket;
mod source;
mod source_tables;
pub mod sql_client;
mod status;
mod stream;
mod table_facts;
mod target;
mod timeline;
mod tls;
mod transactions;
mod unexpected_text;
mod value;
mod wire;
mod xid;

pub(super) use claims::shared;
pub(super) use ddl::HELPER;
pub use replica_identity::RefusedWrites;
pub(super) use source::Source;
pub use status::{PostgresStatus, PublicationStatus, SharedStatus, SlotStatus};
pub(super) use target::{IDENTITY, PRODUCT};
