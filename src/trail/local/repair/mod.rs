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
use crate::trail::handle::{Shared, Trail};
use crate::trail::local::description;
use crate::trail::local::disk::{Disk, read_full};
use crate::trail::local::recovery::{self, io_failed};
use crate::trail::segment::{drop_index_file, file_name, number_of};
use crate::trail::{Gap, OpenError};

/// Name of the file that says that a repair is decided.
const DECISION: &str = "repair.json";
/// The folder that damaged files go to, in the trail's own.
const DAMAGED: &str = "damaged";

/// Bytes of a trail that are not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedPlace {
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
    pub damage: Vec<DamagedPlace>,
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
pub fn plan(folder: &Path, disk: Arc<dyn Disk>, clock: SharedClock) -> Result<Repair, OpenError> {
    let shared = load(folder, disk, clock)?;
    if is_interrupted(&shared).map_err(io_failed(&shared, "listing its folder"))? {
        return Err(OpenError::RepairInterrupted { trail: shared.description.name.to_string() });
    }
    let survey = survey::survey(&shared).map_err(io_failed(&shared, "reading what is left of it"))?;
    Ok(told(&shared, &survey))
}

/// Repairs the trail in `folder`. A trail that is whole is left as it is. May be called again after an interruption at any
/// point.
pub fn repair(folder: &Path, disk: Arc<dyn Disk>, clock: SharedClock) -> Result<Repair, OpenError> {
    let mut shared = load(folder, disk.clone(), clock.clone())?;
    let finished_earlier = is_interrupted(&shared).map_err(io_failed(&shared, "listing its folder"))?;
    if finished_earlier {
        carry_out(&shared)?;
        shared = load(folder, disk.clone(), clock.clone())?;
    }
    let survey = survey::survey(&shared).map_err(io_failed(&shared, "reading what is left of it"))?;
    let mut told = Repair { finished_earlier, ..told(&shared, &survey) };
    if survey.rewritten.is_empty() {
        return Ok(told);
    }
    let next = shared.description.in_new_epoch(survey.first, survey.last);
    let mut next = next.map_err(io_failed(&shared, "choosing an epoch"))?;
    next.format = SEGMENT_VERSION;
    let written = rewrite::write_drafts(&shared, &survey, next.epoch);
    written.map_err(io_failed(&shared, "writing segments anew"))?;
    description::write_draft(folder, &next, &*shared.disk)?;
    let aside = format!("{:016x}", shared.description.epoch.0);
    let kept_in = folder.join(DAMAGED).join(&aside);
    decide(&shared, &Decision { aside, segments: told.segments.clone() })
        .map_err(io_failed(&shared, "writing repair.json"))?;
    carry_out(&shared)?;
    // Opening it once more makes sure that it is whole, and makes the segment in which it goes on.
    let trail = Trail::open(folder, disk, clock)?;
    if let Some((at, what)) = trail.verify()?.into_iter().find_map(|report| report.bad) {
        return Err(shared.damage(at, what).into());
    }
    told.source = trail.durable().borrow().source.clone();
    told.new_epoch = Some(trail.epoch());
    told.kept_in = Some(kept_in);
    Ok(told)
}

/// Gives the trail in `folder` a new epoch: positions given out before are refused from now on. Returns the old and the new
/// one.
pub fn new_epoch(folder: &Path, disk: Arc<dyn Disk>, clock: SharedClock) -> Result<(Epoch, Epoch), OpenError> {
    let shared = load(folder, disk, clock)?;
    if is_interrupted(&shared).map_err(io_failed(&shared, "listing its folder"))? {
        return Err(OpenError::RepairInterrupted { trail: shared.description.name.to_string() });
    }
    let names = shared.disk.list(folder).map_err(io_failed(&shared, "listing its folder"))?;
    let numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    let (first, last) = (numbers.first().copied().unwrap_or(1), numbers.last().copied().unwrap_or(1));
    let next = shared.description.in_new_epoch(first, last).map_err(io_failed(&shared, "choosing an epoch"))?;
    description::write_draft(folder, &next, &*shared.disk)?;
    description::put_in_force(folder, &*shared.disk)?;
    Ok((shared.description.epoch, next.epoch))
}

fn load(folder: &Path, disk: Arc<dyn Disk>, clock: SharedClock) -> Result<Shared, OpenError> {
    let description = description::read(folder, &*disk)?;
    let shared = recovery::unopened(description, folder, disk, clock);
    recovery::refuse_newer(&shared)?;
    Ok(shared)
}

fn told(shared: &Shared, survey: &survey::Survey) -> Repair {
    Repair {
        finished_earlier: false,
        damage: survey.damage.clone(),
        segments: survey.rewritten.iter().copied().collect(),
        gaps: survey.gaps(),
        next_commit: survey.commit + 1,
        source: None,
        old_epoch: shared.description.epoch,
        new_epoch: None,
        kept_in: None,
    }
}

/// Whether a repair was decided and not carried out to its end.
pub(super) fn is_interrupted(shared: &Shared) -> io::Result<bool> {
    Ok(shared.disk.list(&shared.folder)?.iter().any(|name| name == DECISION))
}

fn decide(shared: &Shared, decision: &Decision) -> io::Result<()> {
    // The drafts have their names for good before something says that they count.
    shared.disk.sync_folder(&shared.folder)?;
    let draft = shared.folder.join("repair.json.new");
    let _ = shared.disk.remove(&draft);
    let file = shared.disk.open(&draft, true)?;
    file.write_all_at(&serde_json::to_vec_pretty(decision).map_err(io::Error::other)?, 0)?;
    file.sync()?;
    shared.disk.rename(&draft, &shared.folder.join(DECISION))?;
    shared.disk.sync_folder(&shared.folder)
}

/// Does what was decided, as far as it is not done yet.
fn carry_out(shared: &Shared) -> Result<(), OpenError> {
    let failed = || io_failed(shared, "putting the repaired segments in place");
    let decision = read_decision(shared)?;
    let above = shared.folder.join(DAMAGED);
    let aside = above.join(&decision.aside);
    shared.disk.make_folder(&aside).map_err(failed())?;
    for number in decision.segments {
        replace(shared, number, &aside).map_err(failed())?;
    }
    for folder in [&aside, &above, &shared.folder] {
        shared.disk.sync_folder(folder).map_err(failed())?;
    }
    let names = shared.disk.list(&shared.folder).map_err(failed())?;
    if names.iter().any(|name| name == description::DRAFT) {
        description::put_in_force(&shared.folder, &*shared.disk)?;
    }
    shared.disk.remove(&shared.folder.join(DECISION)).map_err(failed())?;
    shared.disk.sync_folder(&shared.folder).map_err(failed())
}

fn read_decision(shared: &Shared) -> Result<Decision, OpenError> {
    let file =
        shared.disk.open(&shared.folder.join(DECISION), false).map_err(io_failed(shared, "opening repair.json"))?;
    let length = file.length().map_err(io_failed(shared, "reading repair.json"))?;
    let mut text = vec![0; usize::try_from(length).unwrap_or_default()];
    let read = read_full(&*file, &mut text, 0).map_err(io_failed(shared, "reading repair.json"))?;
    serde_json::from_slice(&text[..read]).map_err(|error| OpenError::Description {
        trail: shared.description.name.to_string(),
        file: DECISION,
        what: error.to_string(),
    })
}

/// Sets a damaged segment aside and gives its draft the name. Done before, nothing happens.
fn replace(shared: &Shared, number: u64, aside: &Path) -> io::Result<()> {
    let (place, draft) = (file_name(number), rewrite::draft_name(number));
    let names = shared.disk.list(&shared.folder)?;
    let is_there = |name: &str| names.iter().any(|known| known == name);
    if !is_there(&draft) {
        return Ok(());
    }
    let path = shared.folder.join(&place);
    drop_index_file(&*shared.disk, &path)?;
    let kept = shared.disk.list(aside)?.contains(&place);
    if is_there(&place) && !kept {
        shared.disk.rename(&path, &aside.join(&place))?;
    }
    shared.disk.rename(&shared.folder.join(draft), &path)
}
