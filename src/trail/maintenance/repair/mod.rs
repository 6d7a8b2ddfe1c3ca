//! Repair of a trail that damage has stopped: keeps what is provably whole, sets what was damaged aside, marks what is
//! missing with a gap, and gives the trail a new epoch. Also the new epoch alone, for a trail restored from a copy.
//!
//! `survey` says what is whole, `rewrite` writes the segments concerned beside the damaged ones. Then one small file,
//! `repair.json`, makes the change: from the moment it has its name the repair is decided, and whoever finds it finishes
//! the renames it stands for. Before, nothing has changed; in between, the trail does not open.
//!
//! Nothing but the caller's hold on the data folder keeps a server away.

mod rewrite;
mod survey;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::SharedClock;
use crate::codec::segment_head::SEGMENT_VERSION;
use crate::record::{Epoch, SourcePosition};
use crate::trail::handle::Trail;
use crate::trail::local::description;
use crate::trail::local::disk::{Disk, read_full};
use crate::trail::local::folder::{Folder, REPAIR_FILE};
use crate::trail::local::segment_file::{drop_hints, file_name, number_of};
use crate::trail::recovery::folder::refuse_newer;
use crate::trail::{Damage, Gap, OpenError};

/// The folder that damaged files go to, in the trail's own.
const DAMAGED: &str = "damaged";

/// Bytes of a trail that are not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRange {
    /// Name of the file in the trail's folder.
    pub file: String,
    /// Number of the segment.
    pub segment: u64,
    /// First damaged byte.
    pub from: u64,
    /// The byte after the last.
    pub to: u64,
    /// What is wrong there.
    pub what: String,
}

/// What a repair did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// Whether an earlier repair had been interrupted and is finished now.
    pub finished_earlier: bool,
    /// Damaged places, in order; none when the trail needs no repair.
    pub damage: Vec<DamagedRange>,
    /// Segments written anew.
    pub segments: Vec<u64>,
    /// Transactions that are missing, in order.
    pub gaps: Vec<Gap>,
    /// Commit number that comes next.
    pub next_commit: u64,
    /// How far the source has been taken, as the trail still knows; only told of a repair that was done.
    pub source: Option<SourcePosition>,
    /// Epoch of the trail before.
    pub old_epoch: Epoch,
    /// Its new epoch; none when nothing was changed.
    pub new_epoch: Option<Epoch>,
    /// Where the damaged files are.
    pub kept_in: Option<PathBuf>,
}

/// What is to be done once a repair is decided.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Decision {
    /// Folder in [`DAMAGED`] for the files that are replaced.
    aside: String,
    /// Segments whose drafts take their places.
    segments: Vec<u64>,
}

/// Says what a repair of the trail in `folder` would do, and changes nothing.
pub fn plan(path: &Path, disk: Arc<dyn Disk>) -> Result<Repair, OpenError> {
    let folder = load(path, disk)?;
    if folder.repair_is_decided().map_err(folder.failed("listing its folder"))? {
        return Err(OpenError::RepairInterrupted { trail: folder.description.name.to_string() });
    }
    let survey = survey::survey(&folder).map_err(folder.failed("reading what is left of it"))?;
    Ok(told(&folder, &survey))
}

/// Repairs the trail in `folder`. A trail that is whole is left as it is. May be called again after an interruption at any
/// point.
pub fn repair(path: &Path, disk: Arc<dyn Disk>, clock: SharedClock) -> Result<Repair, OpenError> {
    let mut folder = load(path, disk.clone())?;
    let finished_earlier = folder.repair_is_decided().map_err(folder.failed("listing its folder"))?;
    if finished_earlier {
        carry_out(&folder)?;
        folder = load(path, disk.clone())?;
    }
    let survey = survey::survey(&folder).map_err(folder.failed("reading what is left of it"))?;
    let mut told = Repair { finished_earlier, ..told(&folder, &survey) };
    if survey.rewritten.is_empty() {
        return Ok(told);
    }
    let next = folder.description.in_new_epoch(survey.first, survey.last);
    let mut next = next.map_err(folder.failed("choosing an epoch"))?;
    next.format = SEGMENT_VERSION;
    let written = rewrite::write_drafts(&folder, &survey, next.epoch, &*clock);
    written.map_err(folder.failed("writing segments anew"))?;
    description::write_draft(path, &next, &*folder.disk)?;
    let aside = format!("{:016x}", folder.description.epoch.0);
    let kept_in = path.join(DAMAGED).join(&aside);
    decide(&folder, &Decision { aside, segments: told.segments.clone() })
        .map_err(folder.failed("writing repair.json"))?;
    carry_out(&folder)?;
    // Opening it once more makes sure that it is whole, and makes the segment in which it goes on.
    let trail = Trail::open(path, disk, clock)?;
    if let Some((at, what)) = trail.verify()?.into_iter().find_map(|report| report.bad) {
        return Err(Damage { trail: folder.description.name.to_string(), at, what }.into());
    }
    told.source = trail.durable().borrow().source.clone();
    told.new_epoch = Some(trail.epoch());
    told.kept_in = Some(kept_in);
    Ok(told)
}

/// Gives the trail in `folder` a new epoch: positions given out before are refused from now on. Returns the old and the new
/// one.
pub fn new_epoch(path: &Path, disk: Arc<dyn Disk>) -> Result<(Epoch, Epoch), OpenError> {
    let folder = load(path, disk)?;
    if folder.repair_is_decided().map_err(folder.failed("listing its folder"))? {
        return Err(OpenError::RepairInterrupted { trail: folder.description.name.to_string() });
    }
    let names = folder.list().map_err(folder.failed("listing its folder"))?;
    let numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    let (first, last) = (numbers.first().copied().unwrap_or(1), numbers.last().copied().unwrap_or(1));
    let next = folder.description.in_new_epoch(first, last).map_err(folder.failed("choosing an epoch"))?;
    description::write_draft(path, &next, &*folder.disk)?;
    description::put_in_force(path, &*folder.disk)?;
    Ok((folder.description.epoch, next.epoch))
}

fn load(path: &Path, disk: Arc<dyn Disk>) -> Result<Folder, OpenError> {
    let folder = Folder::new(path, description::read(path, &*disk)?, disk);
    refuse_newer(&folder)?;
    Ok(folder)
}

fn told(folder: &Folder, survey: &survey::Survey) -> Repair {
    Repair {
        finished_earlier: false,
        damage: survey.damage.clone(),
        segments: survey.rewritten.iter().copied().collect(),
        gaps: survey.gaps(),
        next_commit: survey.commit + 1,
        source: None,
        old_epoch: folder.description.epoch,
        new_epoch: None,
        kept_in: None,
    }
}

fn decide(folder: &Folder, decision: &Decision) -> io::Result<()> {
    // The drafts have their names for good before something says that they count.
    folder.disk.sync_folder(&folder.path)?;
    let draft = folder.path.join("repair.json.new");
    let _ = folder.disk.remove(&draft);
    let file = folder.disk.open(&draft, true)?;
    file.write_all_at(&serde_json::to_vec_pretty(decision).map_err(io::Error::other)?, 0)?;
    file.sync()?;
    folder.disk.rename(&draft, &folder.path.join(REPAIR_FILE))?;
    folder.disk.sync_folder(&folder.path)
}

/// Does what was decided, as far as it is not done yet.
fn carry_out(folder: &Folder) -> Result<(), OpenError> {
    let failed = || folder.failed("putting the repaired segments in place");
    let decision = read_decision(folder)?;
    let above = folder.path.join(DAMAGED);
    let aside = above.join(&decision.aside);
    folder.disk.make_folder(&aside).map_err(failed())?;
    for number in decision.segments {
        replace(folder, number, &aside).map_err(failed())?;
    }
    for path in [&aside, &above, &folder.path] {
        folder.disk.sync_folder(path).map_err(failed())?;
    }
    let names = folder.list().map_err(failed())?;
    if names.iter().any(|name| name == description::DRAFT) {
        description::put_in_force(&folder.path, &*folder.disk)?;
    }
    folder.disk.remove(&folder.path.join(REPAIR_FILE)).map_err(failed())?;
    folder.disk.sync_folder(&folder.path).map_err(failed())
}

fn read_decision(folder: &Folder) -> Result<Decision, OpenError> {
    let file = folder.disk.open(&folder.path.join(REPAIR_FILE), false).map_err(folder.failed("opening repair.json"))?;
    let length = file.length().map_err(folder.failed("reading repair.json"))?;
    let mut text = vec![0; usize::try_from(length).unwrap_or_default()];
    let read = read_full(&*file, &mut text, 0).map_err(folder.failed("reading repair.json"))?;
    serde_json::from_slice(&text[..read]).map_err(|error| OpenError::Description {
        trail: folder.description.name.to_string(),
        file: REPAIR_FILE,
        what: error.to_string(),
    })
}

/// Sets a damaged segment aside and gives its draft the name. Done before, nothing happens.
fn replace(folder: &Folder, number: u64, aside: &Path) -> io::Result<()> {
    let (place, draft) = (file_name(number), rewrite::draft_name(number));
    let names = folder.list()?;
    let is_there = |name: &str| names.iter().any(|known| known == name);
    if !is_there(&draft) {
        return Ok(());
    }
    let path = folder.path.join(&place);
    drop_hints(&*folder.disk, &path)?;
    let kept = folder.disk.list(aside)?.contains(&place);
    if is_there(&place) && !kept {
        folder.disk.rename(&path, &aside.join(&place))?;
    }
    folder.disk.rename(&folder.path.join(draft), &path)
}
