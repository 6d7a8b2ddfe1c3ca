//! Who a trail's source is, as the trail keeps it.
//!
//! Owns the form: product, system, history, database and reader, with slashes between. What they say is the product's own.

use std::sync::{Arc, PoisonError, RwLock};

/// Who a trail's source is: nobody knows before the first connection to it, which comes before the first record. All clones
/// are one.
#[derive(Debug, Clone, Default)]
pub struct SourceIdentity(Arc<RwLock<String>>);

/// What a source is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceParts<'a> {
    /// The product, in a word.
    pub product: &'a str,
    /// The server, whatever its address.
    pub system: &'a str,
    /// Which of the server's histories: another one after it was promoted.
    pub history: &'a str,
    /// The database around the schemas of two-part table names; empty where the product has none.
    pub database: &'a str,
    /// What the source keeps for the reader.
    pub reader: &'a str,
}

impl<'a> SourceParts<'a> {
    /// As the trail has it. Only the database may have slashes in it.
    pub fn text(&self) -> String {
        let Self { product, system, history, database, reader } = self;
        format!("{product}/{system}/{history}/{database}/{reader}")
    }

    /// From what the trail has.
    pub fn of(text: &'a str) -> Option<Self> {
        let [product, system, history, rest] = *text.splitn(4, '/').collect::<Vec<_>>() else { return None };
        let (database, reader) = rest.rsplit_once('/')?;
        Some(SourceParts { product, system, history, database, reader })
    }
}

impl SourceIdentity {
    /// It is known now.
    pub fn set(&self, identity: &str) {
        identity.clone_into(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// The product; none while nothing is known, and of a trail of puts.
    pub fn product(&self) -> Option<String> {
        self.read(|parts| parts.product.to_owned())
    }

    /// The database around the schemas of two-part table names; none while nothing is known, of a trail of puts, and of a
    /// product that has none.
    pub fn database(&self) -> Option<String> {
        self.read(|parts| parts.database.to_owned()).filter(|database| !database.is_empty())
    }

    /// Which of the source's histories; none while nothing is known, and of a trail of puts.
    pub fn history(&self) -> Option<String> {
        self.read(|parts| parts.history.to_owned())
    }

    fn read<T>(&self, part: impl FnOnce(SourceParts<'_>) -> T) -> Option<T> {
        SourceParts::of(&self.0.read().unwrap_or_else(PoisonError::into_inner)).map(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_and_database_are_read_back_whatever_the_database_is_called() {
        let known = SourceIdentity::default();
        assert_eq!((known.product(), known.database()), (None, None));
        for database in ["postgres", "a/b", "/", "with space", ""] {
            let parts = SourceParts { product: "toy", system: "7", history: "1", database, reader: "trailcast_e1" };
            assert_eq!(SourceParts::of(&parts.text()), Some(parts));
            known.clone().set(&parts.text());
            assert_eq!((known.product().as_deref(), known.history().as_deref()), (Some("toy"), Some("1")));
            assert_eq!(known.database().as_deref(), Some(database).filter(|database| !database.is_empty()));
        }
        for other in ["", "toy", "toy/7/1/db"] {
            known.set(other);
            assert_eq!((known.product(), known.database()), (None, None), "{other}");
        }
    }
}
