//! Two extracts that would use the same thing at a source where only one can.
//!
//! Owns which extracts are compared; leaves what the source has, and how that is said, to `capture`. The same server under two
//! names is not seen here, but for the names of this machine: the second extract finds it in use, and says so.

use crate::capture;
use crate::catalog::extract::SourceConfig;
use crate::record::ResourceName;

/// What an extract would share with another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} uses {what}", other.as_ref().map_or_else(|| "another extract".to_owned(), |name| format!("extract {name}")))]
pub struct Collision {
    /// The extract that has it, for whom that is no secret.
    other: Option<ResourceName>,
    /// What that is, and what to do.
    what: String,
}

impl Collision {
    /// The extract that has it.
    pub(super) fn other(&self) -> Option<&ResourceName> {
        self.other.as_ref()
    }

    /// The same without that extract's name.
    pub(super) fn unnamed(self) -> Self {
        Self { other: None, ..self }
    }

    /// Compares an extract with every other one.
    pub(super) fn find<'a>(
        this: capture::Named<'_>,
        others: impl Iterator<Item = capture::Named<'a>>,
    ) -> Result<(), Self> {
        for other in others.filter(|other| is_same_server(&this.1.source, &other.1.source)) {
            if let Some(what) = capture::shared_at_source(this, other) {
                return Err(Self { other: Some(other.0.clone()), what });
            }
        }
        Ok(())
    }
}

fn is_same_server(one: &SourceConfig, other: &SourceConfig) -> bool {
    one.kind == other.kind && one.port() == other.port() && host(one) == host(other)
}

/// The host, with the names of this machine as one.
fn host(source: &SourceConfig) -> String {
    let host = source.host.trim_end_matches('.').to_ascii_lowercase();
    if ["localhost", "127.0.0.1", "::1"].contains(&host.as_str()) { "localhost".into() } else { host }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::catalog::extract::ExtractConfig;

    fn extract(name: &str, more: Value) -> (ResourceName, ExtractConfig) {
        let mut config = json!({
            "source": {"type": "postgresql", "host": "db", "database": "shop", "user": "cdc"},
            "tables": ["public.*"], "trail": "a1",
        });
        crate::catalog::stream::merge_patch(&mut config, &more);
        let config = serde_json::from_value(config).unwrap();
        (ResourceName::new(name).unwrap(), config)
    }

    fn collide(one: &(ResourceName, ExtractConfig), other: (ResourceName, ExtractConfig)) -> Option<String> {
        let others = [(&other.0, &other.1)].into_iter();
        Collision::find((&one.0, &one.1), others).err().map(|collision| collision.to_string())
    }

    #[test]
    fn a_slot_has_one_reader_on_a_server_whatever_the_database() {
        let one = extract("Dup1", json!({}));
        let said = collide(&one, extract("dup1", json!({}))).unwrap();
        assert!(said.starts_with("extract dup1 uses the replication slot trailcast_dup1"), "{said}");
        assert!(collide(&one, extract("dup1", json!({"source": {"database": "other", "host": "DB."}}))).is_some());
        for elsewhere in [json!({"host": "db2"}), json!({"port": 5433})] {
            assert_eq!(collide(&one, extract("dup1", json!({"source": elsewhere}))), None);
        }
        assert_eq!(collide(&one, extract("dup2", json!({}))), None);
    }

    #[test]
    fn a_publication_serves_extracts_of_the_same_tables_or_of_whoever_names_it() {
        let one = extract("Dup1", json!({"postgresql": {"slot": "one"}}));
        assert_eq!(collide(&one, extract("dup1", json!({}))), None);
        let others = json!({"tables": ["other.*"]});
        let said = collide(&one, extract("dup1", others.clone())).unwrap();
        assert!(said.starts_with("extract dup1 uses the publication trailcast_dup1"), "{said}");
        let mut elsewhere = others.clone();
        elsewhere["source"] = json!({"database": "other"});
        assert_eq!(collide(&one, extract("dup1", elsewhere)), None);
        let named = json!({"tables": ["a.*"], "postgresql": {"slot": "one", "publication": "all"}});
        let mut other = named.clone();
        (other["tables"], other["postgresql"]["slot"]) = (json!(["b.*"]), json!("two"));
        assert_eq!(collide(&extract("e1", named), extract("e2", other)), None);
        let second = json!({"withoutIdentity": "insertsOnly", "tables": ["a.*"]});
        let taken = json!({"postgresql": {"publication": "trailcast_e1_inserts"}});
        let said = collide(&extract("e1", second), extract("e2", taken)).unwrap();
        assert!(said.contains("trailcast_e1_inserts"), "{said}");
    }
}
