//! What two extracts cannot both use at a server: a replication slot, or a publication with other tables.

use crate::catalog::extract::postgresql::inserts_publication;
use crate::catalog::extract::{ExtractConfig, WithoutIdentity};
use crate::record::ResourceName;

type Named<'a> = (&'a ResourceName, &'a ExtractConfig);

/// What both would use of the same server, in words that go on "extract e1 uses …".
pub(in crate::capture) fn shared(one: Named<'_>, other: Named<'_>) -> Option<String> {
    // A slot has one reader.
    let slot = one.1.postgresql.slot_of(one.0);
    if slot == other.1.postgresql.slot_of(other.0) {
        return Some(format!(
            "the replication slot {slot} of this server already; name another one as postgresql.slot"
        ));
    }
    // A publication takes in the tables of the extract that made it.
    let publication = shared_publication(one, other)?;
    Some(format!(
        "the publication {publication} of this database for other tables already; name another one as postgresql.publication"
    ))
}

/// A publication that both name by hand is kept by whoever made it, and may serve both.
fn shared_publication(one: Named<'_>, other: Named<'_>) -> Option<String> {
    let theirs = |(_, config): Named<'_>| config.postgresql.publication.is_some();
    let use_of =
        |config: &'_ ExtractConfig| (config.tables.clone(), config.without_identity, config.row_filters.clone());
    let is_same_use = use_of(one.1) == use_of(other.1);
    if one.1.source.database != other.1.source.database || is_same_use || (theirs(one) && theirs(other)) {
        return None;
    }
    let taken = publications(other);
    publications(one).into_iter().find(|publication| taken.contains(publication))
}

fn publications((name, config): Named<'_>) -> Vec<String> {
    let main = config.postgresql.publication_of(name);
    let inserts = (config.without_identity == Some(WithoutIdentity::InsertsOnly)).then(|| inserts_publication(&main));
    inserts.into_iter().chain([main]).collect()
}
