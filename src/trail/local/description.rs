//! What a trail's own folder says of it: `trail.json`, written once.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::record::{Epoch, ResourceName, Timestamp, TrailName};
use crate::trail::OpenError;
use crate::trail::local::TrailOptions;
use crate::trail::local::disk::{Disk, read_full};

/// Name of the file.
pub(super) const FILE: &str = "trail.json";

/// Who may append to a trail, for its whole life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Writer {
    /// Puts over HTTP.
    Puts,
    /// The extract of that name.
    Extract(ResourceName),
}

/// A trail's name, epoch, writer and layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailDescription {
    /// Its name.
    pub name: TrailName,
    /// Its epoch.
    pub epoch: Epoch,
    /// Who appends.
    pub writer: Writer,
    /// Number of partitions.
    pub partitions: u16,
    /// Size at which a segment is closed, in bytes.
    pub segment_bytes: u64,
    /// When it was made, RFC 3339.
    pub created: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    name: TrailName,
    epoch: String,
    writer: Writer,
    partitions: u16,
    segment_bytes: u64,
    created: String,
}

/// Writes a new trail's description, with a random epoch.
pub(super) fn create(
    folder: &Path,
    name: TrailName,
    writer: Writer,
    options: &TrailOptions,
    disk: &dyn Disk,
    now: Timestamp,
) -> Result<(), OpenError> {
    let failed = |action| move |source| OpenError::Io { trail: name_of(folder), action, source };
    let epoch = random_number().map_err(failed("choosing an epoch"))?;
    let stored = Stored {
        name,
        epoch: format!("{epoch:016x}"),
        writer,
        partitions: 1,
        segment_bytes: options.segment_bytes.clamp(crate::limits::SEGMENT_BYTES_MIN, crate::limits::SEGMENT_BYTES_MAX),
        created: now.to_rfc3339(),
    };
    let text = serde_json::to_vec_pretty(&stored).unwrap_or_default();
    disk.make_folder(folder).map_err(failed("making its folder"))?;
    let draft = folder.join("trail.json.new");
    let _ = disk.remove(&draft);
    let file = disk.open(&draft, true).map_err(failed("making trail.json"))?;
    file.write_all_at(&text, 0).map_err(failed("writing trail.json"))?;
    file.sync().map_err(failed("flushing trail.json"))?;
    disk.rename(&draft, &folder.join(FILE)).map_err(failed("naming trail.json"))?;
    disk.sync_folder(folder).map_err(failed("flushing its folder"))?;
    if let Some(above) = folder.parent() {
        disk.sync_folder(above).map_err(failed("flushing the folder above"))?;
    }
    Ok(())
}

/// Reads a trail's description.
pub(super) fn read(folder: &Path, disk: &dyn Disk) -> Result<TrailDescription, OpenError> {
    let failed = |action| move |source| OpenError::Io { trail: name_of(folder), action, source };
    let file = disk.open(&folder.join(FILE), false).map_err(failed("opening trail.json"))?;
    let mut text = vec![0; 64 << 10];
    let read = read_full(&*file, &mut text, 0).map_err(failed("reading trail.json"))?;
    let unreadable = |what: String| OpenError::Description { trail: name_of(folder), file: FILE, what };
    let stored: Stored = serde_json::from_slice(&text[..read]).map_err(|error| unreadable(error.to_string()))?;
    let epoch = u64::from_str_radix(&stored.epoch, 16).map_err(|error| unreadable(error.to_string()))?;
    Ok(TrailDescription {
        name: stored.name,
        epoch: Epoch(epoch),
        writer: stored.writer,
        partitions: stored.partitions,
        segment_bytes: stored.segment_bytes,
        created: stored.created,
    })
}

/// A random number, for epochs and file ids.
pub(super) fn random_number() -> std::io::Result<u64> {
    getrandom::u64().map_err(|error| std::io::Error::other(error.to_string()))
}

/// The trail's name as its folder has it, for errors before the description is read.
pub(super) fn name_of(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
