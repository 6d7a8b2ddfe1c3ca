//! Whether the masks of an extract would hold for the tables that are there, and name columns of them.

use super::tables::Captured;
use super::wording::listed;
use crate::capture::error::Fault;
use crate::capture::finding::Finding;
use crate::capture::postgres::catalogue::Catalogue;
use crate::capture::postgres::masks_at_source::MasksAtSource;
use crate::capture::postgres::target::Target;

/// Looks at the entries of `columns`; without any there is nothing to say.
pub(super) async fn look(
    target: &Target,
    catalogue: &mut Catalogue,
    captured: &Captured,
) -> Result<Vec<Finding>, Fault> {
    const WHAT: &str = "masks";
    if target.value_rules.masks.is_empty() {
        return Ok(Vec::new());
    }
    let masks = MasksAtSource::read(target, catalogue).await?;
    if let Some(objection) = masks.objection(target, &captured.tables) {
        return Ok(vec![Finding::error(WHAT, objection.to_string())]);
    }
    let unmatched = masks.unmatched(target, &captured.tables);
    if unmatched.is_empty() {
        return Ok(vec![Finding::ok(WHAT, "every entry of columns names a column of a captured table")]);
    }
    let message = format!(
        "these entries of columns name no column of a captured table, and hide nothing: {}; look at their spelling",
        listed(&unmatched)
    );
    Ok(vec![Finding::warning(WHAT, message)])
}
