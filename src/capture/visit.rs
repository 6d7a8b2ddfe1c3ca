//! Visits to a source apart from capturing from it: a check, which changes nothing, and taking away what an extract made there.
//!
//! Owns the way to the source that is asked; what is looked at and what is taken away is the product's own.

use super::error::CaptureError;
use super::extract_status::SharedStatus;
use super::finding::Finding;
use super::released::Released;
use super::source::Source;
use crate::catalog::extract::{ExtractConfig, Secret};
use crate::clock::SharedClock;
use crate::record::ResourceName;

/// What is right at the source for an extract of that name and configuration, and what is to be changed there: in an order in
/// which it can be mended one after the other. `password` is the one to log in with, wherever it was kept; without it, the
/// configuration's own.
pub async fn check(
    name: &ResourceName,
    config: &ExtractConfig,
    password: Option<Secret>,
    clock: &SharedClock,
) -> Result<Vec<Finding>, CaptureError> {
    Ok(source(name, config, password)?.check(clock).await)
}

/// Takes away what an extract made at its source: nothing more can be captured from where it stood. Nobody captures for it any
/// more.
pub async fn release(
    name: &ResourceName,
    config: &ExtractConfig,
    password: Option<Secret>,
) -> Result<Released, CaptureError> {
    source(name, config, password)?.release().await.map_err(CaptureError::from_fault)
}

fn source(name: &ResourceName, config: &ExtractConfig, password: Option<Secret>) -> Result<Source, CaptureError> {
    Source::new(name, config, password, &SharedStatus::new(config.source.kind))
}
