//! Who a trail's source is, as the trail keeps it.

use std::sync::{Arc, PoisonError, RwLock};

const POSTGRESQL: &str = "postgresql";

/// Who a trail's source is: nobody knows before the first connection to it, which comes before the first record. All clones
/// are one.
#[derive(Debug, Clone, Default)]
pub struct SourceIdentity(Arc<RwLock<String>>);

impl SourceIdentity {
    /// The text for a slot of a PostgreSQL server.
    pub fn of_postgresql(system: &str, timeline: &str, database: &str, slot: &str) -> String {
        format!("{POSTGRESQL}/{system}/{timeline}/{database}/{slot}")
    }

    /// It is known now.
    pub fn set(&self, identity: &str) {
        identity.clone_into(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// The database around the schemas of two-part table names; none while nothing is known, and of a trail of puts.
    pub fn database(&self) -> Option<String> {
        let identity = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let [product, _system, _timeline, rest] = *identity.splitn(4, '/').collect::<Vec<_>>() else { return None };
        // A slot's name has no slash, a database's may.
        let (database, _slot) = rest.rsplit_once('/')?;
        (product == POSTGRESQL).then(|| database.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_read_back_whatever_its_name() {
        let known = SourceIdentity::default();
        assert_eq!(known.database(), None);
        for database in ["postgres", "a/b", "/", "with space"] {
            known.clone().set(&SourceIdentity::of_postgresql("7", "1", database, "trailcast_e1"));
            assert_eq!(known.database().as_deref(), Some(database));
        }
        for other in ["", "postgresql", "postgresql/7/1/db", "other/7/1/db/slot"] {
            known.set(other);
            assert_eq!(known.database(), None, "{other}");
        }
    }
}
