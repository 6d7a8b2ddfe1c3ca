//! What an extract of PostgreSQL is configured with beside what every extract has: slot, publication,
//! logical messages, what large transactions may take.
//!
//! Owns the members, their defaults and their ranges; leaves slots and publications themselves to `capture`.

use serde::{Deserialize, Serialize};

use super::{InvalidExtract, WithoutIdentity, refuse, text};
use crate::limits;
use crate::record::ResourceName;

/// What only PostgreSQL has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresqlOptions {
    /// The logical replication slot; `trailcast_<name of the extract>` when left out. Taken over when it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// The publication; `trailcast_<name of the extract>` when left out. Used as it is when named here and existing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication: Option<String>,
    /// Prefixes of logical messages that become records, with `*` and `?`; none when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<String>,
    /// What transactions may take on the disk before their end, in bytes; [`limits::SPILL_BYTES_DEFAULT`] when left out. With 0 the
    /// source keeps them until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spill_bytes: Option<u64>,
}

/// What the prefixes of logical messages begin with that are ours.
pub const OUR_PREFIX: &str = "trailcast";

impl PostgresqlOptions {
    /// The slot's name: the configured one, or made from the extract's name.
    pub fn slot_of(&self, extract: &ResourceName) -> String {
        self.slot.clone().unwrap_or_else(|| default_name(extract))
    }

    /// The publication's name: the configured one, or made from the extract's name.
    pub fn publication_of(&self, extract: &ResourceName) -> String {
        self.publication.clone().unwrap_or_else(|| default_name(extract))
    }

    pub(super) fn validate(&self, without_identity: Option<WithoutIdentity>) -> Result<(), InvalidExtract> {
        let longest = limits::SOURCE_IDENTIFIER_BYTES_MAX - INSERTS_PUBLICATION.len();
        if without_identity == Some(WithoutIdentity::InsertsOnly)
            && self.publication.as_ref().is_some_and(|name| name.len() > longest)
        {
            let message =
                format!("1 to {longest} bytes where withoutIdentity is insertsOnly: a second name is made of it");
            return Err(refuse("postgresql.publication", message));
        }
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if let Some(slot) = &self.slot
            && (slot.is_empty() || slot.len() > limits::SOURCE_IDENTIFIER_BYTES_MAX || !slot.bytes().all(legal))
        {
            return Err(refuse("postgresql.slot", "1 to 63 characters of a-z 0-9 _"));
        }
        if let Some(publication) = &self.publication {
            text("postgresql.publication", publication, limits::SOURCE_IDENTIFIER_BYTES_MAX)?;
        }
        if self.spill_bytes.is_some_and(|bytes| bytes > limits::SPILL_BYTES_CONFIGURED_MAX) {
            let message = format!("0 to {}", limits::SPILL_BYTES_CONFIGURED_MAX);
            return Err(refuse("postgresql.spillBytes", message));
        }
        self.validate_messages()
    }

    fn validate_messages(&self) -> Result<(), InvalidExtract> {
        if self.messages.len() > limits::MESSAGE_PREFIXES_MAX {
            return Err(refuse("postgresql.messages", format!("0 to {} prefixes", limits::MESSAGE_PREFIXES_MAX)));
        }
        for prefix in &self.messages {
            text("postgresql.messages", prefix, limits::MESSAGE_PREFIX_BYTES_MAX)?;
            if prefix.starts_with(OUR_PREFIX) {
                let message = format!("prefixes that begin with {OUR_PREFIX} are the program's own");
                return Err(refuse("postgresql.messages", message));
            }
        }
        Ok(())
    }
}

const INSERTS_PUBLICATION: &str = "_inserts";

/// The name of the publication for INSERTs alone, beside the publication of that name.
pub fn inserts_publication(publication: &str) -> String {
    format!("{publication}{INSERTS_PUBLICATION}")
}

/// `trailcast_` and the extract's name in the letters that a slot's name may have: lower case, digits, underscore.
fn default_name(extract: &ResourceName) -> String {
    let legal = |character: char| if character.is_ascii_alphanumeric() { character.to_ascii_lowercase() } else { '_' };
    format!("trailcast_{}", extract.as_str().chars().map(legal).collect::<String>())
}
