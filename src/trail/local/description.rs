//! `trail.json`: the text in a trail's own folder that says what it is, replaced as a whole when the trail gets a new epoch or
//! its first segment of a newer version.

use std::path::Path;

use crate::limits::TRAIL_DESCRIPTION_BYTES_MAX;
use crate::trail::local::disk::{Disk, read_full};
use crate::trail::{OpenError, TrailDescription};

/// Name of the file.
pub(in crate::trail) const FILE: &str = "trail.json";
/// Its name before it is in force.
pub(in crate::trail) const DRAFT: &str = "trail.json.new";

/// Writes a description beside the one in force, flushed; [`put_in_force`] makes it the trail's.
pub(in crate::trail) fn write_draft(
    folder: &Path,
    description: &TrailDescription,
    disk: &dyn Disk,
) -> Result<(), OpenError> {
    let failed = |action| move |source| OpenError::Io { trail: name_of(folder), action, source };
    let draft = folder.join(DRAFT);
    let _ = disk.remove(&draft);
    let file = disk.open(&draft, true).map_err(failed("making trail.json"))?;
    file.write_all_at(&description.encode(), 0).map_err(failed("writing trail.json"))?;
    file.sync().map_err(failed("flushing trail.json"))?;
    disk.sync_folder(folder).map_err(failed("flushing its folder"))
}

/// Gives the draft its name, for good.
pub(in crate::trail) fn put_in_force(folder: &Path, disk: &dyn Disk) -> Result<(), OpenError> {
    let failed = |action| move |source| OpenError::Io { trail: name_of(folder), action, source };
    disk.rename(&folder.join(DRAFT), &folder.join(FILE)).map_err(failed("naming trail.json"))?;
    disk.sync_folder(folder).map_err(failed("flushing its folder"))
}

/// Reads a trail's description.
pub(in crate::trail) fn read(folder: &Path, disk: &dyn Disk) -> Result<TrailDescription, OpenError> {
    let failed = |action| move |source| OpenError::Io { trail: name_of(folder), action, source };
    let file = disk.open(&folder.join(FILE), false).map_err(failed("opening trail.json"))?;
    let mut text = vec![0; TRAIL_DESCRIPTION_BYTES_MAX];
    let read = read_full(&*file, &mut text, 0).map_err(failed("reading trail.json"))?;
    TrailDescription::decode(&text[..read]).map_err(|undecoded| undecoded.of(name_of(folder), FILE))
}

/// The trail's name as its folder has it, for errors before the description is read.
pub(in crate::trail) fn name_of(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
