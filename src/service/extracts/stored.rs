//! An extract as the catalog holds it, and what of a patch is no plain merge: a password goes nowhere that it was not given
//! for, and a gap is accepted once.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalog::extract::columns::{ColumnMask, MaskKind, missing_key};
use crate::catalog::extract::{ExtractConfig, InvalidExtract, Secret, SourceConfig};
use crate::catalog::stream::merge_patch;
use crate::codec::member::{self, ConfigError};

/// Member of a patch that accepts a loss once, and is not stored.
const ACCEPT_GAP: &str = "acceptGap";

/// An extract as the catalog holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredExtract {
    /// Without its password.
    pub(super) config: ExtractConfig,
    /// The password, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<String>,
    /// The keys of the configuration's masks, sealed: one for each entry of `columns`, none for one that has no key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) mask_keys: Vec<Option<String>>,
}

impl StoredExtract {
    /// Takes over the keys of masks that were not given anew: each stays with the table and the column that it was given for.
    pub(super) fn keep_mask_keys(&mut self, old: &Self) {
        for (mask, key) in self.config.columns.iter().zip(&mut self.mask_keys) {
            let is_same = |other: &ColumnMask| other.table == mask.table && other.column == mask.column;
            let at = old.config.columns.iter().position(is_same);
            if key.is_none() && mask.mask == MaskKind::Hash {
                *key = at.and_then(|at| old.mask_keys.get(at)).cloned().flatten();
            }
        }
    }

    /// Refuses a hash that has no key.
    pub(super) fn check_mask_keys(&self) -> Result<(), InvalidExtract> {
        let mut masks = self.config.columns.clone();
        for (mask, key) in masks.iter_mut().zip(&self.mask_keys) {
            mask.key = key.as_ref().map(|_| Secret::new(""));
        }
        missing_key(&masks).map_or(Ok(()), Err)
    }

    /// The configuration with this merge patch applied.
    pub(super) fn patched(&self, patch: &Value) -> Result<ExtractConfig, InvalidExtract> {
        let mut given = serde_json::to_value(&self.config).unwrap_or_default();
        merge_patch(&mut given, patch);
        let config: ExtractConfig =
            member::typed(&given).map_err(|ConfigError { member, message }| InvalidExtract { member, message })?;
        config.validate()?;
        Ok(config)
    }
}

/// A stored password goes to the database that it was given for and nowhere else: with another address it, or the reference
/// to it, must stand in the patch again.
pub(super) fn ask_again_elsewhere(
    old: &StoredExtract,
    new: &SourceConfig,
    patch: &Value,
) -> Result<(), InvalidExtract> {
    let before = &old.config.source;
    let moved = [
        ("source.type", before.kind != new.kind),
        ("source.host", before.host != new.host),
        ("source.port", before.port() != new.port()),
    ];
    let Some((member, _)) = moved.into_iter().find(|(_, moved)| *moved) else { return Ok(()) };
    let given = |secret: &str| patch.pointer(secret).is_some_and(|value| !value.is_null());
    let kept = new.password.is_none() && (old.password.is_some() || new.credentials.is_some());
    if !kept || given("/source/credentials") || (given("/source/password") && new.password.is_some()) {
        return Ok(());
    }
    let secret = if new.credentials.is_some() { "source.credentials" } else { "source.password" };
    let message = format!("must be given again when {member} changes: what is stored was given for another server");
    Err(InvalidExtract { member: secret.into(), message })
}

/// A patch without `acceptGap`, which is no part of the configuration, and whether it asks for it.
pub(super) fn without_accept_gap(patch: &Value) -> Result<(Value, bool), InvalidExtract> {
    let mut patch = patch.clone();
    match patch.as_object_mut().and_then(|members| members.remove(ACCEPT_GAP)) {
        None => Ok((patch, false)),
        Some(Value::Bool(true)) => Ok((patch, true)),
        Some(_) => Err(InvalidExtract {
            member: ACCEPT_GAP.into(),
            message: "only true: the extract then goes on with a gap in its trail".into(),
        }),
    }
}
